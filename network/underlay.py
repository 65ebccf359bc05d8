"""What an overlay is on this host: its underlay, its address there, its multicast group; and what cannot be one. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from xmcompat.network.host import Host
from xmcompat.network.names import unusable
from xmcompat.network.programs import NetworkError
from xmcompat.network.settings import LAST_PORT, LAST_VNI
from xmcompat.network.wanted import Overlay

#: What a VXLAN's headers take of each packet, by the underlay's version of IP, and the least that guests can do with.
OVERHEAD = {4: 50, 6: 70}
LEAST_MTU = 576


def family_of(address: str) -> int:
    return 6 if ":" in address else 4


def called(wanted: Overlay) -> str:
    return f"the vnet {wanted.vnet}" if wanted.vnet else f"overlay {wanted.vni}"


def group_of(vni: int, family: int = 4) -> str:
    """The multicast group of an overlay that names none, the same on every host: 239.1.0.4 for 4."""
    high, low = vni >> 16, vni & 0xFFFF
    if family == 6:
        return str(ipaddress.IPv6Address(f"ff05::f:{high:x}:{low:x}"))
    return f"239.{max(high, 1)}.{low >> 8}.{low & 0xFF}"  # 239.0.0.x would share its MAC addresses with 224.0.0.x


def settled(wanted: Overlay, host: Host) -> Overlay:
    """WANTED with all that it leaves open: underlay, local address, group. This host is none of its own peers, so that one
    list of peers serves all hosts. Raises NetworkError where that cannot be."""
    _refuse_nonsense(wanted)
    underlay = wanted.underlay or host.default_device
    if not underlay:
        raise NetworkError(
            f"{called(wanted)} has no underlay: this host has no default route", hint="name the device to the other hosts"
        )
    _refuse_underlay(wanted, underlay, host)
    remote = wanted.group or next(iter(wanted.peers), "") or wanted.local
    local = _local(wanted, underlay, host, family_of(remote) if remote else 0)
    here = {address.address for address in host.addresses}
    peers = tuple(dict.fromkeys(peer for peer in wanted.peers if peer not in here))
    group = wanted.group or ("" if wanted.peers else group_of(wanted.vni, family_of(local)))
    return replace(wanted, underlay=underlay, local=local, peers=peers, group=group)


def mtu_of(wanted: Overlay, host: Host) -> int:
    """The size of the largest packet on the overlay, settled."""
    underlay = host.link(wanted.underlay)
    return (underlay.mtu if underlay else 1500) - OVERHEAD[family_of(wanted.local)]


def _refuse_nonsense(wanted: Overlay) -> None:
    """Raises NetworkError for values that fit no host."""
    for name in (wanted.bridge, wanted.device, *((wanted.underlay,) if wanted.underlay else ())):
        if why := unusable(name):
            raise NetworkError(f"{called(wanted)}: {why}")
    if wanted.bridge == wanted.device:
        raise NetworkError(f"{called(wanted)}: its bridge and its VXLAN are both called '{wanted.bridge}'")
    for what, number, last in (("number", wanted.vni, LAST_VNI), ("port", wanted.port, LAST_PORT)):
        if not 1 <= number <= last:
            raise NetworkError(f"{called(wanted)}: its {what} {number} is not from 1 to {last}")
    if wanted.group and wanted.peers:
        raise NetworkError(f"{called(wanted)} has a multicast group and peers", hint="name one or the other")
    given = [*wanted.peers, *filter(None, (wanted.group, wanted.local))]
    for text in given:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise NetworkError(f"{called(wanted)}: '{text}' is no address") from None
        if address.is_multicast != (text == wanted.group):
            what = "no multicast group" if text == wanted.group else "a multicast group, and no host"
            raise NetworkError(f"{called(wanted)}: {text} is {what}")
    if len({family_of(text) for text in given}) > 1:
        raise NetworkError(f"{called(wanted)} has addresses of IPv4 and of IPv6: {', '.join(given)}")


def _refuse_underlay(wanted: Overlay, underlay: str, host: Host) -> None:
    """Raises NetworkError for an underlay that is not there, or cannot carry anything."""
    link = host.link(underlay)
    if not link:
        raise NetworkError(f"{called(wanted)}: there is no device '{underlay}' to be its underlay")
    if link.name == "lo":
        raise NetworkError(f"{called(wanted)}: its underlay 'lo' leads to no other host", hint="name a network card")
    if link.master:
        raise NetworkError(
            f"{called(wanted)}: its underlay '{underlay}' is a port of '{link.master}'", hint=f"name {link.master} instead"
        )
    if not link.up:
        hint = f"type 'ip link set {underlay} up'"
        raise NetworkError(f"{called(wanted)}: its underlay '{underlay}' is down", hint=hint)


def _local(wanted: Overlay, underlay: str, host: Host, family: int) -> str:
    """This host's address for it: the one asked for, or the first of the underlay. Raises NetworkError."""
    usable = [one.address for one in host.addresses_of(underlay, family) if one.scope == "global"]
    version = f"IPv{family} address" if family else "address"
    if wanted.local and wanted.local not in usable:
        raise NetworkError(f"{called(wanted)}: its underlay '{underlay}' has no address {wanted.local}")
    if not usable:
        raise NetworkError(f"{called(wanted)}: its underlay '{underlay}' has no {version}")
    return wanted.local or usable[0]
