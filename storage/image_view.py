"""An image as the raw bytes of its disk, in a file: the image itself where it is raw, else what QEMU makes of it (FUSE)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from xmcompat.storage.image_programs import Confinement, ImageError, ImageInUse, end, has, own_path, run, start, user_for
from xmcompat.storage.image_source import Source

_DEADLINE = 15.0

#: Bytes of a layer; the largest journal that mke2fs makes has 1 GiB.
_LAYER = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The disk of an image as FD. ``user`` is who may open it again with the least rights."""

    fd: int
    user: int

    def at(self, offset: int) -> str:
        """What a program of e2fsprogs takes for the file system at OFFSET bytes."""
        return f"{own_path(self.fd)}?offset={offset}" if offset else own_path(self.fd)


def can_view(source: Source) -> bool:
    """Whether the disk of SOURCE can be had here as raw bytes without converting it."""
    return source.header.format == "raw" or can_layer()


@contextmanager
def viewed(source: Source, *, writable: bool = False) -> Iterator[View]:
    """The disk of SOURCE; what is written there is written to the image. Raises ImageError where this host has no FUSE."""
    if source.header.format == "raw":
        yield View(fd=source.fd, user=os.fstat(source.fd).st_uid if writable else user_for(source.fd))
        return
    if not can_view(source):
        raise ImageError(
            f"{source.path} is {source.header.format}, and there is no qemu-storage-daemon or /dev/fuse to look into it",
            hint=f"'xmcompat image convert {source.path} OUT --format raw' first",
        )
    with _folder() as folder, _exported(source.node, source.fds, folder, writable=writable) as fd:
        yield View(fd=fd, user=0)


@contextmanager
def layered(source: Source, size: int, *, start: int, length: int) -> Iterator[View]:
    """LENGTH bytes from START on of the disk of SOURCE, which has SIZE, under a layer that takes what is written, at most
    2 GiB, and goes away at the end.

    Raises ImageError where this host has no FUSE (``can_layer`` tells).
    """
    with _folder("/var/tmp") as folder:
        layer = os.path.join(folder, "layer")
        run(["qemu-img", "create", "-q", "-f", "qcow2", layer, str(size)], deadline=60)
        whole = {"driver": "qcow2", "file": {"driver": "file", "filename": layer}, "backing": source.node}
        node = {"driver": "raw", "offset": start, "size": length, "file": whole}
        with _exported(node, source.fds, folder, writable=True, write=_LAYER) as fd:
            yield View(fd=fd, user=0)


def can_layer() -> bool:
    """Whether ``layered`` can do it here."""
    return has("qemu-storage-daemon") and os.access("/dev/fuse", os.R_OK | os.W_OK)


@contextmanager
def _folder(beneath: str | None = None) -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="xmcompat-image-", dir=beneath)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _exported(
    node: Mapping[str, object], fds: Sequence[int], folder: str, *, writable: bool, write: int | None = None
) -> Iterator[int]:
    """QEMU's NODE as a file, opened; the daemon that serves it may write files of at most WRITE bytes."""
    place, ready = os.path.join(folder, "disk"), os.path.join(folder, "ready")
    with open(place, "wb"):
        pass
    confined = Confinement(capabilities=("sys_admin", "dac_override"), write=write)
    child = start(_words(node, place, ready, writable), fds=fds, confined=confined)
    try:
        _wait(child, ready)
        fd = os.open(place, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            yield fd
        except BaseException:
            with suppress(OSError):
                os.close(fd)
            raise
        _close(fd)
    finally:
        _stop(child, place)


def _close(fd: int) -> None:
    """QEMU says at the latest now that it has found the image damaged, or has no room."""
    try:
        os.close(fd)
    except OSError as error:
        raise ImageError(f"the image is damaged, or cannot be written: {error.strerror}", hint="qemu-img check") from None


def _words(node: Mapping[str, object], place: str, ready: str, writable: bool) -> list[str]:
    named = {**node, "node-name": "image", "read-only": not writable, "discard": "unmap"}
    export = {"type": "fuse", "id": "view", "node-name": "image", "mountpoint": place, "writable": writable}
    return ["qemu-storage-daemon", "--blockdev", json.dumps(named), "--export", json.dumps(export), "--pidfile", ready]


def _wait(child: subprocess.Popen[bytes], ready: str) -> None:
    until = time.monotonic() + _DEADLINE
    while not os.path.exists(ready):
        if child.poll() is not None:
            assert child.stderr is not None
            said = (child.stderr.read() or b"").decode("utf-8", "replace").strip().splitlines()
            if any("another process" in line for line in said):
                raise ImageInUse("the image is in use: QEMU has it open", hint="shut the guest down first")
            raise ImageError(f"qemu-storage-daemon failed: {said[-1] if said else 'it says nothing'}")
        if time.monotonic() > until:
            raise ImageError(f"qemu-storage-daemon did not begin within {_DEADLINE:.0f} s")
        time.sleep(0.005)


def _stop(child: subprocess.Popen[bytes], place: str) -> None:
    """Ended with SIGTERM it writes out what it has, and unmounts."""
    with suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(timeout=60)
    end(child)
    if os.path.ismount(place):
        subprocess.run(["umount", "-l", place], capture_output=True, check=False)
