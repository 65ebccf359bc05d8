"""The devices of the host in a ``(vm ...)`` form: pci, vscsi, vusb. Pure: a changed form is a new tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from xmcompat.config.device_forms import devices_of, text, with_device, without_device
from xmcompat.config.sxp import Tree, children, value

#: Added to the number of a function for which no slot of the guest is asked.
AUTOMATIC = 0x100
_USUAL_PORTS = 8


class PciFunction(NamedTuple):
    """One function as the form has it; ``slot`` is the guest's, None where the machine chooses."""

    place: tuple[int, int, int, int]
    slot: int | None
    function: int


class ScsiDevice(NamedTuple):
    """``adapter`` is the guest's, by number; the rest as written."""

    adapter: int
    host: str
    name: str
    guest: str


class UsbController(NamedTuple):
    """``place`` is that among its like, ``ports`` have what each is to hold, "" for nothing."""

    place: int
    number: int
    version: int
    ports: tuple[str, ...]


# -- pci


def pci_functions(form: Tree) -> list[PciFunction]:
    return [function for _, device in devices_of(form, ("pci",)) for dev in _devs(device) for function in _function(dev)]


def _devs(device: Tree) -> list[Tree]:
    """The functions of a pci device; the old form is one itself."""
    return [dev for dev in children(device, "dev") if any(isinstance(part, list) for part in dev[1:])] or [device]


def _function(dev: Tree) -> list[PciFunction]:
    domain, bus, number = (_hex(text(dev, key)) for key in ("domain", "bus", "func"))
    slot, place = _hex(text(dev, "slot") or text(dev, "dev")), _hex(text(dev, "vdevfn"), AUTOMATIC)
    if domain is None or bus is None or slot is None or number is None or place is None:
        return []
    return [PciFunction((domain, bus, slot, number), None if place & AUTOMATIC else place >> 3, place & 7)]


def _hex(digits: str, default: int = 0) -> int | None:
    try:
        return int(digits, 16) if digits else default
    except ValueError:
        return None


def with_pci(form: Tree, devs: Sequence[Tree]) -> Tree:
    """FORM with the functions DEVS among those of its pci device, which is made where there is none."""
    for place, device in devices_of(form, ("pci",)):
        old = list(device[1:]) if children(device, "dev") and _devs(device) != [device] else [["dev", *device[1:]]]
        last = max((i for i, part in enumerate(old) if isinstance(part, list) and part[:1] == ["dev"]), default=-1) + 1
        return _replaced(form, place, ["pci", *old[:last], *devs, *old[last:]])
    return with_device(form, ["pci", *devs])


def without_pci(form: Tree, places: Sequence[tuple[int, int, int, int]]) -> Tree:
    """FORM without the functions at these PLACES of the host, and without a pci device that has none left."""
    for place, device in reversed(devices_of(form, ("pci",))):
        gone = [dev for dev in _devs(device) for function in _function(dev) if function.place in places]
        if device in gone or (gone and len(gone) == len(_devs(device))):
            form = [*form[:place], *form[place + 1 :]]
        elif gone:
            form = _replaced(form, place, [part for part in device if part not in gone])
    return form


# -- vscsi


def scsi_devices(form: Tree) -> list[ScsiDevice]:
    """Those with a place in the guest, by it."""
    found = [
        ScsiDevice(places[0], text(dev, "p-dev"), text(dev, "p-devname"), text(dev, "v-dev"))
        for _, device in devices_of(form, ("vscsi",))
        for dev in children(device, "dev")
        if (places := hctl(text(dev, "v-dev")))
    ]
    return sorted(found, key=lambda one: hctl(one.guest) or ())


def hctl(place: str) -> tuple[int, ...]:
    """The four numbers of "2:0:0:1"; () for other text."""
    fields = place.split(":")
    good = len(fields) == 4 and all(field.isascii() and field.isdecimal() and len(field) < 10 for field in fields)
    return tuple(map(int, fields)) if good else ()


def with_scsi(form: Tree, device: ScsiDevice, backend: str = "") -> Tree:
    dev: Tree = ["dev", ["devid", device.adapter], ["p-dev", device.host], ["p-devname", device.name]]
    dev.append(["v-dev", device.guest])
    return with_device(form, ["vscsi", ["feature-host", 0], dev, *([["backend", backend]] if backend else [])])


