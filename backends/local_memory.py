"""Memory that guests of this host could still have: what is free, less what those that run have been promised.

QEMU takes memory as its guest touches it, so that what is free now may be somebody's already.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

_CGROUPS = "/sys/fs/cgroup"


def available(proc: str = "/proc", cgroups: str = _CGROUPS) -> int | None:
    """KiB that processes could take now: what the kernel can free, and no more than this process's cgroups allow. None
    where it does not tell."""
    try:
        with open(f"{proc}/meminfo", encoding="ascii") as file:
            words = dict(line.split()[:2] for line in file)
        free = int(words["MemAvailable:"])
    except (OSError, ValueError, KeyError):
        return None
    return max(min([free, *_rooms(proc, cgroups)]), 0)


def _rooms(proc: str, cgroups: str) -> Iterable[int]:
    """KiB that each cgroup with a limit, among those that hold this process, has left; the caches in it can be freed."""
    try:
        with open(f"{proc}/self/cgroup", encoding="utf-8") as file:
            places = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return
    for number, controllers, path in places:
        if number == "0" and not controllers:
            yield from _up(cgroups, path, ("memory.max", "memory.current", "inactive_file"))
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _up(f"{cgroups}/memory", path, names)


def _up(root: str, path: str, names: tuple[str, str, str]) -> Iterable[int]:
    """Of the cgroup at PATH and all above it."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for depth in range(len(parts), -1, -1):
        folder = "/".join((root, *parts[:depth]))
        limit, used = _number(f"{folder}/{names[0]}"), _number(f"{folder}/{names[1]}")
        if limit is not None and used is not None and limit < 1 << 60:
            yield (limit - used + _cached(f"{folder}/memory.stat", names[2])) // 1024


def _number(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _cached(path: str, name: str) -> int:
    try:
        with open(path, encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith(f"{name} ")), 0)
    except (OSError, ValueError, IndexError):
        return 0


def residents(proc: str = "/proc") -> dict[str, int]:
    """KiB that the QEMU of each guest has taken, huge pages among them, by the guest's uuid."""
    found: dict[str, int] = {}
    for name in os.listdir(proc):
        if not name.isdigit():
            continue
        try:
            with open(f"{proc}/{name}/cmdline", "rb") as file:
                uuid = file.read().partition(b"\0-uuid\0")[2].partition(b"\0")[0].decode("ascii", "replace")
            if uuid:
                with open(f"{proc}/{name}/status", encoding="utf-8", errors="replace") as file:
                    words = [line.split() for line in file if line.startswith(("VmRSS:", "HugetlbPages:"))]
                found[uuid] = max(found.get(uuid, 0), sum(int(line[1]) for line in words))
        except (OSError, ValueError, IndexError):
            continue  # it has ended
    return found


def promised(guests: Mapping[str, int], taken: Mapping[str, int]) -> int:
    """KiB that GUESTS (uuid to the memory they may use) have not taken yet. Pure."""
    return sum(max(memory - taken.get(uuid, 0), 0) for uuid, memory in guests.items())
