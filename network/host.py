"""The host's network as the kernel has it at one moment: links, addresses, routes, settings, and our nftables tables.

``read`` asks the kernel; all else here is a value that plans are made from.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from xmcompat.network import files, marks, processes, programs, route_words, switches, sysctl
from xmcompat.network import tables as kernel_tables
from xmcompat.network.marks import Mark
from xmcompat.network.programs import NetworkError, ProgramFailed
from xmcompat.network.switches import OpenSwitch

#: The name of our table in each of nftables' families, and the families that it exists in.
TABLE = "xmcompat"
FAMILIES = ("netdev", "inet")

#: What made a proxy neighbour: the number by which ours are known from others'.
PROTOCOL = "120"

#: The end of the directory that has one for each of our dnsmasqs, named by its bridge.
SERVERS = "/xmcompat/nat"

#: The directory of copies of notes, which lie in another one for each network namespace.
COPIES = "/run/xmcompat/notes"

#: The key of a VXLAN's entries for what is for everybody, and for whom it does not know.
EVERYBODY = "00:00:00:00:00:00"

#: How ip is asked for all routes of a family.
_ROUTES = "route show table all"

#: Settings of the whole host, and of each link, that the modes look at.
GLOBAL = (
    "net.ipv4.ip_forward", "net.ipv4.conf.all.accept_redirects", "net.ipv6.conf.all.forwarding",
    "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables", "net.bridge.bridge-nf-call-arptables",
)  # fmt: skip
OF_LINK = (
    "net.ipv4.conf.*.proxy_arp", "net.ipv4.conf.*.rp_filter", "net.ipv6.conf.*.disable_ipv6",
    "net.ipv6.conf.*.accept_ra", "net.ipv6.conf.*.proxy_ndp", "net.ipv6.conf.*.forwarding",
)  # fmt: skip

#: Those that are of no interest for the taps of guests, of which there are many.
OF_CARD = (
    "net.ipv4.conf.*.forwarding", "net.ipv4.conf.*.arp_ignore", "net.ipv6.conf.*.autoconf",
    "net.ipv6.conf.*.accept_dad", "net.ipv6.conf.*.use_tempaddr", "net.ipv6.conf.*.addr_gen_mode",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """``rest`` are the words behind "ip addr add ADDRESS/PREFIX" that make the same again: label, broadcast, lifetimes.

    ``temporary``: the kernel has drawn it for privacy, and nobody else can make such a one.
    """

    device: str
    address: str
    prefix: int
    scope: str = "global"
    dynamic: bool = False
    temporary: bool = False
    rest: tuple[str, ...] = ()

    @property
    def family(self) -> int:
        return 6 if ":" in self.address else 4

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """``words`` are those behind "ip -4|-6 route add" that make it again, its device ("dev X") left out.

    A route of several next hops is one Route of the type "multipath" for each of its devices. ``words`` do not make it, nor
    those of the types "nexthop", which have an object of its own as their next hop, and "encapsulated".
    """

    device: str
    destination: str                     # "default", "192.0.2.0/24", "192.0.2.1"
    family: int = 4
    protocol: str = "boot"
    table: str = "main"
    gateway: str = ""
    metric: int = 0
    type: str = "unicast"
    words: tuple[str, ...] = ()

    def word(self, key: str) -> str:
        """What stands behind KEY among its words, "" where it is not there."""
        return dict(zip(self.words, self.words[1:], strict=False)).get(key, "")


class Proxy(NamedTuple):
    """An IPv6 ADDRESS of a guest for which DEVICE answers neighbours."""

    device: str
    address: str


class Server(NamedTuple):
    """The dnsmasq of a BRIDGE, with the directory of its files."""

    bridge: str
    directory: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """``kind`` is "" for hardware, else "bridge", "tun", "veth", "vlan", "vxlan", "bond", ... ``master`` "" for none."""

    index: int
    name: str
    mac: str = ""
    mtu: int = 1500
    kind: str = ""
    master: str = ""
    up: bool = False
    carrier: bool = False
    alias: str = ""
    altnames: tuple[str, ...] = ()
    parent: str = ""                     # the link below a VLAN, the underlay of a VXLAN
    wireless: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)        # linkinfo's info_data
    port: Mapping[str, Any] = field(default_factory=dict)           # linkinfo's info_slave_data

    @property
    def mark(self) -> Mark | None:
        return marks.read(self.alias)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One moment of the host's network. ``tables`` are the objects of ``nft -j list table FAMILY xmcompat``, by family.

    ``floods`` are, by VXLAN, the addresses that what is for everybody goes to: peers, or the multicast group.
    ``proxies`` are the IPv6 addresses of guests that a card answers for, by our doing; ``servers`` our dnsmasqs.
    ``root_server`` is the NFS server that the root file system comes from, "" for a disk. ``switch_stopped``: Open
    vSwitch is installed, and does not run. ``copies`` are those of notes, their marks by the notes' names, and ``folder``
    the place for them, "" where none are to be kept.
    """

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    floods: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    proxies: tuple[Proxy, ...] = ()
    servers: tuple[Server, ...] = ()
    root_server: str = ""
    switches: tuple[OpenSwitch, ...] = ()
    switch_stopped: bool = False
    copies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folder: str = ""

    def link(self, name: str) -> Link | None:
        """By its name, or one of its other names."""
        return next((link for link in self.links if link.name == name or name in link.altnames), None)

    def ports(self, bridge: str) -> tuple[Link, ...]:
        return tuple(link for link in self.links if link.master == bridge)

    def addresses_of(self, device: str, family: int = 0) -> tuple[Address, ...]:
        return tuple(a for a in self.addresses if a.device == device and family in (0, a.family))

    def routes_of(self, device: str) -> tuple[Route, ...]:
        return tuple(route for route in self.routes if route.device == device)

    def setting(self, key: str) -> str:
        """The sysctl's value, "" where the kernel has none or it was not read."""
        return self.settings.get(key, "")

    def setting_of(self, pattern: str, device: str) -> str:
        return self.setting(sysctl.of_device(pattern, device))

    @property
    def default_device(self) -> str:
        """The device of the IPv4 default route with the lowest metric, else of IPv6's; "" for none."""
        found = [route for route in self.routes if route.destination == "default" and route.table == "main"]
        best = min(found, key=lambda route: (route.family, route.metric), default=None)
        return best.device if best else ""

    def marked(self, kind: str) -> tuple[tuple[Link, Mark], ...]:
        """Our links of a KIND, with their marks."""
        found = ((link, link.mark) for link in self.links)
        return tuple((link, mark) for link, mark in found if mark is not None and mark.kind == kind)


