"""The locks that QEMU takes on its images, taken for what is served to it here: others that open the same are refused.

Source: QEMU's description of image locking (docs/system/images.rst, "Image locking"): bytes of the file stand for what a
program does, and for what it bears of others.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

_DOES, _BEARS_NOT = 100, 200
_READ, _WRITE, _RESIZE = 0, 1, 3
_LOCK = struct.Struct("@hhqqi0q")  # type, from where, offset, length, process
_UNKNOWN = (errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def take(fd: int, *, writable: bool, shareable: bool) -> bool:
    """Lock the open image; False where another program uses it in a way that does not go with this one.

    The locks last as long as the open file, also in a process that inherits it. File systems without locks have none.
    """
    does = (_READ, _WRITE) if writable else (_READ,)
    bears_not = () if shareable else (_WRITE, _RESIZE)
    ours = [*(_DOES + one for one in does), *(_BEARS_NOT + one for one in bears_not)]
    theirs = [*(_BEARS_NOT + one for one in does), *(_DOES + one for one in bears_not)]
    try:
        for byte in ours:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_RDLCK, 0, byte, 1, 0))
        return not any(_is_held(fd, byte) for byte in theirs)
    except OSError as error:
        if error.errno in _UNKNOWN:
            return True
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise


def _is_held(fd: int, byte: int) -> bool:
    """Whether another open file has that byte locked."""
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _LOCK.pack(fcntl.F_WRLCK, 0, byte, 1, 0))
    return bool(_LOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def is_locked(path: str) -> bool:
    """Whether a program holds such locks on the image at PATH, on whichever host where its file system passes locks on.

    False for what cannot be looked at, and for file systems without locks.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return any(_is_held(fd, byte) for base in (_DOES, _BEARS_NOT) for byte in range(base, base + _RESIZE + 1))
    except OSError:
        return False
    finally:
        os.close(fd)
