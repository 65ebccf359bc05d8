"""Frames that a guest makes up: which of them come out of its port, on a bridge and on a routed tap."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab import frames as f
from tests.lab.frames import Payload
from tests.lab.inside import inside
from tests.lab.lan import UNFILTERED, BareHost, set_sysctls
from tests.network.taps import Tap
from xmcompat.network import filters
from xmcompat.network import port as ports
from xmcompat.network.steps import take
from xmcompat.network.wanted import Mode, Port, Rate

MAC, OTHER = "00:16:3e:00:00:01", "00:16:3e:00:00:02"
TAP = "fe:16:3e:00:00:01"
OWN, SECOND, FOREIGN, GATEWAY = "192.0.2.10", "198.51.100.33", "192.0.2.11", "192.0.2.1"
OWN6, FOREIGN6, GATEWAY6, LOCAL = "2001:db8::10", "2001:db8::11", "2001:db8::1", "fe80::216:3eff:fe00:1"
WORDS4, WORDS6 = (OWN, "198.51.100.32/28"), (OWN6, "2001:db8:5::/48")

#: Whom a frame is for does not matter to the filter.
TO = f.BROADCAST


class Case(NamedTuple):
    """``passes`` are the kinds of port that let it out: "4" and "6" have addresses of one version, "46" of both."""

    name: str
    frame: bytes
    passes: str


def eth(payload: Payload, mac: str = MAC) -> bytes:
    return f.ethernet(mac, TO, payload)


def raw(ethertype: int, data: bytes, mac: str = MAC) -> bytes:
    return eth(Payload(ethertype, data), mac)


def tagged(tag: int, inner: Payload, protocol: int = 0x8100) -> Payload:
    return Payload(protocol, struct.pack("!HH", tag, inner.ethertype) + inner.data)


def behind(payload: Payload, kind: int, header: bytes) -> Payload:
    """An IPv6 packet with an extension header, which begins with the next one's kind, in front of what it has."""
    data = bytes([payload.data[6]]) + header + payload.data[40:]
    head = payload.data[:4] + struct.pack("!HB", len(data), kind) + payload.data[7:40]
    return Payload(f.IPV6, head + data)


def fragment(payload: Payload, first: int, last: int, number: int = 7) -> Payload:
    """The bytes FIRST to LAST (by eights) of an IPv6 packet, as a fragment of it."""
    part = payload.data[40:][first * 8 : last * 8]
    more = len(payload.data[40:]) > last * 8
    data = struct.pack("!BBHI", payload.data[6], 0, first << 3 | more, number) + part
    return Payload(f.IPV6, payload.data[:4] + struct.pack("!HB", len(data), 44) + payload.data[7:40] + data)


def later4(payload: Payload) -> Payload:
    """An IPv4 packet as the last fragment of another one."""
    head = payload.data[:6] + struct.pack("!H", 8) + payload.data[8:10] + bytes(2) + payload.data[12:20]
    return Payload(f.IPV4, head[:10] + struct.pack("!H", f.checksum(head)) + head[12:] + payload.data[20:])


def of_length(payload: Payload, length: int) -> Payload:
    """An IPv4 packet that says that it has LENGTH bytes: nftables finds no ports in it, clients of DHCP that read all
    frames do."""
    head = payload.data[:2] + struct.pack("!H", length) + payload.data[4:10] + bytes(2) + payload.data[12:20]
    return Payload(f.IPV4, head[:10] + struct.pack("!H", f.checksum(head)) + head[12:] + payload.data[20:])


def first4(payload: Payload) -> Payload:
    """An IPv4 packet as the first fragment of another one."""
    head = payload.data[:6] + struct.pack("!H", 0x2000) + payload.data[8:10] + bytes(2) + payload.data[12:20]
    return Payload(f.IPV4, head[:10] + struct.pack("!H", f.checksum(head)) + head[12:] + payload.data[20:])


def icmp6(source: str, target: str, kind: int, body: bytes = bytes(20)) -> Payload:
    return f._icmp6(source, target, kind, body)


