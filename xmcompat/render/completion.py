"""Completion for bash and zsh: from what each verb takes to a script of its own. Pure.

A script holds the table and asks xm only where the name of a domain or pool is wanted. Names are data to it: they are never
expanded or executed, and those with odd characters are quoted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xmcompat.render.completion_shells import BASH, ZSH

#: What a word can be, besides choices ("r|w") and nothing that is known (ANY).
DOMAIN, POOL, CONFIG, FILE, ANY = "domain", "pool", "config", "file", "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What verb NAME of a PROGRAM takes. The last of ``places`` counts for all that follow where it ``repeats``.

    ``valued`` and ``keys`` are (flag or key, kind of its value); a flag of ``flags`` may be of ``valued`` too.
    """

    program: str
    name: str
    aliases: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    valued: tuple[tuple[str, str], ...] = ()
    places: tuple[str, ...] = ()
    repeats: bool = False
    keys: tuple[tuple[str, str], ...] = ()


def bash(rows: Iterable[Row]) -> str:
    """The script for bash, to be sourced."""
    return BASH.replace("@TABLE@", _table(list(rows)))


def zsh(rows: Iterable[Row]) -> str:
    """The script for zsh, to be sourced or to lie in its function path as ``_xm``."""
    return ZSH.replace("@TABLE@", _table(list(rows)))


def _table(rows: list[Row]) -> str:
    """A function in words that both shells have: it sets the variables for "PROGRAM VERB", or the verbs of "PROGRAM"."""
    lines = ["_xmcompat_row() {", "    flags='' valued='' places='' repeats='' keys='' verbs=''", '    case "$1" in']
    for program, names in _names(rows).items():
        lines.append(f"    {program}) verbs='{' '.join(names)}' ;;")
    for row in rows:
        patterns = "|".join(f"'{row.program} {name}'" for name in (row.name, *row.aliases))
        parts = (
            ("flags", " ".join(_flags(row))), ("valued", _pairs(row.valued)), ("places", " ".join(row.places)),
            ("repeats", "yes" if row.repeats else ""), ("keys", _pairs(row.keys)),
        )  # fmt: skip
        values = " ".join(f"{name}='{value}'" for name, value in parts if value)
        lines.append(f"    {patterns}) {values or ':'} ;;")
    return "\n".join([*lines, "    *) return 1 ;;", "    esac", "}"])


def _names(rows: list[Row]) -> Mapping[str, list[str]]:
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(row.program, []).extend((row.name, *row.aliases))
    return names


def _flags(row: Row) -> list[str]:
    """A long flag that takes a value ends in "="."""
    takes = {flag for flag, _ in row.valued}
    return [f"{flag}=" if flag in takes and flag.startswith("--") else flag for flag in row.flags]


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return " ".join(f"{name}:{kind}" for name, kind in pairs)
