"""The devices of a Machine, as KVM has them. Values only; ``machine`` gives all of them on."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Bus(Enum):
    VIRTIO = "virtio"
    SCSI = "scsi"
    SATA = "sata"
    IDE = "ide"
    FDC = "fdc"
    USB = "usb"


class DiskDevice(Enum):
    DISK = "disk"
    CDROM = "cdrom"
    FLOPPY = "floppy"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNeed:
    """What must be up on the host before a disk is there, where its path does not tell: a kind of ``storage.needs``, the
    name of the one that is meant, and (word, value) for what its module has to know. ``secret`` is alike, and is written
    nowhere. The path of the disk is found when it is up, unless one is given."""

    kind: str
    name: str
    words: tuple[tuple[str, str], ...] = ()
    secret: tuple[tuple[str, str], ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    path: str
    need: HostNeed | None = None         # in no XML


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSource:
    path: str
    need: HostNeed | None = None         # in no XML


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSource:
    """A disk that QEMU itself fetches: protocol "nbd", "iscsi", "rbd", "nfs".

    ``more_hosts`` are (name, port) of further servers; ``snapshot`` and ``config``, a file of the host, are rbd's.
    ``identity``: the numbers of user and group under which an NFS server is asked. ``user`` is who logs in to the server,
    with the password that the hypervisor keeps under the name ``secret``.
    """

    protocol: str
    name: str = ""
    host: str = ""
    port: int | None = None
    socket: str = ""
    more_hosts: tuple[tuple[str, int | None], ...] = ()
    snapshot: str = ""
    config: str = ""
    identity: tuple[int, int] | None = None
    user: str = ""
    secret: str = ""


DiskSource = FileSource | BlockSource | NetworkSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """``source`` None is a drive without medium. ``target`` is QEMU's name ("vda"), ``vdev`` Xen's ("xvda2").

    ``members`` are the volumes of a disk that is made of several, in no XML: each with its own source, mode and vdev, and
    the target that it has in the guest ("vda2").
    """

    source: DiskSource | None
    target: str
    bus: Bus
    device: DiskDevice = DiskDevice.DISK
    driver: str = "raw"
    cache: str = ""
    io: str = ""
    discard: str = ""                    # "unmap", "ignore"
    on_error: str = ""                   # "stop": the guest is paused, and tries again when it goes on
    readonly: bool = False
    shareable: bool = False
    boot_order: int | None = None
    vdev: str = ""
    members: tuple[Disk, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """One interface on a bridge of the host, or on none ("") with a tap of its own. ``target`` is the host's device name,
    "" for libvirt's choice.

    ``filter`` names a filter of libvirt's, ``addresses`` are the guest's own IPv4 addresses for it. On Open vSwitch,
    ``vlan`` is the tag of what the guest sends without one, ``trunk`` are those that it may use itself.
    """

    mac: str
    bridge: str
    model: str = "virtio"
    target: str = ""
    outbound_average: int | None = None  # kilobytes (1000 bytes) a second
    outbound_burst: int | None = None    # KiB
    mtu: int | None = None               # bytes
    filter: str = ""
    addresses: tuple[str, ...] = ()
    openvswitch: bool = False
    vlan: int | None = None
    trunk: tuple[int, ...] = ()


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
    """A display to look at from elsewhere. ``tls_port`` and what follows it are SPICE's; None and "": QEMU's choice."""

    type: str = "vnc"
    listen: str = "127.0.0.1"
    port: int | None = None              # None: a free one
    password: str | None = None
    keymap: str = ""
    tls_port: int | None = None
    mouse: str = ""                      # "server", "client"
    clipboard: bool | None = None
    image_compression: str = ""
    streaming: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """Sizes in KiB; ``ram`` and ``vgamem`` are those of qxl."""

    model: str = "none"
    vram: int | None = None
    ram: int | None = None
    vgamem: int | None = None
    heads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestChannel:
    """A channel on virtio. ``type`` is pty, unix (with the host's ``path``) or spicevmc."""

    name: str
    type: str = "pty"
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filesystem:
    """A folder of the host that the guest mounts by its ``tag``; ``accessmode`` is squash, mapped or passthrough."""

    tag: str
    path: str
    accessmode: str = "squash"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsbBus:
    """A USB controller; its place among the others is the number of its bus."""

    model: str
    ports: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PciHostdev:
    """A PCI function of the host. ``guest_slot`` None: libvirt's choice."""

    domain: int = 0
    bus: int
    slot: int
    function: int = 0
    guest_slot: int | None = None
    guest_function: int = 0
    multifunction: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UsbHostdev:
    """A USB device of the host, by place or by kind; ``guest_bus`` None: any of the guest's buses."""

    bus: int | None = None
    address: int | None = None
    vendor: int | None = None
    product: int | None = None
    guest_bus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScsiHostdev:
    """A SCSI device of the host, on ``host``:``bus``:``target``:``unit``, and where the guest finds it."""

    host: int
    bus: int = 0
    target: int
    unit: int
    controller: int = 0
    guest_target: int = 0
    guest_unit: int = 0


Hostdev = PciHostdev | UsbHostdev | ScsiHostdev
