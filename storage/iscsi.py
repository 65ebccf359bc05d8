"""The host's own initiator of iSCSI: a session with a target, for all guests that use LUNs of it.

A need is a target behind a portal; a path names one of its LUNs. What the administrator has written in the initiator's
database (/etc/iscsi/nodes) is used as it is. Where there is nothing, a record of ours is made and marked as such, and goes
with the session. A password reaches iscsid by that file, which root alone reads, and no command line.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

from xmcompat import iscsi_names
from xmcompat.iscsi_names import Lun
from xmcompat.storage import iscsi_records as records
from xmcompat.storage import iscsi_sysfs as sysfs
from xmcompat.storage.needs import Need
from xmcompat.storage.programs import ProgramFailed, StorageError, run
from xmcompat.storage.waiting import is_device, wait_for

#: Seconds in which a portal must answer.
_PATIENCE = 5.0

# iscsiadm's statuses
_NO_SESSION, _ALREADY, _FATAL, _NO_DAEMON, _NO_OBJECTS, _NO_HOST, _DENIED = 2, 15, 19, 20, 21, 23, 24
_NO_TRANSPORT = (12, 14)


def need_of(path: str) -> Need | None:
    """The session behind udev's name for a LUN, and behind "iscsi:..." of a configuration that asks for all ways."""
    if path.startswith("iscsi:"):
        lun = iscsi_names.of_words(path.removeprefix("iscsi:"))
        return need(lun) if lun and lun.multipath and iscsi_names.is_target(lun.target) else None
    lun = iscsi_names.of_device(path)
    return need(lun, path) if lun else None


def need(lun: Lun, path: str = "") -> Need:
    """The session that LUN needs; its device is wanted by PATH."""
    words = {"host": lun.host, "port": str(lun.port), "target": lun.target, "lun": str(lun.lun), "path": path,
             "user": lun.user, "multipath": "y" if lun.multipath else ""}  # fmt: skip
    secret = {"password": lun.password} if lun.password else {}
    return Need(kind="iscsi", name=f"{lun.target}@{lun.portal}", words=words, secret=secret)


def _lun(need: Need) -> Lun:
    words = need.words
    return Lun(
        host=words["host"], port=int(words["port"]), target=words["target"], lun=int(words["lun"]), user=words["user"],
        password=need.secret.get("password"), multipath=bool(words["multipath"]),
    )  # fmt: skip


def is_up(need: Need) -> bool:
    """Whether there is a session that was not made for guests: one whose record is ours was, by whoever was cut off."""
    lun = _lun(need)
    return sysfs.session(lun) is not None and not records.is_ours(lun)


def assemble(need: Need, deadline: float) -> str:
    """Log in where there is no session, and wait for the LUN's device: the path that was asked for where udev makes it,
    else the kernel's name; or the one of all ways where multipathd has taken it. Raises StorageError."""
    lun, end = _lun(need), time.monotonic() + deadline
    portals = _portals(lun, end) if lun.multipath else (lun,)
    for portal in portals:
        if sysfs.session(portal) is None:
            _log_in(portal, min(_PATIENCE, deadline), end)
    device = _device(_logged_in(lun, end), lun, end)
    if lun.multipath or sysfs.holder(device):
        return _whole(device, lun, end)
    path = need.words["path"]
    if not path:
        return device
    if os.path.exists("/run/udev/control"):
        wait_for(path, max(end - time.monotonic(), 1.0))
    return "" if is_device(path) else device


def release(need: Need) -> None:
    """Log out, and take the record away if it is ours. Raises StorageError where a disk of the session is in use."""
    lun = _lun(need)
    others = [one.lun for one in sysfs.sessions_of(lun.target)] if lun.multipath else []
    portals = (lun, *(other for other in others if records.is_ours(other)))
    sessions = [found for portal in portals if (found := sysfs.session(portal))]
    for session in sessions:
        if user := sysfs.user(session):
            raise StorageError(f"the session with {lun.target} stays: {user}", hint="end that first")
    for whole in {whole for session in sessions for whole in sysfs.wholes(session)}:
        with suppress(StorageError):  # multipathd does so, too
            run(["multipath", "-f", os.path.basename(whole)])
    for portal in portals:
        if sysfs.session(portal):
            _iscsiadm(portal, "--logout", silent=(_NO_SESSION, _NO_OBJECTS))
        records.remove(portal)


def explain(need: Need, error: StorageError) -> StorageError:
    """What a failure of iscsiadm means."""
    if not isinstance(error, ProgramFailed):
        return error
    lun, where = _lun(need), f"{need.words['target']} at {_lun(need).portal}"
    if error.status == _DENIED:
        user = f"the user '{lun.user}' or the password" if lun.user else "this host without a user and a password"
        return StorageError(
            f"the target {where} refuses {user}", hint="give both in the disk (user=, password_file=), or in the record: "
            f"iscsiadm -m node -T {lun.target} -p {lun.portal}",
        )  # fmt: skip
    if error.status == _NO_DAEMON:
        return StorageError(f"the target {where} cannot be reached: iscsid does not run", hint="systemctl start iscsid")
    if error.status in _NO_TRANSPORT:
        return StorageError("this kernel has no initiator of iSCSI", hint="modprobe iscsi_tcp")
    if error.status == _FATAL:
        known = _known_targets(lun)
        if known is not None and lun.target not in known:
            there = f"; there are {', '.join(known)}" if known else ""
            return StorageError(f"there is no target {lun.target} at {lun.portal} for this host{there}")
        return StorageError(
            f"the target {where} does not admit this host", hint="its name is in /etc/iscsi/initiatorname.iscsi"
        )
    return StorageError(f"the target {where}: {error.said.removeprefix('iscsiadm: ')}", hint=error.hint)


