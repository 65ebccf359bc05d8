"""How the machine starts: a kernel of the host, or a BIOS. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from xmcompat.backends.devices import BlockSource, Bus, Disk, FileSource
from xmcompat.backends.machine import DeviceBoot, DirectKernel, MachineBoot
from xmcompat.guest import EventAction, FirmwareBoot, GuestConfig, GuestKind, KernelBoot, LoaderBoot, Vbd
from xmcompat.translate.cmdline import VIRTIO, pv_cmdline, tell_of_xen_disks
from xmcompat.translate.findings import Findings
from xmcompat.translate.kernel_names import classic_name, foreign_system, is_loader
from xmcompat.translate.loader import ENTRY, READERS, Taken, Wanted, place_of, wanted
from xmcompat.translate.options import text

_BOOT_DEVICES = {"a": "fd", "c": "hd", "d": "cdrom", "n": "network"}
_BIOS = ("", "bios", "seabios", "rombios")
_EFI = ("uefi", "ovmf")
_COPY = "copy {} to this host and name them with kernel= and ramdisk="
_COPY_BOTH = _COPY.format("kernel and ramdisk")
#: The program of Xen's host that asks the network.
_PXE = "pypxeboot"
#: The settings that a command line is made of, and those that are parts of its ip=.
_LINE = ("cmdline", "root", "extra", "ip", "nfs_root")
_LINE_FIELDS = ("nfs_server", "gateway", "netmask", "hostname", "interface", "dhcp")
#: Bytes: Linux's COMMAND_LINE_SIZE of x86, less the zero at the end. Xen's own bound was 1024.
_LONGEST_CMDLINE = 2047
_RESTARTS = (EventAction.RESTART, EventAction.RENAME_RESTART, EventAction.COREDUMP_RESTART)


class Start(NamedTuple):
    """``primary`` is the main console of a paravirtual guest: "hvc0" or "ttyS0". ``disk`` is Xen's name for the disk that
    the machine starts from before all others, "" where the order of the kinds of device decides."""

    boot: MachineBoot
    primary: str = VIRTIO
    disk: str = ""


def start(
    guest: GuestConfig, machine_disks: Sequence[Disk], findings: Findings, *, folder: str = "", taken: Taken | None = None
) -> Start:
    """FOLDER is where kernels go that are taken out of guests' disks, "" where none is; TAKEN is what was."""
    boot = guest.boot
    wish = wanted(guest) if folder or taken else None
    if wish is not None and (taken or _is_to_be_taken(guest, wish, machine_disks)):
        place = place_of(folder, guest.uuid or guest.name)
        return _taken(guest, wish, taken or Taken(f"{place}/kernel", f"{place}/ramdisk"), machine_disks, findings)
    if isinstance(boot, LoaderBoot):
        return _loader(guest, boot, findings, takes=bool(folder))
    if isinstance(boot, FirmwareBoot):
        return Start(_firmware(guest, boot, findings))
    return _kernel(guest, boot, machine_disks, findings, takes=bool(folder))


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


def _is_to_be_taken(guest: GuestConfig, wish: Wanted, machine_disks: Sequence[Disk]) -> bool:
    """Whether that can be said before the disk is looked at: a partition never starts by itself."""
    vbd = next((vbd for vbd in guest.disks if vbd.vdev == wish.vdev), None)
    if vbd is None or vbd.cdrom or not vbd.is_partition:
        return False
    every = (one for disk in machine_disks for one in disk.members or (disk,))
    return any(one.vdev == vbd.vdev and isinstance(one.source, FileSource | BlockSource) for one in every)


def _taken(
    guest: GuestConfig, wish: Wanted, taken: Taken, machine_disks: Sequence[Disk], findings: Findings
) -> Start:
    """A kernel of the guest's own; its menu's command line comes before that of the configuration."""
    key, loader = _loader_key(guest)
    findings.carried(
        key, f"kernel and ramdisk are taken out of {wish.vdev} at every start, as Xen's host took them", value=loader
    )
    if taken.remark:
        findings.approximated(
            key, f"{taken.source} is started, for the default of the guest's menu cannot be: {taken.remark}", value=loader
        )
    for word in wish.unread:
        said = (name for name in ("bootargs", "bootloader_args", "extra", "cmdline") if word in text(guest, name))
        findings.no_meaning(next(said, key), "no program reads it", value=word)
    cmdline = " ".join(filter(None, (taken.args, wish.args)))
    reboots = guest.on_crash in _RESTARTS
    line = pv_cmdline(guest, cmdline, _new_names(machine_disks), findings, panic_reboots=reboots)
    _judge_length(guest, line.text, findings)
    return Start(DirectKernel(kernel=taken.kernel, initrd=taken.ramdisk, cmdline=line.text), line.primary)


