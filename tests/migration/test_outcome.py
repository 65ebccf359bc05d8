"""After any end of a migration: one copy is left, never two, and none only where there is none any more."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.backends.migration import MigrationState
from xmcompat.migration.facts import Copy, Life
from xmcompat.migration.outcome import Act, Outcome, Place, outcome, patience

STATES = tuple(value for name, value in vars(MigrationState).items() if name.isupper() and isinstance(value, str))
LIVES = tuple(value for name, value in vars(Life).items() if name.isupper())
COPIES = tuple(Copy(life=life, moving=state) for life in LIVES for state in STATES)
ALIVE = (Life.RUNNING, Life.PAUSED)
#: Everything that two ends can say, sense or nonsense.
EVERY = [(here, there, was_paused, waited) for here in COPIES for there in COPIES for was_paused in (False, True) for waited in (False, True)]
assert len(STATES) == 10 and len(EVERY) == 4 * (6 * 10) ** 2


def judged(here: Copy, there: Copy, was_paused: bool, waited: bool) -> Outcome:
    return outcome(here, there, was_paused=was_paused, waited=waited, host="host2")


def test_two_copies_never_run_whatever_both_ends_say() -> None:
    for here, there, was_paused, waited in EVERY:
        found = judged(here, there, was_paused, waited)
        left = there.life
        for act in found.acts:
            if act in (Act.DESTROY_THERE, Act.RELEASE_THERE):
                left = Life.GONE
            if act == Act.RESUME_HERE:
                assert left not in (*ALIVE, Life.UNKNOWN), (here, there)
            if act == Act.SETTLE_THERE:
                assert Act.DESTROY_HERE in found.acts[: found.acts.index(act)] or here.life not in (*ALIVE, Life.UNKNOWN), (here, there)


def test_no_copy_is_ended_but_where_the_other_one_is_alive_and_whole() -> None:
    for here, there, was_paused, waited in EVERY:
        acts = judged(here, there, was_paused, waited).acts
        if Act.DESTROY_HERE in acts:
            assert there.life in ALIVE and there.moving not in (
                MigrationState.INCOMING, MigrationState.POSTCOPY_IN, MigrationState.STALLED_IN
            )  # fmt: skip
        if Act.DESTROY_THERE in acts:
            assert here.life == Life.RUNNING and there.life == Life.PAUSED
        if Act.RELEASE_THERE in acts and there.life in ALIVE:
            assert there.moving == MigrationState.INCOMING  # it has never run
        assert not (Act.DESTROY_HERE in acts and {Act.DESTROY_THERE, Act.RELEASE_THERE} & set(acts))


def test_a_guest_in_post_copy_is_never_touched() -> None:
    split_out = (MigrationState.POSTCOPY_OUT, MigrationState.STALLED_OUT)
    split_in = (MigrationState.POSTCOPY_IN, MigrationState.STALLED_IN)
    for here, there, was_paused, waited in EVERY:
        if (here.life in ALIVE and here.moving in split_out) or (there.life in ALIVE and there.moving in split_in):
            found = judged(here, there, was_paused, waited)
            if (here.moving, there.life, there.moving) == (MigrationState.STALLED_OUT, Life.RUNNING, MigrationState.ARRIVED):
                continue  # it has all of its memory there
            assert set(found.acts) <= {Act.WAIT, Act.RECOVER, Act.SETTLE_THERE}
            assert Act.SETTLE_THERE not in found.acts or here.moving == MigrationState.LEFT


def test_nothing_is_done_where_an_end_cannot_be_asked() -> None:
    for here, there, was_paused, waited in EVERY:
        if Life.UNKNOWN in (here.life, there.life):
            found = judged(here, there, was_paused, waited)
            split_but_left = here.moving == MigrationState.LEFT and here.life != Life.UNKNOWN
            assert set(found.acts) <= ({Act.WAIT, Act.SETTLE_THERE} if split_but_left else {Act.WAIT})
            assert found.do, (here, there)


def test_nothing_is_ended_or_resumed_at_the_first_look() -> None:
    for here, there, was_paused, waited in EVERY:
        acts = judged(here, there, was_paused, waited).acts
        assert Act.WAIT not in acts or acts == (Act.WAIT,)
        if not waited:
            assert not {Act.DESTROY_HERE, Act.DESTROY_THERE, Act.RESUME_HERE} & set(acts)
            assert Act.RELEASE_THERE not in acts or there.life in (Life.GONE, Life.OFF)


def test_a_guest_that_is_somewhere_is_never_said_to_be_nowhere() -> None:
    for here, there, was_paused, waited in EVERY:
        found = judged(here, there, was_paused, waited)
        if found.place == Place.NOWHERE:
            split = here.moving in (MigrationState.POSTCOPY_OUT, MigrationState.STALLED_OUT) or there.moving in (
                MigrationState.POSTCOPY_IN, MigrationState.STALLED_IN
            )  # fmt: skip
            assert split or (here.life not in ALIVE and (there.life not in ALIVE or there.moving == MigrationState.INCOMING))
        if found.place == Place.HERE:
            assert here.life in ALIVE
        if found.well:
            assert found.place == Place.THERE


def test_every_outcome_says_what_to_do_or_what_runs() -> None:
    for here, there, was_paused, waited in EVERY:
        found = judged(here, there, was_paused, waited)
        assert found.says and "\n" not in found.says + found.do
        assert found.do or found.place in (Place.HERE, Place.THERE)


NONE, OUT, IN = MigrationState.NONE, MigrationState.OUTGOING, MigrationState.INCOMING
CUT = MigrationState.CUT_OFF
LEFT, ARRIVED = MigrationState.LEFT, MigrationState.ARRIVED


@pytest.mark.parametrize(
    ("here", "there", "place", "acts", "says"),
    [
        # the ends of a migration that libvirt brings about, by the experiments in a lab of two hosts
        (("gone", NONE), ("running", ARRIVED), "there", ("settle there",), "runs on host2"),
        (("off", LEFT), ("running", ARRIVED), "there", ("settle there",), "runs on host2"),
        (("running", NONE), ("gone", NONE), "here", ("release there",), "runs on here"),
        (("running", NONE), ("off", NONE), "here", ("release there",), "runs on here"),
        (("running", NONE), ("unknown", NONE), "here", (), "runs on here; host2 cannot be asked"),
        # the link went down when the last of a post-copy was there, and the source did not hear of it
        (("paused", MigrationState.STALLED_OUT), ("running", ARRIVED), "there", ("destroy here", "settle there"), "runs on host2"),
        # the destination lost memory just after the hand-over: disks that were copied there are the newest
        (("gone", LEFT), ("gone", NONE), "nowhere", (), "had gone to host2, and has ended there"),
        # the source's QEMU was killed
        (("off", NONE), ("paused", IN), "nowhere", ("release there",), "is lost: it has ended here before its memory was on host2"),
        (("gone", NONE), ("gone", NONE), "nowhere", (), "has ended here"),
        # libvirt left the guest paused, and nothing of it there
        (("paused", NONE), ("gone", NONE), "here", ("release there", "resume here"), "runs on here"),
        (("paused", NONE), ("paused", IN), "here", ("release there", "resume here"), "runs on here"),
        # the source's libvirtd was killed at the hand-over
        (("paused", CUT), ("gone", NONE), "here", ("release there", "resume here"), "runs on here"),
        (("paused", CUT), ("paused", IN), "here", ("release there", "resume here"), "runs on here"),
        (("paused", CUT), ("running", ARRIVED), "there", ("destroy here", "settle there"), "runs on host2"),
        (("paused", CUT), ("unknown", NONE), "unknown", (), "is paused here, and may run on host2, which cannot be asked"),
        (("paused", NONE), ("running", ARRIVED), "there", ("destroy here", "settle there"), "runs on host2"),
        # the answer to the hand-over was lost, and nothing locks the disks
        (("running", NONE), ("running", ARRIVED), "there", ("destroy here", "settle there"), "runs on host2"),
        (("running", NONE), ("paused", ARRIVED), "here", ("destroy there",), "runs on here"),
        # the link was cut at the hand-over
        (("paused", OUT), ("unknown", NONE), "unknown", (), "is paused here, and may run on host2, which cannot be asked"),
        # post-copy
        (("paused", "stalled-out"), ("running", "stalled-in"), "both", ("recover",), "runs on host2, and waits for memory that is still here"),
        (("paused", "postcopy-out"), ("gone", NONE), "nowhere", (), "is lost: a part of its memory was on host2, and has gone with its QEMU"),
        (("off", NONE), ("running", "postcopy-in"), "nowhere", (), "is lost: a part of its memory was here, and has gone with its QEMU"),
    ],
)  # fmt: skip
def test_what_is_said_and_done_once_libvirt_had_its_time(
    here: tuple[str, str], there: tuple[str, str], place: str, acts: tuple[str, ...], says: str
) -> None:
    found = judged(Copy(life=here[0], moving=here[1]), Copy(life=there[0], moving=there[1]), False, True)
    assert (found.place, found.acts, found.says) == (place, acts, says)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (("running", OUT), ("paused", IN)), (("paused", OUT), ("paused", IN)), (("paused", OUT), ("running", ARRIVED)),
        (("running", NONE), ("paused", IN)), (("paused", "postcopy-out"), ("running", "postcopy-in")),
        (("running", OUT), ("unknown", NONE)), (("running", NONE), ("running", ARRIVED)), (("gone", NONE), ("paused", IN)),
    ],
)  # fmt: skip
def test_what_libvirt_still_has_in_its_hands_is_waited_for(here: tuple[str, str], there: tuple[str, str]) -> None:
    assert judged(Copy(life=here[0], moving=here[1]), Copy(life=there[0], moving=there[1]), False, False).acts == (Act.WAIT,)


@pytest.mark.parametrize("waited", [False, True])
def test_the_usual_ends_are_not_waited_for(waited: bool) -> None:
    assert judged(Copy(life=Life.GONE), Copy(life=Life.RUNNING, moving=ARRIVED), False, waited).acts == (Act.SETTLE_THERE,)
    assert judged(Copy(life=Life.RUNNING), Copy(life=Life.GONE), False, waited).acts == (Act.RELEASE_THERE,)


def test_what_libvirt_is_at_is_waited_for_longer_than_what_it_has_ended() -> None:
    paused, running = Copy(life=Life.PAUSED), Copy(life=Life.RUNNING)
    assert patience(paused, Copy(life=Life.GONE)) == patience(running, Copy(life=Life.RUNNING, moving=ARRIVED)) == 3.0
    for here, there in ((Copy(life=Life.PAUSED, moving=OUT), paused), (paused, Copy(life=Life.PAUSED, moving=IN)), (paused, Copy(life=Life.UNKNOWN))):
        assert patience(here, there) == 30.0


def test_a_guest_that_was_paused_stays_so() -> None:
    paused, gone = Copy(life=Life.PAUSED), Copy(life=Life.GONE)
    assert judged(paused, gone, True, True) == Outcome(
        place=Place.HERE, says="is still here, and paused as before", acts=(Act.RELEASE_THERE,)
    )
    found = judged(gone, Copy(life=Life.PAUSED, moving=ARRIVED), True, True)
    assert (found.says, found.acts, found.well) == ("is on host2, and paused as before", (Act.SETTLE_THERE,), True)


# -- a model of two hosts: what libvirt does of itself, faults at any step, and our acts after it


@dataclass
class End:
    """One end as it truly is. ``newest``: it has the guest's last state."""

    life: str = Life.GONE
    moving: str = NONE
    newest: bool = False
    reachable: bool = True

    def told(self) -> Copy:
        return Copy(life=self.life, moving=self.moving) if self.reachable else Copy(life=Life.UNKNOWN)


