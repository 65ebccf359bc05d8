"""That the lab's networks are what they say."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from tests.lab import frames
from tests.lab.frames import arp_request, ethernet, read_frame
from tests.lab.lan import OUTSIDE, OUTSIDE6, BareHost, address, address6
from tests.lab.linux_guests import XmGuest
from tests.lab.networks import Booter, Joiner, OneHost, OneNode, QemuBooter, TwoHosts, TwoNodes
from tests.lab.snapshot import same
from tests.lab.stations import Ear, send, throughput
from xmcompat.network.programs import ProgramFailed

MAC = "00:16:3e:00:00:01"

#: What makes of a host a bridge with its uplink, as Xen's script does, and back.
BRIDGED = f"""\
link add xenbr0 type bridge stp_state 0 forward_delay 0
link set xenbr0 up
addr del {address(1)}/24 dev up0
link set up0 master xenbr0
addr add {address(1)}/24 brd + dev xenbr0
route add default via {OUTSIDE}
"""
UNBRIDGED = f"""\
link set up0 nomaster
link del xenbr0
addr add {address(1)}/24 brd + dev up0
route add default via {OUTSIDE} dev up0
"""


def test_outside_and_host_reach_each_other(lan: OneHost) -> None:
    assert lan.outside.pings(lan.host.address)
    assert lan.outside.pings(lan.host.address6)
    assert lan.host.pings(OUTSIDE)
    assert lan.host.pings(OUTSIDE6)
    assert not lan.host.pings("198.51.100.99", count=1, seconds=0.2)
    assert lan.host.links() == ["lo", "up0"]


def test_two_hosts_reach_each_other_by_the_switch(two_hosts: TwoHosts) -> None:
    assert two_hosts.one.pings(address(2))
    assert two_hosts.two.pings(address6(1))
    assert two_hosts.outside.links() == ["h1", "h2", "lan", "lo"]


def test_nothing_is_seen_outside_of_a_bare_host(lan: OneHost) -> None:
    devices = sorted(path.name for path in Path("/sys/class/net").iterdir())
    lan.host.run("ip", "link", "add", "xenbr77", "type", "bridge")
    lan.host.run("mkdir", "-p", "/etc/xen/scripts77", "/var/lib/xmcompat77", "/run/xmcompat77")
    assert lan.host.run("hostname") == "host1\n"
    assert sorted(path.name for path in Path("/sys/class/net").iterdir()) == devices
    for path in ("/etc/xen/scripts77", "/var/lib/xmcompat77", "/run/xmcompat77"):
        assert not Path(path).exists()
        lan.host.run("test", "-d", path)


def test_a_bare_host_ends_with_the_run_that_made_it(lab_directory: Path) -> None:
    """Its standard input is all that holds it: what runs inside ends when the other end of that pipe is closed."""
    host = BareHost(lab_directory / "ends", "ends")
    inside = host.start(["sleep", "600"])
    assert host._process.stdin is not None
    host._process.stdin.close()
    assert inside.wait(10) != 0
    host._process.wait(10)  # it has taken note of the end of the first process inside
    assert not Path(f"/proc/{host.pid}").exists()
    host.stop()


def test_programs_of_xmcompat_run_in_a_bare_host(lan: OneHost) -> None:
    stdout, stderr, status = lan.host.program("xmcompat.xm", "help")
    assert (status, stderr) == (0, "")
    assert "xm" in stdout


def test_a_function_runs_inside_and_its_error_comes_out(lan: OneHost) -> None:
    assert lan.host.call(lambda: (socket.gethostname(), os.getcwd())) == ("host1", "/")

    def fails() -> None:
        raise ProgramFailed(("ip", "link"), 2, "no link today")

    with pytest.raises(ProgramFailed, match="no link today") as caught:
        lan.host.call(fails)
    assert caught.value.status == 2
    with pytest.raises(AssertionError, match="ended without a word, with the status 9"):
        lan.host.call(lambda: os._exit(9))
    with pytest.raises(AssertionError, match="did not end within"):
        lan.host.call(lambda: time.sleep(60), timeout=0.2)


def test_a_snapshot_is_the_same_once_a_change_is_undone(lan: OneHost) -> None:
    before = lan.host.snapshot()
    lan.host.sysctl("net.ipv4.ip_forward", "1")
    lan.host.run("nft", "-f", "-", input="table ip xroute { chain c { counter accept; }; }")
    lan.host.run("tc", "qdisc", "add", "dev", "up0", "ingress")
    changed = before.difference(lan.host.snapshot()).splitlines()
    assert "- sysctl net.ipv4.ip_forward = 0" in changed
    assert "+ sysctl net.ipv4.ip_forward = 1" in changed
    assert any(line.startswith("+ nft ") and "xroute" in line for line in changed)
    assert any(line.startswith("+ qdisc up0 ingress") for line in changed)
    lan.host.run("nft", "delete", "table", "ip", "xroute")
    lan.host.run("tc", "qdisc", "del", "dev", "up0", "ingress")
    lan.host.sysctl("net.ipv4.ip_forward", "0")
    assert same(before, lan.host.snapshot)


def test_a_snapshot_is_the_same_once_a_bridge_has_come_and_gone(lan: OneHost) -> None:
    before = lan.host.snapshot()
    lan.host.run("ip", "-batch", "-", input=BRIDGED)
    during = lan.host.snapshot()
    assert "link up0 master = xenbr0" in during.section("link")
    assert lan.outside.pings(address(1))
    lan.host.run("ip", "-batch", "-", input=UNBRIDGED)
    assert same(before, lan.host.snapshot)
    assert before == lan.host.snapshot()


def test_a_snapshot_sees_rates_tunnels_and_neighbours_by_proxy(lan: OneHost) -> None:
    before = lan.host.snapshot()
    for command in (
        "ip tuntap add dev vif1.0 mode tap",
        "tc qdisc add dev vif1.0 root handle 1: htb default 10",
        "tc class add dev vif1.0 parent 1: classid 1:10 htb rate 8mbit",
        "ip link add ifb1.0 type ifb",
        "tc qdisc add dev vif1.0 ingress",
        "tc filter add dev vif1.0 parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev ifb1.0",
        "ip link add vnx1 type vxlan id 1 dstport 4789 dev up0",
        "bridge fdb append 00:16:3e:00:00:08 dev vnx1 dst 198.51.100.12",
        "ip neigh add proxy 198.51.100.50 dev up0",
        "tc qdisc add dev up0 root tbf rate 8mbit burst 50000 latency 50ms",
    ):
        lan.host.run(*command.split())
    seen = before.difference(lan.host.snapshot())
    for line in (
        "+ class vif1.0 class htb 1:10 root prio 0 rate 8Mbit",
        "+ filter vif1.0 action order 1: mirred (Egress Redirect to device ifb1.0)",
        "+ fdb vnx1 00:16:3e:00:00:08 dst = 198.51.100.12",
        "+ link vnx1 linkinfo.info_data.id = 1",
        "+ proxy up0 198.51.100.50",
        "+ qdisc up0 tbf options.rate = 1000000",
    ):
        assert line in seen
    for device in ("vif1.0", "ifb1.0", "vnx1"):
        lan.host.run("ip", "link", "del", device)
    lan.host.run("ip", "neigh", "del", "proxy", "198.51.100.50", "dev", "up0")
    lan.host.run("tc", "qdisc", "del", "dev", "up0", "root")
    assert same(before, lan.host.snapshot)


def test_what_a_station_sends_arrives_and_is_read(lan: OneHost, station: Joiner) -> None:
    lan.host.run("ip", "-batch", "-", input=BRIDGED)
    guest = station(lan.host, port="vif1.0", mac=MAC, addresses=["198.51.100.101/24"])
    lan.host.run("ip", "link", "set", "vif1.0", "master", "xenbr0")
    assert lan.host.mac_of("vif1.0") == "fe:ff:ff:ff:ff:ff"
    assert guest.pings(OUTSIDE)
    assert lan.outside.pings("198.51.100.101")
    with Ear(lan.outside, "lan") as ear:
        guest.send(arp_request(MAC, "198.51.100.177", OUTSIDE), source_mac="00:16:3e:00:00:99")
        assert ear.hears(lambda frame: frame.kind == "arp" and frame.source == "198.51.100.177")
        assert ear.heard[-1].source_mac == "00:16:3e:00:00:99"
        assert not ear.hears(lambda frame: frame.source == "198.51.100.178", seconds=0.2)


@pytest.mark.parametrize(
    ("payload", "read"),
    [
        (frames.arp_reply(MAC, "10.0.0.1", MAC, "10.0.0.2"), ("arp", "10.0.0.1", "10.0.0.2", 2, 0, 0)),
        (frames.udp("10.0.0.1", "10.0.0.2", 7, 9, b"x"), ("ipv4", "10.0.0.1", "10.0.0.2", 17, 7, 9)),
        (frames.udp("fe80::1", "fe80::2", 7, 9, b"x"), ("ipv6", "fe80::1", "fe80::2", 17, 7, 9)),
        (frames.echo("10.0.0.1", "10.0.0.2"), ("ipv4", "10.0.0.1", "10.0.0.2", 1, 8, 0)),
        (frames.router_advertisement(MAC, "fe80::1", "2001:db8:9::"), ("ipv6", "fe80::1", "ff02::1", 58, 134, 0)),
        (frames.neighbour_advertisement(MAC, "fe80::1"), ("ipv6", "fe80::1", "ff02::1", 58, 136, 0)),
        (frames.neighbour_solicitation(MAC, "::", "fe80::1"), ("ipv6", "::", "ff02::1:ff00:1", 58, 135, 0)),
        (frames.dhcp(frames.DHCP_DISCOVER, MAC), ("ipv4", "0.0.0.0", "255.255.255.255", 17, 68, 67)),
    ],
)  # fmt: skip
def test_frames_are_read_as_they_were_made(payload: frames.Payload, read: tuple[object, ...]) -> None:
    kind, source, target, protocol, sport, dport = read
    frame = read_frame(ethernet(MAC, frames.BROADCAST, payload))
    assert frame.source_mac == MAC
    seen = (frame.kind, frame.source, frame.target, frame.protocol, frame.sport, frame.dport)
    assert seen == (kind, source, target, protocol, sport, dport)


def test_frames_that_were_made_are_believed_by_the_kernel(lan: OneHost) -> None:
    """It answers an echo request, and takes a prefix from a router and a neighbour's MAC from what they say."""
    own, there = lan.host.mac_of("up0"), lan.outside.mac_of("lan")
    with Ear(lan.outside, "h1") as ear:
        send(lan.outside, "h1", ethernet(there, own, frames.echo(OUTSIDE, address(1))))
        assert ear.hears(lambda frame: frame.protocol == frames.ICMP and frame.sport == 0)
    announced = frames.router_advertisement(MAC, "fe80::77", "2001:db8:9::")
    send(lan.outside, "h1", ethernet(MAC, frames.ALL_NODES_MAC, announced))
    send(lan.outside, "h1", ethernet(MAC, own, frames.arp_request(MAC, "198.51.100.77", address(1))))
    deadline = time.monotonic() + 2
    while "2001:db8:9::/64" not in lan.host.run("ip", "-6", "route") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "default via fe80::77" in lan.host.run("ip", "-6", "route")
    assert f"lladdr {MAC}" in lan.host.run("ip", "neigh", "show", "198.51.100.77")


