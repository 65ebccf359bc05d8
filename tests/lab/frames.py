"""Ethernet frames, made and read: what the tests of filters send and see. Pure, and without any library.

    frame = ethernet("00:16:3e:00:00:01", BROADCAST, arp_request("00:16:3e:00:00:01", "198.51.100.101", "198.51.100.1"))
    read_frame(frame).kind == "arp"
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

BROADCAST = "ff:ff:ff:ff:ff:ff"
ALL_NODES = "ff02::1"
ALL_NODES_MAC = "33:33:00:00:00:01"

IPV4, ARP, VLAN, IPV6 = 0x0800, 0x0806, 0x8100, 0x86DD
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
ECHO_REQUEST, ECHO6_REQUEST = 8, 128
RA, NS, NA = 134, 135, 136
DHCP_DISCOVER, DHCP_OFFER, DHCP_REQUEST, DHCP_ACK = 1, 2, 3, 5


@dataclass(frozen=True, slots=True)
class Payload:
    """What follows an Ethernet header, and its type."""

    ethertype: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that was read. ``kind`` is arp, ipv4, ipv6 or the type in hexadecimal.

    ``source`` and ``target`` are the addresses of IP, or those that ARP tells of. ``protocol`` is IP's, or ARP's
    operation; ``sport`` and ``dport`` are the ports, or type and code of ICMP.
    """

    source_mac: str
    target_mac: str
    kind: str
    source: str = ""
    target: str = ""
    protocol: int = 0
    sport: int = 0
    dport: int = 0
    data: bytes = b""


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(data: bytes) -> str:
    return data.hex(":")


def ethernet(source_mac: str, target_mac: str, payload: Payload) -> bytes:
    """A whole frame, filled up to the shortest there may be."""
    frame = mac_bytes(target_mac) + mac_bytes(source_mac) + struct.pack("!H", payload.ethertype) + payload.data
    return frame.ljust(60, b"\0")


def _arp(operation: int, mac: str, address: str, target_mac: str, target: str) -> Payload:
    data = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation) + mac_bytes(mac) + IPv4Address(address).packed
    return Payload(ARP, data + mac_bytes(target_mac) + IPv4Address(target).packed)


def arp_request(mac: str, address: str, target: str) -> Payload:
    """Who has TARGET? tell ADDRESS at MAC. ADDRESS 0.0.0.0 is a probe; ADDRESS = TARGET an announcement."""
    return _arp(1, mac, address, "00:00:00:00:00:00", target)


def arp_reply(mac: str, address: str, target_mac: str, target: str) -> Payload:
    """ADDRESS is at MAC, said to TARGET."""
    return _arp(2, mac, address, target_mac, target)


def ipv4(source: str, target: str, protocol: int, data: bytes, *, ttl: int = 64) -> Payload:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), 0, 0, ttl, protocol, 0)
    head += IPv4Address(source).packed + IPv4Address(target).packed
    return Payload(IPV4, head[:10] + struct.pack("!H", checksum(head)) + head[12:] + data)


def ipv6(source: str, target: str, protocol: int, data: bytes, *, hops: int = 255) -> Payload:
    head = struct.pack("!IHBB", 6 << 28, len(data), protocol, hops)
    return Payload(IPV6, head + IPv6Address(source).packed + IPv6Address(target).packed + data)


def udp(source: str, target: str, sport: int, dport: int, data: bytes) -> Payload:
    """A datagram in IPv4 or IPv6, by the addresses."""
    head = struct.pack("!HHHH", sport, dport, 8 + len(data), 0)
    total = checksum(_pseudo(source, target, UDP, len(head + data)) + head + data) or 0xFFFF
    return _ip(source, target, UDP, head[:6] + struct.pack("!H", total) + data)


def echo(source: str, target: str, *, number: int = 1) -> Payload:
    """An echo request of ICMP or ICMPv6, by the addresses."""
    rest = struct.pack("!HH", 0x7E57, number) + b"xmcompat"
    if ":" in target:
        return _icmp6(source, target, ECHO6_REQUEST, rest)
    head = struct.pack("!BBH", ECHO_REQUEST, 0, 0)
    return ipv4(source, target, ICMP, head[:2] + struct.pack("!H", checksum(head + rest)) + rest)


def router_advertisement(mac: str, source: str, prefix: str, *, seconds: int = 1800) -> Payload:
    """SOURCE (link-local) at MAC is a router for SECONDS, and PREFIX/64 is for addresses of one's own."""
    options = struct.pack("!BB", 1, 1) + mac_bytes(mac)
    options += struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 86400, 14400, 0) + IPv6Address(prefix).packed
    return _icmp6(source, ALL_NODES, RA, struct.pack("!BBHII", 64, 0, seconds, 0, 0) + options)


def neighbour_advertisement(mac: str, address: str, *, target: str = ALL_NODES) -> Payload:
    """ADDRESS is at MAC, whatever was said before."""
    body = struct.pack("!I", 0x20000000) + IPv6Address(address).packed
    return _icmp6(address, target, NA, body + struct.pack("!BB", 2, 1) + mac_bytes(mac))


