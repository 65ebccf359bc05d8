"""Numbers among the words of a command line, as Python 2 and XML-RPC read them for xm."""

from __future__ import annotations

import sys

from xmcompat.errors import InvalidArgument

#: Beyond these, XML-RPC had no number.
_LEAST, _MOST = -(2**31), 2**31 - 1
#: MiB of each unit, or how many of them are a MiB.
_SHIFTS = {"k": -10, "m": 0, "g": 10}


def integer(text: str) -> int:
    """Raises InvalidArgument."""
    number = _integer(text)
    if not _LEAST <= number <= _MOST:
        raise InvalidArgument
    return number


def _integer(text: str) -> int:
    digits = text.strip()
    unsigned = digits[1:] if digits[:1] in ("+", "-") else digits
    if not (unsigned.isascii() and unsigned.isdecimal()) or len(unsigned) > 30:
        raise InvalidArgument
    return int(digits)


def mebibytes(text: str) -> int:
    """An amount of memory in whole MiB, cut off: "512", "2g", "2047k" (1).

    Another letter is said to be unknown, on stdout as with xm, and the number counts as bytes. Raises
    InvalidArgument.
    """
    letter = text[-1:].lower()
    if not (letter.isascii() and letter.isalpha()):
        return integer(text)
    shift = _SHIFTS.get(letter)
    if shift is None:
        sys.stdout.write("ignoring unknown unit\n")
        shift = -20
    amount = _integer(text[:-1])
    return integer(str(amount << shift if shift >= 0 else amount >> -shift))


def cpu_list(text: str) -> list[int]:
    """The CPUs that "0-3,^1" names, sorted, from left to right; empty pieces are passed over. Raises InvalidArgument.

    Differs from xm: a range ends where no host has CPUs any more.
    """
    from xmcompat.units import MOST_CPUS

    chosen: list[int] = []
    for piece in filter(None, text.split(",")):
        if "-" in piece:
            first, last = _ends(piece)
            chosen += range(first, min(last, MOST_CPUS) + 1)
        elif piece.startswith("^"):
            excluded = integer(piece[1:])
            chosen = [cpu for cpu in chosen if cpu != excluded]
        else:
            chosen.append(integer(piece))
    return sorted(chosen)


def _ends(piece: str) -> tuple[int, int]:
    ends = piece.split("-")
    if len(ends) != 2:
        raise InvalidArgument
    return integer(ends[0]), integer(ends[1])
