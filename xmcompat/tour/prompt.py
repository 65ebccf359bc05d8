"""Types commands as a person at a root prompt would, and shows what they say."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from xmcompat.errors import XmError

#: How long a command that is told to stop may take to tidy up, in seconds.
TIDY_SECONDS = 30.0

#: Sequences that move a terminal's cursor or ask it something. What is shown here is text alone.
_ESCAPES = re.compile(rb"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>78])")
_UNFINISHED = re.compile(rb"\x1b(\[[0-9;?]*|[()])?$")


class StepFailed(XmError):
    """A command of the tour did not do what it should."""


class Prompt:
    """Where commands are typed. All that is shown is also written to the file LOG."""

    def __init__(self, log: Path, *, program: Sequence[str], environ: Mapping[str, str], out: TextIO = sys.stdout) -> None:
        """PROGRAM is what runs where ``xm`` is typed; ENVIRON is added to the environment."""
        self._program = list(program)
        self._environ = {**os.environ, **environ}
        self._out = out
        self._log = open(log, "ab")  # noqa: SIM115 - closed by close()
        self._since = time.monotonic()

    def close(self) -> None:
        self._log.close()

    def say(self, text: str) -> None:
        """A line of the tour itself, with the seconds since its beginning."""
        self.show(f"\n[{time.monotonic() - self._since:5.1f} s] {text}\n")

    def show(self, text: str) -> None:
        """What appears on the screen, as it is."""
        self.note(text)
        self._out.write(text)
        self._out.flush()

    def note(self, text: str) -> None:
        """For the log alone."""
        self._log.write(text.encode(errors="replace"))
        self._log.flush()

    def xm(self, *words: str, seconds: float) -> str:
        """Type ``xm WORDS``, show and return what it says. Raises StepFailed after SECONDS or for a bad status."""
        self.show(f"# xm {' '.join(words)}\n")
        with Running([*self._program, *words], self._environ, self.show) as running:
            running.wait(time.monotonic() + seconds, _title(words))
            return running.output.decode(errors="replace")

    def console(self, domain: str, answers: Sequence[tuple[str, str]], *, seconds: float) -> str:
        """Type ``xm console DOMAIN``; wait for each text and type the answer to it, at last Ctrl-].

        Returns what the guest said. Raises StepFailed after SECONDS, or where the guest ends or falls silent.
        """
        words = ("console", domain)
        self.show(f"# xm {' '.join(words)}\n")
        deadline = time.monotonic() + seconds
        with Running([*self._program, *words], self._environ, self.show, terminal=True) as running:
            for expected, answer in answers:
                running.expect(expected.encode(), deadline, _title(words))
                running.send(answer.encode())
            running.wait(deadline, _title(words))
            return running.output.decode(errors="replace")


def _title(words: Sequence[str]) -> str:
    return f"xm {' '.join(words)}"


class Running:
    """A program that runs in a session of its own, so that Ctrl-C reaches it only through us.

    With TERMINAL it has a terminal for input and output. Use it as a context manager: what still runs at its end is
    told to stop (as by Ctrl-C), given time to tidy up, and killed if it takes too long.
    """

    def __init__(
        self, argv: Sequence[str], environ: Mapping[str, str], show: Callable[[str], None], *, terminal: bool = False
    ) -> None:
        self.output = b""
        self._shown = b""
        self._seen = 0
        self._show = show
        self._fd, theirs = os.openpty() if terminal else os.pipe()
        self._process = subprocess.Popen(
            argv, stdin=theirs if terminal else subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environ,
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)

    def send(self, data: bytes) -> None:
        os.write(self._fd, data)

    def expect(self, text: bytes, deadline: float, title: str) -> None:
        """Wait for TEXT behind what was found last. Raises StepFailed."""
        while (place := self.output.find(text, self._seen)) < 0:
            if not self._read(deadline):
                shown = text.decode(errors="replace").strip()
                raise StepFailed(f"'{title}' has not shown '{shown}'")
        self._seen = place + len(text)

    def wait(self, deadline: float, title: str) -> None:
        """Wait for the end. Raises StepFailed at DEADLINE and for a status that is not 0."""
        while self._read(deadline):
            continue
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(deadline - time.monotonic(), 0.1))
        status = self._process.poll()
        if status is None:
            raise StepFailed(f"'{title}' has not ended in time")
        if status != 0:
            raise StepFailed(f"'{title}' failed with status {status}")

    def _read(self, deadline: float) -> bool:
        """Read and show some output; False at its end and at the deadline."""
        waiting = select.poll()  # takes descriptors of any number
        waiting.register(self._fd, select.POLLIN)
        if not waiting.poll(max(deadline - time.monotonic(), 0) * 1000):
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            data = b""  # so a terminal tells that nobody has it open any more
        self._shown += data
        unfinished = _UNFINISHED.search(self._shown) if data else None
        cut = unfinished.start() if unfinished else len(self._shown)
        text = _ESCAPES.sub(b"", self._shown[:cut]).replace(b"\r\n", b"\n").replace(b"\r", b"")
        self._shown = self._shown[cut:]
        self.output += text
        if text:
            self._show(text.decode(errors="replace"))
        return bool(data)

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in (signal.SIGINT, signal.SIGKILL):
            if self._process.poll() is not None:
                break
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(TIDY_SECONDS)
        os.close(self._fd)