OPTIONS = bytes([0]) + b"\x01\x04" + bytes(4)                 # of a header with room for eight bytes
ALERT = bytes([0]) + b"\x05\x02\x00\x00\x01\x00"              # for routers
RA = f.router_advertisement(MAC, LOCAL, "2001:db8:bad::")
OFFER = f.dhcp(f.DHCP_OFFER, MAC, address=FOREIGN, server=OWN)
HELLO = f.udp(OWN6, GATEWAY6, 1000, 2000, bytes(64))
DHCP6_ANSWER = f.udp(LOCAL, "ff02::1", 547, 546, bytes(40))
NA_FOREIGN = f.neighbour_advertisement(MAC, FOREIGN6)
#: What follows 58 here is beyond the first fragment.
LONG_OPTIONS = behind(RA, 60, bytes([3]) + b"\x01\x1c" + bytes(28))

CASES = [
    Case("own IPv4", eth(f.udp(OWN, GATEWAY, 1000, 2000, b"x")), "none held 4 6 46"),
    Case("own IPv4 of a network", eth(f.udp(SECOND, GATEWAY, 1000, 2000, b"x")), "none held 4 6 46"),
    Case("foreign IPv4", eth(f.udp(FOREIGN, GATEWAY, 1000, 2000, b"x")), "none held 6"),
    Case("foreign IPv4, foreign MAC", eth(f.udp(FOREIGN, GATEWAY, 1000, 2000, b"x"), OTHER), "none"),
    Case("own IPv4, foreign MAC", eth(f.udp(OWN, GATEWAY, 1000, 2000, b"x"), OTHER), "none"),
    Case("ping", eth(f.echo(OWN, GATEWAY)), "none held 4 6 46"),
    Case("ARP request", eth(f.arp_request(MAC, OWN, GATEWAY)), "none held 4 6 46"),
    Case("ARP announcement", eth(f.arp_request(MAC, OWN, OWN)), "none held 4 6 46"),
    Case("ARP announcement as an answer", eth(f.arp_reply(MAC, OWN, TO, OWN)), "none held 4 6 46"),
    Case("ARP probe", eth(f.arp_request(MAC, "0.0.0.0", OWN)), "none held 4 6 46"),
    Case("ARP answer from 0.0.0.0", eth(f.arp_reply(MAC, "0.0.0.0", TO, GATEWAY)), "none held 6"),
    Case("ARP for a foreign address", eth(f.arp_reply(MAC, GATEWAY, TO, OWN)), "none held 6"),
    Case("ARP of a foreign MAC", eth(f.arp_reply(OTHER, OWN, TO, GATEWAY)), "none"),
    Case("ARP frame of a foreign MAC", eth(f.arp_request(MAC, OWN, GATEWAY), OTHER), "none"),
    Case("ARP with addresses of 8 bytes", raw(f.ARP, struct.pack("!HHBBH", 1, f.IPV4, 8, 4, 1) + bytes(40)), "none"),
    Case("RARP", raw(0x8035, f.arp_request(MAC, OWN, OWN).data), "none held"),
    Case("DHCP discover", eth(f.dhcp(f.DHCP_DISCOVER, MAC)), "none held 4 6 46"),
    Case("DHCP renewal", eth(f.udp(OWN, GATEWAY, 68, 67, bytes(240))), "none held 4 6 46"),
    Case("from 0.0.0.0, not DHCP", eth(f.udp("0.0.0.0", "255.255.255.255", 68, 69, b"x")), "none held 6"),
    Case("from 0.0.0.0 to one host", eth(f.udp("0.0.0.0", GATEWAY, 68, 67, b"x")), "none held 6"),
    Case("from 0.0.0.0, not UDP", eth(f.echo("0.0.0.0", "255.255.255.255")), "none held 6"),
    Case("from 0.0.0.0, from a port not DHCP's", eth(f.udp("0.0.0.0", "255.255.255.255", 69, 67, b"x")), "none held 6"),
    Case("a fragment from 0.0.0.0", eth(later4(f.udp("0.0.0.0", "255.255.255.255", 68, 67, b"x"))), "none held 6"),
    Case("a fragment of the own address", eth(later4(f.udp(OWN, GATEWAY, 1, 2, b"x"))), "none held 4 6 46"),
    Case("a fragment of a foreign address", eth(later4(f.udp(FOREIGN, GATEWAY, 1, 2, b"x"))), "none held 6"),
    Case("DHCP offer", eth(OFFER), "none held"),
    Case("DHCP offer of a wrong length", eth(of_length(OFFER, 2000)), "none held"),
    Case("DHCP offer without a length", eth(of_length(OFFER, 0)), "none held"),
    Case("UDP from port 547", eth(f.udp(OWN, GATEWAY, 547, 2000, b"x")), "none held 4 6 46"),
    Case("UDP in its first fragment", eth(first4(f.udp(OWN, GATEWAY, 1000, 2000, bytes(16)))), "none held 4 6 46"),
    Case("own IPv6", eth(HELLO), "none held 4 6 46"),
    Case("own IPv6 of a network", eth(f.udp("2001:db8:5::7", GATEWAY6, 1000, 2000, b"x")), "none held 4 6 46"),
    Case("foreign IPv6", eth(f.udp(FOREIGN6, GATEWAY6, 1000, 2000, b"x")), "none held 4"),
    Case("link-local IPv6", eth(f.echo(LOCAL, "ff02::1")), "none held 4 6 46"),
    Case("router advertisement", eth(RA), "none held"),
    Case("router advertisement, own address", eth(f.router_advertisement(MAC, OWN6, "2001:db8::")), "none held"),
    Case("router advertisement behind options", eth(behind(RA, 60, OPTIONS)), "none held"),
    Case("router advertisement behind hop-by-hop", eth(behind(RA, 0, OPTIONS)), "none held"),
    Case("router advertisement behind two headers", eth(behind(behind(RA, 60, OPTIONS), 0, OPTIONS)), "none held"),
    Case("router advertisement in an atomic fragment", eth(fragment(RA, 0, 99)), "none held"),
    Case("first fragment of one", eth(fragment(RA, 0, 2)), "none held"),
    Case("first fragment with options alone", eth(fragment(LONG_OPTIONS, 0, 1)), "none held"),
    Case("first fragment with part of the options", eth(fragment(behind(LONG_OPTIONS, 60, OPTIONS), 0, 1)), "none held"),
    Case("redirect", eth(icmp6(LOCAL, OWN6, 137, bytes(36))), "none held"),
    Case("DHCPv6 solicit", eth(f.udp(LOCAL, "ff02::1:2", 546, 547, bytes(40))), "none held 4 6 46"),
    Case("DHCPv6 answer", eth(DHCP6_ANSWER), "none held"),
    Case("DHCPv6 answer behind options", eth(behind(DHCP6_ANSWER, 60, OPTIONS)), "none held"),
    Case("DHCPv6 answer, first fragment", eth(fragment(DHCP6_ANSWER, 0, 2)), "none held"),
    Case("UDP, first fragment", eth(fragment(HELLO, 0, 2)), "none held 4 6 46"),
    Case("UDP, second fragment", eth(fragment(HELLO, 2, 99)), "none held 4 6 46"),
    Case("large ping, first fragment", eth(fragment(icmp6(OWN6, GATEWAY6, 128), 0, 2)), "none held 4 6 46"),
    Case("neighbour solicitation", eth(f.neighbour_solicitation(MAC, OWN6, GATEWAY6)), "none held 4 6 46"),
    Case("neighbour solicitation behind options", eth(behind(f.neighbour_solicitation(MAC, OWN6, GATEWAY6), 60, OPTIONS)), "none held"),
    Case("try of the own address", eth(f.neighbour_solicitation(MAC, "::", OWN6)), "none held 4 6 46"),
    Case("try of the link-local address", eth(f.neighbour_solicitation(MAC, "::", LOCAL)), "none held 4 6 46"),
    Case("try of a foreign address", eth(f.neighbour_solicitation(MAC, "::", FOREIGN6)), "none held 4"),
    Case("neighbour advertisement", eth(f.neighbour_advertisement(MAC, OWN6)), "none held 4 6 46"),
    Case("advertisement of a foreign address", eth(NA_FOREIGN), "none held 4"),
    Case("the same from the own address", eth(icmp6(OWN6, "ff02::1", 136, NA_FOREIGN.data[44:])), "none held 4"),
    Case("the same in a fragment", eth(fragment(icmp6(OWN6, "ff02::1", 136, NA_FOREIGN.data[44:]), 0, 2)), "none held"),
    Case("router solicitation", eth(icmp6("::", "ff02::2", 133, bytes(4))), "none held 4 6 46"),
    Case("multicast report", eth(behind(icmp6("::", "ff02::16", 143), 0, ALERT)), "none held 4 6 46"),
    Case("ping from ::", eth(f.echo("::", GATEWAY6)), "none held 4"),
    Case("own IPv4 in a VLAN", eth(tagged(5, f.udp(OWN, GATEWAY, 1, 2, b"x"))), "none held"),
    Case("own IPv4 with priority alone", eth(tagged(0, f.udp(OWN, GATEWAY, 1, 2, b"x"))), "none held"),
    Case("VLAN in a VLAN", eth(tagged(5, tagged(6, f.arp_reply(MAC, FOREIGN, TO, OWN)), 0x88A8)), "none held"),
    Case("VLAN, foreign MAC", eth(tagged(5, f.udp(OWN, GATEWAY, 1, 2, b"x")), OTHER), "none"),
    Case("802.3 with LLC", raw(43, b"\xaa\xaa\x03\x00\x00\x00\x08\x00" + f.udp(OWN, GATEWAY, 1, 2, b"x").data), "none held"),
    Case("spanning tree", f.ethernet(MAC, "01:80:c2:00:00:00", Payload(38, b"\x42\x42\x03" + bytes(43))), "none"),
    Case("another protocol", raw(0x88B5, b"hello"), "none held"),
]

