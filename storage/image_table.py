"""Partition tables: what is on a disk, and the bytes that make one. Pure: bytes in, bytes out.

An MBR has the numbers 1 to 4 and sizes below 2 TiB; a GPT has the numbers 1 to 128. Identifiers are made of the numbers
alone, so that the same partitions give the same disk, and the same PARTUUIDs, every time.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xmcompat.storage.image_programs import ImageError

SECTOR = 512

#: Sectors before the first partition, and what beginnings are multiples of: 1 MiB.
ALIGNMENT = 2048

LINUX, SWAP = "linux", "swap"

#: "XEN1": the disk's identity in an MBR.
_DISK_ID = 0x58454E31
_NAMESPACE = uuid.UUID("58454e31-786d-5c6f-8d70-617400000000")
_GUIDS = {
    LINUX: uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4"),
    SWAP: uuid.UUID("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"),
}
_TYPES = {LINUX: 0x83, SWAP: 0x82}
_EXTENDED = (0x05, 0x0F, 0x85)
_PROTECTIVE = 0xEE
_ENTRIES, _ENTRY = 128, 128
_TABLE_SECTORS = _ENTRIES * _ENTRY // SECTOR

#: Reads LENGTH bytes at an offset in bytes.
Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One partition; ``start`` and ``size`` in sectors of 512 bytes. ``type`` "linux", "swap", "0x07" or a GUID."""

    number: int
    start: int
    size: int
    type: str = LINUX
    bootable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of partitions in order of their numbers. ``label`` "dos" or "gpt"; ``size`` of the disk in sectors."""

    label: str
    size: int
    partitions: tuple[Partition, ...]
    disk_id: str = ""


def laid_out(sizes: Sequence[tuple[int, int, str]]) -> Table:
    """A table for partitions (number, size in sectors, type), one after the other, each at a multiple of 1 MiB.

    The first of type linux is marked bootable. Raises ImageError for numbers that are there twice or cannot be.
    """
    numbers = [number for number, _, _ in sizes]
    for number in numbers:
        if not 1 <= number <= _ENTRIES:
            raise ImageError(f"there is no partition number {number}", hint="numbers go from 1 to 128")
        if numbers.count(number) > 1:
            raise ImageError(f"partition number {number} is given twice")
    place = ALIGNMENT
    partitions: list[Partition] = []
    for number, size, kind in sorted(sizes):
        if size <= 0:
            raise ImageError(f"partition {number} would be empty")
        bootable = kind == LINUX and not any(one.bootable for one in partitions)
        partitions.append(Partition(number=number, start=place, size=size, type=kind, bootable=bootable))
        place += -(-size // ALIGNMENT) * ALIGNMENT
    gpt = max(numbers) > 4 or place >= 1 << 32
    size = place + (ALIGNMENT if gpt else 0)
    return Table(label="gpt" if gpt else "dos", size=size, partitions=tuple(partitions))


def written(table: Table) -> list[tuple[int, bytes]]:
    """What is to be written where (offset in bytes) for TABLE."""
    return _written_gpt(table) if table.label == "gpt" else [(0, _mbr(table.partitions, _disk_id(table)))]


def _disk_id(table: Table) -> int:
    return int(table.disk_id, 16) if table.disk_id else _DISK_ID


def _mbr(partitions: Sequence[Partition], disk_id: int) -> bytes:
    sector = bytearray(SECTOR)
    struct.pack_into("<I", sector, 440, disk_id)
    for one in partitions:
        kind = _TYPES[one.type] if one.type in _TYPES else int(one.type, 16)
        flag = 0x80 if one.bootable else 0
        last = one.start + one.size - 1
        struct.pack_into(
            "<B3sB3sII", sector, 446 + 16 * (one.number - 1), flag, _chs(one.start), kind, _chs(last), one.start, one.size
        )
    sector[510:] = b"\x55\xaa"
    return bytes(sector)


def _chs(sector: int) -> bytes:
    """Cylinder, head and sector for 255 heads of 63 sectors; the highest where it is beyond."""
    cylinder, rest = divmod(sector, 255 * 63)
    if cylinder > 1023:
        return b"\xfe\xff\xff"
    return bytes((rest // 63, (rest % 63 + 1) | cylinder >> 2 & 0xC0, cylinder & 0xFF))


def _written_gpt(table: Table) -> list[tuple[int, bytes]]:
    entries = bytearray(_ENTRIES * _ENTRY)
    for one in table.partitions:
        kind = _GUIDS[one.type] if one.type in _GUIDS else uuid.UUID(one.type)
        own = uuid.uuid5(_NAMESPACE, f"partition {one.number}")
        struct.pack_into(
            "<16s16sQQQ72s", entries, (one.number - 1) * _ENTRY, kind.bytes_le, own.bytes_le, one.start,
            one.start + one.size - 1, 4 if one.bootable else 0, f"xvda{one.number}".encode("utf-16-le"),
        )  # fmt: skip
    last = table.size - 1
    protective = Partition(number=1, start=1, size=min(last, 0xFFFFFFFF), type=hex(_PROTECTIVE))
    crc = zlib.crc32(entries)
    disk = uuid.UUID(table.disk_id) if table.disk_id else uuid.uuid5(_NAMESPACE, "disk")
    return [
        (0, _mbr([protective], 0)),
        (SECTOR, _gpt_header(1, last, 2, last, disk, crc) + bytes(entries)),
        ((last - _TABLE_SECTORS) * SECTOR, bytes(entries) + _gpt_header(last, 1, last - _TABLE_SECTORS, last, disk, crc)),
    ]


def _gpt_header(own: int, other: int, entries: int, last: int, disk: uuid.UUID, crc: int) -> bytes:
    def packed(check: int) -> bytes:
        return struct.pack(
            "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, check, 0, own, other, _TABLE_SECTORS + 2,
            last - _TABLE_SECTORS - 1, disk.bytes_le, entries, _ENTRIES, _ENTRY, crc,
        )  # fmt: skip

    return packed(zlib.crc32(packed(0))).ljust(SECTOR, b"\0")


def read_table(read: Read, size: int) -> Table | None:
    """The table of a disk of SIZE bytes; None where there is none. Raises ImageError for one that is damaged."""
    sector = read(0, SECTOR)
    if len(sector) < SECTOR or sector[510:] != b"\x55\xaa":
        return None
    rows = _rows(sector)
    if any(kind == _PROTECTIVE for _, kind, _, _ in rows):
        return _read_gpt(read, size)
    if (
        sector[3:11] in (b"MSDOS5.0", b"mkfs.fat", b"NTFS    ")
        or not rows
        or any(flag not in (0, 0x80) or not start or start >= size // SECTOR for flag, _, start, _ in rows)
    ):
        return None  # the boot sector of a file system
    found = []
    for place in range(4):
        flag, kind, start, length = struct.unpack_from("<B3xB3xII", sector, 446 + 16 * place)
        if kind in _EXTENDED:
            found += _logical(read, start, size)
        elif kind and length:
            found.append(Partition(number=place + 1, start=start, size=length, type=_type(kind), bootable=flag == 0x80))
    return Table(
        label="dos", size=size // SECTOR, partitions=tuple(sorted(found, key=lambda one: one.number)),
        disk_id=f"0x{struct.unpack_from('<I', sector, 440)[0]:08x}",
    )  # fmt: skip


def _rows(sector: bytes) -> list[tuple[int, int, int, int]]:
    rows = [struct.unpack_from("<B3xB3xII", sector, 446 + 16 * place) for place in range(4)]
    return [(flag, kind, start, length) for flag, kind, start, length in rows if kind and length]


def _type(kind: int) -> str:
    return next((name for name, code in _TYPES.items() if code == kind), f"0x{kind:02x}")


def _logical(read: Read, extended: int, size: int) -> list[Partition]:
    """The partitions 5 and on, which are chained."""
    found: list[Partition] = []
    place, seen = extended, set[int]()
    while place not in seen and len(seen) < _ENTRIES and place * SECTOR < size:
        seen.add(place)
        sector = read(place * SECTOR, SECTOR)
        if len(sector) < SECTOR or sector[510:] != b"\x55\xaa":
            break
        (flag, kind, start, length), (_, after, further, _) = (
            struct.unpack_from("<B3xB3xII", sector, 446 + 16 * row) for row in range(2)
        )
        if kind and length:
            found.append(
                Partition(number=5 + len(found), start=place + start, size=length, type=_type(kind), bootable=flag == 0x80)
            )
        if after not in _EXTENDED:
            break
        place = extended + further
    return found


def _read_gpt(read: Read, size: int) -> Table:
    for place in (1, size // SECTOR - 1):
        header = read(place * SECTOR, SECTOR)
        table = _gpt_at(read, header, size) if header[:8] == b"EFI PART" and len(header) == SECTOR else None
        if table is not None:
            return table
    raise ImageError("the GPT is damaged, and so is its copy at the end of the disk", hint="gdisk may repair it")


def _gpt_at(read: Read, header: bytes, size: int) -> Table | None:
    """None where the checksums do not fit."""
    length, check = struct.unpack_from("<I", header, 12)[0], struct.unpack_from("<I", header, 16)[0]
    place, count, width, crc = struct.unpack_from("<QIII", header, 72)
    if not 92 <= length <= SECTOR or not 128 <= width <= 4096 or count > 1024:
        return None
    if zlib.crc32(header[:16] + bytes(4) + header[20:length]) != check:
        return None
    entries = read(place * SECTOR, count * width)
    if len(entries) < count * width or zlib.crc32(entries) != crc:
        return None
    found = []
    for index in range(count):
        kind, _, first, last, flags = struct.unpack_from("<16s16sQQQ", entries, index * width)
        if any(kind):
            if last < first or not first:
                raise ImageError(f"partition {index + 1} of the GPT ends before it begins")
            found.append(
                Partition(number=index + 1, start=first, size=last - first + 1, type=_guid(kind), bootable=bool(flags & 4))
            )
    return Table(label="gpt", size=size // SECTOR, partitions=tuple(found), disk_id=str(uuid.UUID(bytes_le=header[56:72])))


def _guid(kind: bytes) -> str:
    guid = uuid.UUID(bytes_le=kind)
    return next((name for name, known in _GUIDS.items() if known == guid), str(guid))


def resized(read: Read, table: Table, number: int, size: int) -> tuple[int, list[tuple[int, bytes]]]:
    """Partition NUMBER, the last on the disk, with SIZE sectors: the disk's new size in sectors, and what is to be written.

    Everything else in the table stays: boot code, names, identities. Raises ImageError for a logical partition.
    """
    one = next(one for one in table.partitions if one.number == number)
    if table.label == "dos":
        if number > 4:
            raise ImageError(f"partition {number} is a logical one, whose size is not changed here")
        sector = bytearray(read(0, SECTOR))
        struct.pack_into("<I", sector, 446 + 16 * (number - 1) + 12, size)
        return one.start + size, [(0, bytes(sector))]
    disk = -(-(one.start + size) // ALIGNMENT) * ALIGNMENT + ALIGNMENT
    header = read(SECTOR, SECTOR)
    place, count, width = struct.unpack_from("<QII", header, 72)
    if place != 2 or count * width != _TABLE_SECTORS * SECTOR or header[:8] != b"EFI PART":
        raise ImageError("the GPT has an unusual form, and is not changed")
    entries = bytearray(read(2 * SECTOR, count * width))
    struct.pack_into("<Q", entries, (number - 1) * width + 40, one.start + size - 1)
    guid, crc, last = uuid.UUID(bytes_le=header[56:72]), zlib.crc32(entries), disk - 1
    mbr = bytearray(read(0, SECTOR))
    struct.pack_into("<I", mbr, 446 + 12, min(last, 0xFFFFFFFF))
    return disk, [
        (0, bytes(mbr)),
        (SECTOR, _gpt_header(1, last, 2, last, guid, crc) + bytes(entries)),
        ((last - _TABLE_SECTORS) * SECTOR, bytes(entries) + _gpt_header(last, 1, last - _TABLE_SECTORS, last, guid, crc)),
    ]
