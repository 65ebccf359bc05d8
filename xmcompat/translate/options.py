"""Settings that GuestConfig has no field for, read from its ``options`` as Xen reads them. Pure.

A key that the guest's own tool does not know counts as not given: xm passes over ``vga``, xl over ``fda``.
"""

from __future__ import annotations

from xmcompat.config.keys import KEYS
from xmcompat.guest import Dialect, GuestConfig, Value


def given(guest: GuestConfig, key: str) -> Value:
    """The setting as read, "" where it is not given, or not known to the guest's dialect. SXP is xm's."""
    dialect = Dialect.XL if guest.dialect is Dialect.XL else Dialect.XM
    return guest.options.get(key, "") if key in KEYS and dialect in KEYS[key].dialects else ""


def text(guest: GuestConfig, key: str) -> str:
    """The setting as text without surrounding blanks, "" where it is not given or is a list."""
    value = given(guest, key)
    return "" if isinstance(value, list) else str(value).strip()


def texts(guest: GuestConfig, key: str) -> tuple[str, ...]:
    """The settings of a key that may be one text or a list of them; empty ones are left out."""
    value = given(guest, key)
    items = value if isinstance(value, list) else [value]
    return tuple(word for item in items if not isinstance(item, list) and (word := str(item).strip()))


def flag(guest: GuestConfig, key: str, default: bool) -> bool:
    """A truth value: a number, or a text of digits; DEFAULT where it is not given or neither."""
    value = text(guest, key)
    return bool(value.strip("0")) if value.isascii() and value.isdecimal() else default


def pairs(device: str) -> dict[str, str]:
    """The ``key=value`` pieces of the text of one device, without blanks around them; a word alone has no value."""
    found = (piece.partition("=") for piece in device.split(",") if piece.strip())
    return {key.strip(): value.strip() for key, _, value in found}
