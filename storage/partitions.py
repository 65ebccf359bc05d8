"""The table of partitions that makes one disk of several volumes. Pure: sizes and numbers in, places and sectors out.

Xen gives a guest volumes as "xvda1" and "xvda2" without a disk around them. Here each is a partition of that number on a
disk whose other sectors, the table and what fills up to whole mebibytes, are made anew at each start. The table is an MBR,
which kernels of every age read, or a GPT where an MBR cannot say it: beyond 2 TiB, numbers above 4 that have gaps, or no
place for the extended partition. A guest sees the extended partition of an MBR as well, under a number that no volume has.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from xmcompat.errors import DeviceError

SECTOR = 512
#: Sectors of a mebibyte: each partition begins at a multiple.
ALIGNMENT = 2048

_PRIMARIES, _ENTRIES, _ENTRY = 4, 128, 128
#: Sectors of the entries of a GPT; its header is one more.
_GPT_ENTRIES = _ENTRIES * _ENTRY // SECTOR
_MBR_SECTORS = 1 << 32
_LINUX, _SWAP, _EXTENDED, _PROTECTIVE = 0x83, 0x82, 0x05, 0xEE
_GPT_LINUX = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
_GPT_SWAP = uuid.UUID("0657fd6d-a4ab-43c4-84e5-0933c4b84f4f")
_FAR = b"\xfe\xff\xff"  # a place on cylinders that says: ask for the sector's number


@dataclass(frozen=True, slots=True)
class Volume:
    """One volume: the number of its partition, and its size in bytes. SWAP: for the type of the partition."""

    number: int
    size: int
    swap: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """Where the volume of partition NUMBER lies: START and LENGTH in bytes, whole sectors."""

    number: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Layout:
    """A disk of SIZE bytes. ``label`` is "mbr" or "gpt"; ``slots`` in the order of the disk, which is that of their
    numbers; ``tables`` are (offset, content). What neither covers is zero."""

    size: int
    label: str
    slots: tuple[Slot, ...]
    tables: tuple[tuple[int, bytes], ...]


def layout(volumes: Sequence[Volume], identity: str) -> Layout:
    """The disk of VOLUMES. IDENTITY is any text; the disk's id, and so each PARTUUID, is the same for the same text.

    What a volume has beyond its last whole sector is no part of the disk, as with Xen. Raises DeviceError for a volume
    without a sector, and for numbers that cannot be.
    """
    ordered = sorted(volumes, key=lambda volume: volume.number)
    _refuse_unfit(ordered)
    slots, end = [], 0
    for volume in ordered:
        start, sectors = _aligned(end + 1), volume.size // SECTOR
        slots.append(Slot(volume.number, start * SECTOR, sectors * SECTOR))
        end = start + sectors
    size = _aligned(end + _GPT_ENTRIES + 1)
    digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).digest()
    swaps = {volume.number for volume in ordered if volume.swap}
    extended = _extended_number([volume.number for volume in ordered])
    if size <= _MBR_SECTORS and extended is not None:
        return Layout(size * SECTOR, "mbr", tuple(slots), _mbr(slots, swaps, extended, digest))
    return Layout(size * SECTOR, "gpt", tuple(slots), _gpt(slots, swaps, size, digest))


def _refuse_unfit(volumes: Sequence[Volume]) -> None:
    for volume in volumes:
        if volume.size < SECTOR:
            raise DeviceError(f"the volume of partition {volume.number} has {volume.size} bytes, which is no sector")
        if not 1 <= volume.number <= _ENTRIES:
            raise DeviceError(f"{volume.number} is no number of a partition")
    for one, other in pairwise(volumes):
        if one.number == other.number:
            raise DeviceError(f"partition {one.number} is given twice")
    if not volumes:
        raise DeviceError("there is no volume to make a disk of")


def _aligned(sector: int) -> int:
    return -(-sector // ALIGNMENT) * ALIGNMENT


def _extended_number(numbers: Sequence[int]) -> int | None:
    """The place for the extended partition, 0 where none is needed; None where an MBR cannot have these numbers."""
    logical = [number for number in numbers if number > _PRIMARIES]
    if not logical:
        return 0
    free = [number for number in range(1, _PRIMARIES + 1) if number not in numbers]
    together = logical == list(range(_PRIMARIES + 1, _PRIMARIES + 1 + len(logical)))
    return free[-1] if free and together else None


# -- MBR


def _entry(kind: int, start: int, sectors: int) -> bytes:
    return struct.pack("<B3sB3sII", 0, _FAR, kind, _FAR, start, sectors)


def _boot_record(entries: dict[int, bytes], disk_id: int = 0) -> bytes:
    """A sector with the ENTRIES at their places (1 to 4)."""
    rows = b"".join(entries.get(place, bytes(16)) for place in range(1, _PRIMARIES + 1))
    return bytes(440) + struct.pack("<I", disk_id) + bytes(2) + rows + b"\x55\xaa"


def _mbr(slots: Sequence[Slot], swaps: set[int], extended: int, digest: bytes) -> tuple[tuple[int, bytes], ...]:
    def entry(slot: Slot, base: int) -> bytes:
        kind = _SWAP if slot.number in swaps else _LINUX
        return _entry(kind, slot.start // SECTOR - base, slot.length // SECTOR)

    entries = {slot.number: entry(slot, 0) for slot in slots if slot.number <= _PRIMARIES}
    logical = [slot for slot in slots if slot.number > _PRIMARIES]
    tables = []
    if logical:
        first, end = _record_of(logical[0]), _end(logical[-1])
        entries[extended] = _entry(_EXTENDED, first, end - first)
        for slot, after in zip(logical, [*logical[1:], None], strict=True):
            here = {1: entry(slot, _record_of(slot))}
            if after is not None:
                here[2] = _entry(_EXTENDED, _record_of(after) - first, _end(after) - _record_of(after))
            tables.append((_record_of(slot) * SECTOR, _boot_record(here)))
    disk_id = int.from_bytes(digest[:4], "little") or 1
    return ((0, _boot_record(entries, disk_id)), *tables)


def _record_of(slot: Slot) -> int:
    """The sector that tells of a logical partition: there is always room before it."""
    return slot.start // SECTOR - 1


def _end(slot: Slot) -> int:
    return (slot.start + slot.length) // SECTOR


# -- GPT


def _gpt(slots: Sequence[Slot], swaps: set[int], size: int, digest: bytes) -> tuple[tuple[int, bytes], ...]:
    entries = bytearray(_ENTRIES * _ENTRY)
    for slot in slots:
        kind = _GPT_SWAP if slot.number in swaps else _GPT_LINUX
        own = _guid(digest + bytes([slot.number]))
        row = struct.pack("<16s16sQQ", kind.bytes_le, own, slot.start // SECTOR, _end(slot) - 1)
        at = (slot.number - 1) * _ENTRY
        entries[at : at + len(row)] = row
    protective = _boot_record({1: _entry(_PROTECTIVE, 1, min(size - 1, _MBR_SECTORS - 1))})
    table, own, last = bytes(entries), _guid(digest), size - 1
    return (
        (0, protective + _header(table, own, here=1, other=last, entries_at=2, size=size) + table),
        ((last - _GPT_ENTRIES) * SECTOR,
         table + _header(table, own, here=last, other=1, entries_at=last - _GPT_ENTRIES, size=size)),
    )  # fmt: skip


def _guid(seed: bytes) -> bytes:
    return uuid.UUID(bytes=hashlib.sha256(seed).digest()[:16], version=4).bytes_le


def _header(table: bytes, own: bytes, *, here: int, other: int, entries_at: int, size: int) -> bytes:
    first, last = 2 + _GPT_ENTRIES, size - 2 - _GPT_ENTRIES

    def packed(checksum: int) -> bytes:
        return struct.pack(
            "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, checksum, 0, here, other, first, last, own, entries_at,
            _ENTRIES, _ENTRY, zlib.crc32(table),
        )  # fmt: skip

    return packed(zlib.crc32(packed(0))).ljust(SECTOR, b"\0")
