"""Grows, shrinks and thins out images: a copy, which takes the image's name once it has been checked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from xmcompat.storage.image_build import folder_beside
from xmcompat.storage.image_convert import write_converted
from xmcompat.storage.image_copy import copy, read_at, size_of
from xmcompat.storage.image_device import held, refuse_in_use
from xmcompat.storage.image_ext import Super, superblock
from xmcompat.storage.image_output import draft, is_block_device, refuse_links
from xmcompat.storage.image_programs import (
    Confinement,
    ImageError,
    ProgramFailed,
    Progress,
    own_path,
    quiet,
    require,
    run,
)
from xmcompat.storage.image_source import Source, opened
from xmcompat.storage.image_table import SECTOR, Partition, Table, read_table, resized

#: Bytes of memory that e2fsck and resize2fs may take, besides what grows with the disk: a few bits for each block.
_MEMORY = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Of the disk, in bytes: before and after; for ``sparsify``, what the file takes."""

    before: int
    after: int


def resize(path: str, size: int | None, *, grow: bool, progress: Progress = quiet) -> Sizes:
    """Give the disk SIZE bytes, and its file system (that of the last partition) what it can have of them.

    SIZE None: as small as the file system can be. Raises ImageError for another file system than ext2, ext3 and ext4, for
    a size in the wrong direction, and ImageInUse.
    """
    require("resize2fs")
    with _copied(path, progress) as (_, raw, save):
        before = size_of(raw)
        if size is not None:
            _refuse_size(path, before, size, grow)
        table = read_table(read_at(raw), before)
        if table is None:
            _resize_whole(path, raw, size, progress)
        else:
            _resize_last(path, raw, table, size, progress)
        after = size_of(raw)
        if not grow and after > before:
            raise ImageError(f"{path} cannot be smaller than it is")
        save()
    return Sizes(before=before, after=after)


def sparsify(path: str, *, progress: Progress = quiet) -> Sizes:
    """Make holes of what file systems of the ext family do not use, and of zeros. Contents stay as they are."""
    require("e2fsck")
    with _copied(path, progress) as (source, raw, save):
        before = os.fstat(source.fd).st_blocks * 512
        table = read_table(read_at(raw), size_of(raw))
        for offset in [one.start * SECTOR for one in table.partitions] if table else [0]:
            if superblock(raw, offset):
                _fsck(path, raw, offset, "-E", "discard")
        run(["fallocate", "--dig-holes", own_path(raw)], fds=(raw,))
        save()
    return Sizes(before=before, after=os.stat(path).st_blocks * 512)


@contextmanager
def _copied(path: str, progress: Progress) -> Iterator[tuple[Source, int, Save]]:
    """The image, a raw copy of its disk, and what makes the copy the image."""
    if is_block_device(path):
        raise ImageError(
            f"{path} is a block device; this is for images in files", hint="use 'xmcompat storage' or lvresize"
        )
    with ExitStack() as stack:
        source = stack.enter_context(opened(path))
        refuse_links(path, source.fd)
        raw_format = source.header.format == "raw"
        if raw_format:
            stack.enter_context(held(path, source.fd))
        else:
            refuse_in_use(path, source.fd)
        _, fd = stack.enter_context(draft(path, force=True, like=source.fd))
        if raw_format:
            os.ftruncate(fd, size_of(source.fd))
            total = size_of(source.fd)
            copy(source.fd, fd, progress=lambda done: progress("copy", done / total if total else 1.0))
            yield source, fd, Save()
            return
        place = stack.enter_context(folder_beside(os.path.dirname(os.path.abspath(path)), path)) + "/raw"
        raw = os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, raw)
        write_converted(source, raw, "raw", progress)
        if os.geteuid() == 0:
            os.fchown(raw, 0, 0)
        yield source, raw, Save(place, fd, source.header.format, progress)


@dataclass(frozen=True, slots=True)
class Save:
    """Writes the raw copy into the draft in the image's format; nothing is left to do where that is raw."""

    raw: str = ""
    fd: int = -1
    format: str = "raw"
    progress: Progress = quiet

    def __call__(self) -> None:
        if self.raw:
            with opened(self.raw, format="raw") as made:
                write_converted(made, self.fd, self.format, self.progress)


