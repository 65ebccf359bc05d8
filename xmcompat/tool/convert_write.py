"""What ``xmcompat convert`` makes of a guest: its text, and the file that holds it."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from xmcompat.disk_logins import login_of
from xmcompat.errors import ConfigError
from xmcompat.guest import GuestConfig, KernelBoot
from xmcompat.notes import Fate, Note, joined
from xmcompat.tool.convert import SUFFIXES

if TYPE_CHECKING:
    from xmcompat.backends.machine import XenRecord
    from xmcompat.config.read import Document

_LONGEST_NAME = 200  # bytes
#: A byte of a name that is no UTF-8, which JSON can only have escaped.
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNSAFE = re.compile(r"[^\w.:+-]")


def converted(document: Document, to: str, given: Mapping[str, object]) -> tuple[str, tuple[Note, ...]]:
    """The guest in the form TO, and what became of each of its settings. GIVEN are facts of the host.

    Raises XmError for a guest that cannot be had in that form.
    """
    text, more, rest = _as_xml(document, given) if to == "xml" else _as_text(document, to)
    return text, joined(rest, more)


# -- for KVM


def _as_xml(document: Document, given: Mapping[str, object]) -> tuple[str, tuple[Note, ...], tuple[Note, ...]]:
    from xmcompat.backends.domain_xml import render
    from xmcompat.tool.convert_facts import facts_for, refuse_too_large
    from xmcompat.translate.machine import translate

    refuse_too_large(document.guest, given)
    guest, notes = with_whole_paths(document.guest)
    macs, drawn = derived_macs(guest)
    translation = translate(guest, facts_for(guest, given), macs=macs, record=_record(document.guest))
    return render(translation.machine), (*translation.notes, *notes, *drawn), document.notes


def with_whole_paths(guest: GuestConfig) -> tuple[GuestConfig, tuple[Note, ...]]:
    """The guest with boot files by whole paths, which libvirt wants, and a note for each that had none."""
    from xmcompat.config.read import OFFLINE_CWD

    boot, notes = guest.boot, []
    if isinstance(boot, KernelBoot):
        for key, path in (("kernel", boot.kernel), ("ramdisk", boot.ramdisk)):
            if path and not path.startswith("/"):
                whole = posixpath.normpath(posixpath.join(OFFLINE_CWD, path))
                boot = replace(boot, **{key: whole})
                notes.append(_note(
                    guest, key, f"Xen looks for it where it is started; {whole} is taken", path, "write the whole path"
                ))  # fmt: skip
    return replace(guest, boot=boot), tuple(notes)


def derived_macs(guest: GuestConfig) -> tuple[list[str], tuple[Note, ...]]:
    """Addresses for the interfaces that have none, the same each time, with a note for each."""
    from xmcompat.network.mac import derived

    taken = {vif.mac.lower() for vif in guest.vifs if vif.mac}
    macs, notes = [], []
    for index, vif in enumerate(guest.vifs):
        if vif.mac:
            continue
        address = next(mac for number in range(1000) if (mac := derived(guest.name, index, number)) not in taken)
        taken.add(address)
        macs.append(address)
        notes.append(_note(
            guest, f"vif[{index}]", f"no MAC address is given, and Xen draws one at each start; {address} is made of "
            "the guest's name", "", "write mac= to choose it",
        ))  # fmt: skip
    return macs, tuple(notes)


def _note(guest: GuestConfig, key: str, reason: str, value: str, suggestion: str) -> Note:
    return Note(
        key=key, fate=Fate.APPROXIMATED, reason=reason, value=value, path=guest.source or None,
        line=guest.lines.get(key.partition("[")[0]), suggestion=suggestion,
    )  # fmt: skip


def _record(guest: GuestConfig) -> XenRecord | None:
    """The record of the guest's configuration, as ``xm create`` leaves one; None for a guest that xm has no words for."""
    from xmcompat.backends.machine import XenRecord
    from xmcompat.config import sxp
    from xmcompat.config.sxp_form import record_form

    try:
        form = sxp.write(record_form(guest))
    except ConfigError:
        return None
    return XenRecord(sxp=form, source=guest.source, dialect=guest.dialect.value)


# -- for Xen, and for programs


def _as_text(document: Document, to: str) -> tuple[str, tuple[Note, ...], tuple[Note, ...]]:
    """The text, the notes of its writing, and those of the reading that have nothing to do with KVM."""
    guest = document.guest
    rest = _of_reading(document)
    if to == "json":
        from xmcompat.config.json_form import guest_document

        text = json.dumps(guest_document(guest), indent=2, ensure_ascii=False) + "\n"
        return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text), (), rest
    if to == "xl":
        from xmcompat.config.to_xl import xl_values
        from xmcompat.config.write_xl import print_xl

        values, notes = xl_values(guest)
        return print_xl(values), notes, rest
    from xmcompat.config.to_xm import xm_values

    values, notes = xm_values(guest)
    if to == "cfg":
        from xmcompat.config.write_cfg import print_cfg

        return print_cfg(values), notes, rest
    from xmcompat.config import sxp
    from xmcompat.config.sxp_form import form_notes, vm_form

    return sxp.pretty(vm_form(guest), 80), (*notes, *form_notes(guest)), rest


def _of_reading(document: Document) -> tuple[Note, ...]:
    """Without what the account tells of KVM."""
    from xmcompat.config.account import account

    of_kvm = {note for note in account(document.guest) if note.key not in document.guest.unknown}
    return tuple(note for note in document.notes if note not in of_kvm)


# -- files


def file_name(guest_name: str, to: str) -> str:
    """A name that is one file in one folder, different for different guests: unsafe characters as %HH of their bytes."""
    text = _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in _bytes(found[0])), guest_name)
    if text.startswith((".", "-")):
        text = f"%{ord(text[0]):02X}{text[1:]}"
    if len(_bytes(text)) > _LONGEST_NAME:
        digest = hashlib.sha256(_bytes(guest_name)).hexdigest()[:16]
        text = _bytes(text)[: _LONGEST_NAME - 17].decode("utf-8", "ignore") + "-" + digest
    return text + SUFFIXES[to]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def holds_password(guest: GuestConfig, given: Mapping[str, object]) -> bool:
    """Whether what is made of GUEST may hold a password."""
    options = (guest.options.get("vncpasswd"), guest.options.get("spicepasswd"), given.get("vnc_password"))
    logins = (login_of(vbd.protocol, vbd.path) for vbd in guest.disks)
    return any(options) or any(vfb.password for vfb in guest.vfbs) or any(login and login.password for login in logins)


def write_file(folder: str, name: str, text: str, *, private: bool) -> str:
    """Put TEXT into the file NAME of FOLDER, whole or not at all; returns its path. PRIVATE: for its owner alone.

    Raises OSError.
    """
    path = os.path.join(folder, name)
    draft = os.path.join(folder, f".{name[:100]}.{secrets.token_hex(6)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600 if private else 0o644)
        with open(handle, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)
        raise
    return path


