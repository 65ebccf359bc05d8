"""Many guests to other hosts, a few at a time: what ``xmcompat evacuate`` and the end of a host have in common."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from xmcompat.errors import OperationError, XmError
from xmcompat.toolstack import Toolstack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xmcompat.backends.hypervisor import DomainInfo
    from xmcompat.backends.migration import Progress
    from xmcompat.migrating import Request

#: Seconds between two looks.
_LOOK = 0.05
#: Seconds in which a thread starts.
_STARTING = 1.0


class Trip(NamedTuple):
    """A guest, and how it is to go. ``seconds`` in which it must be over, 0 for no end."""

    info: DomainInfo
    request: Request
    seconds: float = 0.0


class Arrival(NamedTuple):
    """What has become of a trip: ``error`` "" for one that is there. ``notes`` are to be known; ``seconds`` it took."""

    trip: Trip
    error: str
    notes: tuple[str, ...]
    seconds: float


class GivenUp(OperationError):
    """The trip is to end: the guest runs on where it was."""


class _Traveller:
    """One trip in a thread; a Listener that ends it when it is to end."""

    def __init__(self, trip: Trip) -> None:
        self.trip = trip
        self.last: Progress | None = None
        self.error = ""
        self.stopping = ""
        self.notes: list[str] = []
        self.begun = self.ended = time.monotonic()
        self._thread = threading.Thread(target=self._travel, name=f"move-{trip.info.name}")

    def start(self) -> None:
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """One that was given up while it was to start may never do so."""
        if self._thread.ident is None:
            return bool(self.stopping) and time.monotonic() - self.begun > _STARTING
        return not self._thread.is_alive()

    def give_up(self) -> None:
        self.stopping = "it was given up"
        if self._thread.ident is None:
            self.error = self.stopping

    def _travel(self) -> None:
        if self.stopping:
            return
        try:
            with Toolstack.open() as toolstack:
                toolstack.migrating.migrate(self.trip.info.uuid, self.trip.request, self)
        except XmError as error:
            self.error = error.line()
        except Exception as error:  # noqa: BLE001 - a thread's own boundary: the others go on
            self.error = f"a mistake in xmcompat itself: {type(error).__name__}: {error}"
        self.ended = time.monotonic()

    def progress(self, info: DomainInfo, host: str, progress: Progress) -> None:
        self.last = progress
        if self.trip.seconds and time.monotonic() - self.begun > self.trip.seconds:
            self.stopping = self.stopping or f"it took longer than {self.trip.seconds:.0f} s"
        if self.stopping:
            raise GivenUp(self.stopping)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def arrival(self) -> Arrival:
        return Arrival(self.trip, self.error, tuple(self.notes), self.ended - self.begun)


class Convoy:
    """TRIPS, at most PARALLEL at a time. ON_DONE is called with each that is over, ON_LOOK again and again with those that
    are under way and how far each is, both by the thread that calls ``run``."""

    def __init__(
        self, trips: Sequence[Trip], parallel: int, on_done: Callable[[Arrival], None],
        on_look: Callable[[list[tuple[Trip, Progress | None]]], None] = lambda under_way: None,
    ) -> None:  # fmt: skip
        self._waiting = deque(trips)
        self._parallel = parallel
        self._under_way: list[_Traveller] = []
        self._on_done = on_done
        self._on_look = on_look

    def run(self) -> None:
        """Whatever ends it early (a signal raises, or what ON_DONE prints goes nowhere): what is under way is given up, and
        waited for, whatever is raised meanwhile."""
        try:
            while self._waiting or self._under_way:
                self._look()
                time.sleep(_LOOK)
        except BaseException as error:  # noqa: BLE001 - raised once all have ended
            self._waiting.clear()
            for one in self._under_way:
                one.give_up()
            raise self._waited(error) from None

    def _waited(self, first: BaseException) -> BaseException:
        """Once nothing is under way: what is to be raised, which is a signal rather than an error."""
        while self._under_way:
            try:
                self._look()
                time.sleep(_LOOK)
            except BaseException as error:  # noqa: BLE001 - raised once all have ended
                if isinstance(first, Exception) and not isinstance(error, Exception):
                    first = error
        return first

    def _look(self) -> None:
        while self._waiting and len(self._under_way) < self._parallel:
            traveller = _Traveller(self._waiting.popleft())
            self._under_way.append(traveller)
            traveller.start()
        for one in [one for one in self._under_way if one.is_over]:
            self._under_way.remove(one)
            self._on_done(one.arrival())
        self._on_look([(one.trip, one.last) for one in self._under_way])
