"""A target of iSCSI in a place of the lab, which a user and a password open: tgtd."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Protocol

IQN = "iqn.2010-01.com.example:store"
USER, PASSWORD = "alice", "Chap-Secret-77"
PORT = 13260

_numbers = count(os.getpid() % 3000 * 10)


class Inside(Protocol):
    """A node or a place of the lab."""

    def enter(self, argv: Sequence[str]) -> list[str]: ...


class Target:
    """tgtd in PLACE, at ADDRESS, with LUN 1 and so on, the files LUNS; ``end`` it."""

    def __init__(self, place: Inside, luns: Sequence[Path], address: str = "127.0.0.1") -> None:
        self._place = place
        self._luns = luns
        self._portal = f"{address}:{PORT}"
        self._control = str(next(_numbers))  # its socket lies in the host's /run
        self.start()

    def start(self) -> None:
        words = self._place.enter(["tgtd", "-f", "-C", self._control, "--iscsi", f"portal={self._portal}"])
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )  # fmt: skip
        end = time.monotonic() + 30
        while self._tell("sys", "show").returncode:
            assert time.monotonic() < end
            time.sleep(0.05)
        self.tell("target", "new", "--tid", "1", "-T", IQN)
        for number, path in enumerate(self._luns, 1):
            self.tell("logicalunit", "new", "--tid", "1", "--lun", str(number), "-b", str(path))
        self.tell("target", "bind", "--tid", "1", "-I", "ALL")
        self.tell("account", "new", "--user", USER, "--password", PASSWORD)
        self.tell("account", "bind", "--tid", "1", "--user", USER)

    def _tell(self, mode: str, act: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["tgtadm", "-C", self._control, "--lld", "iscsi", "--mode", mode, "--op", act, *words]
        return subprocess.run(self._place.enter(command), capture_output=True, text=True, timeout=20)

    def tell(self, mode: str, act: str, *words: str) -> None:
        done = self._tell(mode, act, *words)
        assert done.returncode == 0, done.stderr

    def end(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        for end in ("", ".lock"):
            Path(f"/run/tgtd/socket.{self._control}{end}").unlink(missing_ok=True)
