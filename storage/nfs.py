"""Directories of NFS servers: mounted for the disks ``nfs:HOST:/DIRECTORY/FILE``, and where /etc/fstab has them.

Mounts of ours are hard: while the server is away a guest's writes wait, and none is lost or refused. The version is what
server and kernel agree on, and locks are the server's. Whoever wants it otherwise says so in /etc/nfsmount.conf, or has
the directory in /etc/fstab, whose options are taken as they stand.
"""

from __future__ import annotations

import os
from contextlib import suppress

from xmcompat.nfs_names import FOLDER, export_at, export_of
from xmcompat.storage import mounts, processes
from xmcompat.storage.needs import Need
from xmcompat.storage.programs import ProgramFailed, StorageError, is_there, package_hint, run

#: Programs and devices of a server are of no use in a folder of disks.
OPTIONS = "hard,nosuid,nodev,noexec"

#: Words of fstab that are mount's own, or the init system's.
_NOT_OPTIONS = ("defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev", "bg", "fg")
_NOT_OPTIONS_OF = ("x-", "X-", "comment=", "retry=")
#: Seconds for asking a server what it exports, when something has failed already.
_ASKING = 5.0


def need_of(path: str) -> Need | None:
    """The directory of a server that PATH lies in, by its name or by /etc/fstab."""
    if export := export_of(path):
        return Need(kind="nfs", name=export.origin, words={"point": export.point, "host": export.host,
                                                           "directory": export.directory})  # fmt: skip
    line = mounts.holding(os.path.abspath(path), mounts.fstab()) if path.startswith("/") else None
    if line is None or not line.is_nfs:
        return None
    host, _, directory = line.source.rpartition(":/")
    return Need(kind="nfs", name=line.point, words={"point": line.point, "host": host, "directory": f"/{directory}"})


def is_up(need: Need) -> bool:
    """Whether it is mounted; the server may be away all the same."""
    top = mounts.at(need.words["point"])
    return top is not None and top.is_nfs


def assemble(need: Need, deadline: float) -> str:
    """Mount it where it is not. Raises StorageError."""
    if is_up(need):
        return ""
    source, options = _asked(need)
    point = need.words["point"]
    if other := mounts.at(point):
        if other.type == "autofs":
            hint = "the log of autofs or systemd says why"
            raise StorageError(f"{point} is mounted on demand, which has failed", hint=hint)
        raise StorageError(f"{other.source} is mounted at {point}", hint=f"run 'umount {point}' if it should not be")
    if not is_there("mount.nfs"):
        raise StorageError("the program 'mount.nfs' is missing", hint=package_hint("mount.nfs"))
    _make_place(point)
    # mount itself would leave its helper behind where the time is over; that would go on where this process is killed
    tied = ("setpriv", "--pdeathsig", "KILL", "--")
    run([*tied, "mount.nfs", source, point, "-o", f"{options},retry=0"], deadline=deadline)
    return ""


def release(need: Need) -> None:
    """Unmount it. Raises StorageError where something on it is in use."""
    point = need.words["point"]
    if is_up(need):
        try:
            run(["umount", "-c", point])
        except ProgramFailed as error:
            if is_up(need):
                raise _busy(need, error) from None
    elif (other := mounts.at(point)) and any(mount.point == point and mount.is_nfs for mount in mounts.mounted()):
        raise StorageError(f"{need.name} stays mounted: {other.source} is mounted over it", hint="unmount that first")
    if point.startswith(f"{FOLDER}/"):
        with suppress(OSError):
            os.rmdir(point)


def explain(need: Need, error: StorageError) -> StorageError:
    """Why the server's directory cannot be mounted: who is to change what."""
    said = error.complaint if isinstance(error, ProgramFailed) else error.message
    host, directory = need.words["host"], need.words["directory"]
    what = f"{host}:{directory} cannot be mounted"
    for parts, reason, hint in _REASONS:
        if any(part in said for part in parts):
            return StorageError(f"{what}: {reason.format(host=host)}", hint=hint.format(host=host, directory=directory))
    if "access denied" in said:
        return StorageError(f"{what}: {host} does not export it to this host{_exports(host)}",
                            hint=f"add it to /etc/exports on {host} and run 'exportfs -ra' there")  # fmt: skip
    if "No such file or directory" in said:
        return StorageError(f"{what}: {host} has no such directory{_exports(host)}", hint="mend the path of the disk")
    if "did not end" in said:
        return StorageError(f"{what}: {host} does not answer", hint=f"see that its NFS server runs: 'rpcinfo {host}'")
    last = error.said if isinstance(error, ProgramFailed) else error.message
    return StorageError(f"{what}: {last.removeprefix('mount.nfs: ')}", hint=error.hint)


