"""What on this host drops guests' packets, or bends their way: a line each, with place and remedy. Pure but ``look``.

Nothing is claimed that cannot be seen: where it hangs on what a packet has in it, a rule "may drop".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from xmcompat.network import programs
from xmcompat.network.features import Missing
from xmcompat.network.filters import chain_of
from xmcompat.network.host import TABLE, Host, Link
from xmcompat.network.rules import IIF, OIF, Answer, Fate, Packet, Ruleset, fate
from xmcompat.network.wanted import Bridge, Nat, Network, Overlay, Port, Routing, Segment, Switch

#: The setting that lets rules for packets see what stays on a bridge, by the version of IP; a bridge may have its own.
BRIDGE_FILTER = {4: "net.bridge.bridge-nf-call-iptables", 6: "net.bridge.bridge-nf-call-ip6tables"}
_OF_BRIDGE = {4: "nf_call_iptables", 6: "nf_call_ip6tables"}

#: How bad it is: packets are lost; they may be; it works, but not as it should.
DROPS, MAY_DROP, ODD = "drops", "may drop", "odd"

_RESTORE = "type 'xmcompat network up'"
_SAID = {Fate.DROPS: (DROPS, "are dropped"), Fate.MAY_DROP: (MAY_DROP, "may be dropped")}


class Finding(NamedTuple):
    """``about`` is the device or network, ``place`` the rule or setting, as one would look for it; "" for neither."""

    severity: str
    about: str
    text: str
    place: str = ""
    hint: str = ""

    def line(self) -> str:
        where = f" by {self.place}" if self.place else ""
        return f"{self.text}{where}{'; ' if self.hint else ''}{self.hint}"


def lines(findings: Iterable[Finding]) -> Iterator[str]:
    """A line each; what helps against several is said once, with the first."""
    said: set[str] = set()
    for one in findings:
        yield f"{one.severity}: {(one._replace(hint='') if one.hint in said else one).line()}"
        said.add(one.hint)


def look(ports: Sequence[Port] = ()) -> list[Finding]:
    """Ask the kernel, and check. PORTS are the ends of guests that run. Raises NetworkError."""
    from xmcompat.network import features, host, plans, rules_read
    from xmcompat.network.hostname import SLOW, HostnameLookup
    from xmcompat.network.notes import FLUSHED

    name = HostnameLookup()
    now = host.read()
    networks = [one.wanted for one in plans.found(now)]
    found = check(now, rules_read.read(), ports, networks, features.missing(networks), policies())
    for about, text in plans.complaints(now):
        found.append(Finding(ODD, about, text) if FLUSHED in text else Finding(MAY_DROP, about, text, "", _RESTORE))
    name.wait(SLOW)
    complaint = name.complaint()
    return [*found, Finding(ODD, name.hostname, complaint)] if complaint else found


def check(
    host: Host, ruleset: Ruleset, ports: Sequence[Port] = (), networks: Sequence[Network] = (),
    missing: Iterable[Missing] = (), policies: Iterable[Policy] = (),
) -> list[Finding]:  # fmt: skip
    """All that is wrong, worst first."""
    found = [
        *bridged(host, ruleset, bridges_of(host, ports, networks)),
        *_forwarded(host, ruleset, ports, networks),
        *_settings(host, networks),
        *_bridges(host, ports, networks),
        *_filters(ruleset, ports),
        *_misdirected(ruleset, policies, networks),
        *_ports(host, ports),
        *(Finding(DROPS if one.needed else ODD, "", one.text, "", one.hint) for one in missing),
    ]
    return sorted(dict.fromkeys(found), key=lambda one: (DROPS, MAY_DROP, ODD).index(one.severity))


def bridges_of(host: Host, ports: Iterable[Port], networks: Iterable[Network]) -> tuple[str, ...]:
    """The bridges that guests are on, or that are there for them."""
    names = [bridge for one in networks if (bridge := _bridge_of(one))]
    devices = [port.device for port in ports]
    names += [link.master for link in host.links if link.master and (link.name in devices or link.kind == "tun")]
    return tuple(name for name in dict.fromkeys(names) if (link := host.link(name)) and link.kind == "bridge")


def _bridge_of(network: Network) -> str:
    match network:
        case Bridge() | Segment():
            return network.name
        case Nat() | Overlay():
            return network.bridge
    return ""


# -- other people's rules


def filtered(host: Host, bridge: str, family: int) -> bool:
    """Whether rules for packets of IP see what stays on BRIDGE."""
    link = host.link(bridge)
    own = link.details.get(_OF_BRIDGE[family]) if link else None
    return host.setting(BRIDGE_FILTER[family]) == "1" or bool(own)


def on_bridge(host: Host, ruleset: Ruleset, bridge: str, family: int) -> Answer:
    """What rules for packets of IP do with one that stays on BRIDGE."""
    if not filtered(host, bridge, family):
        return Answer(Fate.PASSES)
    return fate(ruleset, Packet(iif=bridge, oif=bridge, family=family, bridged=True))


def bridged(host: Host, ruleset: Ruleset, bridges: Iterable[str]) -> Iterator[Finding]:
    """Rules that drop what goes from port to port of a bridge. Bridges that one remedy helps are named together."""
    bridges = tuple(bridges)
    answer = fate(ruleset, Packet(iif="", oif="", family=0, bridged=True))
    if bridges and answer.fate in _SAID:
        severity, said = _SAID[answer.fate]
        text = f"frames between ports of {_named(bridges)} {said}"
        yield Finding(severity, ", ".join(bridges), text, answer.place, "change that rule")
    for family in (4, 6):
        alike: dict[tuple[Fate, str, str], list[str]] = {}
        for name in bridges:
            answer = on_bridge(host, ruleset, name, family)
            if answer.fate in _SAID:
                alike.setdefault((answer.fate, answer.place, _filter_of(host, name, family)), []).append(name)
        for (found, place, setting), names in alike.items():
            severity, said = _SAID[found]
            text = f"IPv{family} between ports of {_named(names)} {said}, since {setting} is 1,"
            yield Finding(severity, ", ".join(names), text, place, _way_out(host, ruleset, names, family))


def _named(bridges: Sequence[str]) -> str:
    return f"the bridge{'s' if len(bridges) > 1 else ''} " + ", ".join(f"'{name}'" for name in bridges)


def _filter_of(host: Host, bridge: str, family: int) -> str:
    of_all = BRIDGE_FILTER[family]
    return of_all if host.setting(of_all) == "1" else f"{_OF_BRIDGE[family]} of the bridge"


def _way_out(host: Host, ruleset: Ruleset, bridges: Sequence[str], family: int) -> str:
    """What lets the bridges' packets pass: the setting; or rules, where others need the setting."""
    program = "iptables" if family == 4 else "ip6tables"
    version = "ip" if family == 4 else "ip6"
    chains = {chain.name for chain in ruleset.chains if chain.table == f"{version} filter"}
    chain = "DOCKER-USER" if "DOCKER-USER" in chains else "FORWARD"
    rules = " and ".join(f"'{program} -I {chain} -i {name} -o {name} -j ACCEPT'" for name in bridges)
    if host.setting(BRIDGE_FILTER[family]) == "1":
        return f"type 'sysctl -w {BRIDGE_FILTER[family]}=0', or {rules} where containers need that setting"
    own = " and ".join(f"'ip link set {name} type bridge {_OF_BRIDGE[family]} 0'" for name in bridges)
    return f"type {own}, or {rules}"


