"""The open consoles of one domain."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from xmcompat.backends.hypervisor import Console, DomainInfo, Hypervisor
from xmcompat.backends.machine import XenRecord
from xmcompat.errors import OperationError


class ConsoleSession:
    """One or more consoles of a domain, the primary one first. Callbacks run inside ``wait``."""

    def __init__(self, hypervisor: Hypervisor, names: tuple[str, ...]) -> None:
        self.names = names
        self.ended = False
        self.end_reason: str | None = None
        self._hypervisor = hypervisor
        self._consoles: list[Console] = []
        self._open = len(names)

    def open(self, info: DomainInfo, on_data: Callable[[int, bytes], None]) -> None:
        """Open all of them, or none. Raises ConsoleBusy."""
        with ExitStack() as undo:
            for index, name in enumerate(self.names):
                console = self._hypervisor.open_console(info.uuid, name, partial(on_data, index), self._on_end)
                undo.callback(console.close)
                self._consoles.append(console)
            undo.pop_all()

    def _on_end(self, reason: str | None) -> None:
        """The session ends when the last console ends; an error of any of them is the reason kept."""
        self._open -= 1
        self.end_reason = self.end_reason or reason
        self.ended = self._open <= 0

    def send(self, index: int, data: bytes) -> None:
        self._consoles[index].send(data)

    def wait(self, seconds: float) -> None:
        """Run callbacks until one ran or SECONDS have passed."""
        self._hypervisor.wait_event(seconds)

    def watch_input(self, fd: int, on_ready: Callable[[], None]) -> Callable[[], None]:
        """Call ON_READY inside ``wait`` when FD can be read; returns how to stop that."""
        return self._hypervisor.watch_input(fd, on_ready)

    def close(self) -> None:
        """May be repeated."""
        for console in self._consoles:
            console.close()
        self._consoles.clear()


def open_session(
    hypervisor: Hypervisor,
    info: DomainInfo,
    record: XenRecord | None,
    *,
    designation: str,
    number: int | None,
    on_data: Callable[[int, bytes], None],
) -> ConsoleSession:
    """Open all consoles of the domain, or the NUMBERth alone.

    Raises OperationError where it has none that can be attached, ConsoleBusy where somebody has it.
    """
    names = _console_names(hypervisor, info, record)
    if not names:
        raise OperationError(
            f"Domain '{designation}' has no console to attach to", hint="give it serial='pty' in its configuration"
        )
    if number is not None:
        if number >= len(names):
            raise OperationError(f"Domain '{designation}' has no console {number}; the last one is {len(names) - 1}")
        names = (names[number],)
    session = ConsoleSession(hypervisor, names)
    session.open(info, on_data)
    return session


def _console_names(hypervisor: Hypervisor, info: DomainInfo, record: XenRecord | None) -> tuple[str, ...]:
    """libvirt's names of the consoles with a pty, primary first: as recorded, else serial ports before others."""
    if record is not None and record.consoles:
        return record.consoles
    from xmcompat.backends.domain_xml import parse

    consoles = parse(hypervisor.domain_xml(info.uuid)).consoles
    serials = [device for device in consoles if device.kind == "serial"]
    virtios = [device for device in consoles if device.kind == "virtio"]
    # with a serial port, libvirt's console 0 is that port
    first = 1 if serials else 0
    return (
        *(f"serial{index}" for index, device in enumerate(serials) if device.type == "pty"),
        *(f"console{index + first}" for index, device in enumerate(virtios) if device.type == "pty"),
    )