def test_an_offer_of_dhcp_is_taken_by_a_client(lan: OneHost) -> None:
    offer = frames.dhcp(frames.DHCP_OFFER, MAC, address="198.51.100.50", server=OUTSIDE)
    with lan.host.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.bind(("", 68))
        client.settimeout(2)
        send(lan.outside, "h1", ethernet(MAC, frames.BROADCAST, offer))
        data, sender = client.recvfrom(2048)  # the kernel has found its check sums right
    assert sender == (OUTSIDE, 67)
    assert data[16:20] == bytes([198, 51, 100, 50])


def test_throughput_follows_a_limit(two_hosts: TwoHosts) -> None:
    assert throughput(two_hosts.one, two_hosts.two, address(2), seconds=0.5) > 100
    two_hosts.one.run(*"tc qdisc add dev up0 root tbf rate 8mbit burst 50000 latency 50ms".split())
    throughput(two_hosts.one, two_hosts.two, address(2), seconds=2)  # its slow start loses much, which comes late
    assert 7.0 < throughput(two_hosts.one, two_hosts.two, address(2), seconds=10) < 8.4
    assert throughput(two_hosts.two, two_hosts.one, address6(1), seconds=0.5) > 20


@pytest.mark.guest
@pytest.mark.timeout(300)
def test_a_linux_guest_runs_on_a_tap_of_a_bare_host(lan: OneHost, qemu: QemuBooter) -> None:
    lan.host.run("ip", "-batch", "-", input=BRIDGED)
    guest = qemu(lan.host, {"web1": {"vif1.0": MAC}})["web1"]
    lan.host.run("ip", "link", "set", "vif1.0", "master", "xenbr0")
    guest.use("198.51.100.101/24", gateway=OUTSIDE)
    assert guest.pings(OUTSIDE)
    assert MAC in lan.outside.run("ip", "neigh", "show", "198.51.100.101")
    guest.stop()
    assert not lan.host.pings("198.51.100.101", count=1, seconds=0.3)


