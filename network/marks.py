"""What says that a thing of the kernel is ours: the alias of a link, or the comment of a chain, in one form.

``xmcompat bridge uplink=eth0 state=up``. The kernel keeps it, so no file of ours can be out of date; ``ip link`` shows it.
Values have neither blanks nor "=". A link's alias has room for 255 bytes, a comment for 128.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

_OURS = "xmcompat"
LONGEST_ALIAS = 255
LONGEST_COMMENT = 127


class Mark(NamedTuple):
    """``kind`` is the mode that made the thing: "bridge", "segment", "overlay", "nat", "rate"."""

    kind: str
    values: Mapping[str, str]


def text(kind: str, /, **values: str) -> str:
    """The alias. A value that is "" is left out."""
    words = [_OURS, kind, *(f"{key}={value}" for key, value in values.items() if value)]
    assert all(" " not in word for word in words), words
    return " ".join(words)


def read(alias: str) -> Mark | None:
    """The mark in an alias or a comment; None for somebody else's."""
    words = alias.split(" ")
    if len(words) < 2 or words[0] != _OURS:
        return None
    pairs = (word.partition("=") for word in words[2:])
    return Mark(words[1], {key: value for key, _, value in pairs})
