"""Guests of a dead host side by side: which of them are one, and what lies between them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from xmcompat.render.report_values import DiskRow, Finding, GuestRow, Verdict

#: The names of so many guests stand in one finding.
_MOST_NAMES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A row, and how it was found: ``copy`` where its file lies among those to start with the host itself."""

    row: GuestRow
    copy: bool = False


def merge(found: Sequence[Found]) -> tuple[GuestRow, ...]:
    """Each guest once, by name: a managed one with the files of its uuid or name, a file with its copies.

    Of a managed guest and its file, what xend kept counts, unless that cannot be read.
    """
    groups = [[item] for item in found if item.row.managed]
    by_uuid = {group[0].row.uuid: group for group in groups if group[0].row.uuid}
    by_name = {group[0].row.name: group for group in groups}
    files: dict[str, dict[tuple[str, ...], list[Found]]] = {}
    for item in sorted(found, key=lambda item: item.copy):
        if item.row.managed:
            continue
        managed = by_uuid.get(item.row.uuid) or by_name.get(item.row.name)
        same = files.setdefault(item.row.name, {})
        said = _said(item.row)
        if managed:
            managed.append(item)
        elif said in same:
            same[said].append(item)
        elif item.copy and same:
            next(iter(same.values())).append(item)
        else:
            same[said] = [item]
    groups += [group for same in files.values() for group in same.values()]
    return tuple(sorted(map(_joined, groups), key=lambda row: (row.name, row.files)))


def _said(row: GuestRow) -> tuple[str, ...]:
    """The same for two files that say the same in effect."""
    return tuple(tell(row) for _, tell in _ASPECTS) if row.kind else row.files


def _joined(group: Sequence[Found]) -> GuestRow:
    rows = [item.row for item in group]
    first = next((row for row in rows if row.kind), rows[0])
    if all(not row.managed for row in rows):
        first = next((item.row for item in group if item.row.kind and not item.copy), first)
    others = [row for row in rows if row is not first]
    differs = tuple(text for other in others for text in differences(first, other))
    reasons = (*(f"its configurations differ: {text}" for text in differs), *first.reasons)
    verdict = Verdict.ATTENTION if differs and first.verdict is Verdict.READY else first.verdict
    if verdict is Verdict.CANNOT:
        reasons = (*first.reasons, *reasons[: len(differs)])
    return replace(
        first,
        files=(*first.files, *dict.fromkeys(path for other in others for path in other.files)),
        verdict=verdict,
        uuid=first.uuid or next((row.uuid for row in others if row.uuid), ""),
        autostart=any(row.autostart for row in rows),
        managed=any(row.managed for row in rows),
        reasons=reasons,
        differs=differs,
    )


def differences(one: GuestRow, other: GuestRow) -> tuple[str, ...]:
    """Where two configurations of one guest say different things, in words."""
    if not one.kind or not other.kind:
        unread = one if not one.kind else other
        return (f"{unread.files[0]} cannot be read",) if one.kind or other.kind else ()
    found = []
    for what, tell in _ASPECTS:
        ours, theirs = tell(one), tell(other)
        if ours != theirs:
            found.append(f"{what} {ours or 'none'} in {one.files[0]}, {theirs or 'none'} in {other.files[0]}")
    if _macs(one) != _macs(other) and all((*_macs(one), *_macs(other))):
        found.append(f"MAC addresses {', '.join(_macs(one))} in {one.files[0]}, {', '.join(_macs(other))} "
                     f"in {other.files[0]}")  # fmt: skip
    return tuple(found)


def _macs(row: GuestRow) -> list[str]:
    return [nic.mac for nic in row.nics]


def _disks(row: GuestRow) -> str:
    return ", ".join(sorted(f"{disk.path},{disk.vdev},{disk.mode}" for disk in row.disks))


def _networks(row: GuestRow) -> str:
    return ", ".join(nic.bridge for nic in row.nics)


#: What is compared, and how it is told.
_ASPECTS: tuple[tuple[str, Callable[[GuestRow], str]], ...] = (
    ("kind", lambda row: row.kind),
    ("memory", lambda row: str(row.memory)),
    ("vcpus", lambda row: str(row.vcpus)),
    ("boot", lambda row: row.boot),
    ("disks", _disks),
    ("networks", _networks),
)


# -- what lies between guests


def across(guests: Sequence[GuestRow]) -> tuple[Finding, ...]:
    """What two guests cannot both have, the most dangerous first."""
    return (
        *_disk_findings(guests),
        *_shared(guests, "the name", lambda guest: [guest.name]),
        *_shared(guests, "the uuid", lambda guest: [guest.uuid] if guest.uuid else []),
        *_shared(guests, "the MAC address", lambda guest: [nic.mac for nic in guest.nics if nic.mac]),
        *_shared(guests, "the VNC display", lambda guest: guest.displays),
    )


def _shared(
    guests: Sequence[GuestRow], what: str, things: Callable[[GuestRow], Iterable[str]]
) -> Iterator[Finding]:
    owners: dict[str, list[GuestRow]] = {}
    for guest in guests:
        for thing in dict.fromkeys(things(guest)):
            owners.setdefault(thing, []).append(guest)
    for thing, having in sorted(owners.items()):
        if len(having) > 1:
            yield Finding(text=f"{len(having)} guests have {what} {thing}: {_named(having)}", guests=_names(having))


def _disk_findings(guests: Sequence[GuestRow]) -> Iterator[Finding]:
    owners: dict[str, list[tuple[GuestRow, DiskRow]]] = {}
    for guest in guests:
        for disk in guest.disks:
            if disk.path:
                owners.setdefault(disk.path, []).append((guest, disk))
    for thing, uses in sorted(owners.items()):
        having = list({id(guest): guest for guest, _ in uses}.values())
        if len(having) < 2 or all(disk.mode == "r" or disk.cdrom for _, disk in uses):
            continue
        if all(disk.mode == "w!" or disk.cdrom for _, disk in uses):
            text = f"{_named(having)} share the disk {thing} (w!): only a file system for clusters bears that"
        elif sum(disk.mode != "r" for _, disk in uses) > 1:
            text = f"{len(having)} guests write to the disk {thing}: {_named(having)}; it would be destroyed"
        else:
            text = f"a guest writes to the disk {thing}, which others read: {_named(having)}"
        yield Finding(text=text, guests=_names(having))


def _named(guests: Sequence[GuestRow]) -> str:
    """Their names; their files where two have one name."""
    names = [guest.name for guest in guests]
    shown = names if len(set(names)) == len(names) else [guest.files[0] for guest in guests]
    more = f" and {len(shown) - _MOST_NAMES} more" if len(shown) > _MOST_NAMES else ""
    return ", ".join(shown[:_MOST_NAMES]) + more


def _names(guests: Sequence[GuestRow]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(guest.name for guest in guests))