def read(*, tables: bool = True) -> Host:
    """Ask the kernel. Without TABLES nftables is not asked. Raises NetworkError."""
    shown_links, shown_addresses = _asked("", "link show", "addr show")
    routes4, = _asked("-4", _ROUTES)
    routes6, shown_proxies = _asked("-6", _ROUTES, "neigh show proxy")
    links = _links(shown_links)
    return Host(
        links=links,
        addresses=tuple(_addresses(shown_addresses)),
        routes=(*_routes(4, routes4), *_routes(6, routes6)),
        settings=_settings(links),
        tables={family: table(family) for family in FAMILIES} if tables else {},
        floods=_floods() if any(link.kind == "vxlan" for link in links) else {},
        root_server=root_server(Path("/proc/mounts").read_text(errors="replace")),
        switches=switches.read(),
        switch_stopped=switches.stopped(),
        proxies=_proxies(shown_proxies),
        servers=servers(),
        copies=copies(folder()) if tables else {},
        folder=folder() if tables else "",
    )


def folder() -> str:
    """Where copies of notes are kept: for each network namespace its own place, as /run may be that of several."""
    return f"{COPIES}/{os.stat('/proc/self/ns/net').st_ino}"


def copies(place: str) -> dict[str, tuple[str, ...]]:
    """The copies in the directory PLACE."""
    found = sorted(Path(place).glob("[!.]*"))
    return {path.name.replace("%", "/"): tuple(files.read(str(path)).splitlines()) for path in found}


