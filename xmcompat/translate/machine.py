"""GuestConfig and HostFacts to Machine: the heart of the product. Pure.

Everything is found out before anything is refused, so that a person learns of all obstacles at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator, DeviceBoot, DirectKernel, Machine, MachineBoot, XenRecord
from xmcompat.errors import NotConvertible
from xmcompat.guest import FirmwareBoot, GuestConfig, GuestKind, LoaderBoot
from xmcompat.notes import Fate, Note
from xmcompat.translate.clock import translate_clock
from xmcompat.translate.cmdline import VIRTIO, translate_cmdline
from xmcompat.translate.consoles import translate_consoles
from xmcompat.translate.disks import translate_disks
from xmcompat.translate.events import translate_events
from xmcompat.translate.graphics import translate_displays
from xmcompat.translate.nics import translate_nics

_BOOT_DEVICES = {"a": "fd", "c": "hd", "d": "cdrom", "n": "network"}
_USB_DEVICES = ("tablet", "mouse", "keyboard")


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """What KVM runs, and what became of the settings that depend on their value or on the host."""

    machine: Machine
    notes: tuple[Note, ...]


def missing_macs(guest: GuestConfig) -> int:
    """How many interfaces want an address drawn for them."""
    return sum(not vif.mac for vif in guest.vifs)


def translate(
    guest: GuestConfig, facts: HostFacts, *, macs: Sequence[str] = (), record: XenRecord | None = None
) -> Translation:
    """The machine. Raises NotConvertible naming every setting that stands in the way, DeviceError for a bridge.

    RECORD is kept with the machine, completed by the order of its consoles.
    """
    disks = translate_disks(guest)
    nics = translate_nics(guest, facts, macs)
    boot, primary, boot_notes, boot_refusals = _boot(guest, disks.names)
    refusals = (*boot_refusals, *disks.refusals, *nics.refusals)
    if refusals:
        raise NotConvertible("; ".join(refusals), path=guest.source or None)
    consoles = translate_consoles(guest, primary)
    displays = translate_displays(guest, facts)
    events = translate_events(guest)
    inputs, usb, usb_notes = _usb(guest, displays.inputs)
    machine = Machine(
        name=guest.name,
        uuid=guest.uuid,
        accelerator=facts.accelerator,
        memory=max(guest.memory, guest.maxmem or 0) * 1024,
        current_memory=guest.memory * 1024,
        vcpus=guest.vcpus,
        vcpus_online=guest.vcpus_online if guest.vcpus_online != guest.vcpus else None,
        boot=boot,
        cpu_mode="host-model" if facts.accelerator is Accelerator.KVM else "maximum",
        cpu_features=_cpu_features(guest),
        acpi=guest.acpi or guest.kind is not GuestKind.HVM,
        clock=translate_clock(guest),
        on_poweroff=events.on_poweroff,
        on_reboot=events.on_reboot,
        on_crash=events.on_crash,
        disks=disks.disks,
        nics=nics.nics,
        consoles=consoles.devices,
        graphics=displays.graphics,
        video=displays.video,
        usb=usb,
        inputs=inputs,
        panic=True,
        description=guest.description,
        record=None if record is None else replace(record, consoles=consoles.order),
    )
    notes = (
        *boot_notes, *disks.notes, *nics.notes, *consoles.notes, *displays.notes, *events.notes, *usb_notes,
        *_memory_notes(guest),
    )  # fmt: skip
    placed = tuple(note if note.path else _placed(note, guest) for note in notes)
    return Translation(machine=machine, notes=placed)


def _placed(note: Note, guest: GuestConfig) -> Note:
    """NOTE with the file, and the line of its key, where it is known."""
    key = note.key.partition("[")[0].partition(".")[0]
    return replace(note, path=guest.source or None, line=guest.lines.get(key))


def _boot(guest: GuestConfig, names: dict[str, str]) -> tuple[MachineBoot, str, tuple[Note, ...], tuple[str, ...]]:
    """(boot, primary console, notes, refusals)."""
    boot = guest.boot
    if isinstance(boot, LoaderBoot):
        return DeviceBoot(), VIRTIO, (), (_refused_loader(guest, boot),)
    if isinstance(boot, FirmwareBoot):
        return _firmware(boot)
    if guest.kind is GuestKind.HVM:
        return DirectKernel(kernel=boot.kernel, initrd=boot.ramdisk, cmdline=boot.cmdline), VIRTIO, (), ()
    translated = translate_cmdline(boot.cmdline, names)
    kernel = DirectKernel(kernel=boot.kernel, initrd=boot.ramdisk, cmdline=translated.text)
    return kernel, translated.primary, translated.notes, ()


def _refused_loader(guest: GuestConfig, boot: LoaderBoot) -> str:
    what = f"bootloader '{boot.bootloader}'" if boot.bootloader else "a guest without kernel="
    return (
        f"{what} is not supported yet: the kernel would be taken out of the guest's disk; "
        "copy the guest's kernel and ramdisk to this host and name them with kernel= and ramdisk="
    )


def _firmware(boot: FirmwareBoot) -> tuple[MachineBoot, str, tuple[Note, ...], tuple[str, ...]]:
    order = tuple(dict.fromkeys(_BOOT_DEVICES[letter] for letter in boot.order if letter in _BOOT_DEVICES))
    unknown = [letter for letter in boot.order if letter not in _BOOT_DEVICES]
    notes = tuple(
        Note(key="boot", value=boot.order, fate=Fate.APPROXIMATED, reason=f"'{letter}' names no boot device")
        for letter in unknown
    )
    return DeviceBoot(order=order or ("hd",), firmware="efi" if boot.firmware == "uefi" else ""), VIRTIO, notes, ()


def _cpu_features(guest: GuestConfig) -> tuple[tuple[str, str], ...]:
    off = ("pae", "nx") if guest.kind is GuestKind.HVM else ()
    return tuple((name, "disable") for name in off if guest.options.get(name) == 0)


def _usb(
    guest: GuestConfig, inputs: tuple[tuple[str, str], ...]
) -> tuple[tuple[tuple[str, str], ...], str, list[Note]]:
    """(input devices, model of the controller, notes)."""
    notes: list[Note] = []
    wanted = guest.options.get("usbdevice", "")
    found = list(inputs)
    for device in wanted if isinstance(wanted, list) else [wanted]:
        if device in _USB_DEVICES:
            found.append((str(device), "usb"))
        elif device:
            notes.append(
                Note(key="usbdevice", value=str(device), fate=Fate.NOT_YET, reason="tablet, mouse and keyboard are")
            )
    needed = bool(found) or bool(guest.options.get("usb"))
    return tuple(found), "piix3-uhci" if needed else "none", notes


def _memory_notes(guest: GuestConfig) -> list[Note]:
    if guest.maxmem is None or guest.maxmem <= guest.memory:
        return []
    return [
        Note(
            key="maxmem", value=str(guest.maxmem), fate=Fate.APPROXIMATED, harmless=True,
            reason="the guest starts with maxmem and gives back down to memory, if it has a balloon driver",
        )
    ]  # fmt: skip
