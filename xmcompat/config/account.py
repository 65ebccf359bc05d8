"""The account of a configuration: what became of every name that it sets. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from xmcompat.config.keys import KEYS, Key
from xmcompat.guest import Dialect, GuestConfig, Value
from xmcompat.notes import Fate, Note

#: Keys whose value is never shown.
SECRET = ("vncpasswd", "spicepasswd")

#: Values that ask for nothing beyond what every guest gets; then a key that comes later is no loss.
_NOTHING: dict[str, tuple[Value, ...]] = {
    "pool": ("Pool-0", ""), "on_xend_start": ("ignore",), "on_xend_stop": ("ignore",), "cpus": ("", "all"),
    "cpu_weight": (256,), "hap": (1,), "tsc_mode": (0, 2),
}  # fmt: skip

#: The shortest names for which a likeness to a key says something.
_LIKENESS = 0.8
_SHORTEST = 4


def account(guest: GuestConfig) -> tuple[Note, ...]:
    """One note for each name that the configuration sets, in the order of its lines."""
    notes = [_note(guest, KEYS[name], value) for name, value in guest.options.items()]
    notes += [_stranger(guest, name, value) for name, value in guest.unknown.items()]
    return tuple(sorted(notes, key=lambda note: note.line or 0))


def _note(guest: GuestConfig, key: Key, value: Value) -> Note:
    fate, reason, harmless = key.fate, key.reason, key.harmless
    if fate in (Fate.NOT_YET, Fate.REFUSED) and _asks_nothing(key, value):
        fate, reason, harmless = Fate.CARRIED, "it asks for what every guest gets", True
    elif guest.dialect is Dialect.XM and Dialect.XM not in key.dialects:
        fate, reason, harmless = Fate.NO_MEANING, "xm does not know it; it is a key of xl", False
    elif fate is Fate.CARRIED:
        harmless = True
    elif fate is Fate.NO_MEANING and value in (key.xm_default, 0, "", []):
        harmless = True
    return Note(
        key=key.name, fate=fate, reason=reason, suggestion=key.suggestion, value=_shown(key.name, value),
        path=guest.source or None, line=guest.lines.get(key.name), harmless=harmless,
    )  # fmt: skip


def _asks_nothing(key: Key, value: Value) -> bool:
    return value in (0, "", "0", []) or value == key.xm_default or value in _NOTHING.get(key.name, ())


def _stranger(guest: GuestConfig, name: str, value: Value) -> Note:
    """A name that no Xen tool knows: mostly a variable of the script; perhaps a key misspelt."""
    known: Iterable[str] = [key for key in KEYS if Dialect.XM in KEYS[key].dialects]
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=_LIKENESS) if len(name) >= _SHORTEST else []
    # "memory2" beside "memory", "disk1" beside "disk": a script's own variable
    meant = near and near[0] not in guest.options and not name[-1].isdigit()
    return Note(
        key=name, fate=Fate.NO_MEANING, reason="no Xen tool knows it", value=_shown(name, value),
        suggestion=f"did you mean '{near[0]}'?" if meant else "", path=guest.source or None,
        line=guest.lines.get(name), harmless=not meant,
    )  # fmt: skip


def _shown(name: str, value: Value) -> str:
    """The value as the user wrote it, shortened; without passwords."""
    if name in SECRET or "vncpasswd" in str(value):
        return "(not shown)"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
