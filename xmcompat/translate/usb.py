"""USB: controllers, pointers and keyboards, and devices of the host. Pure.

Sticks given as "disk:FILE" are block devices; ``disks`` has them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from xmcompat.backends.devices import UsbBus, UsbHostdev
from xmcompat.guest import GuestConfig, GuestKind, UsbController, UsbDevice
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import flag, given, text, texts

UHCI, EHCI, XHCI = "piix3-uhci", "ich9-ehci1", "qemu-xhci"
_MODELS = {1: UHCI, 2: EHCI, 3: XHCI}
_MOST_PORTS = 15  # of QEMU's xHCI controller
_INPUTS = ("tablet", "mouse", "keyboard")
_HOST = re.compile(r"host:(?:([0-9]{1,3})\.([0-9]{1,3})|([0-9a-fA-F]{1,4}):([0-9a-fA-F]{1,4}))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usb:
    """``buses`` are the controllers, ``inputs`` (type, bus) of pointers and keyboards."""

    buses: tuple[UsbBus, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    hostdevs: tuple[UsbHostdev, ...] = ()


def usb(guest: GuestConfig, findings: Findings, *, pointer: bool = False, redirections: int = 0) -> Usb:
    """What the guest has on USB. POINTER: one that knows where it is, for a frame buffer of Xen's kind.

    REDIRECTIONS is the number of devices that may come over a SPICE display.
    """
    emulated = texts(guest, "usbdevice") if guest.kind is GuestKind.HVM else ()
    inputs = _inputs(emulated, findings)
    if pointer:
        inputs.append(("tablet", "usb"))
    own = _own_controller(guest, wanted=bool(inputs or emulated))
    devices = [*guest.usb_devices, *_named_devices(guest, emulated)]
    named = [_bus(controller, index, findings) for index, controller in enumerate(guest.usb_controllers)]
    if own is None and not named:
        own = UsbBus(model=UHCI) if inputs else UsbBus(model=EHCI) if devices or redirections else None
    buses = [*([own] if own else []), *named]
    if redirections and all(bus.model == UHCI for bus in buses):
        buses.append(UsbBus(model=EHCI))
    first = 1 if own else 0
    hostdevs = [_hostdev(guest, device, first, len(buses), findings) for device in devices]
    return Usb(
        buses=tuple(buses), inputs=tuple(dict.fromkeys(inputs)), hostdevs=tuple(one for one in hostdevs if one)
    )


def plugged_in(guest: GuestConfig, found: Mapping[str, UsbDevice]) -> GuestConfig:
    """GUEST with those of its devices that are named by a place on the host's buses as they are FOUND there."""

    def device(named: UsbDevice) -> UsbDevice:
        there = found.get(named.bus_id)
        if there is None:
            return named
        return replace(
            named, bus=there.bus, address=there.address, vendor=there.vendor, product=there.product,
        )  # fmt: skip

    return replace(guest, usb_devices=tuple(map(device, guest.usb_devices)))


def _inputs(emulated: tuple[str, ...], findings: Findings) -> list[tuple[str, str]]:
    """Pointers and keyboards; what QEMU no longer has is told."""
    for word in emulated:
        if word in _INPUTS or _HOST.fullmatch(word):
            continue
        if not word.startswith("disk:"):
            findings.approximated(
                "usbdevice", "left out: libvirt has no such USB device", value=word,
                suggestion="tablet, mouse, keyboard, host:VENDOR:PRODUCT and disk:FILE are there",
            )  # fmt: skip
        elif not word.removeprefix("disk:").removeprefix("format=raw:").startswith("/"):
            findings.approximated(
                "usbdevice", "left out: a USB disk needs the absolute path of a raw image", value=word
            )
    return [(word, "usb") for word in emulated if word in _INPUTS]


def _own_controller(guest: GuestConfig, *, wanted: bool) -> UsbBus | None:
    """The one of ``usb``, ``usbversion`` and ``usbdevice``."""
    if guest.kind is not GuestKind.HVM:
        return None
    version = text(guest, "usbversion")
    if version in ("1", "2", "3"):
        return UsbBus(model=_MODELS[int(version)])
    return UsbBus(model=UHCI) if wanted or flag(guest, "usb", False) else None


def _named_devices(guest: GuestConfig, emulated: tuple[str, ...]) -> list[UsbDevice]:
    """Those of ``usbdevice`` that the reader has not put among the devices already."""
    found: dict[UsbDevice, None] = {}
    for word in filter(None, (_HOST.fullmatch(word) for word in emulated)):
        if word[1]:
            device = UsbDevice(bus=int(word[1]), address=int(word[2]))
        else:
            device = UsbDevice(vendor=int(word[3], 16), product=int(word[4], 16))
        found.setdefault(device)
    known = set(guest.usb_devices)
    return [device for device in found if device not in known]


def _bus(controller: UsbController, index: int, findings: Findings) -> UsbBus:
    key = f"usbctrl[{index}]" if controller.type else f"vusb[{index}]"
    model = _MODELS.get(controller.version, EHCI)
    if controller.type != "devicemodel":
        findings.approximated(
            key, f"Xen's own kind of controller is an emulated one ({model})", value=f"version={controller.version}",
            suggestion="the guest needs its driver, which every system has", harmless=controller.type == "auto",
        )  # fmt: skip
    if model == XHCI and controller.ports > _MOST_PORTS:
        findings.approximated(key, f"it has {_MOST_PORTS} ports, no more", value=f"ports={controller.ports}")
    return bus_of(controller.version, controller.ports)


def bus_of(version: int, ports: int) -> UsbBus:
    """The controller for this VERSION of USB, with so many PORTS where their number is a matter of choice."""
    model = _MODELS.get(version, EHCI)
    return UsbBus(model=model, ports=min(ports, _MOST_PORTS) if model == XHCI else None)


def _hostdev(guest: GuestConfig, device: UsbDevice, first: int, buses: int, findings: Findings) -> UsbHostdev | None:
    """The device on the controller that it names, of those from FIRST on; None for one that nothing tells."""
    key = _key(guest, device)
    placed = (device.bus, device.address) != (None, None)
    if not placed and (device.vendor is None or device.product is None):
        findings.approximated(
            key, "left out: what is plugged in there is known only while it is", value=device.bus_id,
            suggestion="write usbdevice = 'host:VENDOR:PRODUCT', as lsusb shows it",
        )  # fmt: skip
        return None
    if placed:
        findings.approximated(
            key, "the number of a device changes when it is plugged in anew", value=f"{device.bus}.{device.address}",
            harmless=True,
        )  # fmt: skip
    if device.port is not None:
        findings.approximated(key, "libvirt chooses the port", value=f"port={device.port}", harmless=True)
    bus = None if device.controller is None else first + device.controller
    if bus is not None and bus >= buses:
        findings.approximated(
            key, "there is no such controller; the first serves", value=f"controller={device.controller}"
        )
        bus = None
    return UsbHostdev(
        bus=device.bus, address=device.address, vendor=device.vendor, product=device.product,
        guest_bus=bus if buses > 1 else None,
    )  # fmt: skip


def _key(guest: GuestConfig, device: UsbDevice) -> str:
    """The key that names it."""
    if device.bus_id:
        return "vusb"
    return "usbdev" if device.vendor is None and given(guest, "usbdev") else "usbdevice"