PORTS = {
    "none": Port(device="vif1.0", mac=MAC),
    "held": Port(device="vif1.0", mac=MAC, held=True),
    "4": Port(device="vif1.0", mac=MAC, addresses=WORDS4),
    "6": Port(device="vif1.0", mac=MAC, addresses=WORDS6),
    "46": Port(device="vif1.0", mac=MAC, addresses=(*WORDS6, *WORDS4)),
}

#: Counts what the port's own chain has let pass.
COUNTER = """table netdev seen { chain after { type filter hook ingress device "vif1.0" priority 100; counter; }; }\n"""


@pytest.fixture(scope="module")
def place(lab_directory: Path) -> Iterator[BareHost]:
    made = BareHost(lab_directory / "frames", "frames")
    made.run("ip", "-batch", "-", input="link add xenbr0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set xenbr0 up\n")
    set_sysctls(made, UNFILTERED)
    yield made
    made.stop()


def let_out_by_bridge(place: BareHost, wanted: Port) -> set[str]:
    """The names of the cases that another port of the bridge gets."""
    end = f.ethernet(MAC, TO, f.arp_request(MAC, OWN, "192.0.2.99"))
    with (
        Tap(place, "vif1.0", TAP, lines="link set vif1.0 master xenbr0\n") as guest,
        Tap(place, "lan0", "fe:16:3e:00:00:99", lines="link set lan0 master xenbr0\n") as outside,
    ):
        inside(place.pid, lambda: take(ports.up(wanted)))
        for case in CASES:
            guest.send(case.frame)
        guest.send(end)
        came = outside.frames(end)
        inside(place.pid, lambda: take(ports.down(wanted)))
    return {case.name for case in CASES if case.frame in came}


