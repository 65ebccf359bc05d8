"""Networks in the words of ifupdown: a file of ours beside /etc/network/interfaces, and the card's own stanza ``manual``.

What the card's stanza says of addresses, routes and resolvers moves to its bridge, with comments and commands; what it
says of the card stays. Where the card has no stanza, the bridge gets what the kernel has. Bridges are made by ifupdown's
own ``bridge_ports`` where bridge-utils is installed, else by ``ip``; VLANs and VXLANs are always made by ``ip``.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from xmcompat.network import configured, interfaces
from xmcompat.network.configured import HEADER, Carried, Facts, Text, Writing
from xmcompat.network.host import EVERYBODY, Host
from xmcompat.network.interfaces import MAIN, Stanza
from xmcompat.network.programs import NetworkError
from xmcompat.network.wanted import Bridge, Network, Overlay, Segment, Vlan

PATH = "/etc/network/interfaces.d/xmcompat"
#: What reads ``bridge_ports``.
_HOOK = "/etc/network/if-pre-up.d/bridge"

#: Options that are the card's own, by their beginnings.
_OF_CARD = ("bond", "vlan", "wireless", "wpa", "hwaddress", "mtu", "ethernet", "link-", "offload-", "hardware-", "gro-",
            "gso-", "tso-", "team", "ovs", "bridge")  # fmt: skip
_COMMANDS = ("pre-up", "up", "post-up", "down", "pre-down", "post-down")
#: Programs that a stanza calls for the card, wherever its addresses are.
_CARD_PROGRAMS = ("ethtool", "mii-tool", "iw", "iwconfig", "ifenslave", "tc", "brctl", "mii-diag")


@dataclass
class _Work:
    """What becomes of the files."""

    host: Host
    facts: Facts
    lines: list[str] = field(default_factory=lambda: [HEADER])
    edits: dict[str, tuple[set[int], dict[int, str]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def edit(self, path: str) -> tuple[set[int], dict[int, str]]:
        return self.edits.setdefault(path, (set(), {}))


def write(wanted: Sequence[Network], host: Host, facts: Facts) -> Writing:
    """The files. FACTS are without ours. Raises NetworkError where the present ones are not understood."""
    work = _Work(host, facts)
    for network in sorted(wanted, key=lambda one: _ORDER.index(type(one)) if type(one) in _ORDER else len(_ORDER)):
        match network:
            case Vlan():
                _vlan(work, network)
            case Bridge():
                _bridge(work, network)
            case Segment():
                _segment(work, network)
            case Overlay():
                _overlay(work, network)
    if work.lines == [HEADER]:
        return Writing()
    first = "" if _is_read(facts) else f"source {PATH}"
    if first:
        work.edit(MAIN)
    edited = []
    for path, (aside, manual) in work.edits.items():
        try:
            text = interfaces.edited(facts.text(path), aside, manual, first if path == MAIN else "")
        except NetworkError as error:
            raise NetworkError(f"{path}: {error.message}", hint=error.hint) from None
        edited.append(Text(path, text))
        if "cloud" in posixpath.basename(path):
            work.notes.append(
                f"{path} is cloud-init's: say 'network: {{config: disabled}}' in /etc/cloud/cloud.cfg.d/99-network.cfg"
            )
    return Writing((Text(PATH, "\n".join(work.lines) + "\n"),), tuple(edited), tuple(work.notes))


_ORDER: list[type[Network]] = [Vlan, Bridge, Segment, Overlay]


def _is_read(facts: Facts) -> bool:
    files = _texts(facts)
    if MAIN not in files:
        raise NetworkError(f"there is no {MAIN}", hint="does ifupdown configure this host?")
    read = interfaces.read_files(files)
    return any(fnmatch.fnmatchcase(PATH, pattern) for text in read.values() for pattern in interfaces.sources(text))


def _texts(facts: Facts) -> dict[str, str]:
    return {path: one.text for path, one in facts.files.items() if not path.startswith(f"{configured.KEPT}/")}


def _stanza(work: _Work, device: str, family: str, method: str, options: Iterable[str]) -> None:
    work.lines += [f"iface {device} {family} {method}", *(f"    {option}" for option in options)]


def _auto(work: _Work, device: str) -> None:
    work.lines += ["", f"auto {device}"]


def _alias(work: _Work, network: Network, device: str) -> list[str]:
    """That the device is ours, and its settings: not every host with ifupdown has udev to apply those of a new device."""
    text = configured.mark(network, work.host).get(device, "")
    settings = configured.settings_of(network, work.host).get(device, {})
    return [
        *(f"up sysctl -q -e -w {key}={value}" for key, value in settings.items()),
        *([f"up ip link set dev {device} alias {shlex.quote(text)}"] if text else []),
    ]


def _vlan(work: _Work, vlan: Vlan) -> None:
    if interfaces.of_device(vlan.name, _texts(work.facts)):
        return                           # the host makes it already
    _auto(work, vlan.name)
    made = f"ip link add link {vlan.parent} name {vlan.name} type vlan id {vlan.tag}"
    _stanza(work, vlan.name, "inet", "manual", (
        f"pre-up ip link set dev {vlan.parent} up",
        f"pre-up ip link show dev {vlan.name} >/dev/null 2>&1 || {made}",
        f"up ip link set dev {vlan.name} up", *_alias(work, vlan, vlan.name),
        f"post-down ip link del dev {vlan.name} 2>/dev/null || true",
    ))  # fmt: skip


def _makes(work: _Work, device: str, port: str, mac: str, mtu: int = 0) -> list[str]:
    """The options that make a bridge with a PORT, "" for none."""
    if _HOOK in work.facts.files:
        own = [f"bridge_hw {mac}"] if mac else []
        size = [f"up ip link set dev {device} mtu {mtu}"] if mtu and not port else []
        return [f"bridge_ports {port or 'none'}", "bridge_stp off", "bridge_fd 0", *own, *size]
    own_mac = f"address {mac} " if mac else ""
    size_words = f"mtu {mtu} " if mtu else ""
    made = f"ip link add name {device} {size_words}{own_mac}type bridge stp_state 0 forward_delay 0"
    join = [f"pre-up ip link set dev {port} master {device}", f"pre-up ip link set dev {port} up"] if port else []
    return [
        f"pre-up ip link show dev {device} >/dev/null 2>&1 || {made}", *join, f"up ip link set dev {device} up",
        f"post-down ip link del dev {device} 2>/dev/null || true",
    ]  # fmt: skip


# -- a bridge, and what its card had


def _bridge(work: _Work, bridge: Bridge) -> None:
    if interfaces.of_device(bridge.name, _texts(work.facts)):
        raise NetworkError(f"{MAIN} has a stanza for {bridge.name} already", hint="remove it, or take the bridge down")
    mine = interfaces.of_device(bridge.uplink, _texts(work.facts))
    options = [*_makes(work, bridge.name, bridge.uplink, configured.mac(bridge.uplink, work.host),
                       configured.mtu(bridge.uplink, work.host)), *_alias(work, bridge, bridge.name)]  # fmt: skip
    _refuse_mapping(work, bridge)
    _auto(work, bridge.name)
    moved = [one for one in mine if one.method != "manual"]
    for stanza in moved:
        device = bridge.name + stanza.device.removeprefix(bridge.uplink)
        if device != bridge.name:
            _auto(work, device)
        own = [] if device != bridge.name else options
        _stanza(work, device, stanza.family, stanza.method, (*own, *_moved(work, stanza, bridge)))
        options = options if device != bridge.name else []
    if not moved:
        work.notes.append(f"{MAIN} gives {bridge.uplink} no address: {bridge.name} gets those that it has now")
        _from_kernel(work, bridge, options)
    elif options:
        _stanza(work, bridge.name, "inet", "manual", options)


def _refuse_mapping(work: _Work, bridge: Bridge) -> None:
    for path, text in interfaces.read_files(_texts(work.facts)).items():
        for line in interfaces.read_lines(text):
            if line.words[:1] == ("mapping",) and any(fnmatch.fnmatchcase(bridge.uplink, one) for one in line.words[1:]):
                raise NetworkError(f"{path}:{line.numbers[0] + 1}: a mapping chooses what {bridge.uplink} gets",
                                   hint="write a stanza without mapping, or the bridge by hand")  # fmt: skip


def _moved(work: _Work, stanza: Stanza, bridge: Bridge) -> list[str]:
    """The options of the card's STANZA that are its bridge's now; the stanza is made ``manual``."""
    if stanza.inherits:
        raise NetworkError(f"{stanza.path}:{stanza.head.numbers[0] + 1}: '{' '.join(stanza.head.words)}' is not understood",
                           hint="write 'iface NAME inet static', without 'inherits'")  # fmt: skip
    aside, manual = work.edit(stanza.path)
    aside.update(stanza.head.numbers)
    manual[stanza.head.numbers[0]] = f"iface {stanza.device} {stanza.family} manual"
    found = []
    for line in stanza.options:
        if _is_cards(line.words):
            continue
        aside.update(line.numbers)
        text = " ".join(line.words)
        if line.words[0] in _COMMANDS:
            changed = re.sub(rf"(?<![\w.:-]){re.escape(bridge.uplink)}(?![\w.:-])", bridge.name, text)
            if changed != text:
                work.notes.append(f"{stanza.path}:{line.numbers[0] + 1}: '{text}' is for {bridge.name} now")
            text = changed
        found.append(text)
    return found


def _is_cards(words: tuple[str, ...]) -> bool:
    """Whether the option is about the card, wherever its addresses are."""
    if words[0] not in _COMMANDS:
        return words[0].startswith(_OF_CARD)
    program = posixpath.basename(words[1]) if len(words) > 1 else ""
    return program in _CARD_PROGRAMS or (program == "ip" and words[2:3] in (("link",), ("l",)))


def _from_kernel(work: _Work, bridge: Bridge, options: list[str]) -> None:
    has = configured.carried(bridge, work.host, work.facts)
    work.notes += has.left
    first = options
    if has.dhcp:
        _stanza(work, bridge.name, "inet", "dhcp", first)
        first = []
    for family, word in ((4, "inet"), (6, "inet6")):
        if has.of(family):
            _stanza(work, bridge.name, word, "static", (*first, *_static(has, family)))
            first = []
        elif family == 6 and has.advertised:
            _stanza(work, bridge.name, word, "auto", first)
            first = []
    if first:
        _stanza(work, bridge.name, "inet", "manual", first)


def _static(has: Carried, family: int) -> Iterator[str]:
    address, *more = has.of(family)
    yield f"address {address}"
    if gateway := has.gateway(family):
        yield f"gateway {gateway}"
    servers = [one for one in has.dns if (":" in one) == (family == 6)]
    if servers:
        yield f"dns-nameservers {' '.join(servers)}"
    for one in more:
        yield f"up ip addr add {one} dev $IFACE"
    for route in has.others(family):
        yield f"up ip -{family} route add {' '.join(route.words)} dev $IFACE"


# -- bridges without a card


def _segment(work: _Work, segment: Segment) -> None:
    mac = configured.mac(segment.name, work.host)
    options = [*_makes(work, segment.name, "", mac), *_alias(work, segment, segment.name)]
    _auto(work, segment.name)
    for word, family in (("inet", 4), ("inet6", 6)):
        mine = [one for one in segment.addresses if (":" in one) == (family == 6)]
        if mine:
            more = [f"up ip addr add {one} dev $IFACE" for one in mine[1:]]
            _stanza(work, segment.name, word, "static", (*options, f"address {mine[0]}", *more))
            options = []
    if options:
        _stanza(work, segment.name, "inet", "manual", options)


def _overlay(work: _Work, overlay: Overlay) -> None:
    host, device = work.host, overlay.device
    if configured.makes_bridge(overlay, host):
        _auto(work, overlay.bridge)
        makes = _makes(work, overlay.bridge, "", configured.mac(overlay.bridge, host), configured.mtu(overlay.bridge, host))
        _stanza(work, overlay.bridge, "inet", "manual", (*makes, *_alias(work, overlay, overlay.bridge)))
    _auto(work, device)
    details: Mapping[str, object] = link.details if (link := host.link(device)) else {}
    ways = f" dev {overlay.underlay} group {overlay.group}" if overlay.group else ""
    own = f" address {mac}" if (mac := configured.mac(device, host)) else ""
    local = f" local {overlay.local}" if overlay.local else ""
    size = configured.mtu(device, host)
    made = (
        f"ip link add name {device}{own} type vxlan id {overlay.vni} dstport {overlay.port}{local} "
        f"ttl {details.get('ttl', 64)}{ways}"
    )
    _stanza(work, device, "inet", "manual", (
        f"pre-up ip link show dev {device} >/dev/null 2>&1 || {made}",
        *([f"pre-up ip link set dev {device} mtu {size}"] if size else []),
        f"up ip link set dev {device} master {overlay.bridge}",
        *(f"up bridge fdb append {EVERYBODY} dev {device} dst {peer}" for peer in overlay.peers),
        f"up ip link set dev {device} up", *_alias(work, overlay, device),
        f"post-down ip link del dev {device} 2>/dev/null || true",
    ))  # fmt: skip
