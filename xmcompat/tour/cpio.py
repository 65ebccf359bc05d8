"""The archive format of initial RAM disks ("newc" cpio), written without root and without a program. Pure."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from typing import NamedTuple


class Entry(NamedTuple):
    """A folder, a file or a symbolic link of the archive; all belong to root. ``data`` of a link is its target."""

    name: str
    mode: int
    data: bytes = b""


def folder(name: str, permissions: int = 0o755) -> Entry:
    return Entry(name, stat.S_IFDIR | permissions)


def file(name: str, data: bytes, permissions: int = 0o644) -> Entry:
    return Entry(name, stat.S_IFREG | permissions, data)


def link(name: str, target: str) -> Entry:
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def archive(entries: Iterable[Entry]) -> bytes:
    """The whole archive, in the order given: a folder must come before what is in it."""
    parts = [_member(number, entry) for number, entry in enumerate(entries, 1)]
    return _padded(b"".join(parts) + _member(0, Entry("TRAILER!!!", 0)), 512)


def _member(inode: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # inode, mode, uid, gid, links, time, size, 4 device numbers, length of the name, check sum
    numbers = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return _padded(head + name, 4) + _padded(entry.data, 4)


def _padded(data: bytes, unit: int) -> bytes:
    return data + bytes(-len(data) % unit)
