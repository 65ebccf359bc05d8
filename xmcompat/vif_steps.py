"""The steps by which each mode of a host's network sets up the end of one interface, and takes away what outlives it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from xmcompat import vif_nat
from xmcompat.backends.hypervisor import DomainInfo
from xmcompat.network import host as hosts
from xmcompat.network import port as ports
from xmcompat.network import route, steps, sweep
from xmcompat.network.host import Host
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Step
from xmcompat.network.wanted import Mode, Port
from xmcompat.vifs import BackEnd


def host_for(back_ends: Sequence[BackEnd]) -> Host | None:
    """The host's network, where one of them needs to know more of it than of its own tap."""
    if any(one.port.mode is Mode.NAT or (one.port.mode is Mode.ROUTE and not one.port.uplink) for one in back_ends):
        return hosts.read(tables=False)
    return None


def up(back_end: BackEnd, info: DomainInfo, host: Host | None) -> tuple[Step, ...]:
    """Raises NetworkError. The second name of the tap is given to all interfaces at once, elsewhere."""
    port = replace(back_end.port, altnames=())
    if port.mode is Mode.ROUTE:
        port = _on_card(port, host)
        return (*ports.up(port), *route.port_up(port, *route.main_addresses(port.uplink)))
    if port.mode is Mode.NAT and host is not None:
        port = vif_nat.addressed(port)
        return (*ports.up(port), *vif_nat.up(port, info.name, back_end.number, host))
    return ports.up(port)


def announce(back_ends: Sequence[BackEnd], host: Host | None) -> None:
    """Tell the neighbours of the card that routed guests are behind it now: they may know them behind another host.

    They find out by themselves within seconds, so that an error is none of the guest's.
    """
    from xmcompat.network import announce as announcing

    for port in (one.port for one in back_ends if one.port.mode is Mode.ROUTE):
        with suppress(NetworkError):
            announcing.announce(_on_card(port, host).uplink, map(route.destination, port.addresses))


def take_back(back_end: BackEnd, info: DomainInfo) -> None:
    """Whatever of a routed one somebody did who was cut off: addresses and routes are there once."""
    if back_end.port.mode is Mode.ROUTE:
        with suppress(NetworkError):
            steps.undo(up(back_end, info, host_for((back_end,))))


def lacks_filters(back_end: BackEnd) -> bool:
    """Whether its filter and limits have gone: who flushes all rules takes them along, and nothing else of it."""
    return not ports.is_whole(back_end.port)


def filters(back_end: BackEnd) -> tuple[Step, ...]:
    """What makes its filter and limits alone. Raises NetworkError."""
    port = replace(back_end.port, altnames=())
    return ports.up(vif_nat.addressed(port) if port.mode is Mode.NAT else port)


def _on_card(port: Port, host: Host | None) -> Port:
    """PORT with the card that it is routed by: that of the default route, where none is named."""
    if port.uplink:
        return port
    card = host.default_device if host else ""
    if not card:
        raise NetworkError("this host has no default route", hint="name the card, as in script=vif-route netdev=eth0")
    return replace(port, uplink=card)


def down(back_ends: Sequence[BackEnd], info: DomainInfo) -> None:
    """What outlives the taps of BACK_ENDS, which have gone, and of others. What cannot be taken away stays for the next
    sweep."""
    for back_end in back_ends:
        with suppress(NetworkError):
            _take(ports.down(back_end.port))
    if any(back_end.port.mode is Mode.ROUTE for back_end in back_ends):
        with suppress(NetworkError):
            _take(route.sweep(hosts.read(tables=False)))
    tidy()


def tidy() -> None:
    """Remove what taps that are gone have left, whosever they were. Where there is nothing no program is started."""
    with suppress(NetworkError):
        _take(sweep.debris())
    with suppress(NetworkError):
        left = list(vif_nat.gone())
        host = hosts.read(tables=False) if left else Host()
        for bridge, guest in left:
            _take(vif_nat.down(bridge, guest, host))


def _take(plan: Sequence[Step]) -> None:
    """Each step by itself: one that is done by somebody else just now is no reason to leave the others."""
    for step in plan:
        with suppress(NetworkError):
            steps.act(step.do)
