"""Networks in the files of systemd-networkd: a .netdev for each device, a .network for what is on it. Pure.

The first .network that fits a device is the one that counts. The card gets one of ours that goes before the one it had;
what that said of addresses, routes and DHCP is said of the bridge. No file of others is changed, also not one that netplan
generates. The alias by which a device is known as ours comes from a .link file, by udev.
"""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xmcompat.network import configured, keyfile
from xmcompat.network.configured import HEADER, Facts, Text, Writing
from xmcompat.network.host import EVERYBODY, Host
from xmcompat.network.keyfile import Section
from xmcompat.network.programs import NetworkError
from xmcompat.network.wanted import Bridge, Network, Overlay, Segment, Vlan

FOLDER = "/etc/systemd/network"
#: Where files lie; one shadows those of its name in later folders.
FOLDERS = (FOLDER, "/run/systemd/network", "/usr/local/lib/systemd/network", "/usr/lib/systemd/network")
_LINKS = "/run/systemd/netif/links"
_LEASES = "/run/systemd/netif/leases"

#: What our files begin with: the first that goes before all others of the device.
_FIRST = ("10", "00", "0", "+")

#: Sections of a .network, and keys of its [Network], that are the card's own; all others are its bridge's.
_OF_CARD = ("Link", "SR-IOV", "QDisc", "Bridge", "BridgeVLAN", "BridgeFDB", "BridgeMDB", "LLDP", "CAN", "IPoIB")
_KEYS_OF_CARD = ("VLAN", "MACVLAN", "MACVTAP", "IPVLAN", "IPVTAP", "VXLAN", "Tunnel", "LLDP", "EmitLLDP", "BindCarrier",
                 "ActiveSlave", "PrimarySlave", "IgnoreCarrierLoss", "Description")  # fmt: skip
_NOT_WAITED_FOR = (("RequiredForOnline", "no"),)
_NO_ADDRESSES = (("LinkLocalAddressing", "no"), ("IPv6AcceptRA", "no"))

_Lines = tuple[tuple[str, str], ...]


def manages(device: str, host: Host, facts: Facts) -> bool:
    """Whether networkd configures DEVICE, as it says itself."""
    state = _state(device, host, facts)
    return state.get("ADMIN_STATE", "unmanaged") not in ("unmanaged", "")


def _state(device: str, host: Host, facts: Facts) -> Mapping[str, str]:
    link = host.link(device)
    text = facts.text(f"{_LINKS}/{link.index}") if link else ""
    return {key: value.strip() for key, sign, value in (line.partition("=") for line in text.splitlines()) if sign}


@dataclass
class _Work:
    host: Host
    facts: Facts
    files: dict[str, str] = field(default_factory=dict)
    #: By device, the lines of [Network] that hang other devices on it.
    carries: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, *sections: Section, header: str = HEADER) -> None:
        self.files[name] = keyfile.text(header, sections)


def write(wanted: Sequence[Network], host: Host, facts: Facts) -> Writing:
    """The files. FACTS are without ours. Raises NetworkError where there can be none."""
    work = _Work(host, facts)
    for network in wanted:
        match network:
            case Vlan():
                work.carries.setdefault(network.parent, []).append(("VLAN", network.name))
            case Overlay() if network.group:
                work.carries.setdefault(network.underlay, []).append(("VXLAN", network.device))
    bridged = {one.uplink for one in wanted if isinstance(one, Bridge)}
    for network in wanted:
        match network:
            case Vlan():
                _netdev(work, network.name, "vlan", Section("VLAN", (("Id", str(network.tag)),)))
                if network.name not in bridged:
                    _plain(work, network.name, _NO_ADDRESSES)
            case Bridge():
                _bridge(work, network)
            case Segment():
                _netdev(work, network.name, "bridge", _switch(), mac=configured.mac(network.name, host))
                link_local = "ipv6" if any(":" in one for one in network.addresses) else "no"
                own = (("LinkLocalAddressing", link_local), ("IPv6AcceptRA", "no"), ("ConfigureWithoutCarrier", "yes"))
                _plain(work, network.name, (*own, *(("Address", one) for one in network.addresses)), link=_NOT_WAITED_FOR)
            case Overlay():
                _overlay(work, network)
        for device, alias in configured.mark(network, host).items():
            work.add(f"{_FIRST[0]}-xmcompat-{device}.link", Section("Match", (("OriginalName", device),)),
                     Section("Link", (("Alias", alias),)))  # fmt: skip
    for device in work.carries:
        _carrying(work, device)
    files = tuple(Text(f"{FOLDER}/{name}", text) for name, text in work.files.items())
    return Writing(files, (), tuple(work.notes))


def _switch() -> Section:
    return Section("Bridge", (("STP", "no"), ("ForwardDelaySec", "0")))


