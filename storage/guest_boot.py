"""Takes kernel and RAM disk out of a guest's file system, as Xen's pygrub, pv-grub and domUloader did, at every start.

The guest's bytes are read by debugfs, or by GRUB's readers where they are no ext file system. Such a program runs as nobody
(or as the volume's owner where it is not for all to read), without capabilities, with bounds on memory, time and what it
may write. The files go into a folder of root's, one for each guest, that QEMU's group may read.
"""

from __future__ import annotations

import grp
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from xmcompat.storage.boot_sector import SECTOR, can_start
from xmcompat.storage.guest_boot_disk import Part, Volume, parts
from xmcompat.storage.guest_boot_files import KINDS, PROGRAM, Files
from xmcompat.storage.guest_boot_menu import PLACES, Entry, Menu, read_menu
from xmcompat.storage.image_copy import read_at
from xmcompat.storage.image_programs import PACKAGES, ImageError, require
from xmcompat.storage.image_source import opened
from xmcompat.storage.image_view import can_view, viewed

__all__ = ["Taken", "Volume", "Wish", "drop", "starts_by_itself", "take"]

KERNEL, RAMDISK = "kernel", "ramdisk"

#: Bytes of each at most; the largest that distributions build are a quarter of that.
_LIMITS = {KERNEL: 64 << 20, RAMDISK: 512 << 20}

#: More RAM disks are in no honest entry, and seconds after which no more entries are tried: a guest writes its menu itself,
#: and must not keep this host busy with it.
_MOST_RAMDISKS, _PATIENCE = 16, 60.0

#: As much of a kernel as tells what it is.
_HEAD = 64 * 1024

#: Names of files that are handed to debugfs; no honest menu has others.
_NAME = re.compile(r"/?[\w./@+:~%=,-]{1,1000}", re.ASCII)

#: The groups that QEMU runs in.
_GROUPS = ("libvirt-qemu", "qemu")

_HINT = "copy kernel and ramdisk to this host and name them with kernel= and ramdisk="

