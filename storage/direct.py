"""Reading and writing past the host's memory (O_DIRECT) in stretches of any length.

The kernel takes whole sectors of the device alone, of 512 or 4096 bytes; a guest's have 512. What lies beside them in one
of the device's is read and written back, as QEMU does it for its own disks.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Callable

_GRAINS = (512, 4096, 65536)

#: Reads into memory from a place; whether all of it could be.
Fill = Callable[[int, memoryview], bool]
Write = Callable[[int, memoryview], None]


def grain_of(fd: int) -> int:
    """The bytes that FD is read and written in; 1 for one that goes by the host's memory."""
    if not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
        return 1
    for grain in _GRAINS:
        try:
            os.preadv(fd, [_memory(grain)], 0)
            return grain
        except OSError as error:
            if error.errno != errno.EINVAL:
                return grain  # it is read later, and says then what is wrong
    return _GRAINS[-1]


def read(grain: int, offset: int, length: int, fill: Fill) -> bytearray | None:
    """LENGTH bytes; None where FILL has not had them at once."""
    start = offset // grain * grain
    view = _memory(_whole(offset + length, grain) - start)
    return bytearray(view[offset - start :][:length]) if fill(start, view) else None


def write(grain: int, offset: int, data: memoryview, fill: Fill, put: Write) -> None:
    """DATA, with what lies beside it. Not at the same time as another write of what is no whole number of GRAIN."""
    start, end = offset // grain * grain, _whole(offset + len(data), grain)
    view = _memory(end - start)
    if start < offset:
        fill(start, view[:grain])
    if end > offset + len(data) and (end - start > grain or start == offset):
        fill(end - grain, view[-grain:])
    view[offset - start : offset - start + len(data)] = data
    put(start, view)


def _whole(length: int, grain: int) -> int:
    return -(-length // grain) * grain


def _memory(length: int) -> memoryview:
    """In whole pages, as the kernel wants it for what goes past its own."""
    return memoryview(mmap.mmap(-1, max(length, 1)))[:length]