def handed_over(steps: int, lost_answer: bool, locked: bool) -> tuple[End, End]:
    """The two ends after so many of libvirt's STEPS, and what it then does of itself where it is broken off."""
    here, there = End(Life.RUNNING, OUT, newest=True), End()
    if steps >= 1:
        there = End(Life.PAUSED, IN)
    if steps >= 2:
        here.life, there.newest = Life.PAUSED, True
    if steps >= 3:
        there, here.newest = End(Life.RUNNING, ARRIVED, newest=True), False
    if steps >= 4:
        return End(Life.OFF, LEFT), there
    here.moving = NONE
    if steps < 3:
        here.life, there = Life.RUNNING, End()
    elif lost_answer and not locked:
        here.life = Life.RUNNING  # libvirt lets it run on, and no lock keeps it from that
    return here, there


def done(found: Outcome, here: End, there: End) -> None:
    for act in found.acts:
        if act == Act.RESUME_HERE:
            here.life = Life.RUNNING
        elif act == Act.DESTROY_HERE:
            here.life = Life.GONE
        elif act == Act.DESTROY_THERE or (act == Act.RELEASE_THERE and there.moving == IN):
            there.life = Life.GONE
        elif act == Act.SETTLE_THERE and there.life == Life.PAUSED:
            there.life = Life.RUNNING


