"""What this host has of all that a domain on its way from one host to another needs: asked at both ends, and compared by
``migration.preflight``. Nothing is changed."""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from xmcompat import __version__, arrivals, connecting, moving_secrets
from xmcompat.backends import domain_xml, local_memory
from xmcompat.backends.gather import accelerator
from xmcompat.backends.local_host import free_huge_pages
from xmcompat.backends.machine import Accelerator
from xmcompat.backends.openvswitch import switches_here
from xmcompat.backends.settings import read as read_settings
from xmcompat.composites import disks_of, guest_in
from xmcompat.copies import copy_of
from xmcompat.errors import ConfigError, DeviceError, DomainExists, DomainNotFound, OperationError, XmError
from xmcompat.host_settings import xend_number
from xmcompat.migration import settings as migration_settings
from xmcompat.migration.facts import (
    FileKind,
    Finding,
    HostFacts,
    Identity,
    Resolved,
    SeenDisk,
    Sight,
    Taken,
    Wanted,
    WantedDisk,
)
from xmcompat.migration.preflight import memory_needed
from xmcompat.preflight import refuse_suspended
from xmcompat.storage import identity, image_locks, lockspace, looking
from xmcompat.toolstack import DOM0_NAME, DOM0_UUID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xmcompat.backends.accelerator import Verdict
    from xmcompat.backends.hypervisor import DiskUse, Hypervisor
    from xmcompat.backends.machine import Machine

_LISTENS = "0A"
#: Where the kernel tells of a security module that libvirt would use, and what it says then.
_SECURITY = (
    ("selinux", "/sys/fs/selinux/enforce", ("0", "1")),
    ("apparmor", "/sys/module/apparmor/parameters/enabled", ("Y",)),
)


def host_facts(
    hypervisor: Hypervisor, wanted: Wanted, *, other: str = "", environ: Mapping[str, str] = os.environ
) -> HostFacts:
    """This host, asked for the domain of WANTED; OTHER is the name of the host at the other end. Raises XmError."""
    settings = read_settings(environ)
    own = migration_settings.read(settings.migration, environ.get("XMCOMPAT_CONFIG") or "xmcompat.toml")
    me, machine = hypervisor.migration_host(), hypervisor.host()
    listening = _listening_ports()
    free = set(range(own.ports[0], own.ports[1] + 1)) - listening
    verdict = accelerator(hypervisor, environ=environ, settings=settings)
    # A new guest that hangs under a KVM that nobody has tried is started again; one that moves there would be lost.
    kvm = verdict.accelerator is Accelerator.KVM and not verdict.untried
    return HostFacts(
        hostname=os.uname().nodename, uuid=me.uuid, addresses=tuple(own_addresses()), libvirt=me.libvirt,
        emulator=me.emulator, program=__version__, arch=os.uname().machine,
        accelerators=("kvm", "qemu") if kvm else ("qemu",), machine_types=me.machines,
        cpu_refusal=hypervisor.cpu_refusal(wanted.xml) if wanted.xml else "",
        memory=machine.memory, free_memory=_free_memory(hypervisor, wanted, environ),
        free_huge_pages=free_huge_pages() if wanted.huge_pages else None, cpus=machine.cpus,
        disks=tuple(seen_disks(hypervisor, wanted)), secrets=moving_secrets.known(hypervisor, wanted),
        bridges=_bridges(hypervisor, settings.bridge_aliases),
        taken=_taken(hypervisor, wanted), names=(_resolved(other),) if other else (), free_ports=len(free),
        busy_ports=tuple(screen.port for screen in wanted.screens if screen.port in listening),
        missing_files=tuple(path for path in wanted.files if not _is_there(path)), security=_security(),
        lock_manager=lockspace.manager().kind, clock=time.time(),
        told=(*_untried(hypervisor, wanted, verdict), *_told(wanted, environ)),
    )  # fmt: skip


def own_addresses() -> Iterator[str]:
    """The addresses of this host by which others may know it."""
    from xmcompat.network import host
    from xmcompat.network.programs import NetworkError

    with suppress(NetworkError):
        for one in host.read(tables=False).addresses:
            if one.scope == "global":
                yield one.address


def _resolved(name: str) -> Resolved:
    with suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        return Resolved(name=name, addresses=tuple(dict.fromkeys(str(where[0]) for *_, where in found)))
    return Resolved(name=name)


