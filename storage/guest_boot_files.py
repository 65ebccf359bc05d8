"""Files in a guest's file system that is not of the ext family, read by grub-fstest: GRUB's own readers as a program.

What is in a journal is not seen, as GRUB and Xen's loaders do not see it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

from xmcompat.storage.image_programs import Confinement, ImageError, ProgramFailed, has, own_path, reader, run
from xmcompat.storage.image_view import View

PROGRAM = "grub-fstest"

#: File systems, in blkid's words, that GRUB reads and old guests had.
KINDS = ("xfs", "btrfs", "reiserfs", "jfs")

_LARGEST = 1 << 20


class Files(Protocol):
    """What is read of a file system; ``image_ext.Ext`` is one too. Paths are our own words, or checked."""

    def real(self, path: str) -> object | None:
        """Something where PATH leads to something."""
        ...

    def read(self, path: str) -> bytes | None:
        """The contents of a regular file of at most 1 MiB, else None."""
        ...

    def copy(self, path: str, fd: int, limit: int) -> int:
        """Write the file at the place of FD; returns its bytes. Raises ImageError, for more than LIMIT bytes too."""
        ...


def grub_files(view: View, root: str) -> GrubFiles:
    """The program goes by the real path of what it opens: where VIEW's user may not search the folders on the way, root
    itself has to, without any capability."""
    words = [PROGRAM, own_path(view.fd), "ls", f"({root})/"]
    try:
        run(words, fds=(view.fd,), confined=_reader(view), deadline=60)
    except ProgramFailed:
        return GrubFiles(view=View(fd=view.fd, user=0), root=root)
    return GrubFiles(view=view, root=root)


def can_read(kind: str) -> bool:
    """Whether this host has a reader for file systems of that KIND."""
    return kind in KINDS and has(PROGRAM)


def _reader(view: View) -> Confinement:
    """GRUB walks to the disk through the folders of the host."""
    return reader(view.user)._replace(lists=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrubFiles:
    """The file system at GRUB's place ``root`` of the disk: "loop0", "loop0,msdos1"."""

    view: View
    root: str

    def real(self, path: str) -> object | None:
        return self._ask("ls", path) or None

    def read(self, path: str) -> bytes | None:
        found = self._ask("cat", path)
        return found.encode("utf-8", "surrogateescape") if found and len(found) <= _LARGEST else None

    def copy(self, path: str, fd: int, limit: int) -> int:
        before = os.lseek(fd, 0, os.SEEK_CUR)
        confined = _reader(self.view)._replace(write=before + limit, seconds=120)
        try:
            run(self._words("cat", path), fds=(self.view.fd,), stdout=fd, confined=confined, deadline=300)
        except ProgramFailed as error:
            if error.status < 0:
                raise ImageError(f"{path} has more bytes than {limit >> 20} MiB, which are the most") from None
            if not os.fstatvfs(fd).f_bavail:
                raise ImageError(f"{path} cannot be copied: No space left on device", hint="free some space") from None
            raise ImageError(f"{path} is not there, or cannot be read") from None
        return os.lseek(fd, 0, os.SEEK_CUR) - before

    def _words(self, command: str, path: str) -> list[str]:
        return [PROGRAM, own_path(self.view.fd), command, f"({self.root}){path}"]

    def _ask(self, command: str, path: str) -> str:
        """What the program prints, "" where the path leads nowhere."""
        try:
            return run(self._words(command, path), fds=(self.view.fd,), confined=_reader(self.view), deadline=60)
        except ProgramFailed as error:
            if error.status < 0:
                raise
            return ""
