"""Passwords of disks whose servers ask for them: from the configuration, or a file that it names, into the hypervisor's
keeping, where they stay as long as their domain is there, known, or saved to a file.

A domain's record has no passwords; what starts it again finds them there. What is kept for which domain is written down,
without the passwords, so that a host without any costs a look at one folder.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from xmcompat.errors import DeviceError, DomainNotFound, HypervisorError, XmError
from xmcompat.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from xmcompat.backends.devices import Disk
    from xmcompat.backends.hypervisor import DomainInfo, Hypervisor
    from xmcompat.disk_logins import Login
    from xmcompat.guest import GuestConfig, Vbd

FOLDER = "/var/lib/xmcompat/secrets"
#: What is written down of a file with the memory of a saved domain: its name, and that until it was finished.
_SAVED = ("saved", "unfinished")
#: That the passwords have come with the domain from another host: the files that have them may be there alone.
_CAME = "came"

#: Seconds in which a domain must be there after its secrets.
_PATIENCE = 600.0
#: Bytes of a file that holds a password.
_LONGEST = 4096


# -- kept


def is_any() -> bool:
    """Whether any are kept for domains of this host."""
    try:
        with os.scandir(FOLDER) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def prepared(
    hypervisor: Hypervisor, disks: tuple[Disk, ...], guest: GuestConfig, uuid: str, *, lasting: bool | None = None
) -> tuple[Disk, ...]:
    """The DISKS of GUEST, which is to be the domain UUID, with the passwords that the host itself needs; what QEMU needs is
    in the hypervisor's keeping. LASTING as there; None: where the domain stays known.

    Raises DeviceError where a password is not known, or its file cannot be read.
    """
    every = (one for disk in disks for one in (disk, *disk.members))
    asking = {disk.vdev: login for disk in every if (login := _login(disk, guest))}
    if not asking:
        return disks
    from xmcompat.disk_logins import secret_name

    if lasting is None:
        lasting = _stays(hypervisor, guest, uuid)
    before = _kept(uuid)
    _note(hypervisor, uuid, **_still(before))

    def with_login(disk: Disk) -> Disk:
        if disk.members:
            from dataclasses import replace

            disk = replace(disk, members=tuple(map(with_login, disk.members)))
        login = asking.get(disk.vdev)
        if login is not None:
            by_host = _needs_it(disk)
            name = secret_name(uuid, disk.vdev) if by_host else getattr(disk.source, "secret", "")
            value = _value(login, disk, or_kept=_CAME in before)
            if value is not None:
                hypervisor.keep_secret(login.kind, name, value, lasting=lasting, readable=by_host)
            else:
                value = hypervisor.secret(login.kind, name)
            if value is None or (by_host and not value):
                _value(login, disk)  # says why, where its file is not there
                raise _unknown(login, disk)
            disk = _with_password(disk, value.decode("utf-8", "surrogateescape")) if by_host else disk
        return disk

    return tuple(map(with_login, disks))


def _login(disk: Disk, guest: GuestConfig) -> Login | None:
    """Who logs in for DISK."""
    if not getattr(disk.source, "secret", "") and not _needs_it(disk):
        return None
    from xmcompat.disk_logins import login_of

    vbd = _vbd(disk, guest)
    return login_of(vbd.protocol, vbd.path) if vbd else None


def _vbd(disk: Disk, guest: GuestConfig) -> Vbd | None:
    return next((vbd for vbd in guest.disks if vbd.vdev == disk.vdev), None)


def _needs_it(disk: Disk) -> bool:
    """Whether the host itself logs in, with a user."""
    need = getattr(disk.source, "need", None)
    return need is not None and need.kind == "iscsi" and bool(dict(need.words).get("user"))


def _with_password(disk: Disk, password: str) -> Disk:
    from dataclasses import replace

    source: Any = disk.source
    return replace(disk, source=replace(source, need=replace(source.need, secret=(("password", password),))))


def _stays(hypervisor: Hypervisor, guest: GuestConfig, uuid: str) -> bool:
    """Whether the domain of GUEST stays known when it is off."""
    from xmcompat.translate.events import is_kept

    try:
        return is_kept(guest) or hypervisor.find(uuid).persistent
    except DomainNotFound:
        return False


def _value(login: Login, disk: Disk, *, or_kept: bool = False) -> bytes | None:
    """The password as the hypervisor keeps it; None where the configuration has none, or OR_KEPT, its file is not there.
    Raises DeviceError."""
    text = login.password
    if text is None and login.file:
        text = _read(login, disk, or_kept=or_kept or login.kind == "ceph")
    if text is None:
        return None
    if login.kind != "ceph":
        return text.encode("utf-8", "surrogateescape")
    import base64
    import binascii

    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _refusal(disk, f"The key of '{login.user}' is no key of Ceph's", "see 'ceph auth get'") from None


def _read(login: Login, disk: Disk, *, or_kept: bool) -> str | None:
    """What the file of LOGIN has. OR_KEPT: None where it is not there, since its password may be kept already."""
    try:
        with open(login.file, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(_LONGEST + 1)
    except (OSError, ValueError) as error:
        if or_kept and isinstance(error, FileNotFoundError):
            return None
        why = getattr(error, "strerror", None) or "no name of a file"
        raise _refusal(disk, f"The password of '{login.user}' cannot be read: {login.file}: {why}", None) from None
    if len(text) > _LONGEST:
        raise _refusal(disk, f"The password of '{login.user}' cannot be read: {login.file} is too long", None)
    return _key(text, login.user) if login.kind == "ceph" else text.rstrip("\r\n")


def _key(text: str, user: str) -> str | None:
    """The key of USER in the TEXT of a keyring, "[client.USER]" and "key = ..." below it."""
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[]")
        name, equals, value = line.partition("=")
        if equals and name.strip() == "key" and section == f"client.{user}":
            return value.strip()
    return None


def _unknown(login: Login, disk: Disk) -> DeviceError:
    hint = "give it in the disk as key=, or its file as keyring=" if login.kind == "ceph" else (
        "write password_file=PATH into the disk; a domain's record has no passwords"
    )  # fmt: skip
    return _refusal(disk, f"The password of '{login.user}' is not known", hint)


def _refusal(disk: Disk, why: str, hint: str | None) -> DeviceError:
    from xmcompat.vdev import vdev_number

    device = vdev_number(disk.vdev) or disk.vdev or disk.target
    return DeviceError(f"Device {device} (vbd) could not be connected. {why}", hint=hint)


def settle(uuid: str) -> None:
    """The domain is there: a sweep need not wait for it any more."""
    path = f"{FOLDER}/{uuid}"
    if os.path.exists(path):
        os.utime(path, (0, 0))


def saved(hypervisor: Hypervisor, uuid: str, path: str, made: str = "") -> None:
    """The domain is being saved to the file PATH, called MADE until it is finished: its passwords are kept as long as one
    of them is there."""
    if os.path.exists(f"{FOLDER}/{uuid}"):
        hypervisor.let_secrets_last(_beginning(uuid))
        came = {name: value for name, value in _kept(uuid).items() if name == _CAME}
        _note(hypervisor, uuid, **came, saved=os.path.abspath(path), unfinished=os.path.abspath(made or path))


# -- of a domain that moves


class Asking(NamedTuple):
    """A disk that a password opens, which is kept under ``name``; the host itself logs in (``by_host``), or QEMU does.
    ``login`` None: the configuration does not tell of it, and ``user`` is whom the XML names."""

    disk: Disk
    kind: str
    name: str
    user: str
    login: Login | None
    by_host: bool


def asking(disks: tuple[Disk, ...], guest: GuestConfig, uuid: str) -> Iterator[Asking]:
    """Those of the DISKS of GUEST, the domain UUID."""
    from xmcompat.disk_logins import secret_name

    kinds = {"iscsi": "iscsi", "rbd": "ceph"}
    for disk in (one for whole in disks for one in (whole, *whole.members)):
        source: Any = disk.source
        login, by_host = _login(disk, guest), _needs_it(disk)
        name = secret_name(uuid, disk.vdev) if by_host else getattr(source, "secret", "")
        kind = "iscsi" if by_host else kinds.get(getattr(source, "protocol", ""), "")
        if name and kind:
            yield Asking(disk, kind, name, login.user if login else getattr(source, "user", ""), login, by_host)


def told(hypervisor: Hypervisor, one: Asking) -> bytes | None:
    """The password of ONE. None where this host cannot tell it: the hypervisor tells QEMU alone, and no file has it."""
    if one.login is None:
        return None
    with suppress(DeviceError):
        if value := _value(one.login, one.disk):
            return value
    return hypervisor.secret(one.kind, one.name) or None


def written(disk: Disk, login: Login | None) -> bytes | None:
    """The password of DISK that stands in its configuration, which names LOGIN. Raises DeviceError."""
    return _value(login, disk) if login is not None and login.password is not None else None


def keep(hypervisor: Hypervisor, guest: GuestConfig, uuid: str, values: Sequence[tuple[Asking, bytes]]) -> None:
    """Keep what has come from another host for GUEST, which is to be the domain UUID here. What is kept serves wherever the
    files are not there that the configuration names."""
    lasting = _stays(hypervisor, guest, uuid) or _is_saved(uuid)
    _note(hypervisor, uuid, **{**_still(_kept(uuid)), _CAME: "yes"})
    for one, value in values:
        hypervisor.keep_secret(one.kind, one.name, value, lasting=lasting, readable=one.by_host)


def arrived(hypervisor: Hypervisor, info: DomainInfo) -> None:
    """The domain has come from another host: where it stays known, its passwords do, too."""
    if info.persistent and os.path.exists(f"{FOLDER}/{info.uuid}"):
        hypervisor.let_secrets_last(_beginning(info.uuid))


# -- forgotten


def gone(hypervisor: Hypervisor, uuid: str, vdev: str = "") -> None:
    """The domain has gone, or its disk VDEV alone: forget what was kept for it, unless it stays known. Never raises
    XmError: the next sweep does the rest."""
    if not os.path.exists(f"{FOLDER}/{uuid}"):
        return
    try:
        if vdev:
            hypervisor.forget_secret(f"{_beginning(uuid)}{vdev}")
        elif not _is_there(hypervisor, uuid) and not _is_saved(uuid):
            _forget(hypervisor, uuid)
    except XmError:
        return


def sweep(hypervisor: Hypervisor) -> None:
    """Forget what is kept for domains that nobody knows any more, nor will start from a file. What the hypervisor refuses
    is tried again the next time. Raises HypervisorUnreachable."""
    try:
        names = os.listdir(FOLDER)
    except OSError:
        return
    for uuid in names:
        if _kept(uuid).get("hypervisor") != hypervisor.uri or _is_young(uuid) or _is_saved(uuid):
            continue
        if not _is_there(hypervisor, uuid):  # asked last: what was being made until now is there
            with suppress(HypervisorError):
                _forget(hypervisor, uuid)


def _forget(hypervisor: Hypervisor, uuid: str) -> None:
    for name in hypervisor.secret_names(_beginning(uuid)):
        hypervisor.forget_secret(name)
    try:
        os.unlink(f"{FOLDER}/{uuid}")
    except OSError:
        return


def _is_there(hypervisor: Hypervisor, uuid: str) -> bool:
    try:
        hypervisor.find(uuid)
    except DomainNotFound:
        return False
    return True


def _beginning(uuid: str) -> str:
    from xmcompat.disk_logins import secret_name

    return secret_name(uuid, "")


# -- written down


def _note(hypervisor: Hypervisor, uuid: str, **more: str) -> None:
    """Write down that something is kept for the domain UUID."""
    import json

    path = f"{FOLDER}/{uuid}"
    try:
        os.makedirs(FOLDER, mode=0o700, exist_ok=True)
        fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump({"hypervisor": hypervisor.uri, **more}, file)
        os.rename(f"{path}.new", path)
    except OSError as error:
        hint = "only root may have passwords kept" if isinstance(error, PermissionError) else None
        raise XmError(f"{error.filename}: {error.strerror}", hint=hint) from None


def _kept(uuid: str) -> dict[str, str]:
    """What is written down of the domain UUID; nothing for what cannot be read."""
    import json

    try:
        with open(f"{FOLDER}/{uuid}", encoding="utf-8", errors="surrogateescape") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _still(kept: dict[str, str]) -> dict[str, str]:
    """What of KEPT holds on when a domain starts again."""
    return {name: value for name, value in kept.items() if name in (*_SAVED, _CAME)}


def _is_saved(uuid: str) -> bool:
    kept = _kept(uuid)
    return any(name in kept and os.path.exists(kept[name]) for name in _SAVED)


def _is_young(uuid: str) -> bool:
    """Whether a domain may be being made for it."""
    try:
        return time.time() - os.stat(f"{FOLDER}/{uuid}").st_mtime < _PATIENCE
    except OSError:
        return True
