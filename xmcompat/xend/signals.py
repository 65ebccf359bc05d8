"""The signals of the daemon: noted, and acted on by a loop that waits in C."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """``stop`` and ``reload`` say what was asked for; ``fd`` can be read when something was."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.stop = False
        self._reload = False

    def note(self, number: int, _frame: FrameType | None) -> None:
        if number in ENDING:
            self.stop = True
        else:
            self._reload = True

    def reload(self) -> bool:
        """Whether the settings are to be read anew; once for each time that was asked for."""
        asked, self._reload = self._reload, False
        return asked

    def drain(self) -> None:
        """Let ``fd`` be unreadable until the next signal."""
        try:
            os.read(self.fd, 1024)
        except BlockingIOError:
            return

    def wait(self, seconds: float) -> None:
        """Return when SECONDS have passed or a signal has come."""
        select.select([self.fd], [], [], seconds)
        self.drain()


@contextmanager
def noted() -> Iterator[Signals]:
    """Inside, TERM, INT and HUP are noted, those that were blocked before as well; nothing is blocked any more."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signals = Signals(reader)
    old_wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    numbers = (*ENDING, signal.SIGHUP)
    old = {number: signal.signal(number, signals.note) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        yield signals
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(old_wakeup)
        os.close(reader)
        os.close(writer)