@given(
    steps=st.integers(0, 4), lost_answer=st.booleans(), locked=st.booleans(), dead=st.sampled_from(["", "here", "there"]),
    silent=st.sampled_from(["", "here", "there"]), paused_there=st.booleans(),
)  # fmt: skip
def test_after_any_fault_the_newest_copy_runs_alone_once_both_ends_can_be_asked(
    steps: int, lost_answer: bool, locked: bool, dead: str, silent: str, paused_there: bool
) -> None:
    here, there = handed_over(steps, lost_answer, locked)
    if paused_there and there.life == Life.RUNNING and here.life != Life.RUNNING:
        there.life = Life.PAUSED  # its receiver has stopped it, to see to its interfaces
    if dead == "here":
        here = End(Life.OFF, here.moving) if here.life in ALIVE else here
    if dead == "there":
        there = End(Life.GONE, newest=there.newest)
    alive = [end for end in (here, there) if end.life in ALIVE]
    here.reachable, there.reachable = silent != "here", silent != "there"
    for look in range(6):  # from the third on both answer
        found = outcome(here.told(), there.told(), waited=look % 3 != 0, host="host2")
        done(found, here, there)
        if look == 2:
            here.reachable = there.reachable = True
    running = [end for end in (here, there) if end.life == Life.RUNNING]
    assert len(running) == min(len(alive), 1)
    if len(alive) == 2:
        assert running[0].newest
