"""All modes together: what is to be done so that a host has the networks that are wanted, or has ours no more. Pure.

Networks are made in the order of ``modes()``: a VLAN before the bridge that it is in, a bridge before what is routed over
it. Each is planned on the host as it will be then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from xmcompat.network import notes
from xmcompat.network.foresee import foreseen, gone, with_settings
from xmcompat.network.found import MAKING, Found
from xmcompat.network.host import Host, Link
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Step
from xmcompat.network.wanted import Bridge, Nat, Network, Overlay, Routing, Segment, Switch, Vlan

if TYPE_CHECKING:
    from xmcompat.network.rules import Ruleset


class Mode(Protocol):
    """The four functions of a mode; see the modules."""

    @property
    def KIND(self) -> str: ...
    def up(self, wanted: Any, host: Host, /) -> tuple[Step, ...]: ...  # noqa: ANN401
    def found(self, host: Host, /) -> tuple[Found[Any], ...]: ...
    def down(self, wanted: Any, host: Host, /) -> tuple[Step, ...]: ...  # noqa: ANN401
    def verify(self, wanted: Any, host: Host, /) -> list[str]: ...  # noqa: ANN401


Modes = Mapping[type[Network], Mode]


def modes() -> Modes:
    """Every mode by the values that it takes, in the order in which networks are made."""
    from xmcompat.network import bridge, nat, openvswitch, overlay, route, segment, vlan

    return {
        Vlan: vlan, Bridge: bridge, Switch: openvswitch, Segment: segment, Routing: route, Nat: nat, Overlay: overlay,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """The steps of one network; () where there is nothing to do."""

    network: Network
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """``after`` is the host as it will be, as far as that can be told. ``shared`` are the last steps, which are for all
    networks together: they keep bridges from a firewall that lets nothing through."""

    parts: tuple[Part, ...]
    before: Host
    after: Host
    shared: tuple[Step, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        return (*(step for part in self.parts for step in part.steps), *self.shared)

    @property
    def taken(self) -> frozenset[str]:
        """The devices whose addresses move, or whose traffic takes another way for a moment."""
        moved = [part.network for part in self.parts if part.steps and isinstance(part.network, Bridge | Switch)]
        return frozenset(name for network in moved if network.uplink for name in (network.uplink, network.name))


def name_of(network: Network) -> str:
    """What operators call it: its bridge, or what it is where it has none."""
    match network:
        case Routing():
            return "routing"
        case Nat() | Overlay():
            return network.bridge
    return network.name


def plan_up(
    wanted: Iterable[Network], host: Host, table: Modes | None = None, ruleset: Ruleset | None = None
) -> Plan:  # fmt: skip
    """What HOST, which has the RULESET, lacks of the networks WANTED.

    Raises NetworkError where one cannot be, or two exclude each other.
    """
    table = modes() if table is None else table
    order = list(table)
    ordered = sorted(dict.fromkeys(wanted), key=lambda network: order.index(type(network)))
    _refuse_equal_names(ordered)
    parts: list[Part] = []
    now = host
    for network in ordered:
        network = resolved(network, now, table)
        _refuse_shared_uplink(network, parts)
        steps = table[type(network)].up(network, now)
        parts.append(Part(network, steps))
        now = notes.foreseen(with_settings(foreseen(network, now), steps), steps)
    shared: tuple[Step, ...] = ()
    if ruleset is not None and parts:
        from xmcompat.network import check, survive

        shared = survive.up(now, ruleset, check.bridges_of(now, (), [part.network for part in parts]))
    return Plan(tuple(parts), host, with_settings(now, shared), shared)


def plan_down(host: Host, names: Sequence[str] = (), table: Modes | None = None, *, force: bool = False) -> Plan:
    """What takes away our networks of these NAMES, all where none is named, and nothing else.

    Raises NetworkError, also where guests are on them, unless FORCE puts those out.
    """
    table = modes() if table is None else table
    ours = found(host, table)
    for name in names:
        if not any(name_of(one.wanted) == name for one in ours):
            known = ", ".join(name_of(one.wanted) for one in ours) or "none"
            raise NetworkError(f"no network '{name}' has been made here", hint=f"those that have: {known}")
    going = [one.wanted for one in ours if not names or name_of(one.wanted) in names]
    _refuse_needed(going, [one.wanted for one in ours if one.wanted not in going])
    parts = []
    now = _emptied(host, going) if force else host
    for network in reversed(going):
        steps = table[type(network)].down(network, now)
        parts.append(Part(network, steps))
        now = notes.foreseen(with_settings(gone(network, now), steps), steps)
    shared = _survived(now) if len(going) == len(ours) else ()
    return Plan(tuple(parts), host, with_settings(now, shared), shared)


def _survived(host: Host) -> tuple[Step, ...]:
    from xmcompat.network import survive

    return survive.down(host)


def found(host: Host, table: Modes | None = None) -> tuple[Found[Network], ...]:
    """All that is ours in the kernel, in the order in which it was made."""
    table = modes() if table is None else table
    return tuple(one for mode in table.values() for one in mode.found(host))


def settle(host: Host, trials: Iterable[str] = (), table: Modes | None = None) -> Plan:
    """What takes away that which a killed process has left half made, and the TRIALS, names that nobody has confirmed.

    A network with guests on it was whole once: making it up again mends it.
    """
    table = modes() if table is None else table
    ours = found(host, table)
    tried = set(trials)
    halves = {
        name_of(one.wanted) for one in ours
        if name_of(one.wanted) in tried or (one.state == MAKING and not visitors(one.wanted, host))
    }  # fmt: skip
    if halves or (not ours and _survived(host)):
        return plan_down(host, sorted(halves), table)
    return Plan((), host, host)


def complaints(host: Host, table: Modes | None = None) -> list[tuple[str, str]]:
    """The names of ours that are not as they were made, with a sentence each."""
    table = modes() if table is None else table
    return [
        (name_of(one.wanted), text)
        for one in found(host, table) for text in table[type(one.wanted)].verify(one.wanted, host)
    ]  # fmt: skip


def visitors(network: Network, host: Host) -> tuple[Link, ...]:
    """The ends of guests' interfaces that are on it."""
    if isinstance(network, Routing):
        return tuple(
            link for link in host.links if link.kind == "tun" and not link.master and host.addresses_of(link.name, 4)
        )
    if isinstance(network, Vlan):
        return ()
    own = {getattr(network, key, "") for key in ("uplink", "device")}
    master = getattr(network, "bridge", "") or name_of(network)
    return tuple(link for link in host.ports(master) if link.name not in own and not own & set(link.altnames))


