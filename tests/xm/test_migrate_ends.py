"""What becomes of a domain whose migration ends otherwise than it should: just one copy of it runs, and no other is ended."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.fakes_migration import FakeMigrationJob
from tests.fakes_peer import URI, FakePeer, FakeWay
from tests.fakes_saving import xml_of
from tests.xm.conftest import Xm
from xmcompat import departure
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.migration import MigrationState, Transfer
from xmcompat.errors import (
    ConnectionLost,
    DomainThere,
    HypervisorError,
    HypervisorUnreachable,
    MigrationLost,
    OperationError,
)
from xmcompat.migration.facts import Copy, Finding, HostFacts, Life, Prepared, Resolved, Settled
from xmcompat.migration.wire import Connected, PeerLost
from xmcompat.xm.signals import Ended

WEB1 = domain("web1", 7, uuid="11111111-2222-4333-8444-555555555555")
ROOMY = HostFacts(hostname="node2", free_memory=8 << 20, emulator="7.2.0", libvirt="9.0.0")
THERE = WEB1._replace(domid=51)


@pytest.fixture
def there() -> FakeHypervisor:
    """The other host's hypervisor."""
    return FakeHypervisor(uri="fake:///there")


@pytest.fixture
def web1(host: FakeHypervisor, there: FakeHypervisor) -> FakeHypervisor:
    """This host, with a guest that runs."""
    host.known[WEB1.uuid] = WEB1
    host.xml[WEB1.uuid] = xml_of(WEB1)
    host.others[URI] = there
    return host


@pytest.fixture
def way(web1: FakeHypervisor, there: FakeHypervisor, monkeypatch: pytest.MonkeyPatch) -> FakeWay:
    """The way to the other host."""
    made = FakeWay(FakePeer(there, ROOMY))
    monkeypatch.setattr("xmcompat.migrating.open_way", lambda request, hypervisor, begun=None: made)
    monkeypatch.setattr("xmcompat.vantage._resolved", lambda name: Resolved(name=name, addresses=("192.0.2.2",)))
    monkeypatch.setattr("xmcompat.migrating.PATIENCE", 0.3)
    return made


# -- a copy that is not of this transfer


def test_a_domain_that_runs_there_already_is_not_taken_for_the_one_that_has_moved(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay
) -> None:
    """Somebody starts the other host's own definition after both were looked at."""
    way.peer.errors["prepare"] = OperationError("VM name 'web1' already exists (from node2)")
    way.peer.on_word = lambda word: there.known.update({WEB1.uuid: THERE}) if word == "prepare" else None
    assert xm("migrate", "-l", "web1", "node2").err == (
        "Error: VM name 'web1' already exists (from node2); 'web1' runs on here\n"
    )
    assert web1.known == {WEB1.uuid: WEB1} and there.known == {WEB1.uuid: THERE}


def test_nor_where_libvirt_is_the_first_to_see_it(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay
) -> None:
    web1.migration_errors["web1"] = DomainThere("node2 runs a domain 'web1' already")
    way.peer.on_word = lambda word: there.known.update({WEB1.uuid: THERE}) if word == "connect" else None
    assert xm("migrate", "-l", "web1", "node2").err == (
        "Error: node2 runs a domain 'web1' already; 'web1' runs on here\n"
    )
    assert web1.known == {WEB1.uuid: WEB1} and there.known == {WEB1.uuid: THERE}


@pytest.mark.parametrize("state", [MigrationState.OUTGOING, MigrationState.CUT_OFF, MigrationState.POSTCOPY_OUT])
def test_one_that_libvirt_moves_for_a_killed_xm_is_not_moved_beside_that(
    xm: Xm, web1: FakeHypervisor, way: FakeWay, state: str
) -> None:
    web1.migration_states[WEB1.uuid] = state
    assert xm("migrate", "-l", "web1", "node2").err == (
        "Error: 'web1' is on its way to another host already, which libvirt sees to by itself; "
        "'virsh migrate-setspeed web1 MIB' lets it go faster, 'virsh domjobabort web1' has it stay\n"
    )
    assert way.peer.asked == [] and web1.transfers == []


def test_one_that_has_not_wholly_arrived_does_not_go_on(xm: Xm, web1: FakeHypervisor, way: FakeWay) -> None:
    web1.migration_states[WEB1.uuid] = MigrationState.POSTCOPY_IN
    assert xm("migrate", "-l", "web1", "node2").err == (
        "Error: 'web1' still fetches memory from the host it has come from; try again later\n"
    )
    assert way.peer.asked == [] and web1.transfers == []


# -- what the other host finds when it is told to release or to settle


