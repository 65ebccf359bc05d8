"""The devices of one domain as Xen counts them, for the lists of devices: from its machine and from its record."""

from __future__ import annotations

import uuid as uuids

from xmcompat.backends import domain_xml
from xmcompat.backends.hypervisor import DomainInfo
from xmcompat.backends.machine import Disk, DiskDevice, Machine
from xmcompat.config.sxp import children, value
from xmcompat.describe import recorded_form
from xmcompat.errors import DomainNotFound
from xmcompat.render.device_tables import FrontEnd, Tree
from xmcompat.render.domain_sxp import form_of
from xmcompat.toolstack import DOM0_UUID, Toolstack
from xmcompat.vdev import vdev_number

#: The classes of one list.
DISKS, NICS, TPMS = ("vbd", "tap", "tap2"), ("vif",), ("vtpm",)


def front_ends(toolstack: Toolstack, designation: str, kinds: tuple[str, ...]) -> tuple[DomainInfo, list[FrontEnd]]:
    """The domain, and its devices of these KINDS: those that it has where it is there, else those configured.

    Domain-0 has none. Raises DomainNotFound.
    """
    info = toolstack.find(designation)
    if info.uuid == DOM0_UUID:
        return info, []
    try:
        machine = domain_xml.parse(toolstack.hypervisor.domain_xml(info.uuid))
    except DomainNotFound:
        raise DomainNotFound(designation) from None
    configured = _configured(info, recorded_form(machine.record) or form_of(machine), kinds)
    if info.domid is None:
        return info, configured
    if kinds == DISKS:
        return info, _disks(machine, {device.number: device.kind for device in configured})
    if kinds == NICS:
        return info, [FrontEnd("vif", place, place, mac=nic.mac) for place, nic in enumerate(machine.nics)]
    return info, [FrontEnd("vtpm", 0, 0)] if machine.tpm else []


def _configured(info: DomainInfo, form: Tree, kinds: tuple[str, ...]) -> list[FrontEnd]:
    """What the ``(vm ...)`` FORM says, with a uuid for each device, as ``list --long`` shows it."""
    found: list[FrontEnd] = []
    counts: dict[str, int] = {}
    for element in children(form, "device"):
        device = element[1] if len(element) > 1 else None
        if not isinstance(device, list) or not device or device[0] not in kinds:
            continue
        kind = str(device[0])
        place = counts.get(kind, 0)
        counts[kind] = place + 1
        uuid = value(device, "uuid") or str(uuids.uuid5(uuids.UUID(info.uuid), f"{kind}/{place}"))
        own = [child for child in device[1:] if not (isinstance(child, list) and child[:1] == ["uuid"])]
        name = str(value(device, "dev", ""))
        number = disk_number(name) if kinds == DISKS else place
        if number is not None:
            found.append(
                FrontEnd(
                    kind, number, len(found), mac=str(value(device, "mac", "")), cdrom=name.endswith(":cdrom"),
                    form=[kind, *own, ["uuid", uuid]],
                )
            )  # fmt: skip
    return found


def _disks(machine: Machine, kinds: dict[int, str]) -> list[FrontEnd]:
    """Those that the machine has now; KINDS are the classes of those that were configured, which come first."""
    numbered = [(number, disk.device) for disk in machine.disks if (number := _number(disk)) is not None]
    order = {number: place for place, number in enumerate(kinds)}
    numbered.sort(key=lambda pair: order.get(pair[0], len(order)))
    return [
        FrontEnd(kinds.get(number, "vbd"), number, place, cdrom=device is DiskDevice.CDROM)
        for place, (number, device) in enumerate(numbered)
    ]


def _number(disk: Disk) -> int | None:
    """By Xen's name where there is one, else by QEMU's; Xen counts no floppies."""
    return None if disk.device is DiskDevice.FLOPPY else disk_number(disk.vdev or disk.target)


def disk_number(name: str) -> int | None:
    """The number of "ioemu:hdc:cdrom"; "vda", which is KVM's, has that of "xvda"."""
    plain = name.removeprefix("ioemu:").partition(":")[0]
    return vdev_number(f"x{plain}" if plain.startswith("vd") else plain)
