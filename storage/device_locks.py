"""The lock by which a block device is one program's alone while it is filled: flock, on the device's own file.

udev and systemd hold to it as well (https://systemd.io/BLOCK_DEVICE_LOCKING): who looks at a device takes it shared, for a
moment, and who changes what is on it takes it alone. QEMU does not know it. What a program has locked for what it starts,
such as flock or "udevadm lock", is free for that.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from xmcompat.storage import looking
from xmcompat.storage.programs import StorageError

#: Seconds in which those have gone that only look.
PATIENCE = 2.0
_PAUSE = 0.05
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def take(fd: int) -> bool:
    """Have the device that is open as FD alone, until that is closed; False where another program goes on using it."""
    return _taken(fd, fcntl.LOCK_EX)


def filled_by(path: str, deadline: float = looking.DEADLINE) -> str:
    """Who has the device at PATH alone, in words; "" where nobody has, and for one that cannot be opened, or not within
    DEADLINE seconds. It is looked at for as long as it takes to know, however little of that is left."""
    try:
        kept = looking.answered(path, lambda: _is_kept(path), max(deadline, PATIENCE + 1.0))
    except (OSError, ValueError):
        return ""
    return _named(path) if kept else ""


@contextmanager
def taken(path: str) -> Iterator[None]:
    """The device at PATH is this process's alone while the body runs. Raises StorageError where another has it, OSError."""
    fd = os.open(path, _FLAGS)
    try:
        if not take(fd):
            raise StorageError(f"{path} is being filled, or changed, by {_named(path)}", hint="wait for it")
        yield
    finally:
        os.close(fd)


def _is_kept(path: str) -> bool:
    fd = os.open(path, _FLAGS)
    try:
        return not _taken(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def _taken(fd: int, how: int) -> bool:
    from xmcompat.storage.processes import handed_down

    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(fd, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if handed_down(os.fstat(fd)):
                return True
            if time.monotonic() > end:
                return False
        time.sleep(_PAUSE)


def _named(path: str) -> str:
    from xmcompat.storage.processes import locking, named

    return named(locking(path)) or "another process"
