"""Kernels that are taken out of guests' disks, as Xen's host did for pygrub, pv-grub and domUloader: at every start.

On the path of ``xm destroy``: only what is cheap is imported at the top.
"""

from __future__ import annotations

import os
import time

from xmcompat.backends.settings import is_local
from xmcompat.errors import ConfigError, DomainNotFound, XmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from xmcompat.backends.hypervisor import Hypervisor
    from xmcompat.backends.machine import Disk, Machine
    from xmcompat.guest import GuestConfig
    from xmcompat.storage import guest_boot
    from xmcompat.translate.loader import Taken, Wanted

#: One folder in it for each guest, called by its uuid.
FOLDER = "/var/lib/xmcompat/boot"
VARIABLE = "XMCOMPAT_BOOT_FOLDER"

#: Seconds for which what nobody knows may belong to a guest that is just being started.
_FRESH = 600.0

_NEEDED = ("CONFIG_VIRTIO_PCI", "CONFIG_VIRTIO_BLK")


def folder(environ: Mapping[str, str] = os.environ) -> str:
    """Where kernels go that are taken out of disks; "" for a user who may not write there."""
    return environ.get(VARIABLE, FOLDER) if os.geteuid() == 0 else ""


def take(guest: GuestConfig, machine: Machine, place: str) -> Taken | None:
    """What GUEST starts from, taken out of its disk into the folder of PLACE that is the guest's; None for a guest that has
    a kernel of the host, or a disk that starts by itself. The disks of MACHINE are there, by their real paths.

    Raises ConfigError where there is nothing in the disk that can start on KVM.
    """
    from xmcompat.translate import loader

    wish = loader.wanted(guest)
    disk = _disk_of(machine, wish.vdev) if wish else None
    if wish is None or disk is None:
        return None
    from xmcompat.backends.devices import BlockSource, DiskDevice, FileSource
    from xmcompat.storage import guest_boot

    if not isinstance(disk.source, FileSource | BlockSource) or disk.device is DiskDevice.CDROM:
        return None
    path = disk.source.path
    volume = guest_boot.Volume(path=path, format=disk.driver, vdev=disk.vdev)
    whole = not disk.vdev[-1:].isdigit()
    try:
        if whole and guest_boot.starts_by_itself(volume):
            return None
        found = guest_boot.take(volume, _wish(wish), loader.place_of(place, guest.uuid or machine.uuid or ""), judge)
    except XmError as error:
        raise _refusal(guest, disk, path, error, whole=whole) from None
    return loader.Taken(found.kernel, found.ramdisk, found.args, found.source, found.remark)


def _disk_of(machine: Machine, vdev: str) -> Disk | None:
    every = (one for disk in machine.disks for one in (disk, *disk.members))
    return next((one for one in every if one.vdev == vdev), None) if vdev else None


def _wish(wanted: Wanted) -> guest_boot.Wish:
    from xmcompat.storage import guest_boot

    return guest_boot.Wish(
        partition=wanted.partition, config=wanted.config, entry=wanted.entry, kernel=wanted.kernel, ramdisk=wanted.ramdisk
    )


def _refusal(guest: GuestConfig, disk: Disk, path: str, error: XmError, *, whole: bool) -> ConfigError:
    key = "bootloader" if "bootloader" in guest.options else "kernel" if "kernel" in guest.options else "disk"
    sector = "has no boot loader in its boot sector, and " if whole else ""
    hint = f"run grub-install in the guest, or {error.hint}" if whole and error.hint else error.hint
    return ConfigError(
        f"the disk {disk.vdev} ({path}) {sector}gives no kernel: {error.message}", path=guest.source or None,
        line=guest.lines.get(key), hint=hint,
    )  # fmt: skip


