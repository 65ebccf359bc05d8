"""What becomes of an installer, and of the disk that it fills, when libvirtd goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor
from xmcompat import losses, populating
from xmcompat.backends.hypervisor import DomainInfo
from xmcompat.errors import ConnectionLost, HypervisorError, HypervisorUnreachable, OperationError, StillWritten, XmError
from xmcompat.storage.image_device import spoilt_on_failure
from xmcompat.storage.image_populate import empty_disk
from xmcompat.storage.image_programs import ImageInUse
from xmcompat.tool.image_populate import populate
from xmcompat.toolstack import Toolstack

LOST = "Xend has probably crashed!"
ISO = "/dev/null"  # which nobody looks at here


@pytest.fixture(autouse=True)
def _emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XMCOMPAT_ACCELERATOR", "tcg")
    monkeypatch.setattr(losses, "BACK", 0.3)


class Back(FakeHypervisor):
    """A libvirtd that was killed and has come back: what its first connection has begun runs on."""

    def __init__(self, draft: Path) -> None:
        super().__init__()
        self.draft = draft
        self.drafts: list[bool] = []
        self.answers = True

    def destroy(self, uuid: str) -> None:
        self.drafts.append(self.draft.exists())
        super().destroy(uuid)

    def again(self) -> FakeHypervisor:
        if not self.answers:
            raise HypervisorUnreachable("nothing answers")
        return self


class Lost(FakeHypervisor):
    """The connection to BACK that is lost once a domain is there; with EARLY, before that is told."""

    def __init__(self, back: Back, *, early: bool = False) -> None:
        super().__init__()
        self.back = back
        self.early = early

    def create(self, xml: str, *, paused: bool = False, bound: bool = False) -> DomainInfo:
        info = self.back.create(xml, paused=paused, bound=bound)
        if self.early:
            raise ConnectionLost(LOST)
        return info

    def find(self, designation: str) -> DomainInfo:
        raise ConnectionLost(LOST)

    def destroy(self, uuid: str) -> None:
        raise ConnectionLost(LOST)


@pytest.fixture
def back(tmp_path: Path) -> Back:
    return Back(tmp_path / ".web1.img.part")


def fill(back: Back, *, early: bool = False, interrupted: bool = False) -> None:
    def attend(_info: DomainInfo) -> None:
        if interrupted:
            raise KeyboardInterrupt

    with empty_disk(str(back.draft.with_name("web1.img")), 1 << 20, "raw", force=False) as disk:
        installer = populating.Installer(cdrom=ISO)
        populating.run(Lost(back, early=early), installer, "web1", disk, "raw", attend, back.again)


@pytest.mark.parametrize("early", [False, True])
def test_an_installer_whose_libvirtd_was_killed_is_ended_before_its_disk_goes(back: Back, early: bool) -> None:
    with pytest.raises(ConnectionLost, match=LOST):
        fill(back, early=early)
    assert (back.drafts, back.known, list(back.draft.parent.iterdir())) == ([True], {}, [])


def test_ctrl_c_after_libvirtd_was_killed_ends_the_installer_as_well(back: Back) -> None:
    with pytest.raises(KeyboardInterrupt):
        fill(back, interrupted=True)
    assert (back.drafts, back.known, list(back.draft.parent.iterdir())) == ([True], {}, [])


def test_an_installer_that_cannot_be_ended_is_named_and_its_disk_left_as_it_is(back: Back) -> None:
    back.answers = False
    with pytest.raises(StillWritten) as caught:
        fill(back)
    assert caught.value.message == (
        f"'install-web1' could not be ended and may still write {back.draft}, which is left as it is: {LOST}"
    )
    assert (len(back.known), back.draft.stat().st_size) == (1, 1 << 20)


def test_an_installer_that_libvirt_cannot_end_keeps_its_disk_also_after_ctrl_c(
    back: Back, monkeypatch: pytest.MonkeyPatch
) -> None:
    def destroy(_uuid: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        raise HypervisorError("Failed to terminate process 4711 with SIGKILL: Device or resource busy")

    monkeypatch.setattr(back, "destroy", destroy)
    with pytest.raises(StillWritten) as caught:
        fill(back)
    assert caught.value.line() == (
        f"'install-web1' could not be ended and may still write {back.draft}, which is left as it is: Failed to terminate "
        "process 4711 with SIGKILL: Device or resource busy; end it with 'xm destroy install-web1', and try again"
    )
    assert back.draft.exists()


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set at the end of the test, or by it: what waits for it gets no answer until then."""
    monkeypatch.setattr(populating, "ENDING", 0.2)
    over = threading.Event()
    yield over
    over.set()


