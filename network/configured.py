"""What the host's own configuration says now, what it is to say, and what of the kernel's state it has to know. Pure."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from xmcompat.network import marks, moving, sysctl
from xmcompat.network.host import Host, Link, Route
from xmcompat.network.wanted import Bridge, Network, Overlay, Segment, Vlan

#: How each file of ours begins.
HEADER = "# Written by 'xmcompat network persist'; 'xmcompat network persist --forget' removes it."
_IN_PLACE = "# For {}, in place of {}"
#: Where files of others are kept as they were before they were changed.
KEPT = "/var/lib/xmcompat/persist"
_WITHOUT_IPV6 = "net.ipv6.conf.*.disable_ipv6"


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that is there."""

    text: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The files that tell how the host is configured, by path, and PROGRAMS that are installed.

    ``replaced`` is, by card, the file in the place of which a file of ours is, where those are left out.
    """

    files: Mapping[str, Stored] = field(default_factory=dict)
    programs: frozenset[str] = frozenset()
    replaced: Mapping[str, str] = field(default_factory=dict)

    def text(self, path: str) -> str:
        """What is in the file, "" where it is not there."""
        return self.files[path].text if path in self.files else ""

    def below(self, folder: str, suffix: str = "") -> dict[str, str]:
        """The files right in FOLDER, by path, sorted."""
        return {
            path: self.files[path].text for path in sorted(self.files)
            if posixpath.dirname(path) == folder and path.endswith(suffix)
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Text:
    """A file that is to be there."""

    path: str
    text: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Writing:
    """What a system needs for the networks: FILES of ours, EDITED those of others, and sentences on what is not said."""

    files: tuple[Text, ...] = ()
    edited: tuple[Text, ...] = ()
    notes: tuple[str, ...] = ()


# -- what the kernel has


@dataclass(frozen=True, slots=True)
class Carried:
    """What a device has, for a system that has no configuration of it that could be moved. ``left`` are sentences about
    routes that are not written."""

    addresses: tuple[str, ...] = ()
    dhcp: bool = False                   # IPv4
    advertised: bool = False             # IPv6, by routers
    routes: tuple[Route, ...] = ()
    dns: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    def of(self, family: int) -> tuple[str, ...]:
        return tuple(one for one in self.addresses if (":" in one) == (family == 6))

    def gateway(self, family: int) -> str:
        found = (route for route in self.routes if route.family == family and route.destination == "default")
        return next((route.gateway for route in found if route.gateway), "")

    def others(self, family: int) -> tuple[Route, ...]:
        """The routes beside the default one."""
        return tuple(route for route in self.routes if route.family == family and route.destination != "default")


def carried(bridge: Bridge, host: Host, facts: Facts) -> Carried:
    """What BRIDGE has, or its card where the bridge is not there yet."""
    link = host.link(bridge.name)
    device = link.name if link else bridge.uplink
    leases = moving.leases(host, device)
    if link and link.mark:
        leases |= moving.read_leases(link.mark.values.get("lease", ""))
    dhcp = any(":" not in one for one in leases)
    addresses = tuple(
        str(one) for one in moving.addresses(host, device)
        if not one.dynamic and not one.temporary and one.address not in leases
    )  # fmt: skip
    lasting = [
        route for route in host.routes_of(device)
        if route.type in _LASTING and route.table != "local" and route.protocol not in ("kernel", "ra", "dhcp", "redirect")
        and not (dhcp and route.family == 4 and route.destination == "default")
    ]  # fmt: skip
    routes: list[Route] = []
    for route in lasting:
        known = any((one.family, one.destination) == (route.family, "default") for one in routes)
        if _plain(route) and not (known and route.destination == "default"):
            routes.append(route)
    left = (
        f"'ip -{route.family} route add {' '.join(route.words)} dev {bridge.name}' stands in no file: see to it yourself"
        for route in lasting if route not in routes
    )
    advertised = any(one.family == 6 and one.dynamic for one in host.addresses_of(device))
    dns = tuple(
        words[1] for line in facts.text("/etc/resolv.conf").splitlines()
        if len(words := line.split()) > 1 and words[0] == "nameserver" and not ipaddress_is_loopback(words[1])
    )  # fmt: skip
    return Carried(addresses, dhcp, advertised, tuple(routes), dns if not dhcp else (), tuple(left))


#: Types of routes that somebody has made and that may be wanted again.
_LASTING = ("unicast", "multipath", "nexthop", "encapsulated")


def _plain(route: Route) -> bool:
    """Whether destination, gateway and metric say all of it."""
    own = bool(route.gateway) or route.destination != "default"
    return own and route.table == "main" and route.type == "unicast" and not route.word("from") and not route.word("tos")


def ipaddress_is_loopback(text: str) -> bool:
    """Whether it is a resolver of the host's own, or no address."""
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return True


