"""Shelves of ATA over Ethernet as pools: the slots that have answered on this host's networks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress

from xmcompat.storage.volume import Pool, Volume
from xmcompat.storage.volume_device import SYSFS, disk, grown, ready, refused, tell

__all__ = [
    "FILES", "LIVE", "REFUSES", "place_of", "pool_named", "pools", "ready", "resize", "volume_named", "volumes",
]  # fmt: skip

REFUSES = refused("the shelf")
LIVE = frozenset({"resize"})
FILES = False

REVALIDATE = "/dev/etherd/revalidate"

_PREFIX = "etherd!"
_SLOT = re.compile(r"(e[0-9]+)\.[0-9]+")
_NAMED = re.compile(r"(?:/dev/etherd/|(?P<shelf>e[0-9]+)/)?(?P<slot>e[0-9]+\.[0-9]+)")


def pools(paths: Sequence[str]) -> Sequence[Pool]:
    """Each shelf, "e0", of which a slot is known."""
    shelves = dict.fromkeys(volume.pool for volume in _slots())
    return tuple(pool for shelf in shelves if (pool := pool_named(shelf)))


def pool_named(name: str) -> Pool | None:
    """The shelf "e0"."""
    slots = [volume for volume in _slots() if volume.pool == name]
    if not slots:
        return None
    gone = [volume.name for volume in slots if not volume.active]
    return Pool(
        kind="aoe", name=name, size=sum(volume.size or 0 for volume in slots),
        remark=f"{', '.join(gone)} without answer" if gone else "", figures=(("slots", str(len(slots))),),
    )  # fmt: skip


def volumes(pool: Pool) -> Sequence[Volume]:
    """The slots of the shelf, by number."""
    return [volume for volume in _slots() if volume.pool == pool.name]


def volume_named(word: str) -> Volume | None:
    """By "e0.1", "e0/e0.1" or "/dev/etherd/e0.1"."""
    found = _NAMED.fullmatch(word)
    if found is None:
        return None
    return next((volume for volume in _slots() if volume.name == found["slot"] and
                 found["shelf"] in (None, volume.pool)), None)  # fmt: skip


def place_of(word: str) -> tuple[Pool, str] | None:
    """The shelf of a slot that is not there."""
    found = _NAMED.fullmatch(word)
    pool = pool_named(found["slot"].partition(".")[0]) if found else None
    return (pool, found["slot"]) if pool and found else None


def resize(volume: Volume, size: int) -> Volume:
    """Have the kernel ask the shelf for the size, which the shelf must have changed before."""
    return grown(
        volume, size, lambda: tell(REVALIDATE, f"{volume.name}\0"), lambda: volume_named(volume.name), "the shelf"
    )


def _slots() -> Iterator[Volume]:
    """By shelf and number."""
    names: list[str] = []
    with suppress(OSError):
        names = [name.removeprefix(_PREFIX) for name in os.listdir(SYSFS) if name.startswith(_PREFIX)]
    slots = [found for name in names if (found := _SLOT.fullmatch(name))]
    for found in sorted(slots, key=lambda one: [int(part) for part in one[0][1:].split(".")]):
        volume = disk(f"{_PREFIX}{found[0]}", kind="aoe", pool=found[1], name=found[0], figures=_figures(found[0]))
        state = dict(volume.figures).get("state", "")
        active = volume.active and not state.startswith(("down", "closewait"))
        yield volume if active == volume.active else volume._replace(active=False, remark="without answer")


def _figures(slot: str) -> tuple[tuple[str, str], ...]:
    found = []
    for file in ("state", "netif"):
        with suppress(OSError), open(f"{SYSFS}/{_PREFIX}{slot}/{file}", encoding="ascii", errors="replace") as opened:
            found.append((file, opened.read().strip()))
    return tuple(found)
