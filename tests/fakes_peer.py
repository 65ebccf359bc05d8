"""The other host of a migration in memory: a ``Peer`` over a ``FakeHypervisor``, and the way to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING

from xmcompat.copies import copy_of
from xmcompat.errors import XmError
from xmcompat.migration.facts import Copy, HostFacts, Prepared, SeenDisk, Settled, Sight, Wanted
from xmcompat.migration.wire import Connected, Greeting, PeerLost

if TYPE_CHECKING:
    from tests.fakes import FakeHypervisor

URI = "qemu+tls://node2/system"


@dataclass
class FakePending:
    """An answer that is there after so many looks, or an error."""

    looks: int = 0
    error: XmError | None = None
    answer: Connected = field(default_factory=Connected)
    stopped: bool = False

    def ended(self, seconds: float) -> bool:
        self.looks -= 1
        return self.looks < 0

    def result(self) -> Connected:
        if self.error is not None:
            raise self.error
        return self.answer

    def stop(self) -> None:
        self.stopped = True


@dataclass
class FakePeer:
    """``facts`` is what it says of itself; ``errors`` what it says to a word instead of an answer, ``lost`` that it is gone
    from that word on. ``asked`` has all words."""

    there: FakeHypervisor
    facts: HostFacts
    host: str = "node2"
    asked: list[str] = field(default_factory=list)
    errors: dict[str, XmError] = field(default_factory=dict)
    lost: str = ""
    pending: FakePending = field(default_factory=FakePending)
    prepared: Prepared = field(default_factory=Prepared)
    settled: Settled | None = None
    on_word: Callable[[str], None] | None = None
    closed: int = 0
    noise: str = ""

    @property
    def greeting(self) -> Greeting:
        return Greeting(xmcompat=1, hostname=self.host)

    def _ask(self, word: str) -> None:
        self.asked.append(word)
        if self.on_word is not None:
            self.on_word(word)
        if self.lost and (word == self.lost or self.lost in self.asked):
            raise PeerLost(f"{self.host} has closed the connection")
        if word in self.errors:
            raise self.errors[word]

    def look(self, wanted: Wanted) -> HostFacts:
        self._ask("look")
        seen = {one.target for one in self.facts.disks}
        same = [
            SeenDisk(target=disk.target, sight=Sight.FOUND, path=disk.path, size=disk.size, identities=disk.identities,
                     locked=disk.locked)
            for disk in wanted.disks if disk.target not in seen
        ]  # fmt: skip
        return replace(self.facts, disks=(*self.facts.disks, *same))

    def prepare(self, wanted: Wanted) -> Prepared:
        self._ask("prepare")
        return self.prepared

    def connect(self, uuid: str) -> FakePending:
        self._ask("connect")
        return self.pending

    def settle(self, uuid: str) -> Settled:
        self._ask("settle")
        copy = copy_of(self.there, uuid)
        domid = self.there.known[uuid].domid if uuid in self.there.known else None
        return self.settled or Settled(copy=copy, domid=domid)

    def release(self, uuid: str) -> Copy:
        self._ask("release")
        return copy_of(self.there, uuid)

    def end(self, uuid: str) -> Copy:
        self._ask("end")
        if self.there.known[uuid].state == "paused":
            self.there.destroy(uuid)
        return copy_of(self.there, uuid)

    def state(self, uuid: str) -> Copy:
        self._ask("state")
        return copy_of(self.there, uuid)

    def close(self) -> None:
        self.closed += 1


@dataclass
class FakeWay:
    """The way to a FakePeer, as ``peers.open_way`` gives it. ``again`` is what opens a new one once it is lost."""

    peer: FakePeer
    uri: str = URI
    tls: bool = True
    private: bool = True
    reopened: int = 0

    def again(self) -> FakePeer:
        self.reopened += 1
        if self.peer.lost == "for ever":
            raise PeerLost("node2 cannot be reached")
        self.peer.lost = ""
        return self.peer

    def __enter__(self) -> FakeWay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.peer.close()
