"""Domains that are off but stay in the list, over libvirt's wire protocol: at most two calls more for each that is off."""

from __future__ import annotations

from struct import error

from xmcompat.backends.kept_mark import KEPT_URI, Mark, read, shown, this_boot
from xmcompat.backends.libvirt_wire import _PAIR, _WORD, Failed, NotAsExpected, _text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from xmcompat.backends.hypervisor import DomainInfo
    from xmcompat.backends.libvirt_wire import Wire

GET_STATE, GET_METADATA = 212, 265
METADATA_ELEMENT = 2
_METADATA_ARGUMENTS = _PAIR.pack(METADATA_ELEMENT, 1) + _text(KEPT_URI) + _WORD.pack(0)


def as_shown(wire: Wire, rows: Sequence[tuple[DomainInfo, bytes]]) -> list[DomainInfo]:
    """The domains of ROWS, each with libvirt's form of its name, uuid and id, as xm shows them.

    What is left of a domain that somebody has ended is left out.
    """
    off = [packed for info, packed in rows if info.domid is None]
    answers = wire.calls([(GET_METADATA, domain + _METADATA_ARGUMENTS) for domain in off])
    marks = dict(zip(off, map(_mark, answers), strict=True))
    marked = [packed for packed, mark in marks.items() if mark is not None]
    answers = wire.calls([(GET_STATE, domain + _WORD.pack(0)) for domain in marked])
    reasons = dict(zip(marked, map(_reason, answers), strict=True))
    found = []
    boot = this_boot() if marked else ""
    for info, packed in rows:
        mark = marks.get(packed)
        there = info if mark is None else shown(info, mark, reasons[packed], boot)
        if there is not None:
            found.append(there)
    return found


def _mark(answer: bytes | Failed) -> Mark | None:
    """None for one without a mark, or that has gone meanwhile."""
    return None if isinstance(answer, Failed) else read(answer[4:].decode(errors="surrogateescape"))


def _reason(answer: bytes | Failed) -> int:
    try:
        return 0 if isinstance(answer, Failed) else _PAIR.unpack_from(answer)[1]
    except error:
        raise NotAsExpected from None
