"""Ports in the kernel: what is made, what is left, and that nothing is left whatever fails and whenever."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.lab.inside import inside
from tests.lab.lan import BareHost
from tests.network.taps import Tap
from xmcompat.network import filters, host, port, rate, steps, sweep, tables
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Action, Step, take
from xmcompat.network.wanted import Mode, Port, Rate

MAC, TAP = "00:16:3e:00:00:01", "fe:16:3e:00:00:01"
RATE = Rate(speed=10**6, burst=50_000)
WHOLE = Port(
    device="vif1.0", mac=MAC, bridge="xenbr0", addresses=("192.0.2.10", "2001:db8::10"), isolated=True, sending=RATE,
    receiving=RATE, altnames=("web1.0", "a-name-longer-than-15-bytes"),
)  # fmt: skip
ROUTED = Port(device="vif1.0", mac=MAC, mode=Mode.ROUTE, addresses=("192.0.2.10",), sending=RATE, receiving=RATE)
PORTS = {"whole": WHOLE, "routed": ROUTED, "held": Port(device="vif1.0", mac=MAC, held=True)}
#: How a kernel may limit: the best way, and those for kernels that have less.
MEANS = {"shaped": ("ifb", "tbf"), "classes": ("nft", "htb"), "cut": ("nft", "nft")}


class Lab:
    """A host with a bridge, and with the tap of one guest on it."""

    def __init__(self, place: BareHost) -> None:
        self.place = place
        self.tap = self.new_tap()

    def new_tap(self, mac: str = TAP) -> Tap:
        return Tap(self.place, "vif1.0", mac, lines="link set vif1.0 master xenbr0\n")

    def up(self, wanted: Port) -> tuple[Step, ...]:
        return inside(self.place.pid, lambda: port.up(wanted))

    def down(self, wanted: Port) -> tuple[Step, ...]:
        return inside(self.place.pid, lambda: port.down(wanted))

    def debris(self) -> tuple[Step, ...]:
        return inside(self.place.pid, sweep.debris)

    def take(self, plan: Sequence[Step], actor: Callable[[Action], object] = steps.act) -> None:
        inside(self.place.pid, lambda: take(plan, actor))

    def state(self) -> str:
        sections = self.place.snapshot().section("link", "nft", "qdisc", "class", "filter", "addr")
        return "\n".join(line for line in sections if " xenbr0 " not in line[:14])  # knows late that it has a carrier


@pytest.fixture(scope="module")
def place(lab_directory: Path) -> Iterator[BareHost]:
    made = BareHost(lab_directory / "ports", "ports")
    made.run("ip", "-batch", "-", input="link add xenbr0 type bridge stp_state 0 forward_delay 0\nlink set xenbr0 up\n")
    yield made
    made.stop()


@pytest.fixture
def lab(place: BareHost) -> Iterator[Lab]:
    made = Lab(place)
    yield made
    made.tap.close()
    made.take(made.debris())
    assert inside(place.pid, tables.chains) == ()


@pytest.fixture(params=MEANS)
def means(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    sending, receiving = MEANS[request.param]
    monkeypatch.setattr(rate, "sending_means", lambda: sending)
    monkeypatch.setattr(rate, "receiving_means", lambda: receiving)
    return str(request.param)


class Failing:
    """Acts; at action NUMBER it fails, before or after it has acted, or the process dies after it."""

    def __init__(self, number: int, way: str) -> None:
        self.left, self.way = number, way

    def __call__(self, action: Action) -> None:
        self.left -= 1
        if self.left == 0 and self.way == "before":
            raise NetworkError("injected")
        steps.act(action)
        if self.left == 0:
            if self.way == "killed":
                os._exit(9)
            raise NetworkError("injected")


def killed(lab: Lab, plan: Sequence[Step], number: int) -> None:
    """Take PLAN in a process that dies after its action NUMBER."""

    def go() -> int:
        child = os.fork()
        if child == 0:
            try:
                take(plan, Failing(number, "killed"))
            finally:
                os._exit(1)
        return os.waitpid(child, 0)[1]

    assert os.waitstatus_to_exitcode(inside(lab.place.pid, go)) == 9


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


@pytest.mark.parametrize("way", ["before", "after"])
@pytest.mark.parametrize("kind", PORTS)
def test_a_failure_in_the_middle_leaves_nothing(lab: Lab, kind: str, way: str, means: str) -> None:
    before = lab.state()
    plan = lab.up(PORTS[kind])
    for number in range(1, len(plan) + 1):
        with pytest.raises(NetworkError, match="^injected$"):
            lab.take(plan, Failing(number, way))
        assert lab.state() == before, f"action {number}"


@pytest.mark.parametrize("way", ["before", "after"])
def test_a_failure_while_it_is_taken_back_leaves_all(lab: Lab, way: str, means: str) -> None:
    lab.take(lab.up(WHOLE))
    before = lab.state()
    plan = lab.down(WHOLE)
    for number in range(1, len(plan) + 1):
        with pytest.raises(NetworkError, match="^injected$"):
            lab.take(plan, Failing(number, way))
        assert steady(lab.state()) == steady(before), f"action {number}"


@pytest.mark.parametrize("kind", PORTS)
def test_a_process_that_dies_leaves_what_down_removes(lab: Lab, kind: str, means: str) -> None:
    before = lab.state()
    for number in range(1, len(lab.up(PORTS[kind])) + 1):
        killed(lab, lab.up(PORTS[kind]), number)
        lab.take(lab.down(PORTS[kind]))
        assert lab.state() == before, f"action {number}"


def test_down_goes_on_where_it_was_killed(lab: Lab, means: str) -> None:
    before = lab.state()
    lab.take(lab.up(WHOLE))
    for number in range(1, len(lab.down(WHOLE)) + 1):
        killed(lab, lab.down(WHOLE), number)
        lab.take(lab.down(WHOLE))
        assert lab.state() == before, f"action {number}"
        lab.take(lab.up(WHOLE))


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
        assert not before.difference(place.snapshot())
