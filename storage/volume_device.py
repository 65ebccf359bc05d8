"""What a disk that the host has from elsewhere is as a volume: a LUN of iSCSI, a slot of an AoE shelf.

They are made, grown and removed where they come from; here they are seen, filled, and their new size is learned.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xmcompat.storage.programs import StorageError
from xmcompat.storage.volume import Volume

SYSFS = "/sys/block"
_SECTOR = 512

#: Seconds in which the kernel learns of another size, and after which it is asked again.
_PATIENCE, _AGAIN = 5.0, 1.0


def refused(where: str) -> dict[str, str]:
    """What such a kind does not do, since WHERE ("the target") does it."""
    hint = f"{where} keeps these disks; use its own tools"
    copy = "clone it to another pool, or import into another disk"
    return {
        "create": f"{hint}, and 'xmcompat storage import' fills what it gives", "snapshot": f"{hint}, or {copy}",
        "rollback": hint, "remove": hint, "clone": f"{hint}, and 'xmcompat storage import' copies one to another",
    }  # fmt: skip


def disk(
    device: str, *, kind: str, pool: str, name: str, path: str = "", figures: tuple[tuple[str, str], ...] = ()
) -> Volume:
    """The disk that the kernel calls DEVICE ("sda", "etherd!e0.1") as a volume; PATH another name for it."""
    sectors = _read(device, "size")
    size = int(sectors) * _SECTOR if sectors.isdecimal() else None
    return Volume(
        kind=kind, pool=pool, name=name, path=path or f"/dev/{device.replace('!', '/')}", size=size, allocated=None,
        active=bool(size), readonly=_read(device, "ro") == "1", figures=figures,
        identity=_read(device, "wwid") or _read(device, "device/wwid"),
    )  # fmt: skip


def grown(
    volume: Volume, size: int, ask: Callable[[], None], look: Callable[[], Volume | None], where: str
) -> Volume:
    """The volume once LOOK finds it to have SIZE bytes; ASK has the kernel learn of that, and is called again each second.
    Raises StorageError where it stays another one."""
    end = time.monotonic() + _PATIENCE
    asked = 0.0
    while True:
        if time.monotonic() - asked >= _AGAIN:
            asked = time.monotonic()
            ask()
        found = look()
        if found and found.size is not None and found.size >= size:
            return found
        if time.monotonic() >= end:
            has = "is not there" if found is None else f"has {found.size} bytes"
            raise StorageError(
                f"{volume.full_name} {has}, and {where} does not give it {size}", hint=f"grow it at {where} first"
            )
        time.sleep(0.1)


def tell(path: str, text: str) -> None:
    """Write to a file of the kernel's. Raises StorageError."""
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        hint = "only root may do that" if isinstance(error, PermissionError) else None
        raise StorageError(f"{path}: {error.strerror}", hint=hint) from None


@contextmanager
def ready(volume: Volume) -> Iterator[str]:
    """The disk, as long as its session lasts. Raises StorageError where it does not answer."""
    if not volume.active or not os.path.exists(volume.path):
        raise StorageError(f"{volume.full_name} does not answer", hint="see whether where it comes from runs")
    yield volume.path


def _read(device: str, file: str) -> str:
    try:
        with open(f"{SYSFS}/{device}/{file}", encoding="utf-8", errors="surrogateescape") as opened:
            return opened.read().strip()
    except OSError:
        return ""