def root_server(mounts: str) -> str:
    """Whom the root file system comes from by NFS, "" for nobody; by the text of /proc/mounts. Pure."""
    found = ""
    for line in mounts.splitlines():
        words = line.split()
        if len(words) > 3 and words[1] == "/":
            options = dict(word.partition("=")[::2] for word in words[3].split(","))
            server = options.get("addr") or words[0].rpartition(":")[0]
            found = server if words[2] in ("nfs", "nfs4") else ""
    return found


def read_links(*words: str) -> tuple[Link, ...]:
    """Those that "ip link show WORDS" has: "type ifb". Raises NetworkError."""
    return _links(_json("ip", "-j", "-d", "link", "show", *words))


def read_link(name: str) -> Link | None:
    """One link, None where there is none of that name. Its cost does not grow with their number. Raises NetworkError."""
    try:
        return next(iter(read_links("dev", name)), None)
    except ProgramFailed as error:
        if "does not exist" in error.said:
            return None
        raise


def proxies(device: str = "") -> tuple[Proxy, ...]:
    """The IPv6 addresses that DEVICE, or any, answers for, by our doing."""
    return _proxies(_json("ip", "-j", "-6", "neigh", "show", "proxy", *(("dev", device) if device else ())), device)


def _proxies(entries: Iterable[dict[str, Any]], device: str = "") -> tuple[Proxy, ...]:
    return tuple(
        Proxy(entry.get("dev", device), entry["dst"]) for entry in entries if str(entry.get("protocol")) == PROTOCOL
    )


def servers() -> tuple[Server, ...]:
    """Our dnsmasqs that run in this network."""
    words = (word for _, words in processes.running("dnsmasq") for word in words)
    found = (re.fullmatch(r"--conf-file=((/.+)/([^/]+))/dnsmasq\.conf", word) for word in words)
    return tuple(sorted({Server(match[3], match[1]) for match in found if match and match[2].endswith(SERVERS)}))


def table(family: str) -> tuple[Mapping[str, Any], ...]:
    """The objects of our table in a FAMILY of nftables, () where it is not there or nft is not installed."""
    if kernel_tables.is_absent(family, TABLE) or not programs.is_there("nft"):
        return ()
    try:
        found = json.loads(programs.run(("nft", "-j", "list", "table", family, TABLE)))
    except ProgramFailed as error:
        if "No such file" in error.said or "not supported" in error.said:
            return ()
        raise
    return tuple(entry for entry in found["nftables"] if "metainfo" not in entry)


def _floods() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for entry in _json("bridge", "-j", "fdb", "show"):
        if entry.get("mac") == EVERYBODY and "dst" in entry:
            found[entry["ifname"]] = (*found.get(entry["ifname"], ()), entry["dst"])
    return found


def _json(*words: str) -> list[dict[str, Any]]:
    text = programs.run(words)
    try:
        return [entry for entry in json.loads(text or "[]") if entry]
    except ValueError:
        raise NetworkError(f"'{' '.join(words)}' prints no JSON") from None


def _asked(family: str, *commands: str) -> Iterator[list[dict[str, Any]]]:
    """What one process of ip answers to COMMANDS about FAMILY, "-4", "-6" or "" for all."""
    words = ("ip", *((family,) if family else ()), "-j", "-d", "-b", "-")
    text = programs.run(words, text="".join(f"{command}\n" for command in commands)).strip()
    decoder = json.JSONDecoder()
    for command in commands:
        try:
            entries, end = decoder.raw_decode(text)
        except ValueError:
            raise NetworkError(f"'{' '.join(words[:-2])} {command}' prints no JSON") from None
        text = text[end:].lstrip()
        yield [entry for entry in entries if entry]


