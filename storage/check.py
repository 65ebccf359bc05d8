"""Are the disks of a new guest there, and free? Asked before anything is changed."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from typing import NamedTuple

from xmcompat.errors import DeviceError, DiskBusy
from xmcompat.storage import device_locks, looking
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
        end = time.monotonic() + looking.DEADLINE  # for all that lie on servers that are away
        known = [one if one.identities else one._replace(identities=identities(one.path, _left(end))) for one in others]
        mounts = host_uses(mount_table() if mountinfo is None else mountinfo)
        for index in exclusive:
            source = sources[index]
            taken = conflict(
                paths[index], found[index], writable=source.writable, shareable=False, others=known, mounts=mounts
            )
            if taken:
                raise _busy(source, taken.why, hint=taken.holder)
            if any(one.kind == "block" for one in found[index]):
                _refuse_filled(source, paths[index], _left(end))
    return paths


def _examine(source: Source, path: str) -> frozenset[Identity]:
    """What PATH leads to, empty where it cannot be seen. Raises DeviceError where it cannot serve as SOURCE."""
    try:
        found = looking.stat(path)
    except PermissionError:
        return frozenset()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise _missing(source, path) from None
    except OSError as error:
        raise _unusable(source, f"{source.path}: {error.strerror}.") from None
    if source.kind == "block":
        if not stat.S_ISBLK(found.st_mode):
            raise _unusable(source, f"{source.path} is not a block device.")
        _refuse_read_only(source, found)
    elif stat.S_ISDIR(found.st_mode):
        raise _unusable(source, f"{source.path} is a directory.")
    elif not stat.S_ISREG(found.st_mode) and not stat.S_ISBLK(found.st_mode):
        raise _unusable(source, f"{source.path} is not a regular file.")
    elif stat.S_ISREG(found.st_mode) and source.writable and not found.st_mode & 0o222:
        raise _busy(
            source, f"File {source.path} is read-only, and so I will not\nmount it read-write in a guest domain."
        )
    return _identities(found)


def _refuse_read_only(source: Source, found: os.stat_result) -> None:
    """The kernel says so of a device whoever asks. Differs from xm: there the guest finds out, at its first write."""
    numbers = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
    if source.writable and _read(f"/sys/dev/block/{numbers}/ro").strip() == "1":
        raise DeviceError(
            f"{_complaint(source)} {source.path} is a read-only device, and not for a guest to write to",
            hint="give it with the mode r; 'lvchange -prw' makes a volume writable, 'blockdev --setrw' another device",
        )


def _refuse_filled(source: Source, path: str, deadline: float) -> None:
    """Differs from xm, which asked nobody: an image that is being written to the device would go on over the guest's own
    writes."""
    if who := device_locks.filled_by(path, deadline):
        why = f"Device {source.path} is being filled, or changed, by another process."
        raise _busy(source, why, hint=f"{who} has locked it; wait for it")


def _missing(source: Source, path: str) -> DeviceError:
    """xm's sentence, or that the file system of /etc/fstab on which PATH should lie is not mounted."""
    from xmcompat.storage.mounts import unmounted

    line = unmounted(path)
    if line is None:
        return _unusable(source, f"{source.path} does not exist.")
    return DeviceError(
        f"{_complaint(source)} {source.path} does not exist: {line.point} of /etc/fstab is not mounted",
        hint=f"run 'mount {line.point}'",
    )


def _unusable(source: Source, why: str) -> DeviceError:
    return DeviceError(f"{_complaint(source)} {why}")


def _busy(source: Source, why: str, *, hint: str | None = None) -> DiskBusy:
    return DiskBusy(f"{_complaint(source)}\n{why}", hint=hint)


def _complaint(source: Source) -> str:
    return f"Device {source.device_number} ({source.device_class}) could not be connected."


def _left(end: float) -> float:
    return max(end - time.monotonic(), 0.1)


def identities(path: str, deadline: float = looking.DEADLINE) -> frozenset[Identity]:
    """Every name by which the kernel knows what PATH leads to; empty where nothing can be seen there, or not in time."""
    try:
        return _identities(looking.stat(path, deadline))
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


def mount_table() -> str:
    """What this host has mounted, for ``parse_mountinfo``; "" where the kernel does not tell."""
    return _read("/proc/self/mountinfo")


def host_uses(mountinfo: str) -> list[HostUse]:
    """The objects behind the file systems that this host has mounted."""
    return [
        HostUse(found, mount.readonly, mount.point) for mount in parse_mountinfo(mountinfo) if (found := _mounted(mount))
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
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            return file.read()
    except OSError:
        return ""
