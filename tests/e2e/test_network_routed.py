"""A guest behind NAT, and then the same guest with a route of its own, as xend-config.sxp's words make them.

One host and one Linux guest for the whole file; the tests go on from each other.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.e2e.network_hosts import configure, device_of, left_over, lies_that_pass, network, xm
from tests.lab.lan import OUTSIDE, OUTSIDE6, BareHost, NodeHost, end
from tests.lab.linux_guests import XmGuest
from tests.lab.networks import Booter, OneNode
from tests.lab.snapshot import Snapshot
from tests.lab.stations import Ear

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(300)]

NAT = "(network-script 'network-nat netdev=up0 dhcp=yes')(vif-script vif-nat)"
FORWARDS = '[network.nat]\nuplink = "up0"\nforwards = ["tcp 8080 10.0.0.5:80"]\n'
ROUTE = "(network-script 'network-route netdev=up0')(vif-script 'vif-route netdev=up0')"

MAC = "00:16:3e:00:00:01"
ADDRESS, FOREIGN = "10.0.0.5", "10.0.0.77"
ROUTED, ROUTED6, FOREIGN_ROUTED = "198.51.100.50", "2001:db8:1::50", "198.51.100.177"


class Bench(NamedTuple):
    outside: BareHost
    host: NodeHost
    before: Snapshot
    web1: XmGuest


@pytest.fixture(scope="module")
def bench(lan_node: OneNode, boot: Booter) -> Iterator[Bench]:
    """The outside answers for all names; the host asks it."""
    outside, host = lan_node.outside, lan_node.host
    before = host.snapshot()
    host.run("tee", "/etc/resolv.conf", input=f"nameserver {OUTSIDE}\n")
    names = outside.start(["dnsmasq", "-k", "-C", "/dev/null", "--no-resolv", "--no-hosts", "--address=/#/203.0.113.80"])
    try:
        configure(host, NAT, FORWARDS)
        network(host, "up")
        yield Bench(outside, host, before, boot(host, {"web1": [f"mac={MAC},ip={ADDRESS}"]})["web1"])
    finally:
        end(names)


def fetched(place: BareHost, address: str, port: int) -> bytes:
    """The page that a server has."""
    with place.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect((address, port))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: client.recv(4096), b"")).partition(b"\r\n\r\n")[2]


def test_nat_gives_the_guest_its_address_and_the_way_out(bench: Bench) -> None:
    assert bench.web1.lease() == f"lease {ADDRESS}/16 router=10.0.0.1 dns={OUTSIDE} hostname=web1"
    assert bench.web1.pings("10.0.0.1")
    with Ear(bench.outside, "h1") as ear:
        assert bench.web1.pings(OUTSIDE)
        ear.listen(0.2)
    sources = {frame.source for frame in ear.heard if frame.kind == "ipv4"}
    assert sources == {bench.host.address}


def test_names_are_resolved_behind_nat(bench: Bench) -> None:
    assert "Name:\twww.example.org\nAddress: 203.0.113.80\n" in bench.web1.run("nslookup www.example.org")[1]


def test_a_port_of_the_host_leads_to_the_guest_behind_nat(bench: Bench) -> None:
    bench.web1.check("mkdir -p /tmp/www; echo 'from web1' >/tmp/www/index.html; httpd -p 80 -h /tmp/www")
    assert fetched(bench.outside, bench.host.address, 8080) == b"from web1\n"


def test_forwards_follow_the_settings_while_the_guest_runs(bench: Bench) -> None:
    configure(bench.host, NAT, FORWARDS.replace("8080", "8081"))
    network(bench.host, "up")
    assert fetched(bench.outside, bench.host.address, 8081) == b"from web1\n"
    with pytest.raises(ConnectionRefusedError):
        fetched(bench.outside, bench.host.address, 8080)
    assert network(bench.host, "up") == "Nothing is to be done.\n"


def test_a_guest_behind_nat_lies_in_vain(bench: Bench) -> None:
    assert lies_that_pass(bench.web1, bench.host, "xennat0", mac=MAC, foreign=FOREIGN, target=OUTSIDE) == []


def test_nothing_of_nat_is_left(bench: Bench) -> None:
    assert "web1" in network(bench.host, "down", status=1)
    xm(bench.host, "network-detach", "web1", "0")
    network(bench.host, "down")
    assert left_over(bench.before, bench.host) == ""
    assert "dnsmasq" not in bench.host.run("ps", "-eo", "comm")


def test_a_routed_guest_is_reached_by_the_hosts_mac_address(bench: Bench) -> None:
    host, web1 = bench.host, bench.web1
    configure(host, ROUTE)
    network(host, "up")
    with Ear(bench.outside, "h1") as ear:
        xm(host, "network-attach", "web1", f"mac={MAC}", f"ip={ROUTED} {ROUTED6}")
        for address in (ROUTED, ROUTED6):  # neighbours need not wait until they ask
            assert ear.hears(lambda frame, address=address: frame.source == address and frame.source_mac == host.mac_of("up0"))
    web1.awaits("[ -e /sys/class/net/eth0 ]")
    web1.check(
        f"ip link set eth0 up && ip addr add {ROUTED}/32 dev eth0 && ip route add {host.address} dev eth0"
        f" && ip route add default via {host.address} && ip -6 addr add {ROUTED6}/128 dev eth0"
        " && ip -6 route add default via fe80::1 dev eth0"
    )
    for address, out in ((ROUTED, OUTSIDE), (ROUTED6, OUTSIDE6)):
        assert web1.pings(out)
        assert web1.pings(host.address6 if ":" in out else host.address)
        assert bench.outside.pings(address)
        assert f"lladdr {host.mac_of('up0')}" in bench.outside.run("ip", "neigh", "show", address)
    assert network(host, "status") == "routing  routing between up0 and guests: up, with web1\n"
    assert "drops" not in network(host, "check")


def test_a_routed_guest_lies_in_vain(bench: Bench) -> None:
    """No foreign source comes out of the card; ARP and the guest's MAC address never do. With a filter that was put back."""
    bench.host.run("nft", "delete", "table", "netdev", "xmcompat")
    assert "have gone" in network(bench.host, "check")
    assert network(bench.host, "repair") == "web1: vif 1 is set up\n"
    lies = lies_that_pass(
        bench.web1, bench.outside, "h1", mac=MAC, honest=ROUTED, foreign=FOREIGN_ROUTED, target=OUTSIDE
    )  # fmt: skip
    assert lies == []
    with Ear(bench.outside, "h1") as ear:
        bench.web1.check("ip -6 addr add 2001:db8:1::77/128 dev eth0")
        assert not bench.web1.pings(OUTSIDE6, count=1, seconds=1, options="-I 2001:db8:1::77")
        ear.listen(0.1)
    assert "2001:db8:1::77" not in {frame.source for frame in ear.heard}


def test_nothing_is_left_when_guest_and_routing_have_gone(bench: Bench) -> None:
    host = bench.host
    assert host.links() == ["lo", "up0", device_of(host, "web1", 1)]
    bench.web1.close()
    xm(host, "destroy", "web1")
    network(host, "down")
    assert left_over(bench.before, host) == ""
