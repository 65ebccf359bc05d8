"""VLANs: the plans; on a kernel that has them, packets with their tags; and what is said where the kernel has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.lab.networks import OneHost
from tests.lab.snapshot import same
from tests.lab.uml import python_in_uml
from xmcompat.network import vlan
from xmcompat.network.found import MAKING, UP, Found
from xmcompat.network.host import Host, Link, read
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import take
from xmcompat.network.wanted import Vlan

WANTED = Vlan(name="eth0.100", parent="eth0", tag=100)
ETH0 = Link(index=2, name="eth0", mac="02:00:00:00:00:01", up=True, carrier=True)
HOST = Host(links=(ETH0,))


def there(alias: str = "xmcompat vlan state=up", **values: Any) -> Link:
    details = {"id": 100, "protocol": "802.1Q"}
    return Link(**{"index": 3, "name": "eth0.100", "kind": "vlan", "parent": "eth0", "alias": alias, "up": True,
                   "details": details, **values})  # fmt: skip


def test_the_commands() -> None:
    assert [str(step.do) for step in vlan.up(WANTED, HOST)] == [
        "ip -batch - <<'END'\nlink add name eth0.100 link eth0 type vlan id 100\n"
        'link set dev eth0.100 alias "xmcompat vlan state=making"\nEND',
        "ip link set dev eth0.100 up",
        "ip link set dev eth0.100 alias 'xmcompat vlan state=up'",
    ]
    made = Host(links=(ETH0, there()))
    assert vlan.up(WANTED, made) == ()
    assert vlan.found(made) == (Found(WANTED, UP),)
    assert vlan.verify(WANTED, made) == []
    assert [str(step.do) for step in vlan.down(WANTED, made)] == ["ip link del dev eth0.100"]


def test_a_parent_that_is_down_goes_up_and_down_with_it() -> None:
    parent = Link(index=2, name="eth0", mac="02:00:00:00:00:01")
    steps = vlan.up(WANTED, Host(links=(parent,)))
    assert [step.text for step in steps][1] == "set eth0 up"
    made = Host(links=(ETH0, there("xmcompat vlan was=down state=up")))
    assert [step.text for step in vlan.down(WANTED, made)] == ["set eth0 down, as it was", "remove the VLAN eth0.100"]


def test_one_that_is_not_ours_is_used_and_left() -> None:
    other = Host(links=(ETH0, there("")))
    assert vlan.up(WANTED, other) == ()
    assert vlan.down(WANTED, other) == ()
    assert vlan.found(other) == ()


def test_a_half_made_one_is_finished() -> None:
    half = Host(links=(ETH0, there("xmcompat vlan state=making", up=False)))
    assert vlan.found(half) == (Found(WANTED, MAKING),)
    assert vlan.verify(WANTED, half) == ["eth0.100 is down", "eth0.100 is half made"]
    assert [step.text for step in vlan.up(WANTED, half)] == ["set eth0.100 up", "note that eth0.100 is whole"]


@pytest.mark.parametrize(
    ("wanted", "links", "said"),
    [
        (Vlan(name="eth9.5", parent="eth9", tag=5), (ETH0,),
         "there is no network card 'eth9' on this host; there are: eth0"),
        (Vlan(name="eth0.5000", parent="eth0", tag=5000), (ETH0,), "'5000' is no VLAN; write a number from 1 to 4094"),
        (Vlan(name="enp0s31f6u1.1000", parent="eth0", tag=5), (ETH0,),
         "'enp0s31f6u1.1000' is longer than the 15 bytes that a link's name may have"),
        (WANTED, (ETH0, there(details={"id": 7})),
         "there is a link 'eth0.100' already, and it is VLAN 7 of eth0; choose another name"),
        (WANTED, (ETH0, there(kind="tun")), "there is a link 'eth0.100' already, and it is no VLAN; choose another name"),
        (WANTED, (ETH0, there(name="lan100")), "VLAN 100 of eth0 is there already, as lan100; use lan100"),
    ],
)  # fmt: skip
def test_what_cannot_be(wanted: Vlan, links: tuple[Link, ...], said: str) -> None:
    with pytest.raises(NetworkError) as caught:
        vlan.up(wanted, Host(links=links))
    assert caught.value.line() == said


def test_one_in_a_bridge_stays() -> None:
    with pytest.raises(NetworkError, match=r"^eth0.100 is in the bridge xenbr100$"):
        vlan.down(WANTED, Host(links=(ETH0, there(master="xenbr100"))))


def tried() -> str:
    """What comes of it in a network whose kernel may have no VLANs: "made", or what the error says."""
    try:
        take(vlan.up(Vlan(name="up0.100", parent="up0", tag=100), read()))
    except NetworkError as error:
        return error.line()
    return "made"


def test_a_kernel_without_vlans_is_named(lan: OneHost) -> None:
    before = lan.host.snapshot()
    said = lan.host.call(tried)
    missing = not lan.host.outcome("ip", "link", "add", "link", "up0", "name", "x", "type", "vlan", "id", "9").status
    assert missing == (said == "made")
    if said != "made":
        assert said == (
            "cannot make up0.100, the VLAN 100 of up0: this kernel has no VLANs (8021q); "
            "load the module, or start a kernel that has it"
        )
        assert same(before, lan.host.snapshot)


#: On a kernel that has VLANs: a trunk with an untagged network and VLAN 100 to a place "far"; a bridge over the VLAN.
TRUNK = """
import subprocess
from tests.lab.inside import echo_answered
from tests.network.undoing import Laws, Made
from xmcompat.network import host, vlan
from xmcompat.network.wanted import Bridge, Vlan

