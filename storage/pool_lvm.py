"""Pools of LVM: volume groups and thin pools, whose volumes LVM's own programs make, change and remove.

A linear volume is copied to clone it, and a snapshot of it (of the old kind) has room for all of its blocks, so that it
cannot run full. Thin volumes are cloned at once, and their snapshots take what is written. A roll back uses the snapshot
up. What must not happen together is left to LVM's lock: a removal names the volume by its uuid, and the roles that it must
not have.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count

from xmcompat.storage import holds, lvm, lvm_read
from xmcompat.storage.image_device import signature
from xmcompat.storage.lvm_fill import clear, fill, whole
from xmcompat.storage.lvm_read import HALF_MADE, Lv
from xmcompat.storage.lvm_refusals import explained, gone, only_thin_pool, refuse_name, refuse_open
from xmcompat.storage.lvm_volume import place_of, pool_named, pools, size_text, volume_named, volume_of, volumes
from xmcompat.storage.programs import StorageError, run
from xmcompat.storage.volume import Pool, Progress, Volume, Wanted, quiet

__all__ = [
    "FILES", "LIVE", "REFUSES", "clone", "create", "filling", "place_of", "pool_named", "pools", "ready", "remove",
    "resize", "rollback", "snapshot", "volume_named", "volumes",
]  # fmt: skip

REFUSES: Mapping[str, str] = {}
LIVE = frozenset({"create", "resize", "snapshot", "clone"})
FILES = False

_SECTOR = 512

#: Seconds between looks at a merge, and after which a merge that makes no progress gets somebody who ends it.
_LOOK, _STUCK = 0.5, 10.0

#: Looks at a merge that does not begin.
_PATIENCE = 3

_holders = count()


def create(pool: Pool, name: str, wanted: Wanted) -> Volume:
    """A linear volume, or a thin one in a thin pool. A linear one is refused where an old signature shows up at its
    beginning, unless FORCE wipes that; thin ones are empty."""
    return volume_of(_create(pool, name, wanted))


def _create(pool: Pool, name: str, wanted: Wanted, *, to_fill: bool = False) -> Lv:
    """TO_FILL: all of it is written next, so that nothing needs to be wiped; it bears the tag of what is not whole."""
    if wanted.format not in ("", "raw"):
        raise StorageError(f"a logical volume is a raw disk, and not {wanted.format}", hint="leave out --format")
    refuse_name(name)
    group, _, thin = pool.name.partition("/")
    thin = thin or (only_thin_pool(group) if wanted.thin else "")
    size = f"{_rounded(wanted.size, _SECTOR)}b"
    words = ["lvcreate", *(["-y"] if wanted.force else []), *(["--addtag", HALF_MADE] if to_fill else []), "-n", name]
    if thin:
        words += ["-V", size, "--thinpool", f"{group}/{thin}"]
    else:
        answer = "n" if to_fill else "y"
        words += ["-L", size, "-W", answer, "-Z", answer, group]
    _take_room(words, f"cannot make {group}/{name}", group, thin)
    return _there(group, name)


def _take_room(words: list[str], doing: str, group: str, thin: str) -> None:
    try:
        lvm_read.lvm(words, doing=doing)
    except StorageError as error:
        raise explained(error, group, thin) from error


def resize(volume: Volume, size: int) -> Volume:
    """To SIZE bytes, rounded up to a whole extent; also while a guest runs, but never smaller then."""
    lv, others = _now(volume)
    name = lv.full_name
    if lv.is_old_snapshot:
        raise StorageError(
            f"{name} is a snapshot, and has the size of its origin {lv.origin}",
            hint=f"'lvextend -L +SIZE {name}' gives it more room for differences",
        )
    if kept := [one.name for one in others if one.is_old_snapshot and one.origin == lv.name]:
        raise StorageError(f"{name} has the snapshot {kept[0]}, which keeps its size", hint="remove the snapshot first")
    size = _rounded(size, lv.extent)
    if size > lv.size:
        _take_room(["lvextend", "-L", f"{size}b", name], f"cannot grow {name}", lv.group, lv.pool)
    elif size < lv.size:
        refuse_open(lv)
        lvm_read.lvm(["lvreduce", "-y", "-f", "-L", f"{size}b", name], doing=f"cannot shrink {name}")
    return volume_of(_there(lv.group, lv.name))


def snapshot(volume: Volume, name: str, *, progress: Progress = quiet) -> Volume:
    """As the volume is at this moment; of a running guest's disk, as after a power cut."""
    lv, _ = _now(volume)
    origin, made = lv.full_name, f"{lv.group}/{name}"
    refuse_name(name)
    if lv.is_old_snapshot:
        raise StorageError(f"{origin} is a snapshot of {lv.origin}, and LVM makes none of that", hint="clone it")
    room = [] if lv.is_thin else ["-l", "100%ORIGIN"]
    _take_room(["lvcreate", "-s", *room, "-n", name, origin], f"cannot make {made}", lv.group, lv.pool)
    found = _there(lv.group, name)
    if found.is_old_snapshot and found.size <= lv.size:  # LVM gives what there is
        lvm_read.lvm(["lvremove", "-y", "-S", f'lv_uuid="{found.uuid}"'], doing=f"cannot remove {made}")
        raise StorageError(
            f"cannot make {made}: {lv.group} has {size_text(found.size)} free, which is not enough",
            hint=f"'lvcreate -s -L SIZE -n {name} {origin}' makes a smaller one, which is spoilt when it runs full",
        )
    return volume_of(found)