def _forwarded(
    host: Host, ruleset: Ruleset, ports: Iterable[Port], networks: Iterable[Network]
) -> Iterator[Finding]:
    """Rules that drop what the host forwards for guests that are routed, or speak in its name."""
    routed = [port.device for port in ports if (link := host.link(port.device)) and not link.master]
    for network in networks:
        if isinstance(network, Nat):
            yield from _ways(ruleset, network.bridge, network.uplink, (4,), back=bool(network.forwards))
        elif isinstance(network, Routing):
            for device in routed or ["*"]:
                yield from _ways(ruleset, "" if device == "*" else device, network.uplink,
                                 (4, 6) if network.ipv6 else (4,), back=True)  # fmt: skip


def _ways(ruleset: Ruleset, inside: str, uplink: str, families: Sequence[int], *, back: bool) -> Iterator[Finding]:
    ways = [(inside, uplink), *([(uplink, inside)] if back else [])]
    guest = f"'{inside}'" if inside else "routed guests"
    for family in families:
        for iif, oif in ways:
            answer = fate(ruleset, Packet(iif=iif, oif=oif, family=family))
            if answer.fate in _SAID:
                severity, said = _SAID[answer.fate]
                way = f"from {guest} to '{uplink}'" if oif == uplink else f"from '{uplink}' to {guest}"
                words = f"-i {iif or 'DEVICE'} -o {oif or 'DEVICE'}"
                program = "iptables" if family == 4 else "ip6tables"
                yield Finding(severity, inside or uplink, f"IPv{family} {way} {said}", answer.place,
                              f"type '{program} -I FORWARD {words} -j ACCEPT', or change that rule")  # fmt: skip


