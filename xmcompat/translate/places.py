"""Where the guest finds each disk: Xen's device names to QEMU's buses and names. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from xmcompat.backends.devices import Bus
from xmcompat.backends.facts import HostFacts
from xmcompat.guest import GuestConfig, GuestKind, Vbd, VbdMode
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import text
from xmcompat.translate.partitions import disk_of, groups, part_number, why_apart
from xmcompat.vdev import index_letters, letters_index, split_vdev, vdev_name, vdev_number

_PREFIX = {Bus.IDE: "hd", Bus.SATA: "sd", Bus.SCSI: "sd", Bus.VIRTIO: "vd"}
#: The disks of one SCSI controller, of which libvirt takes a further one for each seven names, and how many of them.
ON_SCSI, _CONTROLLERS = 7, 4
_SIZE = {Bus.IDE: 4, Bus.SATA: 6, Bus.SCSI: ON_SCSI * _CONTROLLERS}
_MOST = 1000  # of the other kind, more than any guest has
_ORDER = (Bus.IDE, Bus.SATA, Bus.SCSI, Bus.VIRTIO)
_NO_NUMBER = 1 << 31
_VIRTIO = "virtio"


class Place(NamedTuple):
    """One disk of the configuration (its ``number`` there) and QEMU's name for it. With ``members``, the numbers of others,
    it is the disk ``vdev`` that those are partitions of."""

    number: int
    target: str
    bus: Bus
    vdev: str = ""
    members: tuple[int, ...] = ()


class _Names:
    """QEMU's names, each given once."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._first: dict[Bus, int] = {}  # no place before it is free

    def take(self, bus: Bus, letters: str) -> str | None:
        """That name, None where it is taken or the bus has no such place."""
        name = _PREFIX[bus] + letters
        if name in self._taken or letters_index(letters) >= _SIZE.get(bus, _MOST):
            return None
        self._taken.add(name)
        return name

    def next(self, bus: Bus) -> str | None:
        """The first free name of the bus, None where it is full."""
        for place in range(self._first.get(bus, 0), _SIZE.get(bus, _MOST)):
            self._first[bus] = place + 1
            if name := self.take(bus, index_letters(place)):
                return name
        return None

    def behind(self, bus: Bus, letters: str) -> str | None:
        """The first free name of the bus behind that one, None where there is none."""
        places = range(letters_index(letters) + 1, _SIZE.get(bus, _MOST))
        return next(filter(None, (self.take(bus, index_letters(place)) for place in places)), None)


def by_number(guest: GuestConfig) -> list[int]:
    """The disks' places in the configuration, in the order of their device numbers: the guest's own order."""

    def key(index: int) -> tuple[int, int]:
        number = vdev_number(guest.disks[index].vdev)
        return (_NO_NUMBER if number is None else number, index)

    return sorted(range(len(guest.disks)), key=key)


def pv_places(guest: GuestConfig, facts: HostFacts, findings: Findings) -> list[Place]:
    """vda, vdb, ... in the order of the device numbers; CD-ROMs on virtio-scsi. Partitions are those of one disk for each
    letter, or disks of their own where they cannot be joined."""
    names, places = _Names(), []
    together = {number: group for group in groups(guest, facts) for number in group.members}
    done: set[int] = set()
    for index in by_number(guest):
        if index in done:
            continue
        vbd, group = guest.disks[index], together.get(index)
        bus = Bus.SCSI if vbd.cdrom else Bus.VIRTIO
        target = names.next(bus)
        if target is None:
            what = "CD-ROM drives" if vbd.cdrom else "disks"
            findings.refuse(f"disk[{index}]", f"{_SIZE.get(bus, _MOST)} {what} fit, no more", value=vbd.vdev)
        elif group is not None:
            done.update(group.members)
            places.append(Place(index, target, bus, group.vdev, group.members))
        else:
            places.append(Place(index, target, bus))
    for place in places:
        if place.members:
            _tell_partitions(guest, place, findings)
        else:
            _tell_pv_name(guest, facts, place, findings)
    return places


def _tell_partitions(guest: GuestConfig, place: Place, findings: Findings) -> None:
    for number in place.members:
        vbd = guest.disks[number]
        new = f"/dev/{place.target}{part_number(vbd)}"
        findings.approximated(
            f"disk[{number}]", f"the partition {vbd.vdev} is {new} in the guest", value=vbd.vdev,
            suggestion=f"where the guest's /etc/fstab says /dev/{vbd.vdev}, write {new} or UUID=",
        )  # fmt: skip


def _tell_pv_name(guest: GuestConfig, facts: HostFacts, place: Place, findings: Findings) -> None:
    vbd, key = guest.disks[place.number], f"disk[{place.number}]"
    if vbd.cdrom:
        findings.approximated(
            key, f"{vbd.vdev} is a SCSI CD-ROM drive in the guest (/dev/sr{letters_index(place.target[2:])})",
            value=vbd.vdev,
        )  # fmt: skip
        return
    number = vdev_number(vbd.vdev)
    name = vbd.vdev if vbd.vdev[:1].isalpha() else vdev_name(number) if number is not None else None
    what = "the partition" if vbd.is_partition else "the disk"
    whole = "the whole disk " if vbd.is_partition else ""
    why = why_apart(guest, disk_of(vbd)) if vbd.is_partition else ""
    if vbd.is_partition and why.startswith("the whole disk"):
        findings.approximated(key, f"{why}; {vbd.vdev} is a disk of its own", value=vbd.vdev)
        why = ""
    reason = f"; {why}" if why and facts.composites else ""
    findings.approximated(
        key, f"{what} {vbd.vdev} is {whole}/dev/{place.target} in the guest{reason}", value=vbd.vdev,
        suggestion=f"where the guest's /etc/fstab {f'says /dev/{name}' if name else 'names it'}, "
        f"write /dev/{place.target} or UUID=",
    )  # fmt: skip


