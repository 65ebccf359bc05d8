"""What two guests must have in common for one to stand for the other, whichever tool they are for."""

from __future__ import annotations

import shlex
from collections.abc import Collection

from xmcompat.guest import (
    Dialect,
    FirmwareBoot,
    GuestConfig,
    GuestKind,
    LoaderBoot,
    Vbd,
    VbdMode,
    Vfb,
    Vif,
)
from xmcompat.notes import Fate, Note


def gist(guest: GuestConfig, *, without: Collection[str] = ()) -> dict[str, object]:
    """The parts of GUEST that another tool can say; entries of lists that WITHOUT names ("disk[1]") are left out."""
    hvm = guest.kind is GuestKind.HVM
    return {
        "name": guest.name, "uuid": guest.uuid, "hvm": hvm, "memory": guest.memory, "maxmem": guest.maxmem,
        "vcpus": (guest.vcpus, guest.vcpus_online), "pins": guest.pins, "weight": guest.weight or 256, "cap": guest.cap,
        "boot": _boot(guest), "events": (guest.on_poweroff, guest.on_reboot, guest.on_crash),
        "clock": (guest.localtime, guest.rtc_timeoffset), "acpi": guest.acpi or not hvm,
        "serials": guest.serials if hvm else (),
        "disks": [_disk(vbd) for index, vbd in enumerate(guest.disks) if f"disk[{index}]" not in without],
        "vifs": [_vif(guest, vif) for index, vif in enumerate(guest.vifs) if f"vif[{index}]" not in without],
        "vfbs": [_vfb(vfb) for vfb in guest.vfbs if (vfb.vnc or vfb.sdl) and not (hvm and guest.options.get("nographic"))],
        "pci": [(one.domain, one.bus, one.slot, one.function, one.virtual_slot)
                for index, one in enumerate(guest.pci) if f"pci[{index}]" not in without],
    }  # fmt: skip


def lost(notes: Collection[Note]) -> set[str]:
    """The entries of lists that NOTES say are left out."""
    gone = [note for note in notes if note.fate is Fate.NO_COUNTERPART and "left out" in note.reason]
    return {note.key for note in (*gone, *(note for note in notes if "xl has no disks" in note.reason))}


def _boot(guest: GuestConfig) -> object:
    boot = guest.boot
    if isinstance(boot, FirmwareBoot):
        return boot.order
    if isinstance(boot, LoaderBoot):
        loader = "pygrub" if boot.bootloader in ("", "pvgrub32", "pvgrub64") else boot.bootloader
        return loader, tuple(shlex.split(boot.args)), boot.cmdline.rstrip()
    return boot.kernel, boot.ramdisk, boot.cmdline.rstrip()


def _disk(vbd: Vbd) -> object:
    mode = VbdMode.READ_ONLY if vbd.cdrom else VbdMode.READ_WRITE if vbd.mode is VbdMode.SHARED else vbd.mode
    word = vbd.protocol if vbd.protocol in ("nbd", "iscsi", "drbd", "rbd") else ""
    return word, vbd.path, vbd.image_format, vbd.vdev, mode, vbd.cdrom, vbd.backend or "0"


def _vif(guest: GuestConfig, vif: Vif) -> object:
    routed = vif.script.rpartition("/")[2] in ("vif-route", "vif-nat")
    bridge = vif.bridge or ("" if routed else "xenbr0")
    words = ("ioemu", "") if guest.dialect is not Dialect.XL else ("", "ioemu")
    own_kind_alone = guest.kind is GuestKind.HVM and vif.type not in words
    rate = "" if vif.rate == "fast" else vif.rate
    return vif.mac, bridge, vif.ip, vif.script, vif.model, vif.vifname, rate, vif.backend, vif.policy, own_kind_alone


def _vfb(vfb: Vfb) -> object:
    return vfb.vnc, vfb.sdl, vfb.listen or "127.0.0.1", vfb.display, vfb.unused, vfb.password or "", vfb.keymap, vfb.x_display
