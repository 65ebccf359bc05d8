"""Guests on the bridge of network-bridge and on segments, from ``xend start`` to ``xmcompat network down``.

One host and two Linux guests for the whole file: each test leaves both as it found them, but for the last, which takes
everything away.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.e2e.network_hosts import (
    LEAST,
    MOST,
    configure,
    device_of,
    left_over,
    lies_that_pass,
    network,
    sending_speed,
    speeds,
    xm,
)
from tests.lab.lan import OUTSIDE, BareHost, NodeHost
from tests.lab.linux_guests import XmGuest
from tests.lab.networks import Booter, OneNode
from tests.lab.snapshot import Snapshot

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(300)]

XEND = """\
(network-script 'network-bridge netdev=up0 bridge=xenbr0')
(vif-script vif-bridge)
"""
SEGMENTS = "[network.segments.inner1]\n[network.segments.inner2]\n"

MAC1, MAC2 = "00:16:3e:00:00:01", "00:16:3e:00:00:02"
ADDRESS1, ADDRESS2, FOREIGN = "198.51.100.101", "198.51.100.102", "198.51.100.177"
INNER1, INNER2 = "192.0.2.1", "192.0.2.2"

SCRIPT = """#!/bin/sh
exec >>{log} 2>&1
echo "$1 $XENBUS_PATH $(xenstore-read "$XENBUS_PATH/mac") $(cat "/sys/class/net/$vif/address")"
[ "$1" = offline ] || xenstore-write "$XENBUS_PATH/hotplug-status" connected
"""


class Bench(NamedTuple):
    """``web1`` is held to its address and limited; a script of the user's own connects ``web2``."""

    outside: BareHost
    host: NodeHost
    before: Snapshot
    web1: XmGuest
    web2: XmGuest


@pytest.fixture(scope="module")
def bench(lan_node: OneNode, boot: Booter) -> Iterator[Bench]:
    host = lan_node.host
    before = host.snapshot()
    configure(host, XEND, SEGMENTS)
    script = SCRIPT.format(log=host.node.directory / "calls")
    host.run("tee", "/etc/xen/scripts/vif-mine", input=script)
    host.run("chmod", "755", "/etc/xen/scripts/vif-mine")
    started = host.program("xmcompat.xend", "start")
    try:
        assert started == ("", "", 0)
        guests = boot(host, {
            "web1": [f"bridge=xenbr0,mac={MAC1},ip={ADDRESS1},rate=8Mb/s"],
            "web2": [f"bridge=xenbr0,mac={MAC2},script=vif-mine"],
        })  # fmt: skip
        use_addresses(guests["web1"])
        guests["web2"].use(f"{ADDRESS2}/24", gateway=OUTSIDE)
        yield Bench(lan_node.outside, host, before, guests["web1"], guests["web2"])
    finally:
        host.program("xmcompat.xend", "stop")


def use_addresses(web1: XmGuest) -> None:
    web1.use(f"{ADDRESS1}/24", gateway=OUTSIDE)


def lies_of_web1(bench: Bench) -> list[str]:
    return lies_that_pass(bench.web1, bench.outside, "h1", mac=MAC1, foreign=FOREIGN, target=OUTSIDE)


def calls(bench: Bench) -> list[str]:
    return (bench.host.node.directory / "calls").read_text().splitlines()


def test_guests_host_and_outside_reach_each_other(bench: Bench) -> None:
    for guest, other in ((bench.web1, ADDRESS2), (bench.web2, ADDRESS1)):
        assert guest.pings(OUTSIDE)
        assert guest.pings(bench.host.address)
        assert guest.pings(other)
    for address in (ADDRESS1, ADDRESS2):
        assert bench.outside.pings(address)
        assert bench.host.pings(address)


def test_the_outside_sees_the_guests_own_mac_address(bench: Bench) -> None:
    assert bench.outside.pings(ADDRESS1)
    assert f"lladdr {MAC1}" in bench.outside.run("ip", "neigh", "show", ADDRESS1)


