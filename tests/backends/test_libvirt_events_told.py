"""Events of guests are told to whoever comes next, also where the one before went while libvirtd told its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import libvirt
import pytest

from tests.lab.guests import tick_xml
from xmcompat.backends.hypervisor import GuestEvent
from xmcompat.backends.libvirt_kvm import LibvirtKvm, connect

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

#: Without a precaution about one in 70 hears nothing, with libvirt 9.0.
ROUNDS = 250


class Restless:
    """A guest that is paused and goes on all the time while ``moving``, by a thread with a connection of its own."""

    def __init__(self, uri: str, uuid: str) -> None:
        self._domain = libvirt.open(uri).lookupByUUIDString(uuid)
        self._moves, self._rests, self._ends = threading.Event(), threading.Event(), False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ends:
            self._moves.wait()
            self.once()
            if not self._moves.is_set():
                self._rests.set()

    def once(self) -> None:
        self._domain.suspend()
        self._domain.resume()

    @contextmanager
    def moving(self) -> Iterator[None]:
        self._rests.clear()
        self._moves.set()
        yield
        self._moves.clear()
        self._rests.wait()

    def end(self) -> None:
        self._ends = True
        self._moves.set()
        self._thread.join()


@pytest.fixture
def restless(hypervisor: LibvirtKvm, roms: Path) -> Iterator[Restless]:
    info = hypervisor.create(tick_xml("web1", roms, kvm=False))
    restless = Restless(hypervisor.uri, info.uuid)
    yield restless
    restless.end()


def test_whoever_watches_next_is_told(hypervisor: LibvirtKvm, restless: Restless) -> None:
    unheard = []
    for number in range(ROUNDS):
        before = connect(hypervisor.uri)
        before.watch_guests(lambda event: None)
        with restless.moving():
            time.sleep(0.0007 * (number % 20))
            before.close()
        events: list[GuestEvent] = []
        after = connect(hypervisor.uri)
        after.watch_guests(events.append)
        restless.once()
        deadline = time.monotonic() + 20
        while not events and time.monotonic() < deadline:
            after.wait_event(0.1)
        unheard += [] if events else [number]
        after.close()
    assert unheard == []
