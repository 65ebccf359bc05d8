"""What a file in a folder is as a volume: its format, sizes and snapshots. Read from headers; nothing is changed.

Where a header does not tell, qemu-img is asked, confined as all that reads bytes of strangers.
"""

from __future__ import annotations

import json
import os
import stat
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from xmcompat.storage import looking
from xmcompat.storage.image_format import Header, recognise
from xmcompat.storage.image_programs import ImageError, own_path, reader, run
from xmcompat.storage.image_source import open_file
from xmcompat.storage.volume import Volume

#: A raw file is a volume from this size on, if it has whole sectors.
SMALLEST = 1 << 20

#: How a disk begins that is encrypted as a whole.
LUKS = b"LUKS\xba\xbe"

_SECTOR = 512

#: Images that may lie beneath one.
_MOST_BENEATH = 64


class Snapshot(NamedTuple):
    """One within an image. ``size`` is that of the memory in it, in bytes."""

    name: str
    size: int


def looked_at(path: str, *, kind: str, pool: str) -> Volume | None:
    """The volume in the file PATH, None where it is none: no regular file, or of a size that no disk has.

    An image that cannot be read is one, with a remark. Links to files are followed, those to devices are not.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        fd = open_file(path)
    except (OSError, ValueError, ImageError):
        return None
    try:
        return _volume(fd, path, kind, pool)
    finally:
        os.close(fd)


def _volume(fd: int, path: str, kind: str, pool: str) -> Volume | None:
    found = os.fstat(fd)
    folder, name = os.path.split(path)
    base = name.rpartition("@")[0]
    common = Volume(
        kind=kind, pool=pool, name=name, path=path, size=None, allocated=found.st_blocks * _SECTOR,
        origin=base if base and os.path.isfile(f"{folder}/{base}") else "", readonly=not found.st_mode & 0o222,
        identity=f"{found.st_dev}:{found.st_ino}",
    )  # fmt: skip
    try:
        header = header_of(fd, path)
    except ImageError as error:
        return common._replace(format="", remark=error.message.removeprefix(f"{path} ").removeprefix(f"{path}: "))
    if header.format == "raw":
        if found.st_size < SMALLEST or found.st_size % _SECTOR:
            return None
        return common._replace(size=found.st_size, thin=found.st_blocks * _SECTOR < found.st_size)
    remark = f"needs {header.outside}" if header.outside else f"lies upon {header.backing}" if header.backing else ""
    return common._replace(format=header.format, size=virtual_size(fd, header), thin=True, remark=remark)


def header_of(fd: int, path: str) -> Header:
    """What ``recognise`` says, but a disk that its guest has encrypted is a raw one. Raises ImageError."""
    return Header(format="raw") if os.pread(fd, len(LUKS), 0) == LUKS else recognise(fd, path)


def node(fd: int, header: Header) -> str:
    """The image FD alone in the words of QEMU; files that it names are not opened."""
    described: dict[str, object] = {"driver": header.format, "file": {"driver": "file", "filename": own_path(fd)}}
    if header.format in ("qcow", "qcow2"):
        described["backing"] = None
    return "json:" + json.dumps(described)


def virtual_size(fd: int, header: Header) -> int | None:
    """The size of the disk that a guest sees, in bytes; None for an image that is not read."""
    if header.format == "raw":
        return os.lseek(fd, 0, os.SEEK_END)
    if header.format in ("qcow", "qcow2"):
        head = os.pread(fd, 32, 0)
        return int(struct.unpack_from(">Q", head, 24)[0]) if len(head) == 32 else None
    with suppress(ImageError, ValueError):
        size = _info(fd, header).get("virtual-size") if not header.outside else None
        return size if isinstance(size, int) else None
    return None


def snapshots(path: str) -> Sequence[Snapshot]:
    """Those within the qcow2 image PATH, in their order; () for other images. Raises ImageError."""
    fd = open_file(path)
    try:
        header = header_of(fd, path)
        if header.format != "qcow2" or not any(os.pread(fd, 4, 60)):
            return ()
        listed = _info(fd, header).get("snapshots")
        return tuple(Snapshot(one["name"], one["vm-state-size"]) for one in listed) if isinstance(listed, list) else ()
    except (ValueError, KeyError, TypeError):
        raise ImageError(f"{path}: its snapshots cannot be listed") from None
    finally:
        os.close(fd)


def overlay_of(volume: Volume) -> str:
    """The path of an image of the same folder that lies upon the file of VOLUME, "" for none."""
    own = os.path.realpath(volume.path)
    paths = (os.path.join(volume.pool, name) for name in sorted(os.listdir(volume.pool)))
    return next((path for path in paths if os.path.isfile(path) and own in _backing(path)), "")


def beneath(path: str) -> tuple[str, ...]:
    """The real paths of the files on which the image at PATH lies, in whatever folders, as far as they can be read; none
    where a server is away on which one of them lies."""
    try:
        return looking.answered(path, lambda: _chain(path))
    except TimeoutError:
        return ()


def _chain(path: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    left = [path]
    while left and len(found) < _MOST_BENEATH:
        fresh = [below for below in _backing(left.pop(0)) if below not in found]
        found |= dict.fromkeys(fresh)
        left += fresh
    return tuple(found)


def _backing(path: str) -> list[str]:
    """The real path of the file upon which the image at PATH lies; none where there is none, or it cannot be told. What is
    no whole path counts from the folder of PATH, and where PATH is a link, from that of the image itself as well."""
    with suppress(ImageError, OSError, ValueError, RecursionError):
        fd = open_file(path)
        try:
            name = _plain(header_of(fd, path).backing)
        finally:
            os.close(fd)
        folders = dict.fromkeys((os.path.dirname(path), os.path.dirname(os.path.realpath(path))))
        return list(dict.fromkeys(os.path.realpath(os.path.join(one, name)) for one in folders)) if name else []
    return []


def _plain(backing: str) -> str:
    """The path of the file that a header names, which may be written as QEMU's JSON; "" for what is no file."""
    if not backing.startswith("json:"):
        return backing.removeprefix("file:")
    described = json.loads(backing.removeprefix("json:"))
    while isinstance(described, dict):
        name = described.get("filename") or described.get("file.filename")
        if isinstance(name, str):
            return name.removeprefix("file:")
        described = described.get("file")
    return ""


def _info(fd: int, header: Header) -> dict[str, object]:
    """What qemu-img tells of the image, which may be in use. Raises ImageError, and ValueError for what is no JSON."""
    words = ["qemu-img", "info", "-U", "--output=json", node(fd, header)]
    said = json.loads(run(words, fds=(fd,), confined=reader(os.fstat(fd).st_uid), deadline=60))
    return said if isinstance(said, dict) else {}
