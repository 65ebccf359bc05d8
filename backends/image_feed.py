"""The part of a file behind its header, for a program that only takes an image from its first byte on."""

from __future__ import annotations

import fcntl
import os
import select
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: Seconds between two looks whether somebody has opened the pipe, or it is to be closed.
_LOOK = 0.001
#: Seconds of rest beside a full pipe, at first, at least and at most: who comes at each free page is woken too often, and
#: who comes late finds a reader that waits.
_REST, _SHORTEST_REST, _LONGEST_REST = 0.0001, 0.00002, 0.001
_CHUNK = 1 << 20
#: Bytes that a pipe may hold, the most that the kernel grants of them: without a privilege it is the last, or less.
_SIZES = (16 << 20, 4 << 20, 1 << 20)
_SET_PIPE_SIZE, _GET_PIPE_SIZE = 1031, 1032


class Feed:
    """A named pipe through which the file at SOURCE flows from byte OFFSET on, once somebody reads it.

    ``path`` is its name, gone as soon as it has been opened. Raises OSError where no pipe can be made.
    """

    def __init__(self, source: str, offset: int) -> None:
        self._offset = offset
        self._stopped = threading.Event()
        self.opened = False
        self._handle = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.path = _pipe(source)
        except BaseException:
            os.close(self._handle)
            raise
        self._thread = threading.Thread(target=self._run, name="image-feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Whoever still reads has come to the end."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        target = None
        try:
            target = self._opened()
            if target is not None:
                self._flow(target)
        except OSError:
            return  # the reader has had enough, or the file cannot be read: it will tell
        finally:
            self._unlink()
            os.close(self._handle)
            if target is not None:
                os.close(target)

    def _opened(self) -> int | None:
        """The pipe, once it has a reader; None when it is to be closed before that."""
        while not self._stopped.is_set():
            try:
                target = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                self._stopped.wait(_LOOK)
                continue
            self.opened = True
            self._unlink()
            return target
        return None

    def _unlink(self) -> None:
        try:
            os.unlink(self.path)
        except OSError:
            return

    def _flow(self, target: int) -> None:
        size, place, rest, rested = _enlarged(target), self._offset, _REST, False
        while not self._stopped.is_set():
            try:
                count = os.splice(self._handle, target, _CHUNK, offset_src=place)
            except BlockingIOError:
                if rested:
                    select.select([], [target], [], 0.1)
                else:
                    time.sleep(rest)
                rested = not rested
                continue
            if count == 0:
                return
            if rested:
                rest = next_rest(rest, count, min(size, _CHUNK))
            place, rested = place + count, False


def next_rest(rest: float, taken: int, most: int) -> float:
    """Seconds of the next rest, after one of REST seconds that left room for TAKEN bytes of MOST. Pure.

    About half a pipe is to be free then: the reader never waits, and the writer comes seldom.
    """
    if taken * 4 >= most * 3:
        return max(rest / 2, _SHORTEST_REST)
    return min(rest * 1.5, _LONGEST_REST) if taken * 4 < most else rest


def _enlarged(pipe: int) -> int:
    """Have PIPE hold as much as it may; how many bytes that are."""
    for size in _SIZES:
        with suppress(OSError):
            return fcntl.fcntl(pipe, _SET_PIPE_SIZE, size)
    return fcntl.fcntl(pipe, _GET_PIPE_SIZE)


def _pipe(source: str) -> str:
    """A new named pipe beside SOURCE, or in the folder for temporary files. Raises OSError."""
    failure: OSError | None = None
    for folder in (os.path.dirname(os.path.abspath(source)), tempfile.gettempdir()):
        path = os.path.join(folder, f".{os.path.basename(source)}.{os.getpid()}-{threading.get_ident():x}.pipe")
        try:
            os.mkfifo(path, 0o600)
            return path
        except OSError as error:
            failure = error
    assert failure is not None
    raise failure


@contextmanager
def tail_copied(source: str, offset: int) -> Iterator[str]:
    """A file with what SOURCE has from byte OFFSET on, for as long as the body runs. Raises OSError."""
    handle, path = tempfile.mkstemp(prefix=f".{os.path.basename(source)}.", dir=os.path.dirname(os.path.abspath(source)))
    try:
        try:
            _copy_tail(source, offset, handle)
        finally:
            os.close(handle)
        yield path
    finally:
        os.unlink(path)


def _copy_tail(source: str, place: int, target: int) -> None:
    """Write to TARGET what SOURCE has from byte PLACE on; where the file system can, blocks are shared. Raises OSError."""
    handle = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # else, and where something is wrong, it is read and written
            while count := os.copy_file_range(handle, target, _CHUNK << 6, place):
                place += count
        while data := os.pread(handle, _CHUNK, place):
            place += os.write(target, data)
    finally:
        os.close(handle)
