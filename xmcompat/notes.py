"""What became of each setting: the account that every reading of a configuration ends in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

#: Parts of names that stand for passwords, misspelt ones included ("vncpaswd").
_SECRET = re.compile(r"pa?s+[_-]?w|passphrase|secret", re.IGNORECASE)


def is_secret(*texts: object) -> bool:
    """Whether one of TEXTS, names or values, names a password: then no value is shown."""
    return any(_SECRET.search(str(text)) for text in texts)


class Fate(Enum):
    """The four ends of a key read from a user's file, a fifth for what stops the work, and one for what another of
    Xen's tools has no word for."""

    CARRIED = "carried over"
    APPROXIMATED = "approximated"
    NO_MEANING = "no meaning on KVM"
    NOT_YET = "not supported yet"
    REFUSED = "refused"
    NO_COUNTERPART = "no counterpart"


def joined(account: Iterable[Note], translation: Iterable[Note]) -> tuple[Note, ...]:
    """The notes of ACCOUNT, which tell of keys as such, and of TRANSLATION, which tells of their values, by their lines.

    Where the translation tells what became of a key, the account's bare "carried over" or approximation is left out.
    """
    told = tuple(translation)
    changed = {(note.path, note.key) for note in told if note.fate is not Fate.CARRIED}
    vague = (Fate.CARRIED, Fate.APPROXIMATED, Fate.NO_MEANING)
    kept = [
        note for note in account
        if not (note.harmless and note.fate in vague and (note.path, note.key) in changed)
    ]  # fmt: skip
    return tuple(sorted((*kept, *told), key=lambda note: note.line or 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One setting, what became of it, and why.

    ``harmless`` is true where the guest cannot tell the difference (INFO): such notes are counted, not
    printed one by one. ``key`` is the option's name, with an index for lists: ``disk[1]``.
    ``value`` is the text as the user wrote it (passwords left out).
    """

    key: str
    fate: Fate
    reason: str = ""
    value: str = ""
    path: str | None = None
    line: int | None = None
    suggestion: str = ""
    harmless: bool = False

    def text(self) -> str:
        """One line, whatever the value holds: place, key, fate, reason, suggestion."""
        place = f"{self.path}:{self.line}: " if self.path and self.line else f"{self.path}: " if self.path else ""
        shown = f"{self.key} = {self.value}" if self.value else self.key
        parts = [f"{place}{shown}: {self.fate.value}"]
        if self.reason:
            parts.append(self.reason)
        if self.suggestion:
            parts.append(self.suggestion)
        return "; ".join(parts).replace("\n", "\\n").replace("\r", "\\r")
