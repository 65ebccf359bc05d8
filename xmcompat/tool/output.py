"""How the commands of xmcompat print: plain lines for people, one JSON document for programs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable

import click


def printable(text: str) -> str:
    """TEXT as one line that does nothing to a terminal: control characters but the tab are shown, not sent."""
    return re.sub(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]", lambda match: ascii(match[0])[1:-1], text)


def print_json(document: object) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=True))


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values in two columns."""
    rows = [(name, printable(value)) for name, value in pairs]
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        click.echo(f"{name:<{width}}  {value}")


def mistake(error: Exception) -> str:
    """What to say of an error that is none of ours to expect. XMCOMPAT_DEBUG shows where it came up."""
    if os.environ.get("XMCOMPAT_DEBUG"):
        import traceback

        traceback.print_exception(error)
    return f"a mistake in xmcompat itself: {type(error).__name__}: {error}; XMCOMPAT_DEBUG=1 shows where"
