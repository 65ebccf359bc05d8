"""Two ends of a conversation in one process: a destination that notes what it is asked, and streams between the ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from xmcompat.errors import XmError
from xmcompat.migration.facts import Copy, HostFacts, Life, Prepared, Settled, Wanted
from xmcompat.migration.peer import PeerClient
from xmcompat.migration.serving import GoingOn, serve
from xmcompat.migration.sockets import SocketStream
from xmcompat.migration.wire import SILENCE, VERSION, Connected, Greeting

ME = Greeting(xmcompat=VERSION, hostname="host1", uuid="11", program="0.1.0")
HOST = Greeting(xmcompat=VERSION, hostname="host2", uuid="22", program="0.1.0")
WANTED = Wanted(name="web1", uuid="u1", memory=65536, max_memory=65536, vcpus=1, accelerator="kvm")


@dataclass
class NotedReceiver:
    """``does`` has what happens when something is asked, by its word."""

    does: dict[str, Callable[[GoingOn], object]] = field(default_factory=dict)
    asked: list[object] = field(default_factory=list)
    greeted: Greeting = HOST
    farewell: bool | None = None

    def _noted(self, word: str, what: object, going_on: GoingOn) -> None:
        self.asked.append((word, what))
        if word in self.does:
            self.does[word](going_on)

    def greeting(self) -> Greeting:
        return self.greeted

    def hello(self, source: Greeting) -> None:
        self.asked.append(("hello", source))

    def look(self, wanted: Wanted, going_on: GoingOn) -> HostFacts:
        self._noted("look", wanted, going_on)
        return HostFacts(hostname="host2", bridges=("xenbr0",))

    def prepare(self, wanted: Wanted, going_on: GoingOn) -> Prepared:
        self._noted("prepare", wanted, going_on)
        return Prepared(address="host2")

    def connect(self, uuid: str, going_on: GoingOn) -> Connected:
        self._noted("connect", uuid, going_on)
        return Connected()

    def settle(self, uuid: str, going_on: GoingOn) -> Settled:
        self._noted("settle", uuid, going_on)
        return Settled(copy=Copy(life=Life.RUNNING), domid=7)

    def release(self, uuid: str, going_on: GoingOn) -> Copy:
        self._noted("release", uuid, going_on)
        return Copy(life=Life.GONE)

    def end(self, uuid: str, going_on: GoingOn) -> Copy:
        self._noted("end", uuid, going_on)
        return Copy(life=Life.GONE)

    def state(self, uuid: str, going_on: GoingOn) -> Copy:
        self._noted("state", uuid, going_on)
        return Copy(life=Life.GONE)

    def ended(self, farewell: bool) -> None:
        self.farewell = farewell


class Destination:
    """A receiver that serves one end of a pair of sockets in a thread; ``other`` is the other end."""

    def __init__(self, receiver: NotedReceiver, silence: float = SILENCE) -> None:
        self.receiver = receiver
        self.error: XmError | None = None
        mine, self.other = socket.socketpair()
        self._stream = SocketStream(mine)
        self._silence = silence
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            serve(self._stream, self.receiver, silence=self._silence)
        except XmError as error:
            self.error = error

    def client(self, silence: float = SILENCE, *, private: bool = False) -> PeerClient:
        return PeerClient(SocketStream(self.other), "host2", ME, silence=silence, private=private)

    def over(self) -> XmError | None:
        """What the conversation has ended with, None for a farewell."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.error
