"""Are the disks of a new guest there, and free? Asked before anything is changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from xmcompat.errors import DeviceError
from xmcompat.storage.sharing import Held, HostUse, Identity, Mount, conflict, parse_mountinfo


class Source(NamedTuple):
    """What one disk of the guest stands on. ``kind`` "file" or "block", as the configuration says it.

    ``device_number`` (51714, or a name where there is no number) and ``device_class`` ("vbd", "tap") are
    what xm calls the device in its errors.
    """

    kind: str
    path: str
    writable: bool
    shareable: bool
    device_number: int | str
    device_class: str = "vbd"


def assemble(sources: Sequence[Source], *, others: Sequence[Held], mountinfo: str | None = None) -> list[str]:
    """The absolute path of each source, once all of them are there, of the right kind and free to use.

    Symbolic links are followed to look, and kept in the path: "/dev/vg0/web1" means the same on another host,
    "/dev/dm-3" does not. Raises DeviceError with xm's sentence for the first that cannot be used. Changes nothing;
    may be repeated. MOUNTINFO is the text of /proc/self/mountinfo, read if it is not given.
    Source: the block hot-plug script of Xen 4.1 and xend's device controller.
    Differs from xm: found before the domain exists, not after up to 100 s. A path in a directory that may not be
    searched passes: QEMU's user may see what this one cannot, and libvirt says so if not.
    """
    paths = [source.path and os.path.abspath(source.path) for source in sources]
    found = [_examine(source, path) for source, path in zip(sources, paths, strict=True)]
    exclusive = [index for index, source in enumerate(sources) if not source.shareable and found[index]]
    if exclusive:
        known = [other if other.identities else other._replace(identities=identities(other.path)) for other in others]
        mounts = host_uses(_read("/proc/self/mountinfo") if mountinfo is None else mountinfo)
        for index in exclusive:
            source = sources[index]
            why = conflict(
                paths[index], found[index], writable=source.writable, shareable=False, others=known, mounts=mounts
            )
            if why:
                raise _busy(source, why)
    return paths


def _examine(source: Source, path: str) -> frozenset[Identity]:
    """What PATH leads to, empty where it cannot be seen. Raises DeviceError where it cannot serve as SOURCE."""
    try:
        found = os.stat(path)
    except PermissionError:
        return frozenset()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise _unusable(source, f"{source.path} does not exist.") from None
    except OSError as error:
        raise _unusable(source, f"{source.path}: {error.strerror}.") from None
    if source.kind == "block":
        if not stat.S_ISBLK(found.st_mode):
            raise _unusable(source, f"{source.path} is not a block device.")
    elif stat.S_ISDIR(found.st_mode):
        raise _unusable(source, f"{source.path} is a directory.")
    elif not stat.S_ISREG(found.st_mode) and not stat.S_ISBLK(found.st_mode):
        raise _unusable(source, f"{source.path} is not a regular file.")
    elif stat.S_ISREG(found.st_mode) and source.writable and not found.st_mode & 0o222:
        raise _busy(
            source, f"File {source.path} is read-only, and so I will not\nmount it read-write in a guest domain."
        )
    return _identities(found)


def _unusable(source: Source, why: str) -> DeviceError:
    return DeviceError(f"{_complaint(source)} {why}")


def _busy(source: Source, why: str) -> DeviceError:
    return DeviceError(f"{_complaint(source)}\n{why}")


def _complaint(source: Source) -> str:
    return f"Device {source.device_number} ({source.device_class}) could not be connected."


def identities(path: str) -> frozenset[Identity]:
    """Every name by which the kernel knows what PATH leads to; empty where nothing can be seen there."""
    try:
        return _identities(os.stat(path))
    except (OSError, ValueError):
        return frozenset()


def _identities(found: os.stat_result) -> frozenset[Identity]:
    if stat.S_ISBLK(found.st_mode):
        return _block_identities(os.major(found.st_rdev), os.minor(found.st_rdev))
    return frozenset({Identity("file", found.st_dev, found.st_ino)})


def _block_identities(major: int, minor: int) -> frozenset[Identity]:
    """The device, and the file behind it if it is a loop device or a partition of one."""
    device = Identity("block", major, minor)
    directory = f"/sys/dev/block/{major}:{minor}"
    for name in ("loop/backing_file", "../loop/backing_file"):
        backing = _read(f"{directory}/{name}").rstrip("\n")
        if backing:
            return identities(backing) | {device}
    return frozenset({device})


def host_uses(mountinfo: str) -> list[HostUse]:
    """The objects behind the file systems that this host has mounted."""
    return [
        HostUse(found, mount.readonly) for mount in parse_mountinfo(mountinfo) if (found := _mounted(mount))
    ]


def _mounted(mount: Mount) -> frozenset[Identity]:
    """Some file systems (btrfs) have no device number of their own: then the source's name tells."""
    if mount.major:
        return _block_identities(mount.major, mount.minor)
    if not mount.source.startswith("/dev/"):
        return frozenset()
    return frozenset(one for one in identities(mount.source) if one.kind == "block")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
