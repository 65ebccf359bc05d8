"""Settings to the text of an xm file: assignments that Python 2, and so xm, reads back to the same values. Pure."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Mapping

from xmcompat.config.layout import laid_out
from xmcompat.errors import ConfigError
from xmcompat.guest import Scalar, Value

#: Python 2 wants to be told before the first character that is not ASCII.
_CODING = "# -*- coding: utf-8 -*-\n\n"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LARGEST_INT = 2**63 - 1  # above it, and as far below zero, are Python 2's longs, which xm passes over
_WORDS_OF_PYTHON_2 = ("print", "exec")


def print_cfg(values: Mapping[str, Value]) -> str:
    """The text, in UTF-8 once it is encoded, with a newline at its end; nothing for no settings.

    Bytes that are no UTF-8 (lone surrogates) are escapes. Raises ConfigError for a name that Python cannot read, and
    for a value that it cannot say.
    """
    text = laid_out(values, name=_name, single=_single)
    return text if text.isascii() else _CODING + text


def _name(name: str) -> str:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or name in _WORDS_OF_PYTHON_2:
        raise ConfigError(f"'{name}' is no name of a setting in xm's files")
    return name


def _single(name: str, value: Scalar) -> str:
    if isinstance(value, str):
        return "'" + "".join(_character(name, char) for char in value) + "'"
    if isinstance(value, float):
        if math.isnan(value):
            raise ConfigError(f"{name} is no number that can be written")
        return repr(value) if math.isfinite(value) else "1e999" if value > 0 else "-1e999"
    number = int(value)
    return str(number) if abs(number) <= _LARGEST_INT else f"'{number}'"


def _character(name: str, char: str) -> str:
    code = ord(char)
    if char in _ESCAPES:
        return _ESCAPES[char]
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if 0xD800 <= code <= 0xDFFF:
        raise ConfigError(f"{name} has a character that no setting can have")
    return f"\\x{code:02x}" if code < 0x20 or code == 0x7F else char