def test_the_host_s_end_has_xen_s_name(bench: Bench) -> None:
    assert bench.host.json("ip", "-j", "link", "show", device_of(bench.host, "web1"))[0]["master"] == "xenbr0"
    assert network(bench.host, "status").splitlines()[0] == "xenbr0  a bridge with the card up0: up, with web1, web2"


def test_rate_limits_both_directions_and_one_guest_alone(bench: Bench) -> None:
    sent, received = speeds(bench.web1, bench.outside, OUTSIDE)
    assert LEAST < sent < MOST
    assert LEAST < received < MOST
    assert bench.web2.sends_at(bench.outside, OUTSIDE, seconds=0.5) > MOST


def test_a_guest_with_ip_lies_in_vain(bench: Bench) -> None:
    assert lies_of_web1(bench) == []


def test_a_guest_without_ip_may_use_any_address(bench: Bench) -> None:
    """Which shows that the lies would have been heard."""
    lies = lies_that_pass(bench.web2, bench.outside, "h1", mac=MAC2, foreign=FOREIGN, target=OUTSIDE)
    assert {"arp", "ipv4"} <= {lie.split()[0] for lie in lies}  # its IPv6 may look for a router meanwhile
    assert any(FOREIGN in lie for lie in lies)


def test_a_script_of_the_operators_own_was_run(bench: Bench) -> None:
    domid = xm(bench.host, "domid", "web2").strip()
    assert calls(bench) == [f"online backend/vif/{domid}/0 {MAC2} fe{MAC2[2:]}"]


def test_segments_are_apart_from_each_other_the_host_and_the_outside(bench: Bench) -> None:
    """With interfaces that are attached to running guests; one of them is held to its address."""
    host, web1, web2 = bench.host, bench.web1, bench.web2
    xm(host, "network-attach", "web1", "bridge=inner1", "mac=00:16:3e:00:01:01", f"ip={INNER1}")
    xm(host, "network-attach", "web2", "bridge=inner1", "mac=00:16:3e:00:01:02")
    xm(host, "network-attach", "web2", "bridge=inner2", "mac=00:16:3e:00:02:02")
    for guest, device in ((web1, "eth1"), (web2, "eth1"), (web2, "eth2")):
        guest.awaits(f"[ -e /sys/class/net/{device} ]")
    web1.use(f"{INNER1}/24", device="eth1")
    web2.use(f"{INNER2}/24", device="eth1")
    assert web1.pings(INNER2)
    heard_at = device_of(host, "web2", 1)
    assert lies_that_pass(
        web1, host, heard_at, mac="00:16:3e:00:01:01", foreign="192.0.2.77", target=INNER2, device="eth1"
    ) == []  # fmt: skip
    assert not host.pings(INNER1, count=1, seconds=0.5)
    assert not bench.outside.pings(INNER1, count=1, seconds=0.5)
    web2.use(device="eth1")
    web2.use(f"{INNER2}/24", device="eth2")
    assert not web1.pings(INNER2, count=1, seconds=1)
    for guest, numbers in (("web1", "1"), ("web2", "12")):
        for number in numbers:
            xm(host, "network-detach", guest, number)
    assert network(host, "status").splitlines()[1] == "inner1  a segment of guests, without this host: up"


def test_a_guest_that_was_saved_is_held_when_it_is_back(bench: Bench) -> None:
    file = str(bench.host.node.directory / "web1.saved")
    xm(bench.host, "save", "web1", file)
    xm(bench.host, "restore", file)
    bench.web1.await_shell()
    assert bench.outside.pings(ADDRESS1)
    assert lies_of_web1(bench) == []