def _emptied(host: Host, networks: Iterable[Network]) -> Host:
    """HOST as if no guest were on NETWORKS."""
    guests = {link.name for network in networks for link in visitors(network, host)}
    return replace(
        host, links=tuple(replace(link, master="") if link.name in guests else link for link in host.links)
    )


def resolved(network: Network, host: Host, table: Modes) -> Network:
    """NETWORK with the device that it leaves open, or names by the card although a bridge has taken its place.

    A bridge that is to have its card's name has the one that it gets.

    Raises NetworkError where the host has no default route to tell.
    """
    match network:
        case Bridge():
            from xmcompat.network import bridge

            uplink = network.uplink or _below(network.name, host, table) or _needed(network, host)
            return bridge.named(replace(network, uplink=uplink), host)
        case Routing() | Nat():
            return replace(network, uplink=_top(network.uplink or _needed(network, host), host))
        case Overlay():
            return replace(network, underlay=_top(network.underlay or _needed(network, host), host))
    return network


def _below(name: str, host: Host, table: Modes) -> str:
    """The card in the bridge NAME, where that is there already."""
    mine = (one.wanted for one in table[Bridge].found(host)) if Bridge in table else ()
    known = next((one.uplink for one in mine if one.name == name), "")
    return known or next((link.name for link in host.ports(name) if link.kind not in ("tun", "veth", "vxlan")), "")


def _top(device: str, host: Host) -> str:
    """The bridge that DEVICE is a port of, which has its addresses; else DEVICE."""
    link = host.link(device)
    above = host.link(link.master) if link and link.master else None
    return above.name if above and above.kind in ("bridge", "openvswitch") else device


def _needed(network: Network, host: Host) -> str:
    if not host.default_device:
        raise NetworkError(f"'{name_of(network)}' has no uplink: this host has no default route", hint="name the device")
    return host.default_device


def _refuse_equal_names(ordered: Sequence[Network]) -> None:
    """Raises NetworkError for two networks of one name, or two devices, and for two overlays of one number."""
    seen: dict[str, Network] = {}
    numbers: dict[tuple[int, int], Overlay] = {}
    for network in ordered:
        if isinstance(network, Overlay):
            other = numbers.setdefault((network.vni, network.port), network)
            if other is not network:
                raise NetworkError(f"'{other.bridge}' and '{network.bridge}' both want to be overlay {network.vni}",
                                   hint="give one of them another vni, the same on all hosts")  # fmt: skip
        for name in filter(None, (name_of(network), getattr(network, "device", ""))):
            if name in seen:
                raise NetworkError(f"two networks are to be called '{name}'", hint="the files that name them must agree")
            seen[name] = network


def _refuse_shared_uplink(network: Network, parts: Iterable[Part]) -> None:
    """Raises NetworkError where the card of NETWORK is in another bridge of the plan already."""
    if not isinstance(network, Bridge | Switch) or not network.uplink:
        return
    for part in parts:
        other = part.network
        if isinstance(other, Bridge | Switch) and other.uplink == network.uplink:
            raise NetworkError(
                f"'{other.name}' and '{network.name}' both want the card {network.uplink}",
                hint="a card is in one bridge; make VLANs of it",
            )


def _refuse_needed(going: Iterable[Network], staying: Sequence[Network]) -> None:
    """Raises NetworkError where a network that stays stands on one that is to go."""
    for network in going:
        for other in staying:
            below = {getattr(other, key, "") for key in ("uplink", "underlay", "parent")}
            if not isinstance(network, Routing) and name_of(network) in below:
                raise NetworkError(
                    f"'{name_of(network)}' is needed by '{name_of(other)}'", hint=f"name {name_of(other)} as well"
                )
