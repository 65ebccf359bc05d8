"""An image that is read: opened once, of a known format, and described to QEMU so that it opens that file and no other."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from xmcompat.storage.image_format import FORMATS, Header, recognise
from xmcompat.storage.image_programs import ImageError, own_path

#: Images that may lie upon each other.
_DEEPEST = 32


class Source(NamedTuple):
    """An open image. ``node`` is QEMU's description of it: each format named, each file through its descriptor."""

    path: str
    fd: int
    header: Header
    node: dict[str, object]
    fds: tuple[int, ...]

    def words(self) -> str:
        """For the place of a file name on qemu-img's command line."""
        return "json:" + json.dumps(self.node)


def open_file(path: str, flags: int = os.O_RDONLY) -> int:
    """Open a regular file or block device. Raises ImageError in one line."""
    try:
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: {getattr(error, 'strerror', None) or 'the name is not usable'}") from None
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        os.close(fd)
        kind = "a directory" if stat.S_ISDIR(mode) else "neither a file nor a block device"
        raise ImageError(f"{path} is {kind}", hint="name an image")
    return fd


@contextmanager
def opened(path: str, *, format: str | None = None, backing_ok: bool = False, flags: int = os.O_RDONLY) -> Iterator[Source]:
    """The image at PATH, in FORMAT or the one that its header shows.

    Raises ImageError for an image that needs other files, unless BACKING_OK allows its backing files, which must have
    their formats said in the header; a data file, or extents elsewhere, are refused always.
    """
    with ExitStack() as stack:
        yield _open(stack, path, format, backing_ok, flags, [])


def _open(
    stack: ExitStack, path: str, format: str | None, backing_ok: bool, flags: int, above: list[tuple[int, int]]
) -> Source:
    fd = open_file(path, flags)
    stack.callback(os.close, fd)
    found = os.fstat(fd)
    if (found.st_dev, found.st_ino) in above or len(above) >= _DEEPEST:
        raise ImageError(f"{path}: its backing files lead back to it")
    header = Header(format="raw") if format == "raw" else recognise(fd, path)
    if format is not None and header.format != format:
        raise ImageError(f"{path} is not {format}: its header says {header.format}")
    if header.format == "qcow":
        fd = _as_qemu_reads_it(stack, fd, path)
    if header.outside:
        raise ImageError(f"{path} needs {header.outside}, which is not opened", hint="convert it where it is from")
    driver = "host_device" if stat.S_ISBLK(found.st_mode) else "file"
    node: dict[str, object] = {"driver": header.format, "file": {"driver": driver, "filename": own_path(fd)}}
    fds: tuple[int, ...] = (fd,)
    if header.backing:
        below = _backing(stack, path, header, backing_ok, [*above, (found.st_dev, found.st_ino)])
        node["backing"] = below.node
        fds += below.fds
    elif header.format in ("qcow2", "qcow"):
        node["backing"] = None
    return Source(path=path, fd=fd, header=header, node=node, fds=fds)


def _as_qemu_reads_it(stack: ExitStack, fd: int, path: str) -> int:
    from xmcompat.storage.image_blktap import is_little_endian, mended

    if not is_little_endian(os.pread(fd, 64, 0)):
        return fd
    try:
        copy = mended(fd)
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: {getattr(error, 'strerror', None) or 'the header is damaged'}") from None
    stack.callback(os.close, copy)
    return copy


def _backing(stack: ExitStack, path: str, header: Header, backing_ok: bool, above: list[tuple[int, int]]) -> Source:
    if not backing_ok:
        raise ImageError(f"{path} has the backing file '{header.backing}'", hint="--backing-ok reads it as well")
    if header.backing_format not in FORMATS:
        raise ImageError(
            f"{path}: its header does not say the format of its backing file '{header.backing}'",
            hint="qemu-img rebase -u -F FORMAT -b FILE says it",
        )
    if header.backing.startswith("json:") or ":" in header.backing.split("/")[0]:
        raise ImageError(f"{path}: its backing '{header.backing}' is no plain file, and is not opened")
    below = os.path.join(os.path.dirname(os.path.abspath(path)), header.backing)
    return _open(stack, below, header.backing_format, backing_ok, os.O_RDONLY, above)