def neighbour_solicitation(mac: str, source: str, address: str) -> Payload:
    """Who has ADDRESS? asked by SOURCE at MAC; SOURCE "::" tries the address for itself."""
    target = str(IPv6Address(IPv6Address("ff02::1:ff00:0").packed[:13] + IPv6Address(address).packed[13:]))
    option = b"" if source == "::" else struct.pack("!BB", 1, 1) + mac_bytes(mac)
    return _icmp6(source, target, NS, bytes(4) + IPv6Address(address).packed + option)


def dhcp(kind: int, mac: str, *, address: str = "0.0.0.0", server: str = "0.0.0.0", number: int = 0x5EED) -> Payload:
    """A message of DHCP: from the guest at MAC, or (offer, ack) from SERVER, who gives it ADDRESS."""
    reply = kind in (DHCP_OFFER, DHCP_ACK)
    body = struct.pack("!BBBBIHH", 2 if reply else 1, 1, 6, 0, number, 0, 0x8000) + bytes(4)
    body += IPv4Address(address if reply else "0.0.0.0").packed + IPv4Address(server).packed + bytes(4)
    body += mac_bytes(mac).ljust(16, b"\0") + bytes(192) + b"\x63\x82\x53\x63" + bytes([53, 1, kind])
    if kind == DHCP_REQUEST:
        body += bytes([50, 4]) + IPv4Address(address).packed
    if server != "0.0.0.0":
        body += bytes([54, 4]) + IPv4Address(server).packed
    body += b"\xff"
    return udp(server, "255.255.255.255", 67, 68, body) if reply else udp("0.0.0.0", "255.255.255.255", 68, 67, body)


def multicast_mac(address: str) -> str:
    """Where frames for the multicast ADDRESS go."""
    if ":" in address:
        return mac_text(b"\x33\x33" + IPv6Address(address).packed[12:])
    packed = IPv4Address(address).packed
    return mac_text(b"\x01\x00\x5e" + bytes([packed[1] & 0x7F]) + packed[2:])


def _icmp6(source: str, target: str, kind: int, rest: bytes) -> Payload:
    head = struct.pack("!BBH", kind, 0, 0)
    total = checksum(_pseudo(source, target, ICMP6, 4 + len(rest)) + head + rest)
    return ipv6(source, target, ICMP6, head[:2] + struct.pack("!H", total) + rest)


def _ip(source: str, target: str, protocol: int, data: bytes) -> Payload:
    return ipv6(source, target, protocol, data) if ":" in target else ipv4(source, target, protocol, data)


def _pseudo(source: str, target: str, protocol: int, length: int) -> bytes:
    if ":" in target:
        return IPv6Address(source).packed + IPv6Address(target).packed + struct.pack("!II", length, protocol)
    return IPv4Address(source).packed + IPv4Address(target).packed + struct.pack("!HH", protocol, length)


def checksum(data: bytes) -> int:
    """The check sum of IP, ICMP, UDP."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def read_frame(data: bytes) -> Frame:
    """What is in a frame; ``data`` of the answer is what follows the last header that was understood."""
    target_mac, source_mac = mac_text(data[:6]), mac_text(data[6:12])
    (ethertype,) = struct.unpack("!H", data[12:14])
    rest = data[14:]
    if ethertype == ARP and len(rest) >= 28:
        source, target = str(IPv4Address(rest[14:18])), str(IPv4Address(rest[24:28]))
        return Frame(source_mac, target_mac, "arp", source, target, int.from_bytes(rest[6:8], "big"), data=rest)
    if ethertype == IPV4 and len(rest) >= 20:
        source, target = str(IPv4Address(rest[12:16])), str(IPv4Address(rest[16:20]))
        length = int.from_bytes(rest[2:4], "big")
        return _with_ports(source_mac, target_mac, "ipv4", source, target, rest[9], rest[(rest[0] & 15) * 4 : length])
    if ethertype == IPV6 and len(rest) >= 40:
        source, target = str(IPv6Address(rest[8:24])), str(IPv6Address(rest[24:40]))
        return _with_ports(source_mac, target_mac, "ipv6", source, target, rest[6], rest[40:])
    return Frame(source_mac, target_mac, f"{ethertype:#06x}", data=rest)


def _with_ports(
    source_mac: str, target_mac: str, kind: str, source: str, target: str, protocol: int, rest: bytes
) -> Frame:
    sport = dport = 0
    if protocol in (TCP, UDP) and len(rest) >= 4:
        sport, dport = struct.unpack("!HH", rest[:4])
    elif protocol in (ICMP, ICMP6) and len(rest) >= 2:
        sport, dport = rest[0], rest[1]
    data = rest[8:] if protocol == UDP else rest
    return Frame(source_mac, target_mac, kind, source, target, protocol, sport, dport, data)
