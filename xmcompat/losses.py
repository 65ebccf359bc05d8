"""What a call has begun is taken back also where libvirtd went away in its middle: once it answers again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from xmcompat.errors import ConnectionLost, DomainBusy, HypervisorUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from xmcompat.backends.hypervisor import Hypervisor

#: Seconds in which libvirtd must be back, and the guest run again, after the connection was lost.
BACK = 15.0


def when_back(
    name: str, error: ConnectionLost, connect: Callable[[], Hypervisor], undo: Callable[[Hypervisor], None]
) -> None:
    """After ERROR: UNDO what has been done to the domain NAME over a new connection, which CONNECT makes.

    Raises ConnectionLost, with a hint of what may remain, where libvirtd does not come back in BACK seconds, or does not
    let go of the domain.
    """
    deadline = time.monotonic() + BACK
    while True:
        try:
            undo(connect())
            return
        except DomainBusy:
            raise ConnectionLost(error.message, hint=stuck(name)) from None
        except HypervisorUnreachable:
            if time.monotonic() > deadline:
                raise ConnectionLost(
                    error.message, hint=f"'{name}' may be there, and paused: see 'xm list' when libvirtd is back"
                ) from None
            time.sleep(0.1)


def stuck(name: str) -> str:
    """What to do where libvirtd, which was killed just before it started a QEMU, holds the domain for that start for ever:
    it lists the guest as paused, and nobody can end it. Seen with libvirt 9.0, whose file of the domain has ``pid='0'``."""
    return (
        f"libvirtd holds '{name}' for a start that was broken off: where 'ps' shows no QEMU of it, remove "
        f"/run/libvirt/qemu/{name}.xml, restart libvirtd, and try again"
    )