def let_out_by_tap(place: BareHost, wanted: Port) -> set[str]:
    """The names of the cases that the kernel of the host goes on with."""
    out = set()
    with Tap(place, "vif1.0", TAP) as guest:
        inside(place.pid, lambda: take(ports.up(wanted)))
        for case in CASES:
            place.run("nft", "-f", "-", input=f"add table netdev seen\ndelete table netdev seen\n{COUNTER}")
            guest.send(case.frame)
            listed = place.json("nft", "-j", "list", "table", "netdev", "seen")["nftables"]
            (packets,) = [rule["rule"]["expr"][0]["counter"]["packets"] for rule in listed if "rule" in rule]
            out |= {case.name} if packets else set()
        place.run("nft", "delete", "table", "netdev", "seen")
        inside(place.pid, lambda: take(ports.down(wanted)))
    return out


def expected(kind: str) -> set[str]:
    return {case.name for case in CASES if kind in case.passes.split()}


@pytest.mark.parametrize("kind", PORTS)
def test_what_a_bridged_guest_may_send(place: BareHost, kind: str) -> None:
    assert let_out_by_bridge(place, PORTS[kind]) == expected(kind)


@pytest.mark.parametrize("kind", ["held", "46"])
def test_what_a_guest_may_send_whose_rate_is_limited(place: BareHost, kind: str) -> None:
    fast = Rate(speed=10**8, burst=10**7)
    wanted = PORTS[kind]
    limited = Port(device=wanted.device, mac=wanted.mac, addresses=wanted.addresses, held=wanted.held, sending=fast, receiving=fast)
    assert let_out_by_bridge(place, limited) == expected(kind)


