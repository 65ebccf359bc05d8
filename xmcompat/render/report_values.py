"""What a report on a dead host tells: its guests, what lies between them, and what the new host needs. Values only.

Memory is in MiB. Texts are as they were found, without passwords; who renders them must escape them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from xmcompat.notes import Note


class Verdict(Enum):
    READY = "ready"
    ATTENTION = "needs attention"
    CANNOT = "cannot"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskRow:
    """``source`` is the back end as Xen writes it ("phy:vg0/web1"), "" for a drive without a medium; ``path`` the same
    thing by one name ("/dev/vg0/web1"). ``kind`` is volume, image, network, script or "", ``mode`` r, w or w!."""

    vdev: str
    source: str
    path: str
    kind: str
    mode: str
    cdrom: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NicRow:
    """``bridge`` is that of the host where the guest names none, and ``named`` false. ``mac`` "" is drawn at the
    start."""

    bridge: str
    mac: str = ""
    named: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestRow:
    """One guest. ``files`` are the places, within the folder, that say so, the one that counts first.

    ``kind`` is pv, hvm, pvh, or "" where its configuration could not be read. ``reasons`` tell why it is not ready, the
    most important first. ``notes`` are those that somebody should read, ``quiet`` the names of all other settings with
    what became of them. ``needs`` are files of the host other than disks: kernels, ramdisks.
    """

    name: str
    files: tuple[str, ...]
    verdict: Verdict
    uuid: str = ""
    kind: str = ""
    memory: int = 0
    vcpus: int = 0
    boot: str = ""
    disks: tuple[DiskRow, ...] = ()
    nics: tuple[NicRow, ...] = ()
    needs: tuple[str, ...] = ()
    displays: tuple[str, ...] = ()
    autostart: bool = False
    managed: bool = False
    reasons: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    quiet: tuple[tuple[str, str], ...] = ()
    differs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What concerns several guests, or the host: ``guests`` are their names."""

    text: str
    guests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A setting of xend. ``attention`` is what somebody has to see to, "" where nothing is."""

    name: str
    value: str
    default: str
    given: bool
    fate: str
    meaning: str
    attention: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A file or folder that is no guest, or that could not be read, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """``folder`` is the one that was given, ``looked`` where in it guests were looked for. ``made`` is the date, ""
    where it shall not matter. ``host_bridges`` are (name, uplink) as the old host made them, ``xend_path`` "" where no
    xend-config.sxp was found."""

    folder: str
    looked: tuple[str, ...] = ()
    made: str = ""
    guests: tuple[GuestRow, ...] = ()
    findings: tuple[Finding, ...] = ()
    xend_path: str = ""
    facts: tuple[Fact, ...] = ()
    host_bridges: tuple[tuple[str, str], ...] = ()
    skipped: tuple[Passed, ...] = ()
    unreadable: tuple[Passed, ...] = ()

    def count(self, verdict: Verdict) -> int:
        return sum(guest.verdict is verdict for guest in self.guests)

    @property
    def memory(self) -> int:
        return sum(guest.memory for guest in self.guests)

    @property
    def vcpus(self) -> int:
        return sum(guest.vcpus for guest in self.guests)

    def bridges(self) -> dict[str, list[str]]:
        """The bridges that the guests need, by name, with the guests' names."""
        return _gathered((nic.bridge, guest.name) for guest in self.guests for nic in guest.nics)

    def volumes(self, kind: str) -> dict[str, list[str]]:
        """What lies behind the guests' disks, of one kind, with the guests' names."""
        return _gathered(
            (disk.path, guest.name) for guest in self.guests for disk in guest.disks if disk.kind == kind
        )

    def needs(self) -> dict[str, list[str]]:
        """Kernels and other files that the guests need of the host, with the guests' names."""
        return _gathered((path, guest.name) for guest in self.guests for path in guest.needs)


def _gathered(pairs: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    """Guests by thing, things in order, each guest once."""
    found: dict[str, dict[str, None]] = {}
    for thing, guest in pairs:
        found.setdefault(thing, {})[guest] = None
    return {thing: list(found[thing]) for thing in sorted(found)}
