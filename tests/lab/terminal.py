"""A program at a terminal, for tests of what only happens at one."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
import time
from collections.abc import Sequence
from types import TracebackType


class Terminal:
    """Runs ARGV with a terminal of its own as its controlling terminal. Use it as a context manager.

    ``output`` is all that came so far; ``expect`` goes on behind what it found last.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._fd, slave = pty.openpty()
        self.saved_modes = termios.tcgetattr(slave)
        self._slave = slave
        self.output = b""
        self._seen = 0
        self.process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=self._take_terminal
        )

    @staticmethod
    def _take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def send(self, data: bytes) -> None:
        """Type DATA."""
        os.write(self._fd, data)

    def expect(self, text: bytes, timeout: float = 60.0) -> bytes:
        """Wait for TEXT; returns what came before and with it. Raises AssertionError after TIMEOUT seconds."""
        deadline = time.monotonic() + timeout
        while (place := self.output.find(text, self._seen)) < 0:
            assert self._read(deadline), f"no {text!r} within {timeout} s in {self.output[self._seen :]!r}"
        found = self.output[self._seen : place + len(text)]
        self._seen = place + len(text)
        return found

    def idle(self, timeout: float = 60.0) -> None:
        """Wait until the program sleeps, as one that waits for what is typed. Its echo comes before that, and a signal that
        reaches Python's line editor in between is seen with the next key only."""
        deadline = time.monotonic() + timeout
        before, same = "", 0
        while same < 3:
            assert time.monotonic() < deadline, f"not at rest within {timeout} s: {self.output!r}"
            with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
                now = "".join(line for line in file if line.startswith(("State:", "voluntary_ctxt_switches:")))
            same = same + 1 if now == before and "S (sleeping)" in now else 0
            before = now
            time.sleep(0.02)

    def wait(self, timeout: float = 60.0) -> int:
        """Wait for the program's end, reading on; returns its status."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            self._read(min(deadline, time.monotonic() + 0.05))
            assert time.monotonic() < deadline, f"still running after {timeout} s: {self.output!r}"
        while self._read(time.monotonic() + 0.05):
            continue
        return self.process.returncode

    def modes(self) -> list[object]:
        """The terminal's settings now, to compare with ``saved_modes``."""
        return termios.tcgetattr(self._slave)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            return False  # the last of it has gone
        self.output += data
        return bool(data)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._fd)
        os.close(self._slave)
