"""The networks that the words of ``xend-config.sxp`` stand for: ``network-script`` and scripts of the host's own. Pure.

A script is never run. What it calls network-bridge with is read where that stands there in plain words; all else is told.
Differs from xend: cards keep their names, so that a bridge cannot be called like its card: the bridge of eth0 is xenbr0,
as it was before Xen 3.2. Each call of network-bridge makes its bridge; in xend 4.1 all but the first did nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from xmcompat.network.host import Host
from xmcompat.network.names import unusable
from xmcompat.network.wanted import LAST_TAG, Bridge, Nat, Network, Routing, Segment, Vlan

#: Where scripts without a folder lie.
SCRIPTS = "/etc/xen/scripts"

_CARD = re.compile(r"[A-Za-z0-9_.@-]+")
_WRAPPED = re.compile(r"(?:^|[\s;&|(\"'/}])(network-(?:bridge|route|nat)(?:-[\w-]+)?)[\"']?((?:\s+[^\s;&|)<>]+)*)")
_ADDRESS = re.compile(r"\bip\s+addr(?:ess)?\s+add\s+([\d.:a-fA-F]+/\d+)\s.*?\bdev\s+(\S+)")
_IFCONFIG = re.compile(r"\bifconfig\s+(\S+)\s+(?:inet\s+)?([\d.]+)\s+.*?\bnetmask\s+([\d.]+)")
_YES = ("yes", "y", "1", "on", "true")


class Remark(NamedTuple):
    """Something about the words that an operator should know; ``warns`` where he may have to see to it."""

    text: str
    warns: bool = True


class Topology(NamedTuple):
    """The networks, each once, in the order of the words."""

    wanted: tuple[Network, ...] = ()
    remarks: tuple[Remark, ...] = ()


def script_path(words: str) -> str:
    """The file of the script that the words of ``network-script`` begin with, "" for none."""
    name = words.split()[0] if words.split() else ""
    return name if not name or name.startswith("/") else f"{SCRIPTS}/{name}"


def bridge_called(named: str, netdev: str) -> str:
    """What the bridge on the card NETDEV is called here, where Xen's words call it NAMED ("" for Xen's own choice)."""
    if named and named != netdev:
        return named
    card = netdev or "eth0"
    if found := re.fullmatch(r"eth([0-9]{1,6})", card):
        return f"xenbr{found[1]}"
    if re.fullmatch(r"dummy[0-9]+", card):
        return card
    return f"br-{card[-12:]}"


def topology(
    network_script: str, vif_script: str, script: str | None, host: Host, cards: Mapping[str, str] | None = None
) -> Topology:
    """What the words mean on HOST. SCRIPT is the text of the file that they name, None where it is not there.

    CARDS says which of its cards stand for those that the words name.
    """
    words = network_script.split()
    if not words:
        return Topology(remarks=tuple(_vif_remarks(vif_script, "")))
    name = words[0].rpartition("/")[2]
    reading = _Reading(host, cards or {})
    if name in ("true", "network-dummy"):
        reading.tell(f"network-script {name}: the host's own configuration makes its networks, xend none", warns=False)
    elif name in _KNOWN:
        _KNOWN[name](reading, words[1:])
    elif name == "network-multinet":
        _multinet(reading, words[1:])
    else:
        _own_script(reading, name, words[1:], script)
    remarks = (*reading.remarks, *_vif_remarks(vif_script, name))
    return Topology(tuple(dict.fromkeys(reading.wanted)), tuple(dict.fromkeys(remarks)))


class _Reading:
    """What has been understood so far."""

    def __init__(self, host: Host, cards: Mapping[str, str]) -> None:
        self.host = host
        self.cards = cards
        self.wanted: list[Network] = []
        self.remarks: list[Remark] = []
        self.addresses: dict[str, list[str]] = {}

    def tell(self, text: str, *, warns: bool = True) -> None:
        self.remarks.append(Remark(text, warns))

    def card(self, named: str) -> str:
        """The card of this host that is meant by NAMED."""
        if named in self.cards:
            return self.cards[named]
        if link := self.host.link(named):
            return link.name
        default = self.host.default_device
        link = self.host.link(default)
        if named == "eth0" and link and link.mark and link.mark.kind == "bridge":
            return link.mark.values.get("uplink", "") or named
        if named == "eth0" and default:
            self.tell(
                f"this host has no card eth0: {default}, the device of its default route, is taken for it; "
                "[network.cards] in xmcompat.toml can say otherwise"
            )
            return default
        return named


# -- Xen's own scripts


def _bridge(reading: _Reading, words: list[str]) -> None:
    given = _pairs(reading, "network-bridge", words, ("netdev", "bridge", "antispoof", "vifnum"))
    if given is None or given.get("bridge") == "null":
        return
    netdev = given.get("netdev", "")
    if not netdev and "vifnum" in given:
        netdev = f"eth{given['vifnum']}"
        given.setdefault("bridge", f"xenbr{given['vifnum']}")
    if netdev and (not _CARD.fullmatch(netdev) or unusable(netdev)):
        return reading.tell(f"network-bridge: '{netdev}' cannot be a card; no bridge is made for it")
    name = bridge_called(given.get("bridge", ""), netdev)
    if why := unusable(name):
        return reading.tell(f"network-bridge: {why}; no bridge is made for it")
    antispoof = given.get("antispoof", "no").lower() in _YES
    made = len(reading.wanted)
    if re.fullmatch(r"p?dummy[0-9]+", netdev):
        reading.wanted.append(Segment(name=name, addresses=_own_addresses(reading, netdev, name), antispoof=antispoof))
    elif not netdev and _has_bridge(reading, name):
        return None
    else:
        _uplinked(reading, name, netdev, antispoof)
    if len(reading.wanted) > made and name != (given.get("bridge") or netdev or "eth0"):
        old = given.get("bridge") or netdev or "eth0"
        reading.tell(f"the bridge '{old}' is called {name} here: a card keeps its name", warns=False)
    return None


def _uplinked(reading: _Reading, name: str, netdev: str, antispoof: bool) -> None:
    """A bridge with a card, or with a VLAN of one: "eth0.100"."""
    parent, dot, tag = netdev.rpartition(".")
    link = reading.host.link(netdev)
    if dot and tag.isdecimal() and parent and (link is None or link.kind == "vlan"):
        if not 1 <= int(tag) <= LAST_TAG:
            return reading.tell(f"network-bridge: {netdev} names the VLAN {tag}, which cannot be; no bridge is made for it")
        below = reading.card(parent)
        device = netdev if below == parent else f"{below}.{int(tag)}"
        if why := unusable(device):
            return reading.tell(f"network-bridge: {why}; no bridge is made for it")
        reading.wanted.append(Vlan(name=device, parent=below, tag=int(tag)))
        reading.wanted.append(Bridge(name=name, uplink=device, antispoof=antispoof))
        return None
    reading.wanted.append(Bridge(name=name, uplink=reading.card(netdev) if netdev else "", antispoof=antispoof))
    return None


def _has_bridge(reading: _Reading, name: str) -> bool:
    """Whether the default route is on a bridge of the distribution already, which then serves."""
    link = reading.host.link(reading.host.default_device)
    if link is None or link.kind != "bridge" or link.name == name or link.mark:
        return False
    reading.tell(
        f"the default route is on the bridge {link.name} already: network-bridge makes none; guests that name another one "
        f'find it where [bridge_aliases] in xmcompat.toml has {name} = "{link.name}"'
    )
    return True


def _own_addresses(reading: _Reading, dummy: str, name: str) -> tuple[str, ...]:
    """The host's addresses on a segment: those that the script gives it, or the host's dummy card has."""
    given = [*reading.addresses.get(dummy, ()), *reading.addresses.get(name, ())]
    return tuple(dict.fromkeys(given or (str(one) for one in reading.host.addresses_of(dummy) if one.scope == "global")))


def _route(reading: _Reading, words: list[str]) -> None:
    given = _pairs(reading, "network-route", words, ("netdev",))
    if given is not None:
        reading.wanted.append(Routing(uplink=reading.card(given.get("netdev", "eth0"))))


def _nat(reading: _Reading, words: list[str]) -> None:
    given = _pairs(reading, "network-nat", words, ("netdev", "antispoof", "dhcp"))
    if given is None:
        return
    if "dhcp" not in given:
        reading.tell("network-nat: dhcp= is not given: guests get their addresses by DHCP", warns=False)
    dhcp = given.get("dhcp", "yes").lower() in _YES
    reading.wanted.append(Nat(uplink=reading.card(given.get("netdev", "eth0")), dhcp=dhcp))


def _vnet(reading: _Reading, words: list[str]) -> None:
    reading.tell("network-vnet: overlays are made one by one, by xm vnet-create or [network.overlays] in xmcompat.toml")


def _pairs(reading: _Reading, script: str, words: list[str], known: tuple[str, ...]) -> dict[str, str] | None:
    """NAME=VALUE of each word; None for a call that makes nothing. Words that are not understood are told."""
    found: dict[str, str] = {}
    for word in words:
        key, equal, value = word.partition("=")
        if word in ("stop", "status"):
            return None
        if word == "start":
            continue
        if not equal or key not in known:
            reading.tell(f"{script}: '{word}' is not understood, and passed over")
        elif value:
            found[key] = value
    if not found.get("vifnum", "0").isdecimal():
        reading.tell(f"{script}: vifnum={found.pop('vifnum')} is no number, and passed over")
    return found


_KNOWN: dict[str, Callable[[_Reading, list[str]], None]] = {
    "network-bridge": _bridge, "network-route": _route, "network-nat": _nat, "network-vnet": _vnet,
}  # fmt: skip


# -- those of distributions, and the host's own


def _multinet(reading: _Reading, words: list[str]) -> None:
    """SUSE's: lists of "bridge:eth0,eth1", "hostonly:NAME", "nat:NAME"."""
    for word in words:
        kind, colon, rest = word.partition(":")
        names = [name for name in re.split("[,:]", rest) if name]
        if not colon or kind not in ("bridge", "hostonly", "nat") or not names or any(map(unusable, names)):
            reading.tell(f"network-multinet: '{word}' is not understood, and passed over")
        elif kind == "bridge":
            for name in names:
                _bridge(reading, [f"netdev={name}"])
        elif kind == "hostonly":
            reading.wanted += [Segment(name=name) for name in names]
        else:
            reading.wanted.append(Nat(uplink=reading.card("eth0"), bridge=names[0]))
            for name in names[1:]:
                reading.tell(f"network-multinet: a second translated network, '{name}', is not made")
    if not words:
        reading.tell("network-multinet without words: its networks are not known here; describe them in xmcompat.toml")


