"""Devices of the host that a Machine is given, to libvirt XML. Pure; loads lxml."""

from __future__ import annotations

from lxml import etree

from xmcompat.backends.devices import Hostdev, PciHostdev, ScsiHostdev, UsbHostdev
from xmcompat.backends.xml_elements import add


def hostdevs(parent: etree._Element, devices: tuple[Hostdev, ...]) -> None:
    for device in devices:
        if isinstance(device, PciHostdev):
            _pci(parent, device)
        elif isinstance(device, UsbHostdev):
            _usb(parent, device)
        else:
            _scsi(parent, device)


def _pci(parent: etree._Element, device: PciHostdev) -> None:
    """libvirt takes it from the host's driver at the start, and gives it back at the end."""
    element = add(parent, "hostdev", mode="subsystem", type="pci", managed="yes")
    add(
        add(element, "source"), "address", domain=f"0x{device.domain:04x}", bus=f"0x{device.bus:02x}",
        slot=f"0x{device.slot:02x}", function=f"0x{device.function:x}",
    )  # fmt: skip
    if device.guest_slot is not None:
        add(
            element, "address", type="pci", domain="0x0000", bus="0x00", slot=f"0x{device.guest_slot:02x}",
            function=f"0x{device.guest_function:x}", multifunction="on" if device.multifunction else None,
        )  # fmt: skip


def _usb(parent: etree._Element, device: UsbHostdev) -> None:
    element = add(parent, "hostdev", mode="subsystem", type="usb", managed="no")
    source = add(element, "source")
    if device.vendor is not None and device.product is not None:
        add(source, "vendor", id=f"0x{device.vendor:04x}")
        add(source, "product", id=f"0x{device.product:04x}")
    if device.bus is not None and device.address is not None:
        add(source, "address", bus=device.bus, device=device.address)
    if device.guest_bus is not None:
        add(element, "address", type="usb", bus=device.guest_bus)


def _scsi(parent: etree._Element, device: ScsiHostdev) -> None:
    element = add(parent, "hostdev", mode="subsystem", type="scsi", managed="no", rawio="yes")
    source = add(element, "source")
    add(source, "adapter", name=f"scsi_host{device.host}")
    add(source, "address", bus=device.bus, target=device.target, unit=device.unit)
    add(
        element, "address", type="drive", controller=device.controller, bus=0, target=device.guest_target,
        unit=device.guest_unit,
    )  # fmt: skip
