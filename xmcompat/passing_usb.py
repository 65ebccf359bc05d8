"""USB devices of the host for domains that are there or known: beneath ``xm usb-add``, ``usb-hc-create`` and their like.

The texts of errors are xend's. Xen's paravirtual controllers are emulated ones. Differs from xm: what is plugged in at a
place of the host is given away by its kind, and only while it is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from xmcompat.backends import host_devices
from xmcompat.backends.devices import UsbHostdev
from xmcompat.backends.domain_xml_hostdevs import (
    PluggedHostdev,
    hostdev_xml,
    plugged_hostdevs,
    usb_models,
    with_usb_bus,
    without_usb_bus,
)
from xmcompat.backends.host_devices import UsbPort
from xmcompat.config import hostdev_forms as forms
from xmcompat.config.hostdev_forms import UsbController
from xmcompat.config.xl_specs import host_usb
from xmcompat.describe import recorded_form
from xmcompat.errors import OperationError, UsageError
from xmcompat.passing import Passing
from xmcompat.plugging import Device, Seen
from xmcompat.translate.usb import bus_of

_MOST_PORTS = 16
_BY_START = "write vusb = ['usbver=2,numports=8'] in its configuration and start it anew"


class PortRefusal(OperationError):
    """What ``xm usb-attach`` refuses on stdout, with status 0."""


class PortRow(NamedTuple):
    """What a port holds, "" for nothing; ``port`` is what is plugged in there on the host, None where nothing is."""

    bus: str
    port: UsbPort | None


class UsbRow(NamedTuple):
    number: int
    version: int
    ports: tuple[PortRow, ...]


class UsbPassing(Passing):
    """The part of ``hostdevices.HostDevices`` that is USB."""

    # -- controllers with ports

    def usb(self, designation: str) -> tuple[int | None, list[UsbRow]]:
        """The domain's id, and its controllers by their numbers."""
        seen = self._seen(designation)
        if seen is None:
            return 0, []
        there = {port.path: port for port in self._ports()}
        return seen.info.domid, [
            UsbRow(one.number, one.version, tuple(PortRow(bus, there.get(bus)) for bus in one.ports))
            for one in forms.usb_controllers(seen.form)
        ]

    def assignable_usb(self) -> list[UsbPort]:
        """What is plugged in and is no hub, and no domain has."""
        self._refuse_elsewhere()
        given = [one.device for one in self._given_away() if isinstance(one.device, UsbHostdev)]
        taken = {bus for _, form in self._forms() for one in forms.usb_controllers(form) for bus in one.ports}
        return [
            port for port in self._ports()
            if not port.hub and port.path not in taken and not any(_is_it(device, port) for device in given)
        ]  # fmt: skip

    def create_controller(self, designation: str, version: int, ports: int) -> tuple[str, ...]:
        """Give the domain one more controller. One that is there uses those that it was started with."""
        if version not in (1, 2):
            raise UsageError(f"Invalid argument: {version}")
        if not 1 <= ports <= _MOST_PORTS:
            raise UsageError(f"Invalid argument: {ports}")
        with self._changing(designation) as seen:
            _refuse_without_record(seen)
            if seen.live and not seen.known and not usb_models(seen.xml):
                raise OperationError("KVM adds no USB controller to a guest that runs", hint=_BY_START)
            form, controller = forms.with_usb_controller(seen.form, version, ports)
            kept = seen.known if seen.live else self._hypervisor.definition(seen.info.uuid)
            if kept:
                self._hypervisor.define_again(with_usb_bus(kept, bus_of(version, ports)))
            try:
                self._plugging.forget(seen, None, form)
            except BaseException:
                if kept:
                    self._hypervisor.define_again(kept)
                raise
            return _later(seen, controller)

    def destroy_controller(self, designation: str, number: str) -> None:
        """Take a controller away, with what is on its ports."""
        with self._changing(designation) as seen:
            controller = _controller(seen, number)
            if controller is None:
                raise OperationError(f"Device {number} not connected")
            for port, bus in enumerate(controller.ports, 1):
                if bus:
                    self._take(seen, controller, port)
            _, form = self._form_now(seen)
            kept = "" if seen.live and not seen.known else self._hypervisor.definition(seen.info.uuid)
            index = _first_bus(seen) + controller.place
            if kept and index in usb_models(kept):
                self._hypervisor.define_again(without_usb_bus(kept, index))
            self._plugging.forget(seen, None, forms.without_usb_controller(form, controller, seen.info.uuid))

    def attach_port(self, designation: str, number: str, port: str, bus: str) -> tuple[str, ...]:
        """Give the domain what is plugged in at BUS ("1-2.3"), on a port of a controller.

        Raises PortRefusal in the cases in which xm ended with status 0.
        """
        with self._changing(designation) as seen:
            controller = _controller(seen, number)
            if controller is None:
                raise PortRefusal(f"Cannot find device '{number}' in domain '{designation}'")
            place = int(port) if port.isascii() and port.isdecimal() and len(port) < 10 else 0
            if not 1 <= place <= len(controller.ports):
                raise PortRefusal(f"Invalid Port Number '{port}'")
            if not host_devices.is_usb_path(bus):
                raise PortRefusal(f"Invalid Busid '{bus}'")
            self._refuse_elsewhere()
            there = next((one for one in self._ports() if one.path == bus), None)
            if self._is_taken(bus, there):
                raise PortRefusal(f"Cannot assign already attached bus '{bus}', detach first.")
            if controller.ports[place - 1]:
                raise PortRefusal(f"Cannot override already attached port '{port}', detach first.")
            return self._attach_port(seen, controller, place, bus, there)

    def _is_taken(self, bus: str, there: UsbPort | None) -> bool:
        if any(bus in one.ports for _, form in self._forms() for one in forms.usb_controllers(form)):
            return True
        given = (one.device for one in self._given_away() if isinstance(one.device, UsbHostdev))
        return there is not None and any(_is_it(device, there) for device in given)

    def _attach_port(
        self, seen: Seen, controller: UsbController, place: int, bus: str, there: UsbPort | None
    ) -> tuple[str, ...]:
        form = forms.with_port(seen.form, controller, place, bus)
        if there is None and not seen.live:
            self._plugging.forget(seen, None, form)
            return (f"nothing is plugged in at {bus} now: once something is, detach the port and attach it again",)
        if there is None or there.hub:
            what = f"Nothing is plugged in at {bus}" if there is None else f"The device at {bus} is a hub"
            raise OperationError(what, hint="'xm usb-list-assignable-devices' shows what can be given away")
        if seen.live and not usb_models(seen.xml):
            raise OperationError("The guest has no USB controller until it is started anew")
        device = self._by_kind(there, _bus_for(seen, controller))
        alias = _alias(controller, place)
        self._plug(seen, Device(place, "vusb", alias if seen.live else "", hostdev_xml(device, alias)), form)
        return ()

    def _by_kind(self, port: UsbPort, guest_bus: int | None) -> UsbHostdev:
        """By kind, which stays the same when it is plugged in anew; where the host has several of it, by number."""
        if host_devices.is_one_of_its_kind(port, self._ports()):
            return UsbHostdev(vendor=port.vendor, product=port.product, guest_bus=guest_bus)
        return UsbHostdev(bus=port.bus, address=port.address, guest_bus=guest_bus)

    def detach_port(self, designation: str, number: str, port: str) -> tuple[str, ...]:
        """Take away what a port holds."""
        with self._changing(designation) as seen:
            controller = _controller(seen, number)
            if controller is None:
                raise OperationError(f"Cannot find device '{number}' in domain '{designation}'")
            place = int(port) if port.isascii() and port.isdecimal() and len(port) < 10 else 0
            if not 1 <= place <= len(controller.ports):
                raise OperationError(f"Invalid Port Number '{port}'")
            if not controller.ports[place - 1]:
                return (f"port {place} was free already",)
            device = self._take(seen, controller, place)
        if device is not None and seen.live:
            self._plugging.wait(seen, device, os.environ)
        return ()

    def _take(self, seen: Seen, controller: UsbController, place: int) -> Device | None:
        """Take away what the port at PLACE holds; None where the guest does not have it."""
        controller, form = self._form_now(seen, controller)
        bus = controller.ports[place - 1]
        form = forms.with_port(form, controller, place, "")
        there = next((one for one in self._ports() if one.path == bus), None) if self._local else None
        for one in plugged_hostdevs(seen.xml):
            if isinstance(one.device, UsbHostdev) and (
                one.alias == _alias(controller, place) or (there is not None and _is_it(one.device, there))
            ):
                device = Device(place, "vusb", one.alias if seen.live else "", one.xml)
                self._plugging.take_away(seen, device, form)
                return device
        self._plugging.forget(seen, None, form)
        return None

    def _form_now(self, seen: Seen, controller: UsbController | None = None) -> tuple[UsbController, list[object]]:
        """The form as it has been kept by now, and the controller in it."""
        form = recorded_form(self._toolstack.record(seen.info)) or seen.form
        there = forms.usb_controllers(form)
        return next((one for one in there if controller is None or one.number == controller.number), there[0]), form

    # -- emulated USB

    def add_usb(self, designation: str, word: str) -> None:
        """Give a guest with emulated USB the device "host:BUS.ADDRESS" or "host:VENDOR:PRODUCT"."""
        with self._changing(designation) as seen:
            words = _emulated(seen, "Can't add usb device to a non-hvm guest")
            device = _named(word)
            if any(one.device == device for one in _usb_devices(seen)) or word in words:
                raise OperationError(f"The usb device {word} is already defined")
            alias = "ua-usb-" + word.removeprefix("host:").replace(":", "-").replace(".", "-")
            plugged = Device(0, "usb", alias if seen.live else "", hostdev_xml(device, alias))
            self._plug(seen, plugged, forms.with_emulated_usb(seen.form, [*words, word]))

    def remove_usb(self, designation: str, word: str) -> None:
        """Take the device that a WORD of ``add_usb`` names away; returns when the guest has let go of it."""
        with self._changing(designation) as seen:
            words = _emulated(seen, "Can't del usb to a non-hvm guest")
            wanted = _named(word)
            found = next((one for one in _usb_devices(seen) if _same(one.device, wanted)), None)
            form = forms.with_emulated_usb(seen.form, [one for one in words if one != word]) if word in words else seen.form
            if found is None:
                if word not in words:
                    raise OperationError(f"The guest has no usb device {word}")
                self._plugging.forget(seen, None, form)
                return
            device = Device(0, "usb", found.alias if seen.live else "", found.xml)
            self._plugging.take_away(seen, device, form)
        if seen.live:
            self._plugging.wait(seen, device, os.environ)

    # -- what both have in common

    def _ports(self) -> list[UsbPort]:
        return host_devices.usb_ports(self._sysfs) if self._local else []

    def _forms(self) -> Iterator[tuple[str, list[object]]]:
        """The names and recorded forms of all domains."""
        for info in self._hypervisor.domains():
            form = recorded_form(self._toolstack.record(info))
            if form is not None:
                yield info.name, form


