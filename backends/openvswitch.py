"""The bridges of Open vSwitch on this host, asked of its database over its own socket.

The kernel cannot tell: there, a bridge of Open vSwitch looks like any of its internal ports.
"""

from __future__ import annotations

import os

SOCKET = "/run/openvswitch/db.sock"

#: Seconds that the database may take, and the most that its answer may be, in bytes.
PATIENCE, LARGEST = 2.0, 1024 * 1024

_QUESTION = (
    b'{"method": "transact", "id": 0, "params": '
    b'["Open_vSwitch", {"op": "select", "table": "Bridge", "where": [], "columns": ["name"]}]}'
)


def switches_here(path: str = SOCKET) -> list[str]:
    """The names, sorted; none where Open vSwitch is not there or does not answer in its protocol (RFC 7047)."""
    if not os.path.exists(path):
        return []
    import json

    try:
        rows = json.loads(_asked(path))["result"][0]["rows"]
        return sorted(row["name"] for row in rows if isinstance(row["name"], str))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []


def _asked(path: str) -> bytes:
    """The first whole object of the answer."""
    import json
    import socket

    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        connection.sendall(_QUESTION)
        answer = b""
        while len(answer) <= LARGEST:
            data = connection.recv(65536)
            answer += data
            try:
                json.loads(answer)
                break
            except ValueError:
                if not data:
                    break
    return answer