def test_a_domain_that_runs_there_after_all_is_not_let_go_here(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay
) -> None:
    """libvirt lets it go there between the question and the release."""
    web1.migration_errors["web1"] = MigrationLost("the connection was lost")
    web1.begin_migration = lambda uuid, transfer: stopped(web1, there)  # type: ignore[method-assign, assignment]

    def late(word: str) -> None:
        if word == "release":
            there.known[WEB1.uuid] = THERE
            there.migration_states[WEB1.uuid] = MigrationState.ARRIVED

    way.peer.on_word = late
    assert xm("migrate", "-l", "web1", "node2") == (0, "", "Warning: the connection was lost\n")
    assert ("unpause", "web1") not in web1.calls
    assert web1.known == {} and there.known == {WEB1.uuid: THERE}


def stopped(here: FakeHypervisor, there: FakeHypervisor) -> LostJob:
    """A transfer that breaks at the hand-over: the domain is paused at both ends, and libvirt does nothing more."""
    here.known[WEB1.uuid] = WEB1._replace(state=DomainState.PAUSED)
    there.known[WEB1.uuid] = THERE._replace(state=DomainState.PAUSED)
    there.migration_states[WEB1.uuid] = MigrationState.INCOMING
    return LostJob()


class LostJob:
    """A transfer that has ended with an error."""

    def ended(self, seconds: float) -> bool:
        return True

    def result(self) -> None:
        raise MigrationLost("the connection was lost")

    def abort(self) -> None:
        return


@pytest.mark.parametrize("life", [Life.GONE, Life.OFF, Life.CRASHED])
@pytest.mark.parametrize("managed", [False, True])
def test_a_domain_that_ends_as_soon_as_it_is_there_is_no_success(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay, life: str, managed: bool
) -> None:
    """libvirt says success also where the other host runs out of memory just after the hand-over."""
    web1.known[WEB1.uuid] = WEB1._replace(persistent=managed)
    states = {Life.OFF: DomainState.SHUTOFF, Life.CRASHED: DomainState.CRASHED}

    def end(word: str) -> None:
        if word == "settle":
            there.known.pop(WEB1.uuid, None)
            there.migration_states.clear()
            if life in states:
                there.known[WEB1.uuid] = THERE._replace(state=states[life], domid=None if life == Life.OFF else 51)
            way.peer.settled = Settled(copy=Copy(life=life))

    way.peer.on_word = end
    status, _, err = xm("migrate", "-l", "web1", "node2")
    assert status == 1
    assert err.startswith("Error: libvirt says that it has moved; 'web1' had gone to node2, and has ended there; ")
    assert ("unpause", "web1") not in web1.calls


