"""What is in an image: its format, partitions, file systems and the guest. Nothing is mounted, nothing is written.

Headers are read here; file systems by blkid and debugfs, which run as nobody (or as the owner of an image that is not
for all to read) without any capability, with bounds on memory and time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from xmcompat.storage.image_convert import virtual_size
from xmcompat.storage.image_copy import read_at, size_of
from xmcompat.storage.image_device import locked_by_qemu
from xmcompat.storage.image_ext import Ext, superblock
from xmcompat.storage.image_programs import ImageError, ImageInUse, Progress, own_path, quiet, reader, run
from xmcompat.storage.image_source import Source, open_file, opened
from xmcompat.storage.image_table import SECTOR, Partition, Table, read_table
from xmcompat.storage.image_view import View, can_view, viewed


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystem:
    """What is at one place of the disk. ``partition`` 0: the whole disk. ``type`` "" where nothing is known."""

    partition: int
    type: str = ""
    label: str = ""
    uuid: str = ""
    journal_dirty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSystem:
    """The guest's operating system, from the ``partition`` that has its /etc."""

    partition: int
    name: str = ""
    hostname: str = ""
    fstab: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All that is told of an image. Sizes in bytes; ``remark`` says what was not looked at, and why."""

    path: str
    format: str
    virtual_size: int
    allocated: int
    in_use: bool
    backing: str = ""
    table: Table | None = None
    file_systems: tuple[FileSystem, ...] = ()
    guest: GuestSystem | None = None
    remark: str = ""


def examine(path: str, *, format: str | None = None, backing_ok: bool = False) -> Contents:
    """Look into the image at PATH. Raises ImageError for one that cannot be read."""
    with opened(path, format=format, backing_ok=backing_ok) as source:
        found = os.fstat(source.fd)
        in_use = locked_by_qemu(source.fd)
        raw = source.header.format == "raw"
        size = size_of(source.fd) if raw else _size(source)
        table: Table | None = None
        systems: tuple[FileSystem, ...] = ()
        system: GuestSystem | None = None
        remark = ""
        if not raw and in_use:
            remark = "a running guest has it open, so that what is in it was not looked at"
        elif not can_view(source):
            remark = "there is no qemu-storage-daemon or /dev/fuse, so that what is in it was not looked at"
        else:
            try:
                with viewed(source) as view:
                    table, systems, system, remark = _within(view, size)
            except ImageInUse as error:
                remark = error.line()
        return Contents(
            path=path, format=source.header.format, virtual_size=size, allocated=found.st_blocks * 512, in_use=in_use,
            backing=source.header.backing, table=table, file_systems=systems, guest=system, remark=remark,
        )  # fmt: skip


def _size(source: Source) -> int:
    """The virtual size, of an image in use as well: a header's size does not change while a guest runs."""
    try:
        return virtual_size(source)
    except ImageInUse:
        words = ["qemu-img", "info", "-U", "--output=json", source.words()]
        return int(
            json.loads(run(words, fds=source.fds, confined=reader(os.fstat(source.fd).st_uid), deadline=60))["virtual-size"]
        )


def _within(view: View, size: int) -> tuple[Table | None, tuple[FileSystem, ...], GuestSystem | None, str]:
    remark = ""
    try:
        table = read_table(read_at(view.fd), size)
    except ImageError as error:
        table, remark = None, error.line()
    places = table.partitions if table else (Partition(number=0, start=0, size=size // SECTOR),)
    systems, system = [], None
    for one in places:
        if (one.start + one.size) * SECTOR > size:
            remark = f"partition {one.number} goes beyond the end of the disk"
            continue
        try:
            systems.append(_file_system(view, one))
            system = system or _guest(view, one)
        except ImageError as error:
            remark = f"partition {one.number} cannot be read: {error.line()}" if one.number else error.line()
    return table, tuple(systems), system, remark


def _file_system(view: View, one: Partition) -> FileSystem:
    words = ["blkid", "-p", "-o", "export", "-O", str(one.start * SECTOR), "-S", str(one.size * SECTOR), own_path(view.fd)]
    said = run(words, fds=(view.fd,), confined=reader(view.user), statuses=(0, 2, 8), deadline=60)
    facts = {key: value.replace("\\ ", " ") for key, _, value in (line.partition("=") for line in said.splitlines())}
    ext = superblock(view.fd, one.start * SECTOR)
    return FileSystem(
        partition=one.number, type=facts.get("TYPE", ""), label=facts.get("LABEL", ""), uuid=facts.get("UUID", ""),
        journal_dirty=bool(ext and ext.needs_recovery),
    )  # fmt: skip


def _guest(view: View, one: Partition) -> GuestSystem | None:
    if superblock(view.fd, one.start * SECTOR) is None:
        return None
    ext = Ext(view=view, offset=one.start * SECTOR)
    if ext.real("/etc") is None:
        return None
    names = _lines(ext.read("/etc/hostname"))
    return GuestSystem(
        partition=one.number, name=_system_name(ext), hostname=names[0] if names else "",
        fstab=tuple(_lines(ext.read("/etc/fstab"))),
    )  # fmt: skip


def _system_name(ext: Ext) -> str:
    text = "\n".join(_lines(ext.read("/etc/os-release")))
    found = re.search(r"""(?m)^PRETTY_NAME=["']?(.*?)["']?$""", text) or re.search(r"(?m)^ID=(.*)$", text)
    if found:
        return found[1]
    for path, prefix in (("/etc/redhat-release", ""), ("/etc/debian_version", "Debian ")):
        lines = _lines(ext.read(path))
        if lines:
            return prefix + lines[0]
    return ""


def _lines(data: bytes | None) -> list[str]:
    """Lines that say something, without comments."""
    text = (data or b"").decode("utf-8", "replace")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def checksum(path: str, *, progress: Progress = quiet) -> str:
    """The SHA-256 of the file at PATH in hexadecimal digits."""
    fd = open_file(path)
    try:
        digest, size, done = hashlib.sha256(), size_of(fd), 0
        for piece in _pieces(fd):
            digest.update(piece)
            done += len(piece)
            progress("sha256", done / size if size else 1.0)
        return digest.hexdigest()
    finally:
        os.close(fd)


def _pieces(fd: int) -> Iterator[bytes]:
    os.lseek(fd, 0, os.SEEK_SET)
    while piece := os.read(fd, 4 << 20):
        yield piece
