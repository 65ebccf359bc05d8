"""Settings to the text of an xl file, which ``xl.parse`` reads back to the same. Pure.

Source: the configuration reader of xl, Xen 4.17: numbers have no sign and texts stand on one line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from xmcompat.config.layout import grouped
from xmcompat.errors import ConfigError
from xmcompat.guest import Value

_NAME = re.compile(r"[a-z][_0-9a-z]*")
_ESCAPES = {
    "\\": "\\\\", '"': '\\"', "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
}  # fmt: skip
_INDENT = "    "


def print_xl(values: Mapping[str, Value]) -> str:
    """The text, with a newline at its end; nothing for no settings.

    Numbers below zero and fractions are texts, as xl wants them. Raises ConfigError for a name that xl cannot read, and
    for a text with a character that ends it (NUL).
    """
    groups = ["".join(f"{_name(name)} = {_value(name, value)}\n" for name, value in group) for group in grouped(values)]
    return "\n".join(groups)


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"'{name}' is no name of a setting in xl's files", hint="names are in lower case")
    return name


def _value(name: str, value: Value) -> str:
    if not isinstance(value, list):
        return _single(name, value)
    if len(value) < 2:
        return f"[{_items(name, value)}]"
    return "[\n" + "".join(f"{_INDENT}{_nested(name, item)},\n" for item in value) + "]"


def _nested(name: str, value: Value) -> str:
    return f"[{_items(name, value)}]" if isinstance(value, list) else _single(name, value)


def _items(name: str, items: list[Value]) -> str:
    return ", ".join(_nested(name, item) for item in items)


def _single(name: str, value: str | int | float) -> str:
    if isinstance(value, int) and value >= 0:
        return str(int(value))
    text = str(value)
    if "\0" in text:
        raise ConfigError(f"{name} has a character that no setting can have")
    return '"' + "".join(_ESCAPES.get(char, char) for char in text) + '"'
