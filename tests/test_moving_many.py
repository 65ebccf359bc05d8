"""Many guests on their way at once: whatever ends that, each is given up and waited for."""

from __future__ import annotations

import threading
import time

import pytest

from tests.fakes import domain
from xmcompat import moving_many
from xmcompat.errors import OperationError
from xmcompat.migrating import Request
from xmcompat.moving_many import Arrival, Convoy, Trip


class Slow:
    """In the place of the toolstack: guests that never arrive, and take SECONDS to be given up."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.begun: list[str] = []
        self.given_up: list[str] = []

    def open(self) -> Slow:
        return self

    def __enter__(self) -> Slow:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def migrating(self) -> Slow:
        return self

    def migrate(self, uuid: str, request: Request, listener: moving_many._Traveller) -> None:
        self.begun.append(uuid)
        try:
            while True:
                time.sleep(0.01)
                listener.progress(None, "", None)  # type: ignore[arg-type]
        except OperationError:
            time.sleep(self.seconds[uuid])
            self.given_up.append(uuid)
            raise


class Stopped(BaseException):
    """As a signal is raised."""


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    slow = Slow({info.uuid: number / 5 for number, info in enumerate(GUESTS)})
    monkeypatch.setattr(moving_many, "Toolstack", slow)
    return slow


GUESTS = [domain(name, number) for number, name in enumerate(("quick", "slow", "slower"), 1)]
TRIPS = [Trip(info, Request(host="node2")) for info in GUESTS]


@pytest.mark.parametrize("fails", [False, True], ids=["told", "nobody reads on"])
@pytest.mark.parametrize("later", [False, True], ids=["at first", "after an error"])
def test_all_are_given_up_and_waited_for(slow: Slow, fails: bool, later: bool) -> None:
    """LATER: what ends it early is an error, and Stopped comes while the rest is waited for."""
    done: list[str] = []
    raised: list[BaseException] = [ValueError(), Stopped()] if later else [Stopped()]

    def on_done(arrival: Arrival) -> None:
        done.append(arrival.error)
        if fails:
            raise BrokenPipeError

    def on_look(_: object) -> None:
        if len(slow.begun) == 3 and raised:
            raise raised.pop(0)

    with pytest.raises(Stopped):
        Convoy(TRIPS, 3, on_done, on_look).run()
    assert sorted(slow.given_up) == sorted(info.uuid for info in GUESTS)
    assert done == ["it was given up"] * 3


@pytest.mark.parametrize("starts", [False, True], ids=["before", "after"])
def test_one_that_is_only_starting_is_given_up_too(slow: Slow, monkeypatch: pytest.MonkeyPatch, starts: bool) -> None:
    """A signal comes while the second thread is started: before it runs, and after."""
    own, names, done = threading.Thread.start, list[str](), list[str]()

    def start(thread: threading.Thread) -> None:
        names.append(thread.name)
        if len(names) != 2 or starts:
            own(thread)
        if len(names) == 2:
            raise Stopped

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(Stopped):
        Convoy(TRIPS, 3, lambda arrival: done.append(arrival.error)).run()
    assert (len(names), done) == (2, ["it was given up"] * 2)
    assert sorted(slow.given_up) == sorted(slow.begun)
