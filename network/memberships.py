"""Multicast groups of IPv6 addresses: neighbours ask the group of an address who has it (RFC 4291, 2.7.1).

The kernel joins that group a little after the address has been added, and leaves it at once with the address. One that goes
before it has joined takes the membership of another: of an address with the same last 24 bits, as the host's link-local one
and the one of its prefix have, which no neighbour could find any more.
"""

from __future__ import annotations

import ipaddress
import time
from pathlib import Path

#: Seconds that the kernel has to join: it takes microseconds, but joining needs a lock that all networks of the host share,
#: containers' too, and waits while somebody else holds it.
PATIENCE = 10.0

_GROUP = "ff0200000000000000000001ff"
_PROC = Path("/proc/net")


def await_joined(address: str, device: str) -> None:
    """Return once DEVICE is in the group of ADDRESS ("2001:db8::11/64") for each of its addresses that have this group.

    At the latest PATIENCE later: where a membership has been lost before, it never is. At once where DEVICE is not in the
    group, so that there is nothing to take, or has no such address, and where ADDRESS is of IPv4. May be repeated.
    """
    try:
        wanted = ipaddress.IPv6Interface(address).ip
    except ValueError:
        return
    deadline = time.monotonic() + PATIENCE
    while _waits(f"{int(wanted):032x}", device) and time.monotonic() < deadline:
        time.sleep(0.001)


def _waits(digits: str, device: str) -> bool:
    """Whether DEVICE is in the group of the address with these 32 DIGITS less often than it has addresses of that group."""
    addresses = [words[0] for words in _lines("if_inet6") if words[-1] == device]
    if digits not in addresses:
        return False
    group = _GROUP + digits[-6:]
    members = sum(int(words[3]) for words in _lines("igmp6") if words[1:3] == [device, group])
    return 0 < members < sum(one[-6:] == digits[-6:] for one in addresses)


def _lines(name: str) -> list[list[str]]:
    """Of a table of this network namespace; [] where the kernel has none."""
    try:
        return [line.split() for line in (_PROC / name).read_text().splitlines()]
    except OSError:
        return []
