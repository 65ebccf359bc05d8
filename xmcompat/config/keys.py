"""The table of all keys of Xen guest configurations: one row each, with what this release does with it.

Reading, ``xm create --help_config``, ``xmcompat keys`` and the documents read this table. Rows of xm are in
``keys_xm``, those that only xl knows in ``keys_xl``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from xmcompat.guest import Dialect, Value
from xmcompat.notes import Fate


class KeyType(Enum):
    """How a value is read from the command line, and what it is in a file."""

    STRING = "text"
    INT = "number"
    LONG = "bit mask"
    BOOL = "0 or 1"
    LIST = "list"
    STRING_OR_LIST = "text or list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key. ``field`` names the part of GuestConfig it ends in, "" where it goes no further.

    ``harmless`` is true where the guest cannot tell whether the key was followed.
    ``xm_default`` and ``xl_default`` are None where the tool leaves the key unset.
    """

    name: str
    dialects: frozenset[Dialect]
    type: KeyType
    fate: Fate
    meaning: str
    field: str = ""
    reason: str = ""
    suggestion: str = ""
    harmless: bool = False
    xm_default: Value | None = None
    xl_default: Value | None = None


#: A row as the tables write it: name, type, fate, meaning, and what else is not the default.
Row = tuple[str, KeyType, Fate, str, dict[str, object]]


def _table() -> dict[str, Key]:
    from xmcompat.config.keys_xl import ALSO_XL, XL_DEFAULTS, XL_ROWS
    from xmcompat.config.keys_xm import XM_ROWS

    keys = {}
    for rows, own in ((XM_ROWS, Dialect.XM), (XL_ROWS, Dialect.XL)):
        for name, type_, fate, meaning, more in rows:
            dialects = {own}
            if name in ALSO_XL:
                dialects.add(Dialect.XL)
                same = None if type_ in (KeyType.STRING, KeyType.STRING_OR_LIST) else more.get("xm_default")
                more = {**more, "xl_default": XL_DEFAULTS.get(name, same)}
            keys[name] = Key(
                name=name, dialects=frozenset(dialects), type=type_, fate=fate, meaning=meaning, **more  # type: ignore[arg-type]
            )  # fmt: skip
    return keys


KEYS: Mapping[str, Key] = _table()