# -- memory and names


def _free_memory(hypervisor: Hypervisor, wanted: Wanted, environ: Mapping[str, str]) -> int | None:
    """KiB that the domain could take: what is free, less what guests that run may still take, what others on their way here
    are promised, and what xend's dom0-min-mem keeps for the host."""
    free = local_memory.available()
    if free is None:
        return None
    running = {info.uuid: info.max_memory for info in hypervisor.domains() if info.started and info.uuid != wanted.uuid}
    coming = [one for one in arrivals.promised(hypervisor.uri) if one.uuid not in (*running, wanted.uuid)]
    owed = local_memory.promised(running, local_memory.residents()) + sum(one.memory for one in coming)
    return max(free - owed - int(xend_number(environ, "dom0-min-mem", 0)) * 1024, 0)


def refuse_too_large(hypervisor: Hypervisor, wanted: Wanted, environ: Mapping[str, str]) -> None:
    """Raise OperationError where it is promised, and others have been promised too much since the source has looked."""
    free, needed = _free_memory(hypervisor, wanted, environ), memory_needed(wanted.memory)
    if not wanted.huge_pages and free is not None and free < needed:
        here = os.uname().nodename
        raise OperationError(
            f"Not enough free memory on {here}: I need {needed} KiB but only have {free}.",
            hint="end or shrink guests there",
        )


def _taken(hypervisor: Hypervisor, wanted: Wanted) -> tuple[Taken, ...]:
    """The domains here that have its name or its uuid, and those that are just coming by such a name."""
    found: dict[str, Taken] = {}
    for designation in (wanted.name, wanted.uuid):
        with suppress(DomainNotFound):
            info = hypervisor.find(designation)
            if info.name == wanted.name or info.uuid == wanted.uuid:  # else a name that reads as an id
                found[info.uuid] = Taken(name=info.name, uuid=info.uuid, life=copy_of(hypervisor, info.uuid).life)
    return tuple(found.values())


def refuse_taken(hypervisor: Hypervisor, wanted: Wanted) -> None:
    """Raise OperationError where another domain has the name or uuid, or this one runs here already."""
    if wanted.name == DOM0_NAME or wanted.uuid == DOM0_UUID:
        raise OperationError(DomainExists(DOM0_NAME, 0).message)
    for designation in (wanted.name, wanted.uuid):
        try:
            holder = hypervisor.find(designation)
        except DomainNotFound:
            continue
        if wanted.name != holder.name and wanted.uuid != holder.uuid:
            continue  # a name that reads as somebody's id
        if holder.domid is not None or (wanted.name, wanted.uuid) != (holder.name, holder.uuid):
            raise OperationError(DomainExists(holder.name, holder.domid).message)
        refuse_suspended(hypervisor, holder)


# -- disks


def seen_disks(hypervisor: Hypervisor, wanted: Wanted) -> Iterator[SeenDisk]:
    """The disks of WANTED as they are seen from here."""
    uses = [use for use in hypervisor.disk_uses() if use.domain != wanted.name]
    for disk in wanted.disks:
        if disk.kind in (FileKind.FILE, FileKind.BLOCK):
            yield _seen(disk, uses)
        else:
            yield SeenDisk(target=disk.target, sight=Sight.FOUND, path=disk.path)


def paths_of(machine: Machine) -> frozenset[str]:
    """Where the disks of MACHINE lie, and those that they are made of."""
    disks = [part for disk in disks_of(machine, guest_in(machine)) for part in (disk.members or (disk,))]
    return frozenset(str(getattr(disk.source, "path", "")) for disk in disks) - {""}


