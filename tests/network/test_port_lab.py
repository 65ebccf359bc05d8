"""Ports in the kernel: what is made, what is left, and that nothing is left whatever fails and whenever."""

from __future__ import annotations

import pytest

from tests.lab.inside import inside
from tests.lab.lan import BareHost
from tests.lab.snapshot import same
from tests.network.ports import MAC, PORTS, RATE, TAP, WHOLE, Lab
from tests.network.taps import Tap
from tests.network.undoing import AFTER, BEFORE, FINISHED, UNDONE
from xmcompat.network import filters, host, port, sweep, tables
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import take
from xmcompat.network.wanted import Port

pytestmark = pytest.mark.timeout(300)


def steady(text: str) -> list[str]:
    """Without what the kernel draws for each new link."""
    return sorted(line for line in text.splitlines() if not any(word in line for word in ("index", "address", "class tbf")))


def test_all_that_was_asked_for_is_there(lab: Lab) -> None:
    lab.take(lab.up(WHOLE))
    link = inside(lab.place.pid, lambda: host.read_link("web1.0"))
    assert link is not None
    assert (link.name, link.altnames, link.port["isolated"]) == ("vif1.0", ("web1.0", "a-name-longer-than-15-bytes"), True)
    shaper = inside(lab.place.pid, lambda: host.read_link("ifb-vif1.0"))
    assert shaper is not None and shaper.mark is not None
    assert (shaper.kind, shaper.mark.kind, shaper.mark.values["device"]) == ("ifb", "rate", "vif1.0")
    queues = {one["dev"]: one["kind"] for one in lab.place.json("tc", "-j", "qdisc") if one["kind"] == "tbf"}
    assert queues == {"vif1.0": "tbf", "ifb-vif1.0": "tbf"}
    assert inside(lab.place.pid, lambda: tables.there("xmcompat", "in/vif1.0"))
    assert ("xmcompat", "in/vif1.0", f"xmcompat port device=vif1.0 mac={MAC}") in inside(lab.place.pid, tables.chains)


@pytest.mark.parametrize("kind", PORTS)
def test_down_leaves_nothing(lab: Lab, kind: str, means: str) -> None:
    before = lab.state()
    lab.take(lab.up(PORTS[kind]))
    assert lab.state() != before
    lab.take(lab.down(PORTS[kind]))
    assert lab.state() == before
    assert lab.down(PORTS["held"]) == ()


def test_a_port_takes_three_processes_at_most(lab: Lab) -> None:
    assert [step.do.words[0] for step in lab.up(WHOLE)] == ["ip", "nft", "tc"]  # type: ignore[union-attr]
    assert [step.do.words[0] for step in lab.up(PORTS["held"])] == ["nft"]  # type: ignore[union-attr]
    assert lab.up(Port(device="vif1.0", mac=MAC)) == ()
    assert lab.down(Port(device="vif1.0", mac=MAC)) == ()


@pytest.mark.parametrize("kind", PORTS)
def test_a_failure_or_a_death_in_the_middle_leaves_nothing(lab: Lab, kind: str, means: str) -> None:
    assert lab.tried(PORTS[kind], "up", (BEFORE, AFTER, UNDONE)) == (len(lab.up(PORTS[kind])), [])


def test_a_failure_while_it_is_taken_back_leaves_all_and_after_a_death_down_goes_on(lab: Lab, means: str) -> None:
    actions, breaches = lab.tried(WHOLE, "down", (BEFORE, AFTER, FINISHED))
    assert breaches == []
    assert actions > 1


def test_what_a_batch_did_before_it_failed_is_undone(lab: Lab) -> None:
    """``ip -batch`` stops at the line that fails and keeps those before it."""
    plan = lab.up(WHOLE)
    lab.place.run("ip", "link", "add", "ifb-vif1.0", "type", "veth", "peer", "name", "peer0")
    before = lab.state()
    with pytest.raises(NetworkError, match="File exists"):
        lab.take(plan[:1])
    gone = [line for line in before.splitlines() if "ifb-vif1.0" not in line and "peer0" not in line]
    assert lab.state().splitlines() == gone


def test_a_shaper_that_is_somebody_elses_is_left_alone(lab: Lab) -> None:
    lab.place.run("ip", "link", "add", "ifb-vif1.0", "type", "ifb")
    with pytest.raises(NetworkError, match=r"^the link 'ifb-vif1\.0', .* is somebody else's"):
        lab.up(WHOLE)
    assert lab.debris() == ()
    lab.place.run("ip", "link", "del", "ifb-vif1.0")


def test_down_after_the_tap_is_gone(lab: Lab, means: str) -> None:
    lab.tap.close()
    before = lab.state()
    lab.tap = lab.new_tap()
    lab.take(lab.up(WHOLE))
    lab.tap.close()
    lab.take(lab.down(WHOLE))
    assert lab.state() == before


@pytest.mark.parametrize("later", ["whole", "held", "bare"])
def test_the_next_tap_of_that_name_has_nothing_of_the_one_before(lab: Lab, later: str) -> None:
    """No filter of a guest that is gone binds to the tap of the next."""
    wanted = PORTS.get(later, Port(device="vif1.0", mac=MAC))
    lab.take(lab.up(wanted))
    fresh = lab.state()
    lab.take(lab.down(wanted))
    lab.take(lab.up(WHOLE))
    lab.tap.close()
    lab.tap = lab.new_tap()
    lab.take(lab.up(wanted))

    assert steady(lab.state()) == steady(fresh)


def test_wrong_ports_are_told_in_one_line(lab: Lab) -> None:
    lab.place.run("ip", "link", "add", "taken0", "type", "veth", "peer", "name", "peer1")
    for wanted, said in (
        (Port(device="vif9.0", mac=MAC), "the host's end 'vif9.0' of an interface is not there"),
        (Port(device="vif1.0", mac=MAC, altnames=("taken0",)), "'vif1.0' cannot be called 'taken0' as well"),
        (Port(device="vif1.0", mac=MAC, altnames=("x" * 128,)), "is longer than the 127 bytes"),
        (Port(device="vif1.0", mac=MAC, addresses=("x",)), "vif1.0: 'x' in ip= is no address or network"),
        (Port(device="vif1.0\nlink del xenbr0", mac=MAC), "is no name for the host's end"),
        (Port(device="vif1.0", mac=MAC, altnames=("a\nlink del xenbr0",)), "is no name for the host's end"),
        (Port(device="taken0", mac=MAC, isolated=True), "'taken0' is on no bridge"),
    ):
        with pytest.raises(NetworkError) as raised:
            lab.up(wanted)
        assert said in raised.value.line()
        assert "\n" not in raised.value.line()
    lab.place.run("ip", "link", "del", "taken0")


@pytest.mark.parametrize("device", ["a;b", "a{b}", "$(id)", "-x", "\u00fc", "a_b", "help", "dev", "{", "verylongname-15"])
def test_odd_names_work(place: BareHost, device: str) -> None:
    with Tap(place, "new", TAP, lines="link set new master xenbr0 down\n"):
        place.run("ip", "link", "set", "dev", "new", "name", device)
        place.run("ip", "link", "set", "dev", device, "up")
        before = place.snapshot()
        wanted = Port(device=device, mac=MAC, addresses=("192.0.2.1",), isolated=True, sending=RATE, receiving=RATE)
        inside(place.pid, lambda: take(port.up(wanted)))
        assert inside(place.pid, lambda: tables.there("xmcompat", filters.chain_of(device)))
        assert inside(place.pid, sweep.debris) == ()
        inside(place.pid, lambda: take(port.down(wanted)))
        assert same(before, place.snapshot)