class Policy(NamedTuple):
    """A rule of "ip rule" that names a link."""

    family: int
    priority: int
    word: str                            # "iif" or "oif"
    device: str


def policies() -> tuple[Policy, ...]:
    """Those of this host. Raises NetworkError."""
    return tuple(
        Policy(family, entry.get("priority", 0), word, entry[word])
        for family in (4, 6) for entry in json.loads(programs.run(("ip", "-j", f"-{family}", "rule", "show")) or "[]")
        for word in ("iif", "oif") if word in entry
    )  # fmt: skip


def _misdirected(ruleset: Ruleset, policies: Iterable[Policy], networks: Iterable[Network]) -> Iterator[Finding]:
    """Rules for a card that is now the port of a bridge of ours: the host's packets come and go by the bridge."""
    over = {one.uplink: one.name for one in networks if isinstance(one, Bridge | Switch) and one.uplink}
    for policy in policies:
        if bridge := over.get(policy.device):
            text = f"an 'ip rule' names '{policy.device}', but its packets come and go by '{bridge}' now"
            place = f"ip -{policy.family} rule, priority {policy.priority}, {policy.word} {policy.device}"
            yield Finding(MAY_DROP, bridge, text, place, f"add one for {bridge}")
    for chain in ruleset.chains:
        if chain.family not in ("ip", "ip6", "inet") or chain.table == f"inet {TABLE}":
            continue
        for rule in chain.rules:
            for name in dict.fromkeys(value for one in rule.conditions if one.key in (IIF, OIF) for value in one.values):
                if bridge := over.get(name):
                    text = f"a rule names '{name}', but the host's packets come and go by '{bridge}' now: it is not met"
                    yield Finding(MAY_DROP, bridge, text, rule.place, f"add one for {bridge}")


# -- settings of the kernel


def _settings(host: Host, networks: Iterable[Network]) -> Iterator[Finding]:
    ways_out = {
        route.device for route in host.routes
        if route.destination == "default" and route.family == 4 and route.table == "main" and route.device
    }  # fmt: skip
    for network in networks:
        if not isinstance(network, Nat | Routing):
            continue
        name = network.bridge if isinstance(network, Nat) else network.uplink
        if host.setting("net.ipv4.ip_forward") == "0":
            yield Finding(DROPS, name, f"the host does not forward what guests send by '{name}'", "net.ipv4.ip_forward = 0",
                          _RESTORE)  # fmt: skip
        six = isinstance(network, Routing) and network.ipv6 and bool(host.addresses_of(network.uplink, 6))
        if six and host.setting("net.ipv6.conf.all.forwarding") == "0":
            yield Finding(DROPS, name, f"the host does not forward IPv6 of guests by '{name}'",
                          "net.ipv6.conf.all.forwarding = 0", _RESTORE)  # fmt: skip
        if len(ways_out) > 1 and network.uplink in ways_out and _strict(host, network.uplink):
            others = ", ".join(sorted(ways_out - {network.uplink}))
            yield Finding(
                MAY_DROP, network.uplink,
                f"answers to guests that come in at '{network.uplink}' may be dropped where the way back is by {others}",
                f"rp_filter = 1 of '{network.uplink}'",
                f"type 'sysctl -w net.ipv4.conf.{network.uplink.replace('.', '/')}.rp_filter=2'",
            )


def _strict(host: Host, device: str) -> bool:
    pattern = "net.ipv4.conf.*.rp_filter"
    values = [host.setting(pattern.replace("*", "all")), host.setting_of(pattern, device)]
    return max(values) == "1"


# -- bridges and ports


def _bridges(host: Host, ports: Sequence[Port], networks: Sequence[Network]) -> Iterator[Finding]:
    for network in networks:
        if isinstance(network, Bridge | Switch) and network.uplink:
            yield from _uplink(host, network)
    names = bridges_of(host, ports, networks)
    for name in names:
        link = host.link(name)
        if link:
            yield from _bridge(host, link)
    yield from _equal_macs(host, names)


