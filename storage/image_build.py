"""A disk image from a tar or a tree of files. The host's kernel mounts nothing: mke2fs writes the file system itself."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from xmcompat.storage.image_convert import write_converted
from xmcompat.storage.image_device import device_to_fill, spoilt_on_failure
from xmcompat.storage.image_output import draft, is_block_device, refuse_present
from xmcompat.storage.image_programs import Confinement, ImageError, ProgramFailed, Progress, own_path, quiet, require, run
from xmcompat.storage.image_source import opened
from xmcompat.storage.image_table import ALIGNMENT, SECTOR, Table, laid_out, written
from xmcompat.storage.image_unpack import unpack, written_by

FILE_SYSTEMS = ("ext4", "ext3", "ext2")

#: mke2fs reads the tree of all owners, and writes what it makes.
_RIGHTS = Confinement(capabilities=("dac_read_search",))

#: The smallest image in bytes; mke2fs needs some room for itself.
SMALLEST = 2 << 20

#: Bytes of a label, in the ext family, and of a path within the tree.
_LABEL, _LONGEST_PATH = 16, 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The image to build: ``size`` in bytes, of the disk, the table included where it is to have a ``partition``."""

    size: int
    fs: str = "ext4"
    format: str = "raw"
    partition: bool = False
    label: str = ""


def build(
    source: str, out: str, wanted: Wanted, *, force: bool = False, work: str | None = None, progress: Progress = quiet
) -> None:
    """Make the image OUT of SOURCE, a tar or the directory of a whole tree.

    Owners, hard links, device nodes, holes and extended attributes (capabilities) are kept. A tar is unpacked into WORK,
    or beside OUT, and that is removed again. Raises ImageError; then nothing is left under OUT's name.
    """
    _refuse(source, out, wanted, force)
    with ExitStack() as stack:
        device = is_block_device(out)
        if device:
            fd = stack.enter_context(device_to_fill(out, wanted.size, force))
            stack.enter_context(spoilt_on_failure(fd, out))
        else:
            _, fd = stack.enter_context(draft(out, force=force))
            if wanted.format == "raw":
                os.ftruncate(fd, wanted.size)
        beside = work or (os.getcwd() if device else os.path.dirname(os.path.abspath(out)))
        tree, amount = source, 0
        with suppress(OSError):
            sweep(beside, out)
        if not os.path.isdir(source):
            tree = stack.enter_context(folder_beside(beside, out))
            amount = unpack(source, tree, limit=wanted.size, progress=progress)
        _refuse_deep(tree, source)
        if wanted.format == "raw":
            fill(fd, tree, wanted, amount, progress, device=device)
        else:
            raw = stack.enter_context(folder_beside(beside, out)) + "/raw"
            _make_raw(raw, tree, wanted, amount, progress)
            with opened(raw, format="raw") as made:
                write_converted(made, fd, wanted.format, progress)


