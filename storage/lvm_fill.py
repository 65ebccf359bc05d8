"""Fills a new logical volume with what is on another one. A volume that is not whole yet bears a tag."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from xmcompat.storage import image_locks, lvm_read
from xmcompat.storage.image_copy import size_of
from xmcompat.storage.image_device import device_to_fill
from xmcompat.storage.image_programs import Confinement, own_path, run
from xmcompat.storage.image_source import opened
from xmcompat.storage.lvm_read import HALF_MADE, Lv
from xmcompat.storage.programs import StorageError
from xmcompat.storage.volume import Progress


def fill(source: str, target: str, progress: Progress, *, zeroed: bool) -> None:
    """Copy the device SOURCE over the device TARGET. ZEROED: the target reads as zeros all over, and gets none written.

    Raises ImageError, and StorageError where one of the two is in use.
    """
    with opened(source, format="raw") as image, device_to_fill(target, size_of(image.fd), force=True) as fd:
        if not image_locks.take(image.fd, writable=False, shareable=False):
            raise StorageError(f"{source} is in use: a guest writes to it", hint="clone a snapshot of it")
        words = ["qemu-img", "convert", "-p", "-n", *(["--target-is-zero"] if zeroed else []), "-O", "raw", image.words()]
        confined = Confinement(user=0, fenced=True)
        run([*words, own_path(fd)], fds=(*image.fds, fd), confined=confined, watch=_shares(progress))
        os.fsync(fd)


def _shares(progress: Progress) -> Callable[[int, bytes], None]:
    """Reads qemu-img's "(12.34/100%)"."""

    def watch(_pid: int, printed: bytes) -> None:
        found = re.findall(rb"\((\d+\.\d+)/100%\)", printed)
        if found:
            progress("clone", float(found[-1]) / 100)

    return watch


def whole(lv: Lv) -> None:
    """The volume is filled."""
    lvm_read.lvm(["lvchange", "--deltag", HALF_MADE, lv.full_name], doing=f"cannot finish {lv.full_name}")


def clear(group: str, name: str) -> None:
    """Remove what a copy that was cut off has left under that name. Silent where nothing is; whole volumes stay.

    Raises StorageError where the copy is going on.
    """
    lv = lvm_read.volume(group, name)
    if lv is None or HALF_MADE not in lv.tags:
        return
    if lv.open:
        raise StorageError(f"{group}/{name} is being made by another process", hint="wait for it")
    chosen = f'lv_uuid="{lv.uuid}" && lv_tags={{"{HALF_MADE}"}}'
    lvm_read.lvm(["lvremove", "-y", "-S", chosen], doing=f"cannot remove the half made {group}/{name}")
