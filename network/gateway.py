"""Does the host still reach its routers after a change of its networks? Where nobody is there to say, this has to do."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from xmcompat.network import programs
from xmcompat.network.host import Host

#: Seconds in which a router must answer; a switch may need some until it sends to a new port.
PATIENCE = 10.0
_POLL = 0.1
_DISCARD = 9                            # a port of UDP; that its datagram is dropped does not matter


class Gateway(NamedTuple):
    """A router that default routes lead to."""

    address: str
    family: int


def gateways(host: Host) -> tuple[Gateway, ...]:
    """Each once. Pure."""
    return tuple(dict.fromkeys(
        Gateway(route.gateway, route.family) for route in host.routes
        if route.destination == "default" and route.table == "main" and route.gateway
    ))  # fmt: skip


def answering(host: Host, asked: Iterable[Gateway], patience: float = PATIENCE) -> tuple[Gateway, ...]:
    """Those of the routers ASKED that are known to be there: by ARP, or as IPv6 does it."""
    waiting = list(asked)
    found: list[Gateway] = []
    deadline = time.monotonic() + patience
    while waiting:
        found += [one for one in waiting if _answers(one, host)]
        waiting = [one for one in waiting if one not in found]
        if not waiting or time.monotonic() >= deadline:
            break
        time.sleep(_POLL)
    return tuple(found)


def lost(before: Host, after: Host, answered: Iterable[Gateway]) -> str:
    """What of addresses, default routes and routers is missing AFTER, in one sentence; "" for nothing.

    ANSWERED are the routers that were there before.
    """
    here = {str(one) for one in after.addresses}
    gone = [str(one) for one in before.addresses if one.scope == "global" and not one.temporary and str(one) not in here]
    if gone:
        return f"the host's address {gone[0]} is gone"
    ways = [one.address for one in gateways(before) if one not in gateways(after)]
    if ways:
        return f"the default route by {ways[0]} is gone"
    answered = tuple(answered)
    there = answering(after, answered)
    silent = [one.address for one in answered if one not in there]
    return f"the router {silent[0]}, which answered before, does not answer" if silent else ""


def _answers(gateway: Gateway, host: Host) -> bool:
    device = next((route.device for route in host.routes if route.gateway == gateway.address), "")
    family = socket.AF_INET6 if gateway.family == 6 else socket.AF_INET
    with suppress(OSError, ValueError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        scope = socket.if_nametoindex(device) if gateway.address.startswith("fe80") else 0
        probe.connect((gateway.address, _DISCARD, 0, scope) if gateway.family == 6 else (gateway.address, _DISCARD))
        probe.send(b"")
    said = programs.run(("ip", f"-{gateway.family}", "neigh", "show", gateway.address, "dev", device))
    return "lladdr" in said and "FAILED" not in said and "INCOMPLETE" not in said
