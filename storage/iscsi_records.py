"""Records of the initiator's database: how it is to log in to a target. Those that are made here are marked, and removed.

A record is a file of "name = value" lines below /etc/iscsi/nodes, or /var/lib/iscsi/nodes, that root alone reads.
"""

from __future__ import annotations

import glob
import os
from contextlib import suppress

from xmcompat.iscsi_names import Lun
from xmcompat.storage.programs import ProgramFailed, StorageError, run

FOLDERS = ("/etc/iscsi/nodes", "/var/lib/iscsi/nodes")

#: Names of records that are being made, which have no mark yet.
_MAKING = "/run/xmcompat/iscsi"
#: The first line of a record of ours. iscsiadm keeps no comments: a record that was changed by hand is its owner's.
_MARK = "# made by xmcompat for its guests\n"
_NO_OBJECTS = 21
#: What a login of ours waits for (seconds): iscsid's own patience is two minutes. A running guest waits for its target a
#: day, as long as one whose ways are several waits for one of them: then multipathd decides.
_LOGIN_TIMEOUT, _RETRIES = 5, 1
_PATIENCE, _PATIENCE_OF_ONE_WAY = 86400, 15


def is_there(lun: Lun) -> bool:
    """Whether there is a record for the target behind its portal, whoever has made it, in good order."""
    return any(os.path.exists(path) and not _is_half(path) for path in _files(lun))


def is_ours(lun: Lun) -> bool:
    return os.path.exists(_making(lun)) or any(_is_marked(path) for path in _files(lun))


def user_of(lun: Lun) -> str:
    """Who logs in by a record that is not ours; "" where nobody does with a password."""
    for path in () if is_ours(lun) else _files(lun):
        with suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:
            said = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in file)}
            if said.get("node.session.auth.authmethod", "").upper() == "CHAP":
                return said.get("node.session.auth.username", "")
    return ""


def place(lun: Lun) -> str:
    """Where the database has all of its records of the target; "" where it has none of this portal."""
    found = _files(lun)
    folder = next((folder for folder in FOLDERS if found and found[0].startswith(f"{folder}/")), "")
    return f"{folder}/{lun.target}" if folder else ""


def make(lun: Lun) -> None:
    """Make a record, with user and password where LUN has them. Raises StorageError."""
    remove(lun)
    making = _making(lun)
    try:
        os.makedirs(_MAKING, mode=0o700, exist_ok=True)
        os.close(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        _iscsiadm(lun, "new")
        for path in _files(lun):
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                lines = file.read().splitlines(keepends=True)
            _write(path, _MARK + "".join(_changed(lines, lun)))
        os.unlink(making)
    except OSError as error:
        hint = "only root may do that" if isinstance(error, PermissionError) else None
        raise StorageError(f"{error.filename}: {error.strerror}", hint=hint) from None


def remove(lun: Lun) -> None:
    """Take the record away if it is ours, or half made; silent for another. Raises StorageError."""
    if is_ours(lun) or any(map(_is_half, _files(lun))):
        try:
            _iscsiadm(lun, "delete")
        except ProgramFailed as error:
            if error.status != _NO_OBJECTS:
                raise
        with suppress(OSError):
            os.unlink(_making(lun))


def _making(lun: Lun) -> str:
    import hashlib

    return f"{_MAKING}/{hashlib.sha256(f'{lun.target} {lun.portal}'.encode()).hexdigest()[:20]}"


def _iscsiadm(lun: Lun, act: str) -> None:
    run(["iscsiadm", "-m", "node", "-T", lun.target, "-p", lun.portal, "-o", act])


def _changed(lines: list[str], lun: Lun) -> list[str]:
    """The record's LINES with what we want of it."""
    wanted = {
        "node.startup": "manual",
        "node.session.initial_login_retry_max": str(_RETRIES),
        "node.conn[0].timeo.login_timeout": str(_LOGIN_TIMEOUT),
        "node.session.timeo.replacement_timeout": str(_PATIENCE_OF_ONE_WAY if lun.multipath else _PATIENCE),
    }
    if lun.user and lun.password is not None:
        wanted |= {
            "node.session.auth.authmethod": "CHAP", "node.session.auth.username": lun.user,
            "node.session.auth.password": lun.password,
        }  # fmt: skip
    kept = [line for line in lines if line.partition("=")[0].strip() not in wanted]
    end = next((index for index, line in enumerate(kept) if line.startswith("# END")), len(kept))
    return [*kept[:end], *(f"{name} = {value}\n" for name, value in wanted.items()), *kept[end:]]


def _files(lun: Lun) -> list[str]:
    """The files of the record: "HOST,PORT", or "HOST,PORT,GROUP" with one for each interface."""
    found = []
    for folder in FOLDERS:
        place = f"{glob.escape(f'{folder}/{lun.target}/{lun.host},{lun.port}')}"
        for path in (*glob.glob(place), *glob.glob(f"{place},*")):
            found += [path] if os.path.isfile(path) else [f"{path}/{name}" for name in sorted(os.listdir(path))]
    return found


def _is_marked(path: str) -> bool:
    with suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.readline() == _MARK
    return False


def _is_half(path: str) -> bool:
    """Whether iscsiadm or we were cut off while PATH was written."""
    with suppress(OSError):
        return os.path.getsize(path) == 0
    return False


def _write(path: str, text: str) -> None:
    """All of it or nothing, for root alone. The database takes what has a comma in its name for a record: ours has none."""
    fresh = f"{os.path.dirname(path)}/.xmcompat"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    os.rename(fresh, path)