def _loader_key(guest: GuestConfig) -> tuple[str, str]:
    """The option that names the boot loader, and its name."""
    boot = guest.boot
    if isinstance(boot, KernelBoot):
        return "kernel", boot.kernel
    loader = boot.bootloader if isinstance(boot, LoaderBoot) else ""
    return "firmware" if loader and text(guest, "firmware") == loader else "bootloader", loader or "pygrub"


def _loader(guest: GuestConfig, boot: LoaderBoot, findings: Findings, *, takes: bool) -> Start:
    """The programs of Xen's host that fetched a kernel: QEMU's BIOS asks the network, or starts the disk, itself."""
    key, loader = _loader_key(guest)
    name = boot.bootloader.rpartition("/")[2]
    if name == _PXE:
        findings.approximated(
            key, "QEMU's BIOS itself asks the network, through the first interface, and starts what it is offered",
            value=boot.bootloader, suggestion="offer it a boot loader or kernel of the PC's, not one for Xen",
        )  # fmt: skip
        _tell_unread(guest, boot, "what is offered brings its own command line", "the server's configuration", findings)
        return Start(DeviceBoot(order=("network",)))
    if name and not READERS.fullmatch(name):
        findings.refuse(key, f"there is no such program on KVM; {_COPY_BOTH}", value=boot.bootloader)
        return Start(DeviceBoot())
    return _from_disk(guest, key, loader, boot, findings, takes=takes)


def _from_disk(
    guest: GuestConfig, key: str, loader: str, boot: LoaderBoot | KernelBoot, findings: Findings, *, takes: bool
) -> Start:
    """Xen read the menu in the guest's first disk; here the disk starts by itself, where it can. TAKES: and where it
    cannot, its kernel is taken out of it when it is started."""
    first = guest.disks[0] if guest.disks else None
    if first is None:
        findings.refuse(key, f"there is no disk to start from; {_COPY_BOTH}", value=loader)
        return Start(DeviceBoot())
    copy = _copy(boot, first)
    if first.cdrom:
        findings.refuse(
            key, f"the first disk of the list, {first.vdev}, is a CD-ROM drive, and Xen takes the kernel out of the first; "
            f"put the disk to start from before it, or {copy}", value=loader,
        )  # fmt: skip
        return Start(DeviceBoot())
    if first.is_partition:
        findings.refuse(
            key, f"{first.vdev} is a partition, which has no boot sector to start from, and nothing takes the kernel out "
            f"of it; {copy}", value=loader,
        )  # fmt: skip
        return Start(DeviceBoot())
    findings.approximated(
        key, f"the disk {first.vdev} starts by itself, by the boot loader that it must have in its boot sector, and that "
        "one's menu must start a kernel that is not for Xen alone", value=loader,
        suggestion="without one, kernel and ramdisk are taken out of the disk at the start" if takes else f"else {copy}",
    )  # fmt: skip
    _tell_unread(guest, boot, "the boot loader in the disk has its own command line", "the guest's boot menu", findings)
    return Start(DeviceBoot(order=()), disk=first.vdev)


def _copy(boot: LoaderBoot | KernelBoot, first: Vbd) -> str:
    """What to do by hand; domUloader is told which two files it takes: --entry=[DEVICE:]KERNEL[,RAMDISK]."""
    if not isinstance(boot, LoaderBoot) or not boot.bootloader.rpartition("/")[2].startswith("domUloader"):
        return _COPY_BOTH
    found = ENTRY.search(boot.args)
    files = [name for name in found["files"].split(",") if name] if found else []
    if not found or not files:
        return _COPY_BOTH
    other = ", or those of another kernel, if that one is for Xen alone" if classic_name(files[0]) else ""
    return _COPY.format(f"{' and '.join(files[:2])} out of {found['device'] or first.vdev}") + other


