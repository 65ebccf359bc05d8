"""Consoles and the event loop, against a real libvirtd and real guests."""

import os
import time
from collections.abc import Callable
from functools import partial

import pytest

from tests.lab.fixtures import Starter
from xmcompat.backends.libvirt_kvm import LibvirtKvm, connect
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.errors import ConsoleBusy, DomainNotFound, HypervisorError

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]


class Listener:
    """What a console said, and how it ended."""

    def __init__(self) -> None:
        self.heard = b""
        self.ends: list[str | None] = []

    def hear(self, data: bytes) -> None:
        self.heard += data


def wait_until(hypervisor: LibvirtKvm, true: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        hypervisor.wait_event(1.0)


@pytest.mark.parametrize("device", ["serial0", "console0"])
def test_a_console_carries_bytes_both_ways(hypervisor: LibvirtKvm, start: Starter, device: str) -> None:
    info, listener = start("talks"), Listener()
    console = hypervisor.open_console(info.uuid, device, listener.hear, listener.ends.append)
    wait_until(hypervisor, lambda: b"TICK" in listener.heard)  # it forgets what was typed before its start
    console.send(b"x\xff")
    wait_until(hypervisor, lambda: b"KEY ff\r\n" in listener.heard)
    assert b"KEY 78\r\n" in listener.heard
    assert listener.ends == []
    console.close()
    console.close()
    console.send(b"into the void")


def test_a_console_ends_without_a_reason_when_the_guest_does(hypervisor: LibvirtKvm, start: Starter) -> None:
    info, listener = start("ends"), Listener()
    console = hypervisor.open_console(info.uuid, "serial0", listener.hear, listener.ends.append)
    wait_until(hypervisor, lambda: b"TICK" in listener.heard)
    console.send(b"q")
    wait_until(hypervisor, lambda: listener.ends)
    assert listener.ends == [None]
    console.send(b"too late")
    console.close()


def test_a_console_that_somebody_has_is_busy_and_can_be_taken(
    hypervisor: LibvirtKvm, node: PrivateLibvirtd, start: Starter
) -> None:
    info, first, second = start("wanted"), Listener(), Listener()
    hypervisor.open_console(info.uuid, "serial0", first.hear, first.ends.append)
    other = connect(node.uri)
    with pytest.raises(ConsoleBusy):
        other.open_console(info.uuid, "serial0", second.hear, second.ends.append)
    other.open_console(info.uuid, "serial0", second.hear, second.ends.append, force=True)
    wait_until(hypervisor, lambda: first.ends)
    wait_until(other, lambda: b"TICK" in second.heard)
    assert first.ends == ["somebody else has taken the console, or the connection to it was lost"]
    assert second.ends == []
    other.close()


def test_a_closed_console_is_free_for_the_next(hypervisor: LibvirtKvm, node: PrivateLibvirtd, start: Starter) -> None:
    info = start("shared")
    for _ in range(3):
        listener, other = Listener(), connect(node.uri)
        other.open_console(info.uuid, "serial0", listener.hear, listener.ends.append)
        wait_until(other, partial(getattr, listener, "heard"))
        other.close()


def test_a_console_that_is_not_there_is_refused(hypervisor: LibvirtKvm, start: Starter) -> None:
    info, listener = start("mute", paused=True), Listener()
    with pytest.raises(HypervisorError):
        hypervisor.open_console(info.uuid, "console7", listener.hear, listener.ends.append)
    with pytest.raises(DomainNotFound):
        hypervisor.open_console(info.uuid[:-4] + "0000", "serial0", listener.hear, listener.ends.append)


def test_much_typed_at_once_waits_for_its_turn(hypervisor: LibvirtKvm, start: Starter) -> None:
    """More than a pty holds (4 KiB) waits for its turn, and nothing hangs meanwhile."""
    info, listener = start("typed", paused=True), Listener()
    console = hypervisor.open_console(info.uuid, "serial0", listener.hear, listener.ends.append)
    for _ in range(20):
        console.send(b"x" * 1000)
        hypervisor.wait_event(0.01)
    assert listener.ends == []
    hypervisor.unpause(info.uuid)
    wait_until(hypervisor, lambda: listener.heard.count(b"KEY 78") > 5)


def test_a_console_closes_at_once_though_the_guest_reads_nothing(
    hypervisor: LibvirtKvm, node: PrivateLibvirtd, start: Starter
) -> None:
    info, listener = start("deaf", paused=True), Listener()
    console = hypervisor.open_console(info.uuid, "serial0", listener.hear, listener.ends.append)
    for _ in range(20):
        console.send(b"x" * 1000)
        hypervisor.wait_event(0.01)
    begun = time.monotonic()
    console.close()
    hypervisor.open_console(info.uuid, "serial0", listener.hear, listener.ends.append).close()
    assert time.monotonic() - begun < 30  # libvirt's own abort waits until the guest reads: for ever
    assert listener.ends == []


def test_waiting_ends_with_the_first_callback_or_in_time(hypervisor: LibvirtKvm) -> None:
    took: list[float] = []
    while not took or took[-1] >= 1:  # until others have not held it up
        assert len(took) < 10, took
        begun = time.monotonic()
        hypervisor.wait_event(0.3)
        took.append(time.monotonic() - begun)
        assert took[-1] >= 0.29
    read, write = os.pipe()
    got: list[bytes] = []
    stop = hypervisor.watch_input(read, lambda: got.append(os.read(read, 100)))
    os.write(write, b"key")
    begun = time.monotonic()
    hypervisor.wait_event(10)
    assert got == [b"key"]
    assert time.monotonic() - begun < 9  # without the callback it would be ten seconds
    stop()
    stop()
    os.write(write, b"more")
    hypervisor.wait_event(0.1)
    assert got == [b"key"]
    os.close(read)
    os.close(write)


def test_an_error_of_a_callback_comes_out_of_the_waiting(hypervisor: LibvirtKvm) -> None:
    read, write = os.pipe()

    def fail() -> None:
        os.read(read, 1)
        raise KeyboardInterrupt

    stop = hypervisor.watch_input(read, fail)
    os.write(write, b"k")
    with pytest.raises(KeyboardInterrupt):
        hypervisor.wait_event(5)
    hypervisor.wait_event(0)
    stop()
    os.close(read)
    os.close(write)
