"""Passwords, to be left out of every text of a report."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Shorter ones are left out only where their name stands before them.
_SHORTEST = 4
#: So many of one file are looked for in its texts.
_MOST = 500
_HIDDEN = "(not shown)"

_WORD = r"(?:pas+(?:wo?r?)?d|passphrase|pass(?![a-z])|secret|rootpw|pwd)"
# every part is short: the text may be made to take long
_NAME = rf"{_WORD}[\w.-]{{0,40}}"
_ASSIGNED = re.compile(
    rf"({_NAME}(?:['\"]\s{{0,20}}:|\s{{0,20}}=)\s{{0,20}})(['\"]?)([^\s'\",;)\]]+)", re.IGNORECASE
)
_LISTED = re.compile(rf"{_NAME}\s{{1,20}}(['\"]?)([^\s'\"()]+)['\"]?\)", re.IGNORECASE)
_CEPH = re.compile(r"((?<![\w-])key=)([^\s'\",:]+)")

_CALLED = re.compile(_WORD, re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Whether a setting of that name may hold a password."""
    return _CALLED.search(name) is not None


def passwords(text: str) -> frozenset[str]:
    """What stands behind the name of a password in the text of a configuration."""
    found = {match[3] for match in _ASSIGNED.finditer(text)}
    found |= {match[2] for pattern in (_CEPH, _LISTED) for match in pattern.finditer(text)}
    return frozenset(word for word in found if len(word) >= _SHORTEST)


class Redactor:
    """Takes SECRETS, and what is called a password, out of texts."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        words = sorted({word for word in secrets if len(word) >= _SHORTEST}, key=len, reverse=True)[:_MOST]
        self._secrets = re.compile("|".join(map(re.escape, words))) if words else None

    def __call__(self, text: str) -> str:
        text = _CEPH.sub(rf"\1{_HIDDEN}", _ASSIGNED.sub(rf"\1\2{_HIDDEN}", text))
        return self._secrets.sub(_HIDDEN, text) if self._secrets else text