def _refuse_size(path: str, before: int, size: int, grow: bool) -> None:
    if size % SECTOR:
        raise ImageError(
            f"{size} bytes are no whole number of sectors of {SECTOR} bytes", hint="write the size in MiB: 512M"
        )
    if grow and size <= before:
        raise ImageError(f"{path} has {before} bytes already", hint="'shrink' makes it smaller")
    if not grow and size >= before:
        raise ImageError(f"{path} has only {before} bytes", hint="'grow' makes it larger")


def _ext(path: str, fd: int, offset: int) -> Super:
    facts = superblock(fd, offset)
    if facts is None:
        raise ImageError(f"{path}: no ext2, ext3 or ext4 file system, whose size could be changed", hint="see 'image show'")
    return facts


def _fsck(path: str, fd: int, offset: int, *more: str) -> None:
    where = f"{own_path(fd)}?offset={offset}" if offset else own_path(fd)
    try:
        run(["e2fsck", "-f", "-p", *more, where], fds=(fd,), confined=_within(size_of(fd)), statuses=(0, 1))
    except ProgramFailed as error:
        raise ImageError(
            f"{path}: the file system has errors: {error.said or 'e2fsck gives up'}", hint="e2fsck -f repairs it"
        ) from None


def _within(size: int) -> Confinement:
    """For what changes a file system on a disk of SIZE bytes: it may say that it is larger, and is not to fill the host."""
    return Confinement(write=size, memory=_MEMORY + size // 4096, fenced=True)


def _resize_whole(path: str, fd: int, size: int | None, progress: Progress) -> None:
    """The file system fills FD."""
    _ext(path, fd, 0)
    _fsck(path, fd, 0)
    progress("resize", 0.0)
    if size is not None and size > size_of(fd):
        os.ftruncate(fd, size)
    target = ["-M"] if size is None else []
    try:
        words = ["resize2fs", *target, own_path(fd), *([f"{size // 1024}k"] if size is not None else [])]
        run(words, fds=(fd,), confined=_within(size_of(fd)))
    except ProgramFailed as error:
        raise ImageError(f"{path} cannot get that size: {error.said}", hint="free some space in the guest") from None
    os.ftruncate(fd, _ext(path, fd, 0).size if size is None else size)
    _fsck(path, fd, 0)
    progress("resize", 1.0)


def _resize_last(path: str, fd: int, table: Table, size: int | None, progress: Progress) -> None:
    """The last partition is taken out, gets its size, and is put back: resize2fs would cut the disk off behind it."""
    last = max(table.partitions, key=lambda one: one.start)
    _ext(path, fd, last.start * SECTOR)
    resized(read_at(fd), table, last.number, last.size)  # refuses before any work
    with folder_beside(os.path.dirname(os.path.abspath(path)), path + ".p") as folder:
        part = os.open(f"{folder}/part", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(part, last.size * SECTOR)
            copy(fd, part, start=last.start * SECTOR, length=last.size * SECTOR)
            _resize_whole(path, part, None if size is None else _room(path, table, last, size), progress)
            sectors = -(-size_of(part) // SECTOR)
            disk, patches = resized(read_at(fd), table, last.number, sectors)
            os.ftruncate(fd, last.start * SECTOR)
            os.ftruncate(fd, (disk if size is None else max(disk, size // SECTOR)) * SECTOR)
            copy(part, fd, to=last.start * SECTOR)
            for place, data in patches:
                os.pwrite(fd, data, place)
        finally:
            os.close(part)


def _room(path: str, table: Table, last: Partition, size: int) -> int:
    """Bytes for the last partition of a disk of SIZE bytes; whole MiB before the copy of a GPT."""
    tail = 2048 if table.label == "gpt" else 0
    sectors = (size // SECTOR - tail) // 2048 * 2048 - last.start if tail else size // SECTOR - last.start
    if sectors <= 0:
        raise ImageError(f"{path}: its last partition begins beyond {size} bytes")
    return sectors * SECTOR
