"""One change at a time to the devices of a domain, among all processes of this user on this host."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_FILE = "domains.lock"
#: A domain's own byte in the file, by its uuid; what lies so far behind one another hardly ever meets.
_PLACES = 1 << 40
#: Seconds between two tries of who waits for a while only.
_PAUSE = 0.02


@contextmanager
def locked(uuid: str, environ: Mapping[str, str], *, patience: float | None = None) -> Iterator[None]:
    """Have the domain's byte of the lock file. Where no such file can be written, nothing is locked.

    Raises BlockingIOError where another process has it for PATIENCE seconds; None waits for ever.
    """
    from xmcompat.backends.accelerator import default_directories  # which loads the machine

    handle = _open(default_directories(environ)[-1])
    if handle is None:
        yield
        return
    try:
        import uuid as uuids

        place = uuids.UUID(uuid).int % _PLACES
        if patience is None:
            fcntl.lockf(handle, fcntl.LOCK_EX, 1, place)
        else:
            _take(handle, place, patience)
        yield
    finally:
        os.close(handle)


def _take(handle: int, place: int, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            return
        except (BlockingIOError, PermissionError):  # of POSIX's two ways to say it
            if time.monotonic() > deadline:
                raise BlockingIOError from None
        time.sleep(_PAUSE)


def _open(directory: str) -> int | None:
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        return os.open(os.path.join(directory, _FILE), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
