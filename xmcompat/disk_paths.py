"""Where the disks of a guest lie on this host: each is there, and free."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from xmcompat import disk_needs
from xmcompat.backends.devices import BlockSource, Disk, FileSource
from xmcompat.backends.local_host import run_folder
from xmcompat.guest import GuestConfig
from xmcompat.storage.check import Source, assemble
from xmcompat.storage.sharing import Held
from xmcompat.translate.partitions import folder_in
from xmcompat.vdev import vdev_number

if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import Hypervisor
    from xmcompat.storage.composite import Use


def with_real_paths(
    hypervisor: Hypervisor, disks: tuple[Disk, ...], guest: GuestConfig, *, own: str = "", uuid: str = ""
) -> tuple[Disk, ...]:
    """The disks of GUEST by their real paths, each there and free; what the domain OWN, of UUID, holds itself does not
    count.

    Raises DeviceError.
    """
    local_disks = [one for disk in disks for one in (disk.members or (disk,)) if _is_local(one)]
    if not local_disks:
        return disks
    held = [
        Held(domain=use.domain, path=use.path, readonly=use.readonly, shareable=use.shareable)
        for use in hypervisor.disk_uses() if use.domain != own
    ]  # fmt: skip
    paths = assemble([_source(disk, guest) for disk in local_disks], others=[*held, *_held_in_parts(hypervisor.uri, uuid)])
    real = dict(zip(map(id, local_disks), paths, strict=True))

    def at(disk: Disk) -> Disk:
        if disk.members:
            return replace(disk, members=tuple(map(at, disk.members)))
        return _at(disk, real.get(id(disk)))

    return tuple(map(at, disks))


def _held_in_parts(uri: str, uuid: str) -> Iterator[Held]:
    """The volumes of disks that are made of several, of all guests but that of UUID; the libvirt at URI knows nothing of
    them."""
    for use in (*_served(folder_in(run_folder(uri))), *_joined()):
        if not uuid or not os.path.basename(use.folder).startswith(uuid):
            yield Held(domain=use.domain, path=use.path, readonly=use.readonly, shareable=use.shareable)


def _served(folder: str) -> Iterable[Use]:
    try:
        names = os.listdir(folder)
    except OSError:
        return ()
    if all(name.startswith(".") for name in names):
        return ()
    from xmcompat.storage import composite

    return composite.held(folder)


def _joined() -> Iterable[Use]:
    if not disk_needs.is_any():
        return ()
    from xmcompat.storage import holds, mapped

    return mapped.held([(hold.need, bool(hold.holders)) for hold in holds.held(disk_needs.FOLDER)])


def with_whole_paths(disks: tuple[Disk, ...]) -> tuple[Disk, ...]:
    """The disks by their absolute paths, none of them looked at."""
    return tuple(
        _at(disk, os.path.abspath(disk.source.path))
        if isinstance(disk.source, FileSource | BlockSource) and disk.source.path else disk
        for disk in disks
    )  # fmt: skip


def _is_local(disk: Disk) -> bool:
    return isinstance(disk.source, FileSource | BlockSource)


def _at(disk: Disk, path: str | None) -> Disk:
    if path is None or not isinstance(disk.source, FileSource | BlockSource):
        return disk
    return replace(disk, source=replace(disk.source, path=path))


def _source(disk: Disk, guest: GuestConfig) -> Source:
    assert isinstance(disk.source, FileSource | BlockSource)
    vbd = next((vbd for vbd in guest.disks if vbd.vdev == disk.vdev), None)
    protocol = vbd.protocol if vbd else ""
    return Source(
        kind="block" if isinstance(disk.source, BlockSource) else "file",
        path=disk.source.path,
        writable=not disk.readonly,
        shareable=disk.shareable,
        device_number=vdev_number(disk.vdev) or disk.vdev or disk.target,
        device_class=protocol.split(":")[0] if protocol.startswith("tap") else "vbd",
    )
