"""GuestConfig and its parts: what a Xen configuration says, in Xen's words. Values only.

A value refuses nothing it can represent and knows nothing about hosts, files or XML.
Memory is in MiB throughout, as xm writes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

#: What a key of a configuration can hold once read.
Scalar = str | int | float
Value = Scalar | list["Value"]


class Dialect(Enum):
    XM = "xm"
    XL = "xl"
    SXP = "sxp"


class GuestKind(Enum):
    """How Xen would have run it."""

    PV = "linux"
    HVM = "hvm"
    PVH = "pvh"


class EventAction(Enum):
    """What follows the end of a domain (on_poweroff, on_reboot, on_crash)."""

    DESTROY = "destroy"
    RESTART = "restart"
    PRESERVE = "preserve"
    RENAME_RESTART = "rename-restart"
    COREDUMP_DESTROY = "coredump-destroy"
    COREDUMP_RESTART = "coredump-restart"
    SOFT_RESET = "soft-reset"


class VbdMode(Enum):
    READ_ONLY = "r"
    READ_WRITE = "w"
    SHARED = "w!"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vbd:
    """One virtual block device.

    ``uname`` is the back end as written ("phy:vg0/web1", "" for a drive without medium); ``protocol``
    its words before the path ("phy", "file", "tap:aio"); ``path`` the rest, absolute where Xen makes it so
    ("phy:vg0/web1" has the path "/dev/vg0/web1"). ``image_format`` is raw, qcow, qcow2, vhd or vmdk, as
    the words say. ``vdev`` is the guest's name for it without "ioemu:", "/dev/" and ":cdrom".

    For xl, whose disks name no back end, ``uname`` and ``protocol`` are xm's words for the same ("phy:/dev/vg0/web1",
    "tap:qcow2:/srv/a.qcow2", "iscsi:..." for script=block-iscsi). ``script`` and what follows it are xl's alone, ""
    and None where they are not given.
    """

    uname: str
    protocol: str
    path: str
    image_format: str = "raw"
    vdev: str
    mode: VbdMode = VbdMode.READ_WRITE
    cdrom: bool = False
    ioemu: bool = False
    backend: str = ""
    abi: str = ""
    script: str = ""
    discard: bool | None = None
    backendtype: str = ""
    specification: str = ""
    direct_io_safe: bool = False

    @property
    def is_partition(self) -> bool:
        """True for "xvda1": a volume given to the guest as a partition."""
        return self.vdev[-1:].isdigit() and not self.vdev.isdigit() and not self.vdev.startswith("0x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vif:
    """One virtual network interface. Empty text means "not given". ``rate`` is kept as written.

    ``mtu`` and what follows it are xl's alone; ``devid`` is the number of the interface where one is asked for.
    """

    mac: str = ""
    bridge: str = ""
    ip: str = ""
    script: str = ""
    type: str = ""
    model: str = ""
    vifname: str = ""
    rate: str = ""
    backend: str = ""
    accel: str = ""
    policy: str = ""
    label: str = ""
    mtu: int | None = None
    gatewaydev: str = ""
    devid: int | None = None
    trusted: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vfb:
    """One virtual frame buffer: a VNC or SDL display. ``password`` None: the host's default; "": none.

    ``listen`` is an address alone; the display of xl's "ADDRESS:DISPLAY" is in ``display``.
    """

    vnc: bool = False
    sdl: bool = False
    listen: str = ""
    display: int | None = None
    unused: bool = True
    password: str | None = None
    keymap: str = ""
    x_display: str = ""
    xauthority: str = ""
    opengl: bool | None = None
    videoram: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PciDevice:
    """One PCI function of the host, or all of a slot (``function`` None). ``virtual_slot`` is the guest's, if asked for.

    ``options`` are (name, value) pairs as written ("permissive", "1"), those of the device alone.
    """

    domain: int = 0
    bus: int
    slot: int
    function: int | None = 0
    virtual_slot: int | None = None
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UsbController:
    """``version`` 1, 2 or 3; ``type`` as written (auto, pv, qusb, devicemodel, "" where xm has no such word)."""

    version: int = 2
    ports: int = 8
    type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsbDevice:
    """A USB device of the host: by place (``bus``, ``address``), by kind (``vendor``, ``product``), or by xm's bus id
    ("1-2.3", ``bus_id``). ``controller`` and ``port`` where the configuration names them."""

    bus: int | None = None
    address: int | None = None
    vendor: int | None = None
    product: int | None = None
    bus_id: str = ""
    controller: int | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScsiDevice:
    """A SCSI device of the host (xm's vscsi): ``host`` as written (/dev/sdb, 2:0:0:1), ``guest`` as H:C:T:L."""

    host: str
    guest: str
    backend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A channel between guest and host: ``connection`` pty or socket, with the host's ``path`` for the latter."""

    name: str
    connection: str = "pty"
    path: str = ""
    backend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFolder:
    """A folder of the host for the guest (xl's p9)."""

    tag: str
    path: str
    security_model: str = "none"
    backend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumaNode:
    """One node of the guest (xl's vnuma): ``size`` in MiB, ``host_node`` the host's, ``distances`` to every node."""

    host_node: int | None = None
    size: int = 0
    vcpus: tuple[int, ...] = ()
    distances: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tpm:
    """A virtual TPM; its texts as written."""

    instance: str = ""
    backend: str = ""
    type: str = ""
    uuid: str = ""


_LOADER = re.compile(r"pv-?grub|grub-.*xen|pvboot")


def is_loader(path: str) -> bool:
    """Whether the kernel at PATH is a boot loader (pv-grub) that takes the kernel out of the guest's disk."""
    return bool(_LOADER.match(path.rpartition("/")[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelBoot:
    """Direct boot of a kernel on the host. ``cmdline`` as xend composes it: ``root=R ip=I EXTRA``."""

    kernel: str
    ramdisk: str = ""
    cmdline: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderBoot:
    """A program of the host (pygrub) that takes the kernel out of the first disk."""

    bootloader: str
    args: str = ""
    cmdline: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareBoot:
    """A BIOS that starts from devices; ``order`` of "a c d n" (floppy, disk, CD, network)."""

    order: str = "c"
    firmware: str = "bios"


Boot = KernelBoot | LoaderBoot | FirmwareBoot


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestConfig:
    """One guest, as its configuration states it.

    ``options`` holds every key of the key table that the configuration set, with the value as read
    (int, str, float or list), whatever became of it; ``unknown`` the names no Xen tool knows.
    ``lines`` gives the line of the last assignment of a key where it is known.
    ``vcpus`` is the number of vcpus at most, ``vcpus_online`` those at the start. ``pins`` has the CPUs of each vcpu,
    () for one that may run anywhere, and is empty where none is pinned. ``weight`` is the credit weight (None: 256),
    ``cap`` the CPU time at most in percent of one CPU (0: no limit).
    """

    name: str
    source: str = ""
    dialect: Dialect = Dialect.XM
    kind: GuestKind = GuestKind.PV
    uuid: str | None = None
    memory: int = 128
    maxmem: int | None = None
    vcpus: int = 1
    vcpus_online: int | None = None
    boot: Boot
    disks: tuple[Vbd, ...] = ()
    vifs: tuple[Vif, ...] = ()
    vfbs: tuple[Vfb, ...] = ()
    serials: tuple[str, ...] = ()
    on_poweroff: EventAction = EventAction.DESTROY
    on_reboot: EventAction = EventAction.RESTART
    on_crash: EventAction = EventAction.RESTART
    localtime: bool = False
    rtc_timeoffset: int = 0
    acpi: bool = True
    description: str = ""
    pins: tuple[tuple[int, ...], ...] = ()
    weight: int | None = None
    cap: int = 0
    pci: tuple[PciDevice, ...] = ()
    usb_controllers: tuple[UsbController, ...] = ()
    usb_devices: tuple[UsbDevice, ...] = ()
    scsi_devices: tuple[ScsiDevice, ...] = ()
    channels: tuple[Channel, ...] = ()
    folders: tuple[SharedFolder, ...] = ()
    numa: tuple[NumaNode, ...] = ()
    tpms: tuple[Tpm, ...] = ()
    options: Mapping[str, Value] = field(default_factory=dict)
    unknown: Mapping[str, Value] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)
