"""Passwords of the disks of a domain on its way to another host: which it needs, which a host has, and how they go there.

They go with ``prepare``, where nobody else can read what the hosts tell each other, and are kept there before libvirt's own
migration begins. What a hypervisor tells to QEMU alone is read anew: from the file that the configuration names, or from
the configuration itself. Where neither has it any more, this host cannot tell it, and ``preflight`` says so.
"""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from xmcompat import composites, disk_needs, disk_secrets
from xmcompat.backends import domain_xml
from xmcompat.backends.devices import BlockSource
from xmcompat.disk_logins import login_of, secret_name, without_password
from xmcompat.errors import OperationError, UnsupportedConfig, XmError
from xmcompat.iscsi_names import of_device
from xmcompat.migration.facts import INITIATOR, Password, WantedSecret
from xmcompat.storage import iscsi_records, iscsi_sysfs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xmcompat.backends.hypervisor import Hypervisor
    from xmcompat.backends.machine import Machine
    from xmcompat.disk_secrets import Asking
    from xmcompat.guest import GuestConfig, Vbd
    from xmcompat.iscsi_names import Lun
    from xmcompat.migration.facts import Wanted

#: Bytes of a password.
LONGEST = 4 * 4096
#: What the names of all secrets of domains begin with.
_OURS = secret_name("", "").rstrip(":") + ":"


# -- at the source


def wanted(hypervisor: Hypervisor, machine: Machine, guest: GuestConfig) -> tuple[WantedSecret, ...]:
    """What opens the disks of MACHINE, which runs here, and whose configuration is GUEST."""
    kept = tuple(
        WantedSecret(vdev=one.disk.vdev or one.disk.target, name=one.name, kind=one.kind, user=one.user,
                     file=one.login.file if one.login else "", told=_told(hypervisor, machine, one) is not None)
        for one in _asking(machine, guest)
    )  # fmt: skip
    own = tuple(
        WantedSecret(vdev=vdev, name=_record(lun), kind=INITIATOR, user=user, file=iscsi_records.place(lun))
        for vdev, lun in _sessions(machine, guest) if (user := iscsi_records.user_of(lun))
    )  # fmt: skip
    return kept + own


def with_passwords(hypervisor: Hypervisor, wanted: Wanted, *, private: bool) -> Wanted:
    """WANTED with all passwords that this host can tell; with none unless the conversation is PRIVATE."""
    if not private or not wanted.secrets:
        return wanted
    machine = domain_xml.parse(wanted.xml)
    values = {
        one.disk.vdev: value for one in _asking(machine, composites.guest_in(machine))
        if (value := _told(hypervisor, machine, one))
    }  # fmt: skip
    passwords = (Password(vdev=vdev, value=base64.b64encode(value).decode()) for vdev, value in values.items())
    return replace(wanted, passwords=tuple(passwords))


def _told(hypervisor: Hypervisor, machine: Machine, one: Asking) -> bytes | None:
    """The password of ONE as this host can tell it, last from the file that the domain was started from."""
    if not _is_own(machine, one):
        return None
    return disk_secrets.told(hypervisor, one) or _configured(machine, one)


def _configured(machine: Machine, one: Asking) -> bytes | None:
    """None where there is no such file any more, or it has another disk of that name."""
    mine = _vbd(composites.guest_in(machine), one)
    path = machine.record.source if machine.record else ""
    if mine is None or not path.startswith("/"):
        return None
    from xmcompat.config import load

    with suppress(XmError, OSError):
        try:
            loaded = load.load(path)
        except UnsupportedConfig:
            loaded = load.load_sxp(path)
        theirs = _vbd(loaded.guest, one)
        if theirs is not None and without_password(theirs.uname) == without_password(mine.uname):
            return disk_secrets.written(one.disk, login_of(theirs.protocol, theirs.path))
    return None


def _vbd(guest: GuestConfig, one: Asking) -> Vbd | None:
    return next((vbd for vbd in guest.disks if vbd.vdev == one.disk.vdev), None)


