"""PCI devices of the host. Pure: whether they are there, and can be given away, is the host's to say."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from xmcompat.backends.devices import PciHostdev
from xmcompat.guest import GuestConfig, GuestKind, PciDevice
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import text

#: Slots of QEMU's PC that its bridges and its graphics card have.
_TAKEN = (0, 1, 2)
_SLOTS, _FUNCTIONS = 32, 8
_EVERY_GUEST = ("", "0", "none")


def pci_devices(guest: GuestConfig, findings: Findings, *, machine_type: str = "pc") -> tuple[PciHostdev, ...]:
    """Each function as a device of its own. A slot of the guest is kept where MACHINE_TYPE has one to give."""
    if not guest.pci:
        return ()
    findings.approximated(
        "pci", "the host needs its IOMMU on, and gives away all devices of an IOMMU group or none; all of the guest's "
        "memory stays in place, and it cannot be saved or migrated",
    )  # fmt: skip
    for name, count in Counter(map(_name, guest.pci)).items():
        if count > 1:
            findings.refuse("pci", "that device is given twice; leave one out", value=name)
    sharers: dict[int | None, list[int]] = defaultdict(list)
    for device in guest.pci:
        sharers[device.virtual_slot].append(device.function or 0)
    return tuple(
        _device(device, f"pci[{index}]", sharers[device.virtual_slot], findings, machine_type)
        for index, device in enumerate(guest.pci)
    )


def wants_card_of_host(guest: GuestConfig) -> bool:
    """Whether a graphics card of the host shall be the guest's first, so that none is emulated."""
    return guest.kind is GuestKind.HVM and text(guest, "gfx_passthru").lower() not in _EVERY_GUEST


def is_intels_card(device: PciDevice) -> bool:
    """Whether the device is where Intel's processors have their graphics card."""
    return (device.domain, device.bus, device.slot, device.function or 0) == (0, 0, 2, 0)


def _name(device: PciDevice) -> str:
    function = "*" if device.function is None else f"{device.function:x}"
    return f"{device.domain:04x}:{device.bus:02x}:{device.slot:02x}.{function}"


def _device(
    device: PciDevice, key: str, together: Sequence[int], findings: Findings, machine_type: str
) -> PciHostdev:
    if device.function is None:
        findings.refuse(
            key, "which functions the slot has is known to its host alone; write one entry for each that lspci shows",
            value=_name(device),
        )  # fmt: skip
    for name, value in device.options:
        findings.no_meaning(key, "VFIO does it in its own way", value=f"{name}={value}", harmless=True)
    slot, function, several = _place(device, key, together, findings, machine_type)
    return PciHostdev(
        domain=device.domain, bus=device.bus, slot=device.slot, function=device.function or 0, guest_slot=slot,
        guest_function=function, multifunction=several,
    )  # fmt: skip


def _place(
    device: PciDevice, key: str, together: Sequence[int], findings: Findings, machine_type: str
) -> tuple[int | None, int, bool]:
    """Slot and function in the guest, and whether others share the slot; the functions of one slot keep their numbers.

    TOGETHER are the functions that ask for the same slot.
    """
    slot = device.virtual_slot
    if slot is None:
        return None, 0, False
    why = ""
    if not machine_type.startswith("pc") or "q35" in machine_type:
        why = "there the machine has no such slot"
    elif slot in _TAKEN or slot >= _SLOTS:
        why = "QEMU's machine has that slot itself"
    elif len(together) > _FUNCTIONS or (len(together) > 1 and (0 not in together or len(set(together)) < len(together))):
        why = "functions that share a slot need a first one, and a number each"
    if why:
        findings.approximated(key, f"libvirt chooses its slot in the guest: {why}", value=f"@{slot:02x}")
        return None, 0, False
    function = device.function or 0
    return (slot, function, function == 0) if len(together) > 1 else (slot, 0, False)