@pytest.mark.parametrize("kind", ["held", "4", "46"])
def test_what_a_routed_guest_may_send(place: BareHost, kind: str) -> None:
    wanted = PORTS[kind]
    routed = Port(device=wanted.device, mac=wanted.mac, addresses=wanted.addresses, held=wanted.held, mode=Mode.ROUTE)
    assert let_out_by_tap(place, routed) == expected(kind)


def test_a_word_for_all_addresses_lets_all_of_its_version_pass(place: BareHost) -> None:
    wanted = Port(device="vif1.0", mac=MAC, addresses=("0.0.0.0/0", "::/0"))
    out = let_out_by_bridge(place, wanted)
    assert {"foreign IPv4", "foreign IPv6", "advertisement of a foreign address", "ARP for a foreign address"} <= out
    assert not out & {"router advertisement", "DHCP offer", "own IPv4, foreign MAC", "VLAN in a VLAN"}


def test_a_guest_with_many_addresses_has_them_all(place: BareHost) -> None:
    more = tuple(f"203.0.113.{2 * number}" for number in range(8)) + tuple(f"2001:db8:9::{2 * number:x}" for number in range(8))
    wanted = Port(device="vif1.0", mac=MAC, addresses=(*WORDS4, *WORDS6, *more))
    assert let_out_by_bridge(place, wanted) == expected("46")


def test_a_named_link_local_address_is_the_only_one(place: BareHost) -> None:
    wanted = Port(device="vif1.0", mac=MAC, addresses=(OWN6, "fe80::5"))
    out = let_out_by_bridge(place, wanted)
    assert "own IPv6" in out
    assert not out & {"link-local IPv6", "try of the link-local address"}


def test_guests_on_two_ports_do_not_disturb_each_other(place: BareHost) -> None:
    end = f.ethernet(OTHER, TO, f.arp_request(OTHER, FOREIGN, "192.0.2.99"))
    two = Port(device="vif2.0", mac=OTHER, addresses=(FOREIGN,))
    with (
        Tap(place, "vif1.0", TAP, lines="link set vif1.0 master xenbr0\n") as guest,
        Tap(place, "vif2.0", "fe:16:3e:00:00:02", lines="link set vif2.0 master xenbr0\n") as other,
    ):
        for wanted in (PORTS["4"], two):
            inside(place.pid, lambda wanted=wanted: take(ports.up(wanted)))
        inside(place.pid, lambda: take(ports.down(two)))
        inside(place.pid, lambda: take(ports.up(two)))
        for case in CASES:
            guest.send(case.frame)
        guest.send(f.ethernet(MAC, TO, f.arp_request(MAC, OWN, FOREIGN)))
        came = other.frames(f.ethernet(MAC, TO, f.arp_request(MAC, OWN, FOREIGN)))
        other.send(eth(f.udp(OWN, GATEWAY, 1, 2, b"x"), OTHER))
        other.send(end)
        assert guest.frames(end)[-1] == end
        for wanted in (PORTS["4"], two):
            inside(place.pid, lambda wanted=wanted: take(ports.down(wanted)))
    assert {case.name for case in CASES if case.frame in came} == expected("4")


def test_the_tables_are_as_they_were_written(place: BareHost) -> None:
    """What nft prints of a table has as many rules as were asked for: none is read as something else, none is lost."""
    with Tap(place, "vif1.0", TAP):
        inside(place.pid, lambda: take(ports.up(PORTS["46"])))
        listed = place.json("nft", "-j", "list", "table", "netdev", "xmcompat")["nftables"]
        inside(place.pid, lambda: take(ports.down(PORTS["46"])))
    lines = [line.strip() for line in filters.text(PORTS["46"]).splitlines() if line.startswith("    ")]
    asked = [line for line in lines if not line.startswith(("type filter", "comment"))]
    rules = [entry["rule"]["expr"] for entry in listed if "rule" in entry]
    assert len(rules) == len(asked) > 20
    for verdict in ("drop", "return"):
        assert sum({verdict: None} in rule for rule in rules) == sum(line.endswith(verdict) for line in asked)
