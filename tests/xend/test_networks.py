"""The words of xend-config.sxp for networks: what they stand for on this host, and what is said of the rest."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmcompat.network.host import Address, Host, Link, Route
from xmcompat.network.wanted import Bridge, Nat, Network, Overlay, Routing, Segment, Vlan
from xmcompat.xend.networks import Remark, Topology, bridge_called, merged, script_path, topology


def host(*names: str, default: str = "eth0", addresses: tuple[Address, ...] = (), more: tuple[Link, ...] = ()) -> Host:
    links = tuple(Link(index=number, name=name, up=True) for number, name in enumerate(names or ("eth0", "eth1"), 1))
    routes = (Route(device=default, destination="default", gateway="192.0.2.1"),) if default else ()
    return Host(links=(*links, *more), routes=routes, addresses=addresses)


HOST = host()


def wanted(words: str, script: str | None = None, on: Host = HOST, vif: str = "vif-bridge") -> tuple[Network, ...]:
    return topology(words, vif, script, on).wanted


def warnings(words: str, script: str | None = None, on: Host = HOST, vif: str = "vif-bridge") -> list[str]:
    return [remark.text for remark in topology(words, vif, script, on).remarks if remark.warns]


@pytest.mark.parametrize(
    ("words", "networks"),
    [
        ("", ()),
        ("network-bridge", (Bridge(name="xenbr0", uplink=""),)),
        ("network-bridge netdev=eth1", (Bridge(name="xenbr1", uplink="eth1"),)),
        ("network-bridge bridge=xenbr0", (Bridge(name="xenbr0", uplink=""),)),
        ("/etc/xen/scripts/network-bridge netdev=eth1 bridge=lan", (Bridge(name="lan", uplink="eth1"),)),
        ("network-bridge netdev=eth1 bridge=eth1", (Bridge(name="xenbr1", uplink="eth1"),)),
        ("network-bridge start vifnum=1", (Bridge(name="xenbr1", uplink="eth1"),)),
        ("network-bridge antispoof=yes", (Bridge(name="xenbr0", uplink="", antispoof=True),)),
        ("network-bridge antispoof=no", (Bridge(name="xenbr0", uplink=""),)),
        ("network-bridge bridge=null", ()),
        ("network-bridge stop", ()),
        ("network-bridge netdev=bond0 bridge=br9", (Bridge(name="br9", uplink="bond0"),)),
        ("network-bridge netdev=bond0", (Bridge(name="br-bond0", uplink="bond0"),)),
        ("network-bridge netdev=eth0.100 bridge=xenbr100",
         (Vlan(name="eth0.100", parent="eth0", tag=100), Bridge(name="xenbr100", uplink="eth0.100"))),
        ("network-bridge netdev=dummy0 bridge=xenbr1", (Segment(name="xenbr1"),)),
        ("network-bridge netdev=dummy0", (Segment(name="dummy0"),)),
        ("network-route", (Routing(uplink="eth0"),)),
        ("network-route netdev=eth1", (Routing(uplink="eth1"),)),
        ("network-nat", (Nat(uplink="eth0", dhcp=True),)),
        ("network-nat netdev=eth1 dhcp=no antispoof=no", (Nat(uplink="eth1", dhcp=False),)),
        ("network-dummy", ()),
        ("/bin/true", ()),
        ("network-vnet", ()),
        ("network-bridge-wrapper netdev=eth1", (Bridge(name="xenbr1", uplink="eth1"),)),
        ("network-multinet bridge:eth0,eth1 hostonly:inner nat:outer", (
            Bridge(name="xenbr0", uplink="eth0"), Bridge(name="xenbr1", uplink="eth1"), Segment(name="inner"),
            Nat(uplink="eth0", bridge="outer"))),
    ],
)  # fmt: skip
def test_what_the_words_stand_for(words: str, networks: tuple[Network, ...]) -> None:
    assert wanted(words) == networks


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("network-bridge nonsense", "'nonsense' is not understood"),
        ("network-bridge speed=9", "'speed=9' is not understood"),
        ("network-bridge vifnum=x", "is no number"),
        ("network-bridge netdev=eth0.9999 bridge=b", "VLAN 9999, which cannot be"),
        ("network-bridge bridge=a-name-that-is-too-long", "longer than the 15 bytes"),
        ("network-bridge netdev=a/b", "cannot be a card"),
        ("network-vnet", "xm vnet-create"),
        ("network-multinet", "its networks are not known here"),
        ("network-multinet router:x", "'router:x' is not understood"),
        ("network-multinet nat:a,b", "a second translated network, 'b', is not made"),
        ("my-network", "my-network is not there: the networks that it made are not known"),
        ("network-bridge-bonding", "is taken for network-bridge"),
    ],
)
def test_what_is_not_understood_is_told(words: str, said: str) -> None:
    assert any(said in text for text in warnings(words)), warnings(words)


WRAPPER = """\
#!/bin/sh
# network-bridge netdev=eth7
dir=$(dirname "$0")
modprobe dummy
[ -x "$dir/network-bridge" ] || exit 1
second=eth1
"$dir/network-bridge" "$@" vifnum=0 netdev=eth0 bridge=xenbr0
/etc/xen/scripts/network-bridge $1 vifnum=1 netdev=$second \\
    bridge=xenbr1
