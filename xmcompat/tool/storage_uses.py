"""Who uses a volume: guests that run, guests that are known, and what Xen's configurations on this host name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from xmcompat.errors import XmError
from xmcompat.storage.check import identities
from xmcompat.storage.holds import held
from xmcompat.storage.needs import need_of
from xmcompat.storage.pool_folder import on_nfs
from xmcompat.storage.pool_nfs import room_at
from xmcompat.storage.programs import StorageError
from xmcompat.storage.volume import Volume
from xmcompat.storage.volume_file import beneath

if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import DomainInfo, Hypervisor

#: Where Xen's configurations lie.
FOLDERS = ("/etc/xen", "/etc/xen/auto")

#: Kinds of needs of which each is one volume.
_OF_ONE_VOLUME = ("lvm", "drbd")

_LARGEST = 1 << 20


class Use(NamedTuple):
    """A disk of a guest. ``path`` as the guest has it; ``direct``: QEMU has this very path as a disk, and not as a part of
    one that is made of several; ``suspended``: the guest is off, and goes on from an image of its memory; ``beneath``: the
    guest's image lies upon this one, which must stay as it is. ``format`` as in ``DiskUse``."""

    domain: str
    path: str
    running: bool
    readonly: bool
    direct: bool = True
    shareable: bool = False
    suspended: bool = False
    beneath: bool = False
    format: str = ""


def guests_uses(hypervisor: Hypervisor) -> list[Use]:
    """The disks of all guests. Raises XmError, also where HYPERVISOR is on another host, whose disks are not these."""
    from xmcompat.backends.settings import is_local

    if not is_local(hypervisor.uri):
        raise StorageError(
            f"XMCOMPAT_URI names {hypervisor.uri}, whose guests do not use the disks of this host",
            hint="run this without XMCOMPAT_URI",
        )
    infos, records = hypervisor.domains_with_metadata(lambda: None)
    images = hypervisor.suspended()
    asleep = {info.name for info in infos if info.uuid in images}
    uses = [
        Use(one.domain, one.path, True, one.readonly, shareable=one.shareable, format=one.format)
        for one in hypervisor.disk_uses()
    ]
    uses += (
        Use(one.domain, one.path, False, one.readonly, True, one.shareable, one.domain in asleep, format=one.format)
        for one in hypervisor.known_disks()
    )
    known = {(use.domain, use.path) for use in uses}
    for info in infos:
        more = _recorded(info, records.get(info.uuid), info.name in asleep)
        uses += (use for use in more if (use.domain, use.path) not in known)
    return [*uses, *_beneath(uses), *_held(infos)]


def _beneath(uses: Sequence[Use]) -> Iterator[Use]:
    """The files on which images of USES lie, in whatever folders: libvirt tells of those of guests that run alone. What
    a guest has written into a raw disk is no header."""
    for use in uses:
        if use.format != "raw" and use.path.startswith("/") and not _is_silent(use.path):
            for path in beneath(use.path):
                yield use._replace(path=path, readonly=True, direct=False, beneath=True)


def _recorded(info: DomainInfo, metadata: str | None, suspended: bool) -> Iterator[Use]:
    """What the guest's configuration names, with parts of disks that are made of several."""
    from xmcompat.backends.record import read_record
    from xmcompat.config import device_forms, sxp

    record = read_record(metadata) if metadata else None
    forms = []
    with suppress(XmError):
        forms = list(sxp.parse(record.sxp)) if record else []
    for form in forms:
        for _, device in device_forms.devices_of(form, ("vbd", "tap", "tap2")) if isinstance(form, list) else ():
            vbd = device_forms.vbd_in(device)
            if vbd and vbd.path.startswith("/"):
                yield Use(
                    info.name, vbd.path, info.started, vbd.mode.value == "r", direct=False,
                    shareable=vbd.mode.value == "w!", suspended=suspended,
                )  # fmt: skip


def _held(infos: Sequence[DomainInfo]) -> Iterator[Use]:
    names = {info.uuid: info.name for info in infos}
    for hold in held():
        for holder in hold.holders if hold.need.kind in _OF_ONE_VOLUME else ():
            if holder in names:
                yield Use(names[holder], f"{hold.need.kind}:{hold.need.name}", True, False, direct=False)


def of_volume(volume: Volume, uses: Sequence[Use]) -> list[Use]:
    """Those of USES that are of VOLUME, by whatever name; for a snapshot within an image, those of the image."""
    own = names_of(volume.path or os.path.join(volume.pool, volume.origin))
    seen: dict[str, frozenset[object]] = {}
    for use in uses:
        if use.path not in seen:
            seen[use.path] = names_of(use.path)
    found = [use for use in uses if seen[use.path] & own]
    direct = {(use.domain, use.running) for use in found if use.direct}
    return [use for use in found if use.direct or (use.domain, use.running) not in direct]


def names_of(path: str) -> frozenset[object]:
    """All by which what PATH leads to can be known; of a path on a silent NFS server the path alone."""
    if _is_silent(path):
        return frozenset({path, os.path.abspath(path)})
    found: set[object] = {path, *identities(path)}
    if path.startswith("/"):
        found |= {os.path.abspath(path), os.path.realpath(path)}
        need = need_of(os.path.abspath(path))
        found |= {f"{need.kind}:{need.name}"} if need and need.kind in _OF_ONE_VOLUME else set()
    return frozenset(found)


def _is_silent(path: str) -> bool:
    mount = on_nfs(os.path.abspath(path))
    return mount is not None and not _answers(mount.point)


@cache
def _answers(point: str) -> bool:
    """Whether the server of what is mounted there answered when this command first asked."""
    return not room_at(point).remark


def configured(volume: Volume) -> list[str]:
    """The files of Xen's configurations that name VOLUME. One that cannot be read is passed over."""
    own = names_of(volume.path)
    return [path for path, paths in _configurations() if any(names_of(one) & own for one in paths)]


def _configurations() -> Iterator[tuple[str, list[str]]]:
    from xmcompat.config.read import offline_host, read

    seen = set()
    for folder in FOLDERS:
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            path = os.path.join(folder, name)
            real = os.path.realpath(path)
            if real in seen or name.endswith((".sxp", ".conf", "~")) or not _is_small_file(path):
                continue
            seen.add(real)
            with suppress(XmError, OSError), open(path, "rb") as file:
                documents = read(file.read(), path, host=offline_host(), tolerant=True)
                yield path, [vbd.path for one in documents for vbd in one.guest.disks if vbd.path]


def _is_small_file(path: str) -> bool:
    try:
        return os.path.isfile(path) and os.path.getsize(path) <= _LARGEST
    except OSError:
        return False
