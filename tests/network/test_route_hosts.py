"""Routing in a real network: the law of undoing, and packets between the outside and guests."""

from __future__ import annotations

import pytest

from tests.lab.lan import OUTSIDE, OUTSIDE6, Place, set_sysctls
from tests.lab.networks import Joiner, OneHost, QemuBooter
from tests.lab.snapshot import same
from tests.network.undoing import Made, bring_up, take_all_down, tried, wrong_of
from xmcompat.network import route
from xmcompat.network.host import read
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import take
from xmcompat.network.wanted import Mode, Port, Routing

pytestmark = pytest.mark.timeout(300)

WANTED = Routing(uplink="up0")

#: Settings that a careful administrator has made: all of them come back.
HARDENED = {
    "net.ipv4.conf.all.accept_redirects": "0", "net.ipv6.conf.default.forwarding": "1", "net.ipv4.conf.lo.forwarding": "1",
    "net.ipv6.conf.up0.accept_ra": "1",
}  # fmt: skip


def port(host: Place, verb: str, device: str, *words: str) -> None:
    """The guest of DEVICE with the addresses WORDS is set up ("up"), or what guests have left is taken away ("sweep")."""
    wanted = Port(device=device, mac="00:16:3e:00:00:01", mode=Mode.ROUTE, uplink="up0", addresses=words)

    def go() -> None:
        if verb == "up":
            take(route.port_up(wanted, *route.main_addresses("up0")))
        else:
            take(route.sweep(read()))

    host.call(go)


def mac_of(place: Place, device: str) -> str:
    return place.run("cat", f"/sys/class/net/{device}/address").strip()


def test_the_law_of_undoing(lan: OneHost) -> None:
    set_sysctls(lan.host, HARDENED)
    assert tried(lan.host, Made(WANTED), "up") == (8, [])


def test_the_way_back_can_be_finished_at_any_point(lan: OneHost) -> None:
    set_sysctls(lan.host, HARDENED)
    assert tried(lan.host, Made(WANTED), "down") == (11, [])


@pytest.fixture
def routed(lan: OneHost) -> OneHost:
    bring_up(lan.host, WANTED)
    assert wrong_of(lan.host, WANTED) == []
    return lan


def test_a_routed_guest_is_reached_through_the_hosts_mac(routed: OneHost, station: Joiner) -> None:
    guest = station(routed.host, port="vif1.0", mac="00:16:3e:00:00:01", addresses=["198.51.100.50/24"], gateway=OUTSIDE)
    port(routed.host, "up", "vif1.0", "198.51.100.50")
    assert routed.outside.pings("198.51.100.50", seconds=2.0)
    assert guest.pings(OUTSIDE)
    assert guest.pings("198.51.100.11")
    assert routed.host.pings("198.51.100.50")
    seen = {one["dst"]: one.get("lladdr") for one in routed.outside.json("ip", "-j", "neigh", "show", "dev", "lan")}
    assert seen["198.51.100.50"] == mac_of(routed.host, "up0") != guest.mac
    known = {one["dst"]: one.get("lladdr") for one in guest.json("ip", "-j", "-4", "neigh", "show", "dev", "eth0")}
    assert known[OUTSIDE] == mac_of(routed.host, "vif1.0")


def test_any_gateway_will_do(routed: OneHost, station: Joiner) -> None:
    guest = station(routed.host, port="vif1.0", mac="00:16:3e:00:00:01", addresses=["203.0.113.9/32"])
    guest.run("ip", "route", "add", "192.0.2.254", "dev", "eth0")
    guest.run("ip", "route", "add", "default", "via", "192.0.2.254")
    port(routed.host, "up", "vif1.0", "203.0.113.9")
    routed.outside.run("ip", "route", "add", "203.0.113.9", "via", "198.51.100.11")
    assert guest.pings(OUTSIDE)


def test_routed_guests_reach_each_other_and_the_host_survives_the_end_of_one(routed: OneHost, station: Joiner) -> None:
    one = station(routed.host, port="vif1.0", mac="00:16:3e:00:00:01", addresses=["198.51.100.50/24"])
    two = station(routed.host, port="vif2.0", mac="00:16:3e:00:00:02", addresses=["198.51.100.51/24"])
    port(routed.host, "up", "vif1.0", "198.51.100.50")
    port(routed.host, "up", "vif2.0", "198.51.100.51")
    assert one.pings("198.51.100.51")
    routed.host.run("ip", "link", "del", "vif1.0")
    assert routed.outside.pings("198.51.100.11")
    assert two.pings(OUTSIDE)


