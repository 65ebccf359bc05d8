"""A host whose networks come from its own configuration alone: systemd-networkd, started anew, makes what was there.

There is no udev in the lab: aliases and settings of devices, which it applies, are not looked at.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.lan import UPLINK, Place
from tests.lab.networks import OneHost
from xmcompat.network.host import read
from xmcompat.network.plans import plan_up
from xmcompat.network.steps import take
from xmcompat.network.wanted import Bridge, Overlay, Segment
from xmcompat.tool.main import main

NETWORKD = "/usr/lib/systemd/systemd-networkd"
OWN = f"/etc/systemd/network/20-{UPLINK}.network"
#: What the host's owner has written.
TEXT = f"""\
[Match]
Name={UPLINK}
[Link]
MTUBytes=1400
[Network]
Address=198.51.100.11/24
Address=2001:db8:1::11/64
Gateway=198.51.100.1
Gateway=2001:db8:1::1
IPv6AcceptRA=no
[Route]
Destination=203.0.113.0/24
Gateway=198.51.100.1
"""
OWN_STATE = {
    "links": {"lo": (None, 65536, "00:00:00:00:00:00", True), UPLINK: (None, 1400, "02:00:00:00:00:11", True)},
    "addresses": [f"{UPLINK} 198.51.100.11/24", f"{UPLINK} 2001:db8:1::11/64"],
    "routes": [f"198.51.100.0/24 None {UPLINK}", f"2001:db8:1::/64 None {UPLINK}", f"203.0.113.0/24 198.51.100.1 {UPLINK}",
               f"default 198.51.100.1 {UPLINK}", f"default 2001:db8:1::1 {UPLINK}"],
    "vxlans": {}, "peers": "",
}  # fmt: skip
WANTED = (
    Bridge(name="xenbr0", uplink="up0"), Segment(name="xendmz0", addresses=("10.9.0.1/24", "fd00::1/64")),
    Overlay(vni=7, bridge="vnet7", device="vnx7", underlay="xenbr0", peers=("198.51.100.12",)),
    Overlay(vni=8, bridge="vnet8", device="vnx8", underlay="xenbr0", group="239.1.1.1"),
)  # fmt: skip
MADE = ("vnx7", "vnx8", "vnet7", "vnet8", "xendmz0", "xenbr0")


def make(host: Place) -> None:
    host.call(lambda: take(plan_up(WANTED, read()).steps))


@contextmanager
def networkd(host: Place) -> Iterator[None]:
    """It runs. It does without udev where /sys cannot be written."""
    process = host.start(["sh", "-c", f"exec {NETWORKD} >/dev/null 2>&1"], env={"container": "lxc"})
    try:
        yield
    finally:
        host.run("sh", "-c", f"kill $(pidof {NETWORKD})")
        process.communicate(timeout=20)


def prepare(host: Place) -> None:
    host.run("mount", "-o", "remount,ro", "/sys")
    folders = " ".join(f"/run/systemd/netif/{name}" for name in ("links", "leases", "lldp"))
    host.run("sh", "-c", f"mkdir -p {folders}; chown -R systemd-network: /run/systemd/netif")
    host.run("tee", OWN, input=TEXT)


def bare(host: Place) -> None:
    """As the kernel begins: a card that is down, and nothing else."""
    for name in MADE:
        host.outcome("ip", "link", "del", name)
    host.run("ip", "addr", "flush", "dev", UPLINK)
    host.run("ip", "link", "set", UPLINK, "down")


def state(host: Place) -> dict[str, Any]:
    """Links with their masters, MTUs and MAC addresses; addresses; routes; VXLANs and their peers."""
    links = host.json("ip", "-j", "-d", "link", "show")
    routes = [route for family in ("-4", "-6") for route in host.json("ip", "-j", family, "route", "show")]
    vxlan = ("id", "group", "local", "link", "port", "ttl")
    return {
        "links": {one["ifname"]: (one.get("master"), one["mtu"], one["address"], "UP" in one["flags"]) for one in links},
        "addresses": sorted(
            f"{entry['ifname']} {one['local']}/{one['prefixlen']}" for entry in host.json("ip", "-j", "addr", "show")
            for one in entry["addr_info"] if one["scope"] == "global"
        ),
        "routes": sorted({f"{one['dst']} {one.get('gateway')} {one['dev']}" for one in routes if one["dst"] != "fe80::/64"}),
        "vxlans": {one["ifname"]: {key: one["linkinfo"]["info_data"].get(key) for key in vxlan}
                   for one in links if one.get("linkinfo", {}).get("info_kind") == "vxlan"},
        "peers": host.run("bridge", "fdb", "show", "dev", "vnx7") if "vnx7" in host.links() else "",
    }  # fmt: skip


def becomes(host: Place, expected: dict[str, Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while (now := state(host)) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    assert now == expected


def test_a_reboot_with_networkd_brings_the_same(lan: OneHost) -> None:
    host = lan.host
    prepare(host)
    bare(host)
    with networkd(host):
        becomes(host, OWN_STATE)
        make(host)
        before = state(host)
        said = host.program("xmcompat.tool", "network", "persist")
        assert said.status == 0, said.stderr
        assert "write /etc/systemd/network/10-xmcompat-xenbr0.netdev\n" in said.stdout
        assert f"Note: xenbr0 gets what {OWN} says of {UPLINK}.\n" in said.stderr
        assert host.program("xmcompat.tool", "network", "persist").stdout == "Nothing is to be done.\n"
    bare(host)
    with networkd(host):
        becomes(host, before)
        assert lan.outside.pings(host.address)
        assert host.run("cat", OWN) == TEXT
        forgotten = host.program("xmcompat.tool", "network", "persist", "--forget")
        assert forgotten.stdout.endswith("A reboot brings the host as it was.\n"), forgotten
    bare(host)
    with networkd(host):
        becomes(host, OWN_STATE)
    assert host.run("ls", "/etc/systemd/network").split() == [OWN.rpartition("/")[2]]


def test_a_dry_run_writes_nothing(lan: OneHost) -> None:
    host = lan.host
    prepare(host)
    make(host)
    said = host.program("xmcompat.tool", "network", "persist", "--dry-run", "--system", "systemd-networkd")
    assert said.status == 0
    assert "  +Bridge=xenbr0\n" in said.stdout
    assert said.stdout.endswith("Nothing is changed.\n")
    assert host.run("ls", "/etc/systemd/network").split() == [OWN.rpartition("/")[2]]


def test_without_networks_nothing_is_written(lan: OneHost) -> None:
    said = lan.host.program("xmcompat.tool", "network", "persist")
    assert said == ("", "Error: no network has been made here; 'xmcompat network up' makes them; --forget forgets them\n", 1)
    assert lan.host.program("xmcompat.tool", "network", "persist", "--forget").stdout == "Nothing is to be done.\n"


def test_a_host_that_nothing_configures_is_refused(lan: OneHost) -> None:
    make(lan.host)
    said = lan.host.program("xmcompat.tool", "network", "persist")
    assert said.status == 1
    assert said.stderr.startswith("Error: neither systemd-networkd, ifupdown nor NetworkManager configures up0; let 'xend start'")


def test_only_root_may_write(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["network", "persist"]) == 1
    assert capsys.readouterr().err == "Error: the host's networks are root's to see and to change; run this as root\n"


def test_the_dhcp_server_knows_the_bridge_as_it_knew_the_card(lan: OneHost) -> None:
    """systemd-networkd makes the client's number of the device's name; the bridge gets that of the card."""
    host, outside = lan.host, lan.outside
    leases = "/run/leases"
    server = outside.start([
        "dnsmasq", "--keep-in-foreground", "--port=0", "--interface=lan", "--dhcp-range=198.51.100.100,198.51.100.150,1h",
        f"--dhcp-leasefile={leases}", "--conf-file=/dev/null", "--pid-file=/run/server.pid",
    ])  # fmt: skip
    prepare(host)
    host.run("tee", OWN, input=f"[Match]\nName={UPLINK}\n[Network]\nDHCP=ipv4\n")
    bare(host)

    def client() -> list[str]:
        """The address and the client's number of the one lease."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = [line.split() for line in outside.outcome("cat", leases).stdout.splitlines()]
            if found and any(f" {one[2]}/" in line for one in found for line in state(host)["addresses"]):
                assert len(found) == 1, found
                return [found[0][2], found[0][4]]
            time.sleep(0.1)
        raise AssertionError("no lease")

    try:
        with networkd(host):
            before = client()
            make(host)
            said = host.program("xmcompat.tool", "network", "persist")
            assert said.status == 0, said.stderr
            assert "  +DHCP=ipv4\n" in said.stdout
            assert "  +IAID=" in said.stdout
        bare(host)
        with networkd(host):
            assert client() == before
            assert any(line.startswith("xenbr0 198.51.100.1") for line in state(host)["addresses"])
    finally:
        outside.run("sh", "-c", "kill $(cat /run/server.pid)")
        server.communicate(timeout=10)
