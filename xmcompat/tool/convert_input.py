"""The files that ``xmcompat convert`` is given, and those of the folders among them."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from xmcompat.config.read import LARGEST, SAVED
from xmcompat.errors import ConfigError

STDIN = "-"
#: How the standard input is shown, and the name of a guest of xm that it leaves without one.
STDIN_PATH, STDIN_NAME = "(stdin)", "stdin"

#: Folders within folders, below which nothing is looked for.
_DEEPEST = 16
_BACKUPS = re.compile(r".*(?:~|\.(?:bak|orig|old|save|swp|swo|tmp|rpmsave|rpmnew|rpmorig|dpkg-[a-z]+|ucf-[a-z]+))|#.*#")
_PAPERS = re.compile(
    r"(?:readme|changelog|copying|license|notes?|todo)(?:[._-].*)?|.*\.(?:md|rst|html?|pdf)", re.IGNORECASE
)
_XENS = re.compile(
    r"xend-config\.sxp|xend-pci-(?:quirks|permissive)\.sxp|xl\.conf|xen\.conf|cpupool|xm-config\.xml|oxenstored\.conf"
)
_SCRIPT = re.compile(rb"#!.*(?:/|\s)(?:ba|da|k|z)?sh\b|#!.*perl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One file: its bytes, or why there are none. ``skipped`` is why a file of a folder is no configuration.

    ``private`` is true where others than its owner and group may not read it.
    """

    path: str
    data: bytes = b""
    error: ConfigError | None = None
    skipped: str = ""
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
            return Input(path=self.path, skipped=self.skipped, error=self.error)
        return _of_folder(self.path) if self.in_folder else read_input(self.path)


def places(paths: Sequence[str]) -> Iterator[Place]:
    """Each file of PATHS, and the files of each folder, sorted, with those of folders in it that are not hidden.

    Links in a folder that lead out of it, or to a file that is read anyway, are not followed. No file is opened.
    """
    seen: set[str] = set()
    for path in paths:
        if path != STDIN and os.path.isdir(path):
            try:
                yield from _folder(path, seen)
            except OSError as error:
                yield Place(path, error=ConfigError(error.strerror or "cannot be read", path=path))
        else:
            seen.add(os.path.realpath(path))
            yield Place(path)


def _folder(top: str, seen: set[str]) -> Iterator[Place]:
    inside = os.path.realpath(top)
    for path in _files(top, 0):
        real = os.path.realpath(path)
        reason = _by_name(os.path.basename(path))
        if isinstance(reason, str):
            yield Place(path, skipped=reason)
        elif os.path.islink(path) and os.path.commonpath([real, inside]) != inside:
            yield Place(path, skipped="a link that leads out of the folder")
        elif real in seen or (os.path.islink(path) and _comes_itself(real, inside)):
            yield Place(path, skipped="a link to a file that is read anyway")
        else:
            seen.add(real)
            yield Place(path, in_folder=True)


def _comes_itself(real: str, inside: str) -> bool:
    """Whether the folder's own file at REAL is among those that are read."""
    parts = os.path.relpath(real, inside).split(os.sep)
    return os.path.isfile(real) and not any(part.startswith(".") for part in parts) and _by_name(parts[-1]) is None


def _files(folder: str, depth: int) -> Iterator[str]:
    """The paths below FOLDER, each folder's in order. Raises OSError for one that cannot be read."""
    names = sorted(os.listdir(folder))
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            if not name.startswith(".") and not os.path.islink(path) and depth < _DEEPEST:
                yield from _files(path, depth + 1)
        else:
            yield path


def _by_name(name: str) -> str | None:
    """Why a file of this NAME in a folder is no configuration; None where it may be one."""
    if name.startswith("."):
        return "hidden"
    for names, reason in ((_BACKUPS, "a backup"), (_PAPERS, "a document"), (_XENS, "a configuration of Xen's own")):
        if names.fullmatch(name):
            return reason
    return None


def _of_folder(path: str) -> Input:
    """A file of a folder: what is no text, or empty, is passed over."""
    found = read_input(path)
    if found.error is not None:
        return Input(path=path, skipped="no regular file") if "not a file" in found.error.message else found
    head = found.data[:4096]
    if b"\0" in head or found.data.startswith(SAVED):
        return Input(path=path, skipped="no text")
    if len(found.data) > LARGEST:
        return Input(path=path, skipped="larger than any configuration")
    if not found.data.strip():
        return Input(path=path, skipped="empty")
    return Input(path=path, skipped="a program") if _SCRIPT.match(head) else found


def read_input(path: str) -> Input:
    """The file at PATH, or the standard input. No more is read than tells that it is too large."""
    try:
        if path == STDIN:
            return Input(path=STDIN_PATH, data=sys.stdin.buffer.read(LARGEST + 1), private=True)
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise ConfigError("this is not a file", path=path)
            data = file.read(LARGEST + 1)
    except OSError as error:
        return Input(path=path, error=ConfigError(error.strerror or "cannot be read", path=path))
    except ConfigError as error:
        return Input(path=path, error=error)
    if data.startswith(SAVED):
        data = data[:LARGEST]  # the guest's memory follows
    return Input(path=path, data=data, private=not mode & stat.S_IROTH)
