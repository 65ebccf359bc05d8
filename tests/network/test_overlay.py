"""Overlays: the plans, over values of a host that nobody has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from xmcompat.network import overlay
from xmcompat.network.host import Address, Host, Link, Route
from xmcompat.network.programs import NetworkError
from xmcompat.network.underlay import group_of, mtu_of, settled
from xmcompat.network.wanted import Overlay

UP0 = Link(index=2, name="up0", up=True, carrier=True)
EMPTY = Host(
    links=(Link(index=1, name="lo", up=True, mtu=65536), UP0),
    addresses=(
        Address(device="up0", address="fe80::1", prefix=64, scope="link"),
        Address(device="up0", address="198.51.100.11", prefix=24),
        Address(device="up0", address="2001:db8:1::11", prefix=64),
    ),
    routes=(Route(device="up0", destination="default", gateway="198.51.100.1"),),
)


def wanted(**values: Any) -> Overlay:
    return Overlay(**{"vni": 4, "bridge": "vnet0004", "device": "vnif0004", "underlay": "up0", **values})


def texts(plan: tuple[Any, ...]) -> list[str]:
    return [step.text for step in plan]


def with_link(**values: Any) -> Host:
    return replace(EMPTY, links=(*EMPTY.links, Link(index=9, **values)))


ALIAS = "xmcompat overlay vni=4 bridge=vnet0004 device=vnif0004 underlay=up0"
DETAILS = {"id": 4, "port": 4789, "local": "198.51.100.11"}


def there(*, state: str = "up", peers: tuple[str, ...] = ("198.51.100.12",), **device: Any) -> Host:
    """A host that has the overlay of peers."""
    links = (
        Link(index=8, name="vnet0004", kind="bridge", up=True, mtu=1450, alias=ALIAS, details={"stp_state": 0}),
        Link(**{
            "index": 9, "name": "vnif0004", "kind": "vxlan", "up": True, "mtu": 1450, "master": "vnet0004",
            "alias": f"{ALIAS} state={state}", "details": DETAILS, **device,
        }),
    )  # fmt: skip
    return replace(EMPTY, links=(*EMPTY.links, *links), floods={"vnif0004": peers})


PEERS = wanted(peers=("198.51.100.12",))


def test_what_is_left_open_is_settled_by_the_host() -> None:
    made = settled(wanted(underlay=""), EMPTY)
    assert (made.underlay, made.local, made.group) == ("up0", "198.51.100.11", "239.1.0.4")
    made = settled(wanted(peers=("2001:db8:1::12",)), EMPTY)
    assert (made.local, made.group) == ("2001:db8:1::11", "")


def test_one_list_of_peers_serves_all_hosts() -> None:
    everyone = ("198.51.100.11", "198.51.100.12", "198.51.100.13", "198.51.100.12")
    assert settled(wanted(peers=everyone), EMPTY).peers == ("198.51.100.12", "198.51.100.13")


def test_a_host_that_is_its_only_peer_has_no_group_either() -> None:
    made = settled(wanted(peers=("198.51.100.11",)), EMPTY)
    assert (made.peers, made.group) == ((), "")


@pytest.mark.parametrize(
    ("vni", "family", "group"),
    [(4, 4, "239.1.0.4"), (0xFFFF, 4, "239.1.255.255"), (0x20001, 4, "239.2.0.1"), (0xFFFFFF, 4, "239.255.255.255"),
     (4, 6, "ff05::f:0:4"), (0xFFFFFF, 6, "ff05::f:ff:ffff")],
)  # fmt: skip
def test_each_number_has_a_group(vni: int, family: int, group: str) -> None:
    assert group_of(vni, family) == group


def test_headers_of_ipv6_take_more_room() -> None:
    assert mtu_of(settled(wanted(), EMPTY), EMPTY) == 1450
    assert mtu_of(settled(wanted(group="ff05::1:4"), EMPTY), EMPTY) == 1430


def test_all_of_it_is_planned_in_order() -> None:
    assert texts(overlay.up(PEERS, EMPTY)) == [
        "make the bridge 'vnet0004'", "keep the host's IPv6 off 'vnet0004'", "switch 'vnet0004' on",
        "make the VXLAN 'vnif0004'", "keep the host's IPv6 off 'vnif0004'", "put 'vnif0004' into the bridge 'vnet0004'",
        "send what is for everybody to 198.51.100.12", "switch 'vnif0004' on", "mark 'vnif0004' as whole",
    ]  # fmt: skip


def test_nothing_is_planned_for_what_is_there() -> None:
    assert overlay.up(PEERS, there()) == ()
    assert overlay.verify(PEERS, there()) == []


def test_peers_come_and_go_without_taking_it_down() -> None:
    plan = overlay.up(wanted(peers=("198.51.100.13",)), there())
    assert texts(plan) == ["send what is for everybody to 198.51.100.13", "send nothing more to 198.51.100.12"]
    assert [[str(action) for action in step.undo] for step in plan] == [
        ["bridge fdb del 00:00:00:00:00:00 dev vnif0004 dst 198.51.100.13"],
        ["bridge fdb append 00:00:00:00:00:00 dev vnif0004 dst 198.51.100.12"],
    ]


def test_what_is_half_made_is_finished() -> None:
    plan = overlay.up(PEERS, there(state="making", master="", up=False, peers=()))
    assert texts(plan) == [
        "put 'vnif0004' into the bridge 'vnet0004'", "send what is for everybody to 198.51.100.12",
        "switch 'vnif0004' on", "mark 'vnif0004' as whole",
    ]  # fmt: skip


def test_a_vxlan_that_went_with_its_underlay_is_made_again_under_its_guests() -> None:
    without = replace(there(), links=there().links[:-1], floods={})
    assert [found.state for found in overlay.found(without)] == ["making"]
    assert texts(overlay.up(PEERS, without))[0] == "make the VXLAN 'vnif0004'"


def test_it_is_found_in_the_kernel() -> None:
    assert [tuple(found) for found in overlay.found(there())] == [
        (replace(PEERS, local="198.51.100.11"), "up"),
    ]
    assert [found.state for found in overlay.found(there(state="making"))] == ["making"]
    assert [found.state for found in overlay.found(there(master=""))] == ["making"]
    assert overlay.found(EMPTY) == ()


def test_the_bridge_of_somebody_else_is_used_and_stays() -> None:
    foreign = with_link(name="vnet0004", kind="bridge", up=True)
    assert texts(overlay.up(PEERS, foreign))[0] == "make the VXLAN 'vnif0004'"
    its = there()
    host = replace(its, links=tuple(replace(link, alias="") if link.kind == "bridge" else link for link in its.links))
    assert texts(overlay.down(overlay.found(host)[0].wanted, host)) == ["remove the VXLAN 'vnif0004'"]


def test_guests_on_a_bridge_that_goes_come_back_when_that_fails() -> None:
    its = there()
    host = replace(its, links=(*its.links, Link(index=11, name="vif3.0", master="vnet0004")))
    undo = [str(action) for action in overlay.down(overlay.found(host)[0].wanted, host)[-1].undo]
    assert undo[-1] == "ip link set dev vif3.0 master vnet0004"


def changed(**values: Any) -> Host:
    return replace(EMPTY, links=(EMPTY.links[0], replace(UP0, **values)))


@pytest.mark.parametrize(
    ("asked", "host", "said"),
    [
        (wanted(bridge="vnet-of-the-shop-4"), EMPTY, "overlay 4: 'vnet-of-the-shop-4' is longer than the 15 bytes"),
        (wanted(device="a/b"), EMPTY, "overlay 4: 'a/b' cannot be the name of a link"),
        (wanted(device="vnet0004"), EMPTY, "overlay 4: its bridge and its VXLAN are both called 'vnet0004'"),
        (wanted(vni=0), EMPTY, "overlay 0: its number 0 is not from 1 to 16777215"),
        (wanted(port=70000), EMPTY, "overlay 4: its port 70000 is not from 1 to 65535"),
        (wanted(group="239.1.0.4", peers=("198.51.100.12",)), EMPTY, "overlay 4 has a multicast group and peers"),
        (wanted(group="198.51.100.9"), EMPTY, "overlay 4: 198.51.100.9 is no multicast group"),
        (wanted(peers=("239.1.0.4",)), EMPTY, "overlay 4: 239.1.0.4 is a multicast group, and no host"),
        (wanted(peers=("host2",)), EMPTY, "overlay 4: 'host2' is no address"),
        (wanted(peers=("198.51.100.12", "2001:db8:1::12")), EMPTY, "overlay 4 has addresses of IPv4 and of IPv6"),
        (wanted(underlay="eth7"), EMPTY, "overlay 4: there is no device 'eth7' to be its underlay"),
        (wanted(underlay=""), replace(EMPTY, routes=()), "overlay 4 has no underlay: this host has no default route"),
        (wanted(), changed(up=False), "overlay 4: its underlay 'up0' is down; type 'ip link set up0 up'"),
        (wanted(), changed(master="xenbr0"), "overlay 4: its underlay 'up0' is a port of 'xenbr0'; name xenbr0"),
        (wanted(), changed(mtu=600), "overlay 4: the MTU of its underlay 'up0' leaves 550 bytes for guests"),
        (wanted(local="192.0.2.1"), EMPTY, "overlay 4: its underlay 'up0' has no address 192.0.2.1"),
        (wanted(), replace(EMPTY, addresses=EMPTY.addresses[:1]), "overlay 4: its underlay 'up0' has no address"),
        (wanted(peers=("2001:db8::9",)), replace(EMPTY, addresses=EMPTY.addresses[:2]),
         "overlay 4: its underlay 'up0' has no IPv6 address"),
        (wanted(), with_link(name="vnet0004", kind="tun"), "overlay 4: 'vnet0004' is there already, and is no bridge"),
        (wanted(), with_link(name="vnif0004", kind="vxlan", details=DETAILS), "and was not made here"),
        (wanted(), with_link(name="vx9", kind="vxlan", details=DETAILS), "its number is taken by the VXLAN 'vx9'"),
        (wanted(), there(), "overlay 4 is there already: its multicast group is none, not 239.1.0.4; remove it before"),
        (wanted(bridge="xenbr0", underlay="xenbr0"), replace(
            with_link(name="xenbr0", kind="bridge", up=True),
            addresses=(Address(device="xenbr0", address="198.51.100.11", prefix=24),)), "frames would go round for ever"),
        (wanted(vnet="0000:0000:0000:0000:0000:0000:0000:0004", underlay="eth7"), EMPTY,
         "the vnet 0000:0000:0000:0000:0000:0000:0000:0004: there is no device 'eth7'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(asked: Overlay, host: Host, said: str) -> None:
    with pytest.raises(NetworkError) as caught:
        overlay.up(asked, host)
    assert said in caught.value.line()
    assert "\n" not in caught.value.line()


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (there(master=""), "overlay 4: 'vnif0004' is not in the bridge"),
        (there(up=False), "overlay 4: 'vnif0004' is down"),
        (there(mtu=1500), "overlay 4: 'vnif0004' lets packets of 1500 bytes through, not 1450"),
        (there(peers=()), "overlay 4: nothing goes to the peer 198.51.100.12"),
        (there(peers=("198.51.100.12", "198.51.100.77")), "overlay 4: 198.51.100.77 gets its frames, and is no peer"),
        (EMPTY, "overlay 4 lacks its vnet0004 and vnif0004"),
    ],
)
def test_what_is_not_as_wanted_is_read_back(host: Host, said: str) -> None:
    assert said in overlay.verify(PEERS, host)
