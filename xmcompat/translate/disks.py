"""Virtual block devices to QEMU's disks. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from xmcompat.backends.machine import BlockSource, Bus, Disk, DiskDevice, DiskSource, FileSource
from xmcompat.guest import GuestConfig, GuestKind, Vbd, VbdMode
from xmcompat.notes import Fate, Note
from xmcompat.vdev import index_letters, letters_index, split_vdev, vdev_number

#: QEMU's names for the formats that Xen's words mean. "vhd" is "vpc" there; its own "vhd" is another format.
DRIVERS = {"raw": "raw", "qcow": "qcow", "qcow2": "qcow2", "vhd": "vpc", "vmdk": "vmdk"}

_IDE_PLACES = "abcd"


class Disks(NamedTuple):
    """``names`` maps the guest's old device names to its new ones; ``refusals`` say what cannot be done at all."""

    disks: tuple[Disk, ...]
    names: dict[str, str]
    notes: tuple[Note, ...]
    refusals: tuple[str, ...]


def translate_disks(guest: GuestConfig) -> Disks:
    """The disks in the order of the configuration. Letters follow the device numbers, as in Xen."""
    hvm = guest.kind is GuestKind.HVM
    notes: list[Note] = []
    refusals: list[str] = []
    targets = _hvm_targets(guest.disks, refusals) if hvm else _pv_targets(guest.disks)
    disks, names = [], {}
    for index, vbd in enumerate(guest.disks):
        key = f"disk[{index}]"
        _check(vbd, key, refusals)
        target, bus = targets.get(index, ("", Bus.VIRTIO))
        if not target:
            continue
        if hvm and bus is Bus.IDE and vbd.mode is VbdMode.READ_ONLY and not vbd.cdrom:
            bus, target = Bus.SCSI, _free_scsi(targets, index)
            notes.append(_note(key, vbd, Fate.APPROXIMATED, "IDE disks cannot be read-only on KVM; it is a SCSI disk"))
        disks.append(_disk(vbd, target, bus))
        names[vbd.vdev] = target
    notes += _name_note(guest, disks, hvm=hvm)
    return Disks(tuple(disks), names, tuple(notes), tuple(refusals))


def _note(key: str, vbd: Vbd, fate: Fate, reason: str, **more: str) -> Note:
    return Note(key=key, value=f"{vbd.uname},{vbd.vdev},{vbd.mode.value}", fate=fate, reason=reason, **more)  # type: ignore[arg-type]


def _check(vbd: Vbd, key: str, refusals: list[str]) -> None:
    """What must not be done to a user's data or cannot be done yet."""
    where = f"{key} '{vbd.uname},{vbd.vdev},{vbd.mode.value}'"
    if vbd.backend not in ("", "0", "Domain-0"):
        refusals.append(f"{where}: a driver domain (back end '{vbd.backend}') cannot be had on KVM")
    if vbd.image_format not in DRIVERS:
        refusals.append(f"{where}: images of type '{vbd.image_format}' are not supported")
    elif vbd.mode is VbdMode.SHARED and vbd.image_format != "raw":
        refusals.append(f"{where}: two writers would destroy a {vbd.image_format} image; only raw ones can be shared")
    protocol = vbd.protocol.split(":")[0]
    if protocol not in ("", "phy", "file", "tap", "tap2", "vhd"):
        refusals.append(f"{where}: '{protocol}:' is not supported yet; give the device itself as phy:/dev/...")


def _pv_targets(vbds: Sequence[Vbd]) -> dict[int, tuple[str, Bus]]:
    """vda, vdb, ... in the order of device numbers; CD-ROMs are SCSI ones, since virtio has none."""
    order = sorted(range(len(vbds)), key=lambda index: (_number(vbds[index]), index))
    targets, disks, cdroms = {}, 0, 0
    for index in order:
        if vbds[index].cdrom:
            targets[index] = (f"sd{index_letters(cdroms)}", Bus.SCSI)
            cdroms += 1
        else:
            targets[index] = (f"vd{index_letters(disks)}", Bus.VIRTIO)
            disks += 1
    return targets