@pytest.fixture(scope="module")
def guests(lan_node: OneNode, boot: Booter) -> dict[str, XmGuest]:
    lan_node.host.run("ip", "-batch", "-", input=BRIDGED)
    return boot(
        lan_node.host, {"web1": ["bridge=xenbr0,mac=00:16:3e:00:00:01"], "web2": ["bridge=xenbr0,mac=00:16:3e:00:00:02"]}
    )


@pytest.mark.libvirt
@pytest.mark.guest
@pytest.mark.timeout(300)
def test_linux_guests_reach_the_outside_and_each_other(lan_node: OneNode, guests: dict[str, XmGuest]) -> None:
    web1, web2 = guests["web1"], guests["web2"]
    web1.use("198.51.100.101/24", "2001:db8:1::65/64", gateway=OUTSIDE)
    web2.use("198.51.100.102/24")
    assert web1.pings(OUTSIDE)
    assert web1.pings(OUTSIDE6)
    assert web1.pings("198.51.100.102")
    assert lan_node.outside.pings("198.51.100.101")
    assert not web1.pings("198.51.100.99", count=1, seconds=1)
    assert web1.run("false") == (1, "")
    assert web1.check("cat /sys/class/net/eth0/address") == "00:16:3e:00:00:01\n"
    for applet in ("arping", "nc", "httpd", "wget", "udhcpc", "traceroute", "nslookup"):
        web1.check(f"command -v {applet}")
    assert web1.sends_at(lan_node.outside, OUTSIDE, seconds=1) > 5
    assert web1.receives_at(lan_node.outside, OUTSIDE, seconds=1) > 5


@pytest.mark.libvirt
def test_two_nodes_know_and_reach_each_other(two_nodes: TwoNodes) -> None:
    one, two = two_nodes.one, two_nodes.two
    assert one.pings(two.address)
    assert one.run("getent", "hosts", "host2").split() == [two.address, "host2"]
    assert [host.xm("list").stdout.split()[6] for host in (one, two)] == ["Domain-0", "Domain-0"]
    assert one.links() == two.links() == ["lo", "up0"]


@pytest.mark.libvirt
def test_a_node_has_an_etc_of_its_own(lan_node: OneNode) -> None:
    lan_node.host.run("mkdir", "-p", "/etc/xen/scripts77")
    assert not Path("/etc/xen/scripts77").exists()
    assert lan_node.host.xm("domid", "Domain-0") == ("0\n", "", 0)
    assert lan_node.host.run("cat", "/etc/hosts").splitlines()[1] == "127.0.1.1 host1"
