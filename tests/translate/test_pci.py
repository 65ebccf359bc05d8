"""PCI devices of the host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.translate.guests import HOST, HVM, PV, said
from xmcompat.backends.devices import PciHostdev
from xmcompat.errors import NotConvertible
from xmcompat.guest import GuestConfig, PciDevice
from xmcompat.notes import Fate
from xmcompat.translate.findings import Findings
from xmcompat.translate.machine import Translation, translate
from xmcompat.translate.pci import pci_devices


def done(*devices: PciDevice, guest: GuestConfig = HVM) -> Translation:
    return translate(replace(guest, pci=devices), HOST)


def test_each_function_is_a_device_and_what_it_costs_is_told_once() -> None:
    found = done(PciDevice(bus=3, slot=0), PciDevice(domain=1, bus=4, slot=0x1D, function=7), guest=PV)
    assert found.machine.hostdevs == (
        PciHostdev(bus=3, slot=0), PciHostdev(domain=1, bus=4, slot=0x1D, function=7),
    )  # fmt: skip
    (note,) = said(found, "pci")
    assert note[0] is Fate.APPROXIMATED
    assert "IOMMU" in note[1]
    assert said(done(), "pci") == []


def test_a_slot_of_the_guest_is_kept() -> None:
    (device,) = done(PciDevice(bus=0, slot=0x1D, virtual_slot=6)).machine.hostdevs
    assert device == PciHostdev(bus=0, slot=0x1D, guest_slot=6)


def test_functions_of_one_slot_keep_their_numbers() -> None:
    found = done(
        PciDevice(bus=3, slot=0, function=1, virtual_slot=6), PciDevice(bus=3, slot=0, function=0, virtual_slot=6)
    ).machine.hostdevs
    assert found == (
        PciHostdev(bus=3, slot=0, function=1, guest_slot=6, guest_function=1),
        PciHostdev(bus=3, slot=0, function=0, guest_slot=6, guest_function=0, multifunction=True),
    )


@pytest.mark.parametrize(
    ("devices", "reason"),
    [
        ((PciDevice(bus=3, slot=0, virtual_slot=2),), "QEMU's machine has that slot itself"),
        ((PciDevice(bus=3, slot=0, virtual_slot=32),), "QEMU's machine has that slot itself"),
        ((PciDevice(bus=3, slot=0, function=1, virtual_slot=6), PciDevice(bus=3, slot=0, function=2, virtual_slot=6)),
         "functions that share a slot need a first one, and a number each"),
        ((PciDevice(bus=3, slot=0, virtual_slot=6), PciDevice(bus=4, slot=0, virtual_slot=6)),
         "functions that share a slot need a first one, and a number each"),
    ],
)  # fmt: skip
def test_a_slot_that_the_guest_cannot_have_is_told(devices: tuple[PciDevice, ...], reason: str) -> None:
    found = done(*devices)
    assert {one.guest_slot for one in found.machine.hostdevs if isinstance(one, PciHostdev)} == {None}
    assert said(found, "pci[0]") == [(Fate.APPROXIMATED, f"libvirt chooses its slot in the guest: {reason}")]


def test_a_machine_with_other_slots_keeps_none() -> None:
    guest = replace(HVM, pci=(PciDevice(bus=3, slot=0, virtual_slot=6),))
    (device,) = pci_devices(guest, Findings(guest), machine_type="q35")
    assert device.guest_slot is None


def test_all_functions_of_a_slot_are_known_to_its_host_alone() -> None:
    with pytest.raises(NotConvertible, match=r"pci\[0\] = 0000:03:00\.\*: which functions the slot has"):
        done(PciDevice(bus=3, slot=0, function=None))


def test_a_device_that_is_given_twice_is_refused() -> None:
    with pytest.raises(NotConvertible, match=r"pci = 0000:03:00\.0: that device is given twice"):
        done(PciDevice(bus=3, slot=0), PciDevice(bus=3, slot=0))


def test_options_of_a_device_are_told_and_harmless() -> None:
    notes = done(PciDevice(bus=3, slot=0, options=(("permissive", "1"),))).notes
    (note,) = [note for note in notes if note.key == "pci[0]"]
    assert (note.fate, note.value, note.harmless) == (Fate.NO_MEANING, "permissive=1", True)
