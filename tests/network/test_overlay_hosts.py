"""Overlays between two hosts, which are namespaces: what crosses, what does not, and that a host is as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.lab.frames import ARP, BROADCAST, Payload, arp_request
from tests.lab.lan import BareHost, address, address6
from tests.lab.networks import OneHost, TwoHosts
from tests.lab.snapshot import same
from tests.lab.stations import Ear, Station, joined
from tests.network.undoing import Change, Made, tried, wrong_of
from xmcompat.network import host as hosts
from xmcompat.network import overlay as overlays
from xmcompat.network import programs
from xmcompat.network.steps import Step, take
from xmcompat.network.wanted import Overlay

pytestmark = pytest.mark.timeout(300)


def overlay(*, vni: int = 4, **values: Any) -> Overlay:
    return Overlay(**{"vni": vni, "bridge": f"vnet{vni:04x}", "device": f"vnif{vni:04x}", "underlay": "up0", **values})


def up(host: BareHost, **values: Any) -> int:
    """The number of steps that it took."""

    def go() -> int:
        plan = overlays.up(overlay(**values), hosts.read(tables=False))
        take(plan)
        return len(plan)

    return host.call(go)


def down(host: BareHost) -> int:
    """All of them go; the number of steps that it took."""

    def go() -> int:
        now = hosts.read(tables=False)
        plan = [step for found in overlays.found(now) for step in overlays.down(found.wanted, now)]
        take(plan)
        return len(plan)

    return host.call(go)


def guest(host: BareHost, lan: Any, number: int, bridge: str = "vnet0004", size: int = 1450) -> Station:
    """A guest on BRIDGE with 10.9.0.NUMBER and 2001:db8:9::NUMBER; packets of SIZE bytes are its largest."""
    mac = f"00:16:3e:00:00:{number:02x}"
    addresses = [f"10.9.0.{number}/24", f"2001:db8:9::{number}/64"]
    station = joined(host, lan.directory, port=f"vif{number}.0", mac=mac, addresses=addresses)
    host.run("ip", "link", "set", f"vif{number}.0", "master", bridge)
    station.run("ip", "link", "set", "eth0", "mtu", str(size))
    return station


WAYS = {
    "group": ({}, {}, 1450),
    "peers": ({"peers": (address(1), address(2))}, {"peers": (address(1), address(2))}, 1450),
    "group of IPv6": ({"group": "ff05::4"}, {"group": "ff05::4"}, 1430),
    "peers of IPv6": ({"peers": (address6(2),)}, {"peers": (address6(1),)}, 1430),
}


@pytest.mark.parametrize("way", WAYS)
def test_guests_of_two_hosts_share_a_segment(two_hosts: TwoHosts, way: str) -> None:
    first, second, size = WAYS[way]
    up(two_hosts.one, **first)
    up(two_hosts.two, **second)
    assert wrong_of(two_hosts.one, overlay(**first)) == []
    here, there = guest(two_hosts.one, two_hosts.lan, 1, size=size), guest(two_hosts.two, two_hosts.lan, 2, size=size)
    assert here.pings("10.9.0.2") and there.pings("2001:db8:9::1")
    with Ear(there, "eth0") as ear, Ear(two_hosts.outside, "h1") as cable:
        here.send(Payload(0x88B5, bytes(size)), target_mac=there.mac)  # the largest there is
        assert ear.hears(lambda frame: frame.kind == "0x88b5" and len(frame.data) == size)
        assert cable.hears(lambda frame: frame.dport == 4789 and len(frame.data) > size)  # in one piece
    with Ear(there, "eth0") as ear:
        here.send(arp_request(here.mac, "10.9.0.1", "10.9.0.77"), target_mac=BROADCAST)
        assert ear.hears(lambda frame: (frame.kind, frame.target, frame.source_mac) == ("arp", "10.9.0.77", here.mac))
    assert here.mac not in two_hosts.outside.run("bridge", "fdb", "show")  # it travels inside


def test_overlays_of_other_numbers_are_apart(two_hosts: TwoHosts) -> None:
    for host in (two_hosts.one, two_hosts.two):
        up(host)
        up(host, vni=5)
    here, there = guest(two_hosts.one, two_hosts.lan, 1), guest(two_hosts.two, two_hosts.lan, 2, bridge="vnet0005")
    with Ear(there, "eth0") as ear:
        for kind in (ARP, 0x88B5):
            here.send(Payload(kind, bytes(46)), target_mac=BROADCAST)
        here.send(arp_request(here.mac, "10.9.0.1", "10.9.0.2"), target_mac=there.mac)
        assert not here.pings("10.9.0.2", count=2, seconds=1)
        assert [frame for frame in ear.listen(0.3) if frame.source_mac == here.mac] == []


def test_the_host_is_not_on_its_overlay(two_hosts: TwoHosts) -> None:
    up(two_hosts.one)
    found = two_hosts.one.json("ip", "-j", "addr", "show")
    assert [link["addr_info"] for link in found if link["ifname"] in ("vnet0004", "vnif0004")] == [[], []]


def test_a_peer_is_added_under_running_guests(two_hosts: TwoHosts) -> None:
    up(two_hosts.one, peers=(address(7),))
    up(two_hosts.two, peers=(address(1),))
    here, there = guest(two_hosts.one, two_hosts.lan, 1), guest(two_hosts.two, two_hosts.lan, 2)
    with Ear(there, "eth0") as ear:
        here.send(arp_request(here.mac, "10.9.0.1", "10.9.0.66"))
        assert not ear.hears(lambda frame: frame.target == "10.9.0.66", seconds=0.5)
    assert up(two_hosts.one, peers=(address(7), address(2))) == 1
    assert here.pings("10.9.0.2")
    assert up(two_hosts.one, peers=(address(2),)) == 1
    assert up(two_hosts.one, peers=(address(2),)) == 0
    assert here.pings("10.9.0.2")


def test_an_overlay_of_peers_outlives_the_move_of_its_address_to_a_bridge(two_hosts: TwoHosts) -> None:
    for host, other in ((two_hosts.one, 2), (two_hosts.two, 1)):
        up(host, peers=(address(other),))
    here, _there = guest(two_hosts.one, two_hosts.lan, 1), guest(two_hosts.two, two_hosts.lan, 2)
    assert here.pings("10.9.0.2")
    two_hosts.one.run("ip", "-batch", "-", input=(
        "link add xenbr0 type bridge stp_state 0 forward_delay 0\nlink set xenbr0 up\n"
        f"addr add {address(1)}/24 dev xenbr0\naddr del {address(1)}/24 dev up0\nlink set up0 master xenbr0\n"
    ))  # fmt: skip
    assert here.pings("10.9.0.2")
    assert up(two_hosts.one, peers=(address(2),), underlay="xenbr0") == 0
    assert wrong_of(two_hosts.one, overlay(peers=(address(2),))) == []


# -- a host is as it was

MANY = {"peers": (address(2), address(3)), "vnet": "0000:0000:0000:0000:0000:0000:0000:0004"}


class WithPort(Made):
    """A guest's port is in the bridge whenever that is there."""

    def mend(self) -> None:
        if hosts.read_link("vnet0004"):
            programs.run(("ip", "link", "set", "vif3.0", "master", "vnet0004"))


