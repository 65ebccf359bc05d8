"""The files that ``xmcompat convert`` is given, and those of the folders among them."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from xmcompat.config.read import LARGEST, SAVED
from xmcompat.config.source_file import read_source
from xmcompat.errors import ConfigError
from xmcompat.tool.no_guest import folder_of_scripts, kept_aside

STDIN = "-"
#: How the standard input is shown, and the name of a guest of xm that it leaves without one.
STDIN_PATH, STDIN_NAME = "(stdin)", "stdin"

#: Folders within folders, below which nothing is looked for.
_DEEPEST = 16
#: Why libvirt's XML is no input where the work of an earlier run lies beside the files that it came from.
OWN_WORK = "libvirt's XML in the folder that is written to"
_HIDDEN = "a hidden name"
_BEEN = "it has been read already"
_READ_ANYWAY = "a link to a file that is read anyway"
_LEADS_OUT = "a link that leads out of the folder"
_KINDS = {
    stat.S_IFIFO: "it is a FIFO", stat.S_IFSOCK: "it is a socket", stat.S_IFBLK: "it is a device",
    stat.S_IFCHR: "it is a device",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One file: its bytes, or why there are none. ``skipped`` is why a file of a folder is not looked at.

    ``in_folder``: it was not named itself, and may be no configuration. ``private`` is true where others than its owner
    and group may not read it.
    """

    path: str
    data: bytes = b""
    error: ConfigError | None = None
    skipped: str = ""
    in_folder: bool = False
    private: bool = False


class Place(NamedTuple):
    """Where an input is: named itself, or found in a folder. ``skipped`` is why it is not even opened, ``error`` why a
    folder cannot be."""

    path: str
    in_folder: bool = False
    skipped: str = ""
    error: ConfigError | None = None

    def input(self) -> Input:
        """What is there now."""
        if self.skipped or self.error is not None:
            path = STDIN_PATH if self.path == STDIN else self.path
            return Input(path=path, skipped=self.skipped, error=self.error)
        return _of_folder(self.path) if self.in_folder else read_input(self.path)


def places(paths: Sequence[str], *, written: str | None = None) -> Iterator[Place]:
    """Each file of PATHS, and the files of each folder, sorted, then those of folders in it. No file is opened.

    Whatever else is in a folder is a place with its reason: hidden names, links that lead out of it or to what is read
    anyway, copies that are kept aside, and the folder WRITTEN, whose files are no inputs.
    """
    seen: set[str] = set()
    for path in paths:
        if path != STDIN and os.path.isdir(path):
            yield from _Walk(path, seen, written).folder(path, 0)
            continue
        real = path if path == STDIN else os.path.realpath(path)
        yield Place(path, skipped=_BEEN if real in seen else "")
        seen.add(real)


