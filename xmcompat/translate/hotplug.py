"""One device more for a guest that is there already: by the rules for those that it starts with. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from xmcompat.backends.devices import Bus, Disk, Nic
from xmcompat.backends.facts import HostFacts
from xmcompat.guest import GuestConfig, GuestKind
from xmcompat.translate.disks import disk_at
from xmcompat.translate.findings import Findings
from xmcompat.translate.nics import nic_at
from xmcompat.translate.places import added_place
from xmcompat.translate.sources import shown
from xmcompat.vdev import split_vdev

#: Buses of which QEMU lets nothing go, and to which it adds nothing, while the guest runs.
FIXED = (Bus.IDE, Bus.SATA, Bus.FDC)


def added_disk(
    guest: GuestConfig, taken: Iterable[str], findings: Findings, *, live: bool, scripts: Collection[str] = ()
) -> Disk | None:
    """The one disk of GUEST, beside others with the names TAKEN. None, with the reason in FINDINGS, where it has no place.

    LIVE: the guest runs, and finds it now. SCRIPTS are those of the host that may bring it up.
    """
    vbd = guest.disks[0]
    place = added_place(guest, taken, live=live)
    if place is None:
        findings.refuse("disk[0]", "no place is left; take another disk away first", value=shown(vbd))
        return None
    if guest.kind is GuestKind.HVM and live:
        kind = split_vdev(vbd.vdev)[0]
        what = "a CD-ROM drive on a virtio-scsi controller" if vbd.cdrom else f"the virtio disk {place.target}"
        why = "" if kind == "xvd" and not vbd.cdrom else "QEMU adds no emulated drives to a guest that runs; "
        findings.approximated(
            "disk[0]", f"{why}it is {what} in the guest", value=vbd.vdev, suggestion="the guest needs a driver for that"
        )
    return disk_at(guest, place, findings, scripts)


def added_nic(guest: GuestConfig, facts: HostFacts, number: int, findings: Findings) -> Nic:
    """The one interface of GUEST, with the NUMBER that it has in xm's lists."""
    return nic_at(guest, facts, number, guest.vifs[0], findings)
