"""One at a time: locks on files, waited for with a deadline, since who has one may be stuck on a server that is away."""

from __future__ import annotations

import fcntl
import time

from xmcompat.storage.programs import StorageError

#: Seconds: longer than whoever brings something up may take (``disk_needs.DEADLINE``).
PATIENCE = 130.0

_PAUSE, _LONGEST_PAUSE = 0.002, 0.1


def take(fd: int, path: str, patience: float = PATIENCE) -> None:
    """Lock the open file FD, which lies at PATH, for this process alone; others have it no longer than PATIENCE seconds.

    Raises StorageError, which names who has it, where they do. The kernel lets go of it when FD is closed.
    """
    end, pause = time.monotonic() + patience, _PAUSE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            left = end - time.monotonic()
            if left <= 0:
                raise _kept(path, patience) from None
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _kept(path: str, patience: float) -> StorageError:
    from xmcompat.storage.processes import locking, named

    holders = locking(path)
    who = named(holders) if holders else "a process that is not seen from here"
    hint = f"see what process {holders[0].pid} waits for; end it, and try again" if holders else None
    return StorageError(f"{path} has been locked by {who} for {patience:.0f} s", hint=hint)
