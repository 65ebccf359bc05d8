"""What becomes of a guest that stands still while its disks are copied for a checkpoint: it goes on, whoever ends what, and
nobody lets it go before that."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor
from tests.fakes_saving import FakeSaveJob
from tests.xm.conftest import Xm
from tests.xm.test_saved_guests import UUID, WEB1, config, web1
from xmcompat import endings, moving, pending_save, saved_disks, standing
from xmcompat.backends.domain_lock import locked
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.errors import ConnectionLost, HypervisorError, HypervisorUnreachable, OperationError
from xmcompat.migration import save_file
from xmcompat.pending_save import PendingSave
from xmcompat.plugging import Plugging, Stopped
from xmcompat.toolstack import Toolstack
from xmcompat.xm.signals import Ended

__all__ = ["config", "web1"]  # fixtures


def test_a_checkpoint_that_has_its_name_keeps_its_copies_where_xm_is_killed_then(
    web1: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Toolstack, "open", classmethod(lambda cls, uri=None: cls(lambda: web1)))
    folder, _ = saved_disks.new_folder(str(tmp_path / "f"), ["xvda"])
    made = tmp_path / "f.abcdefgh.unfinished"
    standing.let_go(web1.uri, UUID, str(made), folder)
    assert os.path.isdir(folder)
    assert ("give up save", UUID) in web1.calls  # else it would go on, onto files that nobody sees
    made.write_bytes(b"")
    standing.let_go(web1.uri, UUID, str(made), folder)
    assert sorted(os.listdir(tmp_path)) == ["disk.img"]


@pytest.mark.parametrize(("left", "ends", "asked"), [(4, 60.0, 4), (1000, 0.0, 1)], ids=["that ends", "that does not"])
def test_a_guest_whose_checkpoint_is_broken_off_goes_on_only_after_the_copying(
    web1: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int, ends: float, asked: int
) -> None:
    """A QEMU that goes on while it makes the files of copies may fall. Where that does not end, it goes on at some time."""
    monkeypatch.setattr(Toolstack, "open", classmethod(lambda cls, uri=None: cls(lambda: web1)))
    monkeypatch.setattr(standing, "_ENDS", ends)
    web1.saves_left = left
    web1.calls.clear()
    standing.let_go(web1.uri, UUID, str(tmp_path / "f.abcdefgh.unfinished"), "")
    assert web1.calls == [*[("give up save", UUID)] * asked, ("pause", "web1"), ("unpause", "web1")]


def test_a_guest_that_stands_still_for_its_disks_goes_on_by_itself_alone(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path
) -> None:
    """``xm unpause`` and ``xm reset`` would have its memory be of another moment than they are."""
    stands = "Error: 'web1' is being saved, and goes on by itself when its disks are copied\n"
    web1.known[UUID] = WEB1._replace(state=DomainState.PAUSED)
    with moving.held(web1.uri, WEB1) as lock:
        assert lock is not None
        assert xm("unpause", "web1").status == 0  # it is moved, which does not keep it
        web1.known[UUID] = WEB1._replace(state=DomainState.PAUSED)
        moving.stand_still(lock, True)
        web1.calls.clear()
        for verb in ("unpause", "reset"):
            result = xm(verb, "web1")
            assert (result.status, result.err) == (1, stands)
        assert web1.calls == []
    assert xm("unpause", "web1").status == 0
    path = Path(moving.moving_folder(web1.uri)) / UUID
    path.write_text("stands still\n")  # of a process that was killed
    web1.known[UUID] = WEB1._replace(state=DomainState.PAUSED)
    with moving.held(web1.uri, WEB1):
        assert xm("unpause", "web1").status == 0


@pytest.mark.parametrize("begun", [False, True])
def test_no_device_of_a_guest_is_changed_while_it_stands_still_for_its_disks(web1: FakeHypervisor, begun: bool) -> None:
    """A checkpoint is of the disks that it had; and who plugs an interface in would let it go, whose QEMU falls then."""
    with moving.held(web1.uri, WEB1) as lock:
        assert lock is not None
        moving.stand_still(lock, True)
        web1.known[UUID] = WEB1._replace(state=DomainState.PAUSED if begun else DomainState.RUNNING)
        with (
            pytest.raises(OperationError, match="'web1' is being saved, and goes on by itself when its disks are copied"),
            Plugging(Toolstack(lambda: web1)).domain("web1"),
        ):
            raise AssertionError("its devices may be changed")
    with Plugging(Toolstack(lambda: web1)).domain("web1") as info:
        assert info.name == "web1"


def test_who_plugs_an_interface_in_leaves_a_guest_alone_that_was_paused_since_it_was_looked_at(web1: FakeHypervisor) -> None:
    web1.known[UUID] = WEB1._replace(state=DomainState.PAUSED)
    Stopped(web1, WEB1).go_on()
    assert web1.calls == []


def is_free(uuid: str) -> bool:
    """Whether another process may change the devices of the domain."""
    if (child := os.fork()) == 0:
        with suppress(BlockingIOError), locked(uuid, {}, patience=0.1):
            os._exit(0)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def test_a_checkpoint_is_of_the_disks_that_there_are_when_nobody_changes_them(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is plugged in after they were looked at would be missing; and who plugs an interface in may have the guest
    stand still, which would be taken for somebody's pause."""
    look, stand_still, free = web1.domain_xml, moving.stand_still, list[tuple[str, bool]]()

    def looked(uuid: str, **words: bool) -> str:
        free.append(("looked", is_free(UUID)))
        return look(uuid, **words)

    def marked(handle: int, stands: bool) -> None:
        free.extend([("marked", is_free(UUID))] if stands else [])
        stand_still(handle, stands)

    monkeypatch.setattr(web1, "domain_xml", looked)
    monkeypatch.setattr(moving, "stand_still", marked)
    assert xm("save", "-c", "web1", str(tmp_path / "f")).status == 0
    marks = free.index(("marked", False))
    assert free[marks - 1] == ("looked", False)