def test_a_routed_guest_is_reached_in_ipv6(routed: OneHost, station: Joiner) -> None:
    guest = station(routed.host, port="vif1.0", mac="00:16:3e:00:00:01", addresses=["2001:db8:1::65/128"])
    guest.run("ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
    port(routed.host, "up", "vif1.0", "198.51.100.50", "2001:db8:1::65")
    assert routed.outside.pings("2001:db8:1::65", count=3)
    assert guest.pings(OUTSIDE6, count=3)
    seen = {one["dst"]: one.get("lladdr") for one in routed.outside.json("ip", "-j", "-6", "neigh", "show", "dev", "lan")}
    assert seen["2001:db8:1::65"] == mac_of(routed.host, "up0")


def test_a_guest_may_take_the_hosts_ipv6_address_as_gateway(routed: OneHost, station: Joiner) -> None:
    guest = station(routed.host, port="vif1.0", mac="00:16:3e:00:00:01", addresses=["2001:db8:1::65/64"])
    guest.run("ip", "-6", "route", "add", "default", "via", "2001:db8:1::11", "dev", "eth0")
    routed.outside.run("ip", "-6", "addr", "add", "2001:db8:9::1/128", "dev", "lan")
    routed.outside.run("ip", "-6", "route", "add", "2001:db8:1::65/128", "via", "2001:db8:1::11")
    port(routed.host, "up", "vif1.0", "2001:db8:1::65")
    assert guest.pings("2001:db8:9::1", count=3)
    assert guest.pings("2001:db8:1::11", count=3)


def test_a_linux_guest_is_routed_in_both_families(routed: OneHost, qemu: QemuBooter) -> None:
    guest = qemu(routed.host, {"web1": {"vif1.0": "00:16:3e:00:00:01"}})["web1"]
    port(routed.host, "up", "vif1.0", "198.51.100.50", "2001:db8:1::65")
    guest.use("198.51.100.50/24", gateway="198.51.100.11")
    guest.check("ip addr add 2001:db8:1::65/128 dev eth0 && ip -6 route add default via fe80::1 dev eth0")
    assert routed.outside.pings("198.51.100.50", count=3)
    assert routed.outside.pings("2001:db8:1::65", count=3)
    assert guest.pings(OUTSIDE)
    assert guest.pings(OUTSIDE6)


def test_nothing_of_a_guest_stays(routed: OneHost, station: Joiner) -> None:
    before = routed.host.snapshot()
    station(routed.host, port="vif1.0", mac="00:16:3e:00:00:01", addresses=["198.51.100.50/24"])
    port(routed.host, "up", "vif1.0", "198.51.100.50", "2001:db8:1::65")
    routed.host.run("ip", "link", "del", "vif1.0")
    left = before.difference(routed.host.snapshot())
    assert [line for line in left.splitlines() if " fdb up0 33:33:ff:" not in line] == [
        "+ proxy up0 2001:db8:1::65 protocol = 120", "+ proxy up0 2001:db8:1::65 proxy = None"
    ]
    port(routed.host, "sweep", "vif1.0", "2001:db8:1::65")
    assert same(before, routed.host.snapshot)


def test_the_proxies_of_guests_go_with_the_routing(routed: OneHost, station: Joiner) -> None:
    station(routed.host, port="vif1.0", mac="00:16:3e:00:00:01")
    port(routed.host, "up", "vif1.0", "2001:db8:1::65")
    take_all_down(routed.host, WANTED)
    assert routed.host.run("ip", "-6", "neigh", "show", "proxy", "dev", "up0") == ""


def test_an_address_that_another_guest_has_is_refused_and_nothing_stays(routed: OneHost, station: Joiner) -> None:
    station(routed.host, port="vif1.0", mac="00:16:3e:00:00:01")
    station(routed.host, port="vif2.0", mac="00:16:3e:00:00:02")
    port(routed.host, "up", "vif1.0", "198.51.100.50")
    before = routed.host.snapshot().section("addr", "route4", "route6", "proxy")
    with pytest.raises(NetworkError, match="ip route add 198.51.100.50/32 dev vif2.0 .* failed: .*File exists"):
        port(routed.host, "up", "vif2.0", "198.51.100.50")
    assert routed.host.snapshot().section("addr", "route4", "route6", "proxy") == before


def test_a_host_that_has_its_address_by_router_advertisement_keeps_it(lan: OneHost) -> None:
    """The kernel throws such default routes away when it begins to forward, unless it is told to go on listening."""
    from tests.lab.frames import ALL_NODES_MAC, ethernet, router_advertisement
    from tests.lab.stations import send

    lan.host.run("ip", "-6", "addr", "flush", "dev", "up0", "scope", "global")
    lan.host.run("ip", "-6", "route", "flush", "default")
    advert = router_advertisement("02:00:00:00:00:01", "fe80::ff:fe00:1", prefix="2001:db8:1::")
    frame = ethernet("02:00:00:00:00:01", ALL_NODES_MAC, advert)

    def has_both() -> bool:
        routes = lan.host.json("ip", "-j", "-6", "route", "show", "default")
        addresses = lan.host.json("ip", "-j", "-6", "addr", "show", "dev", "up0", "scope", "global")
        return any(one.get("protocol") == "ra" for one in routes) and bool(addresses and addresses[0].get("addr_info"))

    send(lan.outside, "lan", frame)
    assert lan.host.pings(OUTSIDE6, count=3)
    assert has_both()
    bring_up(lan.host, WANTED)
    assert has_both()
    assert lan.host.sysctl("net.ipv6.conf.up0.accept_ra") == "2"
    assert lan.host.pings(OUTSIDE6)
    take_all_down(lan.host, WANTED)
    assert has_both()
    assert lan.host.sysctl("net.ipv6.conf.up0.accept_ra") == "1"
