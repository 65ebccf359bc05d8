"""The other host is lost while QEMU waits for it and answers nobody: its connection is ended, and the guest goes on here."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.fakes import FakeHypervisor
from tests.fakes_migration import COPYING
from tests.fakes_peer import FakePeer, FakeWay
from tests.xm.conftest import Xm
from tests.xm.test_migrate_ends import THERE, WEB1, there, way, web1
from xmcompat import crossing
from xmcompat.backends.hypervisor import DomainState
from xmcompat.backends.migration import MigrationPhase, MigrationState
from xmcompat.errors import HypervisorError, MigrationLost
from xmcompat.migration.facts import Copy
from xmcompat.migration.wire import PeerLost
from xmcompat.xm.signals import Ended

__all__ = ["there", "way", "web1"]  # fixtures

LOST = "node2 has been silent for 30 s"


class Stuck:
    """A transfer whose QEMU waits, and has libvirt wait, until it is severed, or the test lets it arrive. What libvirt does
    not do for QEMU's sake waits as well."""

    def __init__(self, host: FakeHypervisor, there: FakeHypervisor) -> None:
        self._host, self._there = host, there
        self._over = threading.Event()
        self._error: Exception | None = None
        self.severed, self.aborted = 0, 0
        self.refuses: HypervisorError | None = None
        self._timers: list[threading.Timer] = []

    def later(self, seconds: float, act: Callable[[], object]) -> threading.Timer:
        """ACT, SECONDS after it has begun, however long that takes; the thread that does it."""
        self._timers.append(threading.Timer(seconds, act))
        return self._timers[-1]

    def begin(self) -> Stuck:
        for timer in self._timers:
            timer.start()
        self._host.known[WEB1.uuid] = WEB1._replace(state=DomainState.PAUSED)
        self._host.migration_states[WEB1.uuid] = MigrationState.OUTGOING
        return self

    def ended(self, seconds: float) -> bool:
        return self._over.wait(seconds)

    def result(self) -> None:
        if self._error is not None:
            raise self._error

    def abort(self) -> None:
        self.aborted += 1
        self._over.wait()

    def answer(self, uuid: str) -> None:
        """What only QEMU knows."""
        self._over.wait()
        raise HypervisorError("the transfer is over")

    def sever(self) -> None:
        self.severed += 1
        if self.refuses is not None:
            raise self.refuses
        self._error = MigrationLost("node2 was lost on the way")
        self._host.known[WEB1.uuid] = WEB1
        self._host.migration_states.pop(WEB1.uuid)
        self._over.set()

    def arrive(self) -> None:
        self._host.known.pop(WEB1.uuid, None)
        self._host.migration_states.clear()
        self._there.known[WEB1.uuid] = THERE
        self._there.migration_states[WEB1.uuid] = MigrationState.ARRIVED
        self._over.set()


@pytest.fixture
def stuck(
    web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stuck]:  # fmt: skip
    """All is well until the guest is paused for the rest; then QEMU waits."""
    job = Stuck(web1, there)
    monkeypatch.setattr(web1, "begin_migration", lambda uuid, transfer: job.begin())
    told = iter([COPYING, COPYING._replace(phase=MigrationPhase.SWITCH)])
    monkeypatch.setattr(web1, "migration_progress", lambda uuid: next(told, None) or job.answer(uuid))
    for name, seconds in (("_LATER", 0.05), ("_QUIET", 0.1), ("_STILL", 0.2), ("_STUCK", 0.2)):
        monkeypatch.setattr(f"xmcompat.crossing.{name}", seconds)
    monkeypatch.setattr("xmcompat.vigil._REST", 0.0)
    yield job
    job._over.set()


