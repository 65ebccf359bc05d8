"""The heart: what a Xen guest becomes on KVM. Pure: no file, clock or random number, no host but the facts given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Machine, MachineBoot, XenRecord
from xmcompat.guest import GuestConfig, GuestKind
from xmcompat.notes import Note
from xmcompat.translate.boot import acpi, start
from xmcompat.translate.channels import channels, folders
from xmcompat.translate.clock import clock
from xmcompat.translate.consoles import hvm_console_names, hvm_consoles, pv_console_names, pv_consoles
from xmcompat.translate.disks import disks
from xmcompat.translate.events import events
from xmcompat.translate.findings import Findings
from xmcompat.translate.graphics import screen
from xmcompat.translate.hyperv import hyperv
from xmcompat.translate.loader import Taken
from xmcompat.translate.nics import missing_macs, nics
from xmcompat.translate.options import flag
from xmcompat.translate.pci import pci_devices
from xmcompat.translate.platform import platform
from xmcompat.translate.processor import processor
from xmcompat.translate.scsi import scsi
from xmcompat.translate.sound import sounds
from xmcompat.translate.tpm import tpm
from xmcompat.translate.tuning import backing, numa, tune
from xmcompat.translate.usb import usb
from xmcompat.translate.vkb import virtual_inputs

__all__ = ["Translation", "missing_macs", "translate"]


#: Bytes of a domain's name: the longest ending that libvirt gives to a file named for it is ".xml.new".
LONGEST_NAME = 255 - len(".xml.new")
#: Of a machine of the type "pc".
MOST_VCPUS = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """``notes`` tell of what depends on values and host; those of each key as such are the reader's."""

    machine: Machine
    notes: tuple[Note, ...]


def translate(
    guest: GuestConfig, facts: HostFacts, *, macs: Sequence[str] = (), record: XenRecord | None = None,
    taken: Taken | None = None,
) -> Translation:  # fmt: skip
    """GUEST as a machine for a host of these FACTS.

    MACS are addresses for the interfaces that have none (``missing_macs`` counts them), in order. RECORD goes with
    the machine, with its consoles filled in. TAKEN is what was taken out of the guest's disk for this start.
    Raises NotConvertible with every reason for which the guest cannot run on KVM, else DeviceError in xm's words for
    the first device that this host cannot connect. May be repeated: the same comes out.
    """
    findings = Findings(guest)
    _refuse_unfit(guest, findings)
    machine_disks = disks(guest, facts, findings)
    begun = start(guest, machine_disks, findings, folder=facts.boot_folder, taken=taken)
    machine_disks = tuple(
        replace(disk, boot_order=1) if begun.disk and disk.vdev == begun.disk else disk for disk in machine_disks
    )
    computer = replace(_computer(guest, facts, begun.boot, findings), disks=machine_disks)
    machine = _with_devices(computer, guest, facts, findings)
    names = _consoles_of(machine, guest, begun.primary)
    machine = replace(
        machine,
        nics=nics(guest, facts, macs, findings),
        record=record._replace(consoles=names) if record is not None else None,
    )
    findings.settle()
    return Translation(machine=machine, notes=findings.notes)


def _refuse_unfit(guest: GuestConfig, findings: Findings) -> None:
    """A name for which libvirt has no files, and more vcpus than QEMU's PC has places for."""
    size = len(guest.name.encode("utf-8", "surrogateescape"))
    if size > LONGEST_NAME:
        findings.refuse("name", f"it has {size} bytes, of which libvirt takes {LONGEST_NAME}; write a shorter one",
                        value=f"{guest.name[:40]}...")  # fmt: skip
    elif guest.name in (".", "..") or not guest.name.strip() or set(guest.name) & set("/\n\r"):
        findings.refuse("name", "libvirt names files for it, and none can be called so; write another", value=guest.name)
    if guest.vcpus > MOST_VCPUS:
        findings.refuse(
            "maxvcpus" if "maxvcpus" in guest.options else "vcpus", f"QEMU's PC has {MOST_VCPUS}; write no more",
            value=str(guest.vcpus),
        )  # fmt: skip