def test_down_leaves_nothing(lan: OneHost) -> None:
    before = lan.host.snapshot()
    for values in ({}, MANY):
        up(lan.host, **values)
        assert down(lan.host) == 2
        assert same(before, lan.host.snapshot)


@pytest.mark.parametrize("values", [{}, MANY], ids=["group", "peers"])
def test_whatever_fails_or_is_killed_leaves_the_host_as_it_was(lan: OneHost, values: dict[str, Any]) -> None:
    assert tried(lan.host, Made(overlay(**values)), "up") == (8 + len(values.get("peers", ())), [])


@pytest.mark.parametrize("values", [{}, MANY], ids=["group", "peers"])
def test_an_error_on_the_way_down_leaves_it_up(lan: OneHost, values: dict[str, Any]) -> None:
    lan.host.run("ip", "-batch", "-", input="link add vif3.0 type veth peer name out\n")
    assert tried(lan.host, WithPort(overlay(**values)), "down") == (2, [])


class Changed(Change):
    """From many peers to others, of which one stays, and back."""

    def up(self) -> Sequence[Step]:
        return overlays.up(overlay(**{**MANY, "peers": (address(4), address(5), address(3))}), hosts.read())

    def down(self) -> Sequence[Step]:
        return overlays.up(overlay(**MANY), hosts.read())


def test_an_error_while_peers_change_leaves_those_of_before(lan: OneHost) -> None:
    up(lan.host, **MANY)
    assert tried(lan.host, Changed(), "up") == (3, [])


def test_a_bridge_of_somebody_else_is_as_it_was(lan: OneHost) -> None:
    lan.host.run("ip", "link", "add", "vnet0004", "address", "02:00:00:00:00:99", "type", "bridge")
    before = lan.host.snapshot().without("link vnet0004 tso_max_size")  # the kernel's own
    up(lan.host)
    down(lan.host)
    assert same(before, lambda: lan.host.snapshot().without("link vnet0004 tso_max_size"))
