"""Which format an image is in, told from its first bytes. Pure but for the reading of them; no program guesses.

A guest can write any header into a raw disk. What is recognised here is then opened as just that format, and other files
that it names (a backing file, extents, a data file) are never opened unless they were allowed.
"""

from __future__ import annotations

import os
import re
import struct
from typing import NamedTuple

from xmcompat.storage.image_programs import ImageError

#: The formats that are read and written, in QEMU's words. "vhd" is "vpc".
FORMATS = ("raw", "qcow2", "qcow", "vpc", "vmdk", "vdi")

_ALIASES = {"vhd": "vpc", "img": "raw"}

_BACKING_FORMAT = 0xE2792ACA
_DATA_FILE = 1 << 2
_LUKS = b"LUKS\xba\xbe"

#: Beginnings of files that are images, but of no format of these.
_FOREIGN = {b"vhdxfile": "vhdx", b"QED\0": "qed", b"WithoutFreeSpace": "parallels", b"WithouFreSpacExt": "parallels",
            _LUKS: "luks", b"COWD": "vmdk of version 3", b"# Disk DescriptorFile": "vmdk descriptor"}  # fmt: skip


class Header(NamedTuple):
    """What the first bytes say. ``backing`` is the file that the image lies upon, ``backing_format`` "" where unsaid.

    ``outside`` says which other file the image needs, in words; "" for none.
    """

    format: str
    backing: str = ""
    backing_format: str = ""
    outside: str = ""


def format_named(text: str) -> str:
    """The format that TEXT names. Raises ImageError for one that is not of FORMATS."""
    name = _ALIASES.get(text.lower(), text.lower())
    if name not in FORMATS:
        raise ImageError(f"'{text}' is no format of images here", hint=f"use {', '.join(FORMATS)}")
    return name


def recognise(fd: int, name: str) -> Header:
    """The format of the open file FD, called NAME in errors. What has no known header is raw.

    Raises ImageError for a header that is damaged, or of a format that is not of FORMATS.
    """
    head = os.pread(fd, 65536, 0)
    for magic, foreign in _FOREIGN.items():
        if head.startswith(magic):
            raise ImageError(
                f"{name} is an image of the format {foreign}, which is not read", hint="convert it where it is from"
            )
    try:
        return _header(fd, head)
    except (struct.error, UnicodeDecodeError, OverflowError, OSError):
        raise ImageError(f"{name}: the header is damaged") from None


def _header(fd: int, head: bytes) -> Header:
    if head.startswith(b"QFI\xfb"):
        return _qcow(fd, head)
    if head.startswith(b"KDMV"):
        return _vmdk(fd, head)
    if head[64:68] == b"\x7f\x10\xda\xbe":
        kind = struct.unpack_from("<I", head, 76)[0]
        return Header(format="vdi", outside="the image that it is the difference to" if kind == 4 else "")
    size = os.lseek(fd, 0, os.SEEK_END)
    if head.startswith(b"conectix"):
        return _vpc(head)
    if size >= 512 and os.pread(fd, 8, size - 512) == b"conectix":
        return _vpc(os.pread(fd, 512, size - 512))
    return Header(format="raw")


def _vpc(footer: bytes) -> Header:
    kind = struct.unpack_from(">I", footer, 60)[0]
    return Header(format="vpc", outside="the image that it is the difference to" if kind == 4 else "")


def _qcow(fd: int, head: bytes) -> Header:
    version, offset, size = struct.unpack_from(">IQI", head, 4)
    backing = os.pread(fd, min(size, 4096), offset).decode("utf-8", "surrogateescape") if offset and size else ""
    if version == 1:
        return Header(format="qcow", backing=backing)
    features = struct.unpack_from(">Q", head, 72)[0] if version >= 3 else 0
    length = struct.unpack_from(">I", head, 100)[0] if version >= 3 else 72
    outside = "a data file of its own" if features & _DATA_FILE else ""
    return Header(format="qcow2", backing=backing, backing_format=_backing_format(head, length), outside=outside)


def _backing_format(head: bytes, place: int) -> str:
    while place + 8 <= len(head):
        kind, length = struct.unpack_from(">II", head, place)
        if kind == _BACKING_FORMAT:
            return head[place + 8 : place + 8 + length].decode("ascii")
        if not kind:
            break
        place += 8 + (length + 7) // 8 * 8
    return ""


def _vmdk(fd: int, head: bytes) -> Header:
    """A sparse extent with its descriptor within. One without room of its own only points to others."""
    capacity, _grain, place, sectors = struct.unpack_from("<QQQQ", head, 12)
    text = os.pread(fd, min(sectors * 512, 1 << 20), place * 512) if place else b""
    if b"parentFileNameHint" in text:
        return Header(format="vmdk", outside="the image that it is the difference to")
    extents = re.findall(rb'(?m)^RW\s+\d+\s+(\w+)\s+"', text)
    pointing = not capacity or len(extents) > 1 or any(kind not in (b"SPARSE",) for kind in extents)
    return Header(format="vmdk", outside="extents in other files" if pointing else "")
