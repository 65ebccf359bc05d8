"""A call that takes long, in a thread of its own, so that it can be waited for and given up."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Call(threading.Thread):
    """CALL in a thread of its own; an error of it is raised by ``result``.

    It is not joined: a signal that comes meanwhile has Python take the thread for one that has ended.
    """

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__(name="libvirt-call", daemon=True)
        self._call = call
        self._error: BaseException | None = None
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001 - raised where it is asked for
            self._error = error
        finally:
            self._over.set()

    def ended(self, seconds: float | None) -> bool:
        """Wait up to SECONDS, None: for ever; whether it is over."""
        return self._over.wait(seconds)

    def result(self) -> None:
        """Raises what the call has raised; it is over."""
        assert self._over.is_set(), "the call is not over"
        if self._error is not None:
            raise self._error
