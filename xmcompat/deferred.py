"""Signals that end a program from outside, put off until what must not be broken off is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def undisturbed() -> Iterator[list[int]]:
    """Inside, such signals are noted in the list that is given; the first is raised at the end.

    They are not blocked: any other thread of the process would take them then, and this one be interrupted all the same.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came  # signals are raised in the main thread alone
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    put_off = [number for number in _ENDING if before[number] not in (signal.SIG_IGN, None)]

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    try:
        for number in put_off:
            signal.signal(number, note)
        yield came
    finally:
        for number in put_off:
            signal.signal(number, before[number])
        if came:
            signal.raise_signal(came[0])