def _own_script(reading: _Reading, name: str, words: list[str], script: str | None) -> None:
    """A script that calls those of Xen; or a distribution's network-bridge-SOMETHING, where nothing better is known."""
    calls = list(_calls(script or "", words))
    if script is not None:
        reading.addresses = _addresses(script)
    if calls and script is not None:
        reading.tell(f"{name} is not run: its calls of Xen's scripts, and nothing else of it, count here", warns=False)
        made = 0
        for line, inner, arguments in calls:
            if "$" in " ".join(arguments):
                reading.tell(f"{name}:{line}: '{' '.join(arguments)}' is not in plain words; describe it in xmcompat.toml")
                continue
            _KNOWN[inner](reading, arguments)
            made += inner == "network-bridge"
        if made > 1:
            reading.tell(f"{name} calls network-bridge {made} times: xend 4.1 made the first bridge only, here are all")
    elif name.startswith("network-bridge"):
        reading.tell(f"{name} is taken for network-bridge")
        _bridge(reading, words)
    else:
        why = "is not there" if script is None else "calls none of Xen's scripts in plain words"
        reading.tell(f"{name} {why}: the networks that it made are not known; describe them in xmcompat.toml")


def _calls(script: str, given: list[str]) -> Iterator[tuple[int, str, list[str]]]:
    """Each call of a script of Xen's: the line, its name and its arguments, those of the wrapper itself put in."""
    values: dict[str, str] = {}
    text = script.replace("\\\n", "  ")
    for number, raw in enumerate(text.split("\n"), 1):
        line = re.sub(r"(^|\s)#.*", "", raw)
        if assigned := re.fullmatch(r"\s*(\w+)=[\"']?([\w.:-]+)[\"']?\s*", line):
            values[assigned[1]] = assigned[2]
        call = _WRAPPED.search(line)
        if not call:
            continue
        inner = next((known for known in _KNOWN if call[1].startswith(known)), "")
        rest = call[2].replace('"', " ").replace("'", " ")
        rest = re.sub(r"\$\{?(\w+)\}?", lambda found: values.get(found[1], found[0]), rest)
        arguments: list[str] = []
        for word in rest.split():
            arguments += given if word in ("$@", "$*", "${@}") else [] if re.fullmatch(r"\$\{?1\}?", word) else [word]
        if inner and not {"stop", "status"} & set(arguments) and _is_call(line, call):
            yield number, inner, arguments


