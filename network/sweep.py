"""What the host's ends of interfaces have left behind: filters and shapers of taps that are gone.

A tap goes with its guest, however that ends; a shaper stays, and so do chains of nftables, which newer kernels bind
again to the next link of that name. Everything is seen in the kernel; without debris no program is started.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Collection, Iterable, Mapping

from xmcompat.network import filters, host, rate, tables
from xmcompat.network.port import RATE, TIDY
from xmcompat.network.steps import Command, Step
from xmcompat.network.tables import Chain

_SIOCGIFHWADDR = 0x8927

#: How libvirt begins the address of a guest's tap, the rest of which is the guest's; and the one that Xen gave to all.
_TAP, _XEN = "fe:", "fe:ff:ff:ff:ff:ff"


def debris() -> tuple[Step, ...]:
    """What removes it, in one transaction of nft and one process of ip; () where there is none. It is not to be undone.

    Raises NetworkError.
    """
    chains = tables.chains()  # before the links: a table is made after its link
    links = {name for _, name in socket.if_nameindex()}
    steps = []
    ports = {filters.device_of(chain.name) for chain in chains if chain.table == host.TABLE}
    if stale := stale_filters(chains, _macs(ports & links)):
        removal = Command(("nft", "-f", "-"), "".join(map(filters.remove, stale)))
        steps.append(Step(text=f"remove filters left by {', '.join(stale)}", do=removal))
    if stale or (not chains and tables.is_empty(host.TABLE)):
        steps.append(TIDY)
    if shapers := _stale_shapers(links):
        steps.append(Step(
            text=f"remove shapers left behind: {', '.join(shapers)}",
            do=Command(("ip", "-force", "-batch", "-"), "".join(f"link del dev {name}\n" for name in shapers)),
        ))  # fmt: skip
    return tuple(steps)


def stale_filters(chains: Iterable[Chain], macs: Mapping[str, str]) -> tuple[str, ...]:
    """The devices of those of our CHAINS whose device is not in MACS (device and its address), or is the tap of another
    guest by now. Pure."""
    stale = []
    for chain in chains:
        device = filters.device_of(chain.name) if chain.table == host.TABLE else ""
        if device and (device not in macs or _is_anothers(macs[device], filters.mac_of(chain.comment))):
            stale.append(device)
    return tuple(dict.fromkeys(stale))


def _is_anothers(tap: str, guest: str) -> bool:
    """Whether the address of a TAP tells that it is of another guest. One that libvirt has not given tells nothing."""
    return bool(guest) and tap.startswith(_TAP) and tap != _XEN and tap[len(_TAP) :] != guest[len(_TAP) :]


def _macs(devices: Iterable[str]) -> dict[str, str]:
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for device in devices:
            request = struct.pack("16s24x", os.fsencode(device))
            try:
                answer = fcntl.ioctl(any_socket, _SIOCGIFHWADDR, request)
            except OSError:
                continue  # it has just gone
            found[device] = answer[18:24].hex(":")
    return found


def _stale_shapers(links: Collection[str]) -> list[str]:
    """Our devices of kind ifb without a tap. ``ip`` is asked only where the names leave a doubt."""
    shapers = {name for name in links if name.startswith((rate.SHAPER, rate.SHAPER_SHORT))}
    if not shapers or not shapers - {rate.shaper_of(name) for name in links}:
        return []
    found = ((link, link.mark) for link in host.read_links("type", "ifb"))
    return sorted(
        link.name for link, mark in found
        if mark is not None and mark.kind == RATE and not _is_there(mark.values.get("device", ""))
    )  # fmt: skip


def _is_there(device: str) -> bool:
    try:
        return socket.if_nametoindex(device) > 0
    except OSError:
        return False
