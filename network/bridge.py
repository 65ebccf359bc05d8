"""A bridge with a card of the host in it: what ``network-bridge start`` made, over ssh too.

The bridge takes the card's MAC address and MTU, all its addresses and all its routes.

Differs from xm: the card keeps its name. xend renamed ``eth0`` to ``peth0`` and called the bridge ``eth0``; that needs the
card to go down, for seconds on real switches, and takes it away from what the host's own configuration calls it. Where the
bridge is to have the name of its card it is called ``xenbr0`` for ``eth0`` (``br-enp3s0`` for ``enp3s0``), and guests whose
configuration says ``bridge=eth0`` are connected to it (``by_name``). IPv6 addresses and routes beside the default one are
kept; a second bridge is made although there is one already.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from xmcompat.network import links, marks, moving, sysctl
from xmcompat.network.found import MAKING, UP, Found
from xmcompat.network.host import Host, Link
from xmcompat.network.moving import ACCEPT_DAD, Lease, Move
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Command, Setting, Step
from xmcompat.network.wanted import LONGEST_NAME, Bridge

KIND = "bridge"

#: Links that live on another one and leave no room for a bridge there.
_ON_A_CARD = ("macvlan", "macvtap", "ipvlan", "ipvtap")


def named(wanted: Bridge, host: Host) -> Bridge:
    """WANTED with the name that the bridge has or gets, which cannot be its card's.

    Where the uplink is a bridge already, as the default route's device is when this was done before, its card is meant.
    """
    uplink = host.link(wanted.uplink)
    if uplink is not None and uplink.kind == "bridge":
        mark = uplink.mark
        card = mark.values.get("uplink", "") if mark and mark.kind == KIND else uplink.name
        inside = (uplink.name, card, *(port.name for port in host.ports(uplink.name)))
        return replace(wanted, name=uplink.name if wanted.name in inside else wanted.name, uplink=card)
    if wanted.name != wanted.uplink:
        return wanted
    master = host.link(uplink.master) if uplink and uplink.master else None
    if master is not None and master.kind == "bridge":
        return replace(wanted, name=master.name)
    eth = re.fullmatch(r"eth(\d+)", wanted.uplink)
    return replace(wanted, name=f"xenbr{eth[1]}" if eth else f"br-{wanted.uplink[-(LONGEST_NAME - 3):]}")


def by_name(name: str, host: Host) -> str:
    """The bridge that a guest's ``bridge=NAME`` means, "" where there is none.

    Itself; the bridge that the card NAME is in, which is what xend would have called so; for ``xenbrN`` that of ``ethN``.
    """
    link = host.link(name)
    if link is None and (old := re.fullmatch(r"xenbr(\d+)", name)):
        link = host.link(f"eth{old[1]}")
    if link is None:
        return ""
    master = host.link(link.master) if link.master else None
    return next((one.name for one in (link, master) if one and one.kind in ("bridge", "openvswitch")), "")


def up(wanted: Bridge, host: Host) -> tuple[Step, ...]:
    """The steps that make it, or mend it; () where it is there. A bridge that somebody else has made is used as it is.

    Raises NetworkError where there can be no such bridge.
    """
    wanted = named(wanted, host)
    uplink = links.card(wanted.uplink, host)
    wanted = replace(wanted, uplink=uplink.name)
    links.check_name(wanted.name)
    there = host.link(wanted.name)
    if there is not None:
        return _mended(wanted, there, uplink, host)
    check_uplink(uplink, wanted.name, host)
    return _made(wanted, uplink, host)


def _mended(wanted: Bridge, there: Link, uplink: Link, host: Host) -> tuple[Step, ...]:
    """For a link of that name. Raises NetworkError where it is another thing."""
    mark = there.mark
    if there.kind != "bridge":
        raise NetworkError(f"there is a link '{there.name}' already, and it is no bridge", hint="choose another name")
    if mark is None and there.name not in (uplink.name, uplink.master):
        raise NetworkError(
            f"there is a bridge '{there.name}' already, and {uplink.name} is not in it",
            hint=f"put {uplink.name} into it, or choose another name",
        )
    if mark is None:
        return ()
    if mark.kind != KIND or mark.values.get("uplink") != uplink.name:
        what = f"uplink {mark.values.get('uplink')}" if mark.kind == KIND else f"kind '{mark.kind}'"
        raise NetworkError(f"the bridge {there.name} is there already, with the {what}", hint="take it down first")
    if _state(there, mark, host) != UP:
        if uplink.master != there.name:
            check_uplink(uplink, there.name, host)
        return _made(wanted, uplink, host, there)
    if bool(mark.values.get("antispoof")) == wanted.antispoof:
        return ()
    after = {**mark.values, "antispoof": _yes(wanted.antispoof)}
    text = f"{'hold' if wanted.antispoof else 'no longer hold'} the guests on {there.name} to their MAC addresses"
    return (links.marked(there.name, KIND, mark.values, after, text=text),)


def _yes(value: bool) -> str:
    return "yes" if value else ""


def check_uplink(uplink: Link, bridge: str, host: Host) -> None:
    """Raises NetworkError where the card cannot be the port of a bridge."""
    name = uplink.name
    links.check_name(name)
    if uplink.master:
        raise NetworkError(
            f"{name} belongs to {uplink.master} already", hint=f"use {uplink.master}, or take {name} out of it"
        )
    if uplink.kind == "bridge":
        raise NetworkError(f"{name} is a bridge, and cannot be in the bridge {bridge}", hint=f"connect guests to {name}")
    if uplink.mac in ("", "00:00:00:00:00:00") or uplink.kind in _ON_A_CARD:
        kind = f" ({uplink.kind})" if uplink.kind else ""
        raise NetworkError(f"{name}{kind} cannot be in a bridge: it does not carry Ethernet of others", hint="use a card")
    if above := [one.name for one in host.links if one.parent == name and one.kind in _ON_A_CARD]:
        raise NetworkError(
            f"{name} carries {', '.join(above)}, and cannot be in a bridge as well", hint="remove that first"
        )
    if uplink.wireless:
        raise NetworkError(f"{name} is a wireless card, which no bridge can have", hint="use network-nat or network-route")
    if host.root_server and _leads_to(host.root_server, name, host):
        raise NetworkError(
            f"the root file system comes from {host.root_server} by {name}, which must not be cut off from it",
            hint="use another card",
        )


def _leads_to(address: str, device: str, host: Host) -> bool:
    """Whether the host reaches ADDRESS by DEVICE."""
    try:
        target = ipaddress.ip_address(address)
    except ValueError:
        return host.default_device == device
    best: tuple[int, int, str] = (-1, 0, "")
    for route in host.routes:
        network = ipaddress.ip_network(("::/0" if route.family == 6 else "0.0.0.0/0")
                                       if route.destination == "default" else route.destination)  # fmt: skip
        if route.table == "main" and target in network:
            best = max(best, (network.prefixlen, -route.metric, route.device))
    return best[2] == device


def _made(wanted: Bridge, uplink: Link, host: Host, there: Link | None = None) -> tuple[Step, ...]:
    """What makes the bridge, or what is missing of that which is THERE."""
    name, card = wanted.name, uplink.name
    leases = moving.leases(host, card)
    values: Mapping[str, str] = {
        "uplink": card, "was": "" if uplink.up else "down", "lease": moving.leases_text(leases),
        **(there.mark.values if there and there.mark else {}), "antispoof": _yes(wanted.antispoof), "state": MAKING,
    }  # fmt: skip
    dad = host.setting(ACCEPT_DAD.replace("*", "default"))
    making = links.made(name, _words(uplink), links.check_mark(marks.text(KIND, **values)),
                        text=f"make the bridge {name}", needs="bridges (bridge)")  # fmt: skip
    join = [] if uplink.up else [links.set_up(card)]
    if uplink.master != name:
        join.append(_join(name, card))
    return (
        *([] if there else [making]),
        *moving.taken_over(name, card, host),
        *([] if there and there.up else [links.set_up(name)]),
        *Move(host, card, name, dict.fromkeys(leases, ()), dad).steps(join),
        links.marked(name, KIND, there.mark.values if there and there.mark else values, {**values, "state": UP},
                     text=f"note that {name} is whole"),
    )  # fmt: skip


def _words(like: Link) -> tuple[str, ...]:
    return ("address", like.mac, "mtu", str(like.mtu), "type", "bridge", "stp_state", "0", "forward_delay", "0")


def _join(bridge: str, card: str) -> Step:
    return Step(
        text=f"put {card} into {bridge}", do=Command(("ip", "link", "set", "dev", card, "master", bridge)),
        undo=(Command(("ip", "link", "set", "dev", card, "nomaster")),),
    )  # fmt: skip


def found(host: Host) -> tuple[Found[Bridge], ...]:
    """Our bridges with cards."""
    return tuple(
        Found(Bridge(name=link.name, uplink=mark.values.get("uplink", ""), antispoof=bool(mark.values.get("antispoof"))),
              _state(link, mark, host))
        for link, mark in host.marked(KIND)
    )  # fmt: skip


def _state(link: Link, mark: marks.Mark, host: Host) -> str:
    uplink = host.link(mark.values.get("uplink", ""))
    return UP if mark.values.get("state") == UP and uplink and uplink.master == link.name else MAKING


def down(wanted: Bridge, host: Host) -> tuple[Step, ...]:
    """The steps that give the card back what it had; () where there is no such bridge of ours.

    Raises NetworkError while guests, or links of others, are on it.
    """
    bridge = host.link(named(wanted, host).name)
    mark = bridge.mark if bridge else None
    if bridge is None or mark is None or mark.kind != KIND:
        return ()
    uplink = host.link(mark.values.get("uplink", ""))
    links.check_unused(bridge.name, host, uplink.name if uplink else "")
    if uplink is None:
        return (_removal(bridge, mark.values, host),)
    dad = mark.values.get("dad") or host.setting_of(ACCEPT_DAD, uplink.name)
    making = {**mark.values, "state": MAKING, "dad": dad}
    lifetimes = moving.lifetimes(bridge.name, mark.values.get("lease", ""), host)
    was_down = mark.values.get("was") == "down" and uplink.up and not moving.addresses(host, bridge.name)
    return (
        *([links.marked(bridge.name, KIND, mark.values, making, text=f"note that {bridge.name} is to go")]
          if making != mark.values else []),
        *Move(host, bridge.name, uplink.name, lifetimes, dad, back=True).steps(
            [_leave(bridge.name, uplink.name)] if uplink.master == bridge.name else []),
        *([_set_down(uplink.name)] if was_down else []),
        _removal(bridge, making, host),
    )  # fmt: skip


def _leave(bridge: str, card: str) -> Step:
    joined = _join(bridge, card)
    (undo,) = joined.undo
    return Step(text=f"take {card} out of {bridge}", do=undo, undo=(joined.do,))


def _set_down(card: str) -> Step:
    up = links.set_up(card)
    (undo,) = up.undo
    return Step(text=f"set {card} down, as it was", do=undo, undo=(up.do,))


def _removal(bridge: Link, values: Mapping[str, str], host: Host) -> Step:
    """The last step. Undone, it makes the bridge again, for the undoing of the steps before it."""
    made = links.made(bridge.name, _words(bridge), marks.text(KIND, **values), text="", needs="")
    settings = [
        Setting(sysctl.of_device(pattern, bridge.name), value) for pattern in (*moving.TAKEN_OVER, ACCEPT_DAD)
        if (value := host.setting_of(pattern, bridge.name)) != host.setting(pattern.replace("*", "default"))
    ]  # fmt: skip
    up = [links.set_up(bridge.name).do] if bridge.up else []
    return Step(text=f"remove the bridge {bridge.name}", do=links.gone(bridge.name), undo=(made.do, *settings, *up))


def verify(wanted: Bridge, host: Host) -> list[str]:
    """What is not as WANTED, in sentences; [] where all is right."""
    wanted = named(wanted, host)
    uplink, bridge = host.link(wanted.uplink), host.link(wanted.name)
    if bridge is None:
        return [f"there is no bridge {wanted.name}"]
    if bridge.mark is None and uplink is not None and bridge.name in (uplink.name, uplink.master):
        return []
    if uplink is None:
        return [f"{wanted.name} has lost its card: there is no {wanted.uplink}"]
    wrong = []
    if uplink.master != bridge.name:
        wrong.append(f"{uplink.name} is not in {bridge.name}")
    wrong += [f"{link.name} is down" for link in (bridge, uplink) if not link.up]
    wrong += [f"{uplink.name} has no carrier: is its cable plugged in?"] if uplink.up and not uplink.carrier else []
    if bridge.mac != uplink.mac:
        wrong.append(f"{bridge.name} has the MAC address {bridge.mac}, not that of {uplink.name}, {uplink.mac}")
    if bridge.mtu != uplink.mtu:
        wrong.append(f"{bridge.name} has the MTU {bridge.mtu}, {uplink.name} has {uplink.mtu}")
    left = [str(one) for one in moving.addresses(host, uplink.name) if not one.temporary]
    if left:
        wrong.append(f"{uplink.name} has the address {', '.join(left)} beside {bridge.name}: does a program configure it?")
    mark = bridge.mark
    if mark is not None and mark.values.get("state") != UP:
        wrong.append(f"{bridge.name} is half made")
    if mark is not None and bool(mark.values.get("antispoof")) != wanted.antispoof:
        wrong.append(f"the guests on {bridge.name} are {'not ' if wanted.antispoof else ''}held to their MAC addresses")
    return wrong


def cautions(wanted: Bridge, host: Host, clients: Iterable[str] = ()) -> list[str]:
    """What the steps cannot do, for whoever reads the plan. CLIENTS are the programs that configure the card by DHCP."""
    uplink = host.link(wanted.uplink)
    if uplink is None or not up(wanted, host):
        return []
    name = named(wanted, host).name
    said = []
    leases: Mapping[str, Lease] = moving.leases(host, uplink.name)
    programs = ", ".join(clients)
    if leases or programs:
        by = f" ({programs})" if programs else ""
        said.append(
            f"{', '.join(leases) or uplink.name} is configured by DHCP{by}: {name} keeps the address without end; let the "
            f"host's own configuration ask for it on {name}, not on {uplink.name}"
        )
    if any(one.temporary for one in host.addresses_of(uplink.name)):
        said.append(f"the temporary IPv6 addresses of {uplink.name} end in time; {name} draws its own")
    return said
