"""How the machine starts: a kernel of the host, or a BIOS. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from xmcompat.backends.devices import Bus, Disk
from xmcompat.backends.machine import DeviceBoot, DirectKernel, MachineBoot
from xmcompat.guest import EventAction, FirmwareBoot, GuestConfig, GuestKind, KernelBoot, LoaderBoot
from xmcompat.translate.cmdline import VIRTIO, pv_cmdline
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import text

_BOOT_DEVICES = {"a": "fd", "c": "hd", "d": "cdrom", "n": "network"}
_BIOS = ("", "bios", "seabios", "rombios")
_EFI = ("uefi", "ovmf")
_RESTARTS = (EventAction.RESTART, EventAction.RENAME_RESTART, EventAction.COREDUMP_RESTART)


class Start(NamedTuple):
    """``primary`` is the main console of a paravirtual guest: "hvc0" or "ttyS0"."""

    boot: MachineBoot
    primary: str = VIRTIO


def start(guest: GuestConfig, machine_disks: Sequence[Disk], findings: Findings) -> Start:
    boot = guest.boot
    if isinstance(boot, LoaderBoot):
        findings.refuse(
            "bootloader",
            "not supported yet: nothing takes the kernel out of the guest's disk; "
            "copy kernel and ramdisk to this host and name them with kernel= and ramdisk=",
            value=boot.bootloader or "pygrub",
        )
        return Start(DeviceBoot())
    if isinstance(boot, FirmwareBoot):
        return Start(_firmware(guest, boot, findings))
    return _kernel(guest, boot, machine_disks, findings)


def acpi(guest: GuestConfig, boot: MachineBoot, findings: Findings) -> bool:
    """A paravirtual guest needs the power button: there it is what the shutdown request was."""
    if guest.kind is not GuestKind.HVM or guest.acpi:
        return True
    if isinstance(boot, DeviceBoot) and boot.firmware == "efi":
        findings.approximated("acpi", "UEFI does not go without ACPI; it is on", value="0")
        return True
    findings.approximated(
        "acpi", "without ACPI the guest has no power button: 'xm shutdown' and 'xm reboot' cannot reach it", value="0"
    )
    return False


def _kernel(guest: GuestConfig, boot: KernelBoot, machine_disks: Sequence[Disk], findings: Findings) -> Start:
    if guest.kind is GuestKind.HVM:
        for key in ("bios", "firmware"):
            if (word := text(guest, key)) and word not in _BIOS:
                findings.approximated(key, "QEMU's BIOS starts the kernel of the host", value=word)
        return Start(DirectKernel(kernel=boot.kernel, initrd=boot.ramdisk, cmdline=boot.cmdline))
    line = pv_cmdline(
        guest, boot.cmdline, _new_names(machine_disks), findings, panic_reboots=guest.on_crash in _RESTARTS
    )
    return Start(DirectKernel(kernel=boot.kernel, initrd=boot.ramdisk, cmdline=line.text), line.primary)


def _new_names(machine_disks: Sequence[Disk]) -> Mapping[str, str]:
    """Linux's names for the disks of a paravirtual guest, by Xen's. "/dev/" may be said in front of those."""
    names: dict[str, str] = {}
    drives = 0
    for disk in machine_disks:
        target = disk.target
        if disk.bus is Bus.SCSI:
            target, drives = f"sr{drives}", drives + 1
        names[disk.vdev.removeprefix("/dev/")] = target
    return names


def _firmware(guest: GuestConfig, boot: FirmwareBoot, findings: Findings) -> DeviceBoot:
    word = boot.firmware
    key = "bios" if text(guest, "bios") and not text(guest, "firmware") else "firmware"
    if word.startswith("pvgrub"):
        findings.refuse(
            key,
            "it loads kernels for Xen; copy kernel and ramdisk to this host and name them with kernel= and ramdisk=",
            value=word,
        )
    elif word in _EFI:
        findings.carried(key, "the variables of its firmware begin empty, as with Xen at each start", value=word)
    elif word not in _BIOS:
        findings.approximated(key, "firmware made for Xen does not run here; QEMU's BIOS does", value=word)
    order = dict.fromkeys(_BOOT_DEVICES[letter] for letter in boot.order if letter in _BOOT_DEVICES)
    foreign = [letter for letter in boot.order if letter not in _BOOT_DEVICES]
    if foreign:
        findings.approximated("boot", f"no device is called '{''.join(foreign)}'", value=boot.order)
    return DeviceBoot(order=tuple(order) or ("hd",), firmware="efi" if word in _EFI else "")
