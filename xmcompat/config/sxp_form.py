"""A guest of any dialect as the ``(vm ...)`` form of xend. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from xmcompat.config.build import build
from xmcompat.config.dryrun import Tree, dry_run
from xmcompat.config.to_xm import xm_values
from xmcompat.guest import Dialect, GuestConfig, GuestKind
from xmcompat.notes import Fate, Note


def vm_form(guest: GuestConfig, *, secrets: bool = True, environ: Mapping[str, str] | None = None) -> Tree:
    """The form that ``xm create -n`` prints of GUEST, or of an xm file that says the same (``xm_values`` tells the
    difference). Without SECRETS, passwords are left out; ENVIRON is that of ``dry_run``.

    Raises ConfigError for a guest of xl's that xm would refuse.
    """
    if guest.dialect is Dialect.XL:
        values, _ = xm_values(guest)
        guest = build(values, path=guest.source, default_name=guest.name)
    return dry_run(guest, secrets=secrets, environ=environ)


def record_form(guest: GuestConfig) -> Tree:
    """The form that travels with a domain, without passwords. It also has what xm leaves out of ``vm_form``: the shift of
    a paravirtual guest's clock, which stands where ``xm list -l`` shows it. Raises ConfigError as ``vm_form``."""
    form = vm_form(guest, secrets=False)
    if guest.rtc_timeoffset and guest.kind is not GuestKind.HVM:
        for row in form:
            if isinstance(row, list) and row[:1] == ["image"] and isinstance(row[1], list):
                row[1].append(["rtc_timeoffset", guest.rtc_timeoffset])
    return form


def form_notes(guest: GuestConfig) -> tuple[Note, ...]:
    """What ``vm_form`` cannot say of GUEST, though xm's file could."""
    if not guest.rtc_timeoffset or guest.kind is GuestKind.HVM:
        return ()
    return (Note(
        key="rtc_timeoffset", value=str(guest.rtc_timeoffset), fate=Fate.NO_COUNTERPART, path=guest.source or None,
        line=guest.lines.get("rtc_timeoffset"), reason="xm hands it on for guests with a BIOS alone",
    ),)  # fmt: skip