def _netdev(work: _Work, name: str, kind: str, *sections: Section, mac: str = "", mtu: int = 0) -> None:
    lines = [("Name", name), ("Kind", kind)]
    lines += [("MACAddress", mac)] if mac else []
    lines += [("MTUBytes", str(mtu))] if mtu else []
    work.add(f"{_FIRST[0]}-xmcompat-{name}.netdev", Section("NetDev", tuple(lines)), *sections)


def _plain(work: _Work, device: str, network: _Lines, *sections: Section, link: _Lines = (), before: str = "") -> None:
    """A .network for DEVICE, with what hangs on it, in place of the file BEFORE."""
    lines = (*network, *work.carries.get(device, ()))
    name = f"{_prefix(work, device)}-xmcompat-{device}.network"
    work.add(name, Section("Match", (("Name", device),)), Section("Link", link), Section("Network", lines), *sections,
             header=configured.header(device, before))  # fmt: skip


# -- which .network a device has


def network_file(device: str, host: Host, facts: Facts) -> str:
    """The path of the .network that DEVICE has, or would have; "" for none. FACTS are without ours."""
    said = facts.replaced.get(device) or _state(device, host, facts).get("NETWORK_FILE", "")
    if said in facts.files:
        return said
    return next((path for path in _all_networks(facts) if _fits(facts.text(path), device, host)), "")


def _all_networks(facts: Facts) -> list[str]:
    by_name: dict[str, str] = {}
    for folder in FOLDERS:
        for path in facts.below(folder, ".network"):
            by_name.setdefault(posixpath.basename(path), path)
    return [by_name[name] for name in sorted(by_name)]


def _fits(text: str, device: str, host: Host) -> bool:
    """Whether a .network is for DEVICE, as far as its name, addresses and kind tell."""
    match = keyfile.named(keyfile.parse(text), "Match")
    link = host.link(device)
    kind = link.kind if link else ""
    tests = {
        "Name": lambda value: _one_of(value, device),
        "MACAddress": lambda value: bool(link) and link is not None and link.mac in value.lower().split(),
        "PermanentMACAddress": lambda value: link is not None and link.mac in value.lower().split(),
        "Type": lambda value: _one_of(value, kind if kind in ("bridge", "bond", "vlan", "vxlan") else "ether"),
        "Kind": lambda value: _one_of(value, kind),
    }
    return bool(match.lines) and all(key in tests and tests[key](value) for key, value in match.lines)


def _one_of(patterns: str, name: str) -> bool:
    words = patterns.split()
    negated = bool(words) and words[0].startswith("!")
    words = [word.removeprefix("!") for word in words]
    return any(fnmatch.fnmatchcase(name, word) for word in words) != negated


def _prefix(work: _Work, device: str) -> str:
    """What lets a file of ours go before all that fit DEVICE. Raises NetworkError where nothing does."""
    said = network_file(device, work.host, work.facts)
    others = [path for path in _all_networks(work.facts) if path == said or _fits(work.facts.text(path), device, work.host)]
    for first in _FIRST:
        if all(f"{first}-xmcompat-{device}.network" < posixpath.basename(path) for path in others):
            return first
    raise NetworkError(f"{others[0]} goes before any file of ours", hint="give it a name that begins with a number")


def _present(work: _Work, device: str) -> tuple[str, tuple[Section, ...]]:
    """The .network of DEVICE with its drop-ins, and its path; "" and () for none."""
    path = network_file(device, work.host, work.facts)
    if not path:
        return "", ()
    name = posixpath.basename(path)
    texts = [work.facts.text(path)]
    drops: dict[str, str] = {}
    for folder in FOLDERS:
        for drop, text in work.facts.below(f"{folder}/{name}.d", ".conf").items():
            drops.setdefault(posixpath.basename(drop), text)
    texts += [drops[drop] for drop in sorted(drops)]
    return path, tuple(one for text in texts for one in keyfile.parse(text) if one.name != "Match")


# -- a bridge, and what its card had


