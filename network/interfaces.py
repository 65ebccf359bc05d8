"""The text of /etc/network/interfaces: its stanzas, and a change of it that can be taken back. Pure.

The change makes a card's stanza ``manual``. The lines that go stay where they are, as comments with a sign; ours stand
behind a line that says so. Whatever else somebody changes in the file later, ``unedited`` gives him all but ours.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from xmcompat.network.configured import Facts, kept
from xmcompat.network.programs import NetworkError

MAIN = "/etc/network/interfaces"
#: The line before a line of ours, and the beginning of a line that is set aside.
OURS = "#xmcompat: the next line is xmcompat's; 'xmcompat network persist --forget' takes it away"
ASIDE = "#xmcompat| "

#: Words that begin a stanza.
_STANZAS = ("iface", "mapping", "auto", "source", "source-directory", "template", "rename", "no-auto-down", "no-scripts")


@dataclass(frozen=True, slots=True)
class Line:
    """A line as ifupdown reads it: its words, and the numbers of the lines of the file that it is made of."""

    words: tuple[str, ...]
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stanza:
    """``iface DEVICE FAMILY METHOD`` of the file PATH, with its options."""

    path: str
    device: str
    family: str
    method: str
    head: Line
    options: tuple[Line, ...]
    inherits: bool = False


def read_lines(text: str) -> Iterator[Line]:
    """The lines that say something; one that ends with a backslash goes on in the next."""
    words: list[str] = []
    numbers: list[int] = []
    for number, raw in enumerate(text.split("\n")):
        if not numbers and (not raw.strip() or raw.lstrip().startswith("#")):
            continue
        numbers.append(number)
        goes_on = raw.endswith("\\")
        words += (raw[:-1] if goes_on else raw).split()
        if not goes_on:
            yield Line(tuple(words), tuple(numbers))
            words, numbers = [], []
    if numbers:
        yield Line(tuple(words), tuple(numbers))


def stanzas(path: str, text: str) -> tuple[Stanza, ...]:
    """The ``iface`` stanzas of a file."""
    found: list[Stanza] = []
    head: Line | None = None
    options: list[Line] = []

    def close() -> None:
        if head is not None and len(head.words) > 1:
            rest = (*head.words[2:], "", "")
            simple = len(head.words) == 4
            found.append(Stanza(path, head.words[1], rest[0], rest[1], head, tuple(options), inherits=not simple))

    for line in read_lines(text):
        if line.words and (line.words[0] in _STANZAS or line.words[0].startswith("allow-")):
            close()
            head, options = (line if line.words[0] == "iface" else None), []
        else:
            options.append(line)
    close()
    return tuple(found)


def sources(text: str) -> tuple[str, ...]:
    """The patterns of files that the text reads as well."""
    found = []
    for line in read_lines(text):
        if line.words[:1] == ("source",):
            found += list(line.words[1:])
        elif line.words[:1] == ("source-directory",):
            found += [f"{word.rstrip('/')}/*" for word in line.words[1:]]
    return tuple(word if word.startswith("/") else f"/etc/network/{word}" for word in found)


def read_files(files: Mapping[str, str]) -> dict[str, str]:
    """Those of FILES that ifupdown reads, beginning with the main one."""
    found = {MAIN: files[MAIN]} if MAIN in files else {}
    todo = list(found)
    while todo:
        for pattern in sources(files[todo.pop(0)]):
            new = [path for path in sorted(files) if path not in found and fnmatch.fnmatchcase(path, pattern)]
            found |= {path: files[path] for path in new}
            todo += new
    return found


def of_device(device: str, files: Mapping[str, str]) -> tuple[Stanza, ...]:
    """The stanzas of DEVICE, and of its labels ("eth0:1"), in all files that ifupdown reads."""
    return tuple(
        one for path, text in read_files(files).items() for one in stanzas(path, text)
        if one.device == device or one.device.startswith(f"{device}:")
    )  # fmt: skip


def manages(device: str, facts: Facts) -> bool:
    """Whether ifupdown configures DEVICE."""
    if "ifup" not in facts.programs or MAIN not in facts.files:
        return False
    state = [line.partition("=")[0].strip() for line in facts.text("/run/network/ifstate").splitlines()]
    files = {path: unedited(one.text, path) for path, one in facts.files.items()}
    return device in state or f"/run/network/ifstate.{device}" in facts.files or bool(of_device(device, files))


# -- the change


def edited(text: str, aside: Iterable[int], manual: Mapping[int, str], first: str = "") -> str:
    """TEXT with the lines ASIDE set aside, the lines MANUAL in front of those numbers, and the line FIRST at the top.

    Raises NetworkError for a text that has the like of our signs.
    """
    numbers = frozenset(aside)
    lines = [*([OURS, first] if first else [])]
    for number, line in enumerate(text.split("\n")):
        if number in manual:
            lines += [OURS, manual[number]]
        lines.append(f"{ASIDE}{line}" if number in numbers else line)
    new = "\n".join(lines)
    if OURS in text or ASIDE in text or unedited(new, MAIN) != text:
        raise NetworkError("the file has lines that look like xmcompat's", hint=f"remove what begins with '{ASIDE[:-2]}'")
    return new


_MANUAL = re.compile(r"iface \S+ inet6? manual|source /etc/network/interfaces\.d/xmcompat")


def unedited(text: str, path: str) -> str:
    """TEXT without our changes. Raises NetworkError where somebody has changed the very lines."""
    if OURS not in text:
        return text
    lines: list[str] = []
    given = iter(text.split("\n"))
    for line in given:
        if line == OURS:
            ours = next(given, "")
            if not _MANUAL.fullmatch(ours):
                raise NetworkError(f"{path}: the line of xmcompat's has become '{ours.strip()}'",
                                   hint=f"put the file right by hand; {kept(path)} is how it was")  # fmt: skip
        else:
            lines.append(line.removeprefix(ASIDE))
    return "\n".join(lines)

