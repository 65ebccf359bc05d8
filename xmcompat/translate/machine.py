"""The heart: what a Xen guest becomes on KVM. Pure: no file, clock or random number, no host but the facts given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import (
    Accelerator,
    Bus,
    DeviceBoot,
    DirectKernel,
    Disk,
    Machine,
    MachineBoot,
    XenRecord,
)
from xmcompat.guest import EventAction, FirmwareBoot, GuestConfig, GuestKind, KernelBoot, LoaderBoot
from xmcompat.notes import Note
from xmcompat.translate.clock import clock
from xmcompat.translate.cmdline import VIRTIO, pv_cmdline
from xmcompat.translate.consoles import hvm_console_names, hvm_consoles, pv_console_names, pv_consoles
from xmcompat.translate.disks import disks
from xmcompat.translate.events import events
from xmcompat.translate.findings import Findings
from xmcompat.translate.graphics import screen
from xmcompat.translate.nics import missing_macs, nics
from xmcompat.translate.options import flag

__all__ = ["Translation", "missing_macs", "translate"]

_BOOT_DEVICES = {"a": "fd", "c": "hd", "d": "cdrom", "n": "network"}
_BIOS = ("", "bios", "seabios", "rombios")
_EFI = ("uefi", "ovmf")
_RESTARTS = (EventAction.RESTART, EventAction.RENAME_RESTART, EventAction.COREDUMP_RESTART)


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """``notes`` tell of what depends on values and host; those of each key as such are the reader's."""

    machine: Machine
    notes: tuple[Note, ...]


def translate(
    guest: GuestConfig, facts: HostFacts, *, macs: Sequence[str] = (), record: XenRecord | None = None
) -> Translation:
    """GUEST as a machine for a host of these FACTS.

    MACS are addresses for the interfaces that have none (``missing_macs`` counts them), in order. RECORD goes with
    the machine, with its consoles filled in.
    Raises NotConvertible with every reason for which the guest cannot run on KVM, else DeviceError in xm's words for
    the first device that this host cannot connect. May be repeated: the same comes out.
    """
    findings = Findings(guest)
    pv = guest.kind is not GuestKind.HVM
    machine_disks = disks(guest, findings)
    boot, primary = _boot(guest, machine_disks, findings)
    consoles = pv_consoles() if pv else hvm_consoles(guest, findings)
    names = pv_console_names(primary) if pv else hvm_console_names(consoles)
    poweroff, reboot, crash = events(guest, findings)
    shown = screen(guest, facts, findings)
    memory, current = _memory(guest, findings)
    cpu_mode, features = _cpu(guest, facts)
    acpi = _acpi(guest, boot, findings)
    machine = Machine(
        name=guest.name,
        uuid=guest.uuid,
        accelerator=facts.accelerator,
        memory=memory,
        current_memory=current,
        vcpus=guest.vcpus,
        vcpus_online=_online(guest),
        boot=boot,
        cpu_mode=cpu_mode,
        cpu_features=features,
        acpi=acpi,
        apic=pv or flag(guest, "apic", True),
        clock=clock(guest, findings),
        on_poweroff=poweroff,
        on_reboot=reboot,
        on_crash=crash,
        disks=machine_disks,
        scsi=_scsi(guest, machine_disks),
        nics=nics(guest, facts, macs, findings),
        consoles=consoles,
        graphics=shown.graphics,
        video=shown.video,
        usb=shown.usb,
        inputs=shown.inputs,
        panic=pv or guest.on_crash is not EventAction.RESTART,
        description=guest.description,
        record=replace(record, consoles=names) if record is not None else None,
    )
    findings.settle()
    return Translation(machine=machine, notes=findings.notes)


def _memory(guest: GuestConfig, findings: Findings) -> tuple[int, int]:
    """KiB at most, and at the start."""
    most = max(guest.maxmem or 0, guest.memory)
    if most > guest.memory:
        findings.approximated(
            "maxmem", f"the guest starts with {most} MiB and gives back all but {guest.memory} MiB",
            value=str(most), suggestion="it needs the virtio_balloon driver for that",
        )  # fmt: skip
    return most * 1024, guest.memory * 1024


def _online(guest: GuestConfig) -> int | None:
    online = guest.vcpus_online
    return None if online is None or not 0 < online < guest.vcpus else online


def _cpu(guest: GuestConfig, facts: HostFacts) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The host's processor, or all that the emulator can do; less what the configuration takes away."""
    off = [name for name in ("nx", "pae") if guest.kind is GuestKind.HVM and not flag(guest, name, True)]
    mode = "host-model" if facts.accelerator is Accelerator.KVM else "maximum"
    return mode, tuple((name, "disable") for name in off)


def _acpi(guest: GuestConfig, boot: MachineBoot, findings: Findings) -> bool:
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


def _scsi(guest: GuestConfig, machine_disks: Sequence[Disk]) -> str:
    """The model of the SCSI controller: the one that Xen emulates, or the fast one for a paravirtual guest."""
    if not any(disk.bus is Bus.SCSI for disk in machine_disks):
        return ""
    return "lsilogic" if guest.kind is GuestKind.HVM else "virtio-scsi"


# -- boot


def _boot(guest: GuestConfig, machine_disks: Sequence[Disk], findings: Findings) -> tuple[MachineBoot, str]:
    """How it starts, and the main console of a paravirtual guest."""
    boot = guest.boot
    if isinstance(boot, KernelBoot):
        return _kernel(guest, boot, machine_disks, findings)
    if isinstance(boot, LoaderBoot):
        findings.refuse(
            "bootloader",
            "not supported yet: nothing takes the kernel out of the guest's disk; "
            "copy kernel and ramdisk to this host and name them with kernel= and ramdisk=",
            value=boot.bootloader or "pygrub",
        )
        return DeviceBoot(), VIRTIO
    return _firmware(boot, findings), VIRTIO


def _kernel(
    guest: GuestConfig, boot: KernelBoot, machine_disks: Sequence[Disk], findings: Findings
) -> tuple[MachineBoot, str]:
    if guest.kind is GuestKind.HVM:
        return DirectKernel(kernel=boot.kernel, initrd=boot.ramdisk, cmdline=boot.cmdline), VIRTIO
    text, primary = pv_cmdline(
        guest, boot.cmdline, _new_names(machine_disks), findings, panic_reboots=guest.on_crash in _RESTARTS
    )
    return DirectKernel(kernel=boot.kernel, initrd=boot.ramdisk, cmdline=text), primary


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


def _firmware(boot: FirmwareBoot, findings: Findings) -> DeviceBoot:
    word = boot.firmware
    if word.startswith("pvgrub"):
        findings.refuse(
            "firmware",
            "it loads kernels for Xen; copy kernel and ramdisk to this host and name them with kernel= and ramdisk=",
            value=word,
        )
    elif word not in (*_BIOS, *_EFI):
        findings.approximated("firmware", "firmware made for Xen does not run here; QEMU's BIOS does", value=word)
    order = dict.fromkeys(_BOOT_DEVICES[letter] for letter in boot.order if letter in _BOOT_DEVICES)
    foreign = [letter for letter in boot.order if letter not in _BOOT_DEVICES]
    if foreign:
        findings.approximated("boot", f"no device is called '{''.join(foreign)}'", value=boot.order)
    return DeviceBoot(order=tuple(order) or ("hd",), firmware="efi" if word in _EFI else "")
