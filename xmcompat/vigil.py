"""Whether the other host of a migration is still there, found out beside the transfer: libvirt may not come to tell it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from xmcompat.backends.call_thread import Call
from xmcompat.errors import XmError
from xmcompat.migration.peer import FromPeer
from xmcompat.migration.wire import PeerLost, WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from xmcompat.migration.peer import Peer
    from xmcompat.peers import Way

T = TypeVar("T")

#: Seconds between two questions.
_REST = 1.0
#: The most that the last question is waited for: the peer has deadlines of its own.
_LAST = 180.0


def asked(way: Way, ask: Callable[[Peer], T]) -> T:
    """What the other host says; once more on a new conversation, where the first one has broken.

    Raises FromPeer, and PeerLost, WireError or CannotConnect where it cannot be asked.
    """
    try:
        return ask(way.peer)
    except (PeerLost, WireError):
        return ask(way.again())


class Vigil:
    """Asks what the other host has of the domain UUID, again and again, in threads. Nobody else asks it anything meanwhile;
    ``close`` it first."""

    def __init__(self, way: Way, uuid: str) -> None:
        self._way = way
        self._uuid = uuid
        self._question: Call | None = None
        self._next = 0.0
        self._lost: XmError | None = None

    def rest(self) -> None:
        """Nobody needs to know for now: what was said before is forgotten. Returns at once."""
        if self._question is None or self._question.ended(0.0):
            self._question = self._lost = None

    def look(self) -> XmError | None:
        """Why the other host cannot be asked; None while it can, and until it is known. Returns at once."""
        if self._question is None:
            if time.monotonic() >= self._next:
                self._question = Call(lambda: asked(self._way, lambda peer: peer.state(self._uuid)))
        elif self._question.ended(0.0):
            self._lost = self._answered(self._question)
            self._question, self._next = None, time.monotonic() + _REST
        return self._lost

    @staticmethod
    def _answered(question: Call) -> XmError | None:
        try:
            question.result()
        except FromPeer:
            return None  # it is there, and its libvirtd is not
        except XmError as error:
            return error
        return None

    def close(self) -> None:
        """Returns when the last question is over. It may be begun anew by ``look``."""
        if self._question is not None:
            self._question.ended(_LAST)
