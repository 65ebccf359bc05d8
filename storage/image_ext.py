"""The ext2, ext3 and ext4 file systems of an image, read and changed by debugfs. The host's kernel mounts nothing.

Why debugfs: it is in e2fsprogs, which every host has, needs neither root nor a kernel module, and answers in 10 ms.
libguestfs reads more file systems, but brings 800 MiB with it and takes 20 s for each start where KVM does not work.
"""

from __future__ import annotations

import os
import posixpath
import re
import struct
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from xmcompat.storage.image_copy import read_at
from xmcompat.storage.image_programs import Confinement, ImageError, ProgramFailed, own_path, reader, run
from xmcompat.storage.image_view import View

_MAGIC = 0xEF53
_NEEDS_RECOVERY = 0x4
_LARGEST = 1 << 20
_LINKS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Super:
    """What the superblock says: ``size`` in bytes of the file system."""

    size: int
    block: int
    needs_recovery: bool
    has_errors: bool


def superblock(fd: int, offset: int) -> Super | None:
    """That of the file system at OFFSET bytes; None where there is none of the kind. Raises ImageError."""
    head = read_at(fd)(offset + 1024, 1024)
    if len(head) < 1024 or struct.unpack_from("<H", head, 56)[0] != _MAGIC:
        return None
    low, log = struct.unpack_from("<I", head, 4)[0], struct.unpack_from("<I", head, 24)[0]
    incompatible = struct.unpack_from("<I", head, 96)[0]
    high = struct.unpack_from("<I", head, 336)[0] if incompatible & 0x80 else 0
    if log > 6:
        return None
    return Super(
        size=(low | high << 32) * (1024 << log), block=1024 << log, needs_recovery=bool(incompatible & _NEEDS_RECOVERY),
        has_errors=bool(struct.unpack_from("<H", head, 58)[0] & 2),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Inode:
    """A file within the image: its kind as debugfs says it, mode in octal digits without the kind, owners, size, link."""

    kind: str
    mode: str
    uid: int
    gid: int
    size: int
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """A file that is to be at PATH, in place of what is there. ``owner`` (uid, gid); ``kept`` are extended attributes."""

    path: str
    data: bytes
    mode: str
    owner: tuple[int, int] = (0, 0)
    present: bool = False
    kept: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeFolder:
    """A directory that is to be there."""

    path: str
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeLink:
    """A symbolic link that is to be there."""

    path: str
    target: str


Change = Put | MakeFolder | MakeLink


@dataclass(frozen=True, slots=True, kw_only=True)
class Ext:
    """A file system of the ext family at ``offset`` bytes of a view. Paths are our own words, never the image's."""

    view: View
    offset: int = 0

    def inode(self, path: str) -> Inode | None:
        """What is at PATH, links not followed at its end; None where nothing is. Raises ImageError."""
        said = self._ask(f'stat "{path}"')
        first = re.search(r"Inode: \d+\s+Type: (.+?)\s+Mode:\s+(\d+)", said)
        owner = re.search(r"User:\s*(\d+)\s+Group:\s*(\d+).*?Size: (\d+)", said)
        if first is None or owner is None:
            return None
        link = re.search(r'Fast link dest: "(.*)"', said)
        return Inode(
            kind=first[1], mode=first[2][-4:], uid=int(owner[1]), gid=int(owner[2]), size=int(owner[3]),
            link=link[1] if link else "",
        )  # fmt: skip

    def real(self, path: str) -> tuple[str, Inode] | None:
        """The path that PATH leads to within the image, and what is there."""
        for _ in range(_LINKS):
            found = self.inode(path)
            if found is None or found.kind != "symlink":
                return (path, found) if found else None
            if not re.fullmatch(r"[\w./@+:-]+", found.link):
                return None
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), found.link))
            path = "/" + path.lstrip("/")
        return None

    def read(self, path: str) -> bytes | None:
        """The contents of the file that PATH leads to; None where there is no regular file of at most 1 MiB."""
        found = self.real(path)
        if found is None or found[1].kind != "regular" or found[1].size > _LARGEST:
            return None
        return self._ask(f'cat "{found[0]}"').encode("utf-8", "surrogateescape")

    def copy(self, path: str, fd: int, limit: int) -> int:
        """Write the file that PATH leads to at the place of the open file FD; returns its bytes.

        Raises ImageError where there is no regular file, or one of more than LIMIT bytes.
        """
        found = self.real(path)
        if found is None or found[1].kind != "regular":
            raise ImageError(f"{path} is {'not there' if found is None else 'no file but a ' + found[1].kind}")
        size = found[1].size
        if size > limit:
            raise ImageError(f"{path} has {size} bytes; {limit >> 20} MiB are the most")
        before = os.lseek(fd, 0, os.SEEK_CUR)
        confined = Confinement(user=self.view.user, write=before + size, memory=1 << 30, seconds=120, fenced=True)
        run(["debugfs", "-R", f'cat "{found[0]}"', self.view.at(self.offset)], fds=(self.view.fd,), stdout=fd,
            confined=confined, deadline=300)  # fmt: skip
        if os.lseek(fd, 0, os.SEEK_CUR) != before + size:
            if not os.fstatvfs(fd).f_bavail:
                raise ImageError(f"{path} cannot be copied: No space left on device", hint="free some space")
            raise ImageError(f"{path} cannot be read; the file system may be damaged")
        return size

    def attributes(self, path: str) -> tuple[tuple[str, bytes], ...]:
        """The extended attributes of PATH that a file keeps when its contents change (its SELinux label)."""
        said = self._ask(f'ea_get -x "{path}" security.selinux')
        found = re.search(r"security\.selinux \(\d+\) = ([0-9a-f ]+)", said)
        return (("security.selinux", bytes.fromhex(found[1])),) if found else ()

    def _ask(self, command: str) -> str:
        return run(["debugfs", "-R", command, self.view.at(self.offset)], fds=(self.view.fd,),
                   confined=reader(self.view.user), deadline=60)  # fmt: skip