def judge(head: bytes, path: str, read: Callable[[str], bytes | None]) -> str:
    """Why the kernel that begins with HEAD, at PATH in the guest, cannot start on KVM; "" where nothing speaks against it.
    READ gives the guest's files."""
    import re

    from xmcompat.translate.kernel import kernel_verdict

    verdict = kernel_verdict(head, path)
    if not verdict.bootable:
        return verdict.reason
    config = read(f"{os.path.dirname(path)}/config-{verdict.release}") if verdict.release else None
    built = (config or b"").decode("utf-8", "replace")
    missing = [name for name in _NEEDED if not re.search(rf"(?m)^{name}=[ym]", built)] if built else []
    return f"it was built without {' and '.join(missing)}, and so would find no disk" if missing else ""


def renew(
    hypervisor: Hypervisor, uuid: str, disks: tuple[Disk, ...], environ: Mapping[str, str] = os.environ
) -> bool:
    """Before a known domain starts: take its kernel anew, as its boot menu says now, and have its definition name it.

    False for a domain that starts otherwise. DISKS are there, by their real paths. Raises ConfigError.
    """
    place = folder(environ)
    if not place or not is_local(hypervisor.uri):
        return False
    xml = hypervisor.definition(uuid)
    if not any(word in xml for word in (place, "bootloader", "grub")):
        return False
    from dataclasses import replace

    from xmcompat.backends import boot_xml, domain_xml
    from xmcompat.translate.boot import start
    from xmcompat.translate.consoles import pv_console_names
    from xmcompat.translate.findings import Findings

    machine = domain_xml.parse(xml)
    guest = _guest_of(machine)
    if guest is None:
        return False
    taken = take(guest, replace(machine, disks=disks), place)
    if taken is None and not _is_in(machine, place):
        return False
    begun = start(guest, machine.disks, Findings(guest), folder="" if taken is None else place, taken=taken)
    changed = boot_xml.with_boot(xml, begun.boot, disk=begun.disk, consoles=pv_console_names(begun.primary))
    if changed != xml:
        hypervisor.define_again(changed)
    return taken is not None


def ensure(machine: Machine, disks: tuple[Disk, ...], environ: Mapping[str, str] = os.environ) -> None:
    """Before MACHINE goes on from an image of its memory: QEMU opens the files of its kernel once more, and they may have
    gone with its last end. DISKS are there, by their real paths. Raises ConfigError."""
    place = folder(environ)
    if not place or not _is_in(machine, place) or os.path.exists(f"{place}/{machine.uuid}/kernel"):
        return
    from dataclasses import replace

    guest = _guest_of(machine)
    if guest is not None:
        take(guest, replace(machine, disks=disks), place)


def _is_in(machine: Machine, place: str) -> bool:
    from xmcompat.backends.machine import DirectKernel

    return isinstance(machine.boot, DirectKernel) and machine.boot.kernel == f"{place}/{machine.uuid}/kernel"


def _guest_of(machine: Machine) -> GuestConfig | None:
    """The configuration that travels with it; None where it has none, or somebody has spoilt it."""
    from dataclasses import replace

    from xmcompat.config.read import read_record_form

    record = machine.record
    if record is None:
        return None
    try:
        return replace(read_record_form(record.sxp, record.source).guest, name=machine.name, uuid=machine.uuid)
    except XmError:
        return None


def gone(hypervisor: Hypervisor, uuid: str, environ: Mapping[str, str] = os.environ) -> None:
    """The domain has ended: remove what was taken for it, unless it is known and may start again. Never raises XmError."""
    place = f"{folder(environ)}/{uuid}"
    if not os.path.isdir(place) or not is_local(hypervisor.uri):
        return
    try:
        hypervisor.find(uuid)
    except DomainNotFound:
        _remove(place)
    except XmError:
        return


def sweep(hypervisor: Hypervisor, environ: Mapping[str, str] = os.environ) -> None:
    """Remove what was taken for domains that nobody knows any more, and what a killed process has left."""
    place = folder(environ)
    try:
        names = os.listdir(place) if place and is_local(hypervisor.uri) else []
    except OSError:
        return
    for name in names:
        try:
            old = time.time() - os.lstat(f"{place}/{name}").st_mtime > _FRESH
        except OSError:
            continue
        if old and name.startswith("."):
            _remove(f"{place}/{name}")
        elif old:
            gone(hypervisor, name, environ)


def _remove(path: str) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)
