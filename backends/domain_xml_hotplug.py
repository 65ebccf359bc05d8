"""Single devices to libvirt XML, for a domain that is there already, and what it has plugged in. Pure; loads lxml."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lxml import etree

from xmcompat.backends import domain_xml_read_devices as read
from xmcompat.backends.devices import Disk, Nic
from xmcompat.backends.devices_glance import nic_numbers
from xmcompat.backends.domain_xml_read import root_of
from xmcompat.backends.domain_xml_write_devices import write_disk, write_nic
from xmcompat.backends.xml_elements import add, attribute, number

#: SCSI controllers that take disks while the guest runs, by the beginnings of their models.
_FAST = "virtio"


class PluggedDisk(NamedTuple):
    """A disk that a domain has. ``alias`` is libvirt's name for it, "" where the domain is off."""

    disk: Disk
    alias: str


class PluggedNic(NamedTuple):
    """An interface that a domain has. ``number`` is that of ``xm network-list``, which stays when others go."""

    nic: Nic
    number: int
    alias: str


class Drive(NamedTuple):
    """A place on a SCSI controller, which is to be plugged in first where it is ``new``."""

    controller: int
    unit: int
    new: bool


def plugged_disks(xml: str) -> list[PluggedDisk]:
    """The disks of a domain's XML, in libvirt's order."""
    return [
        PluggedDisk(read.disk(element), attribute(element.find("alias"), "name"))
        for element in root_of(xml).iterfind("devices/disk")
    ]


def plugged_nics(xml: str) -> list[PluggedNic]:
    """The interfaces of a domain's XML by number. One whose alias tells none has the first that is free."""
    found = [
        (read.nic(element), attribute(element.find("alias"), "name"))
        for element in root_of(xml).iterfind("devices/interface")
    ]
    numbers = nic_numbers([alias for _, alias in found])
    plugged = [PluggedNic(nic, number, alias) for number, (nic, alias) in zip(numbers, found, strict=True)]
    return sorted(plugged, key=lambda one: one.number)


def scsi_place(xmls: Sequence[str]) -> Drive:
    """A free place on a SCSI controller that takes disks at any time, the same in each of the XMLS of a domain."""
    roots = [root_of(xml) for xml in xmls]
    models = [_controllers(root) for root in roots]
    fast = [index for index in models[0] if all(known.get(index, "").startswith(_FAST) for known in models)]
    if not fast:
        return Drive(max((index for known in models for index in known), default=-1) + 1, 0, True)
    index = min(fast)
    used = {unit for root in roots for unit in _units(root, index)}
    return Drive(index, next(unit for unit in range(len(used) + 1) if unit not in used), False)


def _controllers(root: etree._Element) -> dict[int, str]:
    return {
        number(element.get("index")) or 0: element.get("model", "")
        for element in root.iterfind("devices/controller")
        if element.get("type") == "scsi"
    }


def _units(root: etree._Element, controller: int) -> set[int]:
    """The units of the controller's first target."""
    return {
        number(address.get("unit")) or 0
        for address in root.iterfind("devices/*/address[@type='drive']")
        if (number(address.get("controller")) or 0) == controller and (number(address.get("target")) or 0) == 0
    }


def disk_xml(disk: Disk, drive: Drive | None = None) -> str:
    """One disk, at its place on a SCSI controller where that is not libvirt's choice."""
    parent = etree.Element("devices")
    write_disk(parent, disk)
    if drive is not None:
        add(parent[0], "address", type="drive", controller=drive.controller, bus=0, target=0, unit=drive.unit)
    return _text(parent[0])


def nic_xml(nic: Nic, number: int | None = None) -> str:
    """One interface, with its number where it has one of its own."""
    parent = etree.Element("devices")
    write_nic(parent, nic)
    if number is not None:
        add(parent[0], "alias", name=f"ua-vif-{number}")
    return _text(parent[0])


def controller_xml(index: int) -> str:
    """A SCSI controller that takes disks while the guest runs."""
    return _text(add(etree.Element("devices"), "controller", type="scsi", index=index, model="virtio-scsi"))


def _text(element: etree._Element) -> str:
    return etree.tostring(element, encoding="unicode")
