"""The report on a dead host as one page of HTML that needs nothing else: to send, to print, to read on a phone. Pure.

Every text of the report passes through ``esc``; there is no script, and the page forbids itself all requests.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

from xmcompat.notes import Note
from xmcompat.render.report_style import STYLE
from xmcompat.render.report_text import counts_text, nic_text, number, plain, totals_text, users
from xmcompat.render.report_values import DiskRow, Fact, GuestRow, Passed, Report, Verdict

_CLASSES = {Verdict.READY: "ready", Verdict.ATTENTION: "attention", Verdict.CANNOT: "cannot"}
_COLUMNS = ("Name", "Kind", "Memory", "VCPUs", "Disks", "Networks", "Auto", "Managed", "Verdict")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def esc(text: str) -> str:
    """TEXT between tags or in a quoted attribute: nothing in it is markup, and all of it can be seen."""
    return html.escape(plain(text))


def page(report: Report) -> str:
    """The whole page."""
    title = f"Guests of {esc(report.folder)}"
    parts = [
        "<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{title}</title>", f"<style>{STYLE}</style>", "</head>", "<body>",
        f"<header><h1>{title}</h1>", _lead(report), "</header>", "<main>",
        _overview(report), _findings(report), _table(report.guests), _needs(report),
        _sections(report.guests), _xend(report), _passed("Could not be read", report.unreadable),
        _passed("No guests", report.skipped), "</main>", _foot(report), "</body>", "</html>",
    ]  # fmt: skip
    return "\n".join(filter(None, parts)) + "\n"


def _lead(report: Report) -> str:
    where = ", ".join(f"<code>{esc(place)}</code>" for place in report.looked)
    return f"<p>What becomes of Xen's guests on a host with KVM{f', as found in {where}' if where else ''}.</p>"


def _foot(report: Report) -> str:
    made = f"Made by xmcompat report{f', {esc(report.made)}' if report.made else ''}. " \
           "Passwords are left out. Memory is in MiB."  # fmt: skip
    return f"<footer><p>{made}</p></footer>"


def _overview(report: Report) -> str:
    tiles = "".join(
        f'<li class="{_CLASSES[verdict]}"><b>{report.count(verdict)}</b> {verdict.value}</li>' for verdict in Verdict
    )
    return (
        f'<section><h2>Summary</h2><ul class="tiles">{tiles}</ul>'
        f"<p>{esc(counts_text(report))}. {esc(totals_text(report))}.</p></section>"
    )


def _findings(report: Report) -> str:
    items = "".join(f"<li>{esc(finding.text)}</li>" for finding in report.findings)
    return f'<section><h2>Between the guests</h2><ul class="findings">{items}</ul></section>' if items else ""


# -- the table


def _table(guests: Sequence[GuestRow]) -> str:
    if not guests:
        return "<section><h2>Guests</h2><p>None was found.</p></section>"
    head = "".join(f'<th scope="col">{column}</th>' for column in _COLUMNS)
    body = "\n".join(_table_row(index, guest) for index, guest in enumerate(guests))
    return (
        '<section><h2>Guests</h2><table class="guests">'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></section>"
    )


def _table_row(index: int, guest: GuestRow) -> str:
    read = bool(guest.kind)
    first = f'<span class="why">{esc(guest.reasons[0])}</span>' if guest.reasons else ""
    cells = (
        f'<a href="#guest-{index}">{esc(guest.name) or "(no name)"}</a>',
        esc(guest.kind) or "?",
        str(guest.memory) if read else "?",
        str(guest.vcpus) if read else "?",
        "<br>".join(_disk(disk) for disk in guest.disks) or "-",
        "<br>".join(dict.fromkeys(esc(nic_text(nic)) for nic in guest.nics)) or "-",
        "auto" if guest.autostart else "-",
        "managed" if guest.managed else "-",
        f"{_badge(guest.verdict)}{first}",
    )
    numbers = ("Memory", "VCPUs")
    marked = "".join(
        f'<td data-label="{column}"{" class=number" if column in numbers else ""}><div>{cell}</div></td>'
        for column, cell in zip(_COLUMNS, cells, strict=True)
    )
    return f"<tr>{marked}</tr>"


def _badge(verdict: Verdict) -> str:
    return f'<span class="badge {_CLASSES[verdict]}">{verdict.value}</span>'


def _disk(disk: DiskRow) -> str:
    mode = "" if disk.mode == "w" or disk.cdrom else f" ({esc(disk.mode)})"
    kind = " (CD-ROM)" if disk.cdrom else ""
    return f"{esc(disk.vdev)} <code>{esc(disk.path) or '(empty)'}</code>{mode}{kind}"


# -- one guest


def _sections(guests: Sequence[GuestRow]) -> str:
    return "\n".join(_section(index, guest) for index, guest in enumerate(guests))


def _section(index: int, guest: GuestRow) -> str:
    parts = [f'<section class="guest" id="guest-{index}"><h2>{esc(guest.name) or "(no name)"} {_badge(guest.verdict)}</h2>']
    facts = [("File", ", ".join(f"<code>{esc(path)}</code>" for path in guest.files))]
    if guest.uuid:
        facts.append(("UUID", f"<code>{esc(guest.uuid)}</code>"))
    if guest.kind:
        facts.append(("Guest", f"{esc(guest.kind)}, {guest.memory} MiB, {number(guest.vcpus, 'vcpu')}"))
        facts.append(("Start", f"{esc(guest.boot)}{', with the host' if guest.autostart else ''}"))
    if guest.disks:
        facts.append(("Disks", "<br>".join(map(_disk, guest.disks))))
    if guest.nics:
        macs = (f"{esc(nic_text(nic))} <code>{esc(nic.mac) or 'MAC drawn at each start'}</code>" for nic in guest.nics)
        facts.append(("Networks", "<br>".join(macs)))
    parts.append("<dl>" + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts) + "</dl>")
    noted = {_reason_key(note) for note in guest.notes}
    reasons = [reason for reason in guest.reasons if reason not in noted]
    if reasons:
        parts.append("<ul>" + "".join(f"<li>{esc(reason)}</li>" for reason in reasons) + "</ul>")
    if guest.notes:
        parts.append(_notes(guest.notes))
    if guest.quiet:
        parts.append(f'<p class="quiet">{_quiet(guest.quiet)}</p>')
    return "".join(parts) + "</section>"


def _reason_key(note: Note) -> str:
    """How a note reads among the reasons."""
    return "; ".join(filter(None, (f"{note.key}: {note.reason or note.fate.value}", note.suggestion)))


def _notes(notes: Iterable[Note]) -> str:
    rows = "".join(
        f'<tr><td data-label="Setting"><div><code>{esc(note.key)}</code>'
        f"{f' = <code>{esc(note.value)}</code>' if note.value else ''}"
        f"{f' (line {note.line})' if note.line else ''}</div></td>"
        f'<td data-label="Becomes"><div>{esc(note.fate.value)}</div></td>'
        f'<td data-label="Why"><div>{esc(note.reason)}'
        f"{f'<br><b>To do:</b> {esc(note.suggestion)}' if note.suggestion else ''}</div></td></tr>"
        for note in notes
    )
    head = "<tr><th>Setting</th><th>What becomes of it</th><th>Why, and what to do</th></tr>"
    return f'<table class="notes"><thead>{head}</thead><tbody>{rows}</tbody></table>'


def _quiet(keys: Iterable[tuple[str, str]]) -> str:
    """The settings that nobody needs to look at, by what becomes of them."""
    by_fate: dict[str, list[str]] = {}
    for key, fate in keys:
        by_fate.setdefault(fate, []).append(f"<code>{esc(key)}</code>")
    return " ".join(
        f"{esc(fate[:1].upper() + fate[1:])}, without a difference: {', '.join(names)}." for fate, names in by_fate.items()
    )


# -- the host


def _needs(report: Report) -> str:
    parts = [
        _used("Bridges", report.bridges()),
        _used("Volumes", report.volumes("volume")),
        _used("Disk images", report.volumes("image")),
        _used("Disks on servers", report.volumes("network")),
        _used("Disks of scripts", report.volumes("script")),
        _used("Kernels and other files", report.needs()),
    ]
    made = "".join(
        f"<li><code>{esc(name)}</code>, on {esc(uplink) or 'the network card of the default route'}</li>"
        for name, uplink in report.host_bridges
    )
    if made:
        parts.append(f"<div><h3>Bridges that the old host made</h3><ul>{made}</ul></div>")
    found = "".join(parts)
    return f'<section><h2>The new host needs</h2><div class="columns">{found}</div></section>' if found else ""


def _used(title: str, things: Mapping[str, Sequence[str]]) -> str:
    items = "".join(f"<li><code>{esc(thing)}</code>: {esc(users(names))}</li>" for thing, names in things.items())
    return f"<div><h3>{title}</h3><ul>{items}</ul></div>" if items else ""


def _xend(report: Report) -> str:
    if not report.xend_path:
        return "<section><h2>Settings of xend</h2><p>No xend-config.sxp was found: its defaults count.</p></section>"
    shown = [fact for fact in report.facts if fact.given or fact.attention]
    rows = "".join(_fact(fact) for fact in sorted(shown, key=lambda fact: not fact.attention))
    rest = ", ".join(
        f"<code>{esc(fact.name)}</code> ({esc(fact.value) or 'empty'})" for fact in report.facts if fact not in shown
    )
    head = "<tr><th>Setting</th><th>Value</th><th>On the new host</th></tr>"
    return (
        f"<section><h2>Settings of xend</h2><p>From <code>{esc(report.xend_path)}</code>.</p>"
        f'<table class="notes"><thead>{head}</thead><tbody>{rows}</tbody></table>'
        f'<p class="quiet">At their defaults: {rest}.</p></section>'
    )


def _fact(fact: Fact) -> str:
    todo = f"<br><b>To do:</b> {esc(fact.attention)}" if fact.attention else ""
    default = "" if fact.given else " (default)"
    return (
        f'<tr><td data-label="Setting"><div><code>{esc(fact.name)}</code></div></td>'
        f'<td data-label="Value"><div><code>{esc(fact.value) or "(empty)"}</code>{default}</div></td>'
        f'<td data-label="On the new host"><div>{esc(fact.meaning)}{todo}</div></td></tr>'
    )


def _passed(title: str, rows: Sequence[Passed]) -> str:
    items = "".join(f"<li><code>{esc(row.path)}</code>: {esc(row.reason)}</li>" for row in rows)
    return f"<section><h2>{title}</h2><ul>{items}</ul></section>" if items else ""