def mac(name: str, host: Host) -> str:
    """Of the link NAME, "" where there is none."""
    link = host.link(name)
    return link.mac if link else ""


def mark(network: Network, host: Host) -> Mapping[str, str]:
    """By device, the alias that makes it known as ours after the reboot as well."""
    match network:
        case Bridge():
            yes = "yes" if network.antispoof else ""
            return {network.name: marks.text("bridge", uplink=network.uplink, antispoof=yes, state="up")}
        case Segment():
            yes = "yes" if network.antispoof else ""
            text = marks.text("segment", addresses=",".join(network.addresses), antispoof=yes, state="up")
            return {network.name: text}
        case Vlan():
            return {network.name: marks.text("vlan", state="up")}
        case Overlay():
            values = {"vni": str(network.vni), "bridge": network.bridge, "device": network.device,
                      "underlay": network.underlay, "vnet": network.vnet}  # fmt: skip
            theirs = host.link(network.bridge)
            ours = theirs is None or theirs.mark is not None
            return {
                **({network.bridge: marks.text("overlay", **values)} if ours else {}),
                network.device: marks.text("overlay", **values, state="up"),
            }
    return {}


def makes_bridge(network: Overlay, host: Host) -> bool:
    """Whether the overlay's bridge is its own."""
    return network.bridge in mark(network, host)


def settings_of(network: Network, host: Host) -> dict[str, dict[str, str]]:
    """By device, the sysctls that keep the host out of a segment or an overlay."""
    match network:
        case Segment():
            ipv6 = any(":" in one for one in network.addresses)
            values = {"net.ipv4.conf.*.arp_ignore": "1", "net.ipv4.conf.*.rp_filter": "1",
                      "net.ipv6.conf.*.accept_ra": "0", _WITHOUT_IPV6: "0" if ipv6 else "1"}  # fmt: skip
            return {network.name: {sysctl.of_device(key, network.name): value for key, value in values.items()}}
        case Overlay():
            names = (network.device, *([network.bridge] if makes_bridge(network, host) else []))
            return {name: {sysctl.of_device(_WITHOUT_IPV6, name): "1"} for name in names}
    return {}


def mtu(name: str, host: Host) -> int:
    """Of the link NAME, 0 where it is an ordinary one."""
    link: Link | None = host.link(name)
    return link.mtu if link and link.mtu != 1500 else 0


def header(card: str, path: str) -> str:
    """How a file of ours for CARD begins that is in the place of another one, "" for none."""
    return f"{HEADER}\n{_IN_PLACE.format(card, path)}" if path else HEADER


def in_place(text: str) -> tuple[str, str]:
    """The card, and the file, that ``header`` was given; "" for none."""
    second = (*text.split("\n", 2), "")[1]
    found = re.fullmatch(re.escape(_IN_PLACE).replace(r"\{\}", "(.+)"), second)
    return (found[1], found[2]) if found else ("", "")


def kept(path: str) -> str:
    """Where the file PATH is kept as it was."""
    return KEPT + path
