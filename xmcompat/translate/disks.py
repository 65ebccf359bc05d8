"""Virtual block devices to QEMU's disks: what lies behind them, and how they are cached and shared. Pure.

Where each one goes (bus and name) is settled in ``places``.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace

from xmcompat import iscsi_names
from xmcompat.backends.devices import BlockSource, Bus, Disk, DiskDevice, DiskSource, FileSource, NetworkSource
from xmcompat.backends.facts import HostFacts
from xmcompat.disk_logins import masked
from xmcompat.guest import Dialect, GuestConfig, GuestKind, Vbd, VbdMode
from xmcompat.translate.block_scripts import by_script
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import given, text, texts
from xmcompat.translate.partitions import joined, joined_name, members_in
from xmcompat.translate.places import Place, hvm_places, pv_places
from xmcompat.translate.sources import is_foreign, shown, source
from xmcompat.vdev import index_letters, vdev_number

#: QEMU's drivers for the formats that Xen's words mean. "vhd" would be another format there.
DRIVERS = {"raw": "raw", "qcow": "qcow", "qcow2": "qcow2", "vhd": "vpc", "vmdk": "vmdk", "qed": "qed"}

#: Formats that can give space back.
_SPARSE = ("raw", "qcow2")
_DIRECT = ("none", "native")

#: Names of devices that a LUN may have today, and another one tomorrow.
_NAME_FOR_ONCE = re.compile(r"/dev/(?:sd[a-z]+|dm-[0-9]+|mapper/mpath[a-z]+)")


def disks(guest: GuestConfig, facts: HostFacts, findings: Findings) -> tuple[Disk, ...]:
    """The disks in the order in which the guest shall find them, floppies and USB disks last."""
    _refuse_twins(guest, findings)
    hvm = guest.kind is GuestKind.HVM
    places = hvm_places(guest, findings) if hvm else pv_places(guest, facts, findings)
    found = [
        joined(guest, facts, place.vdev, place.target, _members(guest, place.members, findings)) if place.members
        else disk_at(guest, place, findings, facts.scripts) for place in places
    ]  # fmt: skip
    return (*found, *_floppies(guest, findings), *_usb_disks(guest, {disk.target for disk in found}))


def _members(guest: GuestConfig, numbers: Iterable[int], findings: Findings) -> list[Disk]:
    return [disk_at(guest, Place(number, "", Bus.VIRTIO), findings) for number in numbers]


def recalled(disks: tuple[Disk, ...], guest: GuestConfig) -> tuple[Disk, ...]:
    """The DISKS, read from the XML of a domain, with what GUEST, its configuration, says of them besides: the volumes that
    they are made of, and what must be up on the host."""
    findings, names = Findings(guest), {disk.vdev for disk in disks}
    sources = {
        vbd.vdev: found for vbd in guest.disks
        if isinstance(found := by_script(vbd, guest) or source(vbd, "disk", findings), FileSource | BlockSource)
    }  # fmt: skip

    def again(disk: Disk) -> Disk:
        if joined_name(disk):
            members = _members(guest, members_in(guest, disk.vdev, names), findings)
            return replace(disk, members=tuple(members))
        if isinstance(disk.source, FileSource | BlockSource):
            said = sources.get(disk.vdev)
            path = said.path if said and _was_for_once(disk.source.path, said.path) else disk.source.path
            return replace(disk, source=replace(disk.source, path=path, need=said.need if said else None))
        return disk

    return tuple(map(again, disks))


def _was_for_once(path: str, said: str) -> bool:
    """Whether PATH is a name that the kernel, or multipathd, gave to the LUN that the configuration calls SAID: it may be
    another one's after a reboot."""
    return iscsi_names.of_device(said) is not None and _NAME_FOR_ONCE.fullmatch(path) is not None


