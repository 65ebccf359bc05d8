"""Pools and volumes: where guests' disks are kept on this host, and the disks themselves.

A pool needs no registration: it is found on the host and called by what it is ("vg0", "vg0/thinpool", "/srv/xen", "e0").
Each kind is one module of this folder, ``pool_KIND.py``, with the functions of ``PoolKind``. What a kind cannot do is a
sentence in its ``REFUSES``; the commands look there first.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, cast

from xmcompat.storage.programs import StorageError

#: The kinds, in the order in which they are listed and asked whether a word means something of theirs: first the one
#: where a look may take forever.
KINDS = ("nfs", "lvm", "folder", "iscsi", "aoe")

#: What changes a volume, in the words of ``xmcompat storage``.
CHANGES = ("create", "resize", "snapshot", "rollback", "clone", "remove", "import")

#: Called with what is being done and how much of it is done, 0 to 1.
Progress = Callable[[str, float], None]


def quiet(_stage: str, _share: float) -> None:
    """No progress is shown."""


class Pool(NamedTuple):
    """Where volumes are kept. ``size`` and ``free`` in bytes, None where nothing tells.

    ``name`` is what the commands call it, unique among all pools. ``remark`` says what is wrong with it ("exported",
    "97% full"), "" for nothing. ``figures`` is what ``usage`` shows besides: ("metadata", "12.5%").
    """

    kind: str
    name: str
    size: int | None = None
    free: int | None = None
    remark: str = ""
    figures: tuple[tuple[str, str], ...] = ()


class Volume(NamedTuple):
    """One disk in a pool. ``name`` within the pool ("web1", "web1.img"), ``path`` what a guest's configuration names.

    ``size`` is what a guest sees, ``allocated`` what it takes of the pool, in bytes; None where nothing tells. ``origin``
    is the name of the volume that this one is a snapshot of. ``active`` False: ``path`` is not there now. ``identity``
    is of this very volume, and never of another one that gets its name later (an LV's uuid, device and inode of a file).
    A snapshot inside of its origin's file has no path (""). ``half_made``: it is being filled, or whoever did so was
    killed. ``zeroed``: a new one reads as zeros all over. ``figures`` as with pools.
    """

    kind: str
    pool: str
    name: str
    path: str
    size: int | None
    allocated: int | None = None
    format: str = "raw"
    origin: str = ""
    thin: bool = False
    active: bool = True
    readonly: bool = False
    identity: str = ""
    half_made: bool = False
    zeroed: bool = False
    remark: str = ""
    figures: tuple[tuple[str, str], ...] = ()

    @property
    def full_name(self) -> str:
        """How the commands call it: "vg0/web1", "/srv/xen/web1.img"."""
        return f"{self.pool}/{self.name}"


class Wanted(NamedTuple):
    """A volume to make. ``size`` in bytes; ``format`` "" for the kind's own choice; ``thin``: takes room as it is written.

    ``force``: put it where something is whose signature is known.
    """

    size: int
    format: str = ""
    thin: bool = False
    force: bool = False


class PoolKind(Protocol):
    """A module that knows one kind of pools. All functions raise StorageError (or ImageError), in one line with a hint.

    Whether guests, mounts or holds use a volume is found out by the caller, before a change that is not in ``LIVE``; what
    only the kind can know (an open volume, snapshots of it, a signature) it finds out itself.
    """

    #: A change that this kind does not make, and why, with what to do instead. Its function need not be there then.
    REFUSES: Mapping[str, str]

    #: The changes that are safe while a running guest has the volume open.
    LIVE: Collection[str]

    #: Whether volumes are files, which can have formats, and which the QEMU of a running guest grows itself.
    FILES: bool

    def pools(self, paths: Sequence[str]) -> Sequence[Pool]:
        """All that are on this host; () where the kind is not. PATHS are those of the disks that guests have."""

    def pool_named(self, name: str) -> Pool | None:
        """The pool that NAME means, also one that ``pools`` does not list; None where it is no name of this kind's."""

    def volumes(self, pool: Pool) -> Sequence[Volume]:
        """Those in POOL, by name, its snapshots included."""

    def volume_named(self, word: str) -> Volume | None:
        """The volume that WORD means: its full name, or its path in any spelling. None where it is none of this kind's."""

    def place_of(self, word: str) -> tuple[Pool, str] | None:
        """The pool, and the name in it, of a volume that is to be made: "vg0/new", "vg0/thin/new", "/srv/xen/new.img"."""

    def create(self, pool: Pool, name: str, wanted: Wanted) -> Volume: ...

    def filling(self, pool: Pool, name: str, wanted: Wanted) -> AbstractContextManager[Volume]:
        """A new volume that the body fills, all of it; not of kinds whose volumes are files. It is half made until the body
        ends well, and removed where the body fails; what a killed process has left of that name is removed first."""

    def resize(self, volume: Volume, size: int) -> Volume:
        """To SIZE bytes or a little more. A smaller size has been asked for with --shrink --force."""

    def snapshot(self, volume: Volume, name: str, *, progress: Progress = quiet) -> Volume: ...

    def rollback(self, volume: Volume, snapshot: Volume, *, progress: Progress = quiet) -> Volume:
        """Have VOLUME as it was when SNAPSHOT was made. Either all of it, or as it was before, or it goes on by itself."""

    def clone(self, volume: Volume, pool: Pool, name: str, *, progress: Progress = quiet) -> Volume: ...

    def remove(self, volume: Volume, *, force: bool = False) -> None:
        """Raises StorageError where it has snapshots, or holds something that is known and not FORCE."""

    def ready(self, volume: Volume) -> AbstractContextManager[str]:
        """The path of its device or file, which is there (and active) while the body runs; as before afterwards."""


def kind(name: str) -> PoolKind:
    """The module of a kind, loaded at its first use. Raises StorageError for a word that is none."""
    if name not in KINDS:
        raise StorageError(f"'{name}' is no kind of pools")
    return cast(PoolKind, importlib.import_module(f"xmcompat.storage.pool_{name}"))


def refuse(volume_kind: str, change: str) -> None:
    """Raises StorageError where the kind does not make that CHANGE."""
    why = kind(volume_kind).REFUSES.get(change)
    if why:
        raise StorageError(f"'{change}' cannot be done in a pool of kind {volume_kind}: {why}")