def test_a_checkpoint_waits_for_a_while_for_who_changes_devices(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "DEVICES", 0.3)
    ours, theirs = os.pipe()
    if (child := os.fork()) == 0:
        with locked(UUID, {}):
            os.write(theirs, b".")
            time.sleep(60)
        os._exit(0)
    try:
        assert os.read(ours, 1) == b"."
        said = xm("save", "-c", "web1", str(tmp_path / "f"))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ours)
        os.close(theirs)
    assert (said.status, said.err) == (1, "Error: the devices of 'web1' are being changed; try again when that is over\n")
    assert list(tmp_path.glob("f*")) == []
    assert xm("save", "-c", "web1", str(tmp_path / "f")).status == 0


@pytest.mark.parametrize("verb", ["save", "migrate"])
def test_a_guest_that_stands_still_for_a_moment_for_an_interface_counts_as_one_that_runs(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """'Domain is not running' would be said of it; or it would come back paused, and stay so."""
    web1.known[UUID] = WEB1._replace(state=DomainState.PAUSED)
    lock, waits = moving.locked, list[str]()

    @contextmanager
    def plugged(uuid: str, environ: object, *, patience: float | None = None) -> Iterator[None]:
        waits.append(uuid)
        web1.known[UUID] = WEB1  # by whoever had the lock
        with lock(uuid, {}, patience=patience):
            yield

    monkeypatch.setattr(moving, "locked", plugged)
    monkeypatch.setattr("xmcompat.migrating.FOLDER", str(tmp_path / "moving"))
    said = xm(verb, "web1", str(tmp_path / "f") if verb == "save" else "localhost")
    assert (said, waits) == ((0, "", ""), [UUID])


def test_a_guest_that_stands_still_for_an_interface_when_its_save_begins_comes_back_running(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_save = web1.begin_save

    def stands(uuid: str, path: str, **words: object) -> object:
        web1.known[UUID] = WEB1._replace(state=DomainState.PAUSED)
        return begin_save(uuid, path, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(web1, "begin_save", stands)
    assert xm("save", "web1", str(tmp_path / "f")).status == 0
    assert xm("restore", str(tmp_path / "f")) == (0, "", "")
    assert [info.state for info in web1.known.values()] == [DomainState.RUNNING]


@pytest.mark.parametrize("verb", ["save", "migrate"])
def test_a_guest_that_ends_while_it_stands_still_is_named_as_it_was(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    web1.known[UUID] = WEB1._replace(state=DomainState.PAUSED)
    lock = moving.locked

    @contextmanager
    def ended(uuid: str, environ: object, *, patience: float | None = None) -> Iterator[None]:
        web1.known.clear()
        with lock(uuid, {}, patience=patience):
            yield

    monkeypatch.setattr(moving, "locked", ended)
    said = xm(verb, "web1", str(tmp_path / "f") if verb == "save" else "localhost")
    assert "Domain 'web1' does not exist." in said.err


@pytest.mark.parametrize("words", [("shutdown", "web1"), ("shutdown", "-a"), ("reboot", "web1")], ids=" ".join)
def test_a_guest_that_stands_still_for_its_disks_is_asked_to_end_after_that(
    web1: FakeHypervisor, xm: Xm, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Its memory in the file would end as well, and 'xm shutdown -a -w' would not have heard of it."""
    web1.known[UUID] = WEB1._replace(state=DomainState.PAUSED)
    with moving.held(web1.uri, WEB1) as lock:
        assert lock is not None
        moving.stand_still(lock, True)

        def sleep(_seconds: float) -> None:
            assert web1.calls == []
            moving.stand_still(lock, False)
            web1.known[UUID] = WEB1

        monkeypatch.setattr(endings.time, "sleep", sleep)
        said = "'web1' is being saved; it is asked when its disks are copied\n"
        assert xm(*words) == (0, "", said)
    assert web1.calls == [(words[0], "web1")]


def test_a_save_that_libvirt_does_not_give_up_leaves_the_guest_to_who_lets_it_go(
    web1: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may stand still: nobody says that all is well, and it is moving until then."""
    monkeypatch.setattr(Toolstack, "open", classmethod(lambda cls, uri=None: cls(lambda: web1)))
    asked = tmp_path / "asked"  # to let it go
    monkeypatch.setattr(standing, "_WAIT", f"import sys, time; sys.stdin.read(1) or open({str(asked)!r}, 'x'); time.sleep(60)")
    web1.save_looks["web1"] = 1000

    def abort(_job: FakeSaveJob) -> None:
        raise HypervisorError("libvirt does not give up the save")

    monkeypatch.setattr(FakeSaveJob, "abort", abort)
    pending = PendingSave(Toolstack(lambda: web1), WEB1, str(tmp_path / "f"), running=True)
    guard = pending._guard
    assert guard is not None
    try:
        with pytest.raises(OperationError, match="libvirt does not give up the save; 'web1' goes on within a minute"):
            pending.abandon()
        begun = time.monotonic()
        while not asked.exists():
            time.sleep(0.01)
            assert time.monotonic() < begun + 30, "the guest is let go by nobody"
        assert moving.is_moving(web1.uri, UUID)
    finally:
        guard._child.kill()
        guard._child.wait()
    assert not moving.is_moving(web1.uri, UUID)


class Watcher:
    """In place of the process that lets a guest go; it notes what is asked of it."""

    asked: list[str]

    def __init__(self, *_: object) -> None:
        Watcher.asked = []

    def dismiss(self) -> None:
        Watcher.asked.append("dismiss")

    def leave(self) -> None:
        Watcher.asked.append("leave")


@pytest.fixture
def failed(web1: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PendingSave:
    """A checkpoint that has failed, and whose guest stands still."""
    monkeypatch.setattr(pending_save, "Guard", Watcher)
    web1.save_errors["web1"] = HypervisorError("cannot acquire state change lock")
    pending = PendingSave(Toolstack(lambda: web1), WEB1, str(tmp_path / "f"), running=True)
    with pytest.raises(OperationError, match="state change lock"):
        pending.finish()
    web1.known[UUID] = WEB1._replace(state=DomainState.PAUSED)
    return pending


@pytest.mark.parametrize("error", [Ended(signal.SIGTERM), HypervisorUnreachable("libvirtd is not there")], ids=["told", "lost"])
def test_where_nobody_sees_a_guest_go_on_another_process_is_left_to_let_it_go(
    failed: PendingSave, web1: FakeHypervisor, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def unpause(_self: FakeHypervisor, _uuid: str) -> None:
        monkeypatch.setattr(FakeHypervisor, "find", lambda _self, _designation: lost())
        if isinstance(error, Ended):
            raise error

    def lost() -> DomainInfo:
        raise error

    monkeypatch.setattr(FakeHypervisor, "unpause", unpause)
    with pytest.raises(Ended) if isinstance(error, Ended) else nullcontext():
        failed.abandon()
    assert Watcher.asked == ["leave"]


def test_one_that_is_seen_to_go_on_needs_nobody_else(failed: PendingSave, web1: FakeHypervisor) -> None:
    failed.abandon()
    assert web1.known[UUID].state == DomainState.RUNNING
    assert Watcher.asked == ["dismiss"]
    assert not moving.is_moving(web1.uri, UUID)


def test_after_a_loss_the_last_look_comes_after_the_guest_is_let_go(
    web1: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To have libvirt give up the copying may take longer than one waits for libvirt itself."""
    monkeypatch.setattr(pending_save, "Guard", Watcher)
    monkeypatch.setattr(pending_save, "BACK", 0.05)
    monkeypatch.setattr(pending_save, "await_given_up", lambda _hypervisor, _uuid: time.sleep(0.2))
    web1.save_errors["web1"] = ConnectionLost("the connection was lost")
    pending = PendingSave(Toolstack(lambda: web1), WEB1, str(tmp_path / "f"), running=True)
    web1.known[UUID] = WEB1._replace(state=DomainState.PAUSED)
    with pytest.raises(ConnectionLost, match="'web1' was not saved"):
        pending.finish()
    assert web1.known[UUID].state == DomainState.RUNNING
    pending.abandon()
    assert Watcher.asked == ["dismiss"]


def test_one_that_stays_paused_after_a_loss_is_left_to_another_process(
    web1: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_save, "Guard", Watcher)
    monkeypatch.setattr(pending_save, "BACK", 0.05)
    monkeypatch.setattr(FakeHypervisor, "unpause", lambda _self, _uuid: None)
    web1.save_errors["web1"] = ConnectionLost("the connection was lost")
    pending = PendingSave(Toolstack(lambda: web1), WEB1, str(tmp_path / "f"), running=True)
    web1.known[UUID] = WEB1._replace(state=DomainState.PAUSED)
    with pytest.raises(OperationError, match="it is paused; it goes on once libvirtd answers"):
        pending.finish()
    pending.abandon()
    assert Watcher.asked == ["leave"]
    assert not moving.is_moving(web1.uri, UUID)


def test_a_guest_that_is_paused_once_its_disks_are_copied_can_be_let_run(
    web1: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its file is made whole it runs already, and is anybody's."""
    pending = PendingSave(Toolstack(lambda: web1), WEB1, str(tmp_path / "f"), running=True)
    assert moving.stands_still(web1.uri, UUID)
    while not pending.ended(0.1):
        continue
    complete, seen = save_file.complete, list[tuple[bool, bool]]()

    def look(*words: object, **named: object) -> None:
        seen.append((moving.is_moving(web1.uri, UUID), moving.stands_still(web1.uri, UUID)))
        complete(*words, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(save_file, "complete", look)
    pending.finish()
    assert seen == [(True, False)]


def test_one_that_comes_to_stand_still_after_a_look_at_it_is_not_let_run(
    web1: FakeHypervisor, xm: Xm, monkeypatch: pytest.MonkeyPatch
) -> None:
    with moving.held(web1.uri, WEB1) as lock:
        assert lock is not None
        moving.stand_still(lock, True)
        web1.calls.clear()
        assert xm("unpause", "web1").status == 1  # it ran at the look
        assert web1.calls == []


def test_a_guest_that_a_failed_checkpoint_leaves_paused_is_let_go_or_told(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web1.save_errors["web1"] = HypervisorError("cannot acquire state change lock")
    begin = FakeHypervisor.begin_save

    def begun(self: FakeHypervisor, uuid: str, path: str, **details: object) -> object:
        job = begin(self, uuid, path, **details)  # type: ignore[arg-type]
        self.known[uuid] = WEB1._replace(state=DomainState.PAUSED)
        return job

    monkeypatch.setattr(FakeHypervisor, "begin_save", begun)
    assert xm("save", "-c", "web1", str(tmp_path / "f")).err == "Error: cannot acquire state change lock\n"
    assert web1.find("web1").state == DomainState.RUNNING
    web1.known[UUID] = WEB1
    with monkeypatch.context() as patched:
        patched.setattr(FakeHypervisor, "unpause", lambda self, uuid: None)
        told = xm("save", "-c", "web1", str(tmp_path / "f")).err
    assert told == "Error: 'web1' is not saved, and is still paused; try: xm unpause web1\n"
    assert sorted(os.listdir(tmp_path)) == ["disk.img"]
