"""Volumes that guests of several hosts can reach: does anything keep two of them from writing to one? Read, never set.

On one host Xen's rule does (see ``sharing``). Between hosts, QEMU's own locks do for images on file systems that pass locks
on, and libvirt's lock manager ("lockd") for devices, whose locks stay on their host: it locks a file of a folder that all
hosts share in their place. Neither sees disks that are made of several volumes.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from xmcompat.storage.mounts import Mount, holding, mounted

QEMU_CONF = "/etc/libvirt/qemu.conf"
LOCKD_CONF = "/etc/libvirt/qemu-lockd.conf"
#: Where virtlockd listens.
SOCKET = "/run/libvirt/virtlockd-sock"
#: Written when the daemon starts.
PID_FILES = ("/run/libvirtd.pid", "/run/virtqemud.pid")
SYS = "/sys"

#: File systems that several hosts mount at once, and how they are called.
_SHARED = {
    "nfs": "NFS", "nfs4": "NFS", "ocfs2": "OCFS2", "gfs2": "GFS2", "ceph": "CephFS", "fuse.ceph": "CephFS",
    "fuse.glusterfs": "GlusterFS", "cifs": "SMB", "smb3": "SMB", "lustre": "Lustre", "gpfs": "GPFS", "9p": "9P",
    "virtiofs": "virtiofs", "fuse.sshfs": "SSHFS",
}  # fmt: skip
#: Options with which locks of files stay on their host, and file systems that pass none on at all.
_LOCAL_LOCKS = ("nolock", "local_lock=all", "local_lock=posix", "localflocks", "nobrl")
_LOCKLESS = ("fuse.sshfs", "9p", "virtiofs")
_SETTING = re.compile(r"^\s*(\w+)\s*=\s*(?:\"([^\"]*)\"|(\d+))", re.MULTILINE)
_TRANSPORTS = (("/session", "iSCSI"), ("/rport-", "Fibre Channel"), ("/end_device-", "SAS"))


class Manager(NamedTuple):
    """libvirt's lock manager: ``kind`` is "lockd", "sanlock" or "" for none. It locks a file of ``files`` for each disk, or
    of ``lvm`` and ``scsi`` for volumes of these kinds; the disk itself where none is set. ``automatic``: without leases in
    the guests' definitions."""

    kind: str = ""
    automatic: bool = True
    files: str = ""
    lvm: str = ""
    scsi: str = ""


class Reach(NamedTuple):
    """How other hosts reach a volume. ``device``: it is one, "lvm" or "scsi" among them by ``kind``. ``locks``: those of
    the file hold on all hosts."""

    by: str
    device: bool
    kind: str = ""
    locks: bool = False


class Disk(NamedTuple):
    """A disk of a guest. ``direct``: QEMU has the path itself, not a part of a disk that is made of several."""

    domain: str
    path: str
    readonly: bool = False
    shareable: bool = False
    direct: bool = True


class Finding(NamedTuple):
    """A disk that nothing keeps from being written to by two hosts: why, and what to do."""

    domain: str
    path: str
    why: str
    hint: str


def manager(qemu_conf: str = QEMU_CONF, lockd_conf: str = LOCKD_CONF) -> Manager:
    """What libvirt's files say, as of its next start."""
    kind = _settings(qemu_conf).get("lock_manager", "")
    words = _settings(lockd_conf) if kind == "lockd" else {}
    return Manager(
        kind, words.get("auto_disk_leases", "1") != "0", words.get("file_lockspace_dir", ""),
        words.get("lvm_lockspace_dir", ""), words.get("scsi_lockspace_dir", ""),
    )  # fmt: skip


def _settings(path: str) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return {name: text or number for name, text, number in _SETTING.findall(file.read())}
    except OSError:
        return {}


# -- who else reaches it


