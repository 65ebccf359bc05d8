"""The file systems of a guest's volume, as its boot loader would see them. The volume is never changed.

A journal that is not empty, for the guest has not shut down, is replayed into a layer over the volume that goes away.
Where this host has no FUSE for that, it is left, as Xen's own loaders left it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from xmcompat.storage.guest_boot_files import Files, can_read, grub_files
from xmcompat.storage.image_copy import read_at, size_of
from xmcompat.storage.image_ext import Ext, superblock
from xmcompat.storage.image_programs import Confinement, own_path, reader, run
from xmcompat.storage.image_source import Source, opened
from xmcompat.storage.image_table import SECTOR, Partition, Table, read_table
from xmcompat.storage.image_view import View, can_layer, layered, viewed


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One of the guest's disks: the real path of a file or block device, its format in QEMU's words, and Xen's name."""

    path: str
    format: str
    vdev: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """``number`` 0: the whole volume. ``files`` None where it is no file system that is read here: then ``what`` it is."""

    number: int
    files: Files | None
    what: str = ""


@contextmanager
def parts(volume: Volume) -> Iterator[list[Part]]:
    """What is on VOLUME, in the order in which a boot loader looks: the active partition first.

    Raises ImageError for a volume that cannot be opened or has a damaged table.
    """
    with ExitStack() as stack:
        source = stack.enter_context(opened(volume.path, format=volume.format, backing_ok=True))
        view = stack.enter_context(viewed(source))
        size = size_of(view.fd)
        table = read_table(read_at(view.fd), size)
        label = {"dos": "msdos", "gpt": "gpt"}[table.label] if table else ""
        yield [
            stack.enter_context(_replayed(source, size, one)) if _is_dirty(view, one) and can_layer()
            else _part(view, one, label) for one in _places(table, size)
        ]  # fmt: skip


@contextmanager
def _replayed(source: Source, size: int, one: Partition) -> Iterator[Part]:
    """The partition by itself, for e2fsck loses the offset of one within a disk when it has replayed the journal."""
    with layered(source, size, start=one.start * SECTOR, length=one.size * SECTOR) as view:
        words = ["e2fsck", "-p", "-E", "journal_only", own_path(view.fd)]
        confined = Confinement(user=view.user, memory=1 << 30, fenced=True)
        run(words, fds=(view.fd,), confined=confined, statuses=(0, 1), deadline=300)
        yield Part(number=one.number, files=Ext(view=view))


def _places(table: Table | None, size: int) -> list[Partition]:
    if table is None:
        return [Partition(number=0, start=0, size=size // SECTOR)]
    found = [one for one in table.partitions if one.size and (one.start + one.size) * SECTOR <= size]
    return sorted(found, key=lambda one: not one.bootable) if table.label == "dos" else found


def _is_dirty(view: View, one: Partition) -> bool:
    facts = superblock(view.fd, one.start * SECTOR)
    return facts is not None and facts.needs_recovery


def _part(view: View, one: Partition, label: str) -> Part:
    """LABEL is what GRUB calls the table, "" where there is none."""
    offset = one.start * SECTOR
    if superblock(view.fd, offset) is not None:
        return Part(number=one.number, files=Ext(view=view, offset=offset))
    words = ["blkid", "-p", "-o", "value", "-s", "TYPE", "-O", str(offset), "-S", str(one.size * SECTOR), own_path(view.fd)]
    said = run(words, fds=(view.fd,), confined=reader(view.user), statuses=(0, 2, 8), deadline=60).strip()
    if not can_read(said):
        return Part(number=one.number, files=None, what=said)
    root = f"loop0,{label}{one.number}" if label else "loop0"
    return Part(number=one.number, files=grub_files(view, root), what=said)
