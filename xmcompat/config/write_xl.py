"""Settings to the text of an xl file, which ``xl.parse`` reads back to the same. Pure.

Source: the configuration reader of xl, Xen 4.17: numbers have no sign and texts stand on one line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from xmcompat.config.layout import laid_out
from xmcompat.errors import ConfigError
from xmcompat.guest import Scalar, Value

_NAME = re.compile(r"[a-z][_0-9a-z]*")
_ESCAPES = {
    "\\": "\\\\", '"': '\\"', "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
}  # fmt: skip


def print_xl(values: Mapping[str, Value]) -> str:
    """The text, with a newline at its end; nothing for no settings.

    Numbers below zero and fractions are texts, as xl wants them. Raises ConfigError for a name that xl cannot read, and
    for a text with a character that ends it (NUL).
    """
    return laid_out(values, name=_name, single=_single)


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"'{name}' is no name of a setting in xl's files", hint="names are in lower case")
    return name


def _single(name: str, value: Scalar) -> str:
    if isinstance(value, int) and value >= 0:
        return str(int(value))
    text = str(value)
    if "\0" in text:
        raise ConfigError(f"{name} has a character that no setting can have")
    return '"' + "".join(_ESCAPES.get(char, char) for char in text) + '"'