def _refuse_twins(guest: GuestConfig, findings: Findings) -> None:
    """xend's sentences for what is given twice; xl has none, and refuses a device's name alone."""
    if guest.dialect is Dialect.XL:
        _refuse_twins_of_xl(guest, findings)
        return
    for uname, count in Counter(vbd.uname for vbd in guest.disks if vbd.uname).items():
        if count > 1:
            findings.unconnected(f'The file "{uname}" is already used')
    for vdev, count in Counter(vbd.vdev for vbd in guest.disks).items():
        if count > 1:
            findings.unconnected(f'The device "{vdev}" is already defined')
        if vdev_number(vdev) is None:
            findings.unconnected(f"Unable to find number for device ({vdev})")


def _refuse_twins_of_xl(guest: GuestConfig, findings: Findings) -> None:
    """Two disks of one name, and an image that is there twice and written to: QEMU would not open it again."""
    written = given(guest, "disk")
    texts = written if isinstance(written, list) and len(written) == len(guest.disks) else None
    for (first, one), (second, other) in itertools.combinations(enumerate(guest.disks), 2):
        said = masked(str(texts[second])) if texts else shown(other)
        if vdev_number(one.vdev) == vdev_number(other.vdev):
            findings.refuse(
                f"disk[{second}]", f"disk[{first}] is called {one.vdev} as well; give it another name", value=said
            )
        if _behind(one) and _behind(one) == _behind(other) and (_is_written(one) or _is_written(other)):
            findings.refuse(
                f"disk[{second}]", f"disk[{first}] has {one.path} as well, and one of them writes to it; "
                "give each its own, or both read-only", value=said,
            )  # fmt: skip


def _behind(vbd: Vbd) -> tuple[str, str] | None:
    """What two disks have in common that are one, whatever format they are said to have."""
    word = vbd.protocol.partition(":")[0]
    return ("" if word in ("phy", "file", "tap") else word, vbd.path) if vbd.path else None


def _is_written(vbd: Vbd) -> bool:
    return vbd.mode is not VbdMode.READ_ONLY and not vbd.cdrom


def disk_at(guest: GuestConfig, place: Place, findings: Findings, scripts: Collection[str] = ()) -> Disk:
    """One disk of the configuration, at its place in the guest. SCRIPTS are those of the host that may bring it up."""
    vbd, key = guest.disks[place.number], f"disk[{place.number}]"
    _check(vbd, key, findings)
    _tell_unused(vbd, key, findings, virtio=guest.kind is GuestKind.HVM and place.bus is Bus.VIRTIO)
    behind = by_script(vbd, guest, scripts) or source(vbd, key, findings)
    shared = vbd.mode is VbdMode.SHARED and not vbd.cdrom
    cache, io = _caching(vbd, behind, shared=shared)
    if vbd.cdrom and vbd.mode is not VbdMode.READ_ONLY:
        findings.approximated(key, "a CD-ROM cannot be written to", value=shown(vbd), harmless=True)
    return Disk(
        source=behind,
        target=place.target,
        bus=place.bus,
        device=DiskDevice.CDROM if vbd.cdrom else DiskDevice.DISK,
        driver=DRIVERS.get(vbd.image_format, "raw"),
        cache=cache,
        io=io,
        discard=_discard(guest, vbd),
        on_error="stop" if isinstance(behind, NetworkSource) and behind.protocol == "nbd" else "",
        readonly=vbd.cdrom or vbd.mode is VbdMode.READ_ONLY,
        shareable=shared,
        vdev=vbd.vdev,
    )


def _check(vbd: Vbd, key: str, findings: Findings) -> None:
    """Refuse what would harm the user's data."""
    findings.back_end(key, vbd.backend, value=shown(vbd))
    if is_foreign(vbd):
        return  # ``source`` says why
    if vbd.image_format not in DRIVERS:
        findings.refuse(
            key, f"images of type '{vbd.image_format}' cannot be read; convert it with qemu-img", value=shown(vbd)
        )
    elif vbd.mode is VbdMode.SHARED and vbd.image_format != "raw":
        findings.refuse(
            key,
            f"a {vbd.image_format} image would be destroyed by a second writer; only raw ones can be shared (w!)",
            value=shown(vbd),
        )
    elif vbd.image_format == "qcow":
        findings.approximated(
            key, "some of Xen's qcow images are of a kind of their own, which QEMU does not read", value=shown(vbd),
            suggestion="qemu-img convert -f qcow -O qcow2 tells, and helps",
        )  # fmt: skip


