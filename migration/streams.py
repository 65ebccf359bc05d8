"""The stream that a conversation goes over: two ends of pipes. That of a connected socket is in ``sockets``."""

from __future__ import annotations

import errno
import os
import select
import time
from contextlib import suppress

from xmcompat.migration.wire import SILENCE

#: Bytes that are read, or written, at once.
CHUNK = 1 << 16


def ready(descriptor: int, event: int, seconds: float) -> bool:
    """Whether the DESCRIPTOR has the EVENT of poll(2) within SECONDS. Raises OSError where it is closed."""
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
                data = data[os.write(self._write, data[:CHUNK]) :]
            except BlockingIOError:
                if not ready(self._write, select.POLLOUT, end - time.monotonic()):
                    raise TimeoutError("it takes nothing more") from None

    def receive(self, seconds: float) -> bytes | None:
        if self._read < 0:
            return b""
        return os.read(self._read, CHUNK) if ready(self._read, select.POLLIN, seconds) else None

    def close(self) -> None:
        ends, self._read, self._write = {self._read, self._write}, -1, -1
        for descriptor in ends - {-1}:
            with suppress(OSError):
                os.close(descriptor)
