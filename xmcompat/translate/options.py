"""Settings that GuestConfig has no field for, read from its ``options`` as Xen reads them. Pure."""

from __future__ import annotations

from xmcompat.guest import GuestConfig


def text(guest: GuestConfig, key: str) -> str:
    """The setting as text without surrounding blanks, "" where it is not given or is a list."""
    value = guest.options.get(key, "")
    return "" if isinstance(value, list) else str(value).strip()


def texts(guest: GuestConfig, key: str) -> tuple[str, ...]:
    """The settings of a key that may be one text or a list of them; empty ones are left out."""
    value = guest.options.get(key, "")
    items = value if isinstance(value, list) else [value]
    return tuple(word for item in items if not isinstance(item, list) and (word := str(item).strip()))


def flag(guest: GuestConfig, key: str, default: bool) -> bool:
    """A truth value: a number, or a text of digits; DEFAULT where it is not given or neither."""
    value = text(guest, key)
    return int(value) != 0 if value.isascii() and value.isdecimal() else default
