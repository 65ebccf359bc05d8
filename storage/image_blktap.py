"""The first qcow as some versions of Xen's blktap wrote it: its first table is in the processor's order of bytes.

QEMU opens such an image without complaint, and reads other bytes than the guest wrote.
Source: the layout of the header, blktap's qcow.c; that of the image itself, QEMU's docs/interop (qcow of version 1).
"""

from __future__ import annotations

import array
import os
import struct
import tempfile

#: The mark of the extended header at byte 48, and at byte 60 flags, one of which says that the table is as QEMU reads it.
_MARK, _FLAGS, _BIG_ENDIAN = b"XEN\xfb", 60, 2
_CHUNK = 1 << 20
#: In entries, for the largest disk that xend would take.
_LONGEST_TABLE = 1 << 24


def is_little_endian(head: bytes) -> bool:
    """Whether the first 64 bytes of a qcow of version 1 say that its table is in blktap's own order of bytes."""
    return head[48:52] == _MARK and len(head) >= 64 and not struct.unpack_from(">I", head, _FLAGS)[0] & _BIG_ENDIAN


def mended(fd: int) -> int:
    """An unnamed copy of the image FD, with holes, whose table QEMU reads; the caller closes it. Raises OSError, and
    ValueError for a damaged header."""
    head = bytearray(os.pread(fd, 64, 0))
    size, cluster_bits, table_bits = struct.unpack_from(">QBB", head, 24)
    (place,) = struct.unpack_from(">Q", head, 40)
    covered = 1 << (cluster_bits + table_bits)
    entries = -(-size // covered)
    if not 9 <= cluster_bits <= 21 or table_bits > 21 or entries > _LONGEST_TABLE:
        raise ValueError("damaged")
    table = array.array("Q", os.pread(fd, 8 * entries, place).ljust(8 * entries, b"\0"))
    table.byteswap()
    (flags,) = struct.unpack_from(">I", head, _FLAGS)
    struct.pack_into(">I", head, _FLAGS, flags | _BIG_ENDIAN)
    with tempfile.TemporaryFile(dir="/var/tmp") as copy:
        out = copy.fileno()
        found = os.fstat(fd)
        os.fchown(out, found.st_uid, found.st_gid)
        os.fchmod(out, found.st_mode & 0o444)
        _copy(fd, out)
        os.pwrite(out, table.tobytes(), place)
        os.pwrite(out, head, 0)
        return os.dup(out)


def _copy(fd: int, out: int) -> None:
    end = os.lseek(fd, 0, os.SEEK_END)
    os.ftruncate(out, end)
    place = 0
    while place < end:
        try:
            place = os.lseek(fd, place, os.SEEK_DATA)
        except OSError:
            return  # only a hole is left
        hole = os.lseek(fd, place, os.SEEK_HOLE)
        while place < hole:
            data = os.pread(fd, min(_CHUNK, hole - place), place)
            if not data:
                return
            os.pwrite(out, data, place)
            place += len(data)
