"""One file of a dead host to the rows of the guests in it. Pure, but for the reading that it is given."""

from __future__ import annotations

import os.path
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from xmcompat import guest_kernels
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator
from xmcompat.config.account import SECRET
from xmcompat.config.read import Document, offline_host, read_each
from xmcompat.errors import XmError
from xmcompat.guest import Dialect, FirmwareBoot, GuestConfig, GuestKind, KernelBoot, LoaderBoot, Vbd
from xmcompat.notes import Fate, Note, joined
from xmcompat.render.report_values import DiskRow, GuestRow, NicRow, Verdict
from xmcompat.tool.no_guest import NoGuest, is_guest, refuse_others, refuse_unreadable
from xmcompat.tool.redaction import Redactor, is_secret, redactor
from xmcompat.translate.block_scripts import script_of
from xmcompat.translate.machine import translate

_KINDS = {GuestKind.PV: "pv", GuestKind.HVM: "hvm", GuestKind.PVH: "pvh"}
_NETWORK = ("nbd", "iscsi", "rbd", "http", "https")
_EFI = ("uefi", "ovmf")

_NAME = re.compile(r"(?:^|[\n;])[ \t]*name\s*=\s*['\"]([^'\"\n]{1,200})['\"]|\(name\s+'?([^\s()']{1,200})'?\)")
#: Characters of one reason or value.
_LONGEST = 600

_FIRST = {Fate.REFUSED: 0, Fate.NOT_YET: 1, Fate.NO_MEANING: 2, Fate.APPROXIMATED: 3, Fate.CARRIED: 4}
_KEYS_FIRST = ("kernel", "ramdisk", "bootloader", "disk", "root", "extra", "memory", "vif")


@dataclass(frozen=True, slots=True, kw_only=True)
class OldHost:
    """What guests took from their host where they said nothing themselves. ``tool`` is the one whose settings are
    there, xm or xl; None where both or neither are."""

    tool: Dialect | None = None
    bridge: str = "xenbr0"
    vnc_listen: str = "127.0.0.1"
    vnc_password: bool = False
    secrets: tuple[str, ...] = ()


class _Judged(NamedTuple):
    verdict: Verdict
    reasons: tuple[str, ...]
    notes: tuple[Note, ...]


def guests_in(data: bytes, path: str, host: OldHost) -> tuple[GuestRow, ...]:
    """The guests of one file; one that cannot be read is a row too. Raises NoGuest for what is no configuration."""
    refuse_others(data)
    text = data.decode("utf-8", "surrogateescape")
    redact = redactor(text, host.secrets)
    try:
        outcomes = _outcomes(data, path, host)
    except XmError as error:
        refuse_unreadable(path.rpartition("/")[2], data, _without(redact(error.line()), path))
        outcomes = (error,)
    rows = []
    for outcome in outcomes:
        if isinstance(outcome, XmError):
            rows.append(_lost(path, text, _without(redact(outcome.line()), path)))
        elif is_guest(outcome.guest):
            rows.append(_row(outcome, path, host, redact))
    if not rows:
        raise NoGuest("it sets nothing that makes a guest")
    return tuple(rows)


def _outcomes(data: bytes, path: str, host: OldHost) -> Sequence[Document | XmError]:
    """What is read. Raises XmError in its kinds, also for a mistake of ours: one file must not stop a report.

    What both tools read is of the one that the host had.
    """
    try:
        return read_each(data, path, usual=host.tool, host=offline_host(), default_name=path.rpartition("/")[2])
    except XmError:
        raise
    except Exception as error:  # noqa: BLE001
        raise XmError(f"a mistake in xmcompat itself: {type(error).__name__}: {error}") from None


def _without(line: str, path: str) -> str:
    """An error without the path that stands beside it anyway, on one line."""
    head, *rest = (part.strip() for part in line.split("\n") if part.strip())
    line = " ".join((head if not rest else f"{head.rstrip(':')}:", *rest))
    if line.startswith(f"{path}:"):
        line = re.sub(r"^([0-9]+): ", r"line \1: ", line.removeprefix(f"{path}:").lstrip())
    return _clipped(line.replace(f" while processing {path}", ""))