def _refuse_deep(tree: str, source: str) -> None:
    """mke2fs (1.47) writes beyond the room that it has for a path of 2040 bytes."""
    start, folders = len(os.fsencode(tree)) + 1, [os.fsencode(tree)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if len(entry.path) - start > _LONGEST_PATH:
                        raise ImageError(f"{source} has paths of more than {_LONGEST_PATH} bytes", hint="shorten them")
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except OSError as error:
            raise ImageError(f"{source}: {error.strerror}") from None


def _make_raw(raw: str, tree: str, wanted: Wanted, amount: int, progress: Progress) -> None:
    fd = os.open(raw, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, wanted.size)
        fill(fd, tree, wanted, amount, progress)
    finally:
        os.close(fd)


def _refuse(source: str, out: str, wanted: Wanted, force: bool) -> None:
    """What can be said before anything is begun."""
    require("mke2fs")
    if os.geteuid() != 0:
        raise ImageError("only root can keep the owners and devices of a tree", hint="become root, or use fakeroot")
    if not os.path.exists(source):
        raise ImageError(f"{source}: No such file or directory")
    if os.path.realpath(source) == "/":
        raise ImageError("/ is the tree of this host, with all that is mounted in it", hint="name a directory of its own")
    if os.path.isdir(source) and os.path.realpath(out).startswith(os.path.realpath(source) + "/"):
        raise ImageError(f"{out} lies within {source}, and would become part of itself", hint="name another place")
    if len(wanted.label.encode("utf-8", "surrogateescape")) > _LABEL:
        raise ImageError(f"the label '{wanted.label[:40]}' has more than {_LABEL} bytes", hint="write a shorter one")
    if wanted.size < SMALLEST:
        raise ImageError(f"an image of {wanted.size} bytes is too small", hint="--size 2M is the least")
    if wanted.size % SECTOR:
        raise ImageError(
            f"{wanted.size} bytes are no whole number of sectors of {SECTOR} bytes", hint="write --size in MiB: 512M"
        )
    if not is_block_device(out):
        refuse_present(out, force)
    elif wanted.format != "raw":
        raise ImageError(f"{out} is a block device, which takes raw images only", hint="--format raw")


@contextmanager
def folder_beside(beside: str, out: str) -> Iterator[str]:
    """A directory that only this user may enter, named for OUT, whose draft's lock is held."""
    try:
        sweep(beside, out)
        path = os.path.join(beside, _start(out) + secrets.token_hex(4))
        os.mkdir(path, 0o700)
    except OSError as error:
        raise ImageError(f"{beside}: {error.strerror}", hint="--work-dir names another place") from None
    inner = os.path.join(path, "root")
    try:
        os.mkdir(inner, 0o755)
        yield inner
    finally:
        _remove(path)


def _remove(path: str) -> None:
    """A tree of any depth and any owners; what cannot be removed now is swept by the next."""
    with suppress(ImageError):
        run(["rm", "-rf", "--one-file-system", "--", path], confined=Confinement(capabilities=("dac_override", "fowner")))


def sweep(beside: str, out: str) -> None:
    """Remove what is left of a process that made OUT and was killed: nobody else uses it while the lock is held."""
    for name in os.listdir(beside):
        path = os.path.join(beside, name)
        if name.startswith(_start(out)) and _is_own(path):
            _remove(path)


def _start(out: str) -> str:
    """Two images of one name in two places may be made at once in one directory."""
    place = hashlib.sha256(os.fsencode(os.path.abspath(out))).hexdigest()[:8]
    return f".{os.path.basename(out)[:180]}.tree.{place}."


def _is_own(path: str) -> bool:
    found = os.lstat(path)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def table_for(size: int) -> Table:
    """One partition, of all that a disk of SIZE bytes has."""
    return laid_out([(1, size // SECTOR - ALIGNMENT, "linux")])


def fill(fd: int, tree: str, wanted: Wanted, amount: int, progress: Progress, *, device: bool = False) -> None:
    """Write the file system with TREE to the file or device FD. AMOUNT: bytes of its files, where they are known."""
    size, words = wanted.size, ["mke2fs", "-q", "-F", "-F", "-t", wanted.fs, "-d", tree]
    if wanted.partition:
        for place, data in written(table_for(size)):
            os.pwrite(fd, data, place)
        offset = ALIGNMENT * SECTOR
        words += ["-E", f"offset={offset},root_owner=0:0"]
        size -= offset
    if wanted.label:
        words += ["-L", wanted.label]

    def watch(pid: int, _printed: bytes) -> None:
        progress("write", min(written_by(pid) / amount, 1.0) if amount else 0.0)

    try:
        run([*words, own_path(fd), f"{size // 1024}k"], fds=(fd,), watch=watch, confined=_RIGHTS)
    except ProgramFailed as error:
        raise _told(error, wanted) from None
    if not device:
        os.ftruncate(fd, wanted.size)
    progress("write", 1.0)


def _told(error: ProgramFailed, wanted: Wanted) -> ImageError:
    full = re.search(r"Could not allocate (\w+)|not enough (space)|too small", error.said)
    if full:
        return ImageError(f"the tree does not fit into {wanted.size >> 20} MiB: {error.said}", hint="give a larger --size")
    return error
