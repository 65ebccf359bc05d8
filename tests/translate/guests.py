"""Guests and hosts for the tests of translation."""

from __future__ import annotations

from dataclasses import replace

from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator
from xmcompat.guest import Dialect, FirmwareBoot, GuestConfig, GuestKind, KernelBoot, Vbd, VbdMode
from xmcompat.notes import Fate
from xmcompat.translate.machine import Translation

HOST = HostFacts(accelerator=Accelerator.KVM, bridges=("xenbr0", "eth1"))
REMOTE = HostFacts(accelerator=Accelerator.KVM, local=False)
PV = GuestConfig(name="web1", source="web1.cfg", boot=KernelBoot(kernel="/boot/vmlinuz", cmdline="root=/dev/xvda1"))
HVM = replace(PV, kind=GuestKind.HVM, boot=FirmwareBoot())
XL = replace(HVM, dialect=Dialect.XL)


def vbd(text: str, **changes: object) -> Vbd:
    """"file:/x.img,xvda,w" with plain words before the path."""
    uname, vdev, mode = text.split(",")
    protocol, _, path = uname.partition(":")
    name, _, kind = vdev.partition(":")
    found = Vbd(uname=uname, protocol=protocol, path=path, vdev=name, mode=VbdMode(mode), cdrom=kind == "cdrom")
    return replace(found, **changes)  # type: ignore[arg-type]


def said(translation: Translation, key: str) -> list[tuple[Fate, str]]:
    """The loud notes on KEY: fate and reason."""
    return [(note.fate, note.reason) for note in translation.notes if note.key == key and not note.harmless]
