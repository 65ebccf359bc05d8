"""Networks as profiles of NetworkManager: keyfiles that only root can read, with numbers that are the same each time. Pure.

The card's own profile stays as it is; one of ours with a higher priority makes it the port of its bridge, which gets the
addresses, routes and resolvers of that profile. ``master`` and ``slave-type`` are understood by every NetworkManager, and
``controller`` only by new ones. Devices are known as ours by an alias from a .link file, by udev.
"""

from __future__ import annotations

import posixpath
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xmcompat.network import configured, keyfile
from xmcompat.network.configured import HEADER, Carried, Facts, Text, Writing
from xmcompat.network.host import Host
from xmcompat.network.keyfile import Section
from xmcompat.network.programs import NetworkError
from xmcompat.network.wanted import Bridge, Network, Overlay, Segment, Vlan

FOLDER = "/etc/NetworkManager/system-connections"
FOLDERS = (FOLDER, "/run/NetworkManager/system-connections", "/usr/lib/NetworkManager/system-connections")
_DEVICES = "/run/NetworkManager/devices"
_LINKS = "/etc/systemd/network"
_SUFFIX = ".nmconnection"
#: By how much ours goes before the card's own profile, and the highest there is.
_BEFORE, _HIGHEST = 100, 999

#: Sections of a profile that its bridge gets, those that its port keeps, and those that nobody can take over.
_OF_BRIDGE = ("ipv4", "ipv6", "proxy")
_OF_CARD = ("ethernet", "802-3-ethernet", "bond", "vlan", "team", "ethtool", "link")
_NOBODYS = ("802-1x", "dcb", "macsec")

_NONE = (Section("ipv4", (("method", "disabled"),)), Section("ipv6", (("method", "disabled"),)))


def manages(device: str, host: Host, facts: Facts) -> bool:
    """Whether NetworkManager configures DEVICE, as it says itself."""
    return _state(device, host, facts).get("managed") in ("true", "1")


def _state(device: str, host: Host, facts: Facts) -> Section:
    link = host.link(device)
    text = facts.text(f"{_DEVICES}/{link.index}") if link else ""
    return keyfile.named(keyfile.parse(text), "device")


def is_ours(path: str, text: str) -> bool:
    """Whether the profile is ours, also where NetworkManager has written it anew, without its comments."""
    name = posixpath.basename(path).removesuffix(_SUFFIX)
    known = posixpath.dirname(path) == FOLDER and path.endswith(_SUFFIX)
    return known and keyfile.named(keyfile.parse(text), "connection").get("uuid") == _uuid(name)


def _uuid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"xmcompat:{name}"))


@dataclass
class _Work:
    host: Host
    facts: Facts
    files: list[Text] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def write(wanted: Sequence[Network], host: Host, facts: Facts) -> Writing:
    """The files. FACTS are without ours. Raises NetworkError where there can be none."""
    work = _Work(host, facts)
    bridges = {one.uplink: one for one in wanted if isinstance(one, Bridge)}
    for network in wanted:
        match network:
            case Vlan():
                vlan = Section("vlan", (("id", str(network.tag)), ("parent", network.parent), ("flags", "1")))
                above = bridges.get(network.name)
                ends = () if above else _NONE
                _add(work, network.name, "vlan", vlan, *ends, more=_port(above.name) if above else ())
            case Bridge():
                _bridge(work, network, made_here=any(one.name == network.uplink for one in wanted if isinstance(one, Vlan)))
            case Segment():
                ends = (_addresses("ipv4", network), _addresses("ipv6", network))
                _add(work, network.name, "bridge", *_switch(configured.mac(network.name, host)), *ends)
            case Overlay():
                work.notes.append(f"the overlay {network.bridge}: 'xend start' makes it at boot")
                continue
        for device, alias in configured.mark(network, host).items():
            sections = (Section("Match", (("OriginalName", device),)), Section("Link", (("Alias", alias),)))
            work.files.append(Text(f"{_LINKS}/10-xmcompat-{device}.link", keyfile.text(HEADER, sections)))
    return Writing(tuple(work.files), (), tuple(work.notes))


def _add(work: _Work, device: str, kind: str, *sections: Section, more: Sequence[tuple[str, str]] = (),
         before: str = "") -> None:  # fmt: skip
    """A profile for DEVICE, in place of that of the file BEFORE."""
    name = f"xmcompat-{device}"
    lines = (("id", name), ("uuid", _uuid(name)), ("type", kind), ("interface-name", device), *more)
    text = keyfile.text(configured.header(device, before), (Section("connection", lines), *sections))
    work.files.append(Text(f"{FOLDER}/{name}{_SUFFIX}", text, 0o600))


def _switch(mac: str) -> tuple[Section, ...]:
    own = (Section("ethernet", (("cloned-mac-address", mac.upper()),)),) if mac else ()
    return (*own, Section("bridge", (("stp", "false"),)))


def _port(bridge: str) -> tuple[tuple[str, str], ...]:
    return (("master", bridge), ("slave-type", "bridge"))


