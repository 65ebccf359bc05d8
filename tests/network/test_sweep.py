"""What is taken for debris, and what is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.inside import inside
from tests.lab.lan import BareHost
from tests.network.ports import MAC, PORTS, WHOLE, Lab
from tests.network.taps import Tap
from xmcompat.network import programs, rate, sweep, tables
from xmcompat.network.sweep import stale_filters
from xmcompat.network.tables import Chain
from xmcompat.network.wanted import Port

COMMENT = "xmcompat port device=vif1.0 mac=00:16:3e:00:00:01"
LONG = "vif12345.10-emu"


@pytest.mark.parametrize(
    ("macs", "stale"),
    [
        ({}, True),
        ({"vif2.0": "fe:16:3e:00:00:01"}, True),
        ({"vif1.0": "fe:16:3e:00:00:01"}, False),
        ({"vif1.0": "fe:16:3e:00:00:02"}, True),
        ({"vif1.0": "fe:ff:ff:ff:ff:ff"}, False),
        ({"vif1.0": "52:54:00:00:00:02"}, False),
    ],
)
def test_a_table_is_stale_whose_tap_is_gone_or_anothers(macs: dict[str, str], stale: bool) -> None:
    chains = [Chain("xmcompat", "ipv6/vif1.0"), Chain("xmcompat", "in/vif1.0", COMMENT), Chain("xmcompat", "out/vif1.0")]
    assert stale_filters(chains, macs) == (("vif1.0",) if stale else ())


def test_chains_of_others_are_never_stale() -> None:
    assert stale_filters([Chain("filter", "in/vif1.0", COMMENT), Chain("xmcompat", "note-nat"), Chain("xmcompat", "x/y")], {}) == ()


@pytest.mark.parametrize("kind", PORTS)
def test_all_goes_that_a_guest_has_left(lab: Lab, kind: str, means: str) -> None:
    lab.tap.close()
    before = lab.state()
    lab.tap = lab.new_tap()
    lab.take(lab.up(PORTS[kind]))
    assert lab.debris() == ()
    lab.tap.close()
    assert lab.state() != before
    lab.take(lab.debris())
    assert lab.state() == before
    assert lab.debris() == ()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_all_goes_that_a_command_has_left_which_was_killed(lab: Lab, number: int) -> None:
    lab.tap.close()
    before = lab.state()
    lab.tap = lab.new_tap()
    lab.killed(WHOLE, number)
    lab.tap.close()
    lab.take(lab.debris())
    assert lab.state() == before


def test_the_filter_of_another_guest_goes_while_its_own_stays(lab: Lab) -> None:
    lab.take(lab.up(PORTS["held"]))
    lab.tap.close()
    lab.tap = lab.new_tap("fe:16:3e:00:00:02")
    assert [step.text for step in lab.debris()] == ["remove filters left by vif1.0", "remove the table of filters if it is empty"]
    lab.take(lab.debris())
    lab.take(lab.up(Port(device="vif1.0", mac="00:16:3e:00:00:02", held=True)))
    assert lab.debris() == ()


def test_what_runs_beside_is_left_alone(lab: Lab) -> None:
    lab.place.run("ip", "-batch", "-", input='link add ifb-mine type ifb\nlink set ifb-mine alias "somebody else"\n')
    lab.place.run("nft", "-f", "-", input="table netdev mine { chain from-here { }; }; table netdev xmcompat { chain x { }; }\n")
    before = lab.state()
    long = Port(device=LONG, mac=MAC, held=True, sending=WHOLE.sending)
    gone = Port(device="vif7.0", mac=MAC, held=True, sending=WHOLE.sending)
    with Tap(lab.place, LONG, "fe:16:3e:00:00:01"):
        lab.take(lab.up(long))
        with Tap(lab.place, "vif7.0", "fe:16:3e:00:00:01"):
            lab.take(lab.up(gone))
            assert lab.debris() == ()
        assert [step.text for step in lab.debris()] == [
            "remove filters left by vif7.0", "remove the table of filters if it is empty", "remove shapers left behind: ifb-vif7.0",
        ]  # fmt: skip
        lab.take(lab.debris())
        assert lab.debris() == ()
    assert [step.text for step in lab.debris()][2] == f"remove shapers left behind: {rate.shaper_of(LONG)}"
    lab.take(lab.debris())
    assert lab.state() == before
    lab.place.run("ip", "link", "del", "ifb-mine")
    lab.place.run("nft", "flush", "ruleset")


def test_without_debris_no_program_is_started(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.take(lab.up(WHOLE))

    def run(*_words: object, **_more: object) -> str:
        raise AssertionError("a program was started")

    monkeypatch.setattr(programs, "run", run)
    assert lab.debris() == ()


def test_many_chains_are_all_seen(place: BareHost) -> None:
    """Of more than one answer of the kernel."""
    text = "".join(f"add table netdev many{number}\nadd chain netdev many{number} of-arp\n" for number in range(1500))
    place.run("nft", "-f", "-", input=text)
    found = inside(place.pid, tables.chains)
    there = inside(place.pid, lambda: [tables.there(name, "of-arp") for name in ("many7", "many1499", "many1500", "many")])
    place.run("nft", "flush", "ruleset")
    assert {chain.table for chain in found} == {f"many{number}" for number in range(1500)}
    assert there == [True, True, False, False]


def test_a_table_goes_only_when_nothing_is_in_it(place: BareHost) -> None:
    place.run("nft", "-f", "-", input="table netdev full { chain x { }; }; table netdev sets { set x { type mark; }; }; table netdev bare { }\n")
    assert inside(place.pid, lambda: [tables.is_empty(name) for name in ("full", "sets", "bare", "none")]) == [False, False, True, False]
    for name in ("full", "sets", "bare", "none"):
        inside(place.pid, lambda name=name: tables.remove_empty(name))
    left = place.run("nft", "list", "tables")
    place.run("nft", "flush", "ruleset")
    assert left == "table netdev full\ntable netdev sets\n"


def test_an_ordinary_user_is_told_of_no_debris(place: BareHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel does not answer; nobody but root would change anything."""

    def refused(*_words: object) -> Iterator[bytes]:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(tables, "_ask", refused)
    assert inside(place.pid, lambda: (tables.chains(), tables.there("x", "y"), tables.is_empty("x"), sweep.debris())) == ((), False, False, ())
