"""Who keeps QEMU from a disk: a folder, an owner, AppArmor, a server, a lock; and what to type.

Asked when libvirt has refused a disk, with what it said. What QEMU's user may do is tried as that user, so that lists of
access and servers' rules count as they would for QEMU.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import stat
import struct
from contextlib import suppress
from typing import NamedTuple

from xmcompat import programs
from xmcompat.errors import DeviceError, DiskRefused
from xmcompat.storage import mounts, processes

#: How libvirt's QEMU is called where no setting says so.
_USERS = ("libvirt-qemu", "qemu")
QEMU_CONF = "/etc/libvirt/qemu.conf"
SYS = "/sys"
_LOCAL_RULES = "/etc/apparmor.d/local/abstractions/libvirt-qemu"

_GET_FLAGS, _IMMUTABLE, _APPEND = 0x80086601, 0x10, 0x20
_MIB = 1 << 20


class Denial(NamedTuple):
    """Who denies, in a sentence that follows what was denied, and what to do."""

    why: str
    hint: str | None = None


class User(NamedTuple):
    """Whom QEMU runs as."""

    uid: int
    gid: int

    @property
    def name(self) -> str:
        with suppress(KeyError):
            return pwd.getpwuid(self.uid).pw_name
        return str(self.uid)

    def may(self, what: str, path: str) -> bool:
        """Whether the user has the right "r", "w" or "x" to PATH; True where that cannot be tried. libvirt's QEMU keeps
        root's capabilities where it runs as root."""
        if self.uid == 0:
            return os.geteuid() != 0 or os.access(path, {"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}[what])
        try:
            pwd.getpwuid(self.uid)
            groups = "--init-groups"
        except KeyError:
            groups = "--clear-groups"
        words = ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", groups, "--bounding-set=-all", "--inh-caps=-all",
                 "test", f"-{what}", path]  # fmt: skip
        try:
            return os.geteuid() != 0 or programs.run(words, deadline=5).status != 1
        except programs.CannotRun:
            return True


def explained(error: DiskRefused) -> DeviceError:
    """ERROR, with who denies and what to do, where that can be found out."""
    found = denial(error.path, error.reason, user=User(*error.user) if error.user else None)
    return DeviceError(f"{error.message}: {found.why}", hint=found.hint or error.hint) if found else error


def denial(path: str, reason: str, *, user: User | None = None) -> Denial | None:
    """Who denied QEMU, which runs as USER, the image or volume at PATH, and said REASON; None where nothing is found."""
    if not path.startswith("/"):
        return None
    if "lock" in reason or "in use" in reason:
        return _lock(path)
    for word, asked in (
        ("Permission denied", _permission), ("Operation not permitted", _not_permitted),
        ("Read-only file system", _read_only), ("No space left", _no_space), ("No such file", _missing),
        ("O_DIRECT", _direct), ("Invalid argument", _direct), ("Stale file handle", _stale),
    ):  # fmt: skip
        if word in reason:
            return asked(path, user or qemu_user())
    return None


def qemu_user() -> User:
    """Whom libvirt starts QEMU as, by its settings or as the distribution has it; root where neither is known."""
    for name in (*_said("user"), *_USERS):
        with suppress(KeyError):
            found = pwd.getpwuid(int(name[1:])) if name[:1] == "+" and name[1:].isdecimal() else pwd.getpwnam(name)
            return User(found.pw_uid, found.pw_gid)
    return User(0, 0)


def _said(word: str) -> list[str]:
    with suppress(OSError), open(QEMU_CONF, encoding="utf-8", errors="replace") as file:
        return re.findall(rf'(?m)^\s*{word}\s*=\s*"([^"]+)"', file.read())[-1:]
    return []


def _lock(path: str) -> Denial | None:
    if users := processes.locking(path):
        return Denial(f"{processes.named(users)} holds it", "end that first, or give both guests the disk with the mode w!")
    mount = mounts.holding(os.path.realpath(path), mounts.mounted())
    if mount and mount.is_nfs:
        return Denial(
            f"its lock is on the server of {mount.source}, for a guest or program of another host",
            "shut the guest down there; a host that has died keeps its locks until it is back",
        )
    return None


def _permission(path: str, user: User) -> Denial | None:
    real = os.path.realpath(path)
    mount = mounts.holding(real, mounts.mounted())
    if mount and mount.is_nfs and (found := _squash(real, mount, user)):
        return found
    for folder in _folders(real):
        if not user.may("x", folder):
            return _closed_folder(folder, user)
    if not user.may("r", real) or not user.may("w", real):
        return _closed_file(real, user)
    return _confined(real, mount)


def _folders(path: str) -> list[str]:
    """The folders that lead to PATH, from the top."""
    folders = [path]
    while (folder := os.path.dirname(folders[-1])) != folders[-1]:
        folders.append(folder)
    return folders[:0:-1]


def _closed_folder(folder: str, user: User) -> Denial:
    return Denial(
        f"{folder} is {_owner_and_mode(folder)}, and QEMU runs as {user.name}, who may not pass through it",
        f"move the image elsewhere, or run 'setfacl -m u:{user.name}:x {folder}'",
    )


def _closed_file(path: str, user: User) -> Denial:
    return Denial(
        f"it is {_owner_and_mode(path)}, and QEMU runs as {user.name}",
        f"run 'chown {user.name} {path}', or let libvirt do so: dynamic_ownership in {QEMU_CONF}",
    )


def _owner_and_mode(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return "hidden"
    owner = User(found.st_uid, found.st_gid)
    return f"{owner.name}'s with mode {stat.S_IMODE(found.st_mode):04o}"


def _squash(path: str, mount: mounts.Mount, user: User) -> Denial | None:
    """The server takes this host's root for nobody, so that libvirt cannot give the image to QEMU's user."""
    if os.geteuid() != 0 or (user.may("r", path) and user.may("w", path)):
        return None
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        squashed = os.stat(path).st_uid != user.uid
    except OSError:
        squashed = True
    server, below = mount.source.partition(":")[0], os.path.relpath(path, mount.point)
    if not squashed:
        return None
    root, owner = ("root, as which QEMU runs,", "nobody") if user.uid == 0 else ("root", f"{user.uid}:{user.gid}")
    either = "" if user.uid == 0 else f", and lets {user.name} not open it either"
    return Denial(
        f"the NFS server {server} takes this host's {root} for nobody (root_squash){either}",
        f"export it with no_root_squash, or run 'chown {owner} {below}' in that folder on {server}",
    )


def _confined(path: str, mount: mounts.Mount | None) -> Denial | None:
    """What stands above owners and modes."""
    if _text(f"{SYS}/module/apparmor/parameters/enabled").startswith("Y"):
        return Denial(
            "owners and modes allow it, so it is AppArmor: the guest's profile, which libvirt writes, leaves it out",
            f"add '{path} rwk,' to {_LOCAL_RULES} and start the guest again; 'dmesg | grep DENIED' shows what was refused",
        )
    if _text(f"{SYS}/fs/selinux/enforce") == "1":
        hint = (
            "run 'setsebool -P virt_use_nfs on'" if mount and mount.is_nfs
            else f"run 'semanage fcontext -a -t virt_image_t {path}' and 'restorecon {path}'"
        )  # fmt: skip
        return Denial(f"owners and modes allow it, so it is SELinux: its label is {_label(path)}", hint)
    return None


def _label(path: str) -> str:
    with suppress(OSError):
        return os.getxattr(path, "security.selinux").rstrip(b"\0").decode("utf-8", "replace")
    return "unknown"


def _not_permitted(path: str, user: User) -> Denial | None:
    flags = _flags(path)
    if flags & (_IMMUTABLE | _APPEND):
        letter, word = ("i", "immutable") if flags & _IMMUTABLE else ("a", "only to be appended to")
        return Denial(f"it is marked as {word}", f"run 'chattr -{letter} {path}'")
    return _permission(path, user)


def _flags(path: str) -> int:
    """Those of ``lsattr``; 0 where the file system has none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return 0
    try:
        return int(struct.unpack("l", fcntl.ioctl(fd, _GET_FLAGS, bytes(struct.calcsize("l"))))[0])
    except OSError:
        return 0
    finally:
        os.close(fd)


def _read_only(path: str, _user: User) -> Denial | None:
    mount = mounts.holding(os.path.realpath(path), mounts.mounted())
    if mount is None:
        return None
    return Denial(f"{mount.point} is mounted read-only",
                  f"run 'mount -o remount,rw {mount.point}', or give the disk with the mode r")  # fmt: skip


def _no_space(path: str, _user: User) -> Denial | None:
    folder = os.path.dirname(os.path.realpath(path))
    with suppress(OSError):
        found = os.statvfs(folder)
        return Denial(f"{folder} has {found.f_bavail * found.f_frsize // _MIB} MiB left", "free some space there")
    return None


def _missing(path: str, _user: User) -> Denial | None:
    line = mounts.unmounted(path)
    return Denial(f"{line.point} of /etc/fstab is not mounted", f"run 'mount {line.point}'") if line else None


def _direct(path: str, _user: User) -> Denial | None:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC))
    except OSError as error:
        if error.strerror == "Invalid argument":
            mount = mounts.holding(os.path.realpath(path), mounts.mounted())
            where = f"the file system at {mount.point} ({mount.type})" if mount else "its file system"
            return Denial(f"{where} has no way past the host's cache (O_DIRECT)", f"write file:{path} instead of tap:aio:")
    return None


def _stale(path: str, _user: User) -> Denial | None:
    mount = mounts.holding(path, mounts.mounted())
    return Denial(f"the server has lost what {mount.source} was", f"run 'umount -l {mount.point}'") if mount else None


def _text(path: str) -> str:
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return ""
