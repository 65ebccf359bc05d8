"""Which domains are being moved just now: ``xm list`` shows them as ``migrating-NAME``, which xend called them meanwhile.

libvirt cannot rename a domain that runs. Whoever moves one holds a lock on a file of its uuid beside what libvirtd keeps of
running domains: the lock goes with the process, so that no domain is shown as moving that is not.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from xmcompat.backends.domain_lock import locked
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.local_host import moving_folder
from xmcompat.errors import DomainNotFound, OperationError

if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import Hypervisor

PREFIX = "migrating-"
#: Seconds that somebody who changes a domain's devices is waited for.
DEVICES = 10.0
_THIS_HOST = ("localhost", "localhost.localdomain", "127.0.0.1", "::1")
_TRIES, _PAUSE = 10, 0.02
#: In the file of a domain that stands still.
_STANDS = b"stands still\n"


def is_this_host(name: str) -> bool:
    """Whether NAME means the host on which a domain is already."""
    return name.lower() in _THIS_HOST or name == os.uname().nodename


@contextmanager
def held(uri: str, info: DomainInfo) -> Iterator[int | None]:
    """Inside, the domain of INFO is moving. Raises OperationError where somebody else moves it already.

    Gives the file that is locked, which a child may be given too: then the domain is moving until both have ended. Where no
    file can be written, it is None, and nothing is shown.
    """
    with _held(uri, info.uuid) as (mine, handle):
        if not mine:
            raise OperationError(f"'{info.name}' is being moved already", hint="see xm list")
        if handle is not None:
            stand_still(handle, False)  # a process that was killed may have left its words
        yield handle


def stand_still(handle: int, stands: bool) -> None:
    """Say whether the domain of the locked file HANDLE stands still while its disks are copied, and goes on by itself.

    May be repeated; where nothing more can be written, nothing is said.
    """
    with suppress(OSError):
        os.ftruncate(handle, 0)
        if stands:
            os.pwrite(handle, _STANDS, 0)


def stands_still(uri: str, uuid: str) -> bool:
    """Whether the domain stands still while its disks are copied for a checkpoint."""
    path = os.path.join(moving_folder(uri), uuid)
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            stands = file.read(len(_STANDS)) == _STANDS
    except OSError:
        return False
    return stands and _is_locked(path)


def refuse_standing(uri: str, info: DomainInfo) -> None:
    """Raises OperationError where the domain stands still while its disks are copied.

    Its memory would be of another moment than its disks; and QEMU 7.2 falls where it goes on while it makes the copies'
    files.
    """
    if stands_still(uri, info.uuid):
        raise OperationError(f"'{info.name}' is being saved, and goes on by itself when its disks are copied")


@contextmanager
def restored(uri: str, uuid: str, name: str) -> Iterator[None]:
    """Inside, the domain is being restored, and its disks may be written. Raises OperationError where somebody else does it
    already, or has not done yet with the move by which it went."""
    with _held(uri, f"{uuid}.restored") as (mine, _):
        if not mine:
            raise OperationError(f"'{name}' is being restored already", hint="see xm list")
        if is_moving(uri, uuid):
            raise OperationError(f"'{name}' is being saved, or moved", hint="try again when that is over")
        yield


def settled(hypervisor: Hypervisor, info: DomainInfo) -> DomainInfo:
    """INFO; looked at anew where it is paused: who plugs an interface in has the domain stand still for a moment.

    Raises DomainNotFound.
    """
    if info.state == DomainState.PAUSED:
        try:
            with suppress(BlockingIOError), locked(info.uuid, os.environ, patience=DEVICES):
                return hypervisor.find(info.uuid)
        except DomainNotFound:
            raise DomainNotFound(info.name) from None
    return info


def refuse_on_its_way(uri: str, uuid: str, name: str) -> None:
    """Raises OperationError where the domain is being saved or moved, which gives back what its disks need once it has
    ended, or is being restored, which may write its disks."""
    for file, what in ((uuid, "saved, or moved"), (f"{uuid}.restored", "restored")):
        path = os.path.join(moving_folder(uri), file)
        if all(_is_locked(path, pause) for pause in (0.0, *[_PAUSE] * _TRIES)):  # who sweeps has it for a moment
            raise OperationError(f"'{name}' is being {what}", hint="try again when that is over")


@contextmanager
def _held(uri: str, file: str) -> Iterator[tuple[bool, int | None]]:
    """Whether this process, and no other, has the lock on FILE, also where no file can be written; and the file."""
    folder = moving_folder(uri)
    path = os.path.join(folder, file)
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        handle = _locked(path)
    except OSError:
        yield True, None
        return
    if handle is None:
        yield False, None
        return
    try:
        yield True, handle
    finally:
        os.close(handle)
        _swept(path)  # not where a child has it still


def _locked(path: str) -> int | None:
    """The file PATH, open and locked; None where another process has it. Who only looks has it for a moment."""
    for _ in range(_TRIES):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            time.sleep(_PAUSE)
            continue
        if os.fstat(handle).st_nlink:
            return handle
        os.close(handle)  # whoever had it before has removed it meanwhile
    return None


def _removed(path: str) -> None:
    """The file stays where somebody has taken it away."""
    try:
        os.unlink(path)
    except OSError:
        return


def is_moving(uri: str, uuid: str) -> bool:
    """Whether a process of this host moves the domain just now."""
    return _is_locked(os.path.join(moving_folder(uri), uuid))


def _is_locked(path: str, pause: float = 0.0) -> bool:
    """Whether another process has it, after PAUSE seconds."""
    if pause:
        time.sleep(pause)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _swept(path: str) -> None:
    """Remove the file of a process that was killed; silent where it is somebody's, or may not be removed. Who removes one
    has its lock: so it is never another's of the same name."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink:
            _removed(path)
    except OSError:
        return
    finally:
        os.close(handle)


def shown(uri: str, infos: Sequence[DomainInfo]) -> list[DomainInfo]:
    """INFOS by the names that xend gave them. Files of processes that were killed are removed: while one is there,
    everybody who asks for a name looks for them."""
    folder = moving_folder(uri)
    try:
        held = {name for name in os.listdir(folder) if _is_locked(os.path.join(folder, name))}
        for name in set(os.listdir(folder)) - held:
            _swept(os.path.join(folder, name))
    except OSError:
        held = set()
    return [
        info._replace(name=PREFIX + info.name) if info.domid is not None and info.uuid in held else info for info in infos
    ]
