"""One open console: a non-blocking libvirt stream, with what could not be sent yet. Imports no libvirt itself.

A stream is never ended by libvirt's ``abort``: that waits until the guest has read all that was typed, for ever if it
is paused. Instead each console has a connection of its own, and closing that lets go of the console at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

READABLE, WRITABLE, ERROR, HANGUP = 1, 2, 4, 8

#: The most that one callback reads, in bytes: the other consoles and the keyboard want their turn.
CHUNK = 16384


class Stream(Protocol):
    """What is used of libvirt's virStream. ``recv`` and ``send`` give -2 for "not now"; b"" is the end."""

    def recv(self, nbytes: int) -> bytes | int: ...

    def send(self, data: bytes) -> int: ...

    def eventAddCallback(
        self, events: int, callback: Callable[[object, int, object], None], opaque: object
    ) -> int: ...

    def eventUpdateCallback(self, events: int) -> int: ...

    def eventRemoveCallback(self) -> int: ...


class StreamConsole:
    """A console that is open until ``close``, or until ON_END was called with the reason (None: it just ended)."""

    def __init__(
        self, stream: Stream, failure: type[Exception], on_data: Callable[[bytes], None],
        on_end: Callable[[str | None], None], release: Callable[[], None],
    ) -> None:  # fmt: skip
        """STREAM is connected to a console already; FAILURE is the exception that its methods raise; RELEASE closes
        its connection."""
        self._stream: Stream | None = stream
        self._failure = failure
        self._on_data = on_data
        self._on_end = on_end
        self._release = release
        self._released = False
        self._unsent = b""
        self._events = READABLE | ERROR | HANGUP
        stream.eventAddCallback(self._events, self._on_event, None)

    def send(self, data: bytes) -> None:
        """Send what can be sent now, and the rest as room comes. Silent once the console has ended."""
        if self._stream is not None and data:
            self._unsent += data
            self._flush()

    def close(self) -> None:
        """Let go of it without a word to ON_END. May be repeated; not to be called by ON_DATA or ON_END."""
        self._drop_stream()
        if not self._released:
            self._released = True
            self._release()

    def end(self, reason: str | None) -> None:
        """The other end has gone: say so once. ``close`` is still due."""
        if self._stream is not None:
            self._drop_stream()
            self._on_end(reason)

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                stream.eventRemoveCallback()
            except self._failure:
                return  # the connection has gone already

    def _on_event(self, _stream: object, events: int, _opaque: object) -> None:
        if events & WRITABLE:
            self._flush()
        if events & (READABLE | ERROR | HANGUP):
            self._receive()

    def _receive(self) -> None:
        if self._stream is None:
            return
        try:
            data = self._stream.recv(CHUNK)
        except self._failure:
            self.end("somebody else has taken the console, or the connection to it was lost")
            return
        if isinstance(data, int):
            return  # nothing there now
        if data:
            self._on_data(data)
        else:
            self.end(None)

    def _flush(self) -> None:
        assert self._stream is not None or not self._unsent
        while self._stream is not None and self._unsent:
            try:
                sent = self._stream.send(self._unsent)
            except self._failure:
                self._unsent = b""
                self.end("the connection to the console was lost")
                return
            if sent < 0:
                break
            self._unsent = self._unsent[sent:]
        self._want_writable(bool(self._unsent))

    def _want_writable(self, wanted: bool) -> None:
        events = READABLE | ERROR | HANGUP | (WRITABLE if wanted else 0)
        if self._stream is not None and events != self._events:
            self._events = events
            self._stream.eventUpdateCallback(events)
