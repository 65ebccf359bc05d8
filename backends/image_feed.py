"""The part of a file behind its header, for a program that only takes an image from its first byte on."""

from __future__ import annotations

import fcntl
import os
import select
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: Seconds between two looks whether somebody has opened the pipe, or it is to be closed.
_LOOK = 0.01
_CHUNK = 1 << 20
_SET_PIPE_SIZE = 1031


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
        with suppress(OSError):  # else it is as large as it is
            fcntl.fcntl(target, _SET_PIPE_SIZE, _CHUNK)
        place = self._offset
        while not self._stopped.is_set():
            try:
                count = os.splice(self._handle, target, _CHUNK, offset_src=place)
            except BlockingIOError:
                select.select([], [target], [], 0.1)
                continue
            if count == 0:
                return
            place += count


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
        with open(source, "rb", buffering=0) as file, open(handle, "wb", buffering=0) as copy:
            file.seek(offset)
            while data := file.read(_CHUNK):
                copy.write(data)
        yield path
    finally:
        os.unlink(path)