def _log_in(lun: Lun, patience: float, end: float) -> None:
    _reach(lun, patience)
    if not records.is_there(lun):
        records.make(lun)
    left = max(end - time.monotonic(), 1.0)
    _iscsiadm(lun, "--login", silent=(_ALREADY,), deadline=left)


def _reach(lun: Lun, patience: float) -> None:
    """iscsid itself would try for two minutes."""
    try:
        socket.create_connection((lun.host, lun.port), timeout=patience).close()
    except socket.gaierror:
        raise StorageError(f"the portal {lun.portal} is not known: no address for '{lun.host}'") from None
    except OSError as error:
        why = error.strerror or f"no answer within {patience:.0f} s"
        raise StorageError(f"the portal {lun.portal} cannot be reached: {why}", hint="does the target run?") from None


def _logged_in(lun: Lun, end: float) -> sysfs.Session:
    """The session, once it has its target: an answer to nobody would take as long as guests wait for theirs."""
    while True:
        found = sysfs.session(lun)
        if found is None:
            raise StorageError(f"the session with {lun.target} has ended at once", hint="see the log of iscsid")
        if sysfs.is_logged_in(found):
            return found
        if time.monotonic() >= end:
            raise StorageError(
                f"the target {lun.target} at {lun.portal} has gone: its session waits for it", hint="does the target run?"
            )
        time.sleep(0.1)


def _device(found: sysfs.Session, lun: Lun, end: float) -> str:
    """The kernel's name of the LUN's device: "/dev/sda"."""
    pause, device = 0.02, sysfs.device(found, lun.lun)
    while device is None or not is_device(device):
        if device is None:
            sysfs.scan(found, lun.lun)
        left = end - time.monotonic()
        if left <= 0:
            there = sysfs.luns(found)
            said = f"it has {', '.join(map(str, there))}" if there else "it has none for this host"
            raise StorageError(f"the target {lun.target} at {lun.portal} has no LUN {lun.lun}: {said}")
        time.sleep(min(pause, left))
        pause, device = min(2 * pause, 1.0), sysfs.device(found, lun.lun)
    return device


def _whole(device: str, lun: Lun, end: float) -> str:
    """The device that multipathd has made of all ways."""
    pause = 0.05
    while not (whole := sysfs.holder(device)) or not is_device(whole):
        left = end - time.monotonic()
        if left <= 0:
            raise StorageError(
                f"no multipath device takes in {device}, LUN {lun.lun} of {lun.target}",
                hint="does multipathd run, and let it? see 'multipath -v3'; without multipath=y one way is used",
            )  # fmt: skip
        time.sleep(min(pause, left))
        pause = min(2 * pause, 1.0)
    return whole


def _portals(lun: Lun, end: float) -> tuple[Lun, ...]:
    """All portals of the target, the one that is named first; it alone where its portal tells of none."""
    _reach(lun, _PATIENCE)
    found = [lun]
    for portal, target in _discovered(lun, max(end - time.monotonic(), 1.0)):
        host, _, port = portal.rpartition(":")
        other = lun._replace(host=host.strip("[]"), port=int(port))
        if target == lun.target and (other.host, other.port) != (lun.host, lun.port):
            found.append(other)
    return tuple(found)


def _known_targets(lun: Lun) -> list[str] | None:
    """The targets that the portal tells of; None where it tells nothing."""
    try:
        return sorted({target for _, target in _discovered(lun, _PATIENCE)})
    except StorageError as error:
        return [] if isinstance(error, ProgramFailed) and error.status == _NO_OBJECTS else None


def _discovered(lun: Lun, deadline: float) -> list[tuple[str, str]]:
    """(portal, target) of all that the portal tells of. Nothing is written to the database."""
    words = ["iscsiadm", "-m", "discovery", "-t", "sendtargets", "-o", "nonpersistent", "-p", lun.portal]
    lines = [line.split() for line in run(words, deadline=deadline).splitlines()]
    return [(words[0].rpartition(",")[0], words[1]) for words in lines if len(words) > 1]


def _iscsiadm(lun: Lun, act: str, *, silent: tuple[int, ...] = (), deadline: float = 20.0) -> None:
    try:
        run(["iscsiadm", "-m", "node", "-T", lun.target, "-p", lun.portal, act], deadline=deadline)
    except ProgramFailed as error:
        if error.status not in silent:
            raise _with_status(error) from None


def _with_status(error: ProgramFailed) -> ProgramFailed:
    """ERROR, whose last line is only a summary, with the line that says what is wrong."""
    reported = [line for line in error.complaint.splitlines() if "reported error" in line or "rror" in line]
    with suppress(IndexError):
        error.said = reported[0]
    return error
