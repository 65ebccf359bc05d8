"""The settings of ``xendomains``: a file of shell variables, read as data. Pure: text in, nothing is run.

Lines are ``NAME="value"``, comments, or blank; quotes are the shell's. Everything else is named with its line and passed
over. Source: the variables of Xen 4.1's init script. Differs from it: a variable that the file does not name has its
usual value; the script took it for empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
#: One piece of a shell word: in single quotes, in double quotes, or bare.
_PIECE = re.compile(r"""'([^']*)'|"((?:[^"\\$`]|\\.)*)"|((?:[^\s'"\\$`;&|<>(){}*?\[\]~#]|\\.)+|[#~](?<=\S[#~]))""")
_ESCAPED = re.compile(r"\\(.)")
_QUOTED_ESCAPED = re.compile(r'\\(["\\$`])')


class Settings(NamedTuple):
    """Times in seconds; 0 for ``stop_maxwait`` is without end. ``shutdown`` and ``shutdown_all`` are words of ``xm
    shutdown``, () for a step to be left out; so is "" for ``migrate``, ``save`` and ``auto``."""

    sysrq: tuple[str, ...] = ()
    usleep: float = 0.1
    create_usleep: float = 5.0
    migrate: str = ""
    save: str = "/var/lib/xen/save"
    shutdown: tuple[str, ...] = ("--halt", "--wait")
    shutdown_all: tuple[str, ...] = ("--all", "--halt", "--wait")
    restore: bool = True
    auto: str = "/etc/xen/auto"
    auto_only: bool = False
    stop_maxwait: float = 300.0


def read(text: str, path: str) -> tuple[Settings, tuple[str, ...]]:
    """The settings in the TEXT of the file PATH, and a sentence for everything in it that has no effect."""
    values: dict[str, object] = {}
    complaints = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        problem = _take(line, values)
        if problem:
            complaints.append(f"{path}:{number}: {problem}")
    return Settings(**values), tuple(complaints)  # type: ignore[arg-type]


def _take(line: str, values: dict[str, object]) -> str:
    """Put what LINE sets into VALUES; what is wrong with it, "" for nothing."""
    found = _ASSIGNMENT.fullmatch(line)
    if not found:
        return f'this is no line NAME="value", and is passed over: {line.strip()[:60]}'
    name, written = found.groups()
    field = name.removeprefix("XENDOMAINS_").lower()
    if not name.startswith("XENDOMAINS_") or field not in _READERS:
        return f"xendomains has no variable {name}"
    text = value_of(written)
    if text is None:
        return f"{name} needs a shell, which is not run for it; its usual value counts"
    if "\0" in text:
        return f"{name} holds a NUL byte; its usual value counts"
    try:
        values[field] = _READERS[field](text)
    except ValueError as error:
        return f"{name}: {error}; its usual value counts"
    return ""


def value_of(written: str) -> str | None:
    """The value of what is WRITTEN after "=", None where only a shell could tell."""
    value, place = "", 0
    while found := _PIECE.match(written, place):
        single, double, bare = found.groups()
        if single is not None:
            value += single
        elif double is not None:
            value += _QUOTED_ESCAPED.sub(r"\1", double)
        else:
            value += _ESCAPED.sub(r"\1", bare)
        place = found.end()
    rest = written[place:]
    apart = not rest or rest[0].isspace() or rest[0] == ";"
    return value if apart and rest.strip(" \t;")[:1] in ("", "#") else None


def _number(scale: float) -> Callable[[str], float]:
    def read_number(text: str) -> float:
        if not text:
            return 0.0
        if not (text.isascii() and text.isdecimal() and len(text) < 16):
            raise ValueError(f"'{text}' is no number")
        return int(text) / scale

    return read_number


def _truth(text: str) -> bool:
    """Only "true" is, as with Xen's script."""
    if text not in ("true", "false", ""):
        raise ValueError(f"'{text}' is neither true nor false")
    return text == "true"


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _shutdown(text: str) -> tuple[str, ...]:
    known = {"-a": "--all", "-w": "--wait", "-H": "--halt"}
    words = tuple(known.get(word, word) for word in text.split())
    wrong = [word for word in words if word not in known.values()]
    if wrong:
        raise ValueError(f"'{wrong[0]}' is none of --all, --halt, --wait")
    return words


_READERS: Mapping[str, Callable[[str], object]] = {
    "sysrq": _words, "usleep": _number(1e6), "create_usleep": _number(1e6), "migrate": str.strip, "save": str,
    "shutdown": _shutdown, "shutdown_all": _shutdown, "restore": _truth, "auto": str, "auto_only": _truth,
    "stop_maxwait": _number(1),
}  # fmt: skip
