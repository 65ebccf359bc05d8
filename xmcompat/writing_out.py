"""What a long copy has written is brought to the disk beside it, so that little is left to wait for at its end."""

from __future__ import annotations

import ctypes

_LIBC = ctypes.CDLL(None)
_WRITE = 2


def begin_writing_out(fd: int, start: int, length: int) -> None:
    """Have the kernel write LENGTH bytes at START of the file FD to its disk, and wait for nothing: an ``fsync`` at the end
    of a long copy then has little left to wait for. Where that cannot be done, the ``fsync`` does it all."""
    _LIBC.sync_file_range(fd, ctypes.c_int64(start), ctypes.c_int64(length), _WRITE)