@pytest.mark.parametrize("what", ["destroy", "again"])
def test_ctrl_c_comes_back_where_libvirtd_does_not_answer_and_the_disk_is_left_as_it_is(
    back: Back, silence: threading.Event, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def wait(*_: object) -> FakeHypervisor:
        silence.wait(10)
        return back

    monkeypatch.setattr(back, what, wait)
    begun = time.monotonic()
    with pytest.raises((StillWritten, KeyboardInterrupt)) as caught:
        fill(back, interrupted=True)
    assert time.monotonic() - begun < 10
    assert isinstance(caught.value, StillWritten)
    assert caught.value.line() == (
        f"'install-web1' could not be ended and may still write {back.draft}, which is left as it is: libvirtd does not "
        "answer; end it with 'xm destroy install-web1', and try again"
    )
    assert (len(back.known), back.draft.stat().st_size) == (1, 1 << 20)


def test_ctrl_c_beside_a_libvirtd_that_does_not_answer_at_once_ends_the_installer_first(
    back: Back, silence: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every further Ctrl-C is heard when it is known what became of the installer, and the disk goes then."""
    monkeypatch.setattr(populating, "ENDING", 30.0)
    destroy = back.destroy

    def late(uuid: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        silence.wait(0.3)
        destroy(uuid)

    monkeypatch.setattr(back, "destroy", late)
    with pytest.raises(KeyboardInterrupt):
        fill(back, interrupted=True)
    assert (back.drafts, back.known, list(back.draft.parent.iterdir())) == ([True], {}, [])


@pytest.mark.parametrize("error", [None, OperationError("it crashed"), StillWritten("it may go on")])
def test_the_connection_is_left_alone_where_the_installer_could_not_be_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: XmError | None
) -> None:
    """To close one whose libvirtd does not answer would wait for that for ever."""
    closed: list[Toolstack] = []

    def run(*_: object) -> populating.Outcome:
        if error is not None:
            raise error
        return populating.Outcome("off")

    monkeypatch.setattr(populating, "run", run)
    monkeypatch.setattr(Toolstack, "hypervisor", FakeHypervisor())
    monkeypatch.setattr(Toolstack, "close", lambda toolstack: closed.append(toolstack))
    words = [str(tmp_path / "web1.img"), "--size", "1M", "--cdrom", ISO]
    monkeypatch.setattr(populating, "refuse_unfit", lambda *_: None)
    with nullcontext() if error is None else pytest.raises(type(error)):
        populate.main(words, standalone_mode=False)
    assert len(closed) == (0 if isinstance(error, StillWritten) else 1)


def test_a_volume_that_an_installer_may_still_write_is_not_emptied(tmp_path: Path) -> None:
    path = tmp_path / "volume"
    path.write_bytes(b"system")
    with open(path, "r+b") as file, pytest.raises(StillWritten), spoilt_on_failure(file.fileno(), str(path)):
        raise StillWritten("'install-web1' could not be ended")
    assert path.read_bytes() == b"system"


def test_a_draft_that_an_installer_still_writes_is_not_used_again(back: Back) -> None:
    back.draft.write_bytes(b"system".ljust(1 << 20))
    qemu = subprocess.Popen(["qemu-io", "-f", "raw", str(back.draft)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert qemu.stdout is not None
        assert qemu.stdout.read(8) == b"qemu-io>"
        with pytest.raises(ImageInUse, match="QEMU has it open"):
            fill(back)
    finally:
        qemu.communicate(b"quit\n", timeout=10)
    assert back.draft.read_bytes()[:6] == b"system"
    assert back.known == {}
