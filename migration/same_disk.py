"""Is what two hosts see at a path the same disk, and what speaks against moving it? Judged from what each tells. Pure.

A path alone proves nothing, and neither does the id of a local file system: a host that is a copy of another has the same
ones. There QEMU's locks decide: they are seen by whoever has the very same file, on one kernel or over NFS.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum

from xmcompat.migration.facts import FileKind, Finding, Identity, SeenDisk, Sight, Wanted, WantedDisk

#: Identities that are numbers of a device or volume.
_DEVICES = ("wwid", "lv", "drbd")
#: How the place of a network disk begins whose server is on the host itself: a Unix socket, or one of the host's own names.
_THIS_HOST = ("/", "localhost/", "127.", "::1/")
#: Cache modes of QEMU's in which the host keeps nothing of a disk.
UNCACHED = ("none", "directsync")


class Sameness(Enum):
    YES = "yes"
    NO = "no"
    UNSURE = "unsure"


def sameness(disk: WantedDisk, seen: SeenDisk) -> tuple[Sameness, str]:
    """Whether the two are one disk, and why not, or why that cannot be told."""
    if disk.kind == FileKind.NETWORK:
        place = disk.path.partition(":")[2]
        if place.startswith(_THIS_HOST):
            return Sameness.UNSURE, "its server is on the very host from which it is asked for"
        return Sameness.YES, ""
    if disk.size and seen.size and disk.size != seen.size and (disk.format == "raw" or disk.kind == FileKind.BLOCK):
        return Sameness.NO, f"it has {seen.size} bytes there, and {disk.size} here"
    mine, theirs = (_beneath(one.identities) for one in (disk, seen))
    if mine and theirs and not mine & theirs:
        return Sameness.NO, "it lies on other disks there"
    pairs = ((one, other) for one in disk.identities for other in seen.identities)
    judged = [_judged(one, other, disk, seen) for one, other in pairs if "beneath" not in (one.kind, other.kind)]
    for verdict in (Sameness.YES, Sameness.NO, Sameness.UNSURE):
        if why := [text for found, text in judged if found is verdict]:
            return verdict, why[0]
    return Sameness.UNSURE, "neither says what it is"


def _beneath(identities: Iterable[Identity]) -> frozenset[str]:
    """The disks that a volume stands on."""
    return frozenset(one.place for one in identities if one.kind == "beneath")


def _judged(one: Identity, other: Identity, disk: WantedDisk, seen: SeenDisk) -> tuple[Sameness, str]:
    if one.kind in _DEVICES or other.kind in _DEVICES:
        if one.kind != other.kind:
            return Sameness.UNSURE, f"one is known by its {one.kind}, the other by its {other.kind}"
        if one.place == other.place:
            return Sameness.YES, ""
        return Sameness.NO, f"its {one.kind} is {other.place} there, and {one.place} here"
    if one.number != other.number:
        return Sameness.NO, "it is another file there"
    apart = one.kind == other.kind == "file" and one.place != other.place
    if disk.locked and seen.locked and not apart:
        return Sameness.YES, ""
    if one.kind != other.kind:
        return Sameness.UNSURE, f"one lies on a file system of the kind '{one.kind}', the other of '{other.kind}'"
    if one.kind == "file":
        return _local(one, other, disk)
    if one.place == other.place:
        return Sameness.YES, ""
    places = f"it lies on {other.place} there, and on {one.place} here"
    if disk.locked and not seen.locked:  # two servers may have files of one number
        return Sameness.NO, f"{places}, and the guest's lock on it is not seen"
    return Sameness.UNSURE, places


def _local(one: Identity, other: Identity, disk: WantedDisk) -> tuple[Sameness, str]:
    """Of two files of one number on local file systems, where no lock was seen."""
    if one.place != other.place:
        return Sameness.NO, "it lies on another file system there"
    if disk.locked:
        return Sameness.NO, "it is a copy there: the guest's lock on it is not seen"
    return Sameness.UNSURE, "it lies on a local file system, and the guest has no lock on it that would be seen"


def disk_findings(wanted: Wanted, seen: Iterable[SeenDisk], host: str, *, prepared: bool = False) -> tuple[Finding, ...]:
    """What speaks against the disks as HOST sees them; once PREPARED, all of them must be up there."""
    known = {one.target: one for one in seen}
    return tuple(found for disk in wanted.disks for found in _of_disk(disk, known, host, prepared))


def late_findings(wanted: Wanted, seen: Sequence[SeenDisk], host: str) -> tuple[Finding, ...]:
    """The same once all is prepared: what stops it, and what is to be known of disks that had to be brought up first.

    Disks that were there before need not be told of again.
    """
    targets = {one.target for one in seen}
    brought_up = replace(wanted, disks=tuple(disk for disk in wanted.disks if disk.needs))
    judged = replace(wanted, disks=tuple(disk for disk in wanted.disks if disk.needs or disk.target in targets))
    stops = [one for one in disk_findings(judged, seen, host, prepared=True) if one.stops]
    notes = [one for one in disk_findings(brought_up, seen, host, prepared=True) if not one.stops]
    return (*stops, *notes)


def _of_disk(disk: WantedDisk, known: Mapping[str, SeenDisk], host: str, prepared: bool) -> Iterator[Finding]:
    if disk.kind == FileKind.EMPTY:
        return
    seen = known.get(disk.target)
    what = f"disk {disk.vdev}: {disk.path}"
    if seen is None:
        yield Finding(stops=True, what=f"{what}: {host} says nothing of it", do="install the same xmcompat on both hosts")
    elif seen.sight == Sight.DENIED:
        yield Finding(stops=True, what=f"{what} may not be used on {host}: {seen.why or 'permission denied'}")
    elif disk.copy:
        yield from _copied(disk, seen, what, host, prepared)
    elif seen.sight == Sight.MISSING or (prepared and seen.sight == Sight.COMES):
        why = f": {seen.why}" if seen.why else ""
        yield Finding(stops=True, what=f"{what} is not there on {host}{why}", do=_shared_or_copied(disk, host))
    elif seen.sight != Sight.COMES:
        yield from _shared(disk, seen, what, host)


def _shared_or_copied(disk: WantedDisk, host: str) -> str:
    if disk.is_beneath:
        return f"share it with {host}, or copy it there"
    return f"share it with {host}" + ("; parts of a disk are not copied" if disk.is_part else ", or have it copied")


def _shared(disk: WantedDisk, seen: SeenDisk, what: str, host: str) -> Iterator[Finding]:
    if seen.user and not disk.shareable and not disk.readonly:
        yield Finding(stops=True, what=f"{what} is in use on {host}: {seen.user} has it", do="take it from there first")
        return
    verdict, why = sameness(disk, seen)
    if verdict is Sameness.NO and disk.is_beneath and disk.size == seen.size:
        verdict = Sameness.UNSURE  # one that many guests are built on has often been copied to each host
    if verdict is Sameness.NO:
        yield Finding(stops=True, what=f"{what} is not the same on {host}: {why}", do=_shared_or_copied(disk, host))
        return
    if verdict is Sameness.UNSURE:
        yield Finding(stops=False, what=f"{what} may be another one on {host}: {why}", do="make sure that it is the same")
    if not disk.readonly and disk.cache not in UNCACHED and disk.kind != FileKind.NETWORK and not seen.locked:
        yield Finding(
            stops=False, what=f"{what} goes through the hosts' caches, which may differ for a while",
            do="give it the cache mode 'none'",
        )  # fmt: skip


def _copied(disk: WantedDisk, seen: SeenDisk, what: str, host: str, prepared: bool) -> Iterator[Finding]:
    """A disk that is to be written anew on HOST."""
    if disk.size <= 0:
        what = f"{what} cannot be copied: it is not known how large it is"
        yield Finding(stops=True, what=what, do=f"share it with {host}")
    elif seen.sight == Sight.FOUND:
        if sameness(disk, seen)[0] is Sameness.YES:
            yield Finding(
                stops=True,
                what=f"{what} is the same on {host}, and would be copied onto itself",
                do="do not have it copied",
            )
        elif seen.user:
            yield Finding(stops=True, what=f"{what} is in use on {host}: {seen.user} has it", do="take it from there first")
        elif seen.size and seen.size < disk.size and disk.format == "raw":  # others grow
            yield Finding(
                stops=True, what=f"{what} has {seen.size} bytes on {host}, too few for {disk.size}", do="make it as large"
            )
        elif disk.kind == FileKind.FILE and not prepared:
            yield Finding(
                stops=True, what=f"{what} is there on {host}, and would be overwritten", do="take that file away first"
            )
        elif disk.kind == FileKind.BLOCK and seen.why:
            yield Finding(
                stops=True, what=f"{what} on {host} would be overwritten: {seen.why}",
                do=f"where that is not needed any more, run 'wipefs -a {disk.path}' there",
            )  # fmt: skip
        elif disk.kind == FileKind.BLOCK and not prepared:
            yield Finding(stops=False, what=f"{what} on {host} will be overwritten")
    elif prepared or (disk.kind == FileKind.BLOCK and seen.sight == Sight.MISSING):
        yield Finding(
            stops=True,
            what=f"{what} is not there on {host} to be copied to",
            do="make a volume of that name and size there",
        )
    elif seen.free is not None and seen.free < disk.size:
        yield Finding(
            stops=True, what=f"{what} needs {disk.size} bytes on {host}, which has {seen.free} left", do="make room there"
        )
