"""PCI devices of the host for domains that are there or known: beneath ``xm pci-attach`` and its like.

The texts of errors are xend's. Differs from xm: a device without any driver may be given away, too.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import NamedTuple

from xmcompat.backends import host_devices
from xmcompat.backends.devices import PciHostdev
from xmcompat.backends.domain_xml_hostdevs import hostdev_xml, machine_type, plugged_hostdevs
from xmcompat.backends.host_devices import HOLDERS, PciAddress
from xmcompat.config.hostdev_forms import pci_functions, with_pci, without_pci
from xmcompat.config.specs_more import pci_trees
from xmcompat.config.xm_devices import pci_devices as parsed
from xmcompat.errors import ConfigError, OperationError, XmError
from xmcompat.guest import Dialect, FirmwareBoot, GuestConfig, GuestKind
from xmcompat.passing import NotGiven, Passing
from xmcompat.plugging import Device, Seen
from xmcompat.translate.findings import Findings
from xmcompat.translate.pci import pci_devices

Tree = list[object]

_EVERY = re.compile(r"\*(=[0-7])?")


class PciRow(NamedTuple):
    """A function of the host that a domain has, and slot and function in the guest, None where they are not told."""

    address: PciAddress
    slot: int | None
    function: int


class PciPassing(Passing):
    """The part of ``hostdevices.HostDevices`` that is PCI."""

    def pci(self, designation: str) -> list[PciRow]:
        """By slot in the guest, those that are not told last; then by address."""
        seen = self._seen(designation)
        rows = [] if seen is None else list(_rows(seen).values())
        return sorted(rows, key=lambda row: (999 if row.slot is None else row.slot, row.address))

    def assignable_pci(self) -> list[PciAddress] | None:
        """Those that a driver of the host holds for guests and no domain has; None where there is no such driver."""
        self._refuse_elsewhere()
        held = host_devices.held_for_guests(self._sysfs)
        given = {_address(one.device) for one in self._given_away() if isinstance(one.device, PciHostdev)}
        return None if held is None else [address for address in held if address not in given]

    def attach_pci(self, designation: str, text: str) -> tuple[str, ...]:
        """Give the domain the functions of "0000:01:00.0@05,msitranslate=1": all of them, or none on any error.

        Raises ConfigError for a TEXT that is not of that form, OperationError, HypervisorError.
        """
        pci_trees(text)
        with self._changing(designation) as seen:
            text = self._spelt_out(text)
            trees = pci_trees(text)
            found = parsed({"pci": [text]})
            addresses = [PciAddress(one.domain, one.bus, one.slot, one.function or 0) for one in found]
            for address in addresses:
                self._refuse(seen, address)
            devices, told = _translated(seen, text)
            self._plug_all(seen, trees, devices)
        return told

    def _spelt_out(self, text: str) -> str:
        """TEXT with the functions that its slot has on this host in the place of "*"."""
        if not _EVERY.search(text):
            return text
        self._refuse_elsewhere()
        first = parsed({"pci": [text]})[0]
        there = host_devices.pci_functions(PciAddress(first.domain, first.bus, first.slot, 0), self._sysfs)
        if not there:
            raise _not_owned(text.partition("@")[0].partition(",")[0], "this host has no such device")
        return _EVERY.sub(",".join(map(str, there)), text, count=1)

    def _refuse(self, seen: Seen, address: PciAddress) -> None:
        """Raise xend's sentences for a function that the domain has, another one has, or this host uses itself."""
        if address in _rows(seen):
            raise OperationError(f"pci: device {address} has been attached! ")
        if self._local:
            self._refuse_used(address)
        given = [one.device for one in self._given_away(seen.info.uuid) if isinstance(one.device, PciHostdev)]
        if seen.live and address in map(_address, given):
            raise NotGiven(f"failed to assign device {address} that has already been assigned to other domain.")
        if self._local and seen.live:
            group, busy = host_devices.pci_group(address, self._sysfs)
            if busy:
                others = ", ".join(map(str, busy))
                raise NotGiven(
                    f"pci: device {address} is in IOMMU group {group} with {others}, which this host uses",
                    hint="bind these to vfio-pci too, or give them to the same domain",
                )

    def _refuse_used(self, address: PciAddress) -> None:
        if not host_devices.pci_is_there(address, self._sysfs):
            raise _not_owned(str(address), "this host has no such device, 'lspci -D' shows those that it has")
        driver = host_devices.pci_driver(address, self._sysfs)
        if driver not in ("", *HOLDERS):
            raise _not_owned(
                str(address),
                f"this host's driver {driver} has it, 'driverctl set-override {address} vfio-pci' takes it away",
            )

    def _plug_all(self, seen: Seen, trees: list[Tree], devices: list[PciHostdev]) -> None:
        form, done = seen.form, []
        try:
            for tree, device in zip(trees, devices, strict=True):
                alias = "ua-pci-" + re.sub("[:.]", "-", str(_address(device)))
                plugged = Device(0, "pci", alias if seen.live else "", hostdev_xml(device, alias))
                form = with_pci(form, [tree])
                self._plug(seen, plugged, form)
                done.append(plugged)
        except BaseException:
            for plugged in reversed(done):
                try:
                    self._plugging.take_away(seen, plugged, seen.form)
                except XmError:
                    continue  # the first error is what counts
            raise

    def detach_pci(self, designation: str, text: str) -> None:
        """Take functions away; returns when the guest has let go of them. Raises ConfigError as ``attach_pci``."""
        trees = pci_trees(text)
        with self._changing(designation) as seen:
            rows = _rows(seen)
            if not rows:
                raise OperationError("Cannot detach when pci platform does not exist")
            wanted = [address for tree in trees for address in _meant(tree, rows)]
            _refuse_parts(rows, wanted)
            there = (one for one in plugged_hostdevs(seen.xml) if isinstance(one.device, PciHostdev))
            plugged = {_address(one.device): one for one in there}
            form, left = seen.form, []
            for address in wanted:
                form = without_pci(form, [address])
                one = plugged.get(address)
                if one is None:
                    self._plugging.forget(seen, None, form)
                    continue
                device = Device(0, "pci", one.alias if seen.live else "", one.xml)
                self._plugging.take_away(seen, device, form)
                left.append(device)
        for device in left if seen.live else ():
            self._plugging.wait(seen, device, os.environ)


