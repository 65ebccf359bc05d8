"""A vnet over the bridges of two hosts, with a guest on each: what an operator has on two Xen hosts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.e2e.network_hosts import configure, device_of, left_over, lies_that_pass, network, xm
from tests.lab.lan import NodeHost
from tests.lab.linux_guests import XmGuest
from tests.lab.networks import Booter, TwoNodes, boot_side_by_side
from tests.lab.snapshot import Snapshot
from tests.lab.stations import Ear

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(300)]

HERE, THERE, FOREIGN = "10.9.0.1", "10.9.0.2", "10.9.0.77"
MAC = "00:16:3e:00:00:01"


class Bench(NamedTuple):
    nodes: TwoNodes
    before: dict[str, Snapshot]
    here: XmGuest
    there: XmGuest


def vnets(host: NodeHost, peer: NodeHost) -> None:
    """The vnet 4 with the other host as its peer, and the vnet 5, whose hosts find each other."""
    text = f"(vnet (id 4) (peers {peer.address}))\n(vnet (id 5))\n"
    host.run("tee", "/run/vnets", input=text)
    xm(host, "vnet-create", "/run/vnets")


@pytest.fixture(scope="module")
def bench(two_nodes: TwoNodes, boot: Booter) -> Iterator[Bench]:
    one, two = two_nodes.one, two_nodes.two
    before = {host.name: host.snapshot() for host in (one, two)}
    for host, peer in ((one, two), (two, one)):
        configure(host, "(network-script 'network-bridge netdev=up0 bridge=xenbr0')")
        network(host, "up", "--confirm", input="yes\n")
        vnets(host, peer)
    guests = boot_side_by_side(boot, {
        one: {"here": [f"bridge=vnet0004,mac={MAC},ip={HERE}"]}, two: {"there": ["bridge=vnet0004", "bridge=vnet0005"]},
    })  # fmt: skip
    guests["here"].use(f"{HERE}/24")
    guests["there"].use(f"{THERE}/24")
    yield Bench(two_nodes, before, guests["here"], guests["there"])


def test_guests_of_two_hosts_reach_each_other_inside_the_hosts_datagrams(bench: Bench) -> None:
    with Ear(bench.nodes.outside, "h1") as ear:
        assert bench.here.pings(THERE)
        assert bench.there.pings(HERE)
        ear.listen(0.2)
    assert {frame.source for frame in ear.heard if frame.kind == "ipv4"} <= {bench.nodes.one.address, bench.nodes.two.address}
    assert not bench.nodes.one.pings(THERE, count=1, seconds=0.5)
    assert not bench.nodes.outside.pings(THERE, count=1, seconds=0.5)


def test_the_largest_frames_and_a_stream_pass(bench: Bench) -> None:
    size = int(bench.here.check("cat /sys/class/net/eth0/mtu")) - 28
    assert bench.here.pings(THERE, options=f"-s {size}")
    bench.there.check("(tail -f /dev/null | nc -l -p 7000 | wc -c >/tmp/got) &")  # its input stays open
    bench.there.awaits(f"grep -q ':{7000:04X} 0*:0000 0A ' /proc/net/tcp /proc/net/tcp6")
    bench.here.check(f"dd if=/dev/zero bs=65536 count=64 2>/dev/null | nc {THERE} 7000")
    got = bench.there.check("for try in $(seq 100); do [ -s /tmp/got ] && break; sleep 0.1; done; cat /tmp/got")
    assert got.strip() == str(64 * 65536)


def test_a_guest_on_the_vnet_lies_in_vain(bench: Bench) -> None:
    port = device_of(bench.nodes.two, "there")
    assert lies_that_pass(bench.here, bench.nodes.two, port, mac=MAC, foreign=FOREIGN, target=THERE) == []


def test_another_vnet_is_apart(bench: Bench) -> None:
    bench.there.use()
    bench.there.use(f"{THERE}/24", device="eth1")
    assert not bench.here.pings(THERE, count=1, seconds=1)
    assert not bench.there.pings(HERE, count=1, seconds=1)


def test_nothing_is_left_when_guests_vnets_and_bridges_have_gone(bench: Bench) -> None:
    for guest, host in ((bench.here, bench.nodes.one), (bench.there, bench.nodes.two)):
        guest.close()
        xm(host, "destroy", guest.name)
        for vnet in ("4", "5"):
            xm(host, "vnet-delete", vnet)
        network(host, "down", "--confirm", input="yes\n")
        assert left_over(bench.before[host.name], host) == ""
