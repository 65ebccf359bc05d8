"""Does a transfer come to its end? The figures of guests that do and do not, and what each policy makes of them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.backends.migration import MigrationPhase, Progress
from xmcompat.migration.convergence import PASSES, Act, Course, Decision, Policy, is_stuck, seconds_left, with_latest
from xmcompat.migration.settings import POLICIES

MIB = 1 << 20
ALL = (Policy.AUTO_CONVERGE, Policy.POST_COPY, Policy.STOP, Policy.GIVE_UP)


def at(iteration: int, remaining: int, *, dirty: int = 24, rate: int = 24, elapsed: float = 0.0, phase: str = MigrationPhase.MEMORY) -> Progress:
    return Progress(
        phase=phase, elapsed=elapsed or iteration * 1.2, total=200 * MIB, processed=100 * MIB, remaining=remaining * MIB,
        memory_rate=rate * MIB, dirty_rate=dirty * MIB, iteration=iteration,
    )  # fmt: skip


#: A guest that rewrites 24 MiB over a link of 24 MiB/s: 7 to 20 MiB remain in each pass.
STUCK = [at(1, remaining) for remaining in (180, 90, 10)] + [at(pass_, remaining) for pass_ in range(2, 12) for remaining in (20, 14, 7)]
#: One that is over soon: each pass leaves a tenth.
QUICK = [at(1, 180, dirty=2), at(2, 20, dirty=2), at(3, 3, dirty=2), at(4, 1, dirty=2), at(5, 0, dirty=2), at(6, 0, dirty=2)]
#: One that changes as much as is copied, but of which less and less remains.
FALLING = [at(pass_, 1000 >> pass_, dirty=20) for pass_ in range(1, 9)]


def decisions(figures: list[Progress], policy: str, deadline: float = 600.0) -> list[Decision]:
    course = Course(policy, deadline)
    return [found for one in figures if (found := course.decided(one)) != Decision()]


def test_the_policies_are_those_of_the_settings() -> None:
    assert set(ALL) == set(POLICIES)


@pytest.mark.parametrize(
    ("policy", "act", "end"),
    [
        (Policy.AUTO_CONVERGE, Act.KEEP, ": it is slowed down"),
        (Policy.POST_COPY, Act.TO_POSTCOPY, ": it goes on there, and fetches the rest"),
        (Policy.STOP, Act.PAUSE, ": it is paused for the rest"),
        (Policy.GIVE_UP, Act.KEEP, ""),
    ],
)
def test_a_guest_that_writes_as_fast_as_is_copied_is_seen_once_by_each_policy(policy: str, act: str, end: str) -> None:
    why = f"the guest changes 24.0 MiB of its memory a second, and 24.0 MiB can be copied{end}"
    assert decisions(STUCK, policy) == [Decision(act=act, why=why)]


def test_it_is_seen_after_four_passes_and_not_before() -> None:
    course = Course(Policy.STOP, 600.0)
    acted = next(one for one in STUCK if course.decided(one).act == Act.PAUSE)
    assert acted.iteration == 1 + PASSES


@pytest.mark.parametrize("policy", ALL)
@pytest.mark.parametrize("figures", [QUICK, FALLING], ids=["quick", "falling"])
def test_a_guest_that_gets_on_is_left_alone(policy: str, figures: list[Progress]) -> None:
    assert decisions(figures, policy) == []


@pytest.mark.parametrize(
    ("policy", "phase", "act"),
    [
        (Policy.AUTO_CONVERGE, MigrationPhase.MEMORY, Act.GIVE_UP),
        (Policy.GIVE_UP, MigrationPhase.MEMORY, Act.GIVE_UP),
        (Policy.POST_COPY, MigrationPhase.MEMORY, Act.TO_POSTCOPY),
        (Policy.POST_COPY, MigrationPhase.DISKS, Act.GIVE_UP),
        (Policy.STOP, MigrationPhase.MEMORY, Act.PAUSE),
        (Policy.STOP, MigrationPhase.DISKS, Act.PAUSE),
        (Policy.AUTO_CONVERGE, MigrationPhase.SETUP, Act.GIVE_UP),
        (Policy.GIVE_UP, MigrationPhase.SETUP, Act.GIVE_UP),
    ],
)
def test_the_deadline_ends_what_is_only_slow(policy: str, phase: str, act: str) -> None:
    slow = [at(1, 180, dirty=0, elapsed=elapsed, phase=phase) for elapsed in (10.0, 59.9, 60.0, 61.0)]
    (found,) = decisions(slow, policy, 60.0)
    assert found.act == act and found.why.startswith("it is not over after 60 s: ")


@pytest.mark.parametrize("policy", ALL)
@pytest.mark.parametrize("phase", [MigrationPhase.SWITCH, MigrationPhase.POSTCOPY, MigrationPhase.COMPLETED])
def test_nothing_is_done_once_it_switches_over(policy: str, phase: str) -> None:
    assert decisions([at(9, 20, elapsed=1000.0, phase=phase)], policy, 60.0) == []


BEGINNINGS = [
    (Policy.POST_COPY, MigrationPhase.SETUP, Act.TO_POSTCOPY), (Policy.POST_COPY, MigrationPhase.MEMORY, Act.TO_POSTCOPY),
    (Policy.STOP, MigrationPhase.SETUP, Act.PAUSE),
]


@pytest.mark.parametrize(("policy", "phase", "act"), BEGINNINGS)
def test_what_only_begins_at_the_deadline_is_done_as_is_wanted_once_it_has_begun(policy: str, phase: str, act: str) -> None:
    begins = [at(1, 180, elapsed=elapsed, phase=phase)._replace(processed=0) for elapsed in (60.0, 65.0, 69.9)]
    assert [found.act for found in decisions([*begins, at(1, 180, elapsed=69.9)], policy, 60.0)] == [act]


@pytest.mark.parametrize(("policy", "phase", "act"), BEGINNINGS)
def test_what_does_not_begin_is_given_up_ten_seconds_after_the_deadline(policy: str, phase: str, act: str) -> None:
    begins = [at(1, 180, elapsed=elapsed, phase=phase)._replace(processed=0) for elapsed in (69.9, 70.0)]
    assert [found.act for found in decisions(begins, policy, 60.0)] == [Act.GIVE_UP]


PROGRESS = st.builds(
    Progress, phase=st.sampled_from([value for name, value in vars(MigrationPhase).items() if name.isupper()]),
    elapsed=st.floats(0, 1000), processed=st.integers(0, 1 << 40), remaining=st.integers(0, 1 << 40),
    disk_remaining=st.integers(0, 1 << 40), memory_rate=st.integers(0, 1 << 35), disk_rate=st.integers(0, 1 << 35),
    dirty_rate=st.integers(0, 1 << 35), iteration=st.integers(0, 30),
)  # fmt: skip


@given(st.lists(PROGRESS, max_size=30), st.sampled_from(ALL))
def test_whatever_is_told_one_thing_is_done_at_most_and_no_guest_is_given_up_before_its_deadline(figures: list[Progress], policy: str) -> None:
    course = Course(policy, 500.0)
    done = [(one, found) for one in figures if (found := course.decided(one)).act != Act.KEEP]
    assert len(done) <= 1
    for one, found in done:
        assert one.phase in (MigrationPhase.SETUP, MigrationPhase.DISKS, MigrationPhase.MEMORY)
        assert found.act != Act.GIVE_UP or one.elapsed >= 500.0
        assert found.why


@given(st.lists(PROGRESS, max_size=30))
def test_few_passes_are_kept_and_none_twice(figures: list[Progress]) -> None:
    passes: tuple[Progress, ...] = ()
    for one in figures:
        passes = with_latest(passes, one)
    assert len(passes) <= PASSES and all(one.iteration >= 2 for one in passes)
    assert all(one.iteration != other.iteration for one, other in pairwise(passes))
    assert not is_stuck(passes[:-1])


@given(PROGRESS)
def test_the_time_that_is_left_is_a_time_or_not_known(progress: Progress) -> None:
    left = seconds_left(progress)
    assert left is None or left >= 0


def test_the_time_that_is_left_follows_from_what_remains() -> None:
    assert seconds_left(at(1, 180)) == 7.5  # in the first pass, what changes is not yet due
    assert seconds_left(at(2, 12, dirty=12)) == 1.0
    assert seconds_left(at(2, 12)) is None
    copying = at(1, 240)._replace(disk_remaining=120 * MIB, disk_rate=10 * MIB)
    assert seconds_left(copying) == 12.0 + 5.0
    assert seconds_left(copying._replace(disk_rate=0)) is None
