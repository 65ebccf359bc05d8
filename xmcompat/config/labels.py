"""The security label in the text of a configuration script: found, put in, commented out. All else stays as it is. Pure.

Texts here have a character for each byte of the file (Latin-1), so that nothing is lost in any encoding; policies and
labels are words as the command line has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from xmcompat.config.py2tokens import TOKEN
from xmcompat.config.specs_more import access_control_pair
from xmcompat.errors import ConfigError

KEY = "access_control"
_NEWLINE = re.compile(r"\r\n|\r|\n")
_MARK = "\xef\xbb\xbf"  # of UTF-8, in front of all


class Token(NamedTuple):
    """A word or sign of a script, with the place in the text where it begins. ``kind`` as in ``py2tokens``."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class Entry(NamedTuple):
    """An assignment of the key: from its name to the last sign of its value. ``alone``: nothing else is on its lines."""

    start: int
    end: int
    texts: tuple[str, ...]
    plain: bool
    alone: bool
    indented: bool


def label_of(text: str, path: str) -> tuple[str, str] | None:
    """(policy, label) of the script; None where it has none. Raises ConfigError for what only running it could tell."""
    entries = list(_entries(text, path))
    if not entries:
        return None
    last = entries[-1]
    if not last.plain:
        raise ConfigError(f"the value of {KEY} is not a list of plain texts", path=path, line=_line(text, last.start))
    return access_control_pair(last.texts) if last.texts else None


def labelled(text: str, path: str, *, policy: str, label: str) -> str:
    """TEXT with a line more at its end. Raises ConfigError where that would not be read as a line of its own."""
    newlines = _NEWLINE.findall(text)
    newline = newlines[-1] if newlines else "\n"
    between = "" if not text or text.endswith(("\n", "\r")) else newline
    words = f"policy={policy},label={label}".encode("utf-8", "surrogateescape").decode("latin-1")
    changed = f"{text}{between}{KEY} = ['{words}']{newline}"
    if label_of(changed, path) != (policy, label):
        raise ConfigError("a line at the end of this file would not be read: a bracket or a text is not closed", path=path)
    return changed


def unlabelled(text: str, path: str) -> str:
    """TEXT with every assignment of the key made a comment. Raises ConfigError where other settings share its line."""
    parts, done = [], 0
    for entry in _entries(text, path):
        if not entry.alone:
            line = _line(text, entry.start)
            raise ConfigError(
                f"{KEY} shares its line with something else", path=path, line=line, hint="give it a line of its own"
            )
        mark = "pass  # " if entry.indented else "# "  # a block must not become empty
        assignment = _NEWLINE.sub(r"\g<0># ", text[entry.start : entry.end])
        parts += [text[done : entry.start], mark, assignment]
        done = entry.end
    return "".join((*parts, text[done:]))


def _entries(text: str, path: str) -> Iterator[Entry]:
    flat = _flat(text)
    for statement in _statements(flat, path):
        words = [token for token in statement if token.kind not in ("space", "join", "comment", "newline")]
        if len(words) < 3 or words[0].text != KEY:
            continue
        if words[1].text == "+=":
            line = _line(text, words[0].start)
            raise ConfigError(f"{KEY} is changed after it was set", path=path, line=line, hint="make it one list")
        if words[1].text == "=":
            yield _entry(text, flat, words)


def _flat(text: str) -> str:
    """TEXT, each place of which stays where it is, with line feeds alone between lines and no mark of UTF-8 in front."""
    bare = " " * len(_MARK) + text[len(_MARK) :] if text.startswith(_MARK) else text
    return bare.replace("\r\n", "\n ").replace("\r", "\n")


def _line(text: str, place: int) -> int:
    return len(_NEWLINE.findall(text, 0, place)) + 1


def _entry(text: str, flat: str, words: list[Token]) -> Entry:
    last = words[-2] if words[-1].text == ";" else words[-1]
    before = text[flat.rfind("\n", 0, words[0].start) + 1 : words[0].start].removeprefix("\n").removeprefix(_MARK)
    ends = flat.find("\n", last.end)
    behind = flat[last.end : ends if ends >= 0 else len(flat)].strip()
    value = words[2:-1] if words[-1].text == ";" else words[2:]
    plain = all(token.kind == "string" or token.text in "[](),+" for token in value)
    return Entry(
        words[0].start, last.end, _texts(value),
        plain=plain and not any("\\" in token.text for token in value if token.kind == "string"),
        alone=not before.strip() and (not behind or behind.startswith("#")), indented=bool(before),
    )  # fmt: skip


def _texts(value: list[Token]) -> tuple[str, ...]:
    """The texts of a list; those with nothing or a plus sign between them are one."""
    texts: list[str] = []
    goes_on = False
    for token in value:
        if token.kind == "string":
            before = texts.pop() if goes_on else ""
            texts.append(before + _content(token.text))
        goes_on = token.kind == "string" or (goes_on and token.text == "+")
    return tuple(texts)


def _content(string: str) -> str:
    bare = string.lstrip("uUbBrR")
    quotes = 3 if bare[:3] in ("'''", '"""') else 1
    return bare[quotes:-quotes].encode("latin-1").decode("utf-8", "surrogateescape")


def _statements(text: str, path: str) -> Iterator[list[Token]]:
    """Simple statements, and the headers of compound ones, each with the sign that ends it."""
    statement: list[Token] = []
    depth = 0
    for match in TOKEN.finditer(text):
        token = Token(match.lastgroup or "op", match[0], match.start())
        if token.kind == "open" or token.text in ("'", '"'):
            raise ConfigError("a text is not closed", path=path, line=_line(text, token.start))
        statement.append(token)
        depth += (token.text in "([{") - (token.text in ")]}") if token.kind == "op" else 0
        if depth == 0 and (token.kind == "newline" or token.text in (";", ":")):
            yield statement
            statement = []
    yield statement