def _usb_devices(seen: Seen) -> list[PluggedHostdev]:
    return [one for one in plugged_hostdevs(seen.xml) if isinstance(one.device, UsbHostdev)]


def _is_it(device: UsbHostdev, port: UsbPort) -> bool:
    """Whether the device is what is plugged in there. Of one that runs, libvirt tells the number as well."""
    if device.bus is not None and device.address is not None:
        return (device.bus, device.address) == (port.bus, port.address)
    return (device.vendor, device.product) == (port.vendor, port.product)


def _same(device: object, wanted: UsbHostdev) -> bool:
    assert isinstance(device, UsbHostdev)
    if wanted.vendor is not None:
        return (device.vendor, device.product) == (wanted.vendor, wanted.product)
    return (device.bus, device.address) == (wanted.bus, wanted.address)


def _named(word: str) -> UsbHostdev:
    found = host_usb(word)
    if found is None:
        raise OperationError(f"{word} names no usb device", hint="write host:BUS.ADDRESS or host:VENDOR:PRODUCT")
    return UsbHostdev(bus=found.bus, address=found.address, vendor=found.vendor, product=found.product)


def _emulated(seen: Seen, refusal: str) -> list[str]:
    """What the guest has of usbdevice. Raises OperationError, REFUSAL for one that Xen would not have emulated it for."""
    if not seen.hvm:
        raise OperationError(refusal)
    on, words = forms.emulated_usb(seen.form)
    if not on and (seen.record is not None or not usb_models(seen.xml)):
        raise OperationError("Can't add usb device to a guest with usb disabled in configure file")
    return words


