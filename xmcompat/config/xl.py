"""The grammar of xl's configuration files: text to settings. Pure.

It looks like Python and is none: lower-case names, numbers without a sign, texts in quotes, and lists of these.
Source: the configuration reader of xl, Xen 4.17.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from xmcompat.errors import ConfigLimit, ConfigSyntax
from xmcompat.guest import Value

#: No honest configuration has more characters, or lists within lists.
LARGEST = 1024 * 1024
DEEPEST = 20

_MOST_WARNINGS = 100

PYTHON_HINT = "Config file looks like it contains Python code"

_TOKEN = re.compile(
    r"""(?P<blank>[ \t]+|\r(?=\n))
    |(?P<comment>\#[^\n]*)
    |(?P<newline>\n)
    |(?P<name>[a-z][_0-9a-z]*)
    |(?P<number>[0-9][0-9a-fx]*)
    |(?P<string>'(?:[^'\\\n]|\\[^\n])*'|"(?:[^"\\\n]|\\[^\n])*")
    |(?P<mark>\+=|[=;,\[\]])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([0-7]{1,3})|(.))", re.DOTALL)
_ESCAPED = {
    "'": "'", '"': '"', "\\": "\\", "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
}  # fmt: skip
_NUMBER = re.compile(r"\s*([+-]?)(?:0[xX]([0-9a-fA-F]+)|0([0-7]*)|([1-9][0-9]*))", re.ASCII)
_LARGEST_NUMBER = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class XlText:
    """The settings of one text, in the order of their last definition. Numbers stay texts, as written.

    ``lines`` has the line of the last definition of each; ``warnings`` what a reader should know, one line each.
    """

    values: dict[str, Value]
    lines: dict[str, int]
    warnings: tuple[str, ...] = ()


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


@dataclass(slots=True)
class _Setting:
    """A setting under way; texts are joined at the end, since ``+=`` may be repeated without end."""

    line: int
    pieces: list[str] | None = None
    items: list[Value] | None = None

    def value(self) -> Value:
        return "".join(self.pieces) if self.pieces is not None else self.items or []


def number(text: str) -> int | None:
    """The number that xl reads in a text: 10, 0x1f, 017 (octal), a sign in front; None where it is none.

    The range is that of 64 bits.
    """
    found = _NUMBER.fullmatch(text) if len(text) < 100 else None
    if not found:
        return None
    sign, hexadecimal, octal, decimal = found.groups()
    value = int(hexadecimal, 16) if hexadecimal else int(decimal) if decimal else int(octal or "0", 8)
    if value > _LARGEST_NUMBER:
        return None
    return -value if sign == "-" else value


def parse(text: str, path: str) -> XlText:
    """The settings of TEXT; PATH is for messages. The last definition of a name counts, ``+=`` appends.

    Raises ConfigSyntax with path and line, ConfigLimit for more than any honest file has.
    Differs from xl: carriage returns at the ends of lines are passed over; values that xl loses have a warning.
    """
    if len(text) > LARGEST:
        raise ConfigLimit(f"this is larger than {LARGEST // 1024} KiB: no guest configuration", path=path)
    return _Parser(text, path).settings()


