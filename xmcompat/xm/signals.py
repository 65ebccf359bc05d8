"""Signals that end a program only after its host and its terminal are as they were."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
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
    """Inside, the first signal that would end the program raises Ended.

    Those that follow are ignored, so that cleaning up is not cut short: a session that is lost sends several.
    """
    came: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        if len(came) == 1:
            raise Ended(number)

    _load_lxml()
    with _handled(handle):
        yield


def _load_lxml() -> None:
    """Load it while signals wait: its code in C throws away whatever a handler raises meanwhile, and the domain would start
    all the same."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        from lxml import etree  # noqa: F401
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def noted() -> Iterator[tuple[int, list[int]]]:
    """Inside, a signal that would end the program is only noted.

    Gives a file descriptor that can be read once a signal has come, for a loop that waits in C and would not see it,
    and the list of the signals that came.
    """
    came: list[int] = []
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    old_wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        with _handled(lambda number, _frame: came.append(number)):
            yield reader, came
    finally:
        signal.set_wakeup_fd(old_wakeup)
        os.close(reader)
        os.close(writer)


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Signals that are ignored (nohup) stay so."""
    old = {number: signal.getsignal(number) for number in ENDING}
    try:
        for number in ENDING:
            if old[number] is not signal.SIG_IGN:
                signal.signal(number, handler)
        yield
    finally:
        for number, before in old.items():
            signal.signal(number, before)


def die_of(number: int) -> None:
    """End this process by signal NUMBER, as if nothing had handled it: a shell sees 128 + NUMBER."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