def _uplink(host: Host, network: Bridge | Switch) -> Iterator[Finding]:
    card = host.link(network.uplink)
    if not card:
        text = f"the bridge '{network.name}' has lost its uplink: there is no '{network.uplink}'"
        yield Finding(DROPS, network.name, text, "", f"find the card, or type 'xmcompat network down {network.name}'")
    elif isinstance(network, Bridge) and card.master != network.name:
        text = f"the bridge '{network.name}' has lost its uplink '{card.name}'"
        yield Finding(DROPS, network.name, text + (f" to '{card.master}'" if card.master else ""), "", _RESTORE)
    elif not card.up:
        text = f"the uplink '{card.name}' of '{network.name}' is down"
        yield Finding(DROPS, network.name, text, "", f"type 'ip link set {card.name} up'")
    elif not card.carrier:
        text = f"the uplink '{card.name}' of '{network.name}' has no carrier"
        yield Finding(DROPS, network.name, text, "", "see to its cable")


def _bridge(host: Host, link: Link) -> Iterator[Finding]:
    if not link.up:
        yield Finding(DROPS, link.name, f"the bridge '{link.name}' is down", "", f"type 'ip link set {link.name} up'")
    delay = _hundredths(link.details.get("forward_delay"))
    if link.details.get("stp_state") and delay:
        text = f"the bridge '{link.name}' speaks STP: a guest that starts waits {2 * delay / 100:.0f} s for its network"
        yield Finding(ODD, link.name, text, "", f"type 'ip link set {link.name} type bridge stp_state 0'")
    for port in host.ports(link.name):
        if port.mtu != link.mtu:
            text = f"'{port.name}' has the MTU {port.mtu}, its bridge '{link.name}' {link.mtu}: packets of more than "
            text += f"{min(port.mtu, link.mtu)} bytes may be lost"
            yield Finding(MAY_DROP, link.name, text, "", f"type 'ip link set {port.name} mtu {link.mtu}'")


def _hundredths(value: object) -> int:
    return value if isinstance(value, int) else 0


def _equal_macs(host: Host, names: Iterable[str]) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for link in host.links:
        if link.kind != "bridge" or not link.mac:
            continue
        if link.mac in seen and {link.name, seen[link.mac]} & set(names):
            text = f"the bridges '{seen[link.mac]}' and '{link.name}' have the same MAC address {link.mac}"
            yield Finding(MAY_DROP, link.name, text, "", f"type 'ip link set {link.name} address ...' with one of its own")
        seen.setdefault(link.mac, link.name)


def _filters(ruleset: Ruleset, ports: Iterable[Port]) -> Iterator[Finding]:
    """Ports whose own rules have gone: somebody has flushed all rules."""
    there = {chain.name for chain in ruleset.chains if chain.table == f"netdev {TABLE}"}
    for port in ports:
        if (port.addresses or port.held or port.sending) and chain_of(port.device) not in there:
            what = "addresses" if port.addresses or port.held else "rate"
            text = f"the rules that keep '{port.device}' to its {what} have gone: all rules were flushed"
            yield Finding(ODD, port.device, text, "", "type 'xmcompat network repair'")


def _ports(host: Host, ports: Sequence[Port]) -> Iterator[Finding]:
    owners: dict[tuple[str, str], str] = {}
    for port in ports:
        link = host.link(port.device)
        if not link:
            text = f"the guest's end '{port.device}' has gone"
            yield Finding(DROPS, port.device, text, "", "detach the interface, and attach it")
            continue
        if not link.up:
            text = f"the guest's end '{port.device}' is down"
            yield Finding(DROPS, port.device, text, "", f"type 'ip link set {port.device} up'")
        elif not link.carrier:
            text = f"'{port.device}' has no carrier: its guest's link is off"
            yield Finding(DROPS, port.device, text, "", "see 'virsh domif-setlink'")
        bridge = host.link(port.bridge)
        if bridge and bridge.kind == "bridge" and not link.master:
            text = f"'{port.device}' is not on its guest's bridge '{port.bridge}': that was taken away, and made again"
            yield Finding(DROPS, port.device, text, "", "type 'xmcompat network repair'")
        key = (link.master, port.mac.lower())
        if link.master and port.mac and key in owners:
            both = f"those at '{owners[key]}' and '{port.device}'"
            text = f"two guests on '{link.master}' have the MAC address {port.mac}: {both}"
            yield Finding(MAY_DROP, port.device, text, "", "give one another mac=")
        owners.setdefault(key, port.device)