"$dir/network-bridge" "$@" vifnum=2 netdev=dummy0 bridge=xenbr2
ip addr add 10.9.0.1/24 dev dummy0
case "$1" in stop) network-bridge stop netdev=eth5 ;; esac
"""


def test_a_wrapper_is_read_for_its_calls_and_never_run() -> None:
    assert wanted("my-network", WRAPPER) == (
        Bridge(name="xenbr0", uplink="eth0"), Bridge(name="xenbr1", uplink="eth1"),
        Segment(name="xenbr2", addresses=("10.9.0.1/24",)),
    )  # fmt: skip


def test_a_wrapper_with_two_calls_differs_from_what_xend_4_1_made() -> None:
    assert any("xend 4.1 made the first bridge only" in text for text in warnings("my-network", WRAPPER))


def test_the_words_behind_a_wrapper_are_those_of_its_calls() -> None:
    assert wanted("mine antispoof=yes", 'network-bridge "$@" netdev=eth1') == (
        Bridge(name="xenbr1", uplink="eth1", antispoof=True),
    )


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("network-bridge start netdev=$card", "mine:1: 'start netdev=$card' is not in plain words"),
        ("brctl addbr br0", "calls none of Xen's scripts in plain words"),
        ("echo network-bridge netdev=eth1", "calls none of Xen's scripts in plain words"),
    ],
)
def test_what_a_wrapper_hides_is_told(script: str, said: str) -> None:
    assert wanted("mine", script) == ()
    assert any(said in text for text in warnings("mine", script)), warnings("mine", script)


def test_a_distributions_script_that_cannot_be_read_is_taken_for_network_bridge() -> None:
    assert wanted("network-bridge-wrapper", None) == (Bridge(name="xenbr0", uplink=""),)


def test_the_hosts_addresses_on_a_dummy_card_are_its_own_on_the_segment() -> None:
    dummy = Address(device="dummy0", address="10.1.0.1", prefix=24)
    there = host("eth0", "dummy0", addresses=(dummy,))
    assert wanted("network-bridge netdev=dummy0 bridge=in0", on=there) == (Segment(name="in0", addresses=("10.1.0.1/24",)),)


# -- the cards of another time


def test_eth0_on_a_host_with_other_names_is_the_card_of_the_default_route_and_told() -> None:
    there = host("enp1s0", default="enp1s0")
    assert wanted("network-bridge netdev=eth0", on=there) == (Bridge(name="xenbr0", uplink="enp1s0"),)
    assert any("enp1s0" in text for text in warnings("network-bridge netdev=eth0", on=there))


def test_another_card_that_is_not_there_keeps_its_name_so_that_the_plan_says_so() -> None:
    assert wanted("network-bridge netdev=eth5") == (Bridge(name="xenbr5", uplink="eth5"),)


def test_the_settings_say_which_card_stands_for_which() -> None:
    found = topology("network-bridge netdev=eth1.7 bridge=b", "", None, HOST, {"eth1": "enp2s0"})
    assert found.wanted == (Vlan(name="enp2s0.7", parent="enp2s0", tag=7), Bridge(name="b", uplink="enp2s0.7"))


def test_a_bridge_of_ours_on_the_default_route_gives_the_same_network_again() -> None:
    ours = Link(index=9, name="xenbr0", kind="bridge", alias="xmcompat bridge uplink=enp1s0 state=up")
    there = host("enp1s0", default="xenbr0", more=(ours,))
    assert wanted("network-bridge netdev=eth0", on=there) == (Bridge(name="xenbr0", uplink="enp1s0"),)
    assert warnings("network-bridge netdev=eth0", on=there) == []


def test_a_bridge_of_the_distribution_on_the_default_route_serves() -> None:
    there = host("eth0", default="br0", more=(Link(index=9, name="br0", kind="bridge"),))
    assert wanted("network-bridge", on=there) == ()
    assert any('xenbr0 = "br0"' in text for text in warnings("network-bridge", on=there))


@pytest.mark.parametrize(
    ("vif", "network", "warns"),
    [("vif-route", "network-bridge", True), ("vif-nat", "", True), ("vif-nat", "network-nat", False), ("vif-bridge", "", False)],
)
def test_scripts_that_do_not_fit_together_are_told(vif: str, network: str, warns: bool) -> None:
    assert bool(warnings(network, vif=vif)) is warns


# -- names, files, settings


@pytest.mark.parametrize(
    ("named", "netdev", "name"),
    [("", "", "xenbr0"), ("", "eth3", "xenbr3"), ("eth0", "eth0", "xenbr0"), ("br7", "eth0", "br7"), ("", "bond0", "br-bond0")],
)
def test_what_a_bridge_is_called(named: str, netdev: str, name: str) -> None:
    assert bridge_called(named, netdev) == name


def test_scripts_lie_in_xens_folder() -> None:
    assert script_path("mine a=b") == "/etc/xen/scripts/mine"
    assert script_path("/opt/net start") == "/opt/net"
    assert script_path("") == ""


def test_of_two_networks_for_one_bridge_that_of_the_settings_counts() -> None:
    words = Topology((Bridge(name="xenbr0", uplink="eth0"), Segment(name="in0")), (Remark("x"),))
    more = (Bridge(name="xenbr0", uplink="eth1"), Overlay(vni=4, bridge="ov4", device="vxlan4", underlay="eth0"))
    assert merged(words, more) == Topology((Segment(name="in0"), *more), (Remark("x"),))


@given(st.text(alphabet="network-bidgs start=eth0.:,$\"'\n&;|[]#/ ", max_size=120), st.text(max_size=200))
@settings(max_examples=300)
def test_no_words_and_no_script_fail(words: str, script: str) -> None:
    found = topology(words, "vif-bridge", script, HOST)
    assert found == topology(words, "vif-bridge", script, HOST)
