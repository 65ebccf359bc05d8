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
        self.begun = threading.Semaphore(0)
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
        self.begun.release()
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


@pytest.mark.parametrize("error", [None, BrokenPipeError()], ids=["told", "nobody reads on"])
def test_all_are_given_up_and_waited_for(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    guests = [domain(name, number) for number, name in enumerate(("quick", "slow", "slower"), 1)]
    slow = Slow(dict(zip((info.uuid for info in guests), (0.0, 0.2, 0.4), strict=True)))
    monkeypatch.setattr(moving_many, "Toolstack", slow)
    done: list[str] = []

    def on_done(arrival: Arrival) -> None:
        done.append(arrival.error)
        if error is not None:
            raise error

    def on_look(_: object) -> None:
        if all(slow.begun.acquire(blocking=False) for _ in guests):
            raise Stopped

    convoy = Convoy([Trip(info, Request(host="node2")) for info in guests], 3, on_done, on_look)
    with pytest.raises(Stopped):
        convoy.run()
    assert slow.given_up == [info.uuid for info in guests]
    assert done == ["it was given up"] * 3
