"""One change of the host's networks at a time: a lock in /run/xmcompat, which goes with the processes that hold it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xmcompat.network.programs import NetworkError

FOLDER = Path("/run/xmcompat")
_FILE = "network.lock"
#: Seconds that a change waits for another one.
PATIENCE = 30.0
_POLL = 0.05

#: What a lock file says of a change that waits for its confirmation.
TRIAL = "trial"


class Lock:
    """Held by a process, and by those that it has forked, until the last of them ends."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def say(self, word: str = "") -> None:
        """Tell those that wait who holds it, and with TRIAL why it may take longer. Raises NetworkError."""
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()} {word}\n".encode(), 0)
        except OSError as error:
            raise NetworkError(f"{FOLDER / _FILE} cannot be written: {error.strerror}") from None

    def leave(self) -> None:
        """Close it in this process alone."""
        with suppress(OSError):
            os.close(self._fd)


@contextmanager
def locked(patience: float = PATIENCE) -> Iterator[Lock]:
    """Hold the lock. Raises NetworkError where it is not to be had within PATIENCE seconds, or not by this user."""
    lock = take(patience)
    try:
        lock.say()
        yield lock
    finally:
        lock.leave()


def take(patience: float = PATIENCE) -> Lock:
    """The lock, once another change has ended. Raises NetworkError: after PATIENCE seconds, and at once for a trial."""
    fd = _opened()
    deadline = time.monotonic() + patience
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return Lock(fd)
            except BlockingIOError:
                _refuse_trial(fd)
            if time.monotonic() >= deadline:
                raise NetworkError(f"process {_holder(fd)[0]} is changing the networks", hint="try again when it has ended")
            time.sleep(_POLL)
    except BaseException:
        os.close(fd)
        raise


def holder() -> tuple[str, str]:
    """The number of the process that is changing the networks now, and TRIAL or ""; both "" where nobody does."""
    try:
        fd = os.open(FOLDER / _FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return "", ""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(fd)
    else:
        return "", ""
    finally:
        os.close(fd)


def was_used() -> bool:
    """Whether anything has changed the networks since the host was started."""
    return (FOLDER / _FILE).exists()


def _opened() -> int:
    try:
        FOLDER.mkdir(mode=0o755, parents=True, exist_ok=True)
        return os.open(FOLDER / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except PermissionError:
        raise NetworkError("only root may change the host's networks") from None
    except OSError as error:
        raise NetworkError(f"{FOLDER / _FILE}: {error.strerror}") from None


def _holder(fd: int) -> tuple[str, str]:
    words = os.pread(fd, 100, 0).decode(errors="replace").split()
    return (words[0] if words else "another"), (words[1] if len(words) > 1 else "")


def _refuse_trial(fd: int) -> None:
    if _holder(fd)[1] == TRIAL:
        raise NetworkError(
            "a change of the networks waits for its confirmation",
            hint="'xmcompat network confirm' keeps it; without that it soon ends",
        )
