"""The line that is typed at the prompt of ``xm shell``: its history, and completion from the table of verbs."""

from __future__ import annotations

import re
import readline
import shlex
import sys
from glob import escape, glob

from xmcompat.errors import XmError
from xmcompat.render.completion import ANY, CONFIG, DOMAIN, FILE, POOL, Row
from xmcompat.xm import wanted
from xmcompat.xm.dispatch import known
from xmcompat.xm.verbs import ALIASES, HELP, VERBS


def prepare() -> None:
    """From now on lines that are typed can be edited, called back, and completed by the tabulator."""
    reconfigure = getattr(sys.stdin, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="surrogateescape")
    readline.set_completer_delims(" \t\n")
    readline.set_completer(Completer().complete)
    readline.parse_and_bind("tab: complete")


class Completer:
    """What readline asks, one match after the other."""

    def __init__(self) -> None:
        self._matches: list[str] = []

    def complete(self, typed: str, number: int) -> str | None:
        if number == 0:
            line = readline.get_line_buffer()[: readline.get_begidx()]
            self._matches = matches(line, typed)
        return self._matches[number] if number < len(self._matches) else None


def matches(before: str, typed: str) -> list[str]:
    """The words that can stand where TYPED begins, behind the text BEFORE it; quoted, with a blank where they end."""
    try:
        words = shlex.split(before)
    except ValueError:
        return []  # within quotes
    if words[:1] == ["xm"]:
        del words[0]
    if not words:
        return [f"{name} " for name in (*VERBS, *ALIASES, HELP.name) if name.startswith(typed)]
    verb = known(words[0])
    return _of_verb(wanted.row(verb), words[1:], typed) if verb is not None else []


def _of_verb(row: Row, given: list[str], typed: str) -> list[str]:
    valued, keys = dict(row.valued), dict(row.keys)
    operands, awaited = 0, ""
    for word in given:
        if awaited:
            awaited = ""
        elif word in valued:
            awaited = word
        else:
            operands += not word.startswith("-") and word.partition("=")[0] not in keys
    name, equals, value = typed.partition("=")
    if awaited:
        return _values(valued[awaited], typed)
    if equals and (name in valued or name in keys):
        return [f"{name}={found}" for found in _values({**valued, **keys}[name], value)]
    if typed.startswith("-"):
        ending = {flag: "=" if flag in valued and flag.startswith("--") else " " for flag in row.flags}
        return [flag + ending[flag] for flag in row.flags if flag.startswith(typed)]
    place = (row.places[operands : operands + 1] or row.places[-1:] if row.repeats else row.places[operands : operands + 1])
    found = _values(place[0], typed) if place else []
    offers_keys = operands or not row.places
    return found + [f"{key}=" for key in keys if key.startswith(typed) and offers_keys]


def _values(kind: str, typed: str) -> list[str]:
    if kind == DOMAIN:
        return [f"{quoted} " for name in _domains() if (quoted := shlex.quote(name)).startswith(typed)]
    if kind in (CONFIG, FILE):
        return _files(kind, typed)
    return [f"{word} " for word in kind.split("|") if kind not in (ANY, POOL) and word.startswith(typed)]


def _domains() -> list[str]:
    """The names of all domains; none where nothing answers."""
    from xmcompat.toolstack import Toolstack

    try:
        with Toolstack.open() as toolstack:
            return [info.name for info in toolstack.domains()]
    except XmError:
        return []


def _files(kind: str, typed: str) -> list[str]:
    """Plain names alone: readline cannot be told here how a word with quotes goes on."""
    found = [f"{path}/" if glob(f"{escape(path)}/") else f"{path} " for path in sorted(glob(f"{escape(typed)}*"))]
    if kind == CONFIG and "/" not in typed:
        found += [f"{path.removeprefix('/etc/xen/')} " for path in sorted(glob(f"/etc/xen/{escape(typed)}*"))]
    return [path for path in found if re.fullmatch(r"[\w.,:@%+/-]+ ?", path)]
