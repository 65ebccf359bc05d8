"""Disks that are made of several volumes, from a guest's configuration to the server that QEMU asks."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from xmcompat.backends import domain_xml
from xmcompat.backends.devices import BlockSource, Disk, FileSource
from xmcompat.backends.local_host import run_folder
from xmcompat.errors import DeviceError, XmError
from xmcompat.guest import FirmwareBoot, GuestConfig
from xmcompat.vdev import split_vdev, vdev_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from xmcompat.backends.devices import DiskSource
    from xmcompat.backends.hypervisor import Hypervisor
    from xmcompat.backends.machine import Machine
    from xmcompat.storage.composite import Part
    from xmcompat.storage.needs import Need


def folder(uri: str) -> str:
    """Where disks are served for the libvirt at URI, by the name that is the same for it and for us."""
    from xmcompat.translate.partitions import folder_in

    return folder_in(run_folder(uri))


def chosen(disk: Disk, uri: str) -> Disk:
    """The DISK, which has members, joined by the kernel where it can do that with these volumes, which are there; else
    served. What the kernel joins is as fast as the volumes are, and no process can die."""
    from xmcompat.translate.partitions import by_kernel, by_server, served_folder

    if _kernel_joins(disk):
        return by_kernel(disk)
    return disk if served_folder(disk) else by_server(disk, folder(uri))


def _kernel_joins(disk: Disk) -> bool:
    if any(not isinstance(one.source, BlockSource) for one in disk.members):
        return False
    from xmcompat.storage import mapped

    return mapped.possible() and mapped.fits(tuple(map(_part, disk.members)))


def renewed(xml: str, disks: Iterable[Disk]) -> str:
    """The XML of a domain in which those of DISKS that have members are joined as they are now, and the others are at the
    devices that they have now; "" where it was so before."""
    before = {disk.vdev: disk.source for disk in domain_xml.parse(xml).disks if disk.vdev}
    other = [disk for disk in disks if disk.vdev in before and _is_elsewhere(disk, before[disk.vdev])]
    if not other:
        return ""
    from xmcompat.backends.disk_sources import with_sources

    return with_sources(xml, other)


def _is_elsewhere(disk: Disk, before: DiskSource | None) -> bool:
    """Whether DISK is not what was at BEFORE; two names of one device are the same."""
    now = disk.source
    if disk.members:
        return now != before
    if not isinstance(now, FileSource | BlockSource) or not isinstance(before, FileSource | BlockSource):
        return False
    from xmcompat.storage.check import identities

    return now.path != before.path and identities(now.path) != identities(before.path)


def need_of(disk: Disk, domain: str, sizes: Mapping[str, int] | None = None) -> Need:
    """That DISK, which has members, is there for the guest called DOMAIN. SIZES of volumes (bytes, by their devices'
    numbers) are those that the guest knows already."""
    from xmcompat.storage.composite import Composite
    from xmcompat.translate.partitions import joined_name, served_folder

    parts = sized(tuple(map(_part, disk.members)), sizes or {})
    if folder := served_folder(disk):
        from xmcompat.storage import served

        return served.need(Composite(folder, domain, parts))
    from xmcompat.storage import mapped

    return mapped.need(Composite(joined_name(disk), domain, parts))


def sweep(uri: str) -> None:
    """Remove what servers have left that ended long ago, whosever guests of the libvirt at URI they were for."""
    from xmcompat.storage import composite

    composite.sweep(folder(uri))


def unwritten(xml: str, patience: float) -> DeviceError | None:
    """Why the domain of XML, which has ended, cannot have its disks again yet: within PATIENCE seconds, servers have not
    written what it had. None where it can."""
    from xmcompat.storage import composite
    from xmcompat.translate.partitions import served_folder

    machine, end = domain_xml.parse(xml), time.monotonic() + patience
    folders = filter(None, map(served_folder, machine.disks))
    errors = (composite.unwritten(folder, machine.name, end - time.monotonic()) for folder in folders)
    return next(filter(None, errors), None)


def sized(parts: tuple[Part, ...], sizes: Mapping[str, int]) -> tuple[Part, ...]:
    """PARTS with the SIZES that the guest knows, or as they are now: its disk keeps its form when it is made once more."""
    return tuple(part._replace(size=sizes.get(str(part.device)) or _size(part.path)) for part in parts)


def sizes_in(machine: Machine) -> dict[str, int]:
    """The sizes of volumes that the memory of MACHINE, read from its image, knows."""
    words = machine.record.sizes if machine.record else ()
    pairs = (word.partition("=")[::2] for word in words)
    return {device: int(size) for device, size in pairs if size.isdecimal()}


def remember(hypervisor: Hypervisor, uuid: str, needs: Iterable[Need]) -> None:
    """Have the record of the domain that is there say how large the volumes are that its disks are made of, by NEEDS of it:
    in its memory partitions begin where they begin now, whoever saves that."""
    sizes = told_sizes(needs)
    text = hypervisor.metadata(uuid) if sizes else None
    record = domain_xml.read_record(text) if text else None
    if record is not None and record.sizes != sizes:
        hypervisor.set_metadata(uuid, domain_xml.render_record(record._replace(sizes=sizes)), known=False)


def told_sizes(needs: Iterable[Need]) -> tuple[str, ...]:
    """The sizes of volumes in NEEDS of a domain, in the words of its record: "51713=1073741824"."""
    from xmcompat.storage.needs import ABOVE

    joined = [need for need in needs if need.kind in ABOVE]
    if not joined:
        return ()
    from xmcompat.storage.served import parts_of

    parts = [part for need in joined for part in parts_of(need)]
    return tuple(f"{part.device}={part.size}" for part in parts if part.size)


def _size(path: str) -> int:
    """In bytes; 0 for what cannot be looked at, of which opening it tells."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return 0
    try:
        return os.lseek(fd, 0, os.SEEK_END)
    except OSError:
        return 0
    finally:
        os.close(fd)


def _part(member: Disk) -> Part:
    from xmcompat.storage.composite import Part

    assert isinstance(member.source, FileSource | BlockSource)  # others are never members
    return Part(
        split_vdev(member.vdev)[2], member.source.path, not member.readonly, member.shareable,
        vdev_number(member.vdev) or member.vdev,
    )  # fmt: skip


def disks_of(machine: Machine, guest: GuestConfig) -> tuple[Disk, ...]:
    """The disks of MACHINE, which was read from XML, with what GUEST, its configuration, says of them besides."""
    from xmcompat.translate.disks import recalled

    return recalled(machine.disks, guest)


def guest_in(machine: Machine) -> GuestConfig:
    """The configuration in the record of MACHINE, by the name that it has now; one of no devices where there is none, or
    somebody has spoilt it."""
    guest = GuestConfig(name=machine.name, boot=FirmwareBoot())
    if machine.record is not None:
        from xmcompat.config.form_guest import form_of_record, guest_of_form

        with suppress(XmError):
            path = machine.record.source
            guest = guest_of_form(form_of_record(machine.record.sxp, path), path).guest
    return replace(guest, name=machine.name, uuid=machine.uuid)
