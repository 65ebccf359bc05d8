"""USB: controllers, pointers and keyboards, devices of the host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.translate.guests import HOST, HVM, PV, XL, said
from xmcompat.backends.devices import UsbBus, UsbHostdev
from xmcompat.guest import GuestConfig, UsbController, UsbDevice, Vfb
from xmcompat.notes import Fate
from xmcompat.translate.machine import Translation, translate
from xmcompat.translate.usb import plugged_in

UHCI, EHCI, XHCI = UsbBus(model="piix3-uhci"), UsbBus(model="ich9-ehci1"), UsbBus(model="qemu-xhci")


def done(guest: GuestConfig, **options: object) -> Translation:
    return translate(replace(guest, options=options), HOST)


@pytest.mark.parametrize(
    ("options", "buses", "inputs"),
    [
        ({}, (), ()),
        ({"usb": 0}, (), ()),
        ({"usb": 1}, (UHCI,), ()),
        ({"usbdevice": "tablet"}, (UHCI,), (("tablet", "usb"),)),
        ({"usbdevice": ["tablet", "keyboard", "tablet"]}, (UHCI,), (("tablet", "usb"), ("keyboard", "usb"))),
        ({"usbversion": 3}, (), ()),  # xm does not know it
        ({"usbdevice": "disk:/srv/stick.img"}, (UHCI,), ()),
    ],
)
def test_controllers_and_inputs_of_xm(
    options: dict[str, object], buses: tuple[UsbBus, ...], inputs: tuple[tuple[str, str], ...]
) -> None:
    found = done(HVM, **options).machine
    assert (found.usb, found.inputs) == (buses, inputs)


@pytest.mark.parametrize(("version", "bus"), [(1, UHCI), (2, EHCI), (3, XHCI)])
def test_versions_of_xl(version: int, bus: UsbBus) -> None:
    assert done(XL, usbversion=version).machine.usb == (bus,)


def test_a_paravirtual_guest_has_no_emulated_devices() -> None:
    found = done(PV, usbdevice="tablet", usb=1).machine
    assert (found.usb, found.inputs) == ((), ())


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("braille", "left out: libvirt has no such USB device"),
        ("serial::pty", "left out: libvirt has no such USB device"),
        ("disk:stick.img", "left out: a USB disk needs the absolute path of a raw image"),
    ],
)
def test_devices_that_are_not_there_are_told(word: str, reason: str) -> None:
    assert said(done(HVM, usbdevice=word), "usbdevice") == [(Fate.APPROXIMATED, reason)]


@pytest.mark.parametrize(
    ("word", "device"),
    [
        ("host:0951:1666", UsbHostdev(vendor=0x951, product=0x1666)),
        ("host:3.12", UsbHostdev(bus=3, address=12)),
    ],
)
def test_devices_of_the_host(word: str, device: UsbHostdev) -> None:
    found = done(HVM, usbdevice=word).machine
    assert (found.hostdevs, found.usb) == ((device,), (UHCI,))
    # the reader of configurations may have put it among the devices already
    given = UsbDevice(bus=device.bus, address=device.address, vendor=device.vendor, product=device.product)
    assert done(replace(HVM, usb_devices=(given,)), usbdevice=word).machine.hostdevs == (device,)


def test_controllers_that_are_named_and_devices_on_them() -> None:
    guest = replace(
        PV,
        usb_controllers=(UsbController(version=1), UsbController(version=3, ports=31, type="devicemodel")),
        usb_devices=(UsbDevice(bus=1, address=2, controller=1, port=4), UsbDevice(bus=1, address=3, controller=7)),
    )
    found = done(replace(guest, dialect=XL.dialect), usbdev=["a", "b"])
    assert found.machine.usb == (UHCI, UsbBus(model="qemu-xhci", ports=15))
    assert found.machine.hostdevs == (UsbHostdev(bus=1, address=2, guest_bus=1), UsbHostdev(bus=1, address=3))
    assert said(found, "usbctrl[1]") == [(Fate.APPROXIMATED, "it has 15 ports, no more")]
    assert said(found, "usbdev") == [(Fate.APPROXIMATED, "there is no such controller; the first serves")]
    ports = [note for note in found.notes if note.value == "port=4"]
    assert [(note.reason, note.harmless) for note in ports] == [("libvirt chooses the port", True)]


def test_devices_behind_the_emulated_controller_are_counted_without_it() -> None:
    guest = replace(
        XL, usb_controllers=(UsbController(type="devicemodel"),), usb_devices=(UsbDevice(bus=1, address=2, controller=0),)
    )
    found = done(guest, usb=1).machine
    assert (found.usb, found.hostdevs) == ((UHCI, EHCI), (UsbHostdev(bus=1, address=2, guest_bus=1),))


def test_ports_of_xm_are_known_to_their_host_alone() -> None:
    guest = replace(PV, usb_controllers=(UsbController(),), usb_devices=(UsbDevice(bus_id="1-2.3", controller=0, port=1),))
    found = done(guest, vusb=["port_1=1-2.3"])
    assert (found.machine.usb, found.machine.hostdevs) == ((EHCI,), ())
    assert said(found, "vusb") == [
        (Fate.APPROXIMATED, "left out: what is plugged in there is known only while it is")
    ]



def test_a_port_holds_what_was_found_at_its_place() -> None:
    named = (UsbDevice(bus_id="1-2.3", controller=0, port=1), UsbDevice(bus_id="1-4", controller=0, port=2))
    guest = replace(PV, usb_controllers=(UsbController(),), usb_devices=named)
    found = {"1-2.3": UsbDevice(vendor=0x781, product=0x5567), "1-9": UsbDevice(bus=1, address=7)}
    first, second = plugged_in(guest, found).usb_devices
    assert first == replace(named[0], vendor=0x781, product=0x5567)
    assert second == named[1]
    assert plugged_in(PV, found) == PV


def test_devices_without_a_controller_get_one() -> None:
    assert done(replace(PV, usb_devices=(UsbDevice(bus=1, address=2),))).machine.usb == (EHCI,)
    assert done(replace(PV, vfbs=(Vfb(vnc=True),), usb_devices=(UsbDevice(bus=1, address=2),))).machine.usb == (UHCI,)


def test_redirection_over_spice_needs_more_than_the_oldest_controller() -> None:
    spice = {"spice": 1, "spicedisable_ticketing": 1, "spiceport": 6000, "spiceusbredirection": 1}
    assert done(XL, usbdevice="tablet", **spice).machine.usb == (UHCI, EHCI)
    assert done(XL, usbversion=3, **spice).machine.usb == (XHCI,)


def test_keyboards_of_xens_kind_are_virtio_and_stand_for_the_pointer_too() -> None:
    guest = replace(PV, dialect=XL.dialect, vfbs=(Vfb(vnc=True),))
    assert done(guest, vkb=["unique-id=a"]).machine.inputs == (("keyboard", "virtio"), ("tablet", "virtio"))
    assert done(guest, vkb=["feature-disable-pointer=1"]).machine.inputs == (("keyboard", "virtio"),)
    assert said(done(guest, vkb=["unique-id=a"]), "vkb[0]")[0][0] is Fate.APPROXIMATED
    assert done(replace(guest, dialect=PV.dialect), vkb=["unique-id=a"]).machine.inputs == (("tablet", "usb"),)
