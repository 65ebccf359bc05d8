"""One change at a time to the devices of a domain, among all processes of this user on this host."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_FILE = "domains.lock"
#: A domain's own byte in the file, by its uuid; what lies so far behind one another hardly ever meets.
_PLACES = 1 << 40


@contextmanager
def locked(uuid: str, environ: Mapping[str, str]) -> Iterator[None]:
    """Have the domain's byte of the lock file. Where no such file can be written, nothing is locked."""
    from xmcompat.backends.accelerator import default_directories  # which loads the machine

    handle = _open(default_directories(environ)[-1])
    if handle is None:
        yield
        return
    try:
        import uuid as uuids

        fcntl.lockf(handle, fcntl.LOCK_EX, 1, uuids.UUID(uuid).int % _PLACES)
        yield
    finally:
        os.close(handle)


def _open(directory: str) -> int | None:
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        return os.open(os.path.join(directory, _FILE), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