def _rows(seen: Seen) -> dict[PciAddress, PciRow]:
    """What the domain has: where it is there, what libvirt says; else what its form says as well.

    A paravirtual guest of Xen's was told no slots, so that they are shown where they were asked for.
    """
    asked = {(own := PciAddress(*one.place)): PciRow(own, one.slot, one.function) for one in pci_functions(seen.form)}
    rows = {}
    for one in plugged_hostdevs(seen.xml):
        if isinstance(one.device, PciHostdev):
            address = _address(one.device)
            silent = address in asked and asked[address].slot is None and not (seen.hvm and seen.live)
            slot = None if silent else one.device.guest_slot
            rows[address] = PciRow(address, slot, one.device.guest_function)
    return rows if seen.live else {**rows, **asked}


def _address(device: object) -> PciAddress:
    assert isinstance(device, PciHostdev)
    return PciAddress(device.domain, device.bus, device.slot, device.function)


def _translated(seen: Seen, text: str) -> tuple[list[PciHostdev], tuple[str, ...]]:
    """The functions as KVM has them, and what is to be said of their slots. Raises OperationError."""
    guest = GuestConfig(
        name=seen.info.name, kind=GuestKind.HVM if seen.hvm else GuestKind.PV, boot=FirmwareBoot(), dialect=Dialect.SXP,
        pci=parsed({"pci": [text]}),
    )  # fmt: skip
    findings = Findings(guest)
    devices = list(pci_devices(guest, findings, machine_type=machine_type(seen.xml)))
    try:
        findings.settle()
    except ConfigError as error:
        raise OperationError(error.message, hint=error.hint) from None
    told = [note.text() for note in findings.notes if note.key != "pci" and not note.harmless]
    if seen.live and any(device.guest_function or device.multifunction for device in devices):
        devices = [replace(device, guest_slot=None, guest_function=0, multifunction=False) for device in devices]
        told.append("while the guest runs, each function comes to a slot of its own, which libvirt chooses")
    return devices, tuple(dict.fromkeys(re.sub(r"^pci\[[0-9]+\]", "pci", sentence) for sentence in told))


def _not_owned(device: str, hint: str) -> NotGiven:
    return NotGiven(f"pci: PCI Backend and pci-stub don't own device {device}", hint=hint)


def _meant(tree: Tree, rows: dict[PciAddress, PciRow]) -> list[PciAddress]:
    """The functions of ROWS that TREE names. Raises OperationError where there are none."""
    said = {str(part[0]): str(part[1]) for part in tree[1:] if isinstance(part, list) and len(part) > 1}
    domain, bus, slot = (int(said[key], 16) for key in ("domain", "bus", "slot"))
    every = said["func"] == "*"
    there = [one for one in rows if one[:3] == (domain, bus, slot) and (every or one.function == int(said["func"], 16))]
    if not there:
        name = f"{domain:04x}:{bus:02x}:{slot:02x}.{said['func'].removeprefix('0x')}"
        raise OperationError(f"pci: device {name} is not attached!")
    return sorted(there, reverse=True)


def _refuse_parts(rows: dict[PciAddress, PciRow], wanted: list[PciAddress]) -> None:
    """Raise OperationError where others share a slot of the guest with those that are to go."""
    for slot in sorted({row.slot for address, row in rows.items() if address in wanted and row.slot is not None}):
        left = [str(address) for address, row in rows.items() if row.slot == slot and address not in wanted]
        if left:
            raise NotGiven(
                f"Not all functions in slot 0x{slot:02x} have had detachment requested.",
                hint=f"name {', '.join(left)} as well",
            )