def _refuse_without_record(seen: Seen) -> None:
    if recorded_form(seen.record) is None:
        raise OperationError(
            f"Domain '{seen.info.name}' was not started by xm, which has no place to keep its ports",
            hint="use 'virsh attach-device'",
        )


def _controller(seen: Seen, number: str) -> UsbController | None:
    there = forms.usb_controllers(seen.form)
    return next((one for one in there if str(one.number) == number.strip()), None)


def _alias(controller: UsbController, place: int) -> str:
    return f"ua-vusb-{controller.number}-{place}"


def _first_bus(seen: Seen) -> int:
    """The bus of the domain's first controller with ports: an emulated one stands before it."""
    return int(seen.hvm and forms.emulated_usb(seen.form)[0])


def _bus_for(seen: Seen, controller: UsbController) -> int | None:
    """The bus that stands for the controller; None for libvirt's choice, where it has come since the guest was started."""
    index = _first_bus(seen) + controller.place
    model = bus_of(controller.version, len(controller.ports)).model
    return index if all(usb_models(xml).get(index) == model for xml in seen.xmls) else None


def _later(seen: Seen, controller: UsbController) -> tuple[str, ...]:
    if not seen.live:
        return ()
    if not usb_models(seen.xml):
        return (f"KVM adds no USB controller to a guest that runs: it has number {controller.number} once started anew",)
    return (
        f"KVM adds no USB controller to a guest that runs: until it is started anew, what is attached to number "
        f"{controller.number} comes to one that it has",
    )
