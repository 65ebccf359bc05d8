"""Devices of the host in the XML of a domain that is there already: what it has, what it can be given. Pure; loads lxml."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lxml import etree

from xmcompat.backends.devices import Hostdev, UsbBus
from xmcompat.backends.domain_xml_read import root_of
from xmcompat.backends.domain_xml_read_hostdevs import hostdev
from xmcompat.backends.domain_xml_write_devices import write_usb
from xmcompat.backends.domain_xml_write_hostdevs import hostdevs as write_hostdevs
from xmcompat.backends.xml_elements import add, attribute, number

#: libvirt's word for a guest without USB.
_NONE = "none"
_FAST = "virtio"


class PluggedHostdev(NamedTuple):
    """A device of the host that a domain has. ``alias`` is libvirt's name for it, "" where it has none yet; ``xml`` its
    own, for libvirt to find it by."""

    device: Hostdev
    alias: str
    xml: str


def device_aliases(xml: str) -> set[str]:
    """libvirt's names for the devices of every kind that the domain has now."""
    return {element.get("name", "") for element in root_of(xml).iterfind("devices/*/alias")}


def plugged_hostdevs(xml: str) -> list[PluggedHostdev]:
    """PCI, USB and SCSI devices in libvirt's order."""
    found = []
    for element in root_of(xml).iterfind("devices/hostdev"):
        device = hostdev(element)
        if device is not None:
            found.append(PluggedHostdev(device, attribute(element.find("alias"), "name"), _text(element)))
    return found


def hostdev_xml(device: Hostdev, alias: str) -> str:
    """One device, with the ALIAS that it is to have."""
    parent = etree.Element("devices")
    write_hostdevs(parent, (device,))
    add(parent[0], "alias", name=alias)
    return _text(parent[0])


def machine_type(xml: str) -> str:
    return attribute(root_of(xml).find("os/type"), "machine")


def usb_models(xml: str) -> dict[int, str]:
    """The models of the USB controllers by the numbers of their buses; without those that only go with another."""
    return {
        number(element.get("index")) or 0: element.get("model", "")
        for element in root_of(xml).iterfind("devices/controller")
        if element.get("type") == "usb" and element.get("model") != _NONE and element.find("master") is None
    }


def with_usb_bus(xml: str, bus: UsbBus) -> str:
    """The definition XML with one more USB controller, behind those that it has."""
    root = root_of(xml)
    devices = _devices(root)
    there = [element for element in devices.iterfind("controller") if element.get("type") == "usb"]
    for element in there:
        if element.get("model") == _NONE:
            devices.remove(element)
    index = max((number(element.get("index")) or 0 for element in there if element.get("model") != _NONE), default=-1) + 1
    write_usb(devices, (bus,), index)
    return _text(root)


def without_usb_bus(xml: str, index: int) -> str:
    """The definition XML without the USB controller of that number and what is on it; those behind it move up."""
    root = root_of(xml)
    devices = _devices(root)
    for element in list(devices):
        address = element.find("address")
        if attribute(address, "type") == "usb" and _bus(address) == index:
            devices.remove(element)
        elif attribute(address, "type") == "usb" and _bus(address) > index and address is not None:
            address.set("bus", str(_bus(address) - 1))
    left = 0
    for element in [one for one in devices.iterfind("controller") if one.get("type") == "usb"]:
        own = number(element.get("index")) or 0
        if own == index:
            devices.remove(element)
        else:
            left += 1
            element.set("index", str(own - 1 if own > index else own))
            address = element.find("address")
            if own > index and address is not None:
                element.remove(address)  # libvirt has the first of some models at one place alone
    if not left:
        write_usb(devices, ())
    return _text(root)


def _bus(address: etree._Element | None) -> int:
    return number(attribute(address, "bus")) or 0


def _devices(root: etree._Element) -> etree._Element:
    devices = root.find("devices")
    return etree.SubElement(root, "devices") if devices is None else devices


class Adapter(NamedTuple):
    """A SCSI controller of the guest, which is to be plugged in first where it is ``new``."""

    number: int
    new: bool


def idle_adapter(xmls: Sequence[str]) -> Adapter:
    """A fast SCSI controller with nothing on it, in each of the XMLS of a domain; else a new one behind all."""
    roots = [root_of(xml) for xml in xmls]
    models = [
        {number(one.get("index")) or 0: one.get("model", "") for one in root.iterfind("devices/controller[@type='scsi']")}
        for root in roots
    ]
    used = {
        number(address.get("controller")) or 0
        for root in roots
        for tag in ("disk", "hostdev")
        for address in root.iterfind(f"devices/{tag}/address[@type='drive']")
    }
    for index in sorted(models[0]):
        if index not in used and all(known.get(index, "").startswith(_FAST) for known in models):
            return Adapter(index, False)
    return Adapter(max((index for known in models for index in known), default=-1) + 1, True)


def _text(element: etree._Element) -> str:
    return etree.tostring(element, encoding="unicode", with_tail=False)