class _Parser:
    def __init__(self, text: str, path: str) -> None:
        self._path = path
        self._tokens = self._scan(text)
        self._now = next(self._tokens)
        self._settings: dict[str, _Setting] = {}
        self._warnings: list[str] = []

    def settings(self) -> XlText:
        while self._now.kind != "end":
            if self._now.kind == "name":
                self._setting()
            elif not self._ends():
                raise self._wrong()
            else:
                self._next()
        return XlText(
            values={name: setting.value() for name, setting in self._settings.items()},
            lines={name: setting.line for name, setting in self._settings.items()},
            warnings=tuple(self._warnings[:_MOST_WARNINGS]),
        )

    def _scan(self, text: str) -> Iterator[_Token]:
        at, line = 0, 1
        while at < len(text):
            found = _TOKEN.match(text, at)
            if not found:
                raise self._lexical(text, at, line)
            at = found.end()
            if found.lastgroup == "newline":
                yield _Token("newline", "\n", line)
                line += 1
            elif found.lastgroup not in ("blank", "comment"):
                yield _Token(found.lastgroup or "", found[0], line)
        yield _Token("end", "", line)

    def _lexical(self, text: str, at: int, line: int) -> ConfigSyntax:
        char = text[at]
        if char in "'\"":
            return self._error(line, "a text has no closing quote on its line")
        hint = None
        if char in "+-.():":
            hint = PYTHON_HINT
        elif char.isascii() and char.isupper():
            word = re.match(r"\w+", text[at:at + 100])
            return self._error(
                line, f"config parsing error near `{word[0] if word else char}': lexical error",
                "names are in lower case; texts need quotes, truth values are 0 and 1",
            )  # fmt: skip
        shown = char if char.isprintable() else f"\\x{ord(char):02x}"
        return self._error(line, f"config parsing error near `{shown}': lexical error", hint)

    def _error(self, line: int, message: str, hint: str | None = None) -> ConfigSyntax:
        return ConfigSyntax(message, path=self._path, line=line, hint=hint)

    def _wrong(self) -> ConfigSyntax:
        """What stands here may not."""
        token = self._now
        if token.kind in ("newline", "end"):
            return self._error(token.line, "config parsing error: the line ends too early")
        shown = token.text if len(token.text) <= 40 else token.text[:37] + "..."
        hint = "texts need quotes, truth values are 0 and 1" if token.kind == "name" else None
        return self._error(token.line, f"config parsing error near `{shown}': syntax error", hint)

    def _next(self) -> _Token:
        token = self._now
        if token.kind != "end":
            self._now = next(self._tokens)
        return token

    def _ends(self) -> bool:
        return self._now.kind in ("newline", "end") or self._now.text == ";"

    def _setting(self) -> None:
        """NAME = VALUE or NAME += VALUE, to the end of the line or a semicolon."""
        name = self._next()
        if self._now.text not in ("=", "+="):
            raise self._wrong()
        operator = self._next()
        value = self._value(0)
        if not self._ends():
            raise self._wrong()
        self._store(name, operator.text, value)

    def _store(self, name: _Token, operator: str, value: Value) -> None:
        old = self._settings.pop(name.text, None)
        new = _Setting(line=name.line)
        if old and operator == "+=":
            if isinstance(value, list) != (old.items is not None):
                added, there = ("list", "text") if isinstance(value, list) else ("text", "list")
                raise self._error(name.line, f"{name.text}: can't add a {added} to a {there}")
            new.pieces, new.items = old.pieces, old.items
        elif old:
            self._warnings.append(
                f"line {name.line}: {name.text} is set again; what line {old.line} says of it does not count"
            )
        if isinstance(value, list):
            new.items = new.items or []
            new.items.extend(value)
        else:
            new.pieces = new.pieces or []
            new.pieces.append(str(value))
        self._settings[name.text] = new

    def _value(self, depth: int) -> Value:
        token = self._now
        if token.kind == "number":
            return self._next().text
        if token.kind == "string":
            return self._dequoted(self._next())
        if token.text != "[":
            raise self._wrong()
        if depth >= DEEPEST:
            raise ConfigLimit(f"lists are nested more than {DEEPEST} deep", path=self._path, line=token.line)
        self._next()
        return self._list(depth + 1)

    def _list(self, depth: int) -> list[Value]:
        """The values up to the closing bracket; a comma may follow the last."""
        items: list[Value] = []
        self._newlines()
        while self._now.text != "]":
            items.append(self._value(depth))
            self._newlines()
            if self._now.text != ",":
                break
            self._next()
            self._newlines()
        if self._now.text != "]":
            raise self._wrong()
        self._next()
        return items

    def _newlines(self) -> None:
        while self._now.kind == "newline":
            self._next()

    def _dequoted(self, token: _Token) -> str:
        inner = token.text[1:-1]
        if "\\" not in inner:
            return inner

        def plain(found: re.Match[str]) -> str:
            hexadecimal, octal, char = found.groups()
            if hexadecimal or octal:
                self._warnings.append(f"line {token.line}: xl loses the character that {found[0]} stands for")
                return ""
            if char not in _ESCAPED:
                raise self._error(token.line, f"invalid character after backslash: {found[0]}")
            return _ESCAPED[char]

        return _ESCAPE.sub(plain, inner)