_REASONS = (
    (("No such device", "unknown filesystem"), "this kernel has no NFS",
     "load its module ('modprobe nfs'), or let QEMU ask the server itself: nfs://{host}{directory}/FILE"),
    (("Connection refused", "timed out", "No route to host", "Network is unreachable", "Program not registered",
      "Unable to receive", "requested NFS version"), "no NFS server of such a version answers there",
     "see that it runs ('rpcinfo {host}'), and which version /etc/nfsmount.conf or /etc/fstab asks for"),
    (("resolve", "Name or service not known", "Resource temporarily unavailable"), "the name {host} is not known",
     "mend it, or add it to /etc/hosts"),
    (("rpc.statd",), "locks on it need rpc.statd, which does not run here",
     "start it (systemctl start rpc-statd), or set 'Lock=False' for {host} in /etc/nfsmount.conf"),
    (("mount option", "Protocol not supported"), "an option is not known here",
     "see what /etc/nfsmount.conf and /etc/fstab say of it"),
    (("Stale file handle",), "the server has lost it", "export it anew on {host}: 'exportfs -ra'"),
)  # fmt: skip


def _asked(need: Need) -> tuple[str, str]:
    """What is to be mounted, and with which options. Raises StorageError where fstab has it no longer."""
    point = need.words["point"]
    if point == export_at(need.words["host"], need.words["directory"]).point:
        return need.name, OPTIONS
    line = next((line for line in mounts.fstab() if line.point == point and line.is_nfs), None)
    if line is None:
        raise StorageError(f"/etc/fstab does not say any more what is mounted at {point}")
    options = [
        word for word in line.options.split(",")
        if word and word not in _NOT_OPTIONS and not word.startswith(_NOT_OPTIONS_OF)
    ]  # fmt: skip
    return line.source, ",".join([*(["vers=4"] if line.type == "nfs4" else []), *options] or ["rw"])


def _make_place(point: str) -> None:
    """The folder to mount on, which QEMU's user may pass through. Raises StorageError."""
    try:
        os.makedirs(point, mode=0o755, exist_ok=True)
        if point.startswith(f"{FOLDER}/"):
            for folder in (FOLDER, os.path.dirname(FOLDER)):
                os.chmod(folder, os.stat(folder).st_mode & 0o7777 | 0o011)
    except OSError as error:
        hint = "only root may do that" if isinstance(error, PermissionError) else None
        raise StorageError(f"{error.filename or point}: {error.strerror}", hint=hint) from None


def _busy(need: Need, error: ProgramFailed) -> StorageError:
    users = processes.below(need.words["point"])
    if not users:
        return StorageError(f"{need.name} stays mounted: {error.said.removeprefix('umount: ')}",
                            hint=f"run 'umount {need.words['point']}' later")  # fmt: skip
    return StorageError(f"{need.name} stays mounted: {processes.named(users)} still uses it",
                        hint=f"when that has ended, run 'umount {need.words['point']}'")  # fmt: skip


def _exports(host: str) -> str:
    """What the server says that it exports, to be read after a sentence; "" where it does not say."""
    if not is_there("showmount"):
        return ""
    try:
        lines = run(["showmount", "--no-headers", "-e", host.strip("[]")], deadline=_ASKING).splitlines()
    except StorageError:
        return ""
    words = [line.split(None, 1) for line in lines if line.strip()]
    shown = [f"{word[0]} to {word[1].strip()}" if len(word) > 1 else word[0] for word in words[:4]]
    return f" (it exports {'; '.join(shown)}{' and others' if len(words) > 4 else ''})" if shown else ""
