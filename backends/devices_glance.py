"""The devices of a domain as the lists of devices need them, from its XML without lxml and the machine. Pure."""

from __future__ import annotations

import re

from xmcompat.backends.glance import Element, read
from xmcompat.backends.hypervisor import DiskUse
from xmcompat.backends.record import ELEMENT, METADATA_URI, XenRecord, record_of
from xmcompat.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: The interface's own number in its alias: ours, or the one that libvirt gives at the start.
_NUMBERED = re.compile(r"(?:ua-vif-|net)([0-9]{1,9})")
_OWN = "ua-"


def disks(domain: Element) -> list[tuple[str, bool]]:
    """Xen's name of each disk, else QEMU's, and whether it is a CD-ROM drive; Xen counts no floppies."""
    found = []
    for disk in domain.all("devices/disk"):
        kind = disk.get("device", "disk")
        if kind != "floppy":
            alias = disk.attribute_of("alias", "name")
            name = alias.removeprefix(_OWN) if alias.startswith(_OWN) else disk.attribute_of("target", "dev")
            found.append((name, kind == "cdrom"))
    return found


def disk_uses(xml: str) -> list[DiskUse]:
    """The files and volumes of a domain's XML; images beneath its own (backing files) are read-only."""
    root = read(xml)
    named = root.first("name")
    name = "" if named is None else named.text  # with its blanks, which are part of it
    uses = []
    for disk in root.all("devices/disk"):
        readonly, shareable = (disk.first(word) is not None for word in ("readonly", "shareable"))
        own = [(source, readonly, disk.attribute_of("driver", "type")) for source in disk.all("source")]
        beneath = [(source, True, "") for source in _beneath(disk)]
        for source, only_read, format in (*own, *beneath):
            path = source.get("file") or source.get("dev")
            if path:
                uses.append(DiskUse(name, path, only_read, shareable, format))
    return uses


def _beneath(element: Element) -> Iterator[Element]:
    """The sources of all images beneath it: of a mirror's, too."""
    for child in element.children:
        if child.name == "backingStore":
            yield from child.all("source")
        yield from _beneath(child)


def nics(domain: Element) -> list[tuple[int, str]]:
    """Number and MAC address of each interface, by number."""
    found = list(domain.all("devices/interface"))
    numbers = nic_numbers([nic.attribute_of("alias", "name") for nic in found])
    return sorted((number, nic.attribute_of("mac", "address")) for number, nic in zip(numbers, found, strict=True))


class Tap(NamedTuple):
    """The host's end of an interface of a guest that runs. ``bridge`` "" for one on none."""

    number: int
    mac: str
    device: str
    bridge: str


def taps(domain: Element) -> list[Tap]:
    """The host's ends of the interfaces, by number."""
    found = list(domain.all("devices/interface"))
    numbers = nic_numbers([nic.attribute_of("alias", "name") for nic in found])
    return sorted(
        Tap(number, nic.attribute_of("mac", "address").lower(), nic.attribute_of("target", "dev"),
            nic.attribute_of("source", "bridge"))
        for number, nic in zip(numbers, found, strict=True)
    )  # fmt: skip


def nic_numbers(aliases: list[str]) -> list[int]:
    """The numbers of ``xm network-list`` for interfaces with these ALIASES, which stay when others go.

    One whose alias tells none has the first that is free.
    """
    numbers: dict[int, int] = {}  # place to number
    for place, alias in enumerate(aliases):
        known = _NUMBERED.fullmatch(alias)
        if known and int(known[1]) not in numbers.values():
            numbers[place] = int(known[1])
    free = (one for one in range(len(aliases) + len(numbers) + 1) if one not in set(numbers.values()))
    return [numbers[place] if place in numbers else next(free) for place in range(len(aliases))]


def has_tpm(domain: Element) -> bool:
    return domain.first("devices/tpm") is not None


def record(domain: Element) -> XenRecord | None:
    """What xm kept with it; None where it kept nothing."""
    metadata = domain.first("metadata")
    own = None if metadata is None else metadata.inside(METADATA_URI, ELEMENT)
    return None if own is None else record_of(own.attributes, own.text)
