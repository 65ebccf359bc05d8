"""A disk made of a table of partitions and the volumes behind them, read and written in place.

What is written to the table, and between the partitions, is kept in memory, and is gone with the server: the table is made
anew at each start. What is written to a volume that is to be read only is refused (EPERM).
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import NamedTuple

from xmcompat.storage import direct
from xmcompat.storage.partitions import Layout

_KEEP_SIZE, _PUNCH_HOLE, _ZERO_RANGE = 1, 2, 16
_UNABLE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV, errno.EINVAL)
_NOT_AT_ONCE = (errno.EAGAIN, errno.EOPNOTSUPP)
_CHUNK = 1 << 20


class OpenVolume(NamedTuple):
    """An open file or block device, the volume of partition NUMBER. One that was opened with O_DIRECT is read and written
    past the host's memory: others may write to it, from another host too."""

    number: int
    fd: int
    readonly: bool


class _Piece(NamedTuple):
    """A stretch of the disk; ``volume`` None for what is made here, with its ``content``, less than three mebibytes."""

    start: int
    length: int
    volume: OpenVolume | None
    content: bytearray


_Part = tuple[_Piece, int, int, int]


class Joined:
    """The disk of LAYOUT. Every operation may raise OSError, and may run in several threads."""

    def __init__(self, layout: Layout, volumes: Sequence[OpenVolume]) -> None:
        self.size = layout.size
        self._pieces = list(_pieces(layout, {volume.number: volume for volume in volumes}))
        self._starts = [piece.start for piece in self._pieces]
        self._volumes = tuple(volumes)
        self._grains = {volume.fd: direct.grain_of(volume.fd) for volume in volumes}
        self._beside = threading.Lock()  # who writes less than a sector of the device reads the rest of it before
        self._libc = ctypes.CDLL(None, use_errno=True)

    @property
    def readonly(self) -> bool:
        return all(volume.readonly for volume in self._volumes)

    def read(self, offset: int, length: int, *, at_once: bool = False) -> bytes | bytearray | None:
        """LENGTH bytes. With AT_ONCE only what needs no waiting, else None."""
        found = self._pieces[bisect_right(self._starts, offset) - 1]
        if found.volume is not None and offset + length <= found.start + found.length:
            return self._read(found.volume.fd, offset - found.start, length, at_once)  # one volume has all of it
        parts = []
        for piece, within, count, _ in self._parts(offset, length):
            if piece.volume is None:
                part: bytes | bytearray | None = piece.content[within : within + count]
            else:
                part = self._read(piece.volume.fd, within, count, at_once)
            if part is None:
                return None
            parts.append(part)
        return b"".join(parts)

    def write(self, offset: int, data: memoryview) -> None:
        parts = list(self._parts(offset, len(data)))
        _refuse_readonly(parts)
        for piece, within, count, at in parts:
            if piece.volume is None:
                piece.content[within : within + count] = data[at : at + count]
            else:
                self._write(piece.volume.fd, within, data[at : at + count])

    def zero(self, offset: int, length: int, *, hole: bool) -> None:
        """Have zeros there; with HOLE space may be given back."""
        parts = list(self._parts(offset, length))
        _refuse_readonly(parts)
        for piece, within, count, _ in parts:
            if piece.volume is None:
                piece.content[within : within + count] = bytes(count)
                continue
            modes = (_PUNCH_HOLE | _KEEP_SIZE, _ZERO_RANGE | _KEEP_SIZE) if hole else (_ZERO_RANGE | _KEEP_SIZE,)
            if not any(self._fallocate(piece.volume.fd, mode, within, count) for mode in modes):
                zeros = memoryview(bytes(min(count, _CHUNK)))
                for done in range(0, count, _CHUNK):
                    self._write(piece.volume.fd, within + done, zeros[: min(_CHUNK, count - done)])

    def trim(self, offset: int, length: int) -> None:
        """Give space back where that can be; elsewhere nothing happens."""
        for piece, within, count, _ in self._parts(offset, length):
            if piece.volume is not None and not piece.volume.readonly:
                self._fallocate(piece.volume.fd, _PUNCH_HOLE | _KEEP_SIZE, within, count)

    def flush(self) -> None:
        """All that was written is on stable storage, of every volume. One that fails does not keep the others."""
        failed: OSError | None = None
        for volume in self._volumes:
            try:
                if not volume.readonly:
                    os.fdatasync(volume.fd)
            except OSError as error:
                failed = error
        if failed is not None:
            raise failed

    def _parts(self, offset: int, length: int) -> Iterator[_Part]:
        """(piece, offset in it, bytes, offset in the request) for each piece that the stretch touches."""
        index, at = bisect_right(self._starts, offset) - 1, 0
        while at < length:
            piece = self._pieces[index]
            within = offset + at - piece.start
            count = min(piece.length - within, length - at)
            if count > 0:
                yield piece, within, count, at
                at += count
            index += 1

    def _read(self, fd: int, offset: int, length: int, at_once: bool) -> bytearray | None:
        if self._grains[fd] > 1:
            return direct.read(self._grains[fd], offset, length, lambda place, view: _fill(fd, place, view, at_once))
        buffer = bytearray(length)
        return buffer if _fill(fd, offset, memoryview(buffer), at_once) else None

    def _write(self, fd: int, offset: int, data: memoryview) -> None:
        grain = self._grains[fd]
        if grain == 1:
            _put(fd, offset, data)
            return
        whole = offset % grain == 0 and len(data) % grain == 0
        with nullcontext() if whole else self._beside:
            direct.write(
                grain, offset, data, lambda place, view: _fill(fd, place, view, False),
                lambda place, view: _put(fd, place, view),
            )  # fmt: skip

    def _fallocate(self, fd: int, mode: int, offset: int, length: int) -> bool:
        """Whether it could be done; False where this volume knows no such thing."""
        result = self._libc.fallocate(
            ctypes.c_int(fd), ctypes.c_int(mode), ctypes.c_int64(offset), ctypes.c_int64(length)
        )
        if result == 0:
            return True
        number = ctypes.get_errno()
        if number in _UNABLE:
            return False
        raise OSError(number, os.strerror(number))


