"""The streams that a conversation goes over: two ends of pipes, or a connected socket, with TLS or without."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import threading
import time
from contextlib import suppress

from xmcompat.migration.wire import SILENCE

_CHUNK = 1 << 16


def _ready(descriptor: int, event: int, seconds: float) -> bool:
    if descriptor < 0:
        raise OSError(errno.EBADF, "it is closed")
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(max(seconds, 0.0) * 1000))


class PipeStream:
    """What is READ comes from the descriptor, what is sent goes to WRITE. Both are closed with it."""

    def __init__(self, read: int, write: int) -> None:
        self._read = read
        self._write = write
        os.set_blocking(write, False)

    def send(self, data: bytes) -> None:
        end = time.monotonic() + SILENCE
        while data:
            try:
                data = data[os.write(self._write, data[:_CHUNK]) :]
            except BlockingIOError:
                if not _ready(self._write, select.POLLOUT, end - time.monotonic()):
                    raise TimeoutError("it takes nothing more") from None

    def receive(self, seconds: float) -> bytes | None:
        if self._read < 0:
            return b""
        return os.read(self._read, _CHUNK) if _ready(self._read, select.POLLIN, seconds) else None

    def close(self) -> None:
        ends, self._read, self._write = {self._read, self._write}, -1, -1
        for descriptor in ends - {-1}:
            with suppress(OSError):
                os.close(descriptor)


class SocketStream:
    """A connected socket. TLS is not to be used by two threads at once, so that each turn has the lock."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.setblocking(False)
        self._turn = threading.Lock()

    def send(self, data: bytes) -> None:
        end = time.monotonic() + SILENCE
        rest = memoryview(data)
        while rest:
            try:
                with self._turn:
                    rest = rest[self._socket.send(rest[:_CHUNK]) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(select.POLLOUT, end - time.monotonic())
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN, end - time.monotonic())

    def _wait(self, event: int, seconds: float) -> None:
        if not _ready(self._socket.fileno(), event, seconds):
            raise TimeoutError("it takes nothing more")

    def receive(self, seconds: float) -> bytes | None:
        end = time.monotonic() + seconds
        while self._socket.fileno() >= 0:
            event = select.POLLIN
            try:
                with self._turn:
                    return self._socket.recv(_CHUNK)
            except (BlockingIOError, ssl.SSLWantReadError):
                event = select.POLLIN
            except ssl.SSLWantWriteError:
                event = select.POLLOUT
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            if not _ready(self._socket.fileno(), event, end - time.monotonic()):
                return None
        return b""

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