def hvm_places(guest: GuestConfig, findings: Findings) -> list[Place]:
    """hda to hdd and xvda to xvdd are IDE's four drives, sd names are SCSI, what is left is virtio.

    IDE first, each bus by name: the BIOS starts from the first disk. What finds its place taken stands behind the disk
    that has it.
    """
    names = _Names()
    wished = {index: _wish(guest, guest.disks[index]) for index in by_number(guest)}
    # of hda and xvda, one place, the former has it
    order = sorted(wished, key=lambda index: not guest.disks[index].vdev.startswith(("hd", "sd")))
    targets = {index: names.take(bus, letters) for index in order for bus, letters in [wished[index]] if letters}
    places = []
    for index in order:
        vbd, bus, target = guest.disks[index], wished[index][0], targets.get(index)
        if target is None:
            bus, target = _other_place(vbd, *wished[index], names)
        if target is None:
            findings.refuse(f"disk[{index}]", "no place is left; leave one of the disks out", value=vbd.vdev)
            continue
        places.append(Place(index, target, bus))
    places.sort(key=lambda place: (_ORDER.index(place.bus), len(place.target), place.target))
    for place in places:
        _tell_hvm_name(guest, place, findings)
    return places


def added_place(guest: GuestConfig, taken: Iterable[str], *, live: bool) -> Place | None:
    """Where the one disk of GUEST goes that has other disks already, with the names TAKEN; None where nothing is free.

    LIVE: the guest runs. QEMU's IDE and SATA take nothing then: disks are virtio, CD-ROMs on a fast SCSI controller.
    """
    names, vbd = _Names(taken), guest.disks[0]
    if guest.kind is not GuestKind.HVM or live:
        bus = Bus.SCSI if vbd.cdrom else Bus.VIRTIO
        target = names.next(bus)
    else:
        bus, letters = _wish(guest, vbd)
        target = names.take(bus, letters) if letters else None
        if target is None:
            bus, target = _other_place(vbd, bus, letters, names)
    return None if target is None else Place(0, target, bus)


def _wish(guest: GuestConfig, vbd: Vbd) -> tuple[Bus, str]:
    """Bus and letters that the device's name asks for; no letters: the next free ones."""
    kind, letters, _ = split_vdev(vbd.vdev)
    if vbd.specification == _VIRTIO and not vbd.cdrom:
        return Bus.VIRTIO, ""
    if kind == "sd":
        return Bus.SCSI, letters
    ahci = text(guest, "hdtype") == "ahci"
    if letters and letters in "abcd":
        if vbd.cdrom or vbd.mode is not VbdMode.READ_ONLY:
            return (Bus.SATA if ahci else Bus.IDE), letters
        return Bus.VIRTIO, ""  # QEMU's IDE and SATA disks can be written to
    if vbd.cdrom:
        return (Bus.SATA if ahci else Bus.IDE), ""
    return Bus.VIRTIO, ""


def _other_place(vbd: Vbd, wish: Bus, letters: str, names: _Names) -> tuple[Bus, str | None]:
    """A free place of the bus that is wished, behind that of LETTERS, which is taken; else of what serves as well.

    CD-ROMs cannot be virtio; where they stand among the disks does not matter.
    """
    if letters and not (vbd.cdrom and wish is not Bus.SCSI):
        target = names.behind(wish, letters)
        buses = [Bus.IDE, Bus.SATA] if vbd.cdrom else [Bus.VIRTIO]
    else:
        target = names.next(wish)
        buses = [bus for bus in (Bus.IDE, Bus.SATA) if bus is not wish] if vbd.cdrom else [Bus.VIRTIO]
    if target:
        return wish, target
    for bus in buses:
        if target := names.next(bus):
            return bus, target
    return buses[-1], None


def _tell_hvm_name(guest: GuestConfig, place: Place, findings: Findings) -> None:
    vbd, key = guest.disks[place.number], f"disk[{place.number}]"
    kind, letters, part = split_vdev(vbd.vdev)
    if part:
        findings.approximated(key, f"the partition is the whole disk {place.target} in the guest", value=vbd.vdev)
    if place.bus is not Bus.VIRTIO:
        if letters and letters != place.target[2:]:
            findings.approximated(key, f"its place is taken; it is {place.target} in the guest", value=vbd.vdev)
        elif kind == "xvd":
            findings.approximated(
                key, f"it is {place.target} in the guest, as Xen shows it too", value=vbd.vdev, harmless=True
            )
        return
    if vbd.specification == _VIRTIO:
        findings.carried(key, f"it is the virtio disk {place.target} in the guest", value=vbd.vdev)
        return
    fixed = bool(letters) and letters in "abcd" and vbd.mode is VbdMode.READ_ONLY
    why = "QEMU has no read-only IDE disks; " if fixed else ""
    findings.approximated(
        key, f"{why}it is the virtio disk {place.target} in the guest", value=vbd.vdev,
        suggestion="the guest needs a driver for virtio disks",
    )  # fmt: skip
