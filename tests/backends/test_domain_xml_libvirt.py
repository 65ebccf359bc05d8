"""A real libvirtd takes every field of a Machine and shows it as it was given; QEMU starts what this host can run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.backends.machines import BARE, EFI, HVM, HYPERV, PV, SMALL
from xmcompat.backends.domain_xml import parse, render
from xmcompat.backends.libvirt_kvm import LibvirtKvm
from xmcompat.backends.machine import Accelerator, CpuTune, DeviceBoot, Graphics, Machine, UsbBus, UsbHostdev
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.errors import XmError

pytestmark = pytest.mark.libvirt

VALIDATE, NVRAM, INACTIVE_WITH_SECRETS = 1, 4, 3

#: HVM without what no libvirtd takes that lacks swtpm and a certificate; see below.
ORDINARY = replace(HVM, tpm="", graphics=tuple(replace(one, tls_port=None) for one in HVM.graphics))


def defined(hypervisor: LibvirtKvm, machine: Machine) -> Machine:
    """MACHINE as libvirt keeps it, checked against the schema; the name of QEMU's board is made short again."""
    domain = hypervisor._connection.defineXMLFlags(render(machine), VALIDATE)
    try:
        shown = parse(domain.XMLDesc(INACTIVE_WITH_SECRETS))
    finally:
        domain.undefineFlags(NVRAM)
    assert shown.machine_type.startswith({"pc": "pc-i440fx-", "q35": "pc-q35-"}[machine.machine_type])
    return replace(shown, machine_type=machine.machine_type)


@pytest.mark.parametrize("machine", [ORDINARY, PV, EFI], ids=lambda machine: machine.name)
def test_libvirt_keeps_a_machine_with_every_field(machine: Machine, hypervisor: LibvirtKvm) -> None:
    assert defined(hypervisor, machine) == machine


def test_libvirt_chooses_a_uuid_and_a_processor_where_none_is_given(hypervisor: LibvirtKvm) -> None:
    shown = defined(hypervisor, BARE)
    assert shown.uuid
    assert replace(shown, uuid=None) == replace(BARE, cpu_mode="custom")


def test_libvirt_keeps_every_field_with_kvm_too(hypervisor: LibvirtKvm) -> None:
    machine = replace(ORDINARY, accelerator=Accelerator.KVM, cpu_migratable=True)
    assert defined(hypervisor, machine) == machine


@pytest.mark.parametrize("device", HVM.hostdevs, ids=lambda device: type(device).__name__)
def test_each_device_of_the_host_can_be_alone(device: object, hypervisor: LibvirtKvm) -> None:
    machine = replace(ORDINARY, hostdevs=(device,))
    assert defined(hypervisor, machine).hostdevs == (device,)


def test_a_usb_device_without_a_place_gets_one_from_libvirt(hypervisor: LibvirtKvm) -> None:
    device = UsbHostdev(vendor=0x951, product=0x1666)
    shown = defined(hypervisor, replace(SMALL, usb=(UsbBus(model="ich9-ehci1"),), hostdevs=(device,)))
    assert shown.hostdevs == (replace(device, guest_bus=0),)
    assert shown.usb == (UsbBus(model="ich9-ehci1"),)


# -- what depends on this host


@pytest.mark.parametrize("version", ["1.2", "2.0"])
def test_a_tpm_of_either_version_is_taken(version: str, hypervisor: LibvirtKvm) -> None:
    assert defined(hypervisor, replace(SMALL, tpm=version)).tpm == version


def test_a_port_of_spice_for_tls_needs_certificates(hypervisor: LibvirtKvm) -> None:
    """The lab's libvirtd has none."""
    with pytest.raises(Exception, match="spice TLS port set in XML configuration, but TLS is disabled in qemu.conf"):
        defined(hypervisor, replace(ORDINARY, graphics=HVM.graphics))


# -- what QEMU starts


