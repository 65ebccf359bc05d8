"""The kernel's messages and libvirt's log."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import pytest

from xmcompat.backends import local_log
from xmcompat.backends.local_log import daemon_log, kernel_log
from xmcompat.errors import HypervisorError

PRINT = (sys.executable, "-c", "print('from the journal')")


class Ring:
    """The kernel's ring, as its library shows it; keeps what was asked."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[int] = []

    def __call__(self, name: object, use_errno: bool) -> Ring:
        return self

    def klogctl(self, action: int, buffer: object, size: int) -> int:
        self.asked.append(action)
        if action == 10:
            return len(self.data) + 10
        ctypes.memmove(buffer, self.data, len(self.data))  # type: ignore[arg-type]
        return len(self.data)


@pytest.mark.parametrize(("clear", "action"), [(False, 3), (True, 4)])
def test_the_ring_is_shown_without_levels(monkeypatch: pytest.MonkeyPatch, clear: bool, action: int) -> None:
    ring = Ring(b"<6>[    0.000000] Linux version\n<4>[    1.5] a <5> in it\n[    2.0] \xff\n")
    monkeypatch.setattr(ctypes, "CDLL", ring)
    assert kernel_log(clear=clear) == "[    0.000000] Linux version\n[    1.5] a <5> in it\n[    2.0] �\n"
    assert ring.asked == [10, action]


def test_a_kernel_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(Ring):
        def klogctl(self, action: int, buffer: object, size: int) -> int:
            ctypes.set_errno(1)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", Refusing(b""))
    with pytest.raises(HypervisorError) as raised:
        kernel_log()
    assert raised.value.line() == "the kernel's messages cannot be read: Operation not permitted"


def test_the_newest_file_is_the_log(tmp_path: Path) -> None:
    old, new = tmp_path / "old.log", tmp_path / "new.log"
    old.write_text("old\n")
    new.write_bytes(b"new \xff\n")
    os.utime(old, (1, 1))
    assert daemon_log((str(new), str(old), str(tmp_path / "none.log")), PRINT) == "new �\n"


def test_else_it_is_the_journal(tmp_path: Path) -> None:
    assert daemon_log((str(tmp_path / "none.log"),), PRINT) == "from the journal\n"


@pytest.mark.parametrize(
    ("journal", "reason"),
    [
        (("/nonexistent/journalctl",), "No such file or directory"),
        ((sys.executable, "-c", "raise SystemExit('first\\nNo journal files were found.')"), "No journal files were found."),
        ((sys.executable, "-c", "raise SystemExit(3)"), "status 3"),
    ],
)
def test_where_there_is_neither(journal: tuple[str, ...], reason: str) -> None:
    with pytest.raises(HypervisorError) as raised:
        daemon_log(("/nonexistent/a.log", "/nonexistent/b.log"), journal)
    places = "/nonexistent/a.log or /nonexistent/b.log"
    assert raised.value.line() == f"there is no log of libvirt: no {places}, and {journal[0]}: {reason}"


def test_a_journal_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_log, "JOURNAL_SECONDS", 0.2)
    with pytest.raises(HypervisorError, match="it does not answer"):
        daemon_log((), (sys.executable, "-c", "import time; time.sleep(30)"))