def _is_call(line: str, call: re.Match[str]) -> bool:
    """Whether the script's name stands where a command does, and is not only tested for: "[ -x network-bridge ]"."""
    before = line[: call.start(1)].rpartition("&&")[2].rpartition(";")[2]
    return not re.search(r"(?:\[|\btest|\becho|\bprintf|=|\blogger)\s*[^;&|]*$", before)


def _addresses(script: str) -> dict[str, list[str]]:
    """What a script gives devices: "ip addr add 10.0.0.1/24 dev dummy0", "ifconfig dummy0 10.0.0.1 netmask ..."."""
    found: dict[str, list[str]] = {}
    for line in script.splitlines():
        line = line.partition("#")[0]
        if given := _ADDRESS.search(line):
            text, device = given[1], given[2]
        elif given := _IFCONFIG.search(line):
            text, device = f"{given[2]}/{given[3]}", given[1]
        else:
            continue
        try:
            found.setdefault(device, []).append(str(ipaddress.ip_interface(text)))
        except ValueError:
            continue
    return found


def _vif_remarks(vif_script: str, network_script: str) -> Iterator[Remark]:
    """Where the two scripts do not fit together."""
    name = vif_script.split()[0].rpartition("/")[2] if vif_script.split() else ""
    needs = {"vif-route": "network-route", "vif-nat": "network-nat"}.get(name)
    if needs and network_script in ("", "network-bridge", "true", "network-dummy"):
        yield Remark(f"vif-script {name} needs what {needs} makes: (network-script {needs}), or [network] in xmcompat.toml")


def merged(first: Topology, more: tuple[Network, ...]) -> Topology:
    """With the networks of the settings: of two that are for one bridge, that of the settings counts."""
    named = {_key(network) for network in more}
    kept = tuple(network for network in first.wanted if _key(network) not in named)
    return first._replace(wanted=tuple(dict.fromkeys((*kept, *more))))


def _key(network: Network) -> str:
    return getattr(network, "name", "") or getattr(network, "bridge", "") or type(network).__name__
