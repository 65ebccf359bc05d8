"""Tells the neighbours of a card that addresses of guests are behind it now: they may know them behind another host.

A guest that moves in routed mode is seen by its neighbours with the MAC of its host. Until they ask again, some seconds
later, they send to the old one.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from xmcompat.network.programs import NetworkError

_ARP, _IPV6 = 0x0806, 0x86DD
_ALL_NODES = IPv6Address("ff02::1").packed


def announce(device: str, addresses: Iterable[IPv4Network | IPv6Network]) -> None:
    """Send one frame for each of ADDRESSES that is a single one, out of DEVICE. May be repeated. Raises NetworkError."""
    try:
        mac = bytes.fromhex(Path(f"/sys/class/net/{device}/address").read_text().strip().replace(":", ""))
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
            out.bind((device, 0))
            for frame in frames(mac, addresses):
                out.send(frame)
    except OSError as error:
        raise NetworkError(f"guests' addresses cannot be announced on '{device}': {error.strerror}") from None


def frames(mac: bytes, addresses: Iterable[IPv4Network | IPv6Network]) -> Iterator[bytes]:
    """An ARP request for an address by itself, or a neighbour advertisement to all nodes, from MAC. Pure."""
    for one in addresses:
        if one.prefixlen == one.max_prefixlen:
            address = one.network_address
            yield _arp(mac, address) if isinstance(address, IPv4Address) else _advertisement(mac, address)


def _arp(mac: bytes, address: IPv4Address) -> bytes:
    packet = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + address.packed + bytes(6) + address.packed
    return b"\xff" * 6 + mac + struct.pack("!H", _ARP) + packet.ljust(46, b"\0")


def _advertisement(mac: bytes, address: IPv6Address) -> bytes:
    """With the flag that says: whatever you knew before."""
    rest = struct.pack("!I", 0x20000000) + address.packed + bytes((2, 1)) + mac
    pseudo = address.packed + _ALL_NODES + struct.pack("!II", 4 + len(rest), socket.IPPROTO_ICMPV6)
    message = struct.pack("!BBH", 136, 0, _checksum(pseudo + struct.pack("!BBH", 136, 0, 0) + rest)) + rest
    head = struct.pack("!IHBB", 6 << 28, len(message), socket.IPPROTO_ICMPV6, 255) + address.packed + _ALL_NODES
    return b"\x33\x33\x00\x00\x00\x01" + mac + struct.pack("!H", _IPV6) + head + message


def _checksum(data: bytes) -> int:
    words: tuple[int, ...] = struct.unpack(f"!{len(data) // 2}H", data)
    total = sum(words)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
