"""What a domain that is to go to another host needs there: read from the domain and from the disks of this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmcompat import composites, moving_secrets
from xmcompat.backends import domain_xml, glance
from xmcompat.backends.devices import BlockSource, Disk, FileSource, NetworkSource, PciHostdev, UsbHostdev
from xmcompat.backends.machine import DeviceBoot, DirectKernel, Machine
from xmcompat.migration.facts import FileKind, Identity, Passed, Wanted, WantedDisk, WantedScreen, WantedVif
from xmcompat.storage import identity, image_locks, needs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xmcompat.backends.hypervisor import DomainInfo, Hypervisor
    from xmcompat.guest import GuestConfig

#: QEMU's word for a cache that nobody has set.
_USUAL_CACHE = "writeback"


def wanted_of(
    hypervisor: Hypervisor, info: DomainInfo, *, live: bool, persist: bool, copied: Sequence[str] = ()
) -> Wanted:
    """What the domain of INFO, which runs, needs of another host. Disks whose targets are COPIED are not shared.

    Raises DomainNotFound.
    """
    xml = hypervisor.migratable_xml(info.uuid)
    machine = domain_xml.parse(xml)
    guest = composites.guest_in(machine)
    root = glance.read(xml)
    return Wanted(
        name=info.name, uuid=info.uuid, memory=info.memory, max_memory=info.max_memory, vcpus=info.vcpus,
        accelerator=machine.accelerator.value, machine_type=machine.machine_type, arch=machine.arch, cpu=_cpu(xml),
        disks=(*_disks(machine, guest, copied), *_beneath(hypervisor, info.uuid, machine, copied)),
        secrets=moving_secrets.wanted(hypervisor, machine, guest), vifs=_vifs(machine, guest),
        screens=tuple(WantedScreen(kind=one.type, listen=one.listen, port=one.port or 0) for one in machine.graphics),
        passed=tuple(_passed(machine, guest)), files=tuple(_files(machine, root)),
        record=hypervisor.metadata(info.uuid) or "", xml=xml, persist=persist,
        nomigrate=str(guest.options.get("nomigrate", "0")) not in ("0", ""), live=live, huge_pages=machine.hugepages,
    )  # fmt: skip


def _cpu(xml: str) -> str:
    """libvirt's element of the processor that the guest sees, "" for QEMU's own choice."""
    begin = xml.find("<cpu ")
    if begin < 0:
        return ""
    whole = xml[begin : xml.find(">", begin) + 1]
    return whole if whole.endswith("/>") else xml[begin : xml.find("</cpu>", begin) + len("</cpu>")]


def _disks(machine: Machine, guest: GuestConfig, copied: Sequence[str]) -> Iterator[WantedDisk]:
    """Those of MACHINE; of one that is made of several volumes, these."""
    for disk in composites.disks_of(machine, guest):
        for one in disk.members or (disk,):
            yield _disk(one, copy=disk.target in copied or one.target in copied)


def _beneath(hypervisor: Hypervisor, uuid: str, machine: Machine, copied: Sequence[str]) -> Iterator[WantedDisk]:
    """The images beneath those of MACHINE, which runs: they are read only, and what is copied goes whole. libvirt tells of
    them in its own XML alone. Raises DomainNotFound."""
    names = {disk.target: disk.vdev for disk in machine.disks if disk.driver not in ("", "raw")}
    if not names:
        return
    for disk in glance.read(hypervisor.domain_xml(uuid)).all("devices/disk"):
        target = (disk.first("target") or disk).get("dev")
        store, number = disk.first("backingStore"), 0
        while store is not None and target not in copied:
            source, form, number = store.first("source"), store.first("format"), number + 1
            path = "" if source is None else source.get("file") or source.get("dev")
            if path:
                size, seen = _look(path)
                need = needs.need_of(path)
                wanted = ((need.kind, need.name),) if need else ()
                yield WantedDisk(
                    vdev=names.get(target) or target, target=f"{target}/{number}", path=path, size=size, identities=seen,
                    kind=FileKind.BLOCK if store.get("type") == "block" else FileKind.FILE, readonly=True,
                    format="raw" if form is None else form.get("type", "raw"), needs=wanted,
                )  # fmt: skip
            store = store.first("backingStore")


def _disk(disk: Disk, *, copy: bool) -> WantedDisk:
    kind, path = _place(disk)
    local = kind in (FileKind.FILE, FileKind.BLOCK)
    size, seen = _look(path) if local else (0, ())
    copy = copy and not disk.readonly
    if copy and disk.driver != "raw":
        size = _virtual_size(path, disk.driver)
    need = needs.need_of(path) if local else None
    named = getattr(disk.source, "need", None)
    wanted = [(one.kind, one.name) for one in (named, need) if one is not None][:1]
    return WantedDisk(
        vdev=disk.vdev or disk.target, target=disk.target, kind=kind, path=path, size=size, identities=seen,
        readonly=disk.readonly, shareable=disk.shareable, cache=disk.cache or _USUAL_CACHE, format=disk.driver,
        needs=tuple(wanted), copy=copy, locked=local and image_locks.is_locked(path),
    )  # fmt: skip


def _place(disk: Disk) -> tuple[str, str]:
    match disk.source:
        case FileSource(path=path) if path:
            return FileKind.FILE, path
        case BlockSource(path=path) if path:
            return FileKind.BLOCK, path
        case NetworkSource() as remote:
            return FileKind.NETWORK, f"{remote.protocol}:{remote.host or remote.socket}/{remote.name}"
    return FileKind.EMPTY, ""


def _look(path: str) -> tuple[int, tuple[Identity, ...]]:
    """Size in bytes and identities of what is at PATH; nothing where it cannot be looked at, of which preflight tells."""
    try:
        found = identity.identities(path)
        with open(path, "rb") as file:
            size = file.seek(0, 2)
    except OSError:
        return 0, ()
    return size, tuple(Identity(kind=one.kind, place=one.place, number=one.number) for one in found)


def _virtual_size(path: str, driver: str) -> int:
    """What the guest sees of the image at PATH, in bytes; 0 where that cannot be told."""
    try:
        with open(path, "rb") as file:
            head = file.read(32)
    except OSError:
        return 0
    known = driver == "qcow2" and len(head) == 32 and head.startswith(b"QFI\xfb")
    return int.from_bytes(head[24:], "big") if known else 0


def _vifs(machine: Machine, guest: GuestConfig) -> tuple[WantedVif, ...]:
    scripts = {vif.mac.lower(): vif.script for vif in guest.vifs}
    return tuple(
        WantedVif(mac=nic.mac, bridge=nic.bridge, script=scripts.get(nic.mac.lower(), "")) for nic in machine.nics
    )


def _passed(machine: Machine, guest: GuestConfig) -> Iterator[Passed]:
    for device in machine.hostdevs:
        kind = "pci" if isinstance(device, PciHostdev) else "usb" if isinstance(device, UsbHostdev) else "scsi"
        yield Passed(kind=kind, name=str(device))


def _files(machine: Machine, root: glance.Element) -> Iterator[str]:
    """Files of the host that QEMU opens besides disks."""
    match machine.boot:
        case DirectKernel(kernel=kernel, initrd=initrd):
            yield from filter(None, (kernel, initrd))
        case DeviceBoot(firmware=firmware) if firmware.startswith("/"):
            yield firmware
    if machine.acpi_table:
        yield machine.acpi_table