def reach(path: str, mounts: Sequence[Mount]) -> Reach | None:
    """How other hosts reach what PATH leads to; None where none does, as far as the kernel knows."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if stat.S_ISBLK(found.st_mode):
        return _of_device(f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}", mounts)
    return _of_file(os.path.realpath(path), mounts)


def _of_file(path: str, mounts: Sequence[Mount]) -> Reach | None:
    mount = holding(path, mounts)
    if mount is None or mount.type not in _SHARED:
        return None
    options = mount.options.split(",")
    locks = mount.type not in _LOCKLESS and not any(word in options for word in _LOCAL_LOCKS)
    return Reach(f"{_SHARED[mount.type]} ({mount.source})", False, "", locks)


def _of_device(number: str, mounts: Sequence[Mount]) -> Reach | None:
    """By what the device stands on, which may be a device itself."""
    folder = os.path.realpath(f"{SYS}/dev/block/{number}")
    name = os.path.basename(folder)
    if backing := _line(f"{folder}/loop/backing_file"):
        under = _of_file(backing, mounts)
        return under._replace(device=True, locks=False) if under else None
    for beginning, word in (("etherd!", "AoE"), ("drbd", "DRBD"), ("nbd", "NBD"), ("rbd", "Ceph")):
        if name.startswith(beginning):
            return Reach(word, True)
    if by := next((word for mark, word in _TRANSPORTS if mark in folder), ""):
        return Reach(by, True, "scsi")
    under = next(filter(None, (_of_device(_line(f"{one}/dev"), mounts) for one in _beneath(folder))), None)
    if under is None:
        return None
    is_volume = _line(f"{folder}/dm/uuid").startswith("LVM-")
    return under._replace(kind="lvm" if is_volume else under.kind if "mpath" in _line(f"{folder}/dm/uuid") else "")


def _beneath(folder: str) -> Iterator[str]:
    """The devices that a device-mapper's or md's stands on, or the disk of a partition."""
    try:
        names = os.listdir(f"{folder}/slaves")
    except OSError:
        names = []
    yield from (os.path.realpath(f"{folder}/slaves/{name}") for name in sorted(names))
    if os.path.exists(f"{folder}/partition"):
        yield os.path.dirname(folder)


def _line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.readline().rstrip("\n")
    except OSError:
        return ""


# -- what is missing


def look(disks: Iterable[Disk], found: Manager | None = None, mounts: Sequence[Mount] | None = None) -> tuple[Finding, ...]:
    """What is wrong with the DISKS that are written to, each once. Those with w! are shared on purpose."""
    found = manager() if found is None else found
    mounts = mounted() if mounts is None else mounts
    findings = {}
    for disk in disks:
        reached = None if disk.readonly or disk.shareable else reach(disk.path, mounts)
        if reached and (fault := _fault(disk, reached, found, mounts)):
            why, hint = fault
            why = f"other hosts reach it by {reached.by}: {why}"
            findings[disk.domain, disk.path] = Finding(disk.domain, disk.path, why, hint)
    return tuple(findings.values())


def _fault(disk: Disk, reached: Reach, found: Manager, mounts: Sequence[Mount]) -> tuple[str, str] | None:
    """Why nothing locks the disk on all hosts, and what to do; None where something does."""
    if not disk.direct:
        return "it is a part of a disk made of several, of which no lock manager knows", "start the guest on one host alone"
    if found.kind == "sanlock" or (reached.locks and not reached.device):
        return None
    if found.kind != "lockd":
        if reached.device:
            return "locks of devices stay on their host, and libvirt's lock manager is off", ADVICE
        return "its locks stay on this host, and libvirt's lock manager is off", ADVICE
    if not found.automatic:
        return "auto_disk_leases is off, and a guest of Xen's names no leases", f'set auto_disk_leases = 1 in {LOCKD_CONF}'
    name = {"lvm": "lvm_lockspace_dir", "scsi": "scsi_lockspace_dir"}.get(reached.kind, "")
    own = {"lvm": found.lvm, "scsi": found.scsi}.get(reached.kind, "")
    folder, word = (own, name) if own else (found.files, "file_lockspace_dir")
    if not folder:
        return "libvirt's lock manager locks the disk itself, whose locks stay on their host", ADVICE
    holder = _of_file(os.path.realpath(folder), mounts)
    if holder is None or not holder.locks:
        what = "lies on this host alone" if holder is None else f"lies on {holder.by}, whose locks stay on their host"
        return f"{word} = {folder} {what}", "name a folder of a file system that all hosts share, such as NFS with locks"
    return None


#: What to set where the lock manager is off, on every host.
ADVICE = (
    f'set lock_manager = "lockd" in {QEMU_CONF} and file_lockspace_dir = "DIR" in {LOCKD_CONF}, DIR on a file system that '
    "all hosts share, on every host; then restart libvirtd"
)


def is_unread(*paths: str) -> bool:
    """Whether libvirt runs and has been started before its files (PATHS) were changed: what they say is not so yet."""
    started = max((_changed(path) for path in PID_FILES), default=0.0)
    return 0 < started < max(map(_changed, paths or (QEMU_CONF, LOCKD_CONF)))


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def is_deaf(found: Manager) -> bool:
    """Whether libvirt is to use a lock manager that does not listen, so that no guest will start."""
    return found.kind == "lockd" and not os.path.exists(SOCKET)
