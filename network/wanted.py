"""The networks that a host is to have, and the ends of guests' interfaces in them, as values.

Names are those of the kernel's links, at most 15 bytes. Addresses are text: "192.0.2.1", with a prefix "192.0.2.1/24".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

LONGEST_NAME = 15
#: The last number that a VLAN may have.
LAST_TAG = 4094
#: The port of UDP that is VXLAN's.
VXLAN_PORT = 4789


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A bridge with a card of the host in it, whose addresses and routes it takes over (network-bridge).

    ``antispoof``: the guests on it may use no other MAC addresses than their own.
    """

    name: str
    uplink: str
    antispoof: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A bridge without a card: guests on it reach each other, and the host only where it has ADDRESSES there."""

    name: str
    addresses: tuple[str, ...] = ()
    antispoof: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Vlan:
    """A VLAN of a card, to be the uplink of a bridge: "eth0.100"."""

    name: str
    parent: str
    tag: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A bridge of Open vSwitch. ``uplink`` "" for none. ``datapath`` "netdev" carries frames in its own process, "" in the
    kernel."""

    name: str
    uplink: str = ""
    datapath: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """The host forwards between its card and guests that have a route each (network-route)."""

    uplink: str
    ipv6: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """What comes to PORT of the host goes to PORT_INSIDE of ADDRESS. ``protocol`` is "tcp" or "udp"."""

    protocol: str
    port: int
    address: str
    port_inside: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Nat:
    """A bridge of guests that speak to the outside in the host's name (network-nat). ``network`` has the gateway's address
    as its first; with ``dhcp`` guests get theirs from dnsmasq."""

    uplink: str
    bridge: str = "xennat0"
    network: str = "10.0.0.0/16"
    dhcp: bool = True
    forwards: tuple[Forward, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """A segment that reaches over several hosts (vnet): a bridge with a VXLAN in it.

    The other hosts are found by the multicast GROUP, or are PEERS; with neither, by the group that belongs to the VNI.
    ``local`` is this host's address on the underlay, "" for the first. ``vnet`` is the id of 128 bits that ``xm
    vnet-create`` was given, "" for an overlay that has none.
    """

    vni: int
    bridge: str
    device: str
    underlay: str
    local: str = ""
    group: str = ""
    peers: tuple[str, ...] = ()
    port: int = VXLAN_PORT
    vnet: str = ""


Network = Bridge | Segment | Vlan | Switch | Routing | Nat | Overlay


class Mode(Enum):
    """How the host's end of an interface is connected."""

    BRIDGE = "bridge"
    ROUTE = "route"
    NAT = "nat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Bytes (not bits) a second, and how many of them may come at once after a pause."""

    speed: int
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """The host's end of one interface: the tap DEVICE that libvirt has made.

    ``addresses`` are the words of ``ip=`` (addresses and networks, IPv4 and IPv6): those that the guest may use, () for
    all. ``held``: its MAC address is its only one, even without ADDRESSES. ``sending`` limits what the guest sends,
    ``receiving`` what it receives. ``uplink`` is for MODE ROUTE and NAT.
    """

    device: str
    mac: str
    mode: Mode = Mode.BRIDGE
    bridge: str = ""
    uplink: str = ""
    addresses: tuple[str, ...] = ()
    held: bool = False
    isolated: bool = False
    sending: Rate | None = None
    receiving: Rate | None = None
    altnames: tuple[str, ...] = ()