def _clipped(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _lost(path: str, text: str, why: str) -> GuestRow:
    """The row of a guest whose configuration cannot be read."""
    found = _NAME.search(text)
    name = (found[1] or found[2]) if found else path.rpartition("/")[2]
    return GuestRow(name=name, files=(path,), verdict=Verdict.CANNOT, reasons=(f"it cannot be read: {why}",))


def _row(document: Document, path: str, host: OldHost, redact: Redactor) -> GuestRow:
    guest = document.guest
    own = [vfb.password for vfb in guest.vfbs if vfb.password]
    own += [str(guest.options[key]) for key in SECRET if guest.options.get(key)]
    redact = Redactor((*own, *host.secrets), wary=True) if own else redact
    judged = _judge(document, path, host, redact)
    loud = tuple(sorted((note for note in judged.notes if not note.harmless), key=_weight))
    loud_keys = {note.key for note in loud}
    quiet = {note.key: note.fate.value for note in judged.notes if note.key not in loud_keys}
    return GuestRow(
        name=guest.name, files=(path,), verdict=judged.verdict, uuid=(guest.uuid or "").lower(),
        kind=_KINDS[guest.kind], memory=guest.memory, vcpus=guest.vcpus, boot=redact(_boot(guest)),
        disks=tuple(_disk(vbd, redact) for vbd in guest.disks),
        nics=tuple(NicRow(bridge=vif.bridge or host.bridge, mac=vif.mac.lower(), named=bool(vif.bridge))
                   for vif in guest.vifs),
        needs=_needs(guest), displays=_displays(guest),
        autostart=guest.options.get("on_xend_start") in ("start", "resume"),
        reasons=judged.reasons, notes=loud, quiet=tuple(quiet.items()),
    )  # fmt: skip


def _judge(document: Document, path: str, host: OldHost, redact: Redactor) -> _Judged:
    """What becomes of a guest on a host with KVM that has all the bridges it names."""
    guest = document.guest
    bridges = dict.fromkeys((host.bridge, *(vif.bridge for vif in guest.vifs if vif.bridge)))
    facts = HostFacts(
        accelerator=Accelerator.KVM, bridges=tuple(bridges), vnc_listen=host.vnc_listen,
        vnc_password="withheld" if host.vnc_password else "", boot_folder=guest_kernels.FOLDER,
    )  # fmt: skip
    refusal = ""
    told: tuple[Note, ...] = ()
    try:
        told = translate(guest, facts).notes
    except XmError as error:
        refusal = _without(redact(error.line()), path)
    except Exception as error:  # noqa: BLE001 - one guest must not stop a report
        refusal = redact(f"a mistake in xmcompat itself: {type(error).__name__}: {error}")
    notes = [_clean(note, redact) for note in joined(document.notes, told)]
    loud = sorted((note for note in notes if not note.harmless), key=_weight)
    reasons = tuple(dict.fromkeys(map(reason, loud)))
    if refusal:
        return _Judged(Verdict.CANNOT, (refusal, *reasons), tuple(notes))
    return _Judged(Verdict.ATTENTION if reasons else Verdict.READY, reasons, tuple(notes))


def _weight(note: Note) -> tuple[int, int, int]:
    """The order of importance: what is lost before what changes, and what a guest cannot start without first."""
    key = note.key.partition("[")[0].partition(".")[0]
    place = _KEYS_FIRST.index(key) if key in _KEYS_FIRST else len(_KEYS_FIRST)
    return _FIRST[note.fate], place, note.line or 0


def reason(note: Note) -> str:
    """A note in one line, without its place and value."""
    return "; ".join(filter(None, (f"{note.key}: {note.reason or note.fate.value}", note.suggestion)))


def _clean(note: Note, redact: Redactor) -> Note:
    return Note(
        key=_clipped(redact(note.key)), fate=note.fate, reason=_clipped(redact(note.reason)),
        value="(not shown)" if note.value and is_secret(note.key) else _clipped(redact(note.value)),
        path=note.path, line=note.line, suggestion=_clipped(redact(note.suggestion)), harmless=note.harmless,
    )  # fmt: skip


def _boot(guest: GuestConfig) -> str:
    boot = guest.boot
    if isinstance(boot, KernelBoot):
        return f"kernel {boot.kernel}"
    if isinstance(boot, LoaderBoot):
        return f"boot loader {os.path.basename(boot.bootloader) or 'pygrub'}"
    return f"{'UEFI' if boot.firmware in _EFI else 'BIOS'}, order {boot.order}"


def _needs(guest: GuestConfig) -> tuple[str, ...]:
    """Files of the host, disks aside."""
    found = [guest.boot.kernel, guest.boot.ramdisk] if isinstance(guest.boot, KernelBoot) else []
    if isinstance(guest.boot, FirmwareBoot) and guest.kind is GuestKind.HVM:
        found += [str(guest.options.get(key) or "") for key in ("fda", "fdb")]
    return tuple(filter(None, found))


def _disk(vbd: Vbd, redact: Redactor) -> DiskRow:
    word = vbd.protocol.partition(":")[0]
    if not vbd.path:
        kind = ""
    elif word in _NETWORK:
        kind = "network"
    elif script_of(vbd):
        kind = "script"
    elif word in ("phy", "drbd") or vbd.path.startswith("/dev/"):
        kind = "volume"
    else:
        kind = "image"
    source = redact(vbd.uname)
    path = source if kind in ("network", "script") else redact(vbd.path)
    return DiskRow(vdev=vbd.vdev, source=source, path=path, kind=kind, mode=vbd.mode.value, cdrom=vbd.cdrom)


def _displays(guest: GuestConfig) -> tuple[str, ...]:
    return tuple(str(vfb.display) for vfb in guest.vfbs if vfb.vnc and vfb.display is not None and not vfb.unused)
