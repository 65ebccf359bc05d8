"""The devices of this host that guests can be given: what its kernel tells of them below /sys.

Every function takes the folder in the place of /sys. What cannot be read is not there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SYSFS = Path("/sys")
#: Drivers that hold a device for guests, and use it for nothing.
HOLDERS = ("vfio-pci", "pciback", "xen-pciback", "pci-stub")

_PCI = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")
_USB = re.compile(r"[0-9]{1,3}-[0-9]{1,3}(\.[0-9]{1,3})*")
_SCSI = re.compile(r"[0-9]+:[0-9]+:[0-9]+:[0-9]+")
_HUB, _BRIDGE = "09", "0x06"
#: The kinds of devices that a SCSI device is shown as, and the folder of each.
_SHOWN_AS = ("block", "scsi_tape", "scsi_generic")


class PciAddress(NamedTuple):
    """One function of a PCI device of the host."""

    domain: int
    bus: int
    slot: int
    function: int

    def __str__(self) -> str:
        return f"{self.domain:04x}:{self.bus:02x}:{self.slot:02x}.{self.function:x}"


class UsbPort(NamedTuple):
    """What is plugged in at a place: ``path`` is the kernel's name of it ("1-2.3"), ``address`` its number on the bus."""

    path: str
    bus: int
    address: int
    vendor: int
    product: int
    name: str
    hub: bool


class ScsiUnit(NamedTuple):
    """``place`` is HOST:CHANNEL:TARGET:LUN, ``name`` that of its device file ("sdb", "st0", "sg2"). ``generic``: commands
    can be sent to it (sg), as a guest's are."""

    place: str
    name: str
    generic: bool = True


def pci_address(text: str) -> PciAddress | None:
    """Of "0000:01:00.0"."""
    found = _PCI.fullmatch(text)
    return PciAddress(*(int(digits, 16) for digits in found.groups())) if found else None


def pci_is_there(address: PciAddress, sysfs: Path = SYSFS) -> bool:
    return _folder(address, sysfs).is_dir()


def pci_driver(address: PciAddress, sysfs: Path = SYSFS) -> str:
    """The name of the driver that has it; "" where none has."""
    return _target(_folder(address, sysfs) / "driver")


def pci_functions(address: PciAddress, sysfs: Path = SYSFS) -> list[int]:
    """The functions of the device that ADDRESS is one of."""
    there = (other for other in _all_pci(sysfs) if other[:3] == address[:3])
    return sorted(other.function for other in there)


def pci_group(address: PciAddress, sysfs: Path = SYSFS) -> tuple[str, list[PciAddress]]:
    """The number of its IOMMU group, "" where it is in none, and the others of the group that a driver of the host uses.

    Bridges may keep theirs.
    """
    folder = _folder(address, sysfs) / "iommu_group"
    number = _target(folder)
    members = [pci_address(name) for name in _names(folder / "devices")]
    others = [other for other in members if other is not None and other != address]
    busy = [other for other in others if pci_driver(other, sysfs) not in ("", *HOLDERS) and not _is_bridge(other, sysfs)]
    return number, sorted(busy)


def held_for_guests(sysfs: Path = SYSFS) -> list[PciAddress] | None:
    """The functions that a driver holds for guests; None where the host has no such driver."""
    drivers = sysfs / "bus/pci/drivers"
    if not any((drivers / name).is_dir() for name in HOLDERS):
        return None
    return sorted(address for address in _all_pci(sysfs) if pci_driver(address, sysfs) in HOLDERS)


def usb_ports(sysfs: Path = SYSFS) -> list[UsbPort]:
    """Everything that is plugged in, hubs among it, by bus and port."""
    folder = sysfs / "bus/usb/devices"
    found = (_usb_port(folder / name) for name in _names(folder) if is_usb_path(name))
    return sorted(filter(None, found), key=lambda port: [int(digits) for digits in re.split("[-.]", port.path)])


def is_one_of_its_kind(port: UsbPort, ports: Sequence[UsbPort]) -> bool:
    """Whether no other of PORTS has a device of the same kind, so that it stays known when it is plugged in anew."""
    return sum((one.vendor, one.product) == (port.vendor, port.product) for one in ports) == 1


def is_usb_path(text: str) -> bool:
    """Whether TEXT is of the form "1-2.3"."""
    return _USB.fullmatch(text) is not None


def _usb_port(folder: Path) -> UsbPort | None:
    numbers = {name: _line(folder / name) for name in ("busnum", "devnum", "idVendor", "idProduct")}
    try:
        bus, address = int(numbers["busnum"]), int(numbers["devnum"])
        vendor, product = int(numbers["idVendor"], 16), int(numbers["idProduct"], 16)
    except ValueError:
        return None  # it is just being unplugged
    name = _line(folder / "product")
    return UsbPort(folder.name, bus, address, vendor, product, name, _line(folder / "bDeviceClass") == _HUB)


def scsi_unit(text: str, sysfs: Path = SYSFS) -> ScsiUnit | None:
    """The device that is meant by a place, the path or name of a device file, or a SCSI id; None where there is none."""
    folder = sysfs / "bus/scsi/devices"
    units = [name for name in _names(folder) if _SCSI.fullmatch(name)]
    name = os.path.basename(os.path.realpath(text) if text.startswith("/") else text)
    for place in sorted(units):
        names = _device_files(folder / place)
        if text == place or name in names or text in _scsi_ids(folder / place):
            return ScsiUnit(place, names[0] if names else "", bool(_names(folder / place / "scsi_generic")))
    return None


def _device_files(folder: Path) -> list[str]:
    return [name for kind in _SHOWN_AS for name in sorted(_names(folder / kind))]


def _scsi_ids(folder: Path) -> tuple[str, ...]:
    """The id of the unit, in the kernel's way and in that of the program scsi_id."""
    kernels = _line(folder / "wwid")
    kind, _, digits = kernels.partition(".")
    if kind in ("naa", "eui") and digits:
        return kernels, ("3" if kind == "naa" else "2") + digits
    return (kernels,) if kernels else ()


def _all_pci(sysfs: Path) -> Iterator[PciAddress]:
    return (address for name in _names(sysfs / "bus/pci/devices") if (address := pci_address(name)))


def _folder(address: PciAddress, sysfs: Path) -> Path:
    return sysfs / "bus/pci/devices" / str(address)


def _is_bridge(address: PciAddress, sysfs: Path) -> bool:
    return _line(_folder(address, sysfs) / "class").startswith(_BRIDGE)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _target(link: Path) -> str:
    """The last word of where LINK leads."""
    try:
        return os.path.basename(os.readlink(link))
    except OSError:
        return ""


def _line(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