def _seen(disk: WantedDisk, uses: Sequence[DiskUse]) -> SeenDisk:
    free = _room(disk.path) if disk.copy else None
    try:
        there = looking.exists(disk.path)
    except TimeoutError as error:
        return SeenDisk(target=disk.target, sight=Sight.DENIED, path=disk.path, why=str(error.strerror))
    if not there:
        sight = Sight.COMES if disk.needs and not disk.copy else Sight.MISSING
        return SeenDisk(target=disk.target, sight=sight, path=disk.path, why=_why_missing(disk.path), free=free)
    try:
        known = tuple(Identity(kind=one.kind, place=one.place, number=one.number) for one in identity.identities(disk.path))
        size = _size(disk.path)
    except OSError as error:
        return SeenDisk(target=disk.target, sight=Sight.DENIED, path=disk.path, why=error.strerror or str(error), free=free)
    real = os.path.realpath(disk.path)
    users = [use.domain for use in uses if os.path.realpath(use.path) == real and not (use.readonly and disk.readonly)]
    why = _what_would_be_lost(disk.path) if disk.copy and disk.kind == FileKind.BLOCK and not users else ""
    return SeenDisk(
        target=disk.target, sight=Sight.FOUND, path=disk.path, why=why, size=size, identities=known,
        locked=image_locks.is_locked(disk.path), user="" if disk.shareable or not users else users[0], free=free,
    )  # fmt: skip


def _what_would_be_lost(path: str) -> str:
    """What keeps the block device at PATH from being written anew: who uses it, or what is on it; "" for nothing."""
    from xmcompat.storage.image_device import device_to_fill

    try:
        with device_to_fill(path, 0, force=False):
            return ""
    except XmError as error:
        return error.message.removeprefix(f"{path} ").replace("holds", "it holds", 1).removeprefix("is in use: ")


def _size(path: str) -> int:
    """In bytes. Raises OSError, also for what is neither a file nor a block device: to open it may set something off."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise OSError(errno.EINVAL, "it is neither a file nor a block device", path)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.lseek(fd, 0, os.SEEK_END)
    finally:
        os.close(fd)


def _why_missing(path: str) -> str:
    """The first folder on the way to PATH that is not there, "" where only the file itself is missing."""
    folder = os.path.dirname(path)
    missing = ""
    while folder not in ("", "/") and not os.path.isdir(folder):
        missing, folder = folder, os.path.dirname(folder)
    return f"there is no {missing}" if missing else ""


def _room(path: str) -> int | None:
    """Bytes that a file at PATH could have; for a device, its size."""
    try:
        if path.startswith("/dev/"):
            return _size(path)
        found = os.statvfs(os.path.dirname(path))
        return found.f_bavail * found.f_frsize
    except OSError:
        return None


def _is_there(path: str) -> bool:
    try:
        return looking.exists(path)
    except TimeoutError:
        return False


# -- the network, and the rest


def _bridges(hypervisor: Hypervisor, aliases: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Those that are up, by the names that domains may call them."""
    there = (*hypervisor.bridges(), *switches_here())
    return tuple(dict.fromkeys((*there, *(old for old, new in aliases if new in there))))


def _listening_ports(proc: str = "/proc") -> set[int]:
    """TCP ports at which somebody listens."""
    found: set[int] = set()
    for name in ("tcp", "tcp6"):
        with suppress(OSError), open(f"{proc}/net/{name}", encoding="ascii") as file:
            rows = [line.split() for line in file]
            found |= {int(row[1].rpartition(":")[2], 16) for row in rows if len(row) > 3 and row[3] == _LISTENS}
    return found


def _security() -> str:
    for name, path, values in _SECURITY:
        with suppress(OSError), open(path, encoding="ascii") as file:
            if file.read().strip() in values:
                return name
    return ""


def _untried(hypervisor: Hypervisor, wanted: Wanted, verdict: Verdict) -> Iterator[Finding]:
    """Why this host offers no KVM to a guest that needs it and does not run here, though it uses it for new ones."""
    if not verdict.untried or wanted.accelerator != Accelerator.KVM.value:
        return
    if not any(info.uuid == wanted.uuid and info.started for info in hypervisor.domains()):
        what = f"KVM could not be tried on {os.uname().nodename}, which is too busy"
        yield Finding(stops=False, what=what, do="try again when it is less so")


def _told(wanted: Wanted, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What the host has to say of the domain's interfaces: scripts that are not there, or not trusted."""
    if not wanted.xml:
        return
    try:
        machine = domain_xml.parse(wanted.xml)
        connecting.prepared(guest_in(machine).vifs, machine.nics, environ=environ)
    except (DeviceError, ConfigError) as error:
        yield Finding(stops=True, what=error.message, do=error.hint or "")
    except XmError as error:
        yield Finding(stops=True, what=f"the domain cannot be read: {error.message}", do=error.hint or "")

