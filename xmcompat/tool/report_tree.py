"""The folder of a dead host: its names as that host knew them, and no file outside it. Nothing in it is trusted.

Links are followed by their text, as the old host would have followed them, and only within the folder. Each part of a
path is opened without following a link, so that nobody can put one in its place meanwhile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple

#: Bytes: no honest configuration is larger.
LARGEST = 1024 * 1024
#: Links in the way to one file.
_MOST_LINKS = 40
#: Names in one folder, and parts of one path, that are looked at.
MOST_NAMES = 20_000
DEEPEST = 24

#: A path within the folder, part by part; () is the folder itself.
Path = tuple[str, ...]


class Unreachable(Exception):
    """A path that leads nowhere within the folder, in words."""


class Entry(NamedTuple):
    """A name in a folder. ``kind`` is "file", "folder", "link", or what else it is in words."""

    path: Path
    kind: str
    size: int


def shown(path: Path) -> str:
    return "/".join(path) or "."


class Tree:
    """The folder ROOT, which the old host knew as ``base`` (("etc", "xen") for /etc/xen, () for /)."""

    def __init__(self, root: str) -> None:
        """Raises OSError for what is no folder, or may not be looked into."""
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.base: Path = ("etc", "xen")
        if any(map(self.is_folder, (("etc", "xen"), ("var", "lib", "xend"), ("usr", "bin"), ("usr", "lib")))):
            self.base = ()
        elif self.is_folder(("xen",)) and not self.is_folder(("auto",)):
            self.base = ("etc",)
        elif os.path.realpath(root).endswith(("/var/lib/xend/domains", "/xend/domains")):
            self.base = ("var", "lib", "xend", "domains")

    def close(self) -> None:
        os.close(self._root)

    def is_folder(self, path: Path) -> bool:
        """Whether a folder is there, a link to one included."""
        try:
            os.close(self._folder(self.resolve(path)))
        except (OSError, Unreachable):
            return False
        return True

    def entries(self, path: Path) -> Iterator[Entry]:
        """The names in a folder (no link), in order. Raises OSError and Unreachable."""
        folder = self._folder(path)
        try:
            with os.scandir(folder) as scan:
                names = []
                for item in scan:
                    names.append(item.name)
                    if len(names) > MOST_NAMES:
                        raise Unreachable(f"it holds more than {MOST_NAMES} names; only other folders are looked at")
            for name in sorted(names):
                with suppress(FileNotFoundError):
                    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    yield Entry((*path, name), _kind(status.st_mode), status.st_size)
        finally:
            os.close(folder)

    def identity(self, path: Path) -> tuple[int, int]:
        """What tells a folder or file from all others, whatever its names. Raises OSError and Unreachable."""
        status = self._status(path)
        return status.st_dev, status.st_ino

    def kind(self, path: Path) -> str:
        """As an Entry's. Raises OSError and Unreachable."""
        return _kind(self._status(path).st_mode)

    def read(self, path: Path, most: int = LARGEST) -> bytes:
        """The bytes of a file (no link). Raises OSError, and Unreachable for what is no file, or larger than MOST."""
        with self._file(path) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise Unreachable(f"it is larger than {most // 1024} KiB")
        return data

    def head(self, path: Path, size: int = 4096) -> bytes:
        """The first bytes of a file of any size. Raises as ``read``."""
        with self._file(path) as file:
            return file.read(size)

    def _file(self, path: Path) -> BinaryIO:
        if not path:
            raise Unreachable("it is a folder")
        folder = self._folder(path[:-1])
        try:
            # a device may act on being opened, and a FIFO would wait for its writer
            if not stat.S_ISREG(os.stat(path[-1], dir_fd=folder, follow_symlinks=False).st_mode):
                raise Unreachable("it is no file")
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            file = os.open(path[-1], flags, dir_fd=folder)
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise Unreachable("it is no file")
        return open(file, "rb")

    def resolve(self, path: Path) -> Path:
        """PATH without the links in it. Raises OSError where nothing is, Unreachable where the way leads outside."""
        todo, done, links = [*reversed((*self.base, *path))], list[str](), 0
        been: set[tuple[Path, Path]] = set()
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                done[-1:] = []
                continue
            done.append(part)
            inside = self._inside(done)
            if inside is None or not inside:
                continue  # above the folder; what matters is where the way ends
            target = self._link(inside)
            if target is None:
                continue
            links += 1
            if (tuple(done), tuple(todo)) in been:
                raise Unreachable("its links lead in a circle")
            if links > _MOST_LINKS:
                raise Unreachable(f"it leads over more than {_MOST_LINKS} links")
            been.add((tuple(done), tuple(todo)))
            done = [] if target.startswith("/") else done[:-1]
            todo += reversed(target.split("/"))
        found = self._inside(done)
        if found is None:
            raise Unreachable(f"it leads to /{'/'.join(done)}, outside this folder")
        self._status(found)
        return found

    def _inside(self, parts: list[str]) -> Path | None:
        """The path within the folder of what the old host called /PARTS."""
        size = len(self.base)
        return tuple(parts[size:]) if tuple(parts[:size]) == self.base else None

    def _link(self, path: Path) -> str | None:
        """What a link says; None for what is none, or is not there."""
        folder = None
        try:
            folder = self._folder(path[:-1])
            return os.readlink(path[-1], dir_fd=folder)
        except OSError:
            return None
        finally:
            if folder is not None:
                os.close(folder)

    def _status(self, path: Path) -> os.stat_result:
        if not path:
            return os.fstat(self._root)
        folder = self._folder(path[:-1])
        try:
            return os.stat(path[-1], dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(folder)

    def _folder(self, path: Path) -> int:
        """A descriptor of a folder, each part of whose path is no link."""
        if len(path) > DEEPEST:
            raise Unreachable(f"it lies deeper than {DEEPEST} folders")
        folder = os.dup(self._root)
        for part in path:
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                inner = os.open(part, flags, dir_fd=folder)
            finally:
                os.close(folder)
            folder = inner
        return folder


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device",
    }  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "no file")
