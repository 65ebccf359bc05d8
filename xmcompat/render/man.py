"""Manual pages: sections and lists to troff, in the ``man`` macros. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading, paragraphs below it, and (term, text) entries; ``sub`` marks a part of the section before."""

    title: str
    paragraphs: Sequence[str] = ()
    entries: Sequence[tuple[str, str]] = ()
    sub: bool = False


def page(name: str, number: int, tagline: str, version: str, sections: Iterable[Section]) -> str:
    """The page NAME(NUMBER). TAGLINE is what ``whatis`` shows."""
    lines = [
        f'.TH "{escaped(name.upper())}" "{number}" "" "xmcompat {version}" "xmcompat"',
        ".SH NAME",
        f"{escaped(name)} \\- {escaped(tagline)}",
    ]
    for section in sections:
        lines += _section(section)
    return "\n".join(lines) + "\n"


def _section(section: Section) -> list[str]:
    lines = [f'.{"SS" if section.sub else "SH"} "{escaped(section.title)}"']
    for index, paragraph in enumerate(section.paragraphs):
        lines += [".PP"] * (index > 0) + [_line(paragraph)]
    for term, text in section.entries:
        lines += [".TP", f".B {_argument(term)}", _line(text) if text else "\\&"]
    return lines


def escaped(text: str) -> str:
    """TEXT in which nothing is a command of troff's, and a hyphen is one that can be copied."""
    return re.sub(r"\s+", " ", text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq"))


def _line(text: str) -> str:
    """A line of text, which must not begin as a command does."""
    shown = escaped(text)
    return "\\&" + shown if shown.startswith((".", "'")) else shown


def _argument(text: str) -> str:
    return f'"{escaped(text)}"'
