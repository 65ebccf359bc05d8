"""Domains that are promised to come from other hosts: their memory, their names, and what was made for them.

A promise is a file beside what libvirtd keeps of running domains, locked by the process that speaks with the other host. A
file that nobody has locked was left by one that was killed: ``left`` finds it, and who ``takes_over`` has it alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from xmcompat.backends.local_host import run_folder
from xmcompat.errors import OperationError


class Made(NamedTuple):
    """A file that was made for a disk: where, by which numbers it is known again, and when it was last written to before
    the domain had it (ns)."""

    path: str
    device: int
    inode: int
    written: int


class Promise(NamedTuple):
    """A domain that may come. ``memory`` in KiB; ``made`` are files that were made for its disks."""

    uuid: str
    name: str
    memory: int
    made: tuple[Made, ...] = ()


_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def folder(uri: str) -> str:
    return f"{run_folder(uri)}/xmcompat/arriving"


def refuse_no_uuid(text: str) -> None:
    """Raise OperationError for what is no uuid as libvirt writes it: it becomes a part of paths."""
    if not _UUID.fullmatch(text):
        raise OperationError(f"the source says '{ascii(text[:60])[1:-1]}' where the uuid of a domain should be")


class Kept:
    """A promise of this process. ``let_go`` of it when the domain has come, or does not."""

    def __init__(self, path: str, handle: int, promise: Promise) -> None:
        self.promise = promise
        self._path = path
        self._handle: int | None = handle

    def note(self, made: Made) -> None:
        """Write down that the file MADE is there for it, in the place of what was noted of it before. Raises OSError."""
        others = tuple(one for one in self.promise.made if one.path != made.path)
        self.promise = self.promise._replace(made=(*others, made))
        self.write()

    def write(self) -> None:
        """Raises OSError."""
        assert self._handle is not None
        data = json.dumps(self.promise._asdict()).encode()
        os.pwrite(self._handle, data, 0)
        os.ftruncate(self._handle, len(data))

    def let_go(self) -> None:
        """Forget it. May be repeated."""
        with suppress(OSError), _alone(os.path.dirname(self._path)):
            if self._handle is not None:
                os.unlink(self._path)
        self.leave()

    def leave(self) -> None:
        """Leave it to who comes next, unless it is forgotten. May be repeated."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def promise(uri: str, wanted: Promise) -> Kept:
    """Promise it. Raises OperationError where another process has promised its uuid or name, OSError.

    What was made for it before, by a process that has gone, is noted with it.
    """
    place = folder(uri)
    os.makedirs(place, mode=0o700, exist_ok=True)
    with _alone(place):
        for other, lives in _all(place):
            if lives and (wanted.uuid == other.uuid or wanted.name == other.name):
                raise OperationError(f"'{other.name}' is already coming here from another host")
        path = f"{place}/{wanted.uuid}"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            kept = Kept(path, handle, wanted._replace(made=(*_read(handle, wanted.uuid).made, *wanted.made)))
            kept.write()
        except BaseException:
            os.close(handle)
            raise
    return kept


def promised(uri: str) -> list[Promise]:
    """Those of processes that live."""
    return [found for found, lives in _seen(uri) if lives]


def left(uri: str) -> list[Promise]:
    """Those of processes that have gone: what they had prepared is still there."""
    return [found for found, lives in _seen(uri) if not lives]


@contextmanager
def taken_over(uri: str, uuid: str) -> Iterator[Kept | None]:
    """What a process that has gone had promised, for the body alone; None where there is nothing, or somebody has it. It
    stays unless the body lets it go."""
    kept = None
    with suppress(OSError), _alone(folder(uri)):
        path = f"{folder(uri)}/{uuid}"
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            kept = Kept(path, handle, _read(handle, uuid))
        except BaseException:
            os.close(handle)
            raise
    try:
        yield kept
    finally:
        if kept is not None:
            kept.leave()


@contextmanager
def _alone(place: str) -> Iterator[None]:
    """Nobody else looks at the promises in PLACE, or changes what there are. Raises OSError."""
    handle = os.open(f"{place}/.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _seen(uri: str) -> list[tuple[Promise, bool]]:
    place = folder(uri)
    with suppress(OSError), _alone(place):
        return list(_all(place))
    return []


def _all(place: str) -> Iterator[tuple[Promise, bool]]:
    """Each with whether its process lives."""
    for name in sorted(os.listdir(place)):
        if name.startswith("."):
            continue
        try:
            handle = os.open(f"{place}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # let go since
        try:
            yield _read(handle, name), _is_locked(handle)
        finally:
            os.close(handle)


def _is_locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _read(handle: int, uuid: str) -> Promise:
    """One that is just being written counts with what is known of it."""
    try:
        found = json.loads(os.pread(handle, 1 << 20, 0))
        made = tuple(Made(str(path), *map(int, numbers)) for path, *numbers in found["made"])
        return Promise(uuid, str(found["name"]), int(found["memory"]), made)
    except (ValueError, KeyError, TypeError):
        return Promise(uuid, "", 0)
