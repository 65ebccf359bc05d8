"""Machine: one guest as KVM runs it. What is rendered to libvirt XML, and read back from it. Values only.

Memory is in KiB here, as libvirt counts it; ``translate.machine`` converts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from xmcompat.backends.devices import (
    BlockSource,
    Bus,
    CharDevice,
    Disk,
    DiskDevice,
    DiskSource,
    FileSource,
    Filesystem,
    Graphics,
    GuestChannel,
    Hostdev,
    NetworkSource,
    Nic,
    PciHostdev,
    ScsiHostdev,
    UsbBus,
    UsbHostdev,
    Video,
)
from xmcompat.backends.record import XenRecord
from xmcompat.units import QUOTA_PERIOD

#: Its own values and those of the devices.
__all__ = [
    "Accelerator", "BlockSource", "Bus", "CharDevice", "Clock", "CpuTune", "DeviceBoot", "DirectKernel", "Disk",
    "DiskDevice", "DiskSource", "FileSource", "Filesystem", "Graphics", "GuestChannel", "Hostdev", "Machine",
    "MachineBoot", "NetworkSource", "Nic", "NumaCell", "PciHostdev", "QUOTA_PERIOD", "ScsiHostdev", "Timer",
    "UsbBus", "UsbHostdev", "Video", "XenRecord",
]


class Accelerator(Enum):
    KVM = "kvm"
    TCG = "qemu"


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectKernel:
    kernel: str
    initrd: str = ""
    cmdline: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBoot:
    """Boot by BIOS: libvirt's words in order ("hd", "cdrom", "fd", "network"). ``firmware``: "", "efi" or a ROM path."""

    order: tuple[str, ...] = ("hd",)
    firmware: str = ""


MachineBoot = DirectKernel | DeviceBoot


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    name: str
    present: bool | None = None
    tickpolicy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    offset: str = "utc"                  # "utc", "localtime", "variable"
    adjustment: int | None = None        # seconds, with "variable"
    basis: str = ""
    timers: tuple[Timer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NumaCell:
    """One NUMA node of the guest. ``vcpus`` by number, ``memory`` in KiB; ``distances`` to every cell, () for
    libvirt's own; ``host_node`` None: its memory may lie on any node of the host."""

    vcpus: tuple[int, ...]
    memory: int
    distances: tuple[int, ...] = ()
    host_node: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTune:
    """Pinning and shares of processor time. ``pins`` has the host's CPUs of each vcpu, by number, () for one that is
    not pinned; it is () where none is.

    ``shares`` is the number for the cgroup file that the host has (``cpu.shares`` or ``cpu.weight``), None for its
    default. ``quota`` is the time of the whole guest in microseconds for each QUOTA_PERIOD, None for no limit.
    ``emulator`` has the CPUs of what QEMU runs besides, () for all.
    """

    pins: tuple[tuple[int, ...], ...] = ()
    shares: int | None = None
    quota: int | None = None
    emulator: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    name: str
    uuid: str | None
    accelerator: Accelerator
    memory: int                          # KiB, at most
    current_memory: int                  # KiB, at the start
    vcpus: int
    vcpus_online: int | None = None
    boot: MachineBoot
    machine_type: str = "pc"
    arch: str = "x86_64"
    cpu_mode: str = ""                   # "host-model", "host-passthrough", "maximum", "" for QEMU's default
    cpu_features: tuple[tuple[str, str], ...] = ()   # (name, policy)
    cpu_migratable: bool | None = None   # with "host-passthrough"
    acpi: bool = True
    apic: bool = True
    hyperv: tuple[str, ...] = ()         # enlightenments, by libvirt's names and in its order ("relaxed", ...)
    pmu: bool | None = None              # None: QEMU's choice
    tune: CpuTune = CpuTune()
    numa: tuple[NumaCell, ...] = ()
    hugepages: bool = False
    private_pages: bool = False          # equal pages are not shared with other guests
    genid: bool = False                  # a generation id, drawn by libvirt
    acpi_table: str = ""                 # file of the host with one more ACPI table
    sleep_to_memory: bool | None = None  # ACPI S3; None: QEMU's choice
    sleep_to_disk: bool | None = None    # ACPI S4
    watchdog: str = ""                   # action of an i6300esb: reset, poweroff, pause, dump; "" for none
    clock: Clock = Clock()
    on_poweroff: str = "destroy"
    on_reboot: str = "restart"
    on_crash: str = "restart"
    disks: tuple[Disk, ...] = ()
    scsi: tuple[str, ...] = ()           # models of the SCSI controllers
    nics: tuple[Nic, ...] = ()
    consoles: tuple[CharDevice, ...] = ()
    graphics: tuple[Graphics, ...] = ()
    video: Video = field(default_factory=Video)
    usb: tuple[UsbBus, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()         # (type, bus)
    sounds: tuple[str, ...] = ()         # models of the sound cards
    channels: tuple[GuestChannel, ...] = ()
    folders: tuple[Filesystem, ...] = ()
    hostdevs: tuple[Hostdev, ...] = ()
    redirections: int = 0                # USB devices that may come over SPICE
    tpm: str = ""                        # version of the emulated TPM, "" for none
    panics: tuple[str, ...] = ()         # models of the panic devices: "isa", "hyperv"
    description: str = ""
    record: XenRecord | None = None
