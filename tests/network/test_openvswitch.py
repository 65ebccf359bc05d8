"""Bridges of Open vSwitch: the plans, and a real one that carries frames in its own process."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lan import OUTSIDE, BareHost, address, address6, end
from tests.lab.networks import Joiner, OneHost
from tests.lab.snapshot import same
from tests.network.undoing import Made, steady, tried
from xmcompat.network import openvswitch
from xmcompat.network.found import MAKING, UP, Found
from xmcompat.network.host import Address, Host, Link, Route, read
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import take
from xmcompat.network.switches import OpenSwitch, parse
from xmcompat.network.wanted import Switch

pytestmark = pytest.mark.timeout(300)

ETH0 = Link(index=2, name="eth0", mac="02:00:00:00:00:01", up=True, carrier=True)
HOST = Host(
    links=(ETH0,), addresses=(Address(device="eth0", address="198.51.100.11", prefix=24),),
    routes=(
        Route(device="eth0", destination="198.51.100.0/24", protocol="kernel", words=("198.51.100.0/24",)),
        Route(device="eth0", destination="default", gateway="198.51.100.1", words=("default", "via", "198.51.100.1")),
    ),
)  # fmt: skip
OVSBR0 = Switch(name="ovsbr0", uplink="eth0")
OWN = Link(index=5, name="ovsbr0", kind="openvswitch", mac="02:00:00:00:00:01", up=True)


def made(mark: str = "xmcompat switch uplink=eth0 state=up", ports: tuple[str, ...] = ("eth0",)) -> Host:
    return Host(links=(ETH0, OWN), switches=(OpenSwitch("ovsbr0", mark, ports, ""),))


def test_the_commands() -> None:
    assert [str(step.do) for step in openvswitch.up(OVSBR0, HOST)] == [
        "ovs-vsctl --timeout=10 add-br ovsbr0 -- set Bridge ovsbr0 "
        "'external_ids:xmcompat=\"xmcompat switch uplink=eth0 state=making\"' 'other_config:hwaddr=\"02:00:00:00:00:01\"'",
        "ip link set dev ovsbr0 up",
        "ip addr add 198.51.100.11/24 dev ovsbr0",
        "ovs-vsctl --timeout=10 add-port ovsbr0 eth0",
        "ip -4 route append default via 198.51.100.1 dev ovsbr0",
        "ip -4 route del default via 198.51.100.1 dev eth0",
        "ip addr del 198.51.100.11/24 dev eth0",
        "ovs-vsctl --timeout=10 set Bridge ovsbr0 'external_ids:xmcompat=\"xmcompat switch uplink=eth0 state=up\"'",
    ]


def test_without_a_card_it_has_no_address() -> None:
    steps = openvswitch.up(Switch(name="ovsbr1", datapath="netdev"), HOST)
    assert [step.text for step in steps] == ["make the bridge ovsbr1 of Open vSwitch", "set ovsbr1 up", "note that ovsbr1 is whole"]
    assert "datapath_type=netdev" in str(steps[0].do)


def test_what_is_there_is_found_and_left() -> None:
    assert openvswitch.up(OVSBR0, made()) == ()
    assert openvswitch.found(made()) == (Found(OVSBR0, UP),)
    assert openvswitch.verify(OVSBR0, made()) == []
    pulled = made(ports=())
    assert openvswitch.found(pulled) == (Found(OVSBR0, MAKING),)
    assert openvswitch.verify(OVSBR0, pulled) == ["eth0 is not in ovsbr0"]
    assert [step.text for step in openvswitch.up(OVSBR0, pulled)] == ["put eth0 into ovsbr0", "note that ovsbr0 is whole"]
    assert openvswitch.verify(OVSBR0, HOST) == ["there is no bridge ovsbr0 of Open vSwitch"]


def test_one_of_somebody_else_is_used_and_left() -> None:
    host = made(mark="")
    assert (openvswitch.up(OVSBR0, host), openvswitch.down(OVSBR0, host), openvswitch.found(host)) == ((), (), ())


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (Host(), "there is no network card 'eth0' on this host"),
        (Host(links=(ETH0, Link(index=3, name="ovsbr0", kind="bridge"))),
         "there is a link 'ovsbr0' already, and it is no bridge of Open vSwitch; choose another name"),
        (made(mark="", ports=()),
         "there is a bridge 'ovsbr0' already, and eth0 is not in it; put eth0 into it, or choose another name"),
        (made(mark="xmcompat switch uplink=eth1 state=up"),
         "the bridge ovsbr0 is there already, with the uplink eth1; take it down first"),
        (Host(links=(ETH0,), switches=(OpenSwitch("other", "", ("eth0",), ""),)), "eth0 belongs to other already; use other"),
    ],
)  # fmt: skip
def test_what_cannot_be(host: Host, said: str) -> None:
    with pytest.raises(NetworkError) as caught:
        openvswitch.up(OVSBR0, host)
    assert caught.value.line() == said


def test_it_stays_while_guests_are_on_it() -> None:
    with pytest.raises(NetworkError, match=r"^the bridge ovsbr0 has ports: vif1\.0$"):
        openvswitch.down(OVSBR0, made(ports=("eth0", "vif1.0")))


def test_its_database_is_understood() -> None:
    bridges = {"headings": ["name", "external_ids", "ports", "datapath_type"], "data": [
        ["br0", ["map", [["xmcompat", "xmcompat switch state=up"]]], ["set", [["uuid", "a"], ["uuid", "b"]]], "netdev"],
        ["br1", ["map", []], ["uuid", "c"], ""],
    ]}  # fmt: skip
    ports = {"headings": ["_uuid", "name"], "data": [[["uuid", "a"], "br0"], [["uuid", "b"], "eth0"], [["uuid", "c"], "br1"]]}
    assert parse(f"{json.dumps(bridges)}\n{json.dumps(ports)}\n") == (
        OpenSwitch("br0", "xmcompat switch state=up", ("eth0",), "netdev"), OpenSwitch("br1", "", (), ""),
    )  # fmt: skip
    assert parse("") == ()


def switched(host: BareHost, verb: str, **values: Any) -> str:
    """Take a bridge up or down; what is not as wanted then, or the line of the error."""
    wanted = Switch(**{"name": "ovsbr0", "uplink": "up0", "datapath": "netdev", **values})

    def go() -> str:
        try:
            take(getattr(openvswitch, verb)(wanted, read()))
        except NetworkError as error:
            return error.line()
        return " ".join(openvswitch.verify(wanted, read()))

    return host.call(go)


def test_a_host_without_it_is_told(lan: OneHost) -> None:
    before = lan.host.snapshot()
    assert switched(lan.host, "up") == (
        "'ovsbr0' is to be a bridge of Open vSwitch, which does not run on this host; start it: "
        "'systemctl start openvswitch-switch', or 'openvswitch'"
    )
    lan.host.run("mount", "-t", "tmpfs", "tmpfs", "/mnt")
    lan.host.run("mkdir", "/mnt/upper", "/mnt/work")
    lan.host.run("mount", "-t", "overlay", "-o", "lowerdir=/usr/bin,upperdir=/mnt/upper,workdir=/mnt/work", "overlay", "/usr/bin")
    lan.host.run("rm", "/usr/bin/ovs-vsctl")
    assert switched(lan.host, "up") == "the program 'ovs-vsctl' is missing; install the package openvswitch-switch"
    assert same(before, lan.host.snapshot)


@contextmanager
def running(host: BareHost) -> Iterator[None]:
    """Open vSwitch in HOST, with a new database."""
    host.run("mkdir", "-p", "/run/openvswitch", "/var/log/openvswitch", "/etc/openvswitch")
    host.run("rm", "-f", "/etc/openvswitch/conf.db")
    host.run("ovsdb-tool", "create", "/etc/openvswitch/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
    daemons: list[subprocess.Popen[str]] = []
    try:
        daemons.append(host.start(["ovsdb-server", "--remote=punix:/run/openvswitch/db.sock", "--no-chdir"]))
        deadline = time.monotonic() + 10
        while host.outcome("ovs-vsctl", "--no-wait", "init").status and time.monotonic() < deadline:
            time.sleep(0.05)
        daemons.append(host.start(["ovs-vswitchd", "--no-chdir", "--log-file", "-vconsole:off"]))
        yield
    finally:
        for daemon in daemons:
            end(daemon)


@pytest.fixture
def switch_host(lan: OneHost) -> Iterator[OneHost]:
    with running(lan.host):
        yield lan


def test_a_guest_on_it_reaches_the_outside(switch_host: OneHost, station: Joiner) -> None:
    host = switch_host.host
    before = host.snapshot()
    assert switched(host, "up") == ""
    assert switch_host.outside.pings(address(1))
    assert switch_host.outside.pings(address6(1))
    guest = station(host, port="vif1.0", mac="00:16:3e:00:00:01", addresses=["198.51.100.101/24"])
    host.run("ovs-vsctl", "add-port", "ovsbr0", "vif1.0")
    assert guest.pings(OUTSIDE, count=3)
    assert "00:16:3e:00:00:01" in switch_host.outside.run("ip", "neigh", "show", "198.51.100.101")
    assert switched(host, "down").startswith("the bridge ovsbr0 has ports: vif1.0; ")
    host.run("ovs-vsctl", "del-port", "ovsbr0", "vif1.0")
    guest.stop()
    assert switched(host, "down") == "there is no bridge ovsbr0 of Open vSwitch"
    assert switch_host.outside.pings(address(1))
    assert same(steady(before), lambda: steady(host.snapshot()))


def test_a_kernel_without_it_is_named(switch_host: OneHost) -> None:
    before = switch_host.host.snapshot()
    said = switched(switch_host.host, "up", datapath="")
    if not Path("/sys/module/openvswitch").exists():
        assert said == (
            "cannot set ovsbr0 up: this kernel has no Open vSwitch (openvswitch): the datapath 'netdev' does without; "
            "load the module, or start a kernel that has it"
        )
        assert same(steady(before), lambda: steady(switch_host.host.snapshot()))


@pytest.mark.parametrize("verb", ["up", "down"])
def test_whatever_fails_leaves_the_host_as_it_was(switch_host: OneHost, verb: str) -> None:
    wanted = Switch(name="ovs.br-of-15-by", uplink="up0", datapath="netdev")
    actions, breaches = tried(switch_host.host, Made(wanted), verb)
    assert breaches == []
    assert actions >= 10
