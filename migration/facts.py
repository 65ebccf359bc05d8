"""What the two hosts of a migration tell each other: values in Xen's words, which go as JSON (``json_form``) both ways.

``Wanted`` is what the domain needs, ``HostFacts`` what a host has of it; ``preflight`` compares them. What a host cannot
tell is "", 0, None or (), and is then no finding. Memory is in KiB, sizes of disks are in bytes. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from xmcompat.backends.migration import MigrationState

#: The kind of a secret that the host's own initiator has.
INITIATOR = "initiator"

class FileKind:
    """Words for what a disk lies on."""

    FILE = "file"
    BLOCK = "block"
    NETWORK = "network"  # a client of QEMU's own: the same from everywhere
    EMPTY = "empty"      # a drive without a medium


class Sight:
    """Words for how a host sees a disk. COMES: it is not up yet, and ``prepare`` brings it up."""

    FOUND = "found"
    MISSING = "missing"
    COMES = "comes"
    DENIED = "denied"


class Life:
    """Words for what one end says of a domain. OFF: known, and does not run. UNKNOWN: that end could not be asked."""

    RUNNING = "running"
    PAUSED = "paused"
    CRASHED = "crashed"  # it is there, and will not run again
    OFF = "off"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What speaks against a migration, or is to be known of it, in one sentence each; ``stops``: it is refused."""

    stops: bool
    what: str
    do: str = ""

    def line(self) -> str:
        return f"{self.what.removesuffix('.')}; {self.do}" if self.do else self.what


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One of the things by which two hosts can tell that they see the same disk.

    ``kind``        ``place``                                    ``number``
    "file"          id of the file system                        inode
    "cluster"       the same of one that several hosts mount     inode
    "nfs"           SERVER:/DIRECTORY/ON/IT of the mount         inode
    "wwid", "lv"    the device's or the volume's own identifier  0
    "drbd"          the resource                                 0
    "beneath"       that of a disk which a volume stands on      0
    """

    kind: str
    place: str
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedDisk:
    """``vdev`` as the guest's configuration names it, ``target`` as libvirt does; ``path`` on the host, or what QEMU's own
    client is told. ``needs`` are (kind, name) of what must be up before. ``copy``: it is not shared, and is copied.
    ``cache`` and ``format`` in QEMU's words. ``locked``: the QEMU that has it holds locks on it."""

    vdev: str
    target: str
    kind: str
    path: str
    size: int = 0
    identities: tuple[Identity, ...] = ()
    readonly: bool = False
    shareable: bool = False
    cache: str = ""
    format: str = "raw"
    needs: tuple[tuple[str, str], ...] = ()
    copy: bool = False
    locked: bool = False

    @property
    def is_part(self) -> bool:
        """True for one of several volumes that are joined to one disk ("vda1")."""
        return self.target[-1:].isdigit() and not self.is_beneath

    @property
    def is_beneath(self) -> bool:
        """True for an image on which that of a disk is built ("vda/1"): it is read only."""
        return "/" in self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenDisk:
    """A disk of ``Wanted`` as a host sees it; ``why`` says what is the matter. ``user`` has it open there, "" for nobody.

    ``locked``: somebody's QEMU holds locks on it, as seen from there. ``free``: bytes for a disk that is copied.
    """

    target: str
    sight: str
    path: str = ""
    why: str = ""
    size: int = 0
    identities: tuple[Identity, ...] = ()
    locked: bool = False
    user: str = ""
    free: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedSecret:
    """What opens the disk ``vdev``: the password of ``user``, which a hypervisor keeps under ``name`` as one of ``kind``
    ("iscsi", "ceph"); ``file`` is where the configuration says that it is. Of kind "initiator", it is in the record of the
    host's own initiator for ``name``, TARGET@PORTAL, which is ``file``. ``told``: the source can tell it."""

    vdev: str
    name: str
    kind: str
    user: str
    file: str = ""
    told: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Password:
    """One that goes along, of the disk ``vdev``; ``value`` is base64."""

    vdev: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedVif:
    """``bridge`` or ``network`` (of libvirt's) that it is connected to; ``script`` as the configuration says."""

    mac: str
    bridge: str = ""
    network: str = ""
    script: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedScreen:
    """A display: "vnc" or "spice"; ``port`` 0 where any free one is taken."""

    kind: str
    listen: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A device of the host that the domain has: "pci", "usb" or "scsi"."""

    kind: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The domain that moves.

    ``accelerator`` is "kvm" or "qemu"; ``machine_type`` as QEMU has made it ("pc-i440fx-7.2"); ``cpu`` is libvirt's
    element of the processor that the guest sees. ``files`` are other files of the host that QEMU opens (kernel, RAM disk,
    firmware). ``record`` is what xmcompat keeps in the domain's metadata; ``xml`` the domain as it would be sent, with its
    passwords; those of its disks, which no XML has, are ``passwords``, and go with ``prepare`` alone.
    ``persist``: it is to be known there. ``snapshots``: how many libvirt has of it.
    """

    name: str
    uuid: str
    memory: int
    max_memory: int
    vcpus: int
    accelerator: str
    machine_type: str = ""
    arch: str = "x86_64"
    cpu: str = ""
    disks: tuple[WantedDisk, ...] = ()
    secrets: tuple[WantedSecret, ...] = ()
    vifs: tuple[WantedVif, ...] = ()
    screens: tuple[WantedScreen, ...] = ()
    passed: tuple[Passed, ...] = ()
    files: tuple[str, ...] = ()
    record: str = field(default="", repr=False)
    xml: str = field(default="", repr=False)
    persist: bool = False
    snapshots: int = 0
    nomigrate: bool = False
    live: bool = True
    huge_pages: bool = False
    passwords: tuple[Password, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A domain that a host knows; ``life`` in the words of ``Life``."""

    name: str
    uuid: str
    life: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A name of a host as another one reads it: its addresses, () for a name that it does not know."""

    name: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """One end, asked for one domain (``Wanted``).

    ``libvirt`` and ``emulator`` are versions ("9.0.0", QEMU's "7.2.22"). ``cpu_refusal`` says why its processor cannot be
    that of the domain, "" where it can. ``free_memory``: what a guest can have now, less what is promised to others.
    ``secrets``: the names of those of the domain that it has. ``bridges`` and ``networks`` that are up. ``names``: how it
    reads the other's names. ``free_ports``: ports for migrations that nobody has. ``busy_ports``: those of the domain's
    displays that somebody has. ``missing_files`` of those the domain wants. ``security`` is "selinux", "apparmor" or "";
    ``lock_manager`` "lockd", "sanlock" or "". ``clock`` is Unix time. ``told`` is what the host itself has to say of the
    plan.
    """

    hostname: str
    uuid: str = ""
    addresses: tuple[str, ...] = ()
    libvirt: str = ""
    emulator: str = ""
    program: str = ""
    arch: str = "x86_64"
    accelerators: tuple[str, ...] = ()
    machine_types: tuple[str, ...] = ()
    cpu_refusal: str = ""
    memory: int = 0
    free_memory: int | None = None
    free_huge_pages: int | None = None
    cpus: int = 0
    disks: tuple[SeenDisk, ...] = ()
    secrets: tuple[str, ...] = ()
    bridges: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    taken: tuple[Taken, ...] = ()
    names: tuple[Resolved, ...] = ()
    free_ports: int | None = None
    busy_ports: tuple[int, ...] = ()
    missing_files: tuple[str, ...] = ()
    security: str = ""
    lock_manager: str = ""
    clock: float = 0.0
    told: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a destination says once the domain may come: its disks as they are now, where QEMU's data go (``address``: a
    name or address of it; ``listen``: what it listens on, "" for libvirt's own), and the domain as it is to arrive there
    where that is not as it was sent. ``waits``: it must not run there before its interfaces are set up."""

    disks: tuple[SeenDisk, ...] = ()
    address: str = ""
    listen: str = ""
    xml: str = field(default="", repr=False)
    told: tuple[Finding, ...] = ()
    waits: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What one end says of the domain: ``life`` in the words of ``Life``, ``moving`` in those of ``MigrationState``;
    ``known``: it is in its definitions."""

    life: str
    moving: str = MigrationState.NONE
    known: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What has become of the domain at its destination; ``told`` is what could not be done for it."""

    copy: Copy
    domid: int | None = None
    told: tuple[Finding, ...] = ()