def test_one_that_has_gone_where_nobody_answers_leaves_nothing_of_it_here(
    xm: Xm, web1: FakeHypervisor, way: FakeWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[str] = []
    monkeypatch.setattr("xmcompat.disk_needs.gone", lambda hypervisor, uuid: left.append(uuid) or ())

    def never() -> FakePeer:
        raise PeerLost("node2 cannot be reached")

    monkeypatch.setattr(way, "again", never)
    way.peer.on_word = lambda word: setattr(way.peer, "lost", "state") if word == "state" else None
    err = xm("migrate", "-l", "web1", "node2").err
    assert err == (
        "Error: libvirt says that it has moved; 'web1' has gone to node2, which cannot be asked; "
        "see 'xm list' on node2 when it answers\n"
    )
    assert left == [WEB1.uuid]


# -- libvirt has nothing more to do with it


def test_a_domain_that_a_killed_libvirtd_has_left_paused_goes_on_here(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay
) -> None:
    def broken(uuid: str, transfer: Transfer) -> LostJob:
        web1.known[WEB1.uuid] = WEB1._replace(state=DomainState.PAUSED)
        web1.migration_states[WEB1.uuid] = MigrationState.CUT_OFF
        return LostJob()

    web1.begin_migration = broken  # type: ignore[method-assign, assignment]
    assert xm("migrate", "-l", "web1", "node2").err == "Error: the connection was lost; 'web1' runs on here\n"
    assert web1.known == {WEB1.uuid: WEB1}


def test_two_copies_that_run_do_not_do_so_for_longer_than_libvirt_may_need(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the hand-over was lost, and no lock kept it from running on here."""

    def twice(uuid: str, transfer: Transfer) -> LostJob:
        there.known[WEB1.uuid] = THERE
        there.migration_states[WEB1.uuid] = MigrationState.ARRIVED
        return LostJob()

    monkeypatch.setattr("xmcompat.migrating.PATIENCE", 60.0)
    monkeypatch.setattr("xmcompat.migration.outcome._ENDED", 0.3)
    web1.begin_migration = twice  # type: ignore[method-assign, assignment]
    begun = time.monotonic()
    assert xm("migrate", "-l", "web1", "node2") == (0, "", "Warning: the connection was lost\n")
    assert time.monotonic() - begun < 20
    assert web1.known == {} and there.known == {WEB1.uuid: THERE}


class DeafJob:
    """A transfer that libvirt does not give up, and that does not end."""

    def __init__(self) -> None:
        self.waited = 0.0

    def ended(self, seconds: float) -> bool:
        self.waited += seconds
        return False

    def result(self) -> None:
        raise AssertionError

    def abort(self) -> None:
        raise HypervisorError("libvirt does not give up the migration")


def test_a_transfer_that_libvirt_does_not_give_up_is_not_waited_for_without_end(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay
) -> None:
    job = DeafJob()

    def deaf(uuid: str, transfer: Transfer) -> DeafJob:
        web1.migration_states[WEB1.uuid] = MigrationState.OUTGOING
        return job

    web1.begin_migration = deaf  # type: ignore[method-assign, assignment]

    def failing(uuid: str) -> FakeFailing:
        return FakeFailing()

    way.peer.connect = failing  # type: ignore[method-assign, assignment]
    status, _, err = xm("migrate", "-l", "web1", "node2")
    assert status == 1
    assert err == (
        "Warning: libvirt does not give up the migration\n"
        "Error: no such script (from node2); 'web1' is still being moved to node2; see 'xm list' on both hosts in a while\n"
    )
    assert departure.RECOVERY - 2 < job.waited < departure.RECOVERY + 5


class FakeFailing:
    """Interfaces that cannot be set up."""

    def ended(self, seconds: float) -> bool:
        return True

    def result(self) -> Connected:
        raise OperationError("no such script (from node2)")

    def stop(self) -> None:
        return


def test_a_post_copy_that_heals_by_itself_is_not_waited_for(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay
) -> None:
    """QEMU's own connection outlives a short break, and libvirt refuses to take up what it has never given up."""

    def stalled(uuid: str, transfer: Transfer) -> LostJob:
        web1.known[WEB1.uuid] = WEB1._replace(state=DomainState.PAUSED)
        web1.migration_states[WEB1.uuid] = MigrationState.STALLED_OUT
        there.known[WEB1.uuid] = THERE
        there.migration_states[WEB1.uuid] = MigrationState.STALLED_IN
        return LostJob()

    def healed(uuid: str, transfer: Transfer) -> FakeMigrationJob:
        web1.known.clear()
        web1.migration_states.clear()
        there.migration_states[WEB1.uuid] = MigrationState.ARRIVED
        raise HypervisorError("the migration is actively monitored by another thread")

    web1.begin_migration = stalled  # type: ignore[method-assign, assignment]
    web1.recover_postcopy = healed  # type: ignore[method-assign, assignment]
    begun = time.monotonic()
    assert xm("migrate", "-l", "web1", "node2") == (0, "", "Warning: the connection was lost\n")
    assert time.monotonic() - begun < 20


# -- disks that are copied


def test_disks_that_are_copied_go_at_full_speed(xm: Xm, web1: FakeHypervisor, way: FakeWay) -> None:
    """libvirt takes another bandwidth on the way for memory alone."""
    plan = departure.Plan(live=True, bandwidth=100, policy="stop", deadline=60.0, persist=False, copy=("vda",), patience=1.0)
    assert departure.transfer_of(plan, way, Prepared()).bandwidth == 100  # type: ignore[arg-type]
    assert departure.transfer_of(plan._replace(copy=()), way, Prepared()).bandwidth == departure.SLOW  # type: ignore[arg-type]


def test_a_guest_without_filters_goes_at_full_speed_at_once(way: FakeWay) -> None:
    plan = departure.Plan(live=True, bandwidth=None, policy="stop", deadline=60.0, persist=False, copy=(), patience=1.0)
    assert departure.transfer_of(plan, way, Prepared(waits=False)).bandwidth is None  # type: ignore[arg-type]


# -- what the other host says


def test_nothing_that_the_other_host_says_does_something_to_the_terminal(xm: Xm, way: FakeWay) -> None:
    way.peer.facts = replace(ROOMY, told=(Finding(stops=False, what="\x1b]0;owned\x07\r\nError: all is lost"),))
    assert xm("migrate", "-l", "web1", "node2") == (0, "", "Warning: ?]0;owned???Error: all is lost\n")


# -- signals


@pytest.fixture
def other_thread() -> Iterator[None]:
    """A thread that takes signals, as that has which tells the other host that this one is still there."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    yield
    over.set()
    thread.join()


def test_a_signal_once_it_is_there_is_too_late_and_nothing_is_left_undone(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay, other_thread: None,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    left: list[str] = []
    monkeypatch.setattr("xmcompat.disk_needs.gone", lambda hypervisor, uuid: left.append(uuid) or ())

    def interrupt(word: str) -> None:
        if word == "settle":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    way.peer.on_word = interrupt
    with pytest.raises(Ended):
        xm("migrate", "-l", "web1", "node2")
    assert capsys.readouterr().err == "Warning: it was too late to give it up: 'web1' runs on node2\n"
    assert left == [WEB1.uuid]
    assert there.known == {WEB1.uuid: THERE._replace(domid=50)}


def test_a_signal_does_not_hide_what_went_wrong(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay, other_thread: None,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    web1.migration_errors["web1"] = MigrationLost("the connection was lost")

    def interrupt(word: str) -> None:
        if word == "release":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)

    way.peer.on_word = interrupt
    with pytest.raises(Ended):
        xm("migrate", "-l", "web1", "node2")
    assert capsys.readouterr().err == "Warning: the connection was lost; 'web1' runs on here\n"
    assert web1.known == {WEB1.uuid: WEB1}


# -- onto the host itself


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_at_the_end_of_its_save_does_not_leave_it_in_its_file_alone(
    xm: Xm, web1: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It has to wait until the guest is saved and off, and is raised then."""
    monkeypatch.setattr("xmcompat.migrating.FOLDER", str(tmp_path / "moving"))
    off: list[bool] = []

    def interrupted(*_: object) -> None:
        off.append(WEB1.uuid not in web1.known)
        os.kill(os.getpid(), number)

    monkeypatch.setattr("xmcompat.vif_traces.gone", interrupted)
    with pytest.raises(Ended):
        xm("migrate", "web1", "localhost")
    (back,) = web1.known.values()
    assert (off, back.uuid, back.state) == ([True], WEB1.uuid, DomainState.RUNNING)
    assert os.listdir(tmp_path / "moving") == []


def test_an_error_at_the_end_of_its_save_does_not_either(
    xm: Xm, web1: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xmcompat.migrating.FOLDER", str(tmp_path / "moving"))

    def fail(*_: object) -> None:
        raise OperationError("vif3.0 stays")

    monkeypatch.setattr("xmcompat.vif_traces.gone", fail)
    assert xm("migrate", "web1", "localhost").err.startswith("Error: vif3.0 stays\n")
    assert [back.state for back in web1.known.values()] == [DomainState.RUNNING]
    assert os.listdir(tmp_path / "moving") == []


def test_what_is_said_after_a_loss_is_what_is_known(
    xm: Xm, web1: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether it is off."""
    monkeypatch.setattr("xmcompat.migrating.FOLDER", str(tmp_path))
    monkeypatch.setattr("xmcompat.saving.BACK", 0.1)
    find = web1.find

    def lost(_uuid: str) -> None:
        monkeypatch.setattr(web1, "find", gone)
        raise ConnectionLost("gone")

    def gone(_designation: str) -> DomainInfo:
        raise HypervisorUnreachable("no libvirtd")

    monkeypatch.setattr(web1, "unpause", lost)
    said = xm("migrate", "web1", "localhost").err
    monkeypatch.setattr(web1, "find", find)
    (file,) = tmp_path.glob("*.save")
    assert said.count("\n") == 1
    assert f"'web1' may be there, running or paused; its memory is in {file} as well; see 'xm list'" in said


def test_a_file_that_stays_is_told_of_a_guest_that_runs(
    xm: Xm, web1: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xmcompat.migrating.FOLDER", str(tmp_path))
    unlink = os.unlink

    def fail(path: str, **words: int) -> None:
        if path.endswith(".save"):
            raise OSError(30, "Read-only file system")
        unlink(path, **words)

    monkeypatch.setattr("os.unlink", fail)
    said = xm("migrate", "web1", "localhost").err
    monkeypatch.setattr("os.unlink", unlink)
    assert "Error: 'web1' is there again, but " in said
    assert "is not removed: Read-only file system; remove it\n" in said
    assert [back.state for back in web1.known.values()] == [DomainState.RUNNING]


def test_a_file_of_an_earlier_process_is_not_started_where_the_save_fails(
    xm: Xm, web1: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xmcompat.migrating.FOLDER", str(tmp_path))
    (tmp_path / f"{WEB1.uuid}-{os.getpid()}.save").write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise HypervisorError("no room")

    monkeypatch.setattr(web1, "begin_save", fail)
    assert xm("migrate", "web1", "localhost").err.startswith("Error: no room\n")
    assert web1.known == {WEB1.uuid: WEB1}


def test_a_signal_does_not_leave_it_in_its_file_alone(
    xm: Xm, web1: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_thread: None
) -> None:
    monkeypatch.setattr("xmcompat.migrating.FOLDER", str(tmp_path / "moving"))
    restore = web1.restore

    def interrupted(*words: object, **more: object) -> object:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        return restore(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(web1, "restore", interrupted)
    with pytest.raises(Ended):
        xm("migrate", "web1", "localhost")
    (back,) = web1.known.values()
    assert back.state == DomainState.RUNNING
    assert os.listdir(tmp_path / "moving") == []
