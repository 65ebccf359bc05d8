"""By what two hosts can tell that a path of each means the same disk: numbers that the disk itself has. Read, never set.

The path alone proves nothing: two hosts have files of one name that have never met.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from xmcompat.storage import looking
from xmcompat.storage.lockspace import _SHARED
from xmcompat.storage.mounts import Mount, holding, mounted

SYS = "/sys"
_CLUSTER = frozenset(_SHARED) - {"nfs", "nfs4"}
_NFS = ("nfs", "nfs4")


class Identity(NamedTuple):
    """``kind``, ``place`` and ``number`` are those of ``migration.facts.Identity``, which goes between hosts."""

    kind: str
    place: str
    number: int = 0


def identities(path: str, mounts: Sequence[Mount] | None = None) -> tuple[Identity, ...]:
    """All that PATH, a file or block device that is there, can be known by; () where nothing is. Raises OSError."""
    found = looking.stat(path)
    if stat.S_ISBLK(found.st_mode):
        number = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
        return tuple(dict.fromkeys(_of_device(f"{SYS}/dev/block/{number}", mounts)))
    return (_of_file(path, found, mounted() if mounts is None else mounts),)


def _of_file(path: str, found: os.stat_result, mounts: Sequence[Mount]) -> Identity:
    """A file by its inode, and by the file system: by its server where it has one."""
    real = os.path.realpath(path)
    mount = holding(real, mounts)
    if mount is not None and mount.type in _NFS:
        beneath = os.path.dirname(os.path.relpath(real, mount.point))
        place = mount.source.rstrip("/") + (f"/{beneath}" if beneath else "")
        return Identity("nfs", place, found.st_ino)
    kind = "cluster" if mount is not None and mount.type in _CLUSTER else "file"
    return Identity(kind, f"{os.statvfs(path).f_fsid:x}", found.st_ino)


def _of_device(folder: str, mounts: Sequence[Mount] | None) -> Iterator[Identity]:
    """FOLDER is that of the device in /sys."""
    mapped = _line(f"{folder}/dm/uuid")
    name = os.path.basename(os.path.realpath(folder))
    if mapped.startswith("LVM-"):
        yield Identity("lv", mapped.removeprefix("LVM-")[:64])
    elif mapped.startswith("mpath-"):
        yield Identity("wwid", mapped.removeprefix("mpath-")[1:])  # without the digit that says whose kind it is
    elif mapped:
        yield Identity("wwid", f"dm-{mapped}")
    if mapped and not mapped.startswith("mpath-"):
        yield from (Identity("beneath", place) for place in _beneath(folder))
    if name.startswith("drbd"):
        yield Identity("drbd", _drbd(name))
    if wwid := _wwid(folder):
        yield Identity("wwid", wwid)
    if behind := _line(f"{folder}/loop/backing_file"):
        try:
            yield _of_file(behind, looking.stat(behind), mounted() if mounts is None else mounts)
        except OSError:
            return


def _beneath(folder: str) -> Iterator[str]:
    """By what the disks are known that the mapped device with this FOLDER stands on: a host that was copied from another
    has volumes of the same names and identifiers on disks of its own."""
    try:
        names = sorted(os.listdir(f"{folder}/slaves"))
    except OSError:
        return
    for name in names:
        one = os.path.realpath(f"{folder}/slaves/{name}")
        mapped = _line(f"{one}/dm/uuid")
        if name.startswith("drbd"):
            yield f"drbd {_drbd(name)}"
        elif mapped.startswith("mpath-"):
            yield mapped.removeprefix("mpath-")[1:]
        elif os.path.isdir(f"{one}/slaves") and os.listdir(f"{one}/slaves"):
            yield from _beneath(one)
        elif wwid := _wwid(os.path.dirname(one) if os.path.exists(f"{one}/partition") else one):
            yield wwid


def _wwid(folder: str) -> str:
    """That of the device with this FOLDER in /sys, without the word that says whose kind it is; "" for none."""
    for file in ("wwid", "device/wwid"):
        if wwid := _line(f"{folder}/{file}"):
            return wwid.partition(".")[2] or wwid
    return ""


def _drbd(name: str) -> str:
    """The resource of the DRBD device NAME, by the links that its rules make; by its own name where there are none."""
    try:
        for entry in os.scandir("/dev/drbd/by-res"):
            for link in (entry.path, f"{entry.path}/0"):
                if os.path.basename(os.path.realpath(link)) == name:
                    return entry.name
    except OSError:
        pass
    return name


def _line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
