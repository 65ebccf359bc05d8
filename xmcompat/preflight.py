"""Can this host run the guest now? Asked before anything is changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xmcompat import moving, saved_guests
from xmcompat.backends.machine import BlockSource, FileSource, Machine
from xmcompat.errors import ConfigError, DeviceError, DomainExists, DomainNotFound, OperationError, XmError
from xmcompat.guest import GuestConfig, GuestKind, KernelBoot, is_loader
from xmcompat.toolstack import DOM0_NAME, DOM0_UUID

if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import DomainInfo, Hypervisor

#: What xend leaves to Domain-0 at least (dom0-min-mem, 196 MiB), in KiB.
DOM0_MIN_MEM = 200704

#: As much of a kernel file as tells what it is.
KERNEL_HEAD = 64 * 1024

#: Characters of an overlong name that are shown.
SHOWN = 40


def refuse_overlong(name: str) -> None:
    """Raise where libvirt could not name its files for a domain called NAME."""
    from xmcompat.translate.machine import LONGEST_NAME

    size = len(os.fsencode(name))
    if size > LONGEST_NAME:
        raise XmError(f"VM name '{name[:SHOWN]}...' is too long: {size} bytes; {LONGEST_NAME} is the limit")


def refuse_taken(hypervisor: Hypervisor, guest: GuestConfig, *, discard_saved: bool = False) -> None:
    """Raise DomainExists where name or uuid belong to another domain; those of Domain-0 always do.

    A halted, known domain of the same name *and* uuid is no obstacle: it runs with the new configuration. One whose memory
    is saved raises OperationError, unless with DISCARD_SAVED; so does one that is being saved, moved or restored.
    Source: xm-create's name rules, Xen 4.1.
    """
    if guest.name == DOM0_NAME or guest.uuid == DOM0_UUID:
        raise DomainExists(DOM0_NAME, 0)
    for designation in filter(None, (guest.name, guest.uuid)):
        try:
            holder = hypervisor.find(designation)
        except DomainNotFound:
            continue
        if guest.name != holder.name and guest.uuid != holder.uuid:
            continue  # a name that reads as somebody's id
        if holder.domid is not None:
            raise DomainExists(guest.name, holder.domid)
        if (guest.name, guest.uuid) != (holder.name, holder.uuid):
            raise DomainExists(holder.name, None)
        if not discard_saved:
            refuse_suspended(hypervisor, holder)
    if guest.uuid:
        moving.refuse_on_its_way(hypervisor.uri, guest.uuid, guest.name)
    saved = None if discard_saved else saved_guests.find(hypervisor.uri, guest.name, guest.uuid)
    if saved is not None:
        saved_guests.refuse(saved)


def give_up_saved(hypervisor: Hypervisor, info: DomainInfo) -> None:
    """Forget the memory that was saved of the domain, beside its definition or in a file, which goes: it starts afresh.

    Raises OperationError, HypervisorError.
    """
    if info.uuid in hypervisor.suspended():
        hypervisor.discard_image(info.uuid)
    saved = saved_guests.find(hypervisor.uri, info.name, info.uuid)
    if saved is not None:
        saved_guests.discard(saved)


def refuse_suspended(hypervisor: Hypervisor, holder: DomainInfo) -> None:
    """Raise OperationError where a known domain that is off has an image, which would no longer fit its disks.

    Differs from xm: it started the new one, and left the image where it was.
    """
    if holder.uuid in hypervisor.suspended():
        raise OperationError(
            f"Domain '{holder.name}' is suspended; its memory would be lost",
            hint=f"go on with it by 'xm resume {holder.name}', or give its memory up by {saved_guests.OPTION} of "
            "'xm create' or 'xm start'",
        )


def refuse_too_large(guest: GuestConfig, host_memory: int) -> None:
    """Raise where the guest wants more memory than the host (HOST_MEMORY KiB, 0: unknown) has at all.

    Differs from xm: memory that other guests could give back counts as there; see overcommitted().
    """
    wanted = guest.memory * 1024
    left = host_memory - DOM0_MIN_MEM
    if host_memory and wanted > left:
        raise XmError(
            f"I need {wanted} KiB, but dom0_min_mem is {DOM0_MIN_MEM} and shrinking to "
            f"{DOM0_MIN_MEM} KiB would leave only {max(left, 0)} KiB free."
        )


def overcommitted(guest: GuestConfig, host_memory: int, running: Sequence[DomainInfo]) -> str | None:
    """One line where all running guests and this one together are promised more than the host has."""
    promised = guest.memory + sum(info.memory for info in running if info.started) // 1024
    if not host_memory or promised <= host_memory // 1024:
        return None
    return (
        f"the running guests and '{guest.name}' together may use {promised} MiB; "
        f"this host has {host_memory // 1024} MiB"
    )


def refuse_foreign_kernel(guest: GuestConfig) -> None:
    """Raise where the configured kernel cannot boot on KVM at all (a classic, PV-only Xen kernel)."""
    if not isinstance(guest.boot, KernelBoot) or _is_loader(guest, guest.boot):
        return
    from xmcompat.translate.kernel import kernel_verdict

    path = guest.boot.kernel
    head = _head(path, "Kernel image")
    verdict = kernel_verdict(head, path)
    if not verdict.bootable:
        raise ConfigError(
            f"kernel '{path}' cannot boot on KVM: {verdict.reason}",
            path=guest.source or None,
            line=guest.lines.get("kernel"),
        )


def refuse_missing_ramdisk(guest: GuestConfig) -> None:
    """Raise where the ramdisk is none that could be loaded."""
    if isinstance(guest.boot, KernelBoot) and guest.boot.ramdisk and not _is_loader(guest, guest.boot):
        _head(guest.boot.ramdisk, "Kernel ramdisk")


def _is_loader(guest: GuestConfig, boot: KernelBoot) -> bool:
    """Whether the kernel is pv-grub, which is not needed here: what it did is done without it."""
    return guest.kind is not GuestKind.HVM and is_loader(boot.kernel)


def _head(path: str, what: str) -> bytes:
    """The beginning of the file at PATH, WHAT for messages. Never waits: pipes and devices are refused."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read(KERNEL_HEAD)
    except FileNotFoundError:
        raise XmError(f"{what} does not exist: {path}") from None
    except OSError as error:
        raise XmError(f"{what} cannot be read: {path}: {error.strerror}") from None
    raise XmError(f"{what} is not a regular file: {path}")


