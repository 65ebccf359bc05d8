"""The layouts of help and usage. Pure: texts in, text out.

Source of the widths and of the places of blanks: xm of Xen 4.1. A wrapped line holds two characters less than its
column; the first line of a row is padded, so that rows end in blanks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def wrap(text: str, width: int) -> list[str]:
    """TEXT in lines of at most WIDTH - 2 characters; a longer word has a line of its own."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width - 2:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines or [""]


def _row(first: str, text: str, width: int, indent: int) -> list[str]:
    lines = wrap(text, width)
    return [f"{first}{lines[0]:<{width}}", *(" " * indent + line for line in lines[1:])]


def usage(name: str, synopsis: str, description: str, options: Sequence[tuple[str, str]]) -> str:
    """The usage of one verb; OPTIONS are (keys, text)."""
    lines = [f"Usage: xm {name} {synopsis}", "", description]
    for keys, text in options:
        lines += _row(f"  {keys:<30} ", text, 43, 33)
    if options:
        lines.append("")
    return "\n".join(lines) + "\n"


def own_options(heading: str, rows: Iterable[tuple[str, str]]) -> str:
    """The rows of a verb that has its own layout: an empty line, HEADING, an empty line, rows, an empty line."""
    lines = ["", f"{heading}:", ""]
    for keys, text in rows:
        wrapped = wrap(text, 55)
        if len(keys) > 20:
            lines.append(keys)
        else:
            lines.append(f"{keys:<21}{wrapped.pop(0)}")
        lines += [" " * 21 + line for line in wrapped]
    return "\n".join([*lines, ""]) + "\n"


def _listing(tagline: str, heading: str, rows: Iterable[tuple[str, str]], tail: Sequence[str]) -> str:
    lines = ["Usage: xm <subcommand> [args]", "", tagline, "", heading, ""]
    for name, description in rows:
        lines += _row(f" {name:<20} ", description, 50, 22)
    return "\n".join([*lines, "", *tail]) + "\n"


def short_help(tagline: str, rows: Iterable[tuple[str, str]], footer: str, pointer: str) -> str:
    """What ``xm`` alone prints; ROWS are (name, description)."""
    return _listing(tagline, "Common 'xm' commands:", rows, [footer, "", pointer])


def full_help(tagline: str, rows: Iterable[tuple[str, str]], footer: str) -> str:
    """What ``xm help`` prints."""
    return _listing(tagline, "xm full list of subcommands:", rows, [footer, ""])
