"""The stream of a connected socket, with TLS or without."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from contextlib import suppress

from xmcompat.migration.streams import CHUNK, ready
from xmcompat.migration.wire import SILENCE


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
                    rest = rest[self._socket.send(rest[:CHUNK]) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(select.POLLOUT, end - time.monotonic())
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN, end - time.monotonic())

    def _wait(self, event: int, seconds: float) -> None:
        if not ready(self._socket.fileno(), event, seconds):
            raise TimeoutError("it takes nothing more")

    def receive(self, seconds: float) -> bytes | None:
        end = time.monotonic() + seconds
        while self._socket.fileno() >= 0:
            event = select.POLLIN
            try:
                with self._turn:
                    return self._socket.recv(CHUNK)
            except (BlockingIOError, ssl.SSLWantReadError):
                event = select.POLLIN
            except ssl.SSLWantWriteError:
                event = select.POLLOUT
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            if not ready(self._socket.fileno(), event, end - time.monotonic()):
                return None
        return b""

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
