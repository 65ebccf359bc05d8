"""Files of sections in brackets, those of systemd and those of NetworkManager, read as they are written. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Section(NamedTuple):
    """``[NAME]``, which may be there several times, with its lines in order."""

    name: str
    lines: tuple[tuple[str, str], ...]

    def all(self, key: str) -> list[str]:
        return [value for name, value in self.lines if name == key]

    def get(self, key: str, default: str = "") -> str:
        """The last value of KEY."""
        return [default, *self.all(key)][-1]


def parse(text: str) -> tuple[Section, ...]:
    """The sections, without comments. A line that ends with a backslash goes on in the next."""
    found: list[tuple[str, list[tuple[str, str]]]] = []
    begun = ""
    for raw in text.splitlines():
        if raw.lstrip().startswith(("#", ";")):
            continue
        line = (begun + raw).strip()
        if line.endswith("\\"):
            begun = line[:-1].rstrip() + " "
            continue
        begun = ""
        if line.startswith("[") and line.endswith("]"):
            found.append((line[1:-1], []))
        elif "=" in line and found:
            key, _, value = line.partition("=")
            found[-1][1].append((key.strip(), value.strip()))
    return tuple(Section(name, tuple(lines)) for name, lines in found)


def named(sections: Iterable[Section], name: str) -> Section:
    """All sections of NAME in one, empty where there is none."""
    return Section(name, tuple(line for one in sections if one.name == name for line in one.lines))


def text(header: str, sections: Iterable[Section]) -> str:
    """A file that begins with the comment HEADER. A section without lines is left out."""
    parts = [f"[{one.name}]\n" + "".join(f"{key}={value}\n" for key, value in one.lines) for one in sections if one.lines]
    return header + "\n" + "\n".join(parts)
