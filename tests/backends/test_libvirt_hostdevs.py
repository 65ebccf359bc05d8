"""Devices of the host for domains, against a real libvirtd: what it takes into definitions, and how it refuses.

No device of this machine is touched: those that are named are not there, and the /sys that tells of them is made up.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from tests.fakes_host import Host
from tests.lab.fixtures import run_xm
from xmcompat.backends import domain_xml, host_devices
from xmcompat.backends.devices import PciHostdev, ScsiHostdev, UsbBus, UsbHostdev
from xmcompat.backends.hypervisor import DomainInfo
from xmcompat.backends.libvirt_kvm import LibvirtKvm
from xmcompat.backends.machine import Accelerator, DeviceBoot, Machine, XenRecord
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.errors import HypervisorError, OperationError, XmError
from xmcompat.hostdevices import HostDevices
from xmcompat.toolstack import Toolstack

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

HVM, PV = "(vm (name t) (image (hvm (kernel '') (usb 1))))", "(vm (name t) (image (linux (kernel /k))))"


@pytest.fixture
def devices(hypervisor: LibvirtKvm, tmp_path: Path) -> HostDevices:
    host = Host(tmp_path)
    for group, address in enumerate(("0000:ee:01.0", "0000:ee:01.1", "0000:ee:02.0")):
        host.pci(address, "vfio-pci", group=group)
    host.usb("9-2", 77, "1234:5678", "Nothing")
    host.scsi("97:0:0:0", block="sdzz")
    host.scsi("97:0:0:1", scsi_generic="sg99")
    return HostDevices(Toolstack(lambda: hypervisor), sysfs=tmp_path)


def xml(name: str, sxp: str = HVM, **changes: object) -> str:
    values: dict[str, object] = {"usb": (UsbBus(model="piix3-uhci"),) if sxp == HVM else (), **changes}
    return domain_xml.render(Machine(
        name=name, uuid=None, accelerator=Accelerator.TCG, memory=65536, current_memory=65536, vcpus=1, boot=DeviceBoot(),
        record=XenRecord(sxp=sxp), **values,  # type: ignore[arg-type]
    ))  # fmt: skip


def known(hypervisor: LibvirtKvm, name: str, sxp: str = HVM) -> DomainInfo:
    hypervisor._connection.defineXML(xml(name, sxp))
    return hypervisor.find(name)


def hostdevs(hypervisor: LibvirtKvm, info: DomainInfo) -> tuple[object, ...]:
    return domain_xml.parse(hypervisor.domain_xml(info.uuid)).hostdevs


def canonical(text: str) -> bytes:
    root = etree.fromstring(text, etree.XMLParser(remove_blank_text=True))
    return etree.tostring(root, method="c14n")


def test_pci_functions_of_a_halted_domain(hypervisor: LibvirtKvm, devices: HostDevices) -> None:
    info = known(hypervisor, "pci-off")
    before = canonical(hypervisor.domain_xml(info.uuid))
    assert devices.attach_pci("pci-off", "ee:01.0-1@07") == ()
    assert devices.attach_pci("pci-off", "ee:02.0,msitranslate=0") == ()
    first, second, third = hostdevs(hypervisor, info)
    assert {first, second} == {
        PciHostdev(bus=0xEE, slot=1, function=1, guest_slot=7, guest_function=1),
        PciHostdev(bus=0xEE, slot=1, guest_slot=7, multifunction=True),
    }
    assert isinstance(third, PciHostdev)
    assert [(str(row.address), row.slot, row.function) for row in devices.pci("pci-off")] == [
        ("0000:ee:01.0", 7, 0), ("0000:ee:01.1", 7, 1), ("0000:ee:02.0", None, 0)
    ]  # fmt: skip
    hypervisor._connection.defineXMLFlags(hypervisor.definition(info.uuid), hypervisor._libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    devices.detach_pci("pci-off", "ee:01.*")
    devices.detach_pci("pci-off", "ee:02.0")
    assert canonical(hypervisor.domain_xml(info.uuid)) == before


def test_scsi_devices_of_a_halted_domain(hypervisor: LibvirtKvm, devices: HostDevices) -> None:
    info = known(hypervisor, "scsi-off")
    devices.attach_scsi("scsi-off", "/dev/sdzz", "0:0:1:2")
    assert hostdevs(hypervisor, info) == (ScsiHostdev(host=97, target=0, unit=0, guest_target=1, guest_unit=2),)
    assert domain_xml.parse(hypervisor.domain_xml(info.uuid)).scsi == ("virtio-scsi",)
    assert devices.scsi("scsi-off") == (None, [(0, "97:0:0:0", "sdzz", "0:0:1:2")])
    hypervisor._connection.defineXMLFlags(hypervisor.definition(info.uuid), hypervisor._libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    devices.detach_scsi("scsi-off", "0:0:1:2")
    assert hostdevs(hypervisor, info) == ()
    assert devices.scsi("scsi-off") == (None, [])


def test_usb_controllers_and_ports_of_a_halted_domain(hypervisor: LibvirtKvm, devices: HostDevices) -> None:
    info = known(hypervisor, "usb-off", PV)
    before = domain_xml.parse(hypervisor.domain_xml(info.uuid))
    assert devices.create_controller("usb-off", 1, 2) == ()
    assert devices.create_controller("usb-off", 2, 4) == ()
    assert devices.attach_port("usb-off", "1", "3", "9-2") == ()
    assert hostdevs(hypervisor, info) == (UsbHostdev(vendor=0x1234, product=0x5678, guest_bus=1),)
    machine = domain_xml.parse(hypervisor.domain_xml(info.uuid))
    assert [bus.model for bus in machine.usb] == ["piix3-uhci", "ich9-ehci1"]
    hypervisor._connection.defineXMLFlags(hypervisor.definition(info.uuid), hypervisor._libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    devices.destroy_controller("usb-off", "0")
    assert hostdevs(hypervisor, info) == (UsbHostdev(vendor=0x1234, product=0x5678, guest_bus=0),)
    assert [(row.number, row.ports[2].bus) for row in devices.usb("usb-off")[1]] == [(1, "9-2")]
    devices.detach_port("usb-off", "1", "3")
    devices.destroy_controller("usb-off", "1")
    assert domain_xml.parse(hypervisor.domain_xml(info.uuid)) == before


def test_emulated_usb_of_a_halted_domain(hypervisor: LibvirtKvm, devices: HostDevices) -> None:
    info = known(hypervisor, "usb-add")
    devices.add_usb("usb-add", "host:1234:5678")
    devices.add_usb("usb-add", "host:9.77")
    assert [(one.vendor, one.address) for one in hostdevs(hypervisor, info)] == [  # type: ignore[attr-defined]
        (0x1234, None), (None, 77)
    ]  # fmt: skip
    for word in ("host:1234:5678", "host:9.77"):
        devices.remove_usb("usb-add", word)
    assert hostdevs(hypervisor, info) == ()


REFUSED = {
    "pci": (lambda devices: devices.attach_pci("here", "ee:02.0@09"), "^This host cannot give PCI devices away$"),
    "scsi": (lambda devices: devices.attach_scsi("here", "sdzz", "0:0:0:0"), "^The kernel has no generic device for 97:0:0:0$"),
    "usb": (lambda devices: devices.add_usb("here", "host:1234:5678"), "^This host has no such USB device$"),
    "port": (lambda devices: devices.attach_port("here", "0", "1", "9-2"), "^This host has no such USB device$"),
}


@pytest.mark.parametrize("persistent", [False, True], ids=["transient", "known"])
def test_what_libvirt_refuses_leaves_domain_and_record_as_they_were(
    hypervisor: LibvirtKvm, devices: HostDevices, persistent: bool
) -> None:
    if persistent:
        info = known(hypervisor, "here")
        hypervisor.start_again(info.uuid)
    else:
        info = hypervisor.create(xml("here"))
    (said,) = devices.create_controller("here", 2, 2)
    assert said.startswith("KVM adds no USB controller to a guest that runs: until it is started anew")
    before = canonical(hypervisor.domain_xml(info.uuid)), canonical(hypervisor.definition(info.uuid))
    for attach, message in REFUSED.values():
        with pytest.raises(XmError, match=message) as raised:
            attach(devices)  # type: ignore[no-untyped-call]
        assert raised.value.hint
        now = canonical(hypervisor.domain_xml(info.uuid)), canonical(hypervisor.definition(info.uuid))
        assert now == before
    assert (devices.pci("here"), devices.scsi("here")[1]) == ([], [])


def test_a_scsi_device_that_is_not_there(hypervisor: LibvirtKvm, devices: HostDevices) -> None:
    """This guest cannot let go of the idle controller; its definition has none."""
    info = known(hypervisor, "gone")
    hypervisor.start_again(info.uuid)
    before = canonical(hypervisor.definition(info.uuid))
    with pytest.raises(HypervisorError, match="^This host has no such SCSI device"):
        devices.attach_scsi("gone", "sg99", "0:0:0:0")
    assert hostdevs(hypervisor, info) == ()
    assert devices.scsi("gone")[1] == []
    assert canonical(hypervisor.definition(info.uuid)) == before


def test_a_controller_for_the_next_start(hypervisor: LibvirtKvm, devices: HostDevices) -> None:
    info = known(hypervisor, "next", PV)
    hypervisor.start_again(info.uuid)
    (said,) = devices.create_controller("next", 2, 4)
    assert said.endswith("it has number 0 once started anew")
    with pytest.raises(OperationError, match="no USB controller until it is started anew"):
        devices.attach_port("next", "0", "1", "9-2")
    hypervisor.halt(info.uuid)
    hypervisor.start_again(info.uuid)
    assert [bus.model for bus in domain_xml.parse(hypervisor.domain_xml(info.uuid)).usb] == ["ich9-ehci1"]
    assert [row.number for row in devices.usb("next")[1]] == [0]
    transient = hypervisor.create(xml("once", PV))
    with pytest.raises(OperationError, match="adds no USB controller"):
        devices.create_controller("once", 2, 4)
    assert "vusb" not in (hypervisor.metadata(transient.uuid) or "")


def test_the_programs_themselves(hypervisor: LibvirtKvm, node: PrivateLibvirtd) -> None:
    """On whatever machine this runs; nothing of it is changed."""
    known(hypervisor, "halted")
    for verb in ("pci-list", "scsi-list", "usb-list"):
        assert run_xm(node, verb, "halted") == ("", "", 0)
    held = host_devices.held_for_guests()
    lines = ["Error: pciback/pci-stub not loaded?"] if held is None else list(map(str, held))
    assert run_xm(node, "pci-list-assignable-devices") == ("".join(f"{line}\n" for line in lines), "", 0)
    assert run_xm(node, "usb-list-assignable-devices").status == 0
    assert run_xm(node, "usb-hc-create", "halted", "2", "1") == ("", "", 0)
    assert run_xm(node, "usb-list", "halted").stdout.splitlines()[1:] == [
        "0   -1  -1    USB2.0  ??                              ", "port 1: "
    ]  # fmt: skip
    assert "(num-ports 1)" in run_xm(node, "list", "-l", "halted").stdout
    assert run_xm(node, "usb-attach", "halted", "0", "2", "1-1") == ("Invalid Port Number '2'\n", "", 0)
    assert run_xm(node, "pci-detach", "nobody", "1:0.0") == ("", "Error: Domain 'nobody' does not exist.\n", 3)