def rollback(volume: Volume, snapshot: Volume, *, progress: Progress = quiet) -> Volume:
    """Merge the snapshot into the volume, which uses it up. Thin ones at once; one of the old kind block by block, which
    goes on by itself when this is cut off: the volume reads as it was from the first moment on. May be repeated."""
    with ready(volume):
        lv, others = _now(volume)
        old = next((one for one in others if one.uuid == snapshot.identity), None)
        if old is None:
            raise gone(snapshot)
        if old.origin != lv.name:
            hint = f"it is one of {old.origin}" if old.origin else None
            raise StorageError(f"{old.full_name} is no snapshot of {lv.full_name}", hint=hint)
        if old.invalid:
            raise _spoilt(old)
        if not old.merging:  # a quiet lvconvert does not end with the pipe of who is killed
            refuse_open(lv)
            refuse_open(old)
            words = ["lvconvert", "-qq", "-y", "-b", "-i", "1", "--merge", old.full_name]
            lvm_read.lvm(words, doing=f"cannot roll {lv.full_name} back to {old.name}")
        merged = _follow_merge(lv, old, progress)
    return volume_of(merged) if volume.active else volume_of(_there(lv.group, lv.name))


def _follow_merge(into: Lv, old: Lv, progress: Progress) -> Lv:
    """Wait until the snapshot has gone into its origin. A merge that does not begin, for lvconvert was killed, does so with
    a new activation; one that does not end, for the process that LVM left to see to that was killed, gets another one."""
    begun, last, since, idle = 0.0, -1.0, time.monotonic(), 0
    while True:
        found = {one.name: one for one in lvm_read.volumes(into.group)}
        if old.name not in found or not found[old.name].merging:
            progress("roll back", 1.0)
            return found.get(into.name, into)
        idle = 0 if _merges(into) else idle + 1
        if idle == _PATIENCE and not found[into.name].open:
            for state in ("n", "y"):
                lvm_read.lvm(["lvchange", "-y", "-a", state, into.full_name], doing=f"cannot begin with {into.full_name}")
        elif idle > _PATIENCE:
            raise StorageError(
                f"something has {into.full_name} open: it is rolled back when it is activated the next time",
                hint=f"close it, then 'lvchange -an {into.full_name}' and 'lvchange -ay {into.full_name}'",
            )
        left = found[old.name].data or 0.0
        begun = max(begun, left)
        progress("roll back", 1 - left / begun if begun else 1.0)
        if left != last:
            last, since = left, time.monotonic()
        elif time.monotonic() - since > _STUCK:
            with suppress(StorageError):
                lvm_read.lvm(["lvchange", "--poll", "y", "-i", "1", into.full_name], doing="cannot end the merge")
            since = time.monotonic()
        time.sleep(_LOOK)


def _merges(into: Lv) -> bool:
    """Whether the kernel is at it, and does not wait until the volume is closed."""
    return " snapshot-merge " in run(["dmsetup", "table", lvm.mapped_name(into.full_name)])


