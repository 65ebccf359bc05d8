"""Targets of iSCSI as pools: those with which this host has a session, and their LUNs that have devices.

A target that only QEMU itself talks to is no pool. A session is made by a guest's disk, or by iscsiadm.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

from xmcompat.storage import iscsi_sysfs as sysfs
from xmcompat.storage.iscsi_sysfs import Session
from xmcompat.storage.volume import Pool, Volume
from xmcompat.storage.volume_device import SYSFS, disk, grown, ready, refused, tell

__all__ = [
    "FILES", "LIVE", "REFUSES", "place_of", "pool_named", "pools", "ready", "resize", "volume_named", "volumes",
]  # fmt: skip

REFUSES = refused("the target")
LIVE = frozenset({"resize"})
FILES = False


def pools(paths: Sequence[str]) -> Sequence[Pool]:
    """Each session's target, with its portal."""
    return tuple(_pool(session) for session in _sessions())


def pool_named(name: str) -> Pool | None:
    """By "IQN@HOST:PORT", or the IQN alone where there is one session with it."""
    found = [one for one in _sessions() if name in (_name(one), one.lun.target)]
    return _pool(found[0]) if len(found) == 1 or (found and _name(found[0]) == name) else None


def volumes(pool: Pool) -> Sequence[Volume]:
    """The LUNs of the session that have a device, by number."""
    session = next((one for one in _sessions() if _name(one) == pool.name), None)
    return tuple(_volume(session, lun) for lun in sysfs.luns(session)) if session else ()


def volume_named(word: str) -> Volume | None:
    """By "IQN@HOST:PORT/lun-1", "IQN/lun-1", or any path that leads to its device."""
    real = os.path.realpath(word) if word.startswith("/dev/") else ""
    for session in _sessions():
        for lun in sysfs.luns(session):
            volume = _volume(session, lun)
            if word in (volume.full_name, f"{session.lun.target}/{volume.name}"):
                return volume
            if real and real == sysfs.device(session, lun):
                return volume
    return None


def place_of(word: str) -> tuple[Pool, str] | None:
    """The pool of a LUN that would have to be made."""
    name, _, last = word.rpartition("/")
    pool = pool_named(name) if name else None
    return (pool, last) if pool and last else None


def resize(volume: Volume, size: int) -> Volume:
    """Have the kernel ask the target for the LUN's size, which the target must have changed before."""
    path = f"{SYSFS}/{os.path.basename(os.path.realpath(volume.path))}/device/rescan"
    return grown(volume, size, lambda: tell(path, "1\n"), lambda: volume_named(volume.full_name), "the target")


def _sessions() -> Iterator[Session]:
    """One for each target and portal."""
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir(sysfs.SESSIONS)
    targets = {_text(name, "targetname") for name in names}
    for target in sorted(targets - {""}):
        folders: set[str] = set()
        for session in sysfs.sessions_of(target):
            if session.folder not in folders:
                folders.add(session.folder)
                yield session


def _name(session: Session) -> str:
    host = f"[{session.lun.host}]" if ":" in session.lun.host else session.lun.host
    return f"{session.lun.target}@{host}:{session.lun.port}"


def _pool(session: Session) -> Pool:
    state = _text(os.path.basename(os.path.dirname(session.folder)), "state")
    luns = sysfs.luns(session)
    sizes = [one.size or 0 for one in (_volume(session, lun) for lun in luns)]
    return Pool(
        kind="iscsi", name=_name(session), size=sum(sizes), remark="" if state in ("LOGGED_IN", "") else state.lower(),
        figures=(("LUNs", str(len(luns))),),
    )  # fmt: skip


def _volume(session: Session, lun: int) -> Volume:
    path = sysfs.device(session, lun) or ""
    return disk(os.path.basename(path), kind="iscsi", pool=_name(session), name=f"lun-{lun}", path=path)


def _text(session: str, file: str) -> str:
    with suppress(OSError), open(f"{sysfs.SESSIONS}/{session}/{file}", encoding="ascii", errors="replace") as opened:
        return opened.read().strip()
    return ""
