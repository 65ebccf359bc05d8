"""The checksum of a guest's image: CRC-32 over all that stands behind libvirt's own header, which changes at the end.

It is computed beside the image's being written, in a thread, for what was written a moment ago is in the page cache; and
just before parts of it are passed on to QEMU.
While QEMU writes, that thread gives way to whoever else wants a processor. libvirt's images have no checksum of their own.

What it has come past is sent to the disk at once. libvirt would have all of it written only when QEMU has ended; the disk
works meanwhile now, and less is left to wait for than the checksum takes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress

from xmcompat.migration.crc32 import Buffer
from xmcompat.writing_out import begin_writing_out

#: Bytes of one step: few enough that they are still in the processor's cache for the second look at them.
_CHUNK = 256 << 10
#: Bytes that the disk is asked for at a time, well before they are read: QEMU, which reads the same, finds them there.
_AHEAD = 32 << 20
#: Bytes of which the first and the last tell whether all of them are in memory: each look holds up whoever begins the
#: restore meanwhile.
_LOOKED_AT = 4 << 20
#: Bytes of a file that grows which are sent to the disk at a time.
_OUT = 8 << 20
#: Seconds between two looks at a file that grows.
_LOOK = 0.02
#: By how much less than others the thread is to run while the file grows (nice).
_MODEST = 10
#: An end beyond any file's.
_NEVER = 1 << 62


class Checksum:
    """That of SPANS of the file at PATH, (start, end) in bytes. It waits for nobody: ``stop`` it, or ask for ``result``.

    Raises OSError.
    """

    def __init__(self, path: str, spans: Sequence[tuple[int, int]]) -> None:
        self._path = path
        self._spans = tuple(spans)
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._stopped = False
        self._crc = 0
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="checksum", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._compute()
        except OSError as error:
            self._error = error

    def _compute(self) -> None:
        buffer = Buffer(_CHUNK)
        for count in _read(self._handle, self._spans, buffer.view):
            self._crc = buffer.crc32(count, self._crc)
            if self._stopped:
                return

    def unwanted(self) -> None:
        """Nobody wants it any more; waits for nothing. May be repeated."""
        self._stopped = True

    def stop(self) -> None:
        """Nobody wants it any more; waits for a disk that is being written to. May be repeated."""
        self.unwanted()
        self._thread.join()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def result(self) -> int:
        """Waits for it. Raises OSError."""
        self._thread.join()
        self.stop()
        if self._error is not None:
            raise self._error
        return self._crc


class FlowingChecksum(Checksum):
    """That of a file of which somebody passes on all of SPANS, in this order, and says before of each part that it
    ``flows``.

    It is counted then, and is in the processor's cache for whoever reads it next: beside that it would hinder them for
    longer. The disk is asked for what comes, from the beginning on. Where nobody passes the file on, say ``beside``.
    """

    def __init__(self, path: str, spans: Sequence[tuple[int, int]]) -> None:
        self._buffer = Buffer(_CHUNK)
        self._rest = list(spans)
        self._other: Checksum | None = None
        super().__init__(path, spans)

    def _compute(self) -> None:
        scratch = memoryview(bytearray(_CHUNK))
        for start, end in self._spans:
            self._fetch(start, end, scratch)

    def _fetch(self, place: int, end: int, scratch: memoryview) -> None:
        """Have the kernel read from PLACE to END, as far as the file goes, as fast as the disk gives it.

        All that is not there is read: what is asked of the disk at a time, the kernel may cut to less. A piece is taken for
        there by its first byte and its last.
        """
        asked = place
        while place < end and not self._stopped:
            last = min(place + _LOOKED_AT, end)
            if _is_there(self._handle, place) and _is_there(self._handle, last - 1):
                place = last
            while place < last:
                if asked - place < _AHEAD and asked < end:
                    asked = max(asked, place)
                    os.posix_fadvise(self._handle, asked, min(_AHEAD, end - asked), os.POSIX_FADV_WILLNEED)
                    asked += _AHEAD
                count = os.preadv(self._handle, [scratch[: last - place]], place)
                if not count or self._stopped:
                    return
                place += count

    def flows(self, place: int, end: int) -> None:
        """Count what is next in SPANS, where the bytes from PLACE to END have it. Raises OSError."""
        while self._rest and place <= self._rest[0][0] < end:
            start, stop = self._rest[0]
            last = min(stop, end)
            for count in _pieces(self._handle, start, last, self._buffer.view):
                self._crc = self._buffer.crc32(count, self._crc)
                start += count
            if start < last:
                self._rest[0] = start, stop
                return
            self._rest[:1] = [(last, stop)] if last < stop else []

    def beside(self) -> None:
        """Count all of it in a thread. Raises OSError."""
        self._other = Checksum(self._path, self._spans)

    def unwanted(self) -> None:
        super().unwanted()
        if self._other is not None:
            self._other.unwanted()

    def stop(self) -> None:
        super().stop()
        if self._other is not None:
            self._other.stop()

    def result(self) -> int:
        """Waits for it; what did not flow is read. Raises OSError."""
        if self._other is not None:
            return self._other.result()
        for count in _read(self._handle, self._rest, self._buffer.view):
            self._crc = self._buffer.crc32(count, self._crc)
        self._rest = []
        self.stop()
        return self._crc


class GrowingChecksum(Checksum):
    """That of a file which is being written, from byte START on."""

    def __init__(self, path: str, start: int) -> None:
        self._start = self._place = start
        self._over = threading.Event()
        super().__init__(path, ((start, _NEVER),))

    def _compute(self) -> None:
        own = os.getpriority(os.PRIO_PROCESS, 0)
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(own + _MODEST, 19))
        buffer = Buffer(_CHUNK)
        is_modest, sent = True, self._place
        while not self._stopped:
            whole = self._over.is_set()  # before the look
            if whole and is_modest:
                is_modest = False
                with suppress(OSError):
                    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), own)
            count = os.preadv(self._handle, [buffer.view], self._place)
            self._crc = buffer.crc32(count, self._crc)
            self._place += count
            if is_modest and self._place - sent >= _OUT:
                begin_writing_out(self._handle, sent, self._place - sent)
                sent = self._place
            if not count:
                if whole:
                    return
                self._over.wait(_LOOK)

    def unwanted(self) -> None:
        super().unwanted()
        self._over.set()

    def whole(self, *, anew: bool = False) -> int:
        """The checksum of the file, which is whole now. ANEW: what was read while it grew may have changed since.

        Raises OSError.
        """
        self._over.set()
        self._thread.join()
        try:
            now = os.stat(self._path)
            mine = os.fstat(self._handle)
            same = (now.st_dev, now.st_ino) == (mine.st_dev, mine.st_ino) and now.st_size == max(self._place, self._start)
        finally:
            self.stop()
        if self._error is not None:
            raise self._error
        return self._crc if same and not anew else of_file(self._path, ((self._start, _NEVER),))


def _read(handle: int, spans: Sequence[tuple[int, int]], buffer: memoryview) -> Iterator[int]:
    """What is in SPANS, piece after piece, as far as the file goes: how many bytes BUFFER has of it. Raises OSError."""
    for start, end in spans:
        place = asked = start
        while place < end:
            if asked - place < _AHEAD and asked < end:
                os.posix_fadvise(handle, asked, min(_AHEAD, end - asked), os.POSIX_FADV_WILLNEED)
                asked += _AHEAD
            count = os.preadv(handle, [buffer[: end - place]], place)
            if not count:
                break
            yield count
            place += count


def _pieces(handle: int, place: int, end: int, buffer: memoryview) -> Iterator[int]:
    """The same of what is between PLACE and END, with nothing asked of the disk before."""
    while place < end and (count := os.preadv(handle, [buffer[: end - place]], place)):
        yield count
        place += count


def _is_there(handle: int, place: int) -> bool:
    """Whether the byte at PLACE is in the memory of this host; not so where the file system does not tell."""
    try:
        return os.preadv(handle, [bytearray(1)], place, os.RWF_NOWAIT) > 0
    except OSError:
        return False


def of_file(path: str, spans: Sequence[tuple[int, int]]) -> int:
    """The checksum of SPANS of the file at PATH. Raises OSError."""
    crc = 0
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        buffer = Buffer(_CHUNK)
        for count in _read(handle, spans, buffer.view):
            crc = buffer.crc32(count, crc)
    finally:
        os.close(handle)
    return crc