class _Walk:
    """One look through the folder TOP. SEEN are the real paths of all inputs so far."""

    def __init__(self, top: str, seen: set[str], written: str | None) -> None:
        self.inside = os.path.realpath(top)
        self.seen = seen
        self.written = os.path.realpath(written) if written is not None else None

    def folder(self, folder: str, depth: int) -> Iterator[Place]:
        """What is in FOLDER, and below it: its own files come first, for copies mostly lie deeper. A folder that cannot be
        read is one place, with its error."""
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            yield _failed(folder, error)
            return
        if depth and folder_of_scripts(os.path.basename(folder), names):
            yield Place(folder, skipped="scripts of Xen, which nothing here runs")
            return
        inner = []
        for name in names:
            path = os.path.join(folder, name)
            try:
                mode = os.lstat(path).st_mode
                if stat.S_ISDIR(mode):
                    inner.append(path)
                    continue
                reason = self._why_not(path, mode, names)
            except OSError as error:
                yield _failed(path, error)
                continue
            if not reason:
                self.seen.add(os.path.realpath(path))
            yield Place(path, in_folder=not reason, skipped=reason)
        for path in inner:
            if reason := self._passed_over(path, depth):
                yield Place(path, skipped=reason)
            else:
                yield from self.folder(path, depth + 1)

    def _passed_over(self, path: str, depth: int) -> str:
        """Why a folder in a folder is not looked into; "" where it is."""
        if os.path.realpath(path) == self.written:
            return "the folder that is written to"
        if os.path.basename(path).startswith("."):
            return _HIDDEN
        return f"it lies deeper than {_DEEPEST} folders" if depth >= _DEEPEST else ""

    def _why_not(self, path: str, mode: int, beside: Sequence[str]) -> str:
        """Why what is no folder is not opened; "" where it is. Raises OSError."""
        name = os.path.basename(path)
        if name.startswith("."):
            return _HIDDEN
        if reason := kept_aside(name, beside):
            return reason
        if name.endswith(".xml") and os.path.realpath(os.path.dirname(path)) == self.written:
            return OWN_WORK
        if stat.S_ISLNK(mode):
            return self._link(path)
        if not stat.S_ISREG(mode):
            return _KINDS.get(stat.S_IFMT(mode), "it is no file")
        return _BEEN if os.path.realpath(path) in self.seen else ""

    def _link(self, path: str) -> str:
        """Why a link is not followed; "" where it is. Raises OSError."""
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            if error.errno == errno.ELOOP:
                return "a link that leads in a circle, or over too many others"
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return "a link that leads nowhere"
            raise
        real = os.path.realpath(path)
        if os.path.commonpath([real, self.inside]) != self.inside:
            return _LEADS_OUT
        if stat.S_ISDIR(mode):
            return "a link to a folder of this one"
        if not stat.S_ISREG(mode):
            return "a link to what is no file"
        return _READ_ANYWAY if real in self.seen or self._comes_itself(real) else ""

    def _comes_itself(self, real: str) -> bool:
        """Whether the folder's own file at REAL is among those that are read."""
        *folders, name = os.path.relpath(real, self.inside).split(os.sep)
        if len(folders) > _DEEPEST or any(part.startswith(".") for part in (*folders, name)):
            return False
        above = os.path.dirname(real)
        if self.written is not None and os.path.commonpath([real, self.written]) == self.written != self.inside:
            return False
        names = os.listdir(above)
        scripts = bool(folders) and folder_of_scripts(folders[-1], names)
        return not scripts and not kept_aside(name, names)


def _failed(path: str, error: OSError) -> Place:
    return Place(path, error=ConfigError(error.strerror or "cannot be read", path=path))


def _of_folder(path: str) -> Input:
    """A file of a folder; one that is larger than any configuration is passed over."""
    found = read_input(path)
    if len(found.data) > LARGEST:
        return Input(path=path, skipped=f"it is larger than {LARGEST // 1024} KiB")
    return Input(path=path, data=found.data, error=found.error, private=found.private, in_folder=True)


def read_input(path: str) -> Input:
    """The file or pipe at PATH, or the standard input. No more is read than tells that it is too large."""
    try:
        if path == STDIN:
            if sys.stdin is None:
                raise ConfigError("it is closed", path=STDIN_PATH)
            return Input(path=STDIN_PATH, data=sys.stdin.buffer.read(LARGEST + 1), private=True)
        mode = os.stat(path).st_mode
        data = _of_file(path) if stat.S_ISREG(mode) else read_source(path, LARGEST)
    except OSError as error:
        shown = STDIN_PATH if path == STDIN else path
        return Input(path=shown, error=ConfigError(error.strerror or "cannot be read", path=shown))
    except ConfigError as error:
        return Input(path=STDIN_PATH if path == STDIN else path, error=error)
    if data.startswith(SAVED):
        data = data[:LARGEST]  # the guest's memory follows
    return Input(path=path, data=data, private=not mode & stat.S_IROTH)


def _of_file(path: str) -> bytes:
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        return file.read(LARGEST + 1)
