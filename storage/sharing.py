"""Xen's rule for who may use a disk at the same time. Pure: facts in, the sentence of a refusal out.

    r    nobody holds the same object read-write: no other guest, no mount of the host
    w    nobody else uses it at all
    w!   always

Objects are compared by what they are (device number, inode), not by name. A holder with w! counts as a writer.
Source: the block hot-plug script of Xen 4.1.
Differs from xm: tap disks follow the same rule (blktap compared them with other tap disks only), and a loop
device and the file behind it are one object.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Identity(NamedTuple):
    """What a path leads to. ``kind`` "file": (st_dev, st_ino); "block": (major, minor)."""

    kind: str
    first: int
    second: int


class Held(NamedTuple):
    """A disk of another, running domain. ``identities`` is filled in by ``storage.check`` where it is empty."""

    domain: str
    path: str
    readonly: bool
    shareable: bool
    identities: frozenset[Identity] = frozenset()


class Mount(NamedTuple):
    """A mounted file system: (major, minor) of its device (0, n for those without), source as the kernel shows it."""

    major: int
    minor: int
    source: str
    point: str
    readonly: bool


class HostUse(NamedTuple):
    """An object that this host itself has mounted."""

    identities: frozenset[Identity]
    readonly: bool
    point: str = ""


class Conflict(NamedTuple):
    """Why an object may not be used now, in xm's two lines, and who has it."""

    why: str
    holder: str


def parse_mountinfo(text: str) -> list[Mount]:
    """Read /proc/self/mountinfo. Lines of another form are passed over.

    A mount is read-only where its file system is; a read-only view of a file system mounted read-write is not.
    """
    mounts = []
    for line in text.split("\n"):  # what else ends lines for Python may be in a name
        place, separator, origin = line.partition(" - ")
        fields, source_fields = place.split(" "), origin.split(" ")
        number = re.fullmatch(r"(\d+):(\d+)", fields[2]) if len(fields) > 5 else None
        if not separator or number is None or len(source_fields) < 3:
            continue
        options = source_fields[2].split(",")
        mounts.append(
            Mount(
                int(number[1]), int(number[2]), _unescape(source_fields[1]), _unescape(fields[4]), "ro" in options
            )
        )
    return mounts


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def conflict(
    path: str, identities: frozenset[Identity], *, writable: bool, shareable: bool,
    others: Iterable[Held], mounts: Sequence[HostUse],
) -> Conflict | None:
    """Why the object at PATH may not be used now; None where it may."""
    if shareable:
        return None
    held, now = ("", "") if writable else ("read-write ", "read-only ")
    for other in others:
        same = bool(identities & other.identities) or other.path == path
        if same and (writable or not other.readonly):
            why = f"Device {path} is mounted {held}in a guest domain,\nand so cannot be mounted {now}now."
            return Conflict(why, f"the domain {other.domain} has it")
    for mount in mounts:
        if identities & mount.identities and (writable or not mount.readonly):
            why = f"Device {path} is mounted {held}in the privileged domain,\nand so cannot be mounted {now}by a guest."
            return Conflict(why, f"this host has it mounted on {mount.point}")
    return None
