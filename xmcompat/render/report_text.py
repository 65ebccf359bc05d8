"""The report on a dead host as text: a line for each guest, then what the new host needs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from xmcompat.render.report_values import DiskRow, GuestRow, NicRow, Report, Verdict

#: Columns that a long value may take; what is cut stands in the other formats.
_WIDEST = 40
#: Characters that move or hide others: controls, halves of none, marks of direction and width.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")

_HEADER = ("Name", "Kind", "Mem", "VCPUs", "Disks", "Networks", "Auto", "Managed", "Verdict")
_NUMBERS = (2, 3)


def plain(text: str) -> str:
    """TEXT as one line in which every character can be seen."""
    return _UNSEEN.sub(lambda match: ascii(match[0])[1:-1], text)


def verdict_text(guest: GuestRow) -> str:
    """The verdict with its first reason."""
    if not guest.reasons:
        return guest.verdict.value
    more = f" (and {len(guest.reasons) - 1} more)" if len(guest.reasons) > 1 else ""
    return f"{guest.verdict.value}: {guest.reasons[0]}{more}"


def disk_text(disk: DiskRow) -> str:
    """"xvda=/dev/vg0/web1", with (r) or (w!) behind it where it is not written to by this guest alone."""
    mode = "" if disk.mode == "w" or disk.cdrom else f"({disk.mode})"
    return f"{disk.vdev}={disk.path or '(empty)'}{mode}"


def nic_text(nic: NicRow) -> str:
    return nic.bridge if nic.named else f"{nic.bridge} (not named)"


def counts_text(report: Report) -> str:
    """The guests by verdict: "3 guests: 1 ready, 2 need attention"."""
    words = ((Verdict.READY, "ready"), (Verdict.ATTENTION, "need attention"), (Verdict.CANNOT, "cannot"))
    counts = [f"{report.count(verdict)} {word}" for verdict, word in words if report.count(verdict)]
    return f"{number(len(report.guests), 'guest')}{': ' if counts else ''}{', '.join(counts)}"


def totals_text(report: Report) -> str:
    started = sum(guest.autostart for guest in report.guests)
    return f"{report.memory} MiB of memory, {number(report.vcpus, 'vcpu')}; {started} start with the host"


def number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def users(names: Sequence[str]) -> str:
    """Who needs a thing, at length where they are few."""
    return ", ".join(names) if len(names) <= 4 else number(len(names), "guest")


def text(report: Report) -> str:
    """The whole report. Every line can be printed on any terminal."""
    where = f" ({', '.join(report.looked)})" if report.looked else ""
    lines = [f"Guests of {report.folder}{where}", ""]
    lines += _table(report.guests) if report.guests else ["none"]
    lines += _section("Summary", [counts_text(report), totals_text(report)])
    lines += _section("Between the guests", [finding.text for finding in report.findings])
    lines += _section("Bridges needed", _used(report.bridges()))
    lines += _section("Bridges of the old host", [_made(name, uplink) for name, uplink in report.host_bridges])
    for title, kind in (
        ("Volumes", "volume"), ("Disk images", "image"), ("Disks on servers", "network"), ("Disks of scripts", "script"),
    ):  # fmt: skip
        lines += _section(f"{title} needed", _used(report.volumes(kind)))
    lines += _section("Kernels and other files needed", _used(report.needs()))
    lines += _section(f"Settings of xend ({report.xend_path or 'no xend-config.sxp was found'})", _facts(report))
    lines += _section("Could not be read", [f"{passed.path}: {passed.reason}" for passed in report.unreadable])
    lines += _section("No guests", [f"{passed.path}: {passed.reason}" for passed in report.skipped])
    return "".join(f"{plain(line)}\n" for line in lines)


def _made(name: str, uplink: str) -> str:
    return f"{name}, on {uplink or 'the network card of the default route'}"


def _section(title: str, rows: Iterable[str]) -> list[str]:
    found = [f"  {row}" for row in rows]
    return ["", title, *found] if found else []


def _used(things: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"{thing}: {users(names)}" for thing, names in things.items()]


def _facts(report: Report) -> list[str]:
    """The settings that the file gives, and the defaults that somebody has to see to."""
    return [
        f"{fact.name} = {fact.value or chr(39) * 2}: {fact.attention or fact.meaning}"
        for fact in sorted(report.facts, key=lambda fact: not fact.attention)
        if fact.given or fact.attention
    ]


def _table(guests: Sequence[GuestRow]) -> list[str]:
    rows = [_HEADER, *(_cells(guest) for guest in guests)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER) - 1)]
    return [_line(row, widths) for row in rows]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.rjust(width) if column in _NUMBERS else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row[:-1], widths, strict=True))
    ]
    return "  ".join((*cells, row[-1]))


def _cells(guest: GuestRow) -> tuple[str, ...]:
    read = bool(guest.kind)
    return tuple(map(plain, (
        _cut(guest.name), guest.kind or "?", str(guest.memory) if read else "?", str(guest.vcpus) if read else "?",
        _cut(_list([disk_text(disk) for disk in guest.disks])), _cut(_list([nic_text(nic) for nic in guest.nics])),
        "auto" if guest.autostart else "-", "managed" if guest.managed else "-", verdict_text(guest),
    )))  # fmt: skip


def _list(items: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(items)) or "-"


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."