def _links(entries: Iterable[dict[str, Any]]) -> tuple[Link, ...]:
    found = []
    for entry in entries:
        info = entry.get("linkinfo", {})
        flags = entry.get("flags", [])
        found.append(Link(
            index=entry["ifindex"], name=entry["ifname"], mac=entry.get("address", ""), mtu=entry.get("mtu", 0),
            kind=info.get("info_kind", ""), master=entry.get("master", ""), up="UP" in flags,
            carrier="LOWER_UP" in flags, alias=entry.get("ifalias", ""), altnames=tuple(entry.get("altnames", ())),
            parent=entry.get("link") or info.get("info_data", {}).get("link", "") or "",
            wireless=not info and Path(f"/sys/class/net/{entry['ifname']}/phy80211").exists(),
            details=info.get("info_data", {}), port=info.get("info_slave_data", {}),
        ))  # fmt: skip
    return tuple(found)


def _addresses(entries: Iterable[dict[str, Any]]) -> Iterable[Address]:
    for entry in entries:
        for one in entry.get("addr_info", ()):
            if "local" in one:
                yield Address(
                    device=entry["ifname"], address=one["local"], prefix=one["prefixlen"], scope=one.get("scope", "global"),
                    dynamic=bool(one.get("dynamic")), temporary=bool(one.get("temporary")),
                    rest=_rest_of_address(one, entry["ifname"]),
                )  # fmt: skip


def _rest_of_address(one: Mapping[str, Any], device: str) -> tuple[str, ...]:
    words: list[str] = []
    if "address" in one:
        words += ["peer", f"{one['address']}/{one['prefixlen']}"]
    if "broadcast" in one:
        words += ["broadcast", one["broadcast"]]
    if one.get("scope", "global") != "global":
        words += ["scope", str(one["scope"])]
    if one.get("label", device) != device:
        words += ["label", one["label"]]
    if "metric" in one:
        words += ["metric", str(one["metric"])]
    for life in ("valid_life_time", "preferred_life_time"):
        if one.get(life, 2**32 - 1) != 2**32 - 1:
            words += ["valid_lft" if life.startswith("valid") else "preferred_lft", str(one[life])]
    return (*words, *(flag for flag in ("home", "mngtmpaddr", "nodad", "noprefixroute", "autojoin") if one.get(flag)))


def _routes(family: int, entries: Sequence[dict[str, Any]]) -> Iterable[Route]:
    texts = [""] * len(entries)
    if any("metrics" in entry for entry in entries):
        texts = route_words.lines(programs.run(("ip", "-d", f"-{family}", *_ROUTES.split())))
    if len(texts) != len(entries):
        raise NetworkError("the host's routes are changing just now", hint="try again")
    for entry, text in zip(entries, texts, strict=True):
        several = {hop["dev"]: None for hop in entry.get("nexthops", ()) if "dev" in hop}
        for device in several or (entry.get("dev", ""),):
            yield Route(
                device=device, destination=entry["dst"], family=family,
                protocol=str(entry.get("protocol", "")), table=str(entry.get("table", "main")),
                gateway=str(entry.get("gateway", "")), metric=entry.get("metric", 0),
                type=route_words.kind(entry), words=route_words.words(entry, text if "metrics" in entry else ""),
            )  # fmt: skip


def _settings(links: Iterable[Link]) -> dict[str, str]:
    cards = [link.name for link in links if link.kind != "tun"]
    keys = [*GLOBAL, *(sysctl.of_device(pattern, link.name) for pattern in OF_LINK for link in links)]
    keys += [sysctl.of_device(pattern, name) for pattern in OF_CARD for name in cards]
    keys += [pattern.replace("*", name) for pattern in (*OF_LINK, *OF_CARD) for name in ("all", "default")]
    return {key: value for key in keys if (value := sysctl.read(key))}
