"""Xen's limits on what a guest sends, in libvirt's figures. Pure."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fractions import Fraction

_RATE = re.compile(r"([0-9]{1,20})([GMK]?)([Bb])/s(?:@([0-9]{1,20})([mu]?)s)?")
_SCALE = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
#: How many of it make a second.
_INTERVAL = {"": 1, "m": 10**3, "u": 10**6}
_MOST_CREDIT = 2**32 - 1
_LEAST_CREDIT = 64 * 1024


def is_rate(text: str) -> bool:
    return _RATE.fullmatch(text.strip()) is not None


def bandwidth(rate: str) -> tuple[int, int] | None:
    """("average" in kilobytes a second, "burst" in KiB) of a Xen rate such as "10Mb/s@50ms"; None for no limit.

    Kilobytes are of 1000 bytes. Xen hands out credit for each interval of 50 ms, if none is given; less than 64 KiB
    of it would drop large segments here.
    """
    limit = _limit(rate)
    if limit is None:
        return None
    from fractions import Fraction

    speed, credit = limit
    return max(1, math.floor(speed / 1000 + Fraction(1, 2))), max(_LEAST_CREDIT // 1024, math.ceil(credit / 1024))


def limit_in_bytes(rate: str) -> tuple[int, int] | None:
    """(bytes a second, bytes that may come at once) of the same; None for no limit."""
    limit = _limit(rate)
    return None if limit is None else (max(1, math.floor(limit[0])), max(_LEAST_CREDIT, math.ceil(limit[1])))


def _limit(rate: str) -> tuple[Fraction, Fraction] | None:
    """Bytes a second, and the credit of bytes for each interval."""
    found = _RATE.fullmatch(rate.strip())
    if not found:
        return None
    from fractions import Fraction

    number, scale, unit, interval, fraction = found.groups()
    speed = Fraction(int(number) * _SCALE[scale], 8 if unit == "b" else 1)
    credit = speed * (Fraction(int(interval), _INTERVAL[fraction]) if interval else Fraction(50, 1000))
    if not speed or not credit or credit > _MOST_CREDIT:
        return None
    return speed, credit
