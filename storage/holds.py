"""Who needs what of the host's storage: brought up for the first guest, and taken down when the last one has gone.

A hold is a small file in /run/xmcompat/storage, which goes with a reboot as sessions and mounts do. What was up before the
first hold is used and left as it is. A record is written before anything is brought up, so that whoever is killed in the
middle leaves a trace, which ``sweep`` follows.

A holder is one disk of a domain, "UUID.xvda1"; its owner is the domain, "UUID". Of the several hypervisors that a host may
have, each knows its own domains alone: a holder says whose it is, and is swept by that one.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import NamedTuple

from xmcompat.storage import turns
from xmcompat.storage.needs import ABOVE, DEADLINE, Need, kind
from xmcompat.storage.programs import StorageError

FOLDER = "/run/xmcompat/storage"

#: In place of a hypervisor: who holds it is a command, which needs it no longer than its process lives.
COMMAND = "command"

_RECORD, _LOCK, _NEW = "record", "lock", "new"
_HOLDER = "for-"


class Hold(NamedTuple):
    """A need, who has it, and whether it was brought up here (``ours``) or found to be up."""

    need: Need
    ours: bool
    holders: tuple[str, ...]


def take(need: Need, holder: str, *, hypervisor: str = "", deadline: float = DEADLINE, folder: str = FOLDER) -> str:
    """Have NEED up, and held for HOLDER, a domain of the HYPERVISOR (its URI), until ``give``; returns the path of its
    device, "" for one that is found by the path that led to the need. May be repeated.

    Raises StorageError; then it is as before. The holder is known as alive while this process lives, though its domain
    does not exist yet: until it is ``settled``.
    """
    module = kind(need.kind)
    with _turn(_place(need, folder)) as place:
        found = _read(place)
        ours = found.ours if found else not module.is_up(need)
        every = _with_words_of(found, need)
        _write_record(place, every, ours)
        try:
            path = module.assemble(need, deadline)
            _write(f"{place}/{_HOLDER}{holder}", f"{_this_process()}\n{hypervisor}")
            return path
        except BaseException as error:
            if not _holders(place):
                with suppress(StorageError):  # what went wrong first is told; the next sweep tries again
                    _end(every, place, ours)
            if isinstance(error, StorageError):
                raise module.explain(need, error) from None
            raise


def _with_words_of(found: Hold | None, need: Need) -> Need:
    """NEED, with what was said of it before and is not now: what that has brought up is to be taken down as well."""
    words = {word: value for word, value in need.words.items() if value or not found or word not in found.need.words}
    return replace(need, words={**(found.need.words if found else {}), **words})


def settle(owner: str, *, folder: str = FOLDER) -> None:
    """The domain of OWNER is there: from now on it is what its holds live by, and no longer this process."""
    for hold in held(folder):
        for holder in (one for one in hold.holders if owner_of(one) == owner):
            with _turn(_place(hold.need, folder)) as place:
                path = f"{place}/{_HOLDER}{holder}"
                if os.path.exists(path):
                    _write(path, f"\n{_hypervisor(path)}")


def has(need: Need, holder: str, *, folder: str = FOLDER) -> bool:
    """Whether HOLDER has it already, or is about to."""
    return os.path.exists(f"{_place(need, folder)}/{_HOLDER}{holder}")


def again(need: Need, is_up: Callable[[], bool], *, folder: str = FOLDER) -> bool:
    """Bring up once more what is held and has died, unless somebody has done so meanwhile, or it is held no more; whether
    it was done. Raises StorageError, DeviceError."""
    with _turn(_place(need, folder)) as place:
        found = _read(place)
        if not found or not found.holders or is_up():
            return False
        kind(need.kind).assemble(found.need, DEADLINE)
        return True


def give(need: Need, holder: str, living: Container[str] = (), *, folder: str = FOLDER) -> None:
    """HOLDER needs it no longer; it is taken down with its last holder. Silent where it is not held, where another process
    has begun meanwhile to start the same domain, and where that is one of LIVING (as in ``sweep``): it has done so. Raises
    StorageError where it cannot be taken down: it is held no more, and the next ``sweep`` tries again."""
    if not os.path.isdir(_place(need, folder)):
        return
    with _turn(_place(need, folder)) as place:
        found, path = _read(place), f"{place}/{_HOLDER}{holder}"
        if _lives(path) and _lines(path)[0] != _this_process():
            return
        if os.path.exists(path) and owner_of(holder) in living:
            return
        with suppress(FileNotFoundError):
            os.unlink(path)
        if found and not _holders(place):
            _end(found.need, place, found.ours)


def take_back(need: Need, holder: str, *, folder: str = FOLDER) -> None:
    """Give back what this process has taken for HOLDER, and not settled: a domain that was started meanwhile keeps it."""
    path = f"{_place(need, folder)}/{_HOLDER}{holder}"
    if _lines(path)[0] == _this_process():
        give(need, holder, folder=folder)


def give_all(who: str, living: Callable[[Need], Container[str]] = lambda need: (), *, folder: str = FOLDER) -> None:
    """Give back all that WHO has, a holder or an owner, as ``give`` does; LIVING says for each need who still has it.
    Raises the first StorageError when all have been tried."""
    errors = []
    for hold in held(folder):
        for holder in (one for one in hold.holders if who in (one, owner_of(one))):
            try:
                give(hold.need, holder, living(hold.need), folder=folder)
            except StorageError as error:
                errors.append(error)
    if errors:
        raise errors[0]


def owner_of(holder: str) -> str:
    return holder.partition(".")[0]


def held(folder: str = FOLDER) -> tuple[Hold, ...]:
    """All that is held, and what a take or give that was cut off has left, with no holders."""
    return tuple(found for name in _names(folder) if (found := _read(f"{folder}/{name}")))


def _names(folder: str) -> list[str]:
    """The places in FOLDER, in the order in which their needs are taken down."""
    try:
        return sorted(os.listdir(folder), key=lambda name: (name.rpartition("-")[0] not in ABOVE, name))
    except OSError:
        return []


def sweep(living: Container[str], *, hypervisor: str = "", folder: str = FOLDER) -> tuple[StorageError, ...]:
    """Give back what domains of the HYPERVISOR hold that are none of LIVING (uuids), nor are being started by a process
    that lives. Returns what could not be taken down; it is tried again the next time, as is what somebody is at just now.

    LIVING is asked once the process is known to have gone, or to have settled: a domain that was started since is there.
    """
    errors = []
    for name in _names(folder):
        with _turn(f"{folder}/{name}", wait=False) as place:
            for holder in _holders(place) if place else ():
                path = f"{place}/{_HOLDER}{holder}"
                if _hypervisor(path) == hypervisor and not _lives(path) and owner_of(holder) not in living:
                    with suppress(FileNotFoundError):
                        os.unlink(path)
            found = _read(place) if place else None
            if found and not found.holders:
                try:
                    _end(found.need, place, found.ours)
                except StorageError as error:
                    errors.append(error)
    return tuple(errors)


def _end(need: Need, place: str, ours: bool) -> None:
    if ours:
        kind(need.kind).release(need)
    with suppress(FileNotFoundError):
        os.unlink(f"{place}/{_RECORD}")


def _place(need: Need, folder: str) -> str:
    import hashlib

    return f"{folder}/{need.kind}-{hashlib.sha256(need.name.encode('utf-8', 'surrogateescape')).hexdigest()[:20]}"


@contextmanager
def _turn(place: str, *, wait: bool = True) -> Iterator[str]:
    """PLACE, the folder of a need, with its lock held; "" where somebody else has that and WAIT is false. It goes when
    nothing is held in it any more."""
    fd = _locked(place, wait=wait)
    if fd is None:
        yield ""
        return
    try:
        yield place
    finally:
        with suppress(OSError):
            if {_LOCK} == set(os.listdir(place)) - {_NEW}:
                for name in (_NEW, _LOCK):
                    with suppress(FileNotFoundError):
                        os.unlink(f"{place}/{name}")
                os.rmdir(place)
        os.close(fd)


def _locked(place: str, *, wait: bool) -> int | None:
    """The lock file of PLACE, locked; it may have been removed by whoever had it before. None where somebody has it and
    WAIT is false. Raises StorageError."""
    while True:
        try:
            os.makedirs(place, mode=0o700, exist_ok=True)
            fd = os.open(f"{place}/{_LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # removed since a moment
        except FileExistsError as error:
            # the look at what mkdir found there came after whoever had it before has removed it
            if not os.path.lexists(place) or os.path.isdir(place):
                continue
            raise StorageError(f"{place}: {error.strerror}") from None
        except OSError as error:
            hint = "only root may do that" if isinstance(error, PermissionError) else None
            raise StorageError(f"{error.filename or place}: {error.strerror}", hint=hint) from None
        try:
            if wait:
                turns.take(fd, f"{place}/{_LOCK}")
            else:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(f"{place}/{_LOCK}"), os.fstat(fd)):
                    return fd
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _read(place: str) -> Hold | None:
    try:
        with open(f"{place}/{_RECORD}", encoding="utf-8", errors="surrogateescape") as file:
            record = json.load(file)
        need = Need(kind=record["kind"], name=record["name"], words=record["words"])
        return Hold(need, record["ours"], _holders(place))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _holders(place: str) -> tuple[str, ...]:
    with suppress(OSError):
        return tuple(sorted(name.removeprefix(_HOLDER) for name in os.listdir(place) if name.startswith(_HOLDER)))
    return ()


def _write_record(place: str, need: Need, ours: bool) -> None:
    record = {"kind": need.kind, "name": need.name, "words": dict(need.words), "ours": ours}
    _write(f"{place}/{_RECORD}", json.dumps(record))


def _write(path: str, text: str) -> None:
    """All of the file or nothing of it. Raises StorageError."""
    fresh = f"{os.path.dirname(path)}/{_NEW}"
    try:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        os.rename(fresh, path)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None


def _this_process() -> str:
    return f"{os.getpid()} {_begun(os.getpid())}"


def _begun(pid: int) -> str:
    """When the process began, in the kernel's ticks; "" where there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _lives(path: str) -> bool:
    """Whether the process that took the hold at PATH, and has not settled it, is still there."""
    try:
        pid, begun = _lines(path)[0].split()
        return begun != "" and _begun(int(pid)) == begun
    except ValueError:
        return False


def _hypervisor(path: str) -> str:
    return _lines(path)[1]


def _lines(path: str) -> tuple[str, str]:
    """The process that took the hold at PATH, and the hypervisor that has its domain."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            process, _, hypervisor = file.read().partition("\n")
            return process, hypervisor
    except OSError:
        return "", ""
