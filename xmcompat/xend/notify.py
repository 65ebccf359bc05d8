"""What a service manager wants to be told (systemd's sd_notify)."""

from __future__ import annotations

import socket
from collections.abc import Callable, MutableMapping

VARIABLE = "NOTIFY_SOCKET"


def notify(environ: MutableMapping[str, str]) -> Callable[[str], None]:
    """Takes the socket's name out of ENVIRON, so that no other program speaks for us; returns what tells it a text.

    Without a socket, or where it does not listen, nothing is told.
    """
    name = environ.pop(VARIABLE, "")

    def tell(text: str) -> None:
        if not name:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            try:
                channel.connect("\0" + name[1:] if name.startswith("@") else name)
                channel.send(text.encode())
            except OSError:
                return

    return tell