#: Why a kernel cannot start here, "" for one that can: of its first bytes, its path, and what reads a file beside it.
Judge = Callable[[bytes, str, Callable[[str], bytes | None]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be taken: the files named (``kernel``, ``ramdisk``), or what ``entry`` of a menu says, "" for its default.

    ``config`` is the file of the menu, "" for the first that is there; ``partition`` 0 is the first that has one.
    """

    partition: int = 0
    config: str = ""
    entry: str = ""
    kernel: str = ""
    ramdisk: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """``kernel`` and ``ramdisk`` (or "") are paths on this host, ``args`` what the menu hands to the kernel. ``source``
    says where it is from: "/boot/vmlinuz-6.1 of xvda2". ``remark``: why it is not what the menu would start, or ""."""

    kernel: str
    ramdisk: str = ""
    args: str = ""
    source: str = ""
    remark: str = ""


def take(volume: Volume, wish: Wish, folder: str, judge: Judge) -> Taken:
    """Copy what WISH says out of VOLUME into FOLDER, in place of what is there. The volume stays as it is.

    Where the default of a menu cannot start on KVM, the first entry that can is taken. Raises ImageError.
    """
    require("debugfs")
    with parts(volume) as found:
        usable = [part for part in found if part.files is not None and part.number in (0, wish.partition or part.number)]
        if not usable:
            raise _nothing(volume, found, wish)
        if wish.kernel:
            part = next((part for part in usable if part.files and part.files.real(_safe(wish.kernel))), None)
            if part is None:
                raise ImageError(f"{volume.vdev} has no file {wish.kernel}", hint=_HINT)
            entry = Entry(kernel=wish.kernel, ramdisks=(wish.ramdisk,) if wish.ramdisk else ())
            return _first(volume, part, [entry], folder, judge)
        part, place, menu = _menu(volume, usable, wish)
        return _first(volume, part, _candidates(volume, place, menu, wish), folder, judge)


def starts_by_itself(volume: Volume) -> bool:
    """Whether a BIOS finds a program in the boot sector of VOLUME; also where its format hides it from this host."""
    with opened(volume.path, format=volume.format, backing_ok=True) as source:
        if not can_view(source):
            return True
        with viewed(source) as view:
            return can_start(read_at(view.fd)(0, SECTOR))


def drop(folder: str) -> None:
    """Remove FOLDER with what was taken. Silent where it is not there."""
    shutil.rmtree(folder, ignore_errors=True)


def _menu(volume: Volume, usable: Sequence[Part], wish: Wish) -> tuple[Part, str, Menu]:
    remark = ""
    for part in usable:
        assert part.files is not None
        for place in (wish.config,) if wish.config else PLACES:
            data = part.files.read(_safe(place))
            menu = Menu() if data is None else read_menu(place, data.decode("utf-8", "surrogateescape"))
            if menu.entries:
                return part, place, menu
            if data is not None:
                why = f": {menu.remark}" if menu.remark else ""
                remark = remark or f"the boot menu {place} of {_named(volume, part)} has no entries{why}"
    if remark:
        raise ImageError(remark, hint=_HINT)
    where = wish.config or f"none of {', '.join(PLACES[:2])}, {PLACES[4]} and the like"
    raise ImageError(f"{volume.vdev} has no boot menu ({where})", hint=_HINT)


def _candidates(volume: Volume, place: str, menu: Menu, wish: Wish) -> list[Entry]:
    chosen = menu.chosen(wish.entry)
    if chosen is None:
        raise ImageError(f"the boot menu {place} of {volume.vdev} has no entry '{wish.entry}'",
                         hint=f"it has 0 to {len(menu.entries) - 1}")  # fmt: skip
    return [chosen] if wish.entry else [chosen, *(one for one in menu.entries if one is not chosen)]


def _first(volume: Volume, part: Part, entries: Sequence[Entry], folder: str, judge: Judge) -> Taken:
    """The first of ENTRIES that can start, in FOLDER."""
    assert part.files is not None
    reasons: list[str] = []
    until = time.monotonic() + _PATIENCE
    fresh = _fresh(folder)
    try:
        for entry in entries:
            if reasons and time.monotonic() > until:
                late = f"took longer than {_PATIENCE:.0f} s: {reasons[0]}"
                raise ImageError(f"the boot menu of {_named(volume, part)} {late}", hint=_HINT)
            reason = _try(part.files, entry, fresh, judge)
            if not reason:
                _put_in_place(fresh, folder)
                return Taken(
                    kernel=f"{folder}/{KERNEL}", ramdisk=f"{folder}/{RAMDISK}" if entry.ramdisks else "", args=entry.args,
                    source=f"{entry.kernel} of {_named(volume, part)}", remark=reasons[0] if reasons else "",
                )  # fmt: skip
            reasons.append(f"'{entry.title}': {reason}" if entry.title else reason)
    finally:
        drop(fresh)
    more = f" ({len(reasons) - 1} more are no better)" if len(reasons) > 1 else ""
    raise ImageError(f"{_named(volume, part)} has no kernel that can start on KVM: {reasons[0]}{more}", hint=_HINT)


def _try(files: Files, entry: Entry, fresh: str, judge: Judge) -> str:
    """Copy what ENTRY names into FRESH; returns why it cannot start, "" where it can."""
    if not entry.usable:
        return "it starts Xen itself" if entry.multiboot else "it names no kernel"
    if len(entry.ramdisks) > _MOST_RAMDISKS:
        return f"it names {len(entry.ramdisks)} RAM disks"
    try:
        _copy(files, [entry.kernel], fresh, KERNEL)
        with open(f"{fresh}/{KERNEL}", "rb") as file:
            reason = judge(file.read(_HEAD), entry.kernel, lambda path: files.read(_safe(path)))
        if not reason and entry.ramdisks:
            _copy(files, entry.ramdisks, fresh, RAMDISK)
    except ImageError as error:
        if error.hint == "free some space":
            raise
        return error.message
    return reason


def _copy(files: Files, paths: Sequence[str], fresh: str, name: str) -> None:
    """PATHS as one file NAME, each beginning at a multiple of four bytes, as a kernel reads several RAM disks."""
    fd = os.open(f"{fresh}/{name}", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        left = _LIMITS[name]
        for path in paths:
            left -= files.copy(_safe(path), fd, left)
            os.lseek(fd, -(-os.lseek(fd, 0, os.SEEK_END) // 4) * 4, os.SEEK_SET)
    finally:
        os.close(fd)


def _safe(path: str) -> str:
    if not _NAME.fullmatch(path):
        raise ImageError(f"the menu names a file {path[:60]!r}, and such names are not read")
    return "/" + path.lstrip("/")


def _fresh(folder: str) -> str:
    """A folder beside FOLDER for what is being taken. What a killed process left there goes first."""
    fresh = f"{os.path.dirname(folder)}/.{os.path.basename(folder)}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(folder), mode=0o711, exist_ok=True)
        drop(fresh)
        os.mkdir(fresh, 0o700)
    except OSError as error:
        raise ImageError(f"{error.filename or fresh}: {error.strerror}") from None
    return fresh


def _put_in_place(fresh: str, folder: str) -> None:
    """What is in FRESH to FOLDER, for root and QEMU's group."""
    group = next(_groups(), None)
    try:
        os.makedirs(folder, mode=0o711, exist_ok=True)
        for name in (KERNEL, RAMDISK):
            place = f"{fresh}/{name}"
            if not os.path.exists(place):
                with suppress(FileNotFoundError):
                    os.unlink(f"{folder}/{name}")
                continue
            if group is not None and os.geteuid() == 0:
                os.chown(place, 0, group)
                os.chmod(place, 0o640)
            os.replace(place, f"{folder}/{name}")
    except OSError as error:
        raise ImageError(f"{error.filename or folder}: {error.strerror}") from None


def _groups() -> Iterator[int]:
    for name in _GROUPS:
        with suppress(KeyError):
            yield grp.getgrnam(name).gr_gid


def _named(volume: Volume, part: Part) -> str:
    return f"{volume.vdev}, partition {part.number}" if part.number else volume.vdev


def _nothing(volume: Volume, found: Sequence[Part], wish: Wish) -> ImageError:
    """Why there is no file system to read."""
    if wish.partition and all(part.number not in (0, wish.partition) for part in found):
        return ImageError(f"{volume.vdev} has no partition {wish.partition}", hint=_HINT)
    unread = [part for part in found if part.what and not part.files]
    told = ": " + "; ".join(f"{_named(volume, part)} is {part.what}" for part in unread[:4]) if unread else ""
    readable = any(part.what in KINDS for part in unread)
    hint = f"install the package {PACKAGES[PROGRAM]}, or {_HINT}" if readable else _HINT
    return ImageError(f"{volume.vdev} has no file system that is read here (ext2, ext3 or ext4){told}", hint=hint)