def _number(vbd: Vbd) -> int:
    number = vdev_number(vbd.vdev)
    return 1 << 31 if number is None else number


def _hvm_targets(vbds: Sequence[Vbd], refusals: list[str]) -> dict[int, tuple[str, Bus]]:
    """hda to hdd, and xvda to xvdd, are IDE's four places; sd names are SCSI; the others are virtio."""
    targets: dict[int, tuple[str, Bus]] = {}
    taken: dict[str, int] = {}
    virtios = 0
    for index in sorted(range(len(vbds)), key=lambda index: (vbds[index].vdev[:2] != "hd", _number(vbds[index]), index)):
        vbd = vbds[index]
        kind, letters, part = split_vdev(vbd.vdev)
        if part:
            refusals.append(
                f"disk[{index}] '{vbd.vdev}': a guest that boots by BIOS needs whole disks"
            )
            continue
        if kind == "sd":
            target, bus = f"sd{letters}", Bus.SCSI
        elif letters in _IDE_PLACES and f"hd{letters}" not in taken:
            target, bus = f"hd{letters}", Bus.IDE
        elif vbd.cdrom:
            target, bus = f"sd{letters}", Bus.SATA
        else:
            target, bus = f"vd{index_letters(virtios)}", Bus.VIRTIO
            virtios += 1
        taken[target] = index
        targets[index] = (target, bus)
    return targets


def _free_scsi(targets: dict[int, tuple[str, Bus]], index: int) -> str:
    used = {letters_index(name[2:]) for name, _ in targets.values() if name.startswith("sd")}
    place = next(number for number in range(len(targets) + 1) if number not in used)
    targets[index] = (f"sd{index_letters(place)}", Bus.SCSI)
    return targets[index][0]


def _disk(vbd: Vbd, target: str, bus: Bus) -> Disk:
    source = _source(vbd)
    disk = Disk(
        source=source,
        target=target,
        bus=bus,
        device=DiskDevice.CDROM if vbd.cdrom else DiskDevice.DISK,
        driver=DRIVERS.get(vbd.image_format, "raw"),
        readonly=vbd.cdrom or vbd.mode is VbdMode.READ_ONLY,
        shareable=vbd.mode is VbdMode.SHARED and not vbd.cdrom,
        vdev=vbd.vdev,
    )
    if source is None:
        return disk
    if isinstance(source, BlockSource):
        return replace(disk, cache="none", io="native")
    return replace(disk, cache="none") if disk.shareable else disk


def _source(vbd: Vbd) -> DiskSource | None:
    if not vbd.path:
        return None
    if vbd.protocol == "phy" or (vbd.protocol != "file" and vbd.path.startswith("/dev/")):
        return BlockSource(path=vbd.path)
    return FileSource(path=vbd.path)


def _name_note(guest: GuestConfig, disks: Sequence[Disk], *, hvm: bool) -> list[Note]:
    """How the guest will call its disks; a partition's file system lies directly on a disk of its own."""
    renamed = [
        disk
        for disk in disks
        if disk.device is DiskDevice.DISK and disk.vdev and (disk.bus is Bus.VIRTIO if hvm else disk.vdev != disk.target)
    ]
    if not renamed:
        return []
    names = ", ".join(f"{disk.vdev} is {disk.target}" for disk in renamed)
    if hvm:
        reason, advice = f"virtio disks: {names}", "the guest needs a virtio driver for them"
    else:
        reason = f"in the guest {names}"
        advice = "what names them there, such as /etc/fstab, must use the new names, LABEL= or UUID="
    return [
        Note(
            key="disk", fate=Fate.APPROXIMATED, reason=reason, suggestion=advice, path=guest.source or None,
            line=guest.lines.get("disk"),
        )
    ]  # fmt: skip
