"""Passwords, to be left out of everything that is said of a configuration: errors, notes, reports."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from xmcompat.errors import XmError
from xmcompat.notes import Note

#: Shorter ones are left out only where their name stands before them.
_SHORTEST = 4
#: So many of one file are looked for in its texts.
_MOST = 500
#: VNC knows so many characters of a password: errors may speak of these alone.
_OF_VNC = 8
_HIDDEN = "(not shown)"

_WORD = r"(?:pas+(?:wo?r?)?d|passphrase|pass(?![a-z])|secret|rootpw|pwd)"
# every part is short: the text may be made to take long
_NAME = rf"{_WORD}[\w.-]{{0,40}}"
_BARE = r"[^\s'\",;)\]]+"
_ASSIGNED = re.compile(
    rf"(?P<name>{_NAME}\s{{0,20}}=\s{{0,20}})(?P<quote>['\"])?(?P<value>(?(quote)[^'\"\n]+|{_BARE}))", re.IGNORECASE
)
#: As Python and JSON show one: {'vncpasswd': 'abc'}.
_MEMBER = re.compile(rf"(?P<name>{_NAME}['\"]\s{{0,20}}:\s{{0,20}})(?P<quote>['\"])?(?P<value>(?(quote)[^'\"\n]+|[0-9]+))",
                     re.IGNORECASE)  # fmt: skip
_LISTED = re.compile(
    rf"(?P<name>{_NAME}\s{{1,20}})(?P<quote>['\"])?"
    r"(?P<value>(?(quote)[^'\"\n]{1,400}|[^\s'\"()]{1,400}))(?=['\"]?\))", re.IGNORECASE
)
_CEPH = re.compile(r"(?P<name>(?<![\w-])key=)(?P<quote>)(?P<value>[^\s'\",:]+)")
#: iscsi://USER%PASSWORD@HOST
_IN_URL = re.compile(r"(?P<name>//[^%@/\s'\",]{1,200}%)(?P<quote>)(?P<value>[^/\s'\"]{1,400})(?=@)")
_PATTERNS = (_MEMBER, _ASSIGNED, _LISTED, _CEPH, _IN_URL)
#: What follows a display's password with a comma in it: pieces without a name.
_PIECES = re.compile(
    rf"(?:vnc|spice)_?{_NAME}=[^=,'\"\n]{{1,200}}(?P<pieces>(?:,[^=,'\"\n]{{1,200}}(?=[,'\"\n]|$)){{1,20}})", re.IGNORECASE
)
_NO_PAIR = re.compile(r"(^|: )(?:(?!: )[^\n])*(?= should be a pair, separated by an equals sign)")

_CALLED = re.compile(_WORD, re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Whether a setting of that name may hold a password."""
    return _CALLED.search(name) is not None


def passwords(text: str) -> frozenset[str]:
    """What stands behind the name of a password in the text of a configuration."""
    found = {match["value"] for pattern in _PATTERNS for match in pattern.finditer(text)}
    found |= {piece.strip() for match in _PIECES.finditer(text) for piece in match["pieces"].split(",")}
    return frozenset(word for word in found if len(word) >= _SHORTEST)


class Redactor:
    """Takes SECRETS, and what is called a password, out of texts. ``wary``: an odd piece of an entry may be one too."""

    def __init__(self, secrets: Iterable[str] = (), *, wary: bool = False) -> None:
        words = {part for word in secrets for part in (word, word[:_OF_VNC]) if len(part) >= _SHORTEST}
        words |= {repr(word)[1:-1] for word in words}
        most = sorted(words, key=len, reverse=True)[:_MOST]
        self._secrets = re.compile("|".join(map(re.escape, most))) if most else None
        self._wary = wary

    def __call__(self, text: str) -> str:
        for pattern in _PATTERNS:
            text = pattern.sub(rf"\g<name>\g<quote>{_HIDDEN}", text)
        if self._wary:
            text = _NO_PAIR.sub(rf"\g<1>{_HIDDEN}", text)
        return self._secrets.sub(_HIDDEN, text) if self._secrets else text

    def note(self, note: Note) -> Note:
        return replace(note, key=self(note.key), value=self(note.value), reason=self(note.reason),
                       suggestion=self(note.suggestion))  # fmt: skip

    def error(self, error: XmError) -> XmError:
        """ERROR itself, without passwords in what it says."""
        error.message = self(error.message)
        error.hint = self(error.hint) if error.hint else error.hint
        error.verbatim = self(error.verbatim) if error.verbatim else error.verbatim
        return error


def redactor(data: bytes | str, more: Iterable[str] = ()) -> Redactor:
    """What takes the passwords of a configuration out of texts, and MORE of them."""
    text = data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")
    return Redactor((*passwords(text), *more), wary=is_secret(text))