# -- what a domain has


def _asking(machine: Machine, guest: GuestConfig) -> tuple[Asking, ...]:
    return tuple(disk_secrets.asking(composites.disks_of(machine, guest), guest, disk_needs.owner(machine.uuid)))


def _sessions(machine: Machine, guest: GuestConfig) -> Iterator[tuple[str, Lun]]:
    """The disks by which the host itself logs in, as its initiator's database says."""
    for disk in composites.disks_of(machine, guest):
        for one in disk.members or (disk,):
            if isinstance(one.source, BlockSource) and (lun := of_device(one.source.path)):
                yield one.vdev or one.target, lun


def _record(lun: Lun) -> str:
    return f"{lun.target}@{lun.portal}"


# -- at the destination


def known(hypervisor: Hypervisor, wanted: Wanted) -> tuple[str, ...]:
    """The names of those that this host has, so that the domain could come without them."""
    if not wanted.secrets:
        return ()
    try:
        machine = domain_xml.parse(wanted.xml)
    except XmError:
        return ()  # which is told of elsewhere
    guest = composites.guest_in(machine)
    kept = tuple(one.name for one in _asking(machine, guest) if _is_known(hypervisor, machine, one))
    there = (lun for _, lun in _sessions(machine, guest) if iscsi_records.is_there(lun) or iscsi_sysfs.session(lun))
    return kept + tuple(map(_record, there))


def _is_known(hypervisor: Hypervisor, machine: Machine, one: Asking) -> bool:
    if _is_others(machine, one):
        return False
    return disk_secrets.told(hypervisor, one) is not None or hypervisor.secret(one.kind, one.name) is not None


def checked(machine: Machine, wanted: Wanted) -> tuple[tuple[Asking, bytes], ...]:
    """The passwords that come with WANTED, which is MACHINE, and the disks that they open.

    Raises OperationError for any but those of its own disks, and where it names the secret of another domain.
    """
    asking = _asking(machine, composites.guest_in(machine))
    for one in asking:
        if _is_others(machine, one):
            raise OperationError(f"the source opens the disk '{_plain(one.disk.vdev)}' by what is another domain's")
    own = {one.disk.vdev: one for one in asking if _is_own(machine, one)}
    return tuple((_taken(own, one.vdev), _decoded(one)) for one in wanted.passwords)


def _taken(own: dict[str, Asking], vdev: str) -> Asking:
    """That of the disk VDEV, once."""
    if vdev not in own:
        raise OperationError(f"the source sends a password for '{_plain(vdev)}', which asks for none")
    return own.pop(vdev)


def _decoded(password: Password) -> bytes:
    try:
        value = base64.b64decode(password.value, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if not 0 < len(value) <= LONGEST:
        raise OperationError(f"the source sends what is no password for '{_plain(password.vdev)}'")
    return value


def _plain(vdev: str) -> str:
    return ascii(vdev[:30])[1:-1]


def keep(hypervisor: Hypervisor, machine: Machine, values: tuple[tuple[Asking, bytes], ...]) -> None:
    """Keep what was ``checked``, for MACHINE that is to come. What is kept here already serves where nothing was sent."""
    guest = composites.guest_in(machine)
    if any(one.login is not None for one in _asking(machine, guest)):
        disk_secrets.keep(hypervisor, guest, disk_needs.owner(machine.uuid), values)


def _is_own(machine: Machine, one: Asking) -> bool:
    """Whether the domain's configuration tells who logs in, and the secret is the domain's own."""
    return one.login is not None and one.name == _own_name(machine, one)


def _is_others(machine: Machine, one: Asking) -> bool:
    """Whether it is another domain's, or somebody's whom the configuration would have it changed."""
    return one.name != _own_name(machine, one) and (one.login is not None or one.name.startswith(_OURS))


def _own_name(machine: Machine, one: Asking) -> str:
    return secret_name(disk_needs.owner(machine.uuid), one.disk.vdev)
