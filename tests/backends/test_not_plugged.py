"""What is said where libvirt does not plug a device in, and USB controllers of a definition that move up. Pure."""

from __future__ import annotations

from lxml import etree

from xmcompat.backends.domain_xml_hostdevs import without_usb_bus
from xmcompat.backends.libvirt_errors import Failure
from xmcompat.backends.libvirt_hotplug import not_plugged
from xmcompat.errors import DeviceError


def test_of_an_empty_drive_that_libvirt_does_not_plug_in_it_is_said_what_to_do() -> None:
    failure = Failure(67, 0, "argument key 'filename' must not have null value")
    error = not_plugged(failure, "qemu:///system", "<disk device='cdrom'><target dev='sda'/></disk>")
    assert error is not None
    assert error.line() == (
        "libvirt plugs no empty drive into a guest that runs; name a medium, which 'xm block-configure' can take out again"
    )


def test_the_name_of_an_interface_that_another_device_has_is_no_interface_that_the_guest_has() -> None:
    failure = Failure(55, 0, "Requested operation is not valid: The net5 interface already exists")
    error = not_plugged(failure, "qemu:///system", "<interface type='bridge'/>")
    assert type(error) is DeviceError
    assert error.line() == "Device 0 (vif) could not be connected. This host has a network device net5 already"


def test_a_disk_that_is_locked_is_named_by_its_number() -> None:
    failure = Failure(67, 0, 'Failed to get "write" lock')
    xml = "<disk><source file='/a.img'/><target dev='vdb'/><alias name='ua-xvdf'/></disk>"
    error = not_plugged(failure, "qemu:///system", xml)
    assert error is not None
    assert error.line() == "Device 51792 (vbd) could not be connected. /a.img is in use by another guest or program"


def test_a_usb_controller_that_moves_up_gets_its_place_on_the_pci_bus_anew() -> None:
    """libvirt takes the first PIIX3 controller at one place alone."""
    address = "<address type='pci' slot='0x08'/>"
    left = without_usb_bus(
        "<domain><devices><controller type='usb' index='0' model='ich9-ehci1'/>"
        f"<controller type='usb' index='1' model='piix3-uhci'>{address}</controller></devices></domain>", 0
    )  # fmt: skip
    (controller,) = etree.fromstring(left).iterfind("devices/controller")
    assert (controller.get("index"), controller.find("address")) == ("0", None)