def without_scsi(form: Tree, guest: str, domain: str) -> Tree:
    """FORM without the device that has the place GUEST in the domain with the uuid DOMAIN."""
    for place, device in reversed(devices_of(form, ("vscsi",))):
        left = [dev for dev in children(device, "dev") if hctl(text(dev, "v-dev")) != hctl(guest)]
        if not left:
            form = without_device(form, place, domain)
        elif len(left) < len(children(device, "dev")):
            rest = [part for part in device if not (isinstance(part, list) and part[:1] == ["dev"]) or part in left]
            form = _replaced(form, place, rest)
    return form


# -- vusb


def usb_controllers(form: Tree) -> list[UsbController]:
    """By their numbers: one that says none has its place among its like, or the first that is free."""
    devices = [device for _, device in devices_of(form, ("vusb",))]
    said = {index: int(text(device, "devid")) for index, device in enumerate(devices) if text(device, "devid").isdecimal()}
    free = (number for number in range(len(devices) + len(said)) if number not in said.values())
    found = [
        UsbController(index, said[index] if index in said else next(free), _version(device), _ports(device))
        for index, device in enumerate(devices)
    ]
    return sorted(found, key=lambda one: one.number)


def _version(device: Tree) -> int:
    return 1 if text(device, "usb-ver") == "1" else 2


def _ports(device: Tree) -> tuple[str, ...]:
    """From both of xend's ways to write them: ``(port-1 BUS)`` and ``(port (1 BUS) ...)``."""
    count = text(device, "num-ports")
    held = {str(part[0]).removeprefix("port-"): part[1] for part in device[1:] if isinstance(part, list) and len(part) > 1}
    for port in children(device, "port"):
        held |= {str(part[0]): part[1] for part in port[1:] if isinstance(part, list) and len(part) > 1}
    number = min(int(count), 31) if count.isdecimal() and count else _USUAL_PORTS
    return tuple(str(held.get(str(port), "")) for port in range(1, number + 1))


def with_usb_controller(form: Tree, version: int, ports: int) -> tuple[Tree, UsbController]:
    """FORM with one more controller, which has the first number that is free."""
    there = usb_controllers(form)
    number = next(one for one in range(len(there) + 1) if all(one != other.number for other in there))
    tree: Tree = ["vusb", ["devid", number], ["usb-ver", version], ["num-ports", ports]]
    return with_device(_numbered(form), tree), UsbController(len(there), number, version, ("",) * ports)


def without_usb_controller(form: Tree, controller: UsbController, domain: str) -> Tree:
    form = _numbered(form)
    place, _ = devices_of(form, ("vusb",))[controller.place]
    return without_device(form, place, domain)


def with_port(form: Tree, controller: UsbController, port: int, bus: str) -> Tree:
    """FORM in which the PORT of the controller holds BUS, "" for nothing."""
    place, device = devices_of(form, ("vusb",))[controller.place]
    rest = [part for part in device if not isinstance(part, list) or not str(part[0]).startswith("port")]
    held = dict(enumerate(controller.ports, 1)) | {port: bus}
    ports = [[f"port-{number}", name] for number, name in sorted(held.items()) if name]
    return _replaced(form, place, [*rest, *ports])


def _numbered(form: Tree) -> Tree:
    """FORM in which each controller says its number, so that it keeps it when others go."""
    for controller in usb_controllers(form):
        place, device = devices_of(form, ("vusb",))[controller.place]
        if not text(device, "devid"):
            form = _replaced(form, place, ["vusb", ["devid", controller.number], *device[1:]])
    return form


# -- usbdevice


def emulated_usb(form: Tree) -> tuple[bool, list[str]]:
    """Whether the guest's emulated USB is on, and what is plugged in there from the start."""
    image = value(form, "image", [])
    tree = image if isinstance(image, list) else []
    given = value(tree, "usbdevice", "")
    words = [str(word) for word in (given if isinstance(given, list) else [given]) if word]
    return bool(words) or str(value(tree, "usb", "0")) not in ("0", ""), words


def with_emulated_usb(form: Tree, words: Sequence[str]) -> Tree:
    """FORM whose image has these WORDS for its usbdevice."""
    shown: object = "" if not words else words[0] if len(words) == 1 else list(words)
    for place, child in enumerate(form):
        if isinstance(child, list) and child[:1] == ["image"] and len(child) > 1 and isinstance(child[1], list):
            image = [part for part in child[1] if not (isinstance(part, list) and part[:1] == ["usbdevice"])]
            return [*form[:place], ["image", [*image, ["usbdevice", shown]]], *form[place + 1 :]]
    return form


def _replaced(form: Tree, place: int, device: Tree) -> Tree:
    return [*form[:place], ["device", device], *form[place + 1 :]]
