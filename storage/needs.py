"""What of the host's must be up before a disk is there: a volume that is active, a session, a mount, a device found.

A ``Need`` is a value: its kind names the module that knows how to bring it up, its words say which one it is. Each kind is
one module of this folder with the same five functions:

    need_of(path) -> Need | None      what a path of the host's shows by its form, None for another kind's; at most the
                                      configuration of its kind is read for it
    is_up(need) -> bool               read from the kernel and its tools, never from files of ours
    assemble(need, deadline) -> path  bring it up and wait, at most DEADLINE seconds, until its device is there; returns the
                                      device's path, "" where it is the path that ``need_of`` was asked with
    release(need)                     take it down again; silent where it is down
    explain(need, error) -> StorageError    what the failure means: who denies, which filter hides it, what to type

``assemble`` and ``release`` may be repeated, and called again after they were killed at any moment.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

from xmcompat.storage.programs import StorageError

#: Seconds in which something must come up.
DEADLINE = 30.0

#: The kinds, in the order in which a path is shown to them.
KINDS = ("aoe", "iscsi", "drbd", "nfs", "lvm")
#: Those of which no path tells: the disk itself says so.
UNSEEN = ("block_script", "served", "mapped")
#: Those that stand on others, and are taken down before them.
ABOVE = ("served", "mapped")


#: Links that the kernel follows, one after the other.
_MOST_LINKS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """``name`` is unique among those of one kind ("vg0/web1"). ``words`` say more of it, ``secret`` what nobody may read:
    it is never written down nor shown, and is not there when the need is read back."""

    kind: str
    name: str
    words: Mapping[str, str] = field(default_factory=dict, hash=False)
    secret: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def same(self, other: Need | None) -> bool:
        """Whether both are one need, whatever is said of it besides."""
        return other is not None and (self.kind, self.name) == (other.kind, other.name)


class Kind(Protocol):
    """A module that knows how to bring one kind of need up."""

    def need_of(self, path: str) -> Need | None: ...
    def is_up(self, need: Need) -> bool: ...
    def assemble(self, need: Need, deadline: float) -> str: ...
    def release(self, need: Need) -> None: ...
    def explain(self, need: Need, error: StorageError) -> StorageError: ...


def kind(name: str) -> Kind:
    """The module of a kind, loaded at its first use. Raises StorageError for a word that is none."""
    if name not in (*KINDS, *UNSEEN):
        raise StorageError(f"'{name}' is no kind of storage")
    return cast(Kind, importlib.import_module(f"xmcompat.storage.{name}"))


def need_of(path: str) -> Need | None:
    """What must be up before PATH is there, by its form, or by that of what it leads to over links, which may lead to
    nothing yet; None for an ordinary file or disk."""
    return next((found for step in _steps(path) for name in KINDS if (found := kind(name).need_of(step))), None)


def _steps(path: str) -> Iterator[str]:
    """PATH, and where its links lead, one after the other."""
    yield path
    for _ in range(_MOST_LINKS if path.startswith("/") else 0):
        folder, name = os.path.split(path)
        real = os.path.join(os.path.realpath(folder), name)
        if real != path:
            yield real
        try:
            path = os.path.normpath(os.path.join(os.path.dirname(real), os.readlink(real)))
        except (OSError, ValueError):
            return
        yield path
