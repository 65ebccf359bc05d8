"""What a domain that comes from another host finds here: files for disks that are copied, and bridges by their names."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from xmcompat import programs
from xmcompat.arrivals import Made
from xmcompat.errors import OperationError
from xmcompat.migration.facts import FileKind, Wanted, WantedDisk

if TYPE_CHECKING:
    from xmcompat.backends.machine import Machine


def make(wanted: Wanted, named: Collection[str], note: Callable[[Made], None]) -> None:
    """Make the files that the copied disks of WANTED go to, all of them NAMED in its XML. NOTE is called with each as soon
    as it is there, and again when it is as the domain finds it.

    Raises OperationError for one that is there already, which would be overwritten; what was made stays noted.
    """
    for disk in wanted.disks:
        if not disk.copy:
            continue
        if disk.path not in named or not disk.path.startswith("/"):
            raise OperationError(f"{disk.path}, to which the disk {disk.vdev} would be copied, is no disk of the domain")
        if disk.kind == FileKind.FILE:
            _make(disk, note)
        else:
            _refuse_used(disk)


def _refuse_used(disk: WantedDisk) -> None:
    """Raise OperationError for a device that is not there, or that a file system or another device has."""
    try:
        if not stat.S_ISBLK(os.stat(disk.path).st_mode):
            raise OperationError(f"{disk.path} is no block device; the disk {disk.vdev} cannot be copied to it")
        os.close(os.open(disk.path, os.O_RDWR | os.O_EXCL | os.O_NONBLOCK | os.O_CLOEXEC))
    except FileNotFoundError:
        raise OperationError(f"{disk.path} is not there; the disk {disk.vdev} cannot be copied to it") from None
    except OSError as error:
        why = "it is in use" if error.errno == errno.EBUSY else error.strerror
        raise OperationError(f"the disk {disk.vdev} cannot be copied to {disk.path}: {why}") from None


def _make(disk: WantedDisk, note: Callable[[Made], None]) -> None:
    there = OperationError(
        f"{disk.path} is there already, and would be overwritten by the copy of the disk {disk.vdev}",
        hint="remove it, or move it away",
    )
    if os.path.lexists(disk.path):
        raise there
    if disk.size <= 0:
        raise OperationError(f"the size of the disk {disk.vdev} ({disk.path}) is not known, so that it cannot be copied")
    try:
        with open(disk.path, "xb", opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW, 0o600)) as file:
            note(_made(disk.path))
            if disk.format == "raw":
                file.truncate(disk.size)
    except FileExistsError:
        raise there from None
    except OSError as error:
        raise OperationError(f"the disk {disk.vdev} cannot be copied to {disk.path}: {error.strerror}") from None
    if disk.format != "raw":
        done = programs.run(("qemu-img", "create", "-q", "-f", disk.format, disk.path, str(disk.size)), deadline=120.0)
        if done.status:
            raise OperationError(f"{disk.path} cannot be made: {programs.last_line(done.complaint)}")
    note(_made(disk.path))


def _made(path: str) -> Made:
    found = os.lstat(path)
    return Made(path, found.st_dev, found.st_ino, found.st_mtime_ns)


def remove(made: Sequence[Made], *, sure: bool) -> tuple[str, ...]:
    """The domain does not come: remove the files that were MADE for it. Another file by such a name is left alone.

    Where it is not SURE that the domain has never run here, one that was written to since is left, too: returns the paths
    of those.
    """
    left = []
    for one in made:
        with suppress(OSError):
            now = _made(one.path)
            if now[:3] != one[:3]:
                continue
            if not sure and now.written != one.written:
                left.append(one.path)
            else:
                os.unlink(one.path)
    return tuple(left)


def on_bridges(machine: Machine, aliases: Mapping[str, str], there: Collection[str]) -> Machine:
    """MACHINE with the bridges of this host in the place of those that are not THERE, by ALIASES (old to new)."""
    nics = tuple(
        nic if nic.bridge in there else replace(nic, bridge=aliases.get(nic.bridge, nic.bridge)) for nic in machine.nics
    )
    return replace(machine, nics=nics)


def with_bridges(xml: str, aliases: Mapping[str, str], there: Collection[str]) -> str:
    """The same for its XML."""
    if not any(old in xml for old in aliases):
        return xml
    from xmcompat.backends.kept_xml import root_of, text_of

    root, changed = root_of(xml), False
    for source in root.iterfind("devices/interface/source"):
        name = source.get("bridge") or ""
        if name in aliases and name not in there:
            source.set("bridge", aliases[name])
            changed = True
    return text_of(root) if changed else xml
