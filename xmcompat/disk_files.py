"""The images of a guest's disks: are they what they are said to be, and who denies them to QEMU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xmcompat.backends.devices import BlockSource, Disk, FileSource
from xmcompat.backends.hypervisor import Hypervisor
from xmcompat.backends.settings import is_local
from xmcompat.errors import DeviceError, DiskRefused, XmError
from xmcompat.storage.files import look
from xmcompat.storage.programs import StorageError
from xmcompat.vdev import vdev_number

_DIRECT = ("none", "directsync")


def looked_at(disks: Sequence[Disk]) -> tuple[tuple[Disk, ...], tuple[str, ...]]:
    """DISKS with the drivers that read their images, and past the host's cache only where that goes; what is to be told of
    them. Raises DeviceError for an image that QEMU would read wrong, or not at all."""
    found: list[Disk] = []
    told: list[str] = []
    for disk in disks:
        if not isinstance(disk.source, FileSource | BlockSource) or not disk.source.path:
            found.append(disk)
            continue
        direct = disk.cache in _DIRECT
        try:
            seen = look(disk.source.path, disk.driver, direct=direct, shareable=disk.shareable)
        except StorageError as error:
            raise DeviceError(
                f"Device {_number(disk)} (vbd) could not be connected. {error.message}", hint=error.hint
            ) from None
        told += seen.told
        cache, io = (disk.cache, disk.io) if seen.direct or not direct else ("", "")
        found.append(replace(disk, driver=seen.driver, cache=cache, io=io))
    return tuple(found), tuple(told)


def who_denies(hypervisor: Hypervisor, error: DiskRefused) -> DeviceError:
    """ERROR of libvirt's, with who denies the disk and what to do, where that can be found out here."""
    if not is_local(hypervisor.uri):
        return error
    from xmcompat.storage.denied import explained

    return explained(error)


def of_disk(hypervisor: Hypervisor, error: XmError, disks: Sequence[Disk]) -> XmError:
    """ERROR of a start that was not told which DISKS there are: with who denies one of them, if it is about that."""
    from xmcompat.backends.libvirt_errors import Failure, disk_error

    local = [(disk.source, disk) for disk in disks if isinstance(disk.source, FileSource | BlockSource)]
    named = [(source.path, disk.vdev or disk.target) for source, disk in local]
    found = disk_error(Failure(None, None, error.message), named)
    return who_denies(hypervisor, found) if found else error


def refuse_unreadable(disks: Sequence[Disk]) -> tuple[str, ...]:
    """Raise DeviceError where the definition of a known domain says another format than an image has; returns what is to be
    told of the others."""
    seen, told = looked_at(disks)
    for one, other in zip(disks, seen, strict=True):
        if one.driver != other.driver and isinstance(one.source, FileSource | BlockSource):
            raise DeviceError(
                f"Device {_number(one)} (vbd) could not be connected. {one.source.path} is an image of {other.driver}, "
                f"not of {one.driver}", hint=f"write tap:{other.driver}:{one.source.path}, and run 'xm new' again",
            )  # fmt: skip
    return told


def _number(disk: Disk) -> int | str:
    return vdev_number(disk.vdev) or disk.vdev or disk.target