def test_a_reboot_keeps_everything_though_libvirtd_is_killed_meanwhile(bench: Bench) -> None:
    """web1 reboots by itself; web2, which does not, is reached all the time."""
    device, run = device_of(bench.host, "web1"), calls(bench)
    began = time.monotonic()
    bench.web1.run("(sleep 0.2; reboot -f) >/dev/null 2>&1 &")
    daemon = bench.host.node.daemon_pid()
    assert daemon is not None
    os.kill(daemon, signal.SIGKILL)
    assert bench.outside.pings(ADDRESS2)
    time.sleep(0.5)
    deadline = time.monotonic() + 30
    while bench.host.xm("list").status != 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    bench.web1.await_shell()
    assert float(bench.web1.check("cut -d' ' -f1 /proc/uptime")) < time.monotonic() - began
    assert (device_of(bench.host, "web1"), calls(bench)) == (device, run)
    use_addresses(bench.web1)
    assert bench.web2.pings(ADDRESS1)
    assert lies_of_web1(bench) == []
    assert LEAST < sending_speed(bench.web1, bench.outside, OUTSIDE) < MOST


def test_a_firewall_that_forwards_nothing_is_found_and_the_remedy_helps(bench: Bench) -> None:
    """As Docker makes one, after the networks were made."""
    host, key = bench.host, "net.bridge.bridge-nf-call-iptables"
    assert network(host, "check").count("drops") == 0
    host.sysctl(key, "1")
    host.run("iptables", "-P", "FORWARD", "DROP")
    assert not bench.web1.pings(ADDRESS2, count=1, seconds=1)
    said = network(host, "check", status=1)
    assert re.search(rf"IPv4 between ports of the bridges 'xenbr0', .* are dropped, since {key} is 1, by table 'ip filter'", said)
    remedy = re.search(f"type '(sysctl -w {key}=0)'", said)
    assert remedy is not None
    host.run(*remedy[1].split())
    assert bench.web1.pings(ADDRESS2)
    assert "drops" not in network(host, "check")
    host.sysctl(key, "1")
    network(host, "up")
    assert bench.web1.pings(ADDRESS2)
    assert bench.outside.pings(ADDRESS1)


def test_filters_that_were_flushed_are_put_back_while_the_guest_runs(bench: Bench) -> None:
    host = bench.host
    host.run("nft", "flush", "ruleset")
    assert any(FOREIGN in lie for lie in lies_of_web1(bench))
    device = device_of(host, "web1")
    said = f"the rules that keep '{device}' to its addresses have gone: all rules were flushed; type 'xmcompat network repair'"
    assert said in network(host, "check")
    assert network(host, "repair") == "web1: vif 0 is set up\n"
    assert "have gone" not in network(host, "check")
    assert lies_of_web1(bench) == []
    assert LEAST < sending_speed(bench.web1, bench.outside, OUTSIDE) < MOST
    assert network(host, "repair") == ""


def test_guests_come_back_to_a_bridge_that_was_taken_from_them(bench: Bench) -> None:
    host = bench.host
    said = network(host, "down", status=1)
    assert "guests are on 'xenbr0': " in said and "web1" in said and "web2" in said
    network(host, "down", "--force", "--confirm", input="yes\n")
    assert host.pings(OUTSIDE)
    network(host, "up", "--confirm", input="yes\n")
    assert f"'{device_of(host, 'web2')}' is not on its guest's bridge 'xenbr0'" in network(host, "check", status=1)
    assert set(network(host, "repair").splitlines()) == {"web1: vif 0 is set up", "web2: vif 0 is set up"}
    for address in (ADDRESS1, ADDRESS2):
        assert bench.outside.pings(address)


def test_nothing_is_left_when_guests_and_networks_have_gone(bench: Bench) -> None:
    host, domid = bench.host, xm(bench.host, "domid", "web2").strip()
    for guest in (bench.web1, bench.web2):
        guest.close()
        xm(host, "destroy", guest.name)
    assert calls(bench)[-1].startswith(f"offline backend/vif/{domid}/0 {MAC2} ")
    assert host.program("xmcompat.xend", "stop") == ("", "", 0)
    assert host.links() == ["inner1", "inner2", "lo", "up0", "xenbr0"]
    assert host.pings(OUTSIDE)
    network(host, "down", "--confirm", input="yes\n")
    assert bench.outside.pings(host.address)
    assert left_over(bench.before, host) == ""
