"""Devices of the host in libvirt XML to those of a Machine. Pure; loads lxml."""

from __future__ import annotations

import re

from lxml import etree

from xmcompat.backends.devices import Hostdev, PciHostdev, ScsiHostdev, UsbHostdev
from xmcompat.backends.xml_elements import attribute, number

_ADAPTER = re.compile(r"scsi_host([0-9]{1,6})")


def hostdevs(root: etree._Element) -> tuple[Hostdev, ...]:
    """PCI, USB and SCSI devices in their order; those of other kinds are passed over."""
    found = (hostdev(element) for element in root.iterfind("devices/hostdev"))
    return tuple(device for device in found if device is not None)


def hostdev(element: etree._Element) -> Hostdev | None:
    """One device; None for another kind."""
    readers = {"pci": _pci, "usb": _usb, "scsi": _scsi}
    read = readers.get(element.get("type", ""))
    return read(element) if read else None


def _pci(element: etree._Element) -> Hostdev:
    source, guest = element.find("source/address"), element.find("address")
    if _any(guest, "bus"):
        guest = None  # a slot behind a bridge, of which libvirt has chosen both
    return PciHostdev(
        domain=_any(source, "domain") or 0,
        bus=_any(source, "bus") or 0,
        slot=_any(source, "slot") or 0,
        function=_any(source, "function") or 0,
        guest_slot=_any(guest, "slot"),
        guest_function=_any(guest, "function") or 0,
        multifunction=attribute(guest, "multifunction") == "on",
    )


def _usb(element: etree._Element) -> Hostdev:
    source = element.find("source/address")
    return UsbHostdev(
        bus=_any(source, "bus"),
        address=_any(source, "device"),
        vendor=_any(element.find("source/vendor"), "id"),
        product=_any(element.find("source/product"), "id"),
        guest_bus=_any(element.find("address"), "bus"),
    )


def _scsi(element: etree._Element) -> Hostdev | None:
    adapter = _ADAPTER.fullmatch(attribute(element.find("source/adapter"), "name"))
    if not adapter:
        return None
    source, guest = element.find("source/address"), element.find("address")
    return ScsiHostdev(
        host=int(adapter[1]),
        bus=number(attribute(source, "bus")) or 0,
        target=number(attribute(source, "target")) or 0,
        unit=number(attribute(source, "unit")) or 0,
        controller=number(attribute(guest, "controller")) or 0,
        guest_target=number(attribute(guest, "target")) or 0,
        guest_unit=number(attribute(guest, "unit")) or 0,
    )


def _any(element: etree._Element | None, name: str) -> int | None:
    """A number, decimal or after "0x"; None where there is none."""
    text = attribute(element, name)
    try:
        return int(text, 16 if text[:2].lower() == "0x" else 10)
    except ValueError:
        return None
