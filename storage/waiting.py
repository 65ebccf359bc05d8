"""Waiting for a device node: udev or the kernel makes it, some time after the program that asked for it has ended."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress

from xmcompat.storage.programs import StorageError, run

#: Where udev listens, while it runs.
UDEV = "/run/udev/control"

_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


def wait_for(path: str, deadline: float, tries: Callable[[], object] | None = None) -> None:
    """Return once PATH leads to a block device, within DEADLINE seconds.

    TRIES is what brings it nearer (a scan, a discovery): called at once where the device is not there, and again after each
    pause. What it raises ends the wait. Where udev runs, it may first finish what it has in hand, and makes its links.
    Raises StorageError where the device does not appear.
    """
    end = time.monotonic() + deadline
    pause = _PAUSE
    while not is_device(path):
        if tries:
            tries()
        left = end - time.monotonic()
        settle(path, left)
        if is_device(path):
            return
        if left <= 0:
            raise StorageError(f"{path} is not there after {deadline:g} seconds")
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)


def settle(path: str, deadline: float) -> None:
    """Let udev finish what it has in hand, until PATH is there, for DEADLINE seconds. At once where no udev runs."""
    whole = int(deadline)
    if whole > 0 and os.path.exists(UDEV):
        with suppress(StorageError):
            run(["udevadm", "settle", f"--timeout={whole}", f"--exit-if-exists={path}"], deadline=whole + 2)


def is_device(path: str) -> bool:
    """Whether PATH leads to a block device."""
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False