@pytest.fixture
def lost(way: FakeWay, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the other host cannot be asked."""

    def never() -> FakePeer:
        raise PeerLost("node2 cannot be reached")

    def silent(uuid: str) -> Copy:
        raise PeerLost(LOST)

    monkeypatch.setattr(way, "again", never)
    monkeypatch.setattr(way.peer, "state", silent)


def test_qemus_connection_is_ended_and_the_guest_goes_on(xm: Xm, web1: FakeHypervisor, stuck: Stuck, lost: None) -> None:
    status, _, err = xm("migrate", "-l", "web1", "node2")
    assert status == 1
    assert err == (
        "Error: node2 cannot be reached; 'web1' runs on here; node2 cannot be asked; "
        "see 'xm list' on node2 when it answers: it must not be there\n"
    )
    assert (stuck.aborted, stuck.severed) == (1, 1)
    assert web1.known == {WEB1.uuid: WEB1}


def test_a_conversation_alone_that_breaks_ends_nothing(
    xm: Xm, there: FakeHypervisor, way: FakeWay, stuck: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one is answered: the host is there, and QEMU sends over a slow link."""
    asked = way.peer.state

    def breaking(uuid: str) -> Copy:
        if way.reopened < 3:
            raise PeerLost(LOST)
        if way.peer.asked.count("state") > 5:
            stuck.arrive()
        return asked(uuid)

    monkeypatch.setattr(way.peer, "state", breaking)

    def again() -> FakePeer:
        way.reopened = 3
        return way.peer

    monkeypatch.setattr(way, "again", again)
    assert xm("migrate", "-l", "web1", "node2") == (0, "", "")
    assert (stuck.aborted, stuck.severed) == (0, 0)
    assert list(there.known) == [WEB1.uuid]


def test_nor_does_a_host_of_which_libvirtd_cannot_be_asked(
    xm: Xm, way: FakeWay, stuck: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xmcompat.migration.peer import FromPeer
    from xmcompat.migration.wire import Failure

    times = []

    def refusing(uuid: str) -> Copy:
        times.append(uuid)
        if len(times) > 20:
            stuck.arrive()
            monkeypatch.undo()
        raise FromPeer("node2", Failure(kind="HypervisorUnreachable", message="libvirtd does not answer"))

    monkeypatch.setattr(way.peer, "state", refusing)
    xm("migrate", "-l", "web1", "node2")
    assert (stuck.aborted, stuck.severed) == (0, 0)


def test_memory_that_goes_over_shows_that_the_host_is_there(
    xm: Xm, web1: FakeHypervisor, stuck: Stuck, lost: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other network may be down."""
    over = iter(range(1, 40))

    def progress(uuid: str) -> object:
        number = next(over, 0)
        if not number:
            stuck.arrive()
        return COPYING._replace(processed=COPYING.processed + number)

    monkeypatch.setattr(web1, "migration_progress", progress)
    err = xm("migrate", "-l", "web1", "node2").err
    assert "'web1' has gone to node2, which cannot be asked" in err
    assert (stuck.aborted, stuck.severed) == (0, 0)


@pytest.mark.parametrize("moves", [True, False])
def test_the_other_host_is_only_asked_on_the_way_where_nothing_goes_over(
    xm: Xm, web1: FakeHypervisor, way: FakeWay, stuck: Stuck, monkeypatch: pytest.MonkeyPatch, moves: bool
) -> None:
    """What is asked while the link is full waits behind the guest's memory, and the guest's end behind that."""
    asked: list[int] = []
    monkeypatch.setattr("xmcompat.crossing._QUIET", 0.5)  # a busy machine looks late

    def progress(uuid: str) -> object:
        asked.append(way.peer.asked.count("state"))
        if len(asked) == 20:
            stuck.arrive()
        return COPYING._replace(processed=COPYING.processed + moves * len(asked))

    monkeypatch.setattr(web1, "migration_progress", progress)
    assert xm("migrate", "-l", "web1", "node2") == (0, "", "")
    assert (asked[-1] > 0) is not moves


@pytest.mark.parametrize("asked_for", [True, False])
def test_in_post_copy_the_connection_is_left(
    xm: Xm, web1: FakeHypervisor, stuck: Stuck, lost: None, monkeypatch: pytest.MonkeyPatch, asked_for: bool
) -> None:
    """QEMU may be on its way into it, or libvirt say that it is."""
    phase = MigrationPhase.MEMORY if asked_for else MigrationPhase.POSTCOPY
    told = iter([COPYING._replace(phase=phase, elapsed=9.0)])
    monkeypatch.setattr(web1, "migration_progress", lambda uuid: next(told, None) or stuck.answer(uuid))
    monkeypatch.setattr(web1, "to_postcopy", stuck.answer)
    arrive = stuck.later(1.5, stuck.arrive)
    words = ["--finish=post-copy", "--deadline=1"] if asked_for else []
    err = xm("migrate", "-l", *words, "web1", "node2").err
    arrive.join()
    assert "'web1' has gone to node2, which cannot be asked" in err
    assert (stuck.aborted, stuck.severed) == (0, 0)


def test_nor_where_a_signal_would_give_it_up(
    xm: Xm, web1: FakeHypervisor, stuck: Stuck, lost: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter([COPYING._replace(phase=MigrationPhase.POSTCOPY)])
    monkeypatch.setattr(web1, "migration_progress", lambda uuid: next(told, None) or stuck.answer(uuid))
    monkeypatch.setattr(crossing, "_GIVING_UP", 1.0)
    stuck.later(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Ended):
        xm("migrate", "-l", "web1", "node2")
    assert (stuck.aborted, stuck.severed) == (1, 0)


def test_ctrl_c_is_heard_while_qemu_waits(
    xm: Xm, web1: FakeHypervisor, stuck: Stuck, lost: None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(crossing, "_STILL", 3600.0)
    stuck.later(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Ended):
        xm("migrate", "-l", "web1", "node2")
    assert capsys.readouterr().err.startswith("Warning: 'web1' runs on here; node2 cannot be asked; ")
    assert (stuck.aborted, stuck.severed) == (1, 1)


@pytest.mark.parametrize("slow", ["sever", "abort"])
def test_where_it_cannot_be_ended_xm_ends_all_the_same(
    xm: Xm, web1: FakeHypervisor, stuck: Stuck, lost: None, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    """QEMU and libvirt may be stuck for a quarter of an hour."""
    if slow == "sever":
        stuck.refuses = HypervisorError("QEMU waits for node2, and stands still until TCP gives up: no ss", hint="type: ss -K")
    else:
        monkeypatch.setattr(crossing, "_STUCK", 3600.0)
    monkeypatch.setattr(crossing, "_GIVING_UP", 1.0)
    monkeypatch.setattr("xmcompat.departure.ANSWER", 0.2)
    begin = stuck.begin
    monkeypatch.setattr(stuck, "begin", lambda: monkeypatch.setattr(web1, "migration_state", stuck.answer) or begin())
    begun = time.monotonic()
    status, _, err = xm("migrate", "-l", "web1", "node2")
    assert time.monotonic() - begun < 15
    told = stuck.refuses.line() if stuck.refuses else "libvirt does not give up the migration"
    assert (status, err) == (
        1,
        f"Warning: {told}\nError: node2 cannot be reached; 'web1' cannot be asked for on either host; "
        "see 'xm list' on both when they answer\n",
    )


def test_a_qemu_that_waits_for_a_connection_of_which_it_has_let_go_is_told_of(
    xm: Xm, web1: FakeHypervisor, stuck: Stuck, lost: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest has never stood still, and libvirt goes on saying that it is on its way."""

    def nothing_to_end() -> None:
        stuck.severed += 1
        web1.known[WEB1.uuid] = WEB1

    monkeypatch.setattr(stuck, "sever", nothing_to_end)
    monkeypatch.setattr(crossing, "_CUT", 0.3)
    status, _, err = xm("migrate", "-l", "web1", "node2")
    assert (status, err) == (
        1,
        "Warning: the QEMU of 'web1' waits for a connection that it has closed itself: 'web1' runs on, but is changed, saved and "
        "moved only once it was shut down from inside, or destroyed, and started again; leave libvirtd as it is until then\n"
        "Error: node2 cannot be reached; 'web1' runs on here; node2 cannot be asked; "
        "see 'xm list' on node2 when it answers: it must not be there\n",
    )
    assert (stuck.aborted, stuck.severed) == (1, 1)
    assert web1.migration_states == {WEB1.uuid: MigrationState.OUTGOING}
