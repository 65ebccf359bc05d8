"""Mounted exports of NFS servers as pools: folders whose server may be silent, and is asked with patience.

What is mounted here is told; an export that only QEMU opens itself ("nfs:HOST:/...") is no pool.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from xmcompat.storage import pool_folder
from xmcompat.storage.mounts import Mount, mounted
from xmcompat.storage.pool_folder import clone, create, ready, remove, resize, rollback, snapshot
from xmcompat.storage.programs import ProgramFailed, StorageError, run
from xmcompat.storage.volume import Pool, Volume

__all__ = [
    "FILES", "LIVE", "REFUSES", "clone", "create", "place_of", "pool_named", "pools", "ready", "remove", "resize",
    "rollback", "snapshot", "volume_named", "volumes",
]  # fmt: skip

REFUSES = pool_folder.REFUSES
LIVE = pool_folder.LIVE
FILES = pool_folder.FILES

#: Seconds in which a server answers, else it is told as silent.
PATIENCE = 5.0


class Room(NamedTuple):
    """Of a file system, in bytes; ``remark`` says why they are None."""

    size: int | None
    free: int | None
    remark: str = ""


def pools(paths: Sequence[str]) -> Sequence[Pool]:
    """Every export that is mounted, and the folders in them that have the images PATHS."""
    mounts = mounted()
    folders = [one.point for one in mounts if one.is_nfs]
    folders += [os.path.dirname(os.path.abspath(path)) for path in paths]
    return tuple(pool for one in sorted(set(folders)) if (mount := pool_folder.on_nfs(one, mounts))
                 and (pool := _pool(one, mount)))  # fmt: skip


def pool_named(name: str) -> Pool | None:
    """The folder at that path in a mounted export, or the export "HOST:/EXPORT" where it is mounted."""
    mounts = mounted()
    path = pool_folder.whole_path(name) or next((one.point for one in mounts if one.is_nfs and one.source == name), "")
    mount = pool_folder.on_nfs(path, mounts) if path else None
    return _pool(path, mount) if mount else None


def volumes(pool: Pool) -> Sequence[Volume]:
    """The images in it. Raises StorageError where the server does not answer."""
    _refuse_silent(pool)
    return pool_folder.volumes(pool)


def volume_named(word: str) -> Volume | None:
    """The image at the path WORD, or a snapshot of it."""
    place = place_of(word)
    return pool_folder.find(*place) if place else None


def place_of(word: str) -> tuple[Pool, str] | None:
    """The folder and the file name of a path on a mounted export. Raises StorageError where its server is silent."""
    folder, name = pool_folder.split(word)
    pool = pool_named(folder) if name else None
    if pool:
        _refuse_silent(pool)
    return (pool, name) if pool else None


def _pool(path: str, mount: Mount) -> Pool | None:
    room = room_at(path)
    figures = (("export", mount.source), ("version", next((word[5:] for word in mount.options.split(",")
                                                           if word.startswith("vers=")), "")))  # fmt: skip
    return Pool(kind="nfs", name=path, size=room.size, free=room.free, remark=room.remark, figures=figures)


def room_at(path: str) -> Room:
    """How large the file system at PATH is, asked by a program, which can be given up."""
    try:
        said = run(["stat", "-f", "-c", "%S %b %a", "--", path], deadline=PATIENCE)
        block, blocks, free = map(int, said.split())
    except ProgramFailed as error:
        return Room(None, None, error.said.rpartition(": ")[2])
    except (StorageError, ValueError):
        return Room(None, None, f"the server does not answer within {PATIENCE:g} s")
    return Room(block * blocks, block * free)


def _refuse_silent(pool: Pool) -> None:
    if pool.remark:
        raise StorageError(f"{pool.name}: {pool.remark}", hint="see whether the server of that export runs")
