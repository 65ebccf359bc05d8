"""One text, two tools: what the other of xm and xl would make of a file that both read. Pure."""

from __future__ import annotations

import re

from xmcompat.guest import Dialect, GuestConfig, GuestKind
from xmcompat.notes import Fate, Note

#: Keys that xl alone knows, and that a script of xm might use as names of its own.
WEAK_KEYS = frozenset(["cap", "nx", "acpi_s3", "acpi_s4"])

_RATE = re.compile(r"[0-9]+[GMK]?[Bb]/s(?:@[0-9]+[mu]?s?)?")


def differences(guest: GuestConfig) -> tuple[Note, ...]:
    """A note on what the other tool would make of GUEST's file, where it is not the same, and on a key of xl's that
    made it one of xl's."""
    own, other = ("xl", "xm") if guest.dialect is Dialect.XL else ("xm", "xl")
    rows = ((row[0], row[2], row[1]) if own == "xl" else row for row in _rows(guest))
    found = [f"{subject} {mine} ({other}: {theirs})" for subject, mine, theirs in rows]
    weak = sorted(WEAK_KEYS & guest.options.keys()) if own == "xl" else []
    if not found and not weak:
        return ()
    why = "xm and xl both read this file"
    if weak:
        why = f"only xl knows {', '.join(weak)}, and nothing else tells which tool's it is"
    what = f"; as {own}'s, {', '.join(dict.fromkeys(found))}" if found else ""
    return (_note(own, other, why + what, guest),)


def instead(guest: GuestConfig, reason: str) -> Note:
    """That the other tool could not read the file of GUEST, for REASON."""
    own, other = ("xl", "xm") if guest.dialect is Dialect.XL else ("xm", "xl")
    return _note(own, other, f"{other} could not read this file ({reason}); it is read as {own}'s", guest)


def _note(own: str, other: str, reason: str, guest: GuestConfig) -> Note:
    return Note(
        key="(dialect)", fate=Fate.APPROXIMATED, value=own, path=guest.source or None, reason=reason,
        suggestion=f"if it was {other}'s, read it with --dialect {other}",
    )  # fmt: skip


def _rows(guest: GuestConfig) -> list[tuple[str, str, str]]:
    """(subject, what it is to xm, what to xl)."""
    options = guest.options
    unset = (
        ("name", ("the name is", "that of the file", "an error")), ("memory", ("memory is", "128 MiB", "32")),
        ("on_crash", ("on_crash is", "restart", "destroy")),
    )  # fmt: skip
    rows = [row for key, row in unset if key not in options]
    if guest.kind is GuestKind.HVM:
        rows += [("hpet is", "off", "on")] if "hpet" not in options else []
        rows += [("boot is", "c", "cda")] if "boot" not in options and "kernel" not in options else []
        if not {"vnc", "sdl", "nographic", "vfb"} & set(options):
            rows.append(("there is", "no display", "VNC"))
        if options.get("vncpasswd") == "":
            rows.append(("the password of VNC is", "the host's", "none"))
    if "root=" in str(options.get("extra", "")) and options.get("root"):
        rows.append(("root beside extra", "is left out", "counts too"))
    for vif in guest.vifs:
        if vif.type == "ioemu":
            rows.append(("type=ioemu is", "an emulated interface", "one of Xen's besides"))
        if vif.rate and not _RATE.fullmatch(vif.rate):
            rows.append(("a rate that is not understood is", "none", "an error"))
    return rows
