"""All modes together: order, conflicts, what is settled. The modes here are stand-ins that keep their networks as links."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from xmcompat.network.found import MAKING, UP, Found
from xmcompat.network.host import Address, Host, Link, Route
from xmcompat.network.plans import Modes, complaints, name_of, plan_down, plan_up, settle, visitors
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Command, Setting, Step
from xmcompat.network.wanted import Bridge, Nat, Network, Overlay, Routing, Segment, Vlan

HOST = Host(
    links=(Link(index=1, name="eth0", mac="02:00:00:00:00:01", up=True), Link(index=2, name="eth1", up=True)),
    addresses=(Address(device="eth0", address="192.0.2.7", prefix=24),),
    routes=(Route(device="eth0", destination="default", gateway="192.0.2.1"),),
    settings={"net.ipv4.ip_forward": "0"},
)


class Stand:
    """A mode. It makes a network where no link has its name; OURS are those that it finds."""

    def __init__(self, kind: str, *ours: Found[Network]) -> None:
        self.KIND = kind
        self.ours = ours
        self.asked: list[tuple[Network, Host]] = []

    def up(self, wanted: Any, host: Host) -> tuple[Step, ...]:
        self.asked.append((wanted, host))
        uplink = getattr(wanted, "uplink", "")
        if uplink and host.link(uplink) is None:
            raise NetworkError(f"there is no card {uplink}")
        if isinstance(wanted, Routing):
            return (Step(text="forward", do=Setting("net.ipv4.ip_forward", "1")),)
        there = host.link(name_of(wanted)) is not None
        return () if there else (Step(text=f"make {name_of(wanted)}", do=Command(("make", name_of(wanted)))),)

    def found(self, host: Host) -> tuple[Found[Network], ...]:
        return self.ours

    def down(self, wanted: Any, host: Host) -> tuple[Step, ...]:
        if guests := visitors(wanted, host):
            raise NetworkError(f"{guests[0].name} is on it")
        return (Step(text=f"remove {name_of(wanted)}", do=Command(("remove", name_of(wanted)))),)

    def verify(self, wanted: Any, host: Host) -> list[str]:
        return [] if host.link(name_of(wanted)) else [f"there is no {name_of(wanted)}"]


def table(**ours: tuple[Found[Network], ...]) -> Modes:
    kinds = {"vlan": Vlan, "bridge": Bridge, "segment": Segment, "route": Routing, "nat": Nat, "overlay": Overlay}
    return {kind: Stand(name, *ours.get(name, ())) for name, kind in kinds.items()}  # type: ignore[misc]


def asked(modes: Modes, kind: type[Network]) -> tuple[Network, Host]:
    mode = modes[kind]
    assert isinstance(mode, Stand)
    return mode.asked[0]


BRIDGE = Bridge(name="xenbr0", uplink="eth0")
VLAN = Vlan(name="eth1.100", parent="eth1", tag=100)


def test_a_vlan_is_made_before_the_bridge_that_it_is_in() -> None:
    plan = plan_up([Bridge(name="xenbr100", uplink="eth1.100"), VLAN], HOST, table())
    assert [name_of(part.network) for part in plan.parts] == ["eth1.100", "xenbr100"]
    assert [link.name for link in plan.after.links] == ["eth0", "eth1", "eth1.100", "xenbr100"]
    assert plan.after.link("eth1.100").master == "xenbr100"  # type: ignore[union-attr]


def test_what_stands_on_a_card_is_planned_on_the_bridge_that_takes_its_place() -> None:
    modes = table()
    overlay = Overlay(vni=4, bridge="ov4", device="vxlan4", underlay="eth0")
    plan_up([Nat(uplink=""), overlay, Routing(uplink="eth0"), BRIDGE], HOST, modes)
    assert asked(modes, Nat)[0] == Nat(uplink="xenbr0")
    assert asked(modes, Overlay)[0] == replace(overlay, underlay="xenbr0")
    assert asked(modes, Routing)[0] == Routing(uplink="xenbr0")
    host = asked(modes, Overlay)[1]
    assert [str(one) for one in host.addresses_of("xenbr0")] == ["192.0.2.7/24"]
    assert host.setting("net.ipv4.ip_forward") == "1"


def test_a_bridge_without_a_card_takes_that_of_the_default_route() -> None:
    plan = plan_up([Bridge(name="xenbr0", uplink="")], HOST, table())
    assert plan.parts[0].network == BRIDGE
    assert plan.taken == {"eth0", "xenbr0"}
    with pytest.raises(NetworkError, match="no default route"):
        plan_up([Bridge(name="xenbr0", uplink="")], replace(HOST, routes=()), table())


def test_a_plan_for_what_is_there_has_no_steps() -> None:
    there = plan_up([BRIDGE], HOST, table()).after
    again = plan_up([Bridge(name="xenbr0", uplink="")], there, table(bridge=(Found(BRIDGE, UP),)))
    assert (again.steps, again.taken, again.parts[0].network) == ((), frozenset(), BRIDGE)
    assert again.after == there


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ([BRIDGE, Segment(name="xenbr0")], "two networks are to be called 'xenbr0'"),
        ([BRIDGE, Bridge(name="b", uplink="eth0")], "'xenbr0' and 'b' both want the card eth0"),
        ([Bridge(name="b", uplink="eth9")], "there is no card eth9"),
        ([Overlay(vni=4, bridge="a", device="va", underlay="eth0"), Overlay(vni=4, bridge="b", device="vb", underlay="eth0")],
         "'a' and 'b' both want to be overlay 4"),
    ],
)
def test_networks_that_exclude_each_other_are_refused(wanted: list[Network], said: str) -> None:
    with pytest.raises(NetworkError, match=said):
        plan_up(wanted, HOST, table())


# -- down

NAT = Nat(uplink="xenbr0")
OURS = {"vlan": (Found(VLAN, UP),), "bridge": (Found(BRIDGE, UP),), "nat": (Found(NAT, UP),)}
MADE = plan_up([VLAN, BRIDGE, NAT], HOST, table()).after


def removed(names: tuple[str, ...] = (), host: Host = MADE, *, force: bool = False) -> list[str]:
    return [step.text for step in plan_down(host, names, table(**OURS), force=force).steps]


def test_all_is_taken_away_in_the_reverse_order() -> None:
    assert removed() == ["remove xennat0", "remove xenbr0", "remove eth1.100"]
    after = plan_down(MADE, (), table(**OURS)).after
    assert [link.name for link in after.links] == ["eth0", "eth1"]
    assert (after.addresses, after.default_device) == (HOST.addresses, "eth0")


def test_a_network_that_another_stands_on_is_not_taken_away_alone() -> None:
    assert removed(("xennat0",)) == ["remove xennat0"]
    with pytest.raises(NetworkError, match="'xenbr0' is needed by 'xennat0'"):
        removed(("xenbr0",))


def test_an_unknown_name_is_refused_with_those_that_are_there() -> None:
    with pytest.raises(NetworkError) as caught:
        removed(("br7",))
    assert caught.value.line() == (
        "no network 'br7' has been made here; those that have: eth1.100, xenbr0, xennat0"
    )


def test_guests_are_in_the_way_unless_forced() -> None:
    tap = Link(index=20, name="vif1.0", kind="tun", master="xenbr0")
    seen = replace(MADE, links=(*MADE.links, tap))
    assert visitors(BRIDGE, seen) == (tap,)
    with pytest.raises(NetworkError, match="vif1.0 is on it"):
        removed(host=seen)
    assert removed(host=seen, force=True) == ["remove xennat0", "remove xenbr0", "remove eth1.100"]


# -- what a killed process has left


def test_what_is_half_made_is_taken_away_and_what_is_whole_stays() -> None:
    halves = table(bridge=(Found(BRIDGE, MAKING),), segment=(Found(Segment(name="in0"), UP),))
    assert [step.text for step in settle(HOST, (), halves).steps] == ["remove xenbr0"]


def test_a_trial_that_nobody_confirmed_is_taken_away() -> None:
    assert [step.text for step in settle(MADE, ("xennat0", "gone"), table(**OURS)).steps] == ["remove xennat0"]


def test_a_network_that_guests_are_on_is_left_for_up_to_mend() -> None:
    segment = Segment(name="in0")
    host = replace(HOST, links=(*HOST.links, Link(index=7, name="in0", kind="bridge"),
                                Link(index=8, name="vif1.0", kind="tun", master="in0")))  # fmt: skip
    assert settle(host, (), table(segment=(Found(segment, MAKING),))).steps == ()


def test_complaints_bear_the_networks_name() -> None:
    assert complaints(HOST, table(bridge=(Found(BRIDGE, UP),))) == [("xenbr0", "there is no xenbr0")]
