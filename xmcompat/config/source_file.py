"""The bytes of a configuration: a file, or what a pipe, a terminal or /dev/null gives until its end.

``xm create <(make-config)``, ``/dev/stdin`` and ``/dev/null`` with variables are in use; none of them may make a program
wait for ever or take all memory.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Callable

from xmcompat.errors import ConfigError

#: Seconds until somebody must have begun to write into a named pipe, and that a writer may be silent.
NO_WRITER, SILENCE = 5.0, 60.0
_TICK = 0.02
_CHUNK = 65536


def read_source(path: str, largest: int, refuse: Callable[[bytes, str], None] = lambda _data, _path: None) -> bytes:
    """What stands at PATH, if it is no more than LARGEST bytes; of more, REFUSE may say what it is by the first of them.

    Raises ConfigError.
    """
    try:
        fd = _opened(path)
        try:
            data = _read(fd, path, largest)
        finally:
            os.close(fd)
    except OSError as error:
        raise ConfigError(error.strerror or "cannot be read", path=path) from None
    except ValueError:
        raise ConfigError("no file can be called that", path=path.replace("\0", "\\0")) from None
    if len(data) > largest:
        refuse(data, path)
        raise ConfigError(f"this is larger than {largest // 1024} KiB: no guest configuration", path=path)
    return data


def _opened(path: str) -> int:
    """A descriptor that never waits. A socket that is standard input (as under sshd) cannot be opened, but copied."""
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        number = re.fullmatch(r"/(?:dev/fd|proc/self/fd)/([0-9]{1,9})|/dev/std(in)", path)
        if error.errno != errno.ENXIO or not number:
            raise
        return os.dup(int(number[1] or 0))


def _read(fd: int, path: str, largest: int) -> bytes:
    """All of it, or one byte more than LARGEST."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode) or stat.S_ISBLK(mode):
        raise ConfigError("Is a directory" if stat.S_ISDIR(mode) else "this is not a file", path=path)
    named_pipe = stat.S_ISFIFO(mode) and not os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:")
    data = b""
    begun = time.monotonic()
    while len(data) <= largest:
        chunk = _some(fd, min(_CHUNK, largest + 1 - len(data)))
        if chunk:
            data += chunk
            begun = time.monotonic()
            continue
        nobody = chunk == b""
        if nobody and (data or not named_pipe):
            break
        if time.monotonic() - begun > (NO_WRITER if nobody else SILENCE) and not os.isatty(fd):
            what = "nobody writes into this pipe" if nobody else f"nothing has come from it for {SILENCE:.0f} seconds"
            raise ConfigError(what, path=path)
        time.sleep(_TICK)
    return data


def _some(fd: int, size: int) -> bytes | None:
    """What can be read now; b"" at the end, None where there may be more later."""
    blocking = os.get_blocking(fd)
    try:
        if blocking:  # a copy of somebody else's
            os.set_blocking(fd, False)
        return os.read(fd, size)
    except BlockingIOError:
        return None
    finally:
        if blocking:
            os.set_blocking(fd, True)
