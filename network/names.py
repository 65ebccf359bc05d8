"""Which names a link may have. Pure."""

from __future__ import annotations

import re

from xmcompat.network.wanted import LONGEST_NAME

_NAME = re.compile(r"[A-Za-z0-9_.:@+~][A-Za-z0-9_.:@+~-]*")

#: The kernel has them itself, among links' settings and as directories.
_TAKEN = (".", "..", "all", "default")


def unusable(name: str) -> str:
    """Why no link can have NAME, or none that is written into a mark; "" if it can."""
    if len(name.encode(errors="replace")) > LONGEST_NAME:
        return f"'{name}' is longer than the {LONGEST_NAME} bytes that a link's name may have"
    if not _NAME.fullmatch(name) or name in _TAKEN:
        return f"'{name}' cannot be the name of a link"
    return ""
