"""Where each guest goes when a host is emptied, and how many go at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.migration.fleet import LEAST_SHARE, Budget, Leaving, Move, Plan, Target, at_a_time, may_begin, planned, share
from xmcompat.migration.preflight import memory_needed

GIB = 1 << 20  # in KiB


def guest(name: str, memory: int = GIB, **refused: str) -> Leaving:
    return Leaving(name=name, uuid=f"u-{name}", memory=memory, refused=refused)


def goes(plan: Plan) -> dict[str, str]:
    return {move.guest.name: move.host for move in plan.moves}


def test_guests_spread_over_the_hosts_that_have_most_memory_left_the_largest_first() -> None:
    targets = [Target(host="a", free_memory=10 * GIB), Target(host="b", free_memory=9 * GIB)]
    plan = planned([guest("s"), guest("l", 4 * GIB), guest("m", 2 * GIB)], targets)
    assert [move.guest.name for move in plan.moves] == ["l", "m", "s"]
    assert goes(plan) == {"l": "a", "m": "b", "s": "b"} and plan.stays == ()


def test_they_are_packed_where_spreading_would_leave_one_behind() -> None:
    small, large = memory_needed(3 * GIB), memory_needed(5 * GIB)
    targets = [Target(host="a", free_memory=small + 1), Target(host="b", free_memory=large + 1)]
    plan = planned([guest("one", 3 * GIB), guest("two", 5 * GIB)], targets)
    assert goes(plan) == {"two": "b", "one": "a"}
    trap = [Target(host="a", free_memory=small), Target(host="b", free_memory=small + memory_needed(2 * GIB))]
    assert planned([guest("one", 3 * GIB), guest("two", 3 * GIB), guest("x", 2 * GIB)], trap).stays == ()


def test_a_guest_that_can_go_nowhere_stays_and_is_told_why_of_each_host() -> None:
    targets = [Target(host="a", free_memory=9 * GIB), Target(host="b", free_memory=GIB), Target(host="c", free_memory=None)]
    plan = planned([guest("web1", a="its bridge is not there")], targets)
    assert plan.moves == ()
    assert plan.stays[0].why == (
        f"a: its bridge is not there; b: {memory_needed(GIB)} KiB are needed, and {GIB} left; c: it does not say how much memory it has left"
    )
    assert planned([guest("web1")], []).stays[0].why == "no host is given that could take it"


@pytest.mark.parametrize(
    ("parallel", "bandwidth", "at_once"), [(4, None, 4), (0, None, 1), (4, 100, 4), (4, LEAST_SHARE * 2, 2), (4, 1, 1), (1, 1000, 1)]
)
def test_fewer_move_at_a_time_than_would_starve_each_other(parallel: int, bandwidth: int | None, at_once: int) -> None:
    assert at_a_time(Budget(parallel=parallel, bandwidth=bandwidth)) == at_once


def test_the_bandwidth_is_shared_among_those_that_move() -> None:
    budget = Budget(parallel=3, bandwidth=90)
    assert [share(budget, moving) for moving in (0, 1, 2, 3)] == [90, 90, 45, 30]
    assert share(Budget(bandwidth=2), 3) == 1 and share(Budget(), 3) is None


def test_the_next_begins_when_one_is_over() -> None:
    plan = planned([guest(name) for name in "abc"], [Target(host="x", free_memory=99 * GIB)])
    budget = Budget(parallel=2)
    assert [one.guest.name for one in may_begin(plan, budget, moving=(), over=())] == ["a", "b"]
    assert may_begin(plan, budget, moving=("u-a", "u-b"), over=()) == ()
    assert [one.guest.name for one in may_begin(plan, budget, moving=("u-b",), over=("u-a",))] == ["c"]
    assert may_begin(plan, budget, moving=(), over=("u-a", "u-b", "u-c")) == ()


GUESTS = st.lists(
    st.builds(lambda number, memory, refused: Leaving(name=f"g{number}", uuid=f"u{number}", memory=memory, refused=dict.fromkeys(refused, "no")),
              st.integers(0, 99), st.integers(1, 8 * GIB), st.lists(st.sampled_from("abc"))),
    max_size=12, unique_by=lambda one: one.uuid,
)  # fmt: skip
TARGETS = st.lists(st.builds(Target, host=st.sampled_from("abc"), free_memory=st.none() | st.integers(0, 20 * GIB)), max_size=3, unique_by=lambda one: one.host)


@given(GUESTS, TARGETS)
def test_every_guest_is_planned_once_and_no_host_gets_more_than_it_has(guests: list[Leaving], targets: list[Target]) -> None:
    plan = planned(guests, targets)
    assert sorted([move.guest.uuid for move in plan.moves] + [stay.guest.uuid for stay in plan.stays]) == sorted(one.uuid for one in guests)
    for target in targets:
        taken = [move.guest for move in plan.moves if move.host == target.host]
        assert sum(memory_needed(one.memory) for one in taken) <= (target.free_memory or 0)
        assert not [one for one in taken if target.host in one.refused]
    assert planned(list(reversed(guests)), targets) == plan  # however they are listed


@given(GUESTS, st.builds(Budget, parallel=st.integers(1, 5), bandwidth=st.none() | st.integers(1, 500)), st.data())
def test_all_moves_come_to_their_turn_and_never_more_than_may(guests: list[Leaving], budget: Budget, data: st.DataObject) -> None:
    plan = planned(guests, [Target(host="x", free_memory=1 << 40)])
    moving: list[Move] = []
    over: list[str] = []
    while len(over) < len(plan.moves):
        moving += may_begin(plan, budget, moving=[one.guest.uuid for one in moving], over=over)
        assert 1 <= len(moving) <= at_a_time(budget)
        each = share(budget, len(moving))
        assert budget.bandwidth is None or each * len(moving) <= max(budget.bandwidth, len(moving))
        over.append(moving.pop(data.draw(st.integers(0, len(moving) - 1))).guest.uuid)
    assert sorted(over) == sorted(one.guest.uuid for one in plan.moves)
