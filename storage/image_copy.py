"""Copies bytes from file to file, holes as holes."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator

from xmcompat.storage.image_programs import ImageError

_PIECE = 8 << 20


def size_of(fd: int) -> int:
    """Bytes of a file or block device."""
    return os.lseek(fd, 0, os.SEEK_END)


def read_at(fd: int) -> Callable[[int, int], bytes]:
    """Reads LENGTH bytes at an offset of FD; fewer at its end. Raises ImageError where the medium, or a damaged image,
    gives none."""

    def read(offset: int, length: int) -> bytes:
        try:
            return os.pread(fd, length, offset) if 0 <= offset < 1 << 62 else b""
        except OSError as error:
            raise _unreadable(offset, error) from None

    return read


def _unreadable(offset: int, error: OSError) -> ImageError:
    return ImageError(f"it cannot be read at {offset} bytes: {error.strerror}")


def data_runs(fd: int, start: int, length: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of what is not a hole; all of it where holes cannot be told."""
    place, end = start, start + length
    while place < end:
        try:
            begin = os.lseek(fd, place, os.SEEK_DATA)
            stop = min(os.lseek(fd, begin, os.SEEK_HOLE), end)
        except OSError as error:
            if error.errno == errno.ENXIO and stat.S_ISREG(os.fstat(fd).st_mode):
                return  # a hole up to the end
            begin, stop = place, end
        if begin >= end:
            return
        yield begin, stop - begin
        place = stop


def copy(
    source: int,
    target: int,
    *,
    start: int = 0,
    length: int | None = None,
    to: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Copy LENGTH bytes at START of SOURCE to the place TO of TARGET, which reads as zeros there.

    PROGRESS gets the bytes that are done. Raises ImageError where SOURCE is shorter.
    """
    length = size_of(source) - start if length is None else length
    for begin, size in data_runs(source, start, length):
        place, end = begin, begin + size
        while place < end:
            done = _piece(source, target, place, to + place - start, min(_PIECE, end - place))
            if not done:
                raise ImageError("the image became shorter while it was read")
            place += done
            progress(place - start)
    progress(length)


def _piece(source: int, target: int, place: int, to: int, length: int) -> int:
    try:
        done = os.copy_file_range(source, target, length, place, to)
        if done:
            return done
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM,
                               errno.EIO):  # fmt: skip
            raise
    data = read_at(source)(place, length)
    if data.count(0) == len(data):
        return len(data)
    written = 0
    while written < len(data):
        written += os.pwrite(target, data[written:], to + written)
    return len(data)