def apply(ext: Ext, changes: Sequence[Change], undo: int) -> None:
    """Make CHANGES, with what was there before in the file UNDO. Raises ImageError where one of them is not there then."""
    with ExitStack() as stack:
        fds: list[int] = []

        def memory(data: bytes) -> str:
            fd = os.memfd_create("xmcompat", os.MFD_CLOEXEC)
            stack.callback(os.close, fd)
            os.write(fd, data)
            fds.append(fd)
            return own_path(fd)

        script = memory("".join(line + "\n" for one in changes for line in _lines(one, memory)).encode())
        confined = Confinement(user=ext.view.user, memory=2 << 30, fenced=True)
        words = ["debugfs", "-w", "-z", own_path(undo), "-f", script, ext.view.at(ext.offset)]
        run(words, fds=(ext.view.fd, undo, *fds), confined=confined, deadline=120)
    for one in changes:
        if isinstance(one, Put) and ext.read(one.path) != one.data:
            raise ImageError(f"{one.path} could not be written; the file system in the image may be full")
        if not isinstance(one, Put) and ext.inode(one.path) is None:
            raise ImageError(f"{one.path} could not be made; the file system in the image may be full")


def _lines(change: Change, memory: object) -> list[str]:
    """debugfs's commands for one change."""
    assert callable(memory)
    path = f'"{change.path}"'
    if isinstance(change, MakeFolder):
        return [f"mkdir {path}", f"sif {path} mode 04{change.mode}", f"sif {path} uid 0", f"sif {path} gid 0"]
    if isinstance(change, MakeLink):
        return [f'symlink {path} "{change.target}"']
    lines = [f"rm {path}"] if change.present else []
    lines += [f"write {memory(change.data)} {path}", f"sif {path} mode 010{change.mode}",
              f"sif {path} uid {change.owner[0]}", f"sif {path} gid {change.owner[1]}"]  # fmt: skip
    return lines + [f"ea_set -f {memory(value)} {path} {name}" for name, value in change.kept]


def check(view: View, offset: int) -> str:
    """Why the file system is not sound; "" for one that is. Nothing is changed."""
    try:
        run(
            ["e2fsck", "-f", "-n", view.at(offset)],
            fds=(view.fd,),
            confined=Confinement(user=view.user, write=0, fenced=True),
            deadline=3600,
        )
    except ProgramFailed as error:
        return error.said or "e2fsck finds errors"
    return ""


def take_back(view: View, offset: int, undo: int) -> None:
    """Undo what ``apply`` has done."""
    words = ["e2undo", *(["-o", str(offset)] if offset else []), own_path(undo), own_path(view.fd)]
    run(words, fds=(view.fd, undo), confined=Confinement(user=view.user, fenced=True), deadline=600)
