"""Volume groups and thin pools as pools of ``xmcompat storage``, and logical volumes as its volumes. Nothing is changed.

A thin pool is a pool of its own, called "vg0/thin", with the volumes in it. A thin volume that is left out when volumes are
activated, as ``lvcreate -s`` makes them, is a snapshot; one that is not is a volume of its own.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress

from xmcompat.storage import lvm, lvm_read
from xmcompat.storage.lvm_read import HALF_MADE, Group, Lv
from xmcompat.storage.programs import run
from xmcompat.storage.volume import Pool, Volume

#: From how many percent on a pool, or the room of a snapshot, is told to be filling up.
NEARLY_FULL = 80.0

_NAME = r"(?!\.\.?(?:/|$))[A-Za-z0-9_+.][A-Za-z0-9_+.-]*"
_WORD = re.compile(rf"({_NAME})/(?:({_NAME})/)?([^/]+)")
_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"))


def pools(paths: Sequence[str]) -> tuple[Pool, ...]:
    """All volume groups and thin pools; PATHS tell no more."""
    groups = lvm_read.groups()
    ours = _system_id(groups)
    found = lvm_read.volumes(*(group.name for group in groups if _readable(group, ours)))
    made = [*(_group_pool(group, ours) for group in groups), *_thin_pools(found)]
    return tuple(sorted(made, key=lambda pool: pool.name))


def pool_named(name: str) -> Pool | None:
    """The group "vg0" or "/dev/vg0", or the thin pool "vg0/thin"."""
    word = name.rstrip("/").removeprefix("/dev/")
    if not re.fullmatch(rf"{_NAME}(/{_NAME})?", word) or (name.startswith("/") and not name.startswith("/dev/")):
        return None
    groups = [group for group in lvm_read.groups() if group.name == word.partition("/")[0]]
    ours = _system_id(groups)
    if "/" not in word:
        return next((_group_pool(group, ours) for group in groups), None)
    found = lvm_read.volumes(*(group.name for group in groups if _readable(group, ours)))
    return next((pool for pool in _thin_pools(found) if pool.name == word), None)


def volumes(pool: Pool) -> tuple[Volume, ...]:
    """Those that guests can have; those of a thin pool are in that one, not in its group."""
    group, _, thin = pool.name.partition("/")
    inside = [lv for lv in lvm_read.volumes(group) if lv.is_for_guests and (lv.pool if lv.is_thin else "") == thin]
    return tuple(volume_of(lv) for lv in sorted(inside, key=lambda lv: lv.name))


def volume_named(word: str) -> Volume | None:
    """ "vg0/web1", "vg0/thin/web1", /dev/vg0/web1, /dev/mapper/vg0-web1, or any path that leads to its device."""
    found = _names(word)
    if found is None:
        return None
    group, thin, name = found
    lv = lvm_read.volume(group, name)
    return volume_of(lv) if lv and lv.is_for_guests and thin in ("", lv.pool) else None


def place_of(word: str) -> tuple[Pool, str] | None:
    """Of "vg0/new", "vg0/thin/new", /dev/vg0/new."""
    found = _WORD.fullmatch(word.removeprefix("/dev/"))
    if not found or (word.startswith("/") and not word.startswith("/dev/")):
        return None
    pool = pool_named("/".join(filter(None, found.group(1, 2))))
    return (pool, found[3]) if pool else None


def volume_of(lv: Lv) -> Volume:
    """What the commands show of a logical volume."""
    origin = lv.origin if lv.is_old_snapshot or (lv.is_thin and lv.kept) else ""
    taken = None if lv.data is None else round(lv.size * lv.data / 100)
    figures = []
    if lv.is_old_snapshot and lv.data is not None:
        figures.append(("room for differences", f"{lv.data:.1f}% of {size_text(lv.size)}"))
    elif lv.is_thin and lv.origin and not origin:
        figures.append(("clone of", lv.origin))
    return Volume(
        kind="lvm", pool=f"{lv.group}/{lv.pool}" if lv.is_thin else lv.group, name=lv.name, path=lv.path,
        size=lv.origin_size if lv.is_old_snapshot else lv.size, allocated=taken if lv.is_thin else lv.size, origin=origin,
        thin=lv.is_thin, active=lv.active, readonly=not lv.writable, identity=lv.uuid, half_made=HALF_MADE in lv.tags,
        zeroed=lv.zeroing, remark=_remark(lv), figures=tuple(figures),
    )  # fmt: skip


def size_text(size: int) -> str:
    """A size in bytes for people: "68 MiB", "1.5 GiB"."""
    unit, name = next((pair for pair in _UNITS if size >= pair[0]), (1, "bytes"))
    return f"{size / unit:.1f}".removesuffix(".0") + f" {name}"


def _remark(lv: Lv) -> str:
    if HALF_MADE in lv.tags:
        return "half made: the copy into it was cut off, or is going on"
    if lv.invalid:
        return "spoilt: its room for differences ran full; remove it"
    if lv.merging:
        return f"it is being merged into {lv.origin}" if lv.origin else "a snapshot is being merged into it"
    if lv.health:
        return lv.health.replace("_", " ")
    if lv.is_old_snapshot and lv.size <= lv.origin_size and (lv.data or 0) >= NEARLY_FULL:
        return f"its room for differences is {lv.data:.0f}% full; at 100% it is spoilt"
    return ""


def _group_pool(group: Group, ours: str) -> Pool:
    remarks = (
        (group.exported, "exported; vgimport takes it in"),
        (not _readable(group, ours), f"another host's, with the system ID {group.owner}"),
        (group.partial, "a disk of it is missing"),
        (not group.writable, "read-only"),
    )
    return Pool(
        kind="lvm", name=group.name, size=group.size, free=group.free,
        remark=next((text for so, text in remarks if so), ""),
    )  # fmt: skip


def _thin_pools(found: Sequence[Lv]) -> list[Pool]:
    thin = [lv for lv in found if lv.is_thin_pool]
    rule = _autoextend() if thin else ""
    return [_thin_pool(lv, found, rule) for lv in thin]


def _thin_pool(pool: Lv, all_of_them: Sequence[Lv], rule: str) -> Pool:
    inside = [lv for lv in all_of_them if lv.group == pool.group and lv.pool == pool.name and lv.is_thin]
    promised = sum(lv.size for lv in inside)
    shares = (("data", pool.data), ("metadata", pool.metadata))
    figures = [(name, f"{share:.1f}%") for name, share in shares if share is not None]
    figures += [
        ("promised", f"{size_text(promised)} to {len(inside)} volume{'' if len(inside) == 1 else 's'}"),
        ("when full", "writes fail at once" if pool.when_full == "error" else "writes wait 60 s, then fail"),
        ("grows by itself", rule),
    ]
    free = None if pool.data is None else pool.size - round(pool.size * pool.data / 100)
    return Pool(
        kind="lvm", name=f"{pool.group}/{pool.name}", size=pool.size, free=free, remark=_pool_remark(pool),
        figures=tuple(figures),
    )  # fmt: skip


def _pool_remark(pool: Lv) -> str:
    more = f"lvextend -L +SIZE {pool.group}/{pool.name}"
    if pool.health == "out_of_data" or (pool.data is not None and pool.data >= 100):
        return f"full: guests that write new blocks are paused; {more}, then xm unpause"
    if pool.check_needed:
        return f"needs a check: lvconvert --repair {pool.group}/{pool.name}, while it is not active"
    if pool.health:
        return pool.health.replace("_", " ")
    if pool.metadata is not None and pool.metadata >= NEARLY_FULL:
        return f"metadata {pool.metadata:.0f}% full; lvextend --poolmetadatasize +SIZE {pool.group}/{pool.name}"
    if pool.data is not None and pool.data >= NEARLY_FULL:
        return f"{pool.data:.0f}% full; {more}"
    return ""


def _autoextend() -> str:
    threshold, percent = lvm_read.autoextend()
    return "no" if threshold >= 100 else f"from {threshold}% on, by {percent}%"


def _system_id(groups: Sequence[Group]) -> str:
    """This host's, asked where a group has one."""
    if not any(group.owner for group in groups):
        return ""
    return run(["lvm", "systemid"]).partition("system ID:")[2].strip()


def _readable(group: Group, ours: str) -> bool:
    return not group.exported and group.owner in ("", ours)


def _names(word: str) -> tuple[str, str, str] | None:
    """Group, thin pool ("" where it is not said) and volume."""
    if not word.startswith("/"):
        found = _WORD.fullmatch(word)
        return (found[1], found[2] or "", found[3]) if found else None
    need = lvm.need_of(os.path.normpath(word)) or lvm.need_of(_device_of(word))
    if need is None:
        return None
    group, _, name = need.name.partition("/")
    return group, "", name


def _device_of(path: str) -> str:
    """/dev/mapper/vg0-web1 for a path that leads to that device; "" where it leads to none of LVM's."""
    with suppress(OSError, ValueError):
        found = os.stat(path)
        if stat.S_ISBLK(found.st_mode):
            folder = f"/sys/dev/block/{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}/dm"
            with open(f"{folder}/uuid", encoding="ascii") as uuid, open(f"{folder}/name", encoding="ascii") as name:
                if re.fullmatch(r"LVM-\w{64}", uuid.read().strip()):
                    return f"/dev/mapper/{name.read().strip()}"
    return ""

