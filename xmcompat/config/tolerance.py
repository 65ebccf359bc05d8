"""What xm refuses, and is plain all the same: it is read where nobody starts the guest, and told loudly. Pure.

``xm create`` keeps xm's errors; ``xmcompat convert``, ``report`` and ``explain`` read such files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from xmcompat.config.specs import parse_disk
from xmcompat.errors import ConfigError
from xmcompat.guest import Value
from xmcompat.notes import Fate, Note

#: Arbitrary: longer texts are no device of anybody's.
_LONGEST = 8192
_LONGEST_SHOWN = 60
_NUMBER_0 = re.compile(r"(^|,)(\s*instance\s*=\s*)[+-]?0+\s*(?=,|$)")


class Borne(NamedTuple):
    """The values with what is plain in xm's own words, and a note on each change."""

    values: dict[str, Value]
    notes: tuple[Note, ...]


def bear(values: Mapping[str, Value], *, path: str, lines: Mapping[str, int]) -> Borne:
    """Disks whose path has no word in front ("/dev/vg/a,xvda,w"), and TPMs of number 0. Raises nothing.

    PATH and LINES are for the notes.
    """
    changed = dict(values)
    notes: list[Note] = []
    for key, change in (("disk", _with_kind), ("vtpm", _with_any_number)):
        given = values.get(key)
        if not isinstance(given, list):
            continue
        items = list(given)
        for index, item in enumerate(given):
            found = change(item) if isinstance(item, str) and len(item) <= _LONGEST else None
            if found is not None:
                items[index], reason, suggestion = found
                shown = repr(item)
                notes.append(Note(
                    key=f"{key}[{index}]", fate=Fate.APPROXIMATED, reason=reason, suggestion=suggestion, path=path,
                    value=shown if len(shown) <= _LONGEST_SHOWN else f"{shown[: _LONGEST_SHOWN - 3]}...",
                    line=lines.get(key),
                ))  # fmt: skip
        changed[key] = items
    return Borne(changed, tuple(notes))


def _with_kind(text: str) -> tuple[str, str, str] | None:
    """(entry, reason, suggestion) of a disk whose path says by itself what it is; None for any other."""
    path = text.partition(",")[0]
    if not path.startswith("/"):
        return None
    device = path.startswith("/dev/") and not path.startswith("/dev/shm/")
    kind, what = ("phy", "a volume") if device else ("file", "an image")
    try:
        parse_disk(f"{kind}:{text}")
    except ConfigError:
        return None
    return f"{kind}:{text}", f"xm refuses a path without a word in front; by its place it is {what}", f"write {kind}:{path}"


def _with_any_number(text: str) -> tuple[str, str, str] | None:
    changed = _NUMBER_0.sub(r"\1\g<2>-1", text)
    if changed == text:
        return None
    return changed, "xm refuses the number 0; it is read as any number", "write instance=1"