def _bridge(work: _Work, bridge: Bridge) -> None:
    host, card = work.host, bridge.uplink
    path, sections = _present(work, card)
    network = keyfile.named(sections, "Network")
    if above := network.get("Bridge") or network.get("Bond"):
        raise NetworkError(f"{path} puts {card} into {above} already", hint=f"take it out of there, or use {above}")
    _netdev(work, bridge.name, "bridge", _switch(), mac=configured.mac(card, host), mtu=configured.mtu(card, host))
    kept = tuple(line for line in network.lines if line[0] in _KEYS_OF_CARD)
    of_card = [one for one in sections if one.name in _OF_CARD and one.name != "Link"]
    _plain(work, card, (("Bridge", bridge.name), *_NO_ADDRESSES, *kept), *of_card,
           link=keyfile.named(sections, "Link").lines, before=path)  # fmt: skip
    if path:
        lines = tuple(line for line in network.lines if line[0] not in _KEYS_OF_CARD)
        moved = [one for one in sections if one.name not in (*_OF_CARD, "Network")]
        moved, said = _same_client(work, bridge, moved)
        work.notes += [f"{bridge.name} gets what {path} says of {card}", *said]
    else:
        work.notes.append(f"no file of systemd-networkd fits {card}: {bridge.name} gets what it has now")
        lines, moved = _from_kernel(work, bridge)
    required = keyfile.named(sections, "Link").all("RequiredForOnline")
    _plain(work, bridge.name, lines, *moved, link=tuple(("RequiredForOnline", value) for value in required[-1:]))


def _same_client(work: _Work, bridge: Bridge, sections: list[Section]) -> tuple[list[Section], list[str]]:
    """SECTIONS with the number by which the DHCP server knows the card, which else is made of the device's name."""
    devices = [link.index for name in (bridge.uplink, bridge.name) if (link := work.host.link(name))]
    leases = [keyfile.parse(f"[lease]\n{work.facts.text(f'{_LEASES}/{index}')}")[0] for index in devices]
    client = next((lease.get("CLIENTID") for lease in leases if lease.get("CLIENTID")), "")
    given = [key for one in sections if one.name in ("DHCP", "DHCPv4") for key, _ in one.lines]
    if not client.startswith("ff") or len(client) < 10 or "IAID" in given or "ClientIdentifier" in given:
        return sections, []
    number = int(client[2:10], 16)
    said = f"the DHCP server of {bridge.uplink} knows it by the IAID {number}"
    return [*sections, Section("DHCPv4", (("IAID", str(number)),))], [said]


def _from_kernel(work: _Work, bridge: Bridge) -> tuple[_Lines, list[Section]]:
    has = configured.carried(bridge, work.host, work.facts)
    work.notes += has.left
    lines = [("DHCP", "ipv4")] if has.dhcp else []
    lines += [("Address", one) for one in has.addresses]
    lines += [("Gateway", gateway) for family in (4, 6) if (gateway := has.gateway(family))]
    lines += [("DNS", one) for one in has.dns]
    lines += [] if has.advertised else [("IPv6AcceptRA", "no")]
    routes = [
        Section("Route", (("Destination", one.destination), *((("Gateway", one.gateway),) if one.gateway else ()),
                          *((("Metric", str(one.metric)),) if one.metric else ())))
        for family in (4, 6) for one in has.others(family)
    ]  # fmt: skip
    return tuple(lines), routes


def _carrying(work: _Work, device: str) -> None:
    """That others hang on DEVICE, where no file of ours says so yet."""
    if any(name.endswith(f"-xmcompat-{device}.network") for name in work.files):
        return
    path, sections = _present(work, device)
    match = keyfile.named(keyfile.parse(work.facts.text(path)), "Match")
    lines = tuple(work.carries[device])
    if match.lines == (("Name", device),):
        work.add(f"{posixpath.basename(path)}.d/60-xmcompat.conf", Section("Network", lines))
    elif path:
        work.notes.append(f"{path} is for more than {device}: {device} gets a file of its own")
        others = [one for one in sections if one.name not in ("Link", "Network")]
        _plain(work, device, keyfile.named(sections, "Network").lines, *others,
               link=keyfile.named(sections, "Link").lines, before=path)  # fmt: skip
    else:
        _plain(work, device, _NO_ADDRESSES)


def _overlay(work: _Work, overlay: Overlay) -> None:
    host, device = work.host, overlay.device
    if configured.makes_bridge(overlay, host):
        name = overlay.bridge
        _netdev(work, name, "bridge", _switch(), mac=configured.mac(name, host), mtu=configured.mtu(name, host))
        _plain(work, name, _NO_ADDRESSES, link=_NOT_WAITED_FOR)
    link = host.link(device)
    lines = [("VNI", str(overlay.vni)), ("DestinationPort", str(overlay.port))]
    lines += [("Local", overlay.local)] if overlay.local else []
    lines += [("Group", overlay.group)] if overlay.group else [("Independent", "yes")]
    lines += [("TTL", str(link.details["ttl"]))] if link and "ttl" in link.details else []
    vxlan = Section("VXLAN", tuple(lines))
    _netdev(work, device, "vxlan", vxlan, mac=configured.mac(device, host), mtu=configured.mtu(device, host))
    peers = [Section("BridgeFDB", (("MACAddress", EVERYBODY), ("Destination", peer))) for peer in overlay.peers]
    _plain(work, device, (("Bridge", overlay.bridge), *_NO_ADDRESSES), *peers, link=_NOT_WAITED_FOR)
