"""What libvirt tells by itself: the consoles and events of LibvirtKvm, and the connections they have of their own."""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from xmcompat.backends.hypervisor import Console
    from xmcompat.backends.libvirt_translated import Translated
    from xmcompat.errors import XmError


class LibvirtEvents:
    """The part of LibvirtKvm that has callbacks, all of which run inside ``wait_event``."""

    _loop: Any
    _watching: Any
    _watched: int
    _consoles: list[Any]
    _reboot_watchers: list[Callable[[str], None]]

    #: Of the whole process, once there is one: from then on libvirt has all connections in its loop.
    _some_loop: Any = None

    if TYPE_CHECKING:

        @property
        def _libvirt(self) -> Any: ...

        def _open(self) -> Any: ...

        def _lost(self) -> XmError: ...

        def _translated(self, designation: str = "") -> Translated: ...

    def _events(self) -> Any:
        """The event loop, made at first need; connections that are to use it are opened later than it."""
        if self._loop is None:
            from xmcompat.backends.libvirt_events import EventLoop

            self._loop = LibvirtEvents._some_loop = EventLoop(self._libvirt)
        return self._loop

    def _open_with_events(self, on_closed: Callable[[], None]) -> Any:
        """One more connection, for events; when it is lost, ON_CLOSED is called and ``wait_event`` raises."""
        loop = self._events()
        connection = self._open()

        def closed(_connection: object, _reason: int, _opaque: object) -> None:
            loop.fail(self._lost())
            on_closed()

        connection.registerCloseCallback(closed, None)
        return connection

    def _forget_events(self, connection: Any) -> None:
        """Have libvirtd tell events again, before CONNECTION has callbacks for events of domains.

        libvirtd 9.0 may keep an event in its queue where its last callback goes while it tells another. From then on it
        tells none to anybody, until a last callback goes once more, which empties the queue: that of another client, where
        there is one. For a kind of event that no guest here has, so that it is not just being told. May be repeated.
        """
        kind = self._libvirt.VIR_DOMAIN_EVENT_ID_PMSUSPEND_DISK
        connection.domainEventDeregisterAny(connection.domainEventRegisterAny(None, kind, lambda *_: None, None))

    def _let_go(self, connection: Any, stream: Any = None) -> None:
        """Close a connection for events, and its stream: libvirt's module keeps one that had a callback for ever."""
        try:
            if stream is not None:
                stream.__del__()
            connection.unregisterCloseCallback()
            connection.close()
        except self._libvirt.libvirtError:
            return  # it was lost before

    def open_console(
        self, uuid: str, device: str, on_data: Callable[[bytes], None], on_end: Callable[[str | None], None], *,
        force: bool = False,
    ) -> Console:  # fmt: skip
        """Open console DEVICE. Raises ConsoleBusy where somebody has it, unless FORCE takes it from them."""
        from xmcompat.backends.libvirt_console import StreamConsole

        loop, libvirt = self._events(), self._libvirt
        opened: list[StreamConsole] = []
        connection = self._open_with_events(lambda: opened[0].end("the connection was lost"))
        try:
            with self._translated(uuid):
                domain = connection.lookupByUUIDString(uuid)
                stream = connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
                domain.openConsole(device, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE if force else 0)
        except BaseException:
            self._let_go(connection)
            raise
        opened.append(
            StreamConsole(
                stream, libvirt.libvirtError, loop.noting(on_data), loop.noting(on_end),
                lambda: self._let_go(connection, stream),
            )
        )  # fmt: skip
        self._consoles += opened
        return opened[0]

    def watch_reboots(self, on_reboot: Callable[[str], None]) -> None:
        """Call ON_REBOOT(uuid) for each reboot seen from now on, inside ``wait_event``."""
        noted = self._events().noting(on_reboot)
        if self._watching is None:  # one for all watchers: libvirt takes one callback an event
            self._watching = self._open_with_events(lambda: None)
            with self._translated():
                self._forget_events(self._watching)
                self._watched = self._watching.domainEventRegisterAny(
                    None, self._libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._on_reboot, None
                )
        self._reboot_watchers.append(noted)

    def _unwatch_reboots(self) -> None:
        """libvirt holds a connection open as long as it has a callback for it."""
        watching, self._watching = self._watching, None
        if watching is None:
            return
        from contextlib import suppress

        with suppress(self._libvirt.libvirtError):  # it was lost before
            watching.domainEventDeregisterAny(self._watched)
        self._let_go(watching)

    def _on_reboot(self, _connection: object, domain: Any, _opaque: object) -> None:
        for noted in self._reboot_watchers:
            noted(domain.UUIDString())

    def watch_input(self, fd: int, on_ready: Callable[[], None]) -> Callable[[], None]:
        """Call ON_READY inside ``wait_event`` whenever FD can be read; returns how to stop that."""
        stop: Callable[[], None] = self._events().watch_input(fd, on_ready)
        return stop

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call CALLBACK once inside ``wait_event``, SECONDS from now or later."""
        self._events().later(seconds, callback)

    def wait_event(self, seconds: float) -> None:
        """Run callbacks until one ran or SECONDS have passed. Raises ConnectionLost."""
        self._events().wait(seconds)
