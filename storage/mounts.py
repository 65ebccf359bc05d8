"""What is mounted on this host, and what /etc/fstab says could be. Nothing of it is looked into: a server may be gone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

FSTAB = "/etc/fstab"
MOUNTINFO = "/proc/self/mountinfo"


class Mount(NamedTuple):
    """A file system that is mounted, or a line of fstab. ``options`` as they are written."""

    source: str
    point: str
    type: str
    options: str

    @property
    def is_nfs(self) -> bool:
        return self.type in ("nfs", "nfs4")

    @property
    def readonly(self) -> bool:
        return "ro" in self.options.split(",")


def mounted() -> list[Mount]:
    """All that is mounted, in the kernel's order: of two at one place the later one lies on top."""
    mounts = []
    for line in _lines(MOUNTINFO):
        place, separator, origin = line.partition(" - ")
        fields, more = place.split(" "), origin.split(" ")
        if separator and len(fields) > 5 and len(more) > 2:
            mounts.append(Mount(_plain(more[1]), _plain(fields[4]), more[0], f"{fields[5]},{more[2]}"))
    return mounts


def fstab() -> list[Mount]:
    """The lines of /etc/fstab that mount something at a place."""
    lines = (line.split() for line in _lines(FSTAB) if not line.lstrip().startswith("#"))
    found = (Mount(_plain(words[0]), _plain(words[1]), words[2], words[3] if len(words) > 3 else "")
             for words in lines if len(words) > 2)  # fmt: skip
    return [mount._replace(point=mount.point.rstrip("/") or "/") for mount in found if mount.point.startswith("/")]


def holding(path: str, mounts: Iterable[Mount]) -> Mount | None:
    """That of MOUNTS on which PATH lies: the one with the longest place, and the last of these."""
    holders = [mount for mount in mounts if mount.point == "/" or f"{path}/".startswith(f"{mount.point}/")]
    return max(reversed(holders), key=lambda mount: len(mount.point), default=None)


def at(point: str) -> Mount | None:
    """What is mounted at POINT; of several the one on top."""
    return next((mount for mount in reversed(mounted()) if mount.point == point), None)


def unmounted(path: str) -> Mount | None:
    """The line of fstab on whose file system PATH should lie, where that is not mounted."""
    line = holding(path, fstab())
    return line if line and line.point != "/" and all(line.point != mount.point for mount in mounted()) else None


def _plain(text: str) -> str:
    """Without the octal numbers that stand for blanks and their like."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            return file.read().split("\n")  # what else ends lines for Python may be in a name
    except OSError:
        return []