def _tell_unused(vbd: Vbd, key: str, findings: Findings, *, virtio: bool) -> None:
    """xl's words for how Xen does it, which no guest can tell. VIRTIO: that it is such a disk is told already."""
    if vbd.backendtype:
        findings.no_meaning(key, "QEMU serves all disks", value=f"backendtype={vbd.backendtype}", harmless=True)
    if vbd.specification and not (virtio and vbd.specification == "virtio"):
        findings.no_meaning(
            key, "every disk that is not emulated is one of virtio", value=f"specification={vbd.specification}",
            harmless=True,
        )  # fmt: skip


def _caching(vbd: Vbd, behind: DiskSource | None, *, shared: bool) -> tuple[str, str]:
    """Cache and kind of I/O. Volumes are not cached by the host, as with Xen, and files not where Xen went past
    its cache (aio, sync); shared ones must not be. Other files are left to QEMU: not every file system could do
    without its cache."""
    if behind is None or vbd.cdrom:
        return "", ""
    if isinstance(behind, BlockSource):
        return _DIRECT
    if shared or (isinstance(behind, FileSource) and vbd.protocol == "nfs"):  # other hosts see what is written
        return "none", ""
    if isinstance(behind, FileSource) and vbd.image_format == "raw" and vbd.protocol.startswith("tap"):
        return {"aio": _DIRECT, "sync": ("directsync", "")}.get(vbd.protocol.rpartition(":")[2], ("", ""))
    if vbd.direct_io_safe:  # what Xen's QEMU makes of it
        return _DIRECT if isinstance(behind, FileSource) else ("none", "")
    return "", ""


def _discard(guest: GuestConfig, vbd: Vbd) -> str:
    """xl lets a guest give space back, unless told not to; xm's back ends knew nothing of it."""
    if guest.dialect is not Dialect.XL or vbd.cdrom or vbd.mode is VbdMode.READ_ONLY:
        return ""
    if vbd.discard is False:
        return "ignore"
    return "unmap" if vbd.image_format in _SPARSE else ""


def _floppies(guest: GuestConfig, findings: Findings) -> list[Disk]:
    if guest.kind is not GuestKind.HVM:
        return []
    paths = {drive: path for drive in ("fda", "fdb") if (path := text(guest, drive))}
    for drive, path in paths.items():
        if not path.startswith("/"):
            findings.refuse(drive, "a floppy needs an absolute path", value=path)
    return [
        Disk(source=_image(path), target=drive, bus=Bus.FDC, device=DiskDevice.FLOPPY)
        for drive, path in paths.items()
    ]


def _usb_disks(guest: GuestConfig, taken: Iterable[str]) -> list[Disk]:
    """The sticks of ``usbdevice = "disk:FILE"``, where "disk:format=raw:FILE" is the same."""
    if guest.kind is not GuestKind.HVM:
        return []
    names = (name for index in itertools.count() if (name := f"sd{index_letters(index)}") not in taken)
    paths = [word.removeprefix("disk:") for word in texts(guest, "usbdevice") if word.startswith("disk:")]
    return [
        Disk(source=_image(path.removeprefix("format=raw:")), target=next(names), bus=Bus.USB)
        for path in paths
        if path.removeprefix("format=raw:").startswith("/")
    ]


def _image(path: str) -> DiskSource:
    """A volume or an image, by where it lies."""
    return BlockSource(path=path) if path.startswith("/dev/") else FileSource(path=path)