BASE = replace(SMALL, boot=DeviceBoot(), cpu_mode="maximum", vcpus=4, memory=65536, current_memory=65536)
MEMORY = BASE.memory // 2
STARTED: dict[str, dict[str, object]] = {
    "sound cards": {"sounds": tuple(model for model in HVM.sounds if model != "pcspk")},
    "channels": {"channels": HVM.channels[:2]},
    "folders": {"folders": HVM.folders},
    "USB 1": {"usb": (UsbBus(model="piix3-uhci"),), "inputs": HVM.inputs},
    "USB 2": {"usb": (UsbBus(model="ich9-ehci1"),), "inputs": HVM.inputs},
    "USB 3": {"usb": (UsbBus(model="qemu-xhci", ports=15),), "inputs": HVM.inputs},
    "all of USB": {"usb": HVM.usb, "inputs": HVM.inputs},
    "two displays": {"graphics": (Graphics(password="s3cret", keymap="de"),), "video": PV.video},
    "SCSI": {"scsi": HVM.scsi},
    "watchdog": {"watchdog": "dump"},
    "panic devices": {"panics": HVM.panics},
    "generation id": {"genid": True},
    "sleep": {"sleep_to_memory": False, "sleep_to_disk": True},
    "counters": {"pmu": True},
    "no counters": {"pmu": False},
    "ACPI table": {"acpi_table": HVM.acpi_table},
    "pages of its own": {"private_pages": True},
    "NUMA": {"numa": tuple(replace(cell, memory=MEMORY, host_node=None) for cell in HVM.numa)},
    "NUMA on the host's": {"numa": tuple(replace(cell, memory=MEMORY) for cell in HVM.numa)},
    "relaxed": {"hyperv": HYPERV[:1]},
    "pins": {"tune": CpuTune(pins=((0,), (), (0,), ()))},
    "shares": {"tune": CpuTune(shares=200)},
    "quota": {"tune": CpuTune(quota=50000)},
}


def on_this_host(machine: Machine, directory: Path) -> Machine:
    """MACHINE with a folder, a socket and a table in DIRECTORY."""
    (directory / "share").mkdir(exist_ok=True)
    table = directory / "slic.bin"
    table.write_bytes(b"SLIC" + (176).to_bytes(4, "little") + bytes(168))
    return replace(
        machine,
        acpi_table=str(table) if machine.acpi_table else "",
        channels=tuple(replace(one, path=str(directory / "agent.sock") if one.path else "") for one in machine.channels),
        folders=tuple(replace(one, path=str(directory / "share")) for one in machine.folders),
    )


def started(hypervisor: LibvirtKvm, machine: Machine) -> Machine:
    return parse(hypervisor.domain_xml(hypervisor.create(render(machine), paused=True).uuid, secrets=True))


@pytest.mark.parametrize("fields", STARTED.values(), ids=list(STARTED))
def test_qemu_starts_it_and_libvirt_shows_it(
    fields: dict[str, object], hypervisor: LibvirtKvm, lab_directory: Path
) -> None:
    machine = on_this_host(replace(BASE, **fields), lab_directory)  # type: ignore[arg-type]
    shown = started(hypervisor, machine)
    for field in fields:
        assert getattr(shown, field) == getattr(machine, field), field


@pytest.fixture
def address(node: PrivateLibvirtd) -> Iterator[None]:
    """An address in the lab: SPICE opens no port on a host that has none but its own."""
    words = ["192.0.2.1/32", "dev", "xenbr0"]
    subprocess.run(node.enter(["ip", "address", "add", *words]), check=True, timeout=60)
    try:
        yield
    finally:
        subprocess.run(node.enter(["ip", "address", "delete", *words]), check=True, timeout=60)


def test_qemu_starts_a_display_on_spice_with_an_agent_and_redirections(
    hypervisor: LibvirtKvm, address: None
) -> None:
    machine = replace(
        BASE, graphics=ORDINARY.graphics, video=HVM.video, channels=HVM.channels[2:], redirections=2,
        usb=HVM.usb[:2],
    )  # fmt: skip
    shown = started(hypervisor, machine)
    for field in ("graphics", "video", "channels", "redirections", "usb"):
        assert getattr(shown, field) == getattr(machine, field), field


def test_a_pc_speaker_can_be_defined_and_starts_where_qemu_still_has_the_option(hypervisor: LibvirtKvm) -> None:
    """libvirt 9.0 asks QEMU for it by an option that QEMU 7.1 has given up."""
    machine = replace(BASE, sounds=("pcspk",))
    assert defined(hypervisor, machine).sounds == ("pcspk",)
    try:
        assert started(hypervisor, machine).sounds == ("pcspk",)
    except XmError as error:
        assert "-soundhw: invalid option" in str(error)