def _tell_unread(
    guest: GuestConfig, boot: LoaderBoot | KernelBoot, reason: str, place: str, findings: Findings
) -> None:
    """Words for a kernel that somebody else chooses and starts."""
    for key in ("kernel", "ramdisk") if isinstance(boot, LoaderBoot) else ():
        if name := text(guest, key):
            findings.no_meaning(key, "another one is started: what is chosen there", value=name)
    if boot.cmdline:
        given = {key: word for key in (*_LINE, *_LINE_FIELDS) if (word := text(guest, key))}
        keys = [key for key, word in given.items() if word.removeprefix("root=") in boot.cmdline]
        for key in keys or ["extra"]:
            findings.no_meaning(
                key, reason, value=given.get(key, boot.cmdline), suggestion=f"write it in {place}",
                harmless=key in _LINE_FIELDS,
            )  # fmt: skip
    if isinstance(boot, LoaderBoot) and boot.args not in ("", "-q", "--quiet"):
        key = "bootargs" if text(guest, "bootargs") else "bootloader_args"
        findings.no_meaning(key, "no program reads it", value=boot.args, suggestion=f"choose the kernel in {place}")


def _kernel(
    guest: GuestConfig, boot: KernelBoot, machine_disks: Sequence[Disk], findings: Findings, *, takes: bool
) -> Start:
    if guest.kind is GuestKind.HVM:
        for key in ("bios", "firmware"):
            if (word := text(guest, key)) and word not in _BIOS:
                findings.approximated(key, "QEMU's BIOS starts the kernel of the host", value=word)
        tell_of_xen_disks(guest, boot.cmdline, machine_disks, findings)
        _judge_length(guest, boot.cmdline, findings)
        return Start(DirectKernel(kernel=boot.kernel, initrd=boot.ramdisk, cmdline=boot.cmdline))
    if is_loader(boot.kernel):
        return _from_disk(guest, "kernel", boot.kernel, boot, findings, takes=takes)
    _judge_name(boot, findings)
    line = pv_cmdline(
        guest, boot.cmdline, _new_names(machine_disks), findings, panic_reboots=guest.on_crash in _RESTARTS
    )
    _judge_length(guest, line.text, findings)
    return Start(DirectKernel(kernel=boot.kernel, initrd=boot.ramdisk, cmdline=line.text), line.primary)


def _judge_length(guest: GuestConfig, cmdline: str, findings: Findings) -> None:
    """Linux cuts off what it has no room for, from the end on."""
    size = len(cmdline.encode("utf-8", "surrogateescape"))
    if size > _LONGEST_CMDLINE:
        findings.approximated(
            "cmdline" if text(guest, "cmdline") else "extra",
            f"the command line has {size} bytes, and Linux reads {_LONGEST_CMDLINE} bytes of it on a PC; the rest is lost",
            suggestion="make it shorter",
        )  # fmt: skip


def _judge_name(boot: KernelBoot, findings: Findings) -> None:
    """Refuse what cannot be a kernel for KVM by its name, and tell of what is hardly one."""
    if advice := foreign_system(boot.kernel):
        findings.refuse("kernel", f"it runs on Xen alone; {advice}", value=boot.kernel)
    elif package := classic_name(boot.kernel):
        findings.approximated(
            "kernel", "most kernels called so are for Xen alone, and those do not boot on KVM", value=boot.kernel,
            suggestion=f"install {package} in the guest and give its kernel and ramdisk, "
            "unless 'file' calls this one a bzImage",
        )  # fmt: skip


def _new_names(machine_disks: Sequence[Disk]) -> Mapping[str, str]:
    """Linux's names for the disks of a paravirtual guest, by Xen's. "/dev/" may be said in front of those."""
    names: dict[str, str] = {}
    drives = 0
    for disk in (one for whole in machine_disks for one in whole.members or (whole,)):
        target = disk.target
        if disk.bus is Bus.SCSI:
            target, drives = f"sr{drives}", drives + 1
        names[disk.vdev.removeprefix("/dev/")] = target
    return names


def _firmware(guest: GuestConfig, boot: FirmwareBoot, findings: Findings) -> DeviceBoot:
    word = boot.firmware
    key = "bios" if text(guest, "bios") and not text(guest, "firmware") else "firmware"
    if word in _EFI:
        findings.carried(key, "the variables of its firmware begin empty, as with Xen at each start", value=word)
    elif word not in _BIOS:
        findings.approximated(key, "firmware made for Xen does not run here; QEMU's BIOS does", value=word)
    order = dict.fromkeys(_BOOT_DEVICES[letter] for letter in boot.order if letter in _BOOT_DEVICES)
    foreign = [letter for letter in boot.order if letter not in _BOOT_DEVICES]
    if foreign:
        findings.approximated("boot", f"no device is called '{''.join(foreign)}'", value=boot.order)
    return DeviceBoot(order=tuple(order) or ("hd",), firmware="efi" if word in _EFI else "")
