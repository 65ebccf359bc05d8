"""Does the host know its own name?

libvirt looks its host's name up whenever it starts a guest. Where a name server does not answer, each start
waits about ten seconds for nothing; an entry in /etc/hosts cures it.
"""

from __future__ import annotations

import socket
import threading
import time

#: A lookup that takes longer than this (seconds) is felt at every start of a guest.
SLOW = 2.0


class HostnameLookup:
    """Looks the host's own name up beside other work; never waits for the answer."""

    def __init__(self, hostname: str | None = None) -> None:
        self.hostname = hostname if hostname is not None else socket.gethostname()
        self._started = time.monotonic()
        self._took: float | None = None
        self._failed = False
        self._thread = threading.Thread(target=self._look_up, name="hostname-lookup", daemon=True)
        self._thread.start()

    def _look_up(self) -> None:
        try:
            socket.getaddrinfo(self.hostname, None)
        except OSError:
            self._failed = True
        self._took = time.monotonic() - self._started

    def wait(self, seconds: float) -> bool | None:
        """Whether the name resolves; None where SECONDS have passed without an answer."""
        self._thread.join(seconds)
        return None if self._thread.is_alive() else not self._failed

    def complaint(self) -> str | None:
        """One line if the name takes more than SLOW seconds to resolve, or has not resolved so far."""
        took = self._took if self._took is not None else time.monotonic() - self._started
        if took < SLOW:
            return None
        end = "does not resolve" if self._failed or self._took is None else "resolves slowly"
        return (
            f"this host's own name '{self.hostname}' {end} ({took:.0f} s); libvirt waits for that at every start "
            f"of a guest; add '127.0.1.1 {self.hostname}' to /etc/hosts"
        )
