"""Signals that end a program only after its host and its terminal are as they were."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal came; the program is to clean up, and then to die of it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def raised() -> Iterator[None]:
    """Inside, a signal that would end the program raises Ended."""

    def handle(number: int, _frame: FrameType | None) -> None:
        raise Ended(number)

    old = {number: signal.signal(number, handle) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def noted() -> Iterator[tuple[int, list[int]]]:
    """Inside, a signal that would end the program is only noted.

    Gives a file descriptor that can be read once a signal has come, for a loop that waits in C and would not see it,
    and the list of the signals that came.
    """
    came: list[int] = []
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    old_wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    old = {number: signal.signal(number, lambda number, _frame: came.append(number)) for number in ENDING}
    try:
        yield reader, came
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(old_wakeup)
        os.close(reader)
        os.close(writer)


def die_of(number: int) -> None:
    """End this process by signal NUMBER, as if nothing had handled it: a shell sees 128 + NUMBER."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
