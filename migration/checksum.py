"""The checksum of a guest's image: CRC-32 over all that stands behind libvirt's own header, which changes at the end.

It is computed in a thread beside the image's being written, or read: what was written a moment ago is in the page cache,
and of two processors one is idle. libvirt's images have no checksum of their own.
"""

from __future__ import annotations

import os
import threading
import zlib

_CHUNK = 1 << 20
#: Bytes that the disk is asked for at a time, well before they are read: QEMU, which reads the same, finds them there.
_AHEAD = 32 << 20
#: Seconds between two looks at a file that grows.
_LOOK = 0.02


class Checksum:
    """That of the file at PATH from byte START on; with GROWING it is not whole yet. Raises OSError.

    It waits for nobody: ``stop`` it, or ask for ``result``.
    """

    def __init__(self, path: str, start: int, *, growing: bool = False) -> None:
        self._path = path
        self._start = start
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._over = threading.Event()
        self._stopped = False
        self._growing = growing
        if not growing:
            self._over.set()
        self._place, self._crc = start, 0
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="checksum", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asked = self._start
        try:
            while not self._stopped:
                whole = self._over.is_set()  # before the look
                if not self._growing:
                    asked = self._ask_ahead(asked)
                data = os.pread(self._handle, _CHUNK, self._place)
                self._crc = zlib.crc32(data, self._crc)
                self._place += len(data)
                if not data:
                    if whole:
                        return
                    self._over.wait(_LOOK)
        except OSError as error:
            self._error = error

    def _ask_ahead(self, asked: int) -> int:
        """Have the disk read on, where what was ASKED for ends soon; how far it was asked for now."""
        if asked - self._place >= _AHEAD:
            return asked
        os.posix_fadvise(self._handle, asked, _AHEAD, os.POSIX_FADV_WILLNEED)
        return asked + _AHEAD

    def stop(self) -> None:
        """Nobody wants it any more. May be repeated."""
        self._stopped = True
        self._over.set()
        self._thread.join()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def result(self, *, anew: bool = False) -> int:
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
        return self._crc if same and not anew else of_file(self._path, self._start)


def of_file(path: str, start: int) -> int:
    """The checksum of the file at PATH from byte START on. Raises OSError."""
    crc, place = 0, start
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        while data := os.pread(handle, _CHUNK, place):
            crc, place = zlib.crc32(data, crc), place + len(data)
    finally:
        os.close(handle)
    return crc
