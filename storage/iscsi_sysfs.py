"""What the kernel tells of sessions with targets of iSCSI, and of the devices of their LUNs."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import NamedTuple

from xmcompat.iscsi_names import Lun
from xmcompat.storage.check import mount_table
from xmcompat.storage.programs import StorageError
from xmcompat.storage.sharing import parse_mountinfo

SESSIONS = "/sys/class/iscsi_session"
_HOSTS = "/sys/class/scsi_host"
_BLOCK = "/sys/class/block"


class Session(NamedTuple):
    """A session, by its folder in sysfs; ``lun`` has its target and portal."""

    folder: str
    lun: Lun


def sessions_of(target: str) -> list[Session]:
    """All sessions with TARGET, whatever their portals, that are logged in or wait for their target."""
    found = []
    for name in _listed(SESSIONS):
        folder = f"{SESSIONS}/{name}"
        if _read(f"{folder}/targetname") == target:
            for host, port in _portals(f"{folder}/device"):
                found.append(Session(f"{folder}/device", Lun(host=host, port=port, target=target)))
    return found


def session(lun: Lun) -> Session | None:
    """The session with LUN's target by LUN's portal."""
    known = [one for one in sessions_of(lun.target) if one.lun.port == lun.port]
    found = next((one for one in known if one.lun.host == lun.host), None)
    if found is None and known:
        addresses = _addresses(lun.host)
        found = next((one for one in known if one.lun.host in addresses), None)
    return found


def _portals(folder: str) -> list[tuple[str, int]]:
    found = []
    for name in _listed(folder):
        if name.startswith("connection"):
            connection = f"{folder}/{name}/iscsi_connection/{name}"
            for kind in ("persistent_address", "address"):
                port = _read(f"{connection}/{kind.replace('address', 'port')}")
                if port.isdecimal():
                    found.append((_read(f"{connection}/{kind}").strip("[]"), int(port)))
    return list(dict.fromkeys(found))


def _addresses(host: str) -> set[str]:
    import socket

    with suppress(OSError):
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    return set()


def luns(session: Session) -> list[int]:
    """The LUNs of the session that have devices."""
    return sorted(_devices(session))


def device(session: Session, lun: int) -> str | None:
    """"/dev/sda", the LUN's device; None where there is none yet."""
    name = _devices(session).get(lun)
    return name and f"/dev/{name}"


def _devices(session: Session) -> dict[int, str]:
    """The names of the block devices by LUN."""
    found = {}
    for target in _listed(session.folder):
        for unit in _listed(f"{session.folder}/{target}") if target.startswith("target") else ():
            place = re.fullmatch(r"[0-9]+:[0-9]+:[0-9]+:([0-9]+)", unit)
            names = _listed(f"{session.folder}/{target}/{unit}/block") if place else []
            if place and names:
                found[int(place[1])] = names[0]
    return found


def scan(session: Session, lun: int) -> None:
    """Have the kernel look for a LUN that the target may have got since the login. Raises StorageError."""
    host = os.path.basename(os.path.dirname(os.path.realpath(session.folder)))
    path = f"{_HOSTS}/{host}/scan"
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(f"- - {lun}\n")
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None


def holder(device: str) -> str:
    """The device that multipathd has made of DEVICE and its like: "/dev/mapper/mpatha"; "" where it has made none."""
    for name in _listed(f"{_BLOCK}/{os.path.basename(device)}/holders"):
        if _is_whole(name):
            return f"/dev/mapper/{_read(f'{_BLOCK}/{name}/dm/name')}"
    return ""


def is_logged_in(session: Session) -> bool:
    """False for one that waits for its target."""
    name = os.path.basename(os.path.realpath(session.folder))
    return _read(f"{SESSIONS}/{name}/state") == "LOGGED_IN"


def wholes(session: Session) -> set[str]:
    """The devices that multipathd has made of the session's."""
    return {whole for name in _devices(session).values() if (whole := holder(name))}


def user(session: Session) -> str:
    """Who uses a disk of the session: "/dev/sda is open in qemu-system-x86 (123)"; "" where nobody does."""
    names = [name for disk in _devices(session).values() for name in (disk, *_partitions(disk))]
    for name in names:  # grows
        for held in _listed(f"{_BLOCK}/{name}/holders"):
            if not _is_whole(held):
                return f"{held} stands on /dev/{name}"
            names += [] if held in names else [held]
    numbers = {_read(f"{_BLOCK}/{name}/dev"): name for name in names}
    for mount in parse_mountinfo(mount_table()):
        if mine := numbers.get(f"{mount.major}:{mount.minor}"):
            return f"/dev/{mine} is mounted on {mount.point}"
    return _opener(numbers)


def _is_whole(name: str) -> bool:
    """Whether multipathd has made the device."""
    return _read(f"{_BLOCK}/{name}/dm/uuid").startswith("mpath-")


def _partitions(disk: str) -> list[str]:
    return [name for name in _listed(f"{_BLOCK}/{disk}") if name.startswith(disk)]


def _opener(numbers: dict[str, str]) -> str:
    """The process that has one of these devices open. QEMU has a node of its own for it: the number tells."""
    for pid in filter(str.isdecimal, _listed("/proc")):
        folder = f"/proc/{pid}/fd"
        for fd in _listed(folder):
            with suppress(OSError):
                if not os.readlink(f"{folder}/{fd}").startswith("/dev/"):
                    continue
                found = os.stat(f"{folder}/{fd}")
                number = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
                if stat.S_ISBLK(found.st_mode) and number in numbers:
                    return f"/dev/{numbers[number]} is open in {_read(f'/proc/{pid}/comm')} ({pid})"
    return ""


def _listed(folder: str) -> list[str]:
    with suppress(OSError):
        return sorted(os.listdir(folder))
    return []


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().strip()
    except OSError:
        return ""
