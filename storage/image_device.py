"""Block devices that are filled with an image, and the question whether an image is in use."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from xmcompat.errors import StillWritten
from xmcompat.storage import device_locks
from xmcompat.storage.check import host_uses, identities, mount_table
from xmcompat.storage.image_copy import size_of
from xmcompat.storage.image_programs import ImageError, ImageInUse, ProgramFailed, own_path, reader, run
from xmcompat.storage.processes import having_open, named
from xmcompat.storage.sharing import Identity

#: Where QEMU locks the images that it has open: a byte for each permission that it has, and that it does not share.
_LOCKED_FROM, _LOCKED_BYTES = 100, 200
_FLOCK = "hhqqi4x"

#: Seconds in which those that only look at a device have closed it.
_PATIENCE = 2.0


def refuse_in_use(path: str, fd: int) -> None:
    """Raises ImageInUse where a guest has the image open, this host has mounted it, or a loop device stands on it."""
    if locked_by_qemu(fd):
        raise ImageInUse(f"{path} is in use: QEMU has it open", hint="shut the guest down first")
    own = identities(path)
    if any(use.identities & own for use in host_uses(mount_table())):
        raise ImageInUse(f"{path} is mounted on this host", hint="unmount it first")
    loop = _loop_on(own)
    if loop:
        raise ImageInUse(f"{path} is in use: {loop} stands on it", hint=f"losetup -d {loop}")


def locked_by_qemu(fd: int) -> bool:
    """Whether another process has a lock of the kind that QEMU takes."""
    wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _LOCKED_FROM, _LOCKED_BYTES, 0)
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, wanted)
    except OSError:
        return False  # a file system without locks
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


@contextmanager
def held(path: str, fd: int) -> Iterator[None]:
    """Keep QEMU from opening the image while it is changed. FD is open for reading. Raises ImageInUse."""
    refuse_in_use(path, fd)
    shared = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, _LOCKED_FROM, _LOCKED_BYTES, 0)
    with suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, shared)
    if locked_by_qemu(fd):
        raise ImageInUse(f"{path} is in use: it is being changed, or QEMU has it open", hint="wait, or shut the guest down")
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.fcntl(
                fd, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_UNLCK, os.SEEK_SET, _LOCKED_FROM, _LOCKED_BYTES, 0)
            )


def _loop_on(own: frozenset[Identity]) -> str:
    for name in sorted(os.listdir("/sys/block")) if os.path.isdir("/sys/block") else ():
        if name.startswith("loop"):
            place = f"/sys/block/{name}/loop/backing_file"
            with suppress(OSError), open(place, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                if identities(file.read().removesuffix("\n")) & own:
                    return f"/dev/{name}"
    return ""


@contextmanager
def device_to_fill(path: str, size: int, force: bool) -> Iterator[int]:
    """The block device at PATH, open for writing and for nobody else.

    Raises ImageError where it is smaller than SIZE bytes, or holds something that is known and not FORCE; ImageInUse where
    this host or any process, such as a guest's QEMU, has it open, also with FORCE.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC))  # mke2fs wants it for itself afterwards
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise ImageInUse(f"{path} is in use: this host has it mounted, or a volume stands on it") from None
        raise ImageError(f"{path}: {error.strerror}") from None
    try:
        if not device_locks.take(fd):
            raise ImageInUse(f"{path} is being filled by another process", hint="wait for it")
        if locked_by_qemu(fd):
            raise ImageInUse(f"{path} is in use: QEMU has it open", hint="shut the guest down first")
        _refuse_opened(path, fd)
        if size_of(fd) < size:
            raise ImageError(f"{path} has {size_of(fd)} bytes, and the image {size}", hint="name a larger volume")
        found = signature(fd)
        if found and not force:
            raise ImageError(f"{path} holds something: {found}", hint="--force overwrites it")
        yield fd
    finally:
        os.close(fd)


def _refuse_opened(path: str, fd: int) -> None:
    """QEMU opens devices for others to open as well. Who only looks at it, as udev does, is soon gone."""
    until = time.monotonic() + _PATIENCE
    while found := having_open(os.fstat(fd).st_rdev):
        if time.monotonic() > until:
            raise ImageInUse(f"{path} is in use: {named(found)} has it open", hint="shut that down first")
        time.sleep(0.1)


def signature(fd: int) -> str:
    """What is on a device in words, "ext4 'root'"; "" where nothing is known. Raises ImageError where it cannot be read."""
    # As its owner: a device of root is not to be read by nobody. It writes nothing.
    confined = reader(0)._replace(capabilities=("dac_read_search",))  # it may have been given to QEMU's user
    words = ["blkid", "-p", "-o", "export", own_path(fd)]
    try:
        said = run(words, fds=(fd,), confined=confined, statuses=(0, 2), deadline=60)
    except ProgramFailed as error:
        if error.status == 8:
            return "signatures of more than one kind"
        raise
    facts = dict(line.partition("=")[::2] for line in said.splitlines())
    kind = facts.get("TYPE") or facts.get("PTTYPE", "")
    label = facts.get("LABEL")
    return f"{kind} {json.dumps(label)}" if label else kind


@contextmanager
def spoilt_on_failure(fd: int, path: str) -> Iterator[None]:
    """A device that is filled in part must not look like a whole one: its first MiB becomes zeros, unless somebody else may
    write it."""
    try:
        yield
    except BaseException as error:
        with suppress(OSError):
            if not isinstance(error, (ImageInUse, StillWritten)):  # then it is somebody else's
                os.pwrite(fd, bytes(1 << 20), 0)
                os.fsync(fd)
        if isinstance(error, ImageInUse):
            raise
        if isinstance(error, ImageError):
            raise ImageError(
                f"{error.message}; {path} was filled in part, and its beginning is empty now", hint=error.hint
            ) from None
        raise
    os.fsync(fd)
