"""libvirt's event loop, for one thread. Imports no libvirt itself: it is given the module."""

from __future__ import annotations

import time
from _thread import get_ident
from collections.abc import Callable
from typing import ParamSpec, Protocol

P = ParamSpec("P")
READABLE, FAILED, HANGUP = 1, 4, 8
OFF = -1


class Events(Protocol):
    """What is used of the libvirt module."""

    def virEventRegisterDefaultImpl(self) -> int: ...

    def virEventRunDefaultImpl(self) -> int: ...

    def virEventAddHandle(self, fd: int, events: int, cb: Callable[..., None], opaque: object) -> int: ...

    def virEventRemoveHandle(self, watch: int) -> int: ...

    def virEventAddTimeout(self, timeout: int, cb: Callable[..., None], opaque: object) -> int: ...

    def virEventRemoveTimeout(self, timer: int) -> int: ...

    def virEventUpdateTimeout(self, timer: int, timeout: int) -> None: ...


class EventLoop:
    """Make one before the connection that is to use it is opened; there may be several in a process."""

    _registered = False
    #: The thread that runs libvirt's loop, which is one for the whole process, and whether it is running it now.
    _thread = 0
    _running = False

    def __init__(self, libvirt: Events) -> None:
        self._libvirt = libvirt
        if not EventLoop._registered:
            libvirt.virEventRegisterDefaultImpl()
            EventLoop._registered = True
            EventLoop._thread = get_ident()
        self._ran = False
        self._error: BaseException | None = None
        self._broken: Exception | None = None
        self._timer = libvirt.virEventAddTimeout(OFF, self._on_timer, None)

    def _on_timer(self, timer: int, _opaque: object) -> None:
        self._libvirt.virEventUpdateTimeout(timer, OFF)

    def noting(self, callback: Callable[P, None]) -> Callable[P, None]:
        """CALLBACK, so that ``wait`` returns after it ran and raises what it raised."""

        def noted(*args: P.args, **kwargs: P.kwargs) -> None:
            self._ran = True
            try:
                callback(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - libvirt would print and forget it; wait() raises it
                self._error = self._error or error

        return noted

    def fail(self, error: Exception) -> None:
        """Let ``wait`` raise ERROR, now and from now on."""
        self._ran = True
        self._broken = error

    def watch_input(self, fd: int, on_ready: Callable[[], None]) -> Callable[[], None]:
        """Call ON_READY when FD can be read or has ended; the answer stops that, and may be repeated."""
        noted = self.noting(on_ready)
        watch: int | None = self._libvirt.virEventAddHandle(
            fd, READABLE | FAILED | HANGUP, lambda _watch, _fd, _events, _opaque: noted(), None
        )

        def stop() -> None:
            nonlocal watch
            if watch is not None:
                self._libvirt.virEventRemoveHandle(watch)
                watch = None

        return stop

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call CALLBACK once, SECONDS from now or a little later."""
        noted = self.noting(callback)

        def due(timer: int, _opaque: object) -> None:
            self._libvirt.virEventRemoveTimeout(timer)
            noted()

        self._libvirt.virEventAddTimeout(max(int(seconds * 1000), 1), due, None)

    def settle(self) -> None:
        """Let libvirt free what connections that are closed now had in its loop: their sockets stay open until it runs.

        Where it is just running, or another thread runs it, that will do so.
        """
        if EventLoop._running or get_ident() != EventLoop._thread:
            return

        def at_once(timer: int, _opaque: object) -> None:
            self._libvirt.virEventRemoveTimeout(timer)

        self._libvirt.virEventAddTimeout(0, at_once, None)
        self._run()

    def _run(self) -> None:
        EventLoop._running = True
        try:
            self._libvirt.virEventRunDefaultImpl()
        finally:
            EventLoop._running = False

    def wait(self, seconds: float) -> None:
        """Run callbacks until one of them ran or SECONDS have passed; raise what they raised."""
        deadline = time.monotonic() + seconds
        while not self._ran:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._libvirt.virEventUpdateTimeout(self._timer, max(int(left * 1000), 1))
            self._run()
        self._libvirt.virEventUpdateTimeout(self._timer, OFF)
        self._ran = self._broken is not None
        error, self._error = self._error or self._broken, None
        if error is not None:
            raise error
