"""Partition images to one disk image, and back: byte for byte, in the numbers that the guest knows."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import ExitStack

from xmcompat.storage.image_copy import copy, read_at, size_of
from xmcompat.storage.image_output import draft, refuse_present
from xmcompat.storage.image_programs import ImageError, Progress, quiet
from xmcompat.storage.image_source import opened
from xmcompat.storage.image_table import LINUX, SECTOR, SWAP, Table, laid_out, read_table, written


def numbered(words: Sequence[str]) -> list[tuple[int, str]]:
    """The number and path of each partition: "xvda2=root.img", "2=root.img"; bare paths are numbered from 1 in turn.

    Raises ImageError for a mixture of both, where no number would be sure.
    """
    named = [re.fullmatch(r"(?:[a-z]+[a-z]|)(\d{1,3})=(.+)", word, re.DOTALL) for word in words]
    found = [(int(match[1]), match[2]) for match in named if match]
    if not found:
        return list(enumerate(words, 1))
    if len(found) < len(words):
        bare = next(word for word, match in zip(words, named, strict=True) if not match)
        raise ImageError(f"'{bare}' has no number, and others have", hint=f"write xvda1={bare} or the like")
    return found


def join(parts: Sequence[tuple[int, str]], out: str, *, force: bool = False, progress: Progress = quiet) -> Table:
    """Copy the partition images PARTS (number, path) into one raw disk image with a table, holes kept.

    Raises ImageError for one that is no raw image, is a disk with a table itself, or is no whole number of sectors.
    """
    refuse_present(out, force)
    with ExitStack() as stack:
        sources = [(number, stack.enter_context(opened(path))) for number, path in parts]
        sizes = []
        for number, source in sources:
            size = size_of(source.fd)
            if source.header.format != "raw":
                raise ImageError(
                    f"{source.path} is {source.header.format}",
                    hint=f"'xmcompat image convert {source.path} OUT --format raw' first",
                )
            if size % SECTOR:
                raise ImageError(
                    f"{source.path} is no whole number of sectors of {SECTOR} bytes", hint="truncate -s %512 pads it"
                )
            if read_table(read_at(source.fd), size) is not None:
                raise ImageError(
                    f"{source.path} is a disk with partitions of its own", hint="'xmcompat image split' takes it apart"
                )
            sizes.append((number, size // SECTOR, SWAP if _is_swap(source.fd) else LINUX))
        table = laid_out(sizes)
        starts = {one.number: one.start * SECTOR for one in table.partitions}
        _, fd = stack.enter_context(draft(out, force=force, made_of=[source.fd for _, source in sources]))
        os.ftruncate(fd, table.size * SECTOR)
        for place, data in written(table):
            os.pwrite(fd, data, place)
        total, before = sum(size for _, size, _ in sizes) * SECTOR, 0
        for (number, source), (_, size, _) in zip(sources, sizes, strict=True):
            copy(source.fd, fd, to=starts[number], length=size * SECTOR,
                 progress=lambda done, base=before: progress("copy", (base + done) / total))  # type: ignore[misc]  # fmt: skip
            before += size * SECTOR
    return table


def _is_swap(fd: int) -> bool:
    return os.pread(fd, 10, 4086) in (b"SWAPSPACE2", b"SWAP-SPACE")


def split(
    disk: str, folder: str, *, name: str = "xvda", force: bool = False, progress: Progress = quiet
) -> list[tuple[int, str]]:
    """Copy each partition of the raw disk image DISK into a file of its own, FOLDER/NAME1.img and so on.

    Returns (number, path) of each. Raises ImageError where there is no table, or a partition goes beyond the disk.
    """
    with opened(disk) as source:
        if source.header.format != "raw":
            raise ImageError(
                f"{disk} is {source.header.format}", hint=f"'xmcompat image convert {disk} OUT --format raw' first"
            )
        size = size_of(source.fd)
        table = read_table(read_at(source.fd), size)
        if table is None or not table.partitions:
            raise ImageError(f"{disk} has no partitions", hint="it is an image of one file system, or empty")
        for one in table.partitions:
            if (one.start + one.size) * SECTOR > size:
                raise ImageError(f"{disk}: partition {one.number} goes beyond the end of the disk")
        found = [(one, os.path.join(folder, f"{name}{one.number}.img")) for one in table.partitions]
        for _, path in found:
            refuse_present(path, force)
        total, before = sum(one.size for one, _ in found) * SECTOR, 0
        with ExitStack() as stack:  # the names are given when all are there
            for one, path in found:
                _, fd = stack.enter_context(draft(path, force=force, made_of=[source.fd]))
                os.ftruncate(fd, one.size * SECTOR)
                copy(source.fd, fd, start=one.start * SECTOR, length=one.size * SECTOR,
                     progress=lambda done, base=before: progress("copy", (base + done) / total))  # type: ignore[misc]  # fmt: skip
                before += one.size * SECTOR
    return [(one.number, path) for one, path in found]