def _addresses(section: str, segment: Segment) -> Section:
    mine = [one for one in segment.addresses if (":" in one) == (section == "ipv6")]
    lines = [("method", "manual" if mine else "disabled")]
    return Section(section, (*lines, *((f"address{number}", one) for number, one in enumerate(mine, 1))))


# -- a bridge, and what its card had


def profile(device: str, host: Host, facts: Facts) -> tuple[str, tuple[Section, ...]]:
    """The profile that DEVICE has, with its path; "" and () for none in a keyfile. FACTS are without ours."""
    said = _state(device, host, facts).get("connection-uuid")
    parsed = {path: keyfile.parse(text) for folder in FOLDERS for path, text in facts.below(folder).items()}
    own = {path: keyfile.named(sections, "connection") for path, sections in parsed.items()}
    if (before := facts.replaced.get(device, "")) in parsed:
        return before, parsed[before]
    for path, connection in own.items():
        if said and connection.get("uuid") == said:
            return path, parsed[path]
    named = [path for path, connection in own.items() if connection.get("interface-name") == device]
    best = max(named, key=lambda path: _priority(own[path]), default="")
    return best, parsed.get(best, ())


def _priority(connection: Section) -> int:
    try:
        return int(connection.get("autoconnect-priority", "0"))
    except ValueError:
        return 0


def _bridge(work: _Work, bridge: Bridge, *, made_here: bool) -> None:
    host, card = work.host, bridge.uplink
    path, sections = profile(card, host, work.facts)
    mac = configured.mac(card, host)
    if path:
        _refuse(path, sections, card, work.facts)
        ends = tuple(one for one in sections if one.name in _OF_BRIDGE)
        work.notes.append(f"{bridge.name} gets what {path} says of {card}")
    else:
        has = configured.carried(bridge, host, work.facts)
        work.notes += has.left
        ends = (_from_kernel("ipv4", has), _from_kernel("ipv6", has))
        if not made_here:
            work.notes.append(f"no keyfile of NetworkManager is for {card}: {bridge.name} gets what it has now")
    _add(work, bridge.name, "bridge", *_switch(mac), *ends, more=(("autoconnect-slaves", "1"),))
    if made_here:
        return                           # the VLAN's own profile says whose port it is
    own = keyfile.named(sections, "connection")
    link = host.link(card)
    kinds: Mapping[str, str] = {"bond": "bond", "vlan": "vlan", "team": "team"}
    kind = own.get("type") or kinds.get(link.kind if link else "", "ethernet")
    priority = min(_priority(own) + _BEFORE, _HIGHEST)
    known = (*_OF_BRIDGE, *_OF_CARD, "connection")
    work.notes += [f"{path}: [{one.name}] is not taken over" for one in sections if one.name not in known]
    _add(work, card, kind, *(one for one in sections if one.name in _OF_CARD),
         more=(("autoconnect-priority", str(priority)), *_port(bridge.name)), before=path)  # fmt: skip


def _refuse(path: str, sections: Sequence[Section], card: str, facts: Facts) -> None:
    """Raises NetworkError for a profile whose place ours cannot take."""
    own = keyfile.named(sections, "connection")
    if above := own.get("master") or own.get("controller"):
        raise NetworkError(f"{path} makes {card} a port of {above} already", hint=f"use {above}, or change that profile")
    if bad := [one.name for one in sections if one.name in _NOBODYS]:
        raise NetworkError(f"{path} has [{bad[0]}], which xmcompat does not write",
                           hint=f"make a profile by hand that puts {card} into the bridge")  # fmt: skip
    if _priority(own) >= _HIGHEST:
        raise NetworkError(f"{path} has the highest autoconnect-priority, and none can go before it", hint="lower it")
    for folder in FOLDERS:
        for other, text in facts.below(folder).items():
            port = keyfile.named(keyfile.parse(text), "connection")
            if own.get("uuid") in (port.get("master", "-"), port.get("controller", "-")):
                raise NetworkError(f"{other} is a port of {card} by its profile's uuid", hint=f"write master={card} there")


def _from_kernel(section: str, has: Carried) -> Section:
    family = 4 if section == "ipv4" else 6
    mine = has.of(family)
    automatic = has.dhcp if family == 4 else has.advertised
    lines = [("method", "auto" if automatic else "manual" if mine else "disabled" if family == 4 else "link-local")]
    lines += [(f"address{number}", one) for number, one in enumerate(mine, 1)]
    if (gateway := has.gateway(family)) and mine:
        lines.append(("gateway", gateway))
    for number, route in enumerate(has.others(family), 1):
        words = [route.destination if "/" in route.destination else f"{route.destination}/{32 if family == 4 else 128}"]
        words += [route.gateway or ("0.0.0.0" if family == 4 else "::"), *([str(route.metric)] if route.metric else [])]
        lines.append((f"route{number}", ",".join(words)))
    servers = [one for one in has.dns if (":" in one) == (family == 6)]
    if servers and mine:
        lines.append(("dns", "".join(f"{one};" for one in servers)))
    return Section(section, tuple(lines))
