"""Virtual block devices to QEMU's disks: what lies behind them, and how they are cached and shared. Pure.

Where each one goes (bus and name) is settled in ``places``.
"""

from __future__ import annotations

import re
from collections import Counter

from xmcompat.backends.machine import BlockSource, Bus, Disk, DiskDevice, DiskSource, FileSource, NetworkSource
from xmcompat.guest import FirmwareBoot, GuestConfig, GuestKind, Vbd, VbdMode
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import text
from xmcompat.translate.places import Place, hvm_places, pv_places
from xmcompat.vdev import vdev_number

#: QEMU's drivers for the formats that Xen's words mean. "vhd" would be another format there.
DRIVERS = {"raw": "raw", "qcow": "qcow", "qcow2": "qcow2", "vhd": "vpc", "vmdk": "vmdk", "qed": "qed"}

#: Words for a plain image or volume of the host; "tap:aio" counts by its first.
_LOCAL = ("", "phy", "file", "tap", "tap2", "vhd", "qcow", "qcow2", "raw", "vmdk", "aio", "ioemu", "tapdisk")
_LOCAL_DOMAIN = ("", "0", "Domain-0")
_NBD = re.compile(r"([^\s:]+|\[[0-9a-fA-F:]+\])[\s:]+([0-9]{1,5})")


def disks(guest: GuestConfig, findings: Findings) -> tuple[Disk, ...]:
    """The disks in the order in which the guest shall find them, floppies last."""
    _refuse_twins(guest, findings)
    place = hvm_places if guest.kind is GuestKind.HVM else pv_places
    found = [_disk(guest, placed, findings) for placed in place(guest, findings)]
    return (*found, *_floppies(guest))


def is_local(backend: str) -> bool:
    """Whether a back end is the host itself."""
    return backend in _LOCAL_DOMAIN


def _refuse_twins(guest: GuestConfig, findings: Findings) -> None:
    """xend's sentences for what is given twice."""
    for uname, count in Counter(vbd.uname for vbd in guest.disks if vbd.uname).items():
        if count > 1:
            findings.unconnected(f'The file "{uname}" is already used')
    for vdev, count in Counter(vbd.vdev for vbd in guest.disks).items():
        if count > 1:
            findings.unconnected(f'The device "{vdev}" is already defined')
        if vdev_number(vdev) is None:
            findings.unconnected(f"Unable to find number for device ({vdev})")


def _disk(guest: GuestConfig, place: Place, findings: Findings) -> Disk:
    vbd, key = guest.disks[place.number], f"disk[{place.number}]"
    _check(vbd, key, findings)
    source = _source(vbd, key, findings)
    shared = vbd.mode is VbdMode.SHARED and not vbd.cdrom
    cache, io = _caching(vbd, source, shared=shared)
    if vbd.cdrom and vbd.mode is not VbdMode.READ_ONLY:
        findings.approximated(key, "a CD-ROM cannot be written to", value=_shown(vbd), harmless=True)
    return Disk(
        source=source,
        target=place.target,
        bus=place.bus,
        device=DiskDevice.CDROM if vbd.cdrom else DiskDevice.DISK,
        driver=DRIVERS.get(vbd.image_format, "raw"),
        cache=cache,
        io=io,
        readonly=vbd.cdrom or vbd.mode is VbdMode.READ_ONLY,
        shareable=shared,
        vdev=vbd.vdev,
    )


def _shown(vbd: Vbd) -> str:
    return f"{vbd.uname},{vbd.vdev},{vbd.mode.value}"


def _check(vbd: Vbd, key: str, findings: Findings) -> None:
    """Refuse what would harm the user's data."""
    if not is_local(vbd.backend):
        findings.refuse(
            key, f"KVM has no driver domains (back end '{vbd.backend}'); give a disk of this host", value=_shown(vbd)
        )
    if vbd.image_format not in DRIVERS:
        findings.refuse(
            key, f"images of type '{vbd.image_format}' cannot be read; convert it with qemu-img", value=_shown(vbd)
        )
    elif vbd.mode is VbdMode.SHARED and vbd.image_format != "raw":
        findings.refuse(
            key,
            f"a {vbd.image_format} image would be destroyed by a second writer; only raw ones can be shared (w!)",
            value=_shown(vbd),
        )
    elif vbd.image_format == "qcow":
        findings.approximated(
            key, "some of Xen's qcow images are of a kind of their own, which QEMU does not read", value=_shown(vbd),
            suggestion="qemu-img convert -f qcow -O qcow2 tells, and helps",
        )  # fmt: skip


def _source(vbd: Vbd, key: str, findings: Findings) -> DiskSource | None:
    word, _, kind = vbd.protocol.partition(":")
    if not vbd.path:
        if not vbd.cdrom:
            findings.refuse(key, "a disk needs an image or a volume before its first comma", value=_shown(vbd))
        return None
    if kind in ("ram", "remus"):
        findings.refuse(key, f"'{vbd.protocol}:' does not exist on KVM; give an image or a volume", value=_shown(vbd))
    elif word == "drbd":
        findings.approximated(
            key, "nothing promotes the DRBD resource at the start, or demotes it at the end", value=_shown(vbd),
            suggestion=f"run 'drbdadm primary {vbd.path}' first",
        )  # fmt: skip
        return BlockSource(path=vbd.path if vbd.path.startswith("/") else f"/dev/drbd/by-res/{vbd.path}")
    elif word == "nbd" and (found := _NBD.fullmatch(vbd.path.strip())):
        return NetworkSource(protocol="nbd", host=found[1].strip("[]"), port=int(found[2]))
    elif word not in _LOCAL:
        findings.refuse(
            key,
            f"'{vbd.protocol}:' is not supported yet; attach it to this host and give it as phy:/dev/...",
            value=_shown(vbd),
        )
    if word == "phy" or _is_device(vbd.path):
        return BlockSource(path=vbd.path)
    return FileSource(path=vbd.path)


def _is_device(path: str) -> bool:
    return path.startswith("/dev/") and not path.startswith("/dev/shm/")


def _caching(vbd: Vbd, source: DiskSource | None, *, shared: bool) -> tuple[str, str]:
    """Volumes are not cached by the host, as with Xen. Files are left to QEMU: not every file system could do
    without its cache; shared ones must."""
    if source is None or vbd.cdrom:
        return "", ""
    if isinstance(source, BlockSource):
        return "none", "native"
    if shared:
        return "none", ""
    return ("writethrough", "") if vbd.protocol.endswith(":sync") else ("", "")


def _floppies(guest: GuestConfig) -> list[Disk]:
    if guest.kind is not GuestKind.HVM or not isinstance(guest.boot, FirmwareBoot):
        return []
    return [
        Disk(source=FileSource(path=path), target=drive, bus=Bus.FDC, device=DiskDevice.FLOPPY)
        for drive in ("fda", "fdb")
        if (path := text(guest, drive))
    ]
