"""Guests that xm started on two hosts share a vnet, as on any bridge."""

from __future__ import annotations

import pytest

from tests.lab.linux_guests import XmGuest
from tests.lab.networks import Booter, TwoNodes, boot_side_by_side

pytestmark = pytest.mark.libvirt


@pytest.fixture(scope="module")
def guests(two_nodes: TwoNodes, boot: Booter) -> dict[str, XmGuest]:
    """here and shut are guests of one host, there of the other; shut is on another vnet."""
    for host in (two_nodes.one, two_nodes.two):
        for number in ("4", "5"):
            host.run("tee", "/run/vnet.sxp", input=f"(vnet (id {number}))")
            assert host.xm("vnet-create", "/run/vnet.sxp") == ("", "", 0)
    return boot_side_by_side(boot, {
        two_nodes.one: {"here": ["bridge=vnet0004"], "shut": ["bridge=vnet0005"]},
        two_nodes.two: {"there": ["bridge=vnet0004"]},
    })  # fmt: skip


def test_they_reach_each_other_and_no_other(guests: dict[str, XmGuest]) -> None:
    for number, name in enumerate(("here", "there", "shut"), 1):
        guests[name].use(f"10.9.0.{number}/24")
    assert guests["here"].pings("10.9.0.2")
    assert guests["here"].answering("10.9.0.1", "10.9.0.2") == ["10.9.0.1", "10.9.0.2"]
    assert guests["shut"].answering("10.9.0.1", "10.9.0.2", count=2) == []


def test_their_largest_packets_pass(guests: dict[str, XmGuest]) -> None:
    for name in ("here", "there"):
        assert guests[name].check("cat /sys/class/net/eth0/mtu").strip() == "1450"
    assert guests["here"].pings("10.9.0.2", options="-s 1422")


def test_a_vnet_cannot_go_from_under_them(two_nodes: TwoNodes, guests: dict[str, XmGuest]) -> None:
    out, err, status = two_nodes.one.xm("vnet-delete", "4")
    assert (out, status) == ("", 1)
    assert err.startswith("Error: the vnet 4 is used by v")
