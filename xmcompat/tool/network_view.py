"""What ``xmcompat network`` shows, from the host's state, plans and guests: values to render. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from xmcompat.network import listing
from xmcompat.network.forwards import end_of
from xmcompat.network.found import UP, Found
from xmcompat.network.host import Host, Link, Route
from xmcompat.network.listing import Listing
from xmcompat.network.plans import Plan, name_of, visitors
from xmcompat.network.steps import Setting, Step
from xmcompat.network.wanted import Bridge, Nat, Network, Overlay, Routing, Segment, Switch, Vlan
from xmcompat.render import network_values as shown

#: The metric of a route that was made without one.
_USUAL_METRIC = {4: 0, 6: 1024}


class Guest(NamedTuple):
    """An interface of a guest: the end of it in this host, its MAC address, and the addresses that it may use."""

    name: str
    device: str
    mac: str = ""
    addresses: tuple[str, ...] = ()


def described(network: Network) -> str:
    """What it is, in a few words."""
    match network:
        case Bridge():
            return f"a bridge with the card {network.uplink}{_held(network.antispoof)}"
        case Segment():
            where = f", this host has {', '.join(network.addresses)} there" if network.addresses else ", without this host"
            return f"a segment of guests{where}{_held(network.antispoof)}"
        case Vlan():
            return f"VLAN {network.tag} of {network.parent}"
        case Switch():
            return f"a bridge of Open vSwitch{f' with the card {network.uplink}' if network.uplink else ''}"
        case Routing():
            return f"routing between {network.uplink} and guests{'' if network.ipv6 else ', IPv4 alone'}"
        case Nat():
            ports = ", ".join(f"{one.protocol} {one.port} to {end_of(one)}" for one in network.forwards)
            how = "addresses by DHCP" if network.dhcp else "no DHCP"
            return f"{network.network} translated to the address of {network.uplink}, {how}{f'; {ports}' if ports else ''}"
        case Overlay():
            group = f"by the group {network.group}" if network.group else "by the group of its number"
            others = f"with {', '.join(network.peers)}" if network.peers else group
            return f"overlay {network.vni} over {network.underlay}, {others}"


def _held(antispoof: bool) -> str:
    return "; guests are held to their MAC addresses" if antispoof else ""


# -- plans


def plan_view(
    plan: Plan, remarks: Iterable[tuple[str, bool]] = (), confirm: str = "", *, rules: Listing | None = None,
    down: bool = False,
) -> shown.Plan:  # fmt: skip
    """RULES are those of ours that the host has."""
    networks = [
        shown.Network(name_of(part.network), described(part.network), tuple(map(_action, part.steps)))
        for part in plan.parts
    ]  # fmt: skip
    if plan.shared:
        what = "rules for IP, which drop all that is forwarded, see bridges again" if down else (
            "rules for IP, which drop all that is forwarded, are kept from bridges")  # fmt: skip
        networks.append(shown.Network("firewall", what, tuple(map(_action, plan.shared))))
    return shown.Plan(
        networks=tuple(networks),
        changes=tuple(_changes(plan, rules or {})) if plan.steps else (), remarks=tuple(remarks), confirm=confirm,
        down=down,
    )  # fmt: skip


def _action(step: Step) -> shown.Action:
    return shown.Action(step.text, str(step.do))


def _changes(plan: Plan, rules: Listing) -> Iterator[shown.Change]:
    before, after, steps = plan.before, plan.after, plan.steps
    yield shown.Change("Links", tuple(map(_link, before.links)), tuple(map(_link, after.links)))
    yield shown.Change("Addresses", tuple(_addresses(before)), tuple(_addresses(after)))
    yield shown.Change("Routes", tuple(_routes(before)), tuple(_routes(after)))
    keys = dict.fromkeys(step.do.key for step in steps if isinstance(step.do, Setting))
    if keys:
        yield shown.Change("Settings", tuple(_setting(key, before) for key in keys if before.setting(key)),
                           tuple(_setting(key, after) for key in keys))  # fmt: skip
    there, then = (tuple(listing.lines(one)) for one in (rules, listing.after(rules, steps)))
    if there or then:
        yield shown.Change("Rules", there, then)


def _link(link: Link) -> str:
    words = [link.name, link.kind or "card", "up" if link.up else "down"]
    return " ".join((*words, *((f"in {link.master}",) if link.master else ())))


def _addresses(host: Host) -> Iterator[str]:
    yield from (f"{one} on {one.device}" for one in host.addresses if one.scope == "global")


def _routes(host: Host) -> Iterator[str]:
    """Those of all tables and types, but for what the kernel has with each address and link."""
    for route in host.routes:
        usual = route.table == "local" or route.destination.startswith(("fe80:", "ff00:"))
        if not usual or route.protocol != "kernel":
            yield _route(route)


def _route(route: Route) -> str:
    kernels = route.protocol == "kernel"
    words = [route.destination] if route.type == "unicast" else [route.type, route.destination]
    if route.family == 6 and route.destination == "default":
        words.append("(IPv6)")
    words += [f"{key} {value}" for key in ("from", "tos") if (value := route.word(key))]
    words += [f"by {route.gateway}"] if route.gateway else []
    words += [f"on {route.device}"] if route.device else []
    words += [f"metric {route.metric}"] if route.metric not in (0, _USUAL_METRIC[route.family]) and not kernels else []
    return " ".join((*words, *((f"in table {route.table}",) if route.table != "main" else ())))


def _setting(key: str, host: Host) -> str:
    return f"{key} = {host.setting(key)}"


# -- the state


def states(
    ours: Sequence[Found[Network]], host: Host, wrong: Sequence[tuple[str, str]], trials: Sequence[str],
    guests: Sequence[Guest],
) -> list[shown.State]:  # fmt: skip
    named = {guest.device: guest.name for guest in guests}
    found = []
    for one in ours:
        name = name_of(one.wanted)
        state = "trial" if name in trials else "up" if one.state == UP else "half made"
        on_it = tuple(dict.fromkeys(named.get(link.name, link.name) for link in visitors(one.wanted, host)))
        complaints = tuple(text for other, text in wrong if other == name)
        found.append(shown.State(name, described(one.wanted), state, on_it, complaints))
    return found


# -- the picture


def picture(name: str, host: Host, ours: Sequence[Found[Network]], guests: Sequence[Guest]) -> shown.Picture:
    """All bridges of HOST, ours or not, its routing, and cards that are in none."""
    by_device = {guest.device: guest for guest in guests}
    made = {name_of(one.wanted): one.wanted for one in ours}
    groups = [_bridged(link, host, made, by_device) for link in host.links if link.kind in ("bridge", "openvswitch")]
    groups += [_routed(network, host, by_device) for network in made.values() if isinstance(network, Routing)]
    drawn = {box.title for group in groups for box in (*group.left, group.centre)}
    alone = [link for link in host.links if _is_card(link) and link.name not in drawn]
    groups += [shown.Group(_card(link, host)) for link in alone]
    return shown.Picture(name, tuple(groups))


def _is_card(link: Link) -> bool:
    return link.kind not in ("tun", "bridge", "openvswitch", "vxlan", "ifb") and link.name not in ("lo", "ovs-system")


def _bridged(link: Link, host: Host, made: dict[str, Network], guests: dict[str, Guest]) -> shown.Group:
    network = made.get(link.name)
    uplink = getattr(network, "uplink", "")
    left: list[shown.Box] = []
    right: list[shown.Box] = []
    for port in host.ports("ovs-system" if link.kind == "openvswitch" else link.name):
        if port.kind == "vxlan":
            left.append(_overlay(port, network))
        elif port.name in guests or (port.kind in ("tun", "veth") and port.name != uplink):
            right.append(_guest(port, guests.get(port.name), host))
        else:
            left.append(_card(port, host))
    if isinstance(network, Nat) and (card := host.link(network.uplink)):
        left.append(_card(card, host))
    lines = [str(one) for one in host.addresses_of(link.name) if one.scope == "global"]
    lines += _details(network)
    return shown.Group(shown.Box("bridge", link.name, tuple(lines)), tuple(left), tuple(right), network is not None)


def _details(network: Network | None) -> Iterator[str]:
    match network:
        case None:
            yield "not made by xmcompat"
        case Segment():
            yield "segment"
        case Nat():
            yield f"translated to {network.uplink}{', DHCP' if network.dhcp else ''}"
            yield from (f"{one.protocol} {one.port} -> {end_of(one)}" for one in network.forwards)
        case Overlay():
            yield f"overlay {network.vni}"
    if isinstance(network, Bridge | Segment) and network.antispoof:
        yield "antispoof"


def _routed(network: Routing, host: Host, guests: dict[str, Guest]) -> shown.Group:
    card = host.link(network.uplink)
    right = tuple(_guest(link, guests.get(link.name), host) for link in visitors(network, host))
    left = (_card(card, host),) if card else ()
    return shown.Group(shown.Box("bridge", "routing", (f"over {network.uplink}",)), left, right, ours=True)


def _card(link: Link, host: Host) -> shown.Box:
    what = f"{link.kind} of {link.parent}" if link.kind == "vlan" else link.kind
    lines = [*filter(None, (what, link.mac)), *(str(one) for one in host.addresses_of(link.name) if one.scope == "global")]
    if not link.up:
        lines.append("down")
    return shown.Box("card", link.name, tuple(lines))


def _overlay(link: Link, network: Network | None) -> shown.Box:
    if not isinstance(network, Overlay):
        return shown.Box("overlay", link.name, ("vxlan",))
    others = network.peers or ((f"group {network.group}",) if network.group else ())
    more = (f"and {len(others) - 4} more",) if len(others) > 4 else ()
    return shown.Box("overlay", link.name, (f"VXLAN {network.vni} over {network.underlay}", *others[:4], *more))


def _guest(link: Link, guest: Guest | None, host: Host) -> shown.Box:
    if guest is None:
        return shown.Box("guest", link.name, (link.mac,))
    routes = tuple(route.destination for route in host.routes_of(link.name) if route.family == 4 and route.table == "main")
    addresses = guest.addresses or tuple(one for one in routes if "/" not in one)
    return shown.Box("guest", guest.name, (f"{guest.device}  {guest.mac}", *addresses))
