"""Where the VNC display of a domain can be seen."""

from __future__ import annotations

import time
from typing import NamedTuple

from xmcompat.backends.domain_display import vnc_server
from xmcompat.errors import DomainNotFound, OperationError
from xmcompat.toolstack import DOM0_UUID, Toolstack

#: Seconds that a domain may take until its display has a port.
PATIENCE = 10.0
POLL = 0.2
FIRST_PORT = 5900


class Display(NamedTuple):
    """``number`` is that of ``vncviewer HOST:NUMBER``; the password is None where there is none."""

    host: str
    number: int
    password: str | None


def vnc_display(toolstack: Toolstack, designation: str, *, secret: bool = False) -> Display:
    """The first VNC display of a running domain, with its password if SECRET; waits until it has a port.

    Differs from xm: a domain without a VNC display is an error at once. xm waited ten seconds, and died of SIGALRM.
    """
    info = toolstack.find(designation)
    if info.uuid == DOM0_UUID:
        raise OperationError(f"Domain '{designation}' is this host itself; it has no VNC display")
    if info.domid is None:
        raise OperationError(f"Domain '{designation}' is not started")
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            server = vnc_server(toolstack.hypervisor.domain_xml(info.uuid, secrets=secret))
        except DomainNotFound:
            raise DomainNotFound(designation) from None
        if server is None:
            raise OperationError(f"Domain '{designation}' has no VNC display", hint="set vnc = 1, or a vfb with vnc=1")
        if server.port is not None:
            host = "localhost" if server.listen in ("", "127.0.0.1") else server.listen
            return Display(host, server.port - FIRST_PORT, server.password)
        if time.monotonic() > deadline:
            raise OperationError(f"the VNC display of domain '{designation}' has no port after {PATIENCE:.0f} s")
        time.sleep(POLL)
