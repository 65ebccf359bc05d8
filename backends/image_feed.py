"""Parts of a file one after the other, for a program that only takes an image from its first byte on."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

#: Seconds between two looks whether somebody has opened the pipe, or it is to be closed.
_LOOK = 0.001
#: Seconds in which somebody who has found the pipe's name before it went, and was held up, opens it; and between two looks.
_LATE, _LATE_LOOK = 0.5, 0.01
#: Seconds of rest beside a full pipe, at first, at least and at most: who comes at each free page is woken too often, and
#: who comes late finds a reader that waits.
_REST, _SHORTEST_REST, _LONGEST_REST = 0.0001, 0.00002, 0.001
_CHUNK = 1 << 20
#: Bytes that a pipe may hold, the most that the kernel grants of them: without a privilege it is the last, or less.
_SIZES = (16 << 20, 4 << 20, 1 << 20)
#: Bytes of a file's name that are in the names of those beside it.
_NAME = 200
_SET_PIPE_SIZE, _GET_PIPE_SIZE = 1031, 1032


class Along(Protocol):
    """Reads the parts of an image along, which come one after the other."""

    def flows(self, place: int, end: int) -> None:
        """The bytes of the file from PLACE to END are about to be passed on. Raises OSError, which ends it."""
        ...

    def beside(self) -> None:
        """They are not passed on: it has to read them itself. Raises OSError."""
        ...


class Feed:
    """A named pipe through which SPANS of the file at SOURCE flow, (start, end) in bytes, once somebody reads it.

    ``path`` is its name, gone as soon as it has been opened. ALONG is told of each part before. With TWICE it may be opened
    a second time, and all of it flows again then, from its first byte on; whoever came first has the end then. Raises
    OSError where no pipe can be made.
    """

    def __init__(
        self, source: str, spans: Sequence[tuple[int, int]], along: Along | None = None, *, twice: bool = False,
        after: Feed | None = None,
    ) -> None:  # fmt: skip
        self._source = source
        self._spans = tuple(spans)
        self._along = along
        self._twice = twice
        self._first = after
        self._second: Feed | None = None
        #: Whether somebody has opened it.
        self.opened = False
        self._awaited = True
        self._stopped, self._over = threading.Event(), threading.Event()
        self._handle = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.path: str = _pipe(source) if after is None else _pipe_at(after.path)
            self._thread = threading.Thread(target=self._run, name="image-feed", daemon=True)
            self._begin()
        except BaseException:
            os.close(self._handle)
            raise

    def _begin(self) -> None:
        """Raises OSError where the system has no room for a thread more."""
        try:
            self._thread.start()
        except RuntimeError as error:
            self._unlink()
            raise OSError(errno.EAGAIN, str(error)) from None

    def stop(self, *, over: bool = False) -> None:
        """Whoever still reads has come to the end, also where he only is about to open it; OVER says that nobody is, and
        spares the time to look. May be repeated."""
        self._awaited = not over
        self._stopped.set()
        self._thread.join()
        if self._second is not None:
            self._second.stop(over=over)

    def _run(self) -> None:
        target = None
        try:
            target = self._opened()
            if target is not None:
                self._flow(target)
        except OSError:
            return  # the reader has had enough, or the file cannot be read: it will tell
        finally:
            if self._second is None:
                self._end_waiting()
            os.close(self._handle)
            if target is not None:
                os.close(target)
            self._over.set()

    def _opened(self) -> int | None:
        """The pipe, once it has a reader; None when it is to be closed before that."""
        while not self._stopped.is_set():
            try:
                target = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                self._stopped.wait(_LOOK)
                continue
            try:
                self._unlink()
                self._take_turns()
            except BaseException:
                os.close(target)
                raise
            self.opened = True
            return target
        return None

    def _take_turns(self) -> None:
        """Be ready for who comes after the one that has come, before that has a byte; or have who came before us go."""
        if self._twice:
            self._second = Feed(self._source, self._spans, self._along, after=self)
        if self._first is not None:
            self._first._stopped.set()
            self._first._over.wait()

    def _end_waiting(self) -> None:
        """Nobody can find it any more; whoever is about to open it has the end, instead of waiting for ever."""
        try:
            pipe = os.open(self.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            self._unlink()  # it is gone already, as where it was read, or this process may open no more
            return
        try:
            self._unlink()
            _end_reader(pipe, _LATE if self._awaited else 0)
        finally:
            os.close(pipe)

    def _unlink(self) -> None:
        try:
            os.unlink(self.path)
        except OSError:
            return

    def _flow(self, target: int) -> None:
        size = _enlarged(target)
        for start, end in self._spans:
            if self._flown(target, start, end, size) < end:
                return

    def _flown(self, target: int, place: int, end: int, size: int) -> int:
        """Where it has come to from PLACE on: to END, unless the file is shorter, or it is stopped. SIZE is the pipe's."""
        rest, rested, told = _REST, False, place
        while place < end and not self._stopped.is_set():
            most = min(place + _CHUNK, end)
            if self._along is not None and told < most:
                self._along.flows(told, most)
                told = most
            try:
                count = os.splice(self._handle, target, most - place, offset_src=place)
            except BlockingIOError:
                if rested:
                    select.select([], [target], [], 0.1)
                else:
                    time.sleep(rest)
                rested = not rested
                continue
            if count == 0:
                return place
            if rested:
                rest = next_rest(rest, count, min(size, _CHUNK))
            place, rested = place + count, False
        return place


def _end_reader(pipe: int, seconds: float) -> None:
    """Have whoever waits at the PIPE, or comes there within SECONDS, find its end. He waits for another who opens it for
    writing, and who was there before him does not count: the kernel lets one after the other in, in any order."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            os.close(os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            return
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() >= deadline:  # it has no reader
                return
        time.sleep(_LATE_LOOK)


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
    try:
        return _pipe_in(os.path.dirname(os.path.abspath(source)), source)
    except OSError:
        return _pipe_in(tempfile.gettempdir(), source)  # which is looked for at the first call


def _pipe_in(folder: str, source: str) -> str:
    return _pipe_at(os.path.join(folder, f"{_hidden(source)}{os.getpid()}-{threading.get_ident():x}.pipe"))


def _pipe_at(path: str) -> str:
    os.mkfifo(path, 0o600)
    return path


def _hidden(source: str) -> str:
    """What the name of a file beside SOURCE begins with: its own name, as text that libvirt takes, as far as there is room
    for more behind it."""
    return f".{os.fsencode(os.path.basename(source))[:_NAME].decode('utf-8', 'ignore')}."


@contextmanager
def copied(source: str, spans: Sequence[tuple[int, int]]) -> Iterator[str]:
    """A file with SPANS of SOURCE, for as long as the body runs. Raises OSError."""
    handle, path = tempfile.mkstemp(prefix=_hidden(source), dir=os.path.dirname(os.path.abspath(source)))
    try:
        try:
            _copy(source, spans, handle)
        finally:
            os.close(handle)
        yield path
    finally:
        os.unlink(path)


def _copy(source: str, spans: Sequence[tuple[int, int]], target: int) -> None:
    """Write SPANS of SOURCE to TARGET; where the file system can, blocks are shared. Raises OSError."""
    handle = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for place, end in spans:
            with suppress(OSError):  # else, and where something is wrong, it is read and written
                while count := os.copy_file_range(handle, target, min(_CHUNK << 6, end - place), place):
                    place += count
            while place < end and (data := os.pread(handle, min(_CHUNK, end - place), place)):
                place += os.write(target, data)
    finally:
        os.close(handle)
