"""Machine: one guest as KVM runs it. What is rendered to libvirt XML, and read back from it. Values only.

Memory is in KiB here, as libvirt counts it; ``translate.machine`` converts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Accelerator(Enum):
    KVM = "kvm"
    TCG = "qemu"


class Bus(Enum):
    VIRTIO = "virtio"
    SCSI = "scsi"
    SATA = "sata"
    IDE = "ide"
    FDC = "fdc"


class DiskDevice(Enum):
    DISK = "disk"
    CDROM = "cdrom"
    FLOPPY = "floppy"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSource:
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSource:
    """A disk that QEMU itself fetches: protocol "nbd", "iscsi", "rbd"."""

    protocol: str
    name: str = ""
    host: str = ""
    port: int | None = None
    socket: str = ""


DiskSource = FileSource | BlockSource | NetworkSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """``source`` None is a drive without medium. ``target`` is QEMU's name ("vda"), ``vdev`` Xen's ("xvda2")."""

    source: DiskSource | None
    target: str
    bus: Bus
    device: DiskDevice = DiskDevice.DISK
    driver: str = "raw"
    cache: str = ""
    io: str = ""
    readonly: bool = False
    shareable: bool = False
    boot_order: int | None = None
    vdev: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """One interface on a bridge of the host. ``target`` is the host's device name, "" for libvirt's choice."""

    mac: str
    bridge: str
    model: str = "virtio"
    target: str = ""
    outbound_average: int | None = None  # kilobytes (1000 bytes) a second
    outbound_burst: int | None = None    # KiB


@dataclass(frozen=True, slots=True, kw_only=True)
class CharDevice:
    """A serial port or virtio console. ``type`` is libvirt's word: pty, file, tcp, unix, dev, null, pipe, udp."""

    kind: str                            # "serial", "parallel", "virtio"
    type: str = "pty"
    path: str = ""
    mode: str = ""                       # "bind", "connect"
    host: str = ""
    service: str = ""
    protocol: str = ""                   # "raw", "telnet"
    bind_host: str = ""
    bind_service: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graphics:
    type: str = "vnc"
    listen: str = "127.0.0.1"
    port: int | None = None              # None: a free one
    password: str | None = None
    keymap: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    model: str = "none"
    vram: int | None = None              # KiB


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
class XenRecord:
    """What travels in the domain's metadata: the configuration as Xen would print it, and how it was started.

    ``sxp`` is the ``(vm ...)`` form without passwords. ``started`` is Unix time in seconds.
    ``consoles`` are libvirt device names in the order in which ``xm console -n`` counts them.
    """

    sxp: str
    source: str = ""
    dialect: str = "xm"
    started: float | None = None
    consoles: tuple[str, ...] = ()


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
    cpu_mode: str = ""                   # "host-model", "maximum", "" for QEMU's default
    cpu_features: tuple[tuple[str, str], ...] = ()   # (name, policy)
    acpi: bool = True
    apic: bool = True
    clock: Clock = Clock()
    on_poweroff: str = "destroy"
    on_reboot: str = "restart"
    on_crash: str = "restart"
    disks: tuple[Disk, ...] = ()
    scsi: str = ""                       # model of the SCSI controller, "" where none is needed
    nics: tuple[Nic, ...] = ()
    consoles: tuple[CharDevice, ...] = ()
    graphics: tuple[Graphics, ...] = ()
    video: Video = Video()
    usb: str = "none"                    # model of the controller
    inputs: tuple[tuple[str, str], ...] = ()         # (type, bus)
    panic: bool = False
    description: str = ""
    record: XenRecord | None = None
