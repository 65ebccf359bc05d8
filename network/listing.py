"""What is in our table of the family inet, as lines, and what commands of nft make of it: for whoever reads a plan.

Notes are left out. Pure but ``read``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from xmcompat.network import programs
from xmcompat.network.host import TABLE
from xmcompat.network.programs import ProgramFailed
from xmcompat.network.steps import Command, Step

#: The lines of each chain and map, by "chain NAME" and "map NAME"; the first says what it is.
Listing = Mapping[str, tuple[str, ...]]

_OBJECT = re.compile(r"\t(chain|map) (\S+) \{")
_COMMAND = re.compile(rf"(add|delete|flush) (table|chain|map|rule|element) inet {TABLE} ?(\S*) ?(.*)")

#: Words of nft for priorities that ours are written with.
_PRIORITIES = {"priority dstnat": "priority -100", "priority srcnat": "priority 100"}


def read() -> Listing:
    """That of this host, {} where there is none. Raises NetworkError."""
    if not programs.is_there("nft"):
        return {}
    try:
        return parse(programs.run(("nft", "-s", "list", "table", "inet", TABLE)))
    except ProgramFailed:
        return {}  # it is not there, or the kernel has no such family


def parse(text: str) -> Listing:
    """From what ``nft list table`` prints."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in re.sub(r",\n\s+", ", ", text).splitlines():
        if opened := _OBJECT.fullmatch(line):
            name = f"{opened[1]} {opened[2]}"
            found[name] = []
        elif name and line.startswith("\t\t"):
            found[name] += _elements(line) if line.startswith("\t\telements = ") else [_told(line)]
    return {name: tuple(lines) for name, lines in found.items()}


def after(listing: Listing, steps: Iterable[Step]) -> Listing:
    """What STEPS make of it."""
    found = {name: list(lines) for name, lines in listing.items()}
    for step in steps:
        if isinstance(step.do, Command) and step.do.words[0] == "nft":
            for line in step.do.text.splitlines():
                if command := _COMMAND.fullmatch(line):
                    _change(found, command[1], command[2], command[3], command[4])
    return {name: tuple(lines) for name, lines in found.items()}


def _change(found: dict[str, list[str]], verb: str, kind: str, name: str, rest: str) -> None:
    key = f"{'map' if kind in ('map', 'element') else 'chain'} {name}"
    match verb, kind:
        case "delete", "table":
            found.clear()
        case "add", "chain" | "map":
            found.setdefault(key, [_told(rest)])
        case "delete", "chain" | "map":
            found.pop(key, None)
        case "flush", "chain":
            found[key] = found.get(key, [])[:1]
        case "add", "rule":
            found.setdefault(key, []).append(rest)
        case "add", "element":
            found.setdefault(key, []).extend(_elements(rest))
        case "delete", "element":
            gone = set(_elements(rest))
            found[key] = [line for line in found.get(key, []) if line not in gone]


def _told(line: str) -> str:
    """What a chain or map is, or a rule, spelled alike in listings and commands."""
    text = re.sub(r" ;", ";", line.strip().removeprefix("{").removesuffix("}").strip())
    for word, number in _PRIORITIES.items():
        text = text.replace(word, number)
    return text.removesuffix(";")


def _elements(line: str) -> list[str]:
    inner = line.partition("{")[2].rpartition("}")[0]
    return [one.strip() for one in inner.split(",") if one.strip()]


def lines(listing: Listing) -> Iterator[str]:
    """A line each: "chain NAME: type nat hook ...", "map NAME: tcp . 8080 : 10.0.0.5 . 80"."""
    for name, found in listing.items():
        if not name.startswith("chain note-"):
            yield from (f"{name}: {line}" if line else name for line in found)