def refuse_unstartable(guest: GuestConfig, machine: Machine) -> None:
    """Raise where the disk that the machine would start from has no program in its boot sector.

    Only what is raw is looked at; other formats, and disks that cannot be read here, are left to the BIOS.
    """
    from xmcompat.storage.boot_sector import can_start, first_sector

    for disk in machine.disks:
        if disk.boot_order != 1 or disk.driver != "raw" or not isinstance(disk.source, FileSource | BlockSource):
            continue
        sector = first_sector(disk.source.path)
        if sector is not None and not can_start(sector):
            key = "bootloader" if "bootloader" in guest.options else "kernel" if "kernel" in guest.options else "disk"
            raise ConfigError(
                f"the disk {disk.vdev} ({disk.source.path}) has no boot loader in its boot sector, and nothing takes the "
                "kernel out of it", path=guest.source or None, line=guest.lines.get(key),
                hint="run grub-install in the guest, or copy its kernel and ramdisk to this host and name them with "
                "kernel= and ramdisk=",
            )  # fmt: skip


def refuse_missing_bridge(machine: Machine, bridges: Sequence[str]) -> None:
    """Raise xm's sentence where an interface is to be on none of the host's BRIDGES; those of Open vSwitch are not among
    them, and left to libvirt."""
    for number, nic in enumerate(machine.nics):
        if nic.bridge and not nic.openvswitch and nic.bridge not in bridges:
            raise DeviceError(f"Device {number} (vif) could not be connected. Could not find bridge device {nic.bridge}")
