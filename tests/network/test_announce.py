"""What neighbours are told of a routed guest that has come from another host."""

from __future__ import annotations

import pytest

from tests.lab.networks import Joiner, TwoHosts
from tests.network.test_route_hosts import mac_of, port
from tests.network.undoing import bring_up
from xmcompat.network import announce, route
from xmcompat.network.programs import NetworkError
from xmcompat.network.wanted import Routing

ADDRESSES = ("198.51.100.50", "2001:db8:1::65")


def test_neighbours_follow_a_routed_guest_to_another_host_at_once(two_hosts: TwoHosts, station: Joiner) -> None:
    outside = two_hosts.outside
    for host in (two_hosts.one, two_hosts.two):
        bring_up(host, Routing(uplink="up0"))
        guest = station(host, port="vif1.0", mac="00:16:3e:00:00:01", addresses=["198.51.100.50/24", "2001:db8:1::65/128"])
        guest.run("ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
        port(host, "up", "vif1.0", *ADDRESSES)
        host.call(lambda: announce.announce("up0", map(route.destination, (*ADDRESSES, "203.0.113.0/28"))))
        known = {one["dst"]: one.get("lladdr") for one in outside.json("ip", "-j", "neigh", "show", "dev", "lan")}
        if host is two_hosts.two:
            assert {known[address] for address in ADDRESSES} == {mac_of(host, "up0")}
        assert all(outside.pings(address, count=3, seconds=2.0) for address in ADDRESSES)
        host.run("ip", "link", "del", "vif1.0")
        port(host, "down", "vif1.0", *ADDRESSES)


def test_a_card_that_is_not_there_is_named() -> None:
    with pytest.raises(NetworkError) as caught:
        announce.announce("nocard", ())
    assert caught.value.line() == "guests' addresses cannot be announced on 'nocard': No such file or directory"
