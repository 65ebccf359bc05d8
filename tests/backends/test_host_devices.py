"""What the kernel tells of a host's devices below /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes_host import Host
from xmcompat.backends import host_devices
from xmcompat.backends.host_devices import PciAddress, ScsiUnit


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_where_the_kernel_tells_nothing_there_is_nothing(tmp_path: Path) -> None:
    address = PciAddress(0, 1, 0, 0)
    assert host_devices.held_for_guests(tmp_path) is None
    assert host_devices.usb_ports(tmp_path) == []
    assert host_devices.scsi_unit("/dev/sdb", tmp_path) is None
    assert not host_devices.pci_is_there(address, tmp_path)
    assert host_devices.pci_driver(address, tmp_path) == ""
    assert host_devices.pci_functions(address, tmp_path) == []
    assert host_devices.pci_group(address, tmp_path) == ("", [])


@pytest.mark.parametrize("driver", ["vfio-pci", "pciback", "xen-pciback", "pci-stub"])
def test_functions_held_for_guests_come_by_address(host: Host, driver: str) -> None:
    host.pci("0000:02:00.1", driver)
    host.pci("0000:02:00.0", driver)
    host.pci("0000:01:00.0", "e1000e")
    host.pci("0001:01:00.0", driver)
    host.pci("0000:03:00.0")
    held = host_devices.held_for_guests(host.sysfs)
    assert held is not None
    assert [str(address) for address in held] == ["0000:02:00.0", "0000:02:00.1", "0001:01:00.0"]


def test_a_driver_that_holds_nothing_is_there_all_the_same(host: Host) -> None:
    host.driver("vfio-pci")
    assert host_devices.held_for_guests(host.sysfs) == []


def test_of_an_iommu_group_those_that_the_host_uses_are_told(host: Host) -> None:
    host.pci("0000:01:00.0", "vfio-pci", group=7)
    host.pci("0000:01:00.1", "snd_hda_intel", group=7)
    host.pci("0000:01:00.2", group=7)
    host.pci("0000:00:01.0", "pcieport", group=7, kind="0x060400")
    number, busy = host_devices.pci_group(PciAddress(0, 1, 0, 0), host.sysfs)
    assert (number, list(map(str, busy))) == ("7", ["0000:01:00.1"])
    assert host_devices.pci_functions(PciAddress(0, 1, 0, 5), host.sysfs) == [0, 1, 2]


def test_usb_ports_come_by_bus_and_port_with_their_names(host: Host) -> None:
    host.usb("usb1", 1, "1d6b:0002", "root hub", hub=True)
    for path, address in (("1-10", 5), ("1-2", 3), ("1-2.3", 4), ("2-1", 2)):
        host.usb(path, address)
    (host.sysfs / "bus/usb/devices/1-2:1.0").mkdir()
    (host.sysfs / "bus/usb/devices/1-9").mkdir()  # it is just being unplugged
    ports = host_devices.usb_ports(host.sysfs)
    assert [port.path for port in ports] == ["1-2", "1-2.3", "1-10", "2-1"]
    assert ports[1] == ("1-2.3", 1, 4, 0x0781, 0x5567, "Cruzer Blade", False)


@pytest.mark.parametrize("text", ["2:0:0:1", "sdc", "/dev/sdc", "sg2", "/dev/sg2", "naa.600a0b8", "3600a0b8"])
def test_a_scsi_device_has_many_names(host: Host, text: str) -> None:
    host.scsi("1:0:0:0", scsi_tape="st0")
    host.scsi("2:0:0:1", block="sdc", scsi_generic="sg2", wwid="naa.600a0b8")
    (host.sysfs / "bus/scsi/devices/target2:0:0").mkdir()
    assert host_devices.scsi_unit(text, host.sysfs) == ScsiUnit("2:0:0:1", "sdc")
    assert host_devices.scsi_unit("/dev/st0", host.sysfs) == ScsiUnit("1:0:0:0", "st0", generic=False)
    assert host_devices.scsi_unit("/dev/sdd", host.sysfs) is None


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "1-2.", "1-2.3.", "a-1", "1-2:1.0", "1-2/3"])
def test_what_is_no_place_on_usb(text: str) -> None:
    assert not host_devices.is_usb_path(text)