def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout

def pings(address, seconds):
    return echo_answered(far.pid, address, seconds=seconds)

for place in ("far", "vm"):
    ip("netns", "add", place)
    ip("-n", place, "link", "set", "lo", "up")
far = subprocess.Popen(["ip", "netns", "exec", "far", "sh", "-c", "echo; sleep 600"], stdout=subprocess.PIPE)
far.stdout.readline()
ip("link", "add", "up0", "address", "02:00:00:00:00:11", "type", "veth", "peer", "name", "trunk", "netns", "far")
ip("link", "set", "up0", "up")
ip("addr", "add", "198.51.100.11/24", "dev", "up0")
ip("-n", "far", "link", "set", "trunk", "up")
ip("-n", "far", "addr", "add", "198.51.100.1/24", "dev", "trunk")
ip("-n", "far", "link", "add", "link", "trunk", "name", "trunk.100", "type", "vlan", "id", "100")
ip("-n", "far", "link", "set", "trunk.100", "up")
ip("-n", "far", "addr", "add", "192.0.2.1/24", "dev", "trunk.100")
tagged = Vlan(name="up0.100", parent="up0", tag=100)
bridged = Bridge(name="xenbr100", uplink="up0.100")
laws = Laws(Made(tagged))
print("actions", laws.of("up", ["undone"]), laws.of("down", ["after"]))
print("wrong", laws.breaches)
Made(tagged).take("up")
over = Made(bridged)
over.take("up")
print("wrong", over.wrong())
ip("link", "add", "vif1.0", "type", "veth", "peer", "name", "eth0", "netns", "vm")
ip("link", "set", "vif1.0", "master", "xenbr100", "up")
ip("-n", "vm", "link", "set", "eth0", "up")
ip("-n", "vm", "addr", "add", "192.0.2.50/24", "dev", "eth0")
ip("-n", "vm", "addr", "add", "198.51.100.50/24", "dev", "eth0")
print("tagged", pings("192.0.2.50", 3))
print("untagged", pings("198.51.100.50", 1))
print("host", pings("198.51.100.11", 3))
try:
    vlan.down(tagged, host.read())
except Exception as error:
    print(error.line())
ip("link", "del", "vif1.0")
over.take("down")
Made(tagged).take("down")
print("left", sorted(link.name for link in host.read().links))
"""


@pytest.mark.timeout(300)
def test_a_bridge_over_a_vlan_carries_what_has_its_tag(lab_directory: Path) -> None:
    modules = ("veth", "8021q", "bridge", "nf_tables")
    said = python_in_uml(lab_directory / "uml-vlan", TRUNK, modules=modules, timeout=250)
    assert said.splitlines() == [
        "actions 3 1", "wrong []", "wrong []", "tagged True", "untagged False", "host True",
        "up0.100 is in the bridge xenbr100; take that down first", "left ['lo', 'up0']",
    ]  # fmt: skip