def _computer(guest: GuestConfig, facts: HostFacts, boot: MachineBoot, findings: Findings) -> Machine:
    """All but what is plugged into it."""
    memory, current = _memory(guest, findings)
    chip = processor(guest, facts, findings)
    windows = hyperv(guest, facts, findings)
    board = platform(guest, facts, findings)
    pages = backing(guest, facts, findings)
    poweroff, reboot, crash = events(guest, findings, dump_crashes=facts.dump_crashes)
    return Machine(
        name=guest.name,
        uuid=guest.uuid,
        accelerator=facts.accelerator,
        memory=memory,
        current_memory=current,
        vcpus=guest.vcpus,
        vcpus_online=_online(guest),
        boot=boot,
        cpu_mode=chip.mode,
        cpu_features=chip.features,
        cpu_migratable=chip.migratable,
        acpi=acpi(guest, boot, findings),
        apic=guest.kind is not GuestKind.HVM or flag(guest, "apic", True),
        hyperv=windows.names,
        pmu=board.pmu,
        tune=tune(guest, facts, findings),
        numa=numa(guest, findings, facts),
        hugepages=pages.hugepages,
        private_pages=pages.private_pages,
        genid=board.genid,
        acpi_table=board.acpi_table,
        sleep_to_memory=board.sleep_to_memory,
        sleep_to_disk=board.sleep_to_disk,
        watchdog=board.watchdog,
        clock=clock(guest, findings, hyperv=windows.clock_timer),
        on_poweroff=poweroff,
        on_reboot=reboot,
        on_crash=crash,
        panics=("hyperv",) if windows.panic else ("isa",),
        description=guest.description,
    )


def _with_devices(machine: Machine, guest: GuestConfig, facts: HostFacts, findings: Findings) -> Machine:
    """MACHINE, which has its disks, with what else is plugged in; interfaces apart."""
    shown = screen(guest, facts, findings)
    controllers, scsi_devices = scsi(guest, machine.disks, findings)
    keys = virtual_inputs(guest, findings)
    on_usb = usb(guest, findings, pointer=shown.pointer and not keys, redirections=shown.redirections)
    return replace(
        machine,
        scsi=controllers,
        consoles=hvm_consoles(guest, findings) if guest.kind is GuestKind.HVM else pv_consoles(),
        graphics=shown.graphics,
        video=shown.video,
        usb=on_usb.buses,
        inputs=(*on_usb.inputs, *keys),
        sounds=sounds(guest, findings),
        channels=(*channels(guest, findings), *shown.channels),
        folders=folders(guest, findings),
        hostdevs=(*pci_devices(guest, findings), *on_usb.hostdevs, *scsi_devices),
        redirections=shown.redirections,
        tpm=tpm(guest, findings),
    )


def _consoles_of(machine: Machine, guest: GuestConfig, primary: str) -> tuple[str, ...]:
    """libvirt's names of the consoles, the main one first."""
    return hvm_console_names(machine.consoles) if guest.kind is GuestKind.HVM else pv_console_names(primary)


def _memory(guest: GuestConfig, findings: Findings) -> tuple[int, int]:
    """KiB at most, and at the start."""
    most = max(guest.maxmem or 0, guest.memory)
    if most > guest.memory:
        findings.approximated(
            "maxmem", f"the guest starts with {most} MiB and gives back all but {guest.memory} MiB",
            value=str(most), suggestion="it needs the virtio_balloon driver for that",
        )  # fmt: skip
    return most * 1024, guest.memory * 1024


def _online(guest: GuestConfig) -> int | None:
    online = guest.vcpus_online
    return None if online is None or not 0 < online < guest.vcpus else online