def clone(volume: Volume, pool: Pool, name: str, *, progress: Progress = quiet) -> Volume:
    """A volume of its own with the same contents: at once within a thin pool (or from it into its group), else a copy."""
    lv, _ = _now(volume)
    group, _, thin = pool.name.partition("/")
    refuse_name(name)
    if lv.is_thin and group == lv.group and thin in ("", lv.pool):
        words = ["lvcreate", "-s", "-k", "n", "-n", name, lv.full_name]
        _take_room(words, f"cannot make {group}/{name}", group, lv.pool)
        return volume_of(_there(group, name))
    if lv.invalid:
        raise _spoilt(lv)
    refuse_open(lv, "clone a snapshot of it")
    return _copied(volume, pool, name, progress)


def _copied(volume: Volume, pool: Pool, name: str, progress: Progress) -> Volume:
    assert volume.size is not None
    with filling(pool, name, Wanted(size=volume.size)) as made, ready(volume) as source, ready(made) as target:
        fill(source, target, progress, zeroed=made.zeroed)
    return volume_of(_there(pool.name.partition("/")[0], name))


@contextmanager
def filling(pool: Pool, name: str, wanted: Wanted) -> Iterator[Volume]:
    """A new volume that the body fills. It bears a tag until then, by which what a killed process leaves is known."""
    group = pool.name.partition("/")[0]
    clear(group, name)
    made = _create(pool, name, wanted, to_fill=True)
    try:
        yield volume_of(made)
        whole(made)
    except BaseException:
        with suppress(StorageError):
            clear(group, name)
        raise


def remove(volume: Volume, *, force: bool = False) -> None:
    """Raises StorageError where it is open, has snapshots, is being merged, or has a known signature and not FORCE."""
    lv, others = _now(volume)
    name = lv.full_name
    refuse_open(lv)
    if lv.merging:
        raise StorageError(f"{name} is being rolled back", hint="wait for it")
    if dependent := [one.name for one in others if _stands_on(one, lv)]:
        raise StorageError(f"{name} has the snapshot {dependent[0]}", hint="remove that first; what is in it, clone before")
    if not force and not lv.invalid:  # what is spoilt cannot be read
        _refuse_signature(volume)
    chosen = f'lv_uuid="{lv.uuid}" && lv_role!=thickorigin && lv_role!=extorigin'
    said = lvm_read.lvm(["lvremove", "-y", "-S", chosen], doing=f"cannot remove {name}")
    if "successfully removed" not in said:
        raise StorageError(f"{name} was not removed: a snapshot of it was made in that moment", hint="look again")


def _stands_on(one: Lv, lv: Lv) -> bool:
    """A clone is on its own, a snapshot is not, nor a thin volume whose unwritten blocks are those of a volume outside."""
    return one.origin == lv.name and (one.kept or not (one.is_thin and one.pool == lv.pool))


def _refuse_signature(volume: Volume) -> None:
    with ready(volume) as path:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            hint = "--force removes it all the same"
            raise StorageError(f"{volume.full_name} cannot be looked into: {error.strerror}", hint=hint) from None
        try:
            found = signature(fd)
        finally:
            os.close(fd)
        if found:
            raise StorageError(f"{volume.full_name} holds something: {found}", hint="--force removes it")


@contextmanager
def ready(volume: Volume) -> Iterator[str]:
    """The path of its device, active while the body runs, and held as for a guest: what is killed meanwhile is swept."""
    need = lvm.need_of(volume.path)
    if need is None:
        raise gone(volume)
    if volume.half_made:  # who names it knows that, and mostly is at it
        need = replace(need, words={**need.words, "half_made": "y"})
    holder = f"command-{os.getpid()}-{next(_holders)}"
    path = holds.take(need, holder, hypervisor=holds.COMMAND) or volume.path
    try:
        yield path
    finally:
        holds.give(need, holder)


def _spoilt(lv: Lv) -> StorageError:
    return StorageError(f"{lv.full_name} is spoilt: its room for differences ran full", hint="remove it; it cannot be read")


def _now(volume: Volume) -> tuple[Lv, tuple[Lv, ...]]:
    """The volume as it is now, and all of its group. Raises StorageError where another one has its name."""
    others = lvm_read.volumes(volume.pool.partition("/")[0])
    lv = next((one for one in others if one.uuid == volume.identity), None)
    if lv is None:
        raise gone(volume)
    return lv, others


def _there(group: str, name: str) -> Lv:
    lv = lvm_read.volume(group, name)
    if lv is None:
        raise StorageError(f"{group}/{name} is not there any more", hint="another command removed it")
    return lv


def _rounded(size: int, unit: int) -> int:
    return -(-size // unit) * unit