def _refuse_readonly(parts: Sequence[_Part]) -> None:
    """Before anything is written. Raises PermissionError."""
    for piece, _, _, _ in parts:
        if piece.volume is not None and piece.volume.readonly:
            raise PermissionError(errno.EPERM, f"partition {piece.volume.number} can only be read")


def _pieces(layout: Layout, volumes: dict[int, OpenVolume]) -> Iterator[_Piece]:
    """All of the disk, in its order and without gaps."""
    at = 0
    for slot in layout.slots:
        yield _made(layout, at, slot.start)
        yield _Piece(slot.start, slot.length, volumes[slot.number], bytearray())
        at = slot.start + slot.length
    yield _made(layout, at, layout.size)


def _made(layout: Layout, start: int, end: int) -> _Piece:
    content = bytearray()
    for offset, table in layout.tables:
        if start <= offset < end:
            content += bytes(offset - start - len(content)) + table
    return _Piece(start, end - start, None, content.ljust(end - start, b"\0"))


def _fill(fd: int, offset: int, view: memoryview, at_once: bool) -> bool:
    """Read into VIEW; False where AT_ONCE not all of it could be."""
    length, done = len(view), 0
    try:
        while done < length:
            count = os.preadv(fd, [view[done:]], offset + done, os.RWF_NOWAIT if at_once else 0)
            if count == 0:
                break  # it has become shorter: the rest is zero
            done += count
            if at_once and done < length:
                return False
    except OSError as error:
        if at_once and error.errno in _NOT_AT_ONCE:
            return False
        raise
    return True


def _put(fd: int, offset: int, data: memoryview) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)
