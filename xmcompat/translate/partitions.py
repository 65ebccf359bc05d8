"""Volumes that a guest was given as partitions without a disk around them: which of them make one disk here. Pure.

``xvda1`` and ``xvda3`` are the partitions 1 and 3 of one disk, which is made of both when the guest starts. It is served
to QEMU on a Unix socket, whose path tells the guest and the disk: FOLDER/UUID-xvda/nbd.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from xmcompat.backends.devices import BlockSource, Bus, Disk, FileSource, NetworkSource
from xmcompat.backends.facts import HostFacts
from xmcompat.guest import GuestConfig, GuestKind, Vbd
from xmcompat.translate.findings import Findings
from xmcompat.translate.sources import source
from xmcompat.vdev import split_vdev

#: Where such disks are served: that of ``storage.composite``.
FOLDER = "/run/xmcompat/joined"
_SOCKET = "nbd"
_MAPPED = "/dev/mapper/xmc-"
_NAME = r"(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-(?P<vdev>[a-z]+)"
_SERVED = re.compile(rf"/.*/{_NAME}/{_SOCKET}")
_JOINED = re.compile(_MAPPED + _NAME)


def folder_in(run: str) -> str:
    """FOLDER for a libvirtd whose /run is known as RUN here."""
    return FOLDER.replace("/run", run, 1) if FOLDER.startswith("/run/") else FOLDER


class Group(NamedTuple):
    """The disk VDEV ("xvda"), and the places in the configuration of the volumes that are its partitions, by number."""

    vdev: str
    members: tuple[int, ...]


def groups(guest: GuestConfig, facts: HostFacts) -> tuple[Group, ...]:
    """The disks that are made of several volumes, in the order of their first members; () where nothing can serve them."""
    if not facts.composites or not _uuid(guest) or guest.kind is GuestKind.HVM:
        return ()
    found: dict[str, list[int]] = {}
    for index, vbd in enumerate(guest.disks):
        if name := disk_of(vbd):
            found.setdefault(name, []).append(index)
    return tuple(
        Group(name, tuple(sorted(members, key=lambda index: part_number(guest.disks[index]))))
        for name, members in found.items() if not why_apart(guest, name)
    )  # fmt: skip


def disk_of(vbd: Vbd) -> str:
    """"xvda" of xvda2, "" of what is no partition."""
    kind, letters, part = split_vdev(vbd.vdev)
    return f"{kind}{letters}" if part and vbd.is_partition else ""


def part_number(vbd: Vbd) -> int:
    return split_vdev(vbd.vdev)[2]


def why_apart(guest: GuestConfig, name: str) -> str:
    """Why the partitions of the disk NAME ("xvda") cannot be one disk, "" where they can: a sentence without a stop."""
    for vbd in guest.disks:
        if not vbd.is_partition and "".join(map(str, split_vdev(vbd.vdev)[:2])) == name:
            return "the whole disk is given as well"
        if disk_of(vbd) == name and not _is_plain(guest, vbd):
            return f"{vbd.vdev} is no raw image or volume of this host"
    return ""


def _is_plain(guest: GuestConfig, vbd: Vbd) -> bool:
    if vbd.cdrom or vbd.image_format != "raw" or not vbd.path:
        return False
    return isinstance(source(vbd, "disk", Findings(guest)), FileSource | BlockSource)


def _uuid(guest: GuestConfig) -> str:
    """The guest's uuid as libvirt writes it, "" for what is none."""
    from uuid import UUID

    try:
        return str(UUID(guest.uuid or ""))
    except ValueError:
        return ""


def joined(guest: GuestConfig, facts: HostFacts, vdev: str, target: str, members: Sequence[Disk]) -> Disk:
    """The disk VDEV of the MEMBERS, at TARGET. What it discards goes to those volumes that take it."""
    wishes = {member.discard for member in members if not member.readonly}
    return Disk(
        source=NetworkSource(protocol="nbd", socket=f"{facts.composites}/{_uuid(guest)}-{vdev}/{_SOCKET}"),
        target=target,
        bus=Bus.VIRTIO,
        on_error="" if any(member.readonly for member in members) else "stop",  # what writes to those is not to stand still
        discard="ignore" if "ignore" in wishes else "unmap" if wishes == {"unmap"} else "",
        readonly=all(member.readonly for member in members),
        vdev=vdev,
        members=tuple(replace(member, target=f"{target}{split_vdev(member.vdev)[2]}") for member in members),
    )


def joined_name(disk: Disk) -> str:
    """The name of the disk, which may have been read from XML, among all that are made of several volumes, "UUID-xvda"; ""
    of one that is none."""
    behind, found = disk.source, None
    if isinstance(behind, NetworkSource) and behind.protocol == "nbd":
        found = _SERVED.fullmatch(behind.socket)
    elif isinstance(behind, BlockSource):
        found = _JOINED.fullmatch(behind.path)
    return f"{found['uuid']}-{found['vdev']}" if found and found["vdev"] == disk.vdev else ""


def served_folder(disk: Disk) -> str:
    """The folder that a disk of several volumes is served in; "" of one that is none, or is joined by the kernel."""
    if not joined_name(disk) or not isinstance(disk.source, NetworkSource):
        return ""
    return disk.source.socket.removesuffix(f"/{_SOCKET}")


def by_kernel(disk: Disk) -> Disk:
    """The same disk, joined by the kernel (device-mapper) in place of a server."""
    source = BlockSource(path=f"{_MAPPED}{joined_name(disk)}")
    return replace(disk, source=source, cache="none", io="native")


def by_server(disk: Disk, folder: str = FOLDER) -> Disk:
    """The same disk, served in FOLDER in place of being joined by the kernel."""
    source = NetworkSource(protocol="nbd", socket=f"{folder}/{joined_name(disk)}/{_SOCKET}")
    return replace(disk, source=source, cache="", io="")


def members_in(guest: GuestConfig, vdev: str, others: Collection[str]) -> tuple[int, ...]:
    """The places in the configuration of the partitions of the disk VDEV, but for those that the guest has as disks of
    their own: OTHERS are the names of all its disks."""
    found = (index for index, vbd in enumerate(guest.disks) if disk_of(vbd) == vdev and vbd.vdev not in others)
    return tuple(sorted(found, key=lambda index: part_number(guest.disks[index])))
