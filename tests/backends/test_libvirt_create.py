"""What ``create`` says where it cannot, and that nothing is left of it, against a real libvirtd."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.lab.fixtures import Starter
from tests.lab.guests import tick_xml
from xmcompat.backends.hypervisor import DomainInfo
from xmcompat.backends.libvirt_kvm import LibvirtKvm, connect
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.errors import DeviceError, DomainExists, HypervisorError, XmError

pytestmark = pytest.mark.libvirt

UUID = "0b1c2d3e-0000-4000-8000-00163e000001"


def create_at_once(node: PrivateLibvirtd, xmls: Sequence[str]) -> list[DomainInfo | XmError]:
    """Create each over a connection of its own, all at the same time; what became of each."""

    def create(xml: str) -> DomainInfo | XmError:
        hypervisor = connect(node.uri)
        try:
            return hypervisor.create(xml)
        except XmError as error:
            return error
        finally:
            hypervisor.close()

    with ThreadPoolExecutor(len(xmls)) as pool:
        return list(pool.map(create, xmls))


def refusal(hypervisor: LibvirtKvm, xml: str) -> XmError:
    """What ``create`` raises; nothing may be left of the domain."""
    before = {info.uuid for info in hypervisor.domains()}
    with pytest.raises(XmError) as raised:
        hypervisor.create(xml)
    assert {info.uuid for info in hypervisor.domains()} == before
    assert "\n" not in raised.value.line()
    return raised.value


@pytest.mark.parametrize("uuids", [(UUID, UUID), (UUID, UUID[:-1] + "2")], ids=["same uuid", "different uuids"])
def test_of_two_creates_of_one_name_at_once_one_wins(
    hypervisor: LibvirtKvm, node: PrivateLibvirtd, roms: Path, uuids: Sequence[str]
) -> None:
    outcomes = create_at_once(node, [tick_xml("web1", roms, uuid=uuid) for uuid in uuids])
    (won,) = [outcome for outcome in outcomes if isinstance(outcome, DomainInfo)]
    (lost,) = [outcome for outcome in outcomes if isinstance(outcome, XmError)]
    assert isinstance(lost, DomainExists)
    assert lost.message in (f"Domain 'web1' already exists with ID '{won.domid}'", "VM name 'web1' already exists")
    assert [info.uuid for info in hypervisor.domains()] == [won.uuid]


def test_ten_different_guests_at_once_all_start(hypervisor: LibvirtKvm, node: PrivateLibvirtd, roms: Path) -> None:
    names = {f"web{number}" for number in range(10)}
    outcomes = create_at_once(node, [tick_xml(name, roms, idle=True) for name in names])
    assert {outcome.name for outcome in outcomes if isinstance(outcome, DomainInfo)} == names
    assert {info.name for info in hypervisor.domains()} == names


def test_a_taken_name_is_refused_with_the_holders_id(hypervisor: LibvirtKvm, start: Starter, roms: Path) -> None:
    holder = start("web1", paused=True)
    error = refusal(hypervisor, tick_xml("web1", roms))
    assert isinstance(error, DomainExists)
    assert error.line() == f"Domain 'web1' already exists with ID '{holder.domid}'"


def test_a_taken_uuid_is_refused_with_the_holders_name(hypervisor: LibvirtKvm, start: Starter, roms: Path) -> None:
    holder = start("web1", paused=True, uuid=UUID)
    error = refusal(hypervisor, tick_xml("web2", roms, uuid=UUID))
    assert error.line() == f"Domain 'web1' already exists with ID '{holder.domid}'"


def test_the_name_of_a_halted_domain_is_refused_for_another_uuid(hypervisor: LibvirtKvm, roms: Path) -> None:
    hypervisor._connection.defineXML(tick_xml("web1", roms))
    error = refusal(hypervisor, tick_xml("web1", roms))
    assert isinstance(error, DomainExists)
    assert error.line() == "VM name 'web1' already exists"


def test_a_missing_bridge_is_named_with_the_number_of_its_interface(hypervisor: LibvirtKvm, roms: Path) -> None:
    error = refusal(hypervisor, tick_xml("web1", roms, bridges=["xenbr0", "br9"]))
    assert isinstance(error, DeviceError)
    assert error.line() == "Device 1 (vif) could not be connected. Could not find bridge device br9"


def test_no_interface_of_a_failed_start_remains(
    hypervisor: LibvirtKvm, node: PrivateLibvirtd, roms: Path
) -> None:
    before = os.listdir(f"/proc/{node.pid}/root/sys/class/net")
    refusal(hypervisor, tick_xml("web1", roms, bridges=["xenbr0", "br9"]))
    assert os.listdir(f"/proc/{node.pid}/root/sys/class/net") == before


def test_a_missing_disk_file_is_named(hypervisor: LibvirtKvm, roms: Path) -> None:
    error = refusal(hypervisor, tick_xml("web1", roms, disks=[Path("/nowhere/web1.img")]))
    assert isinstance(error, DeviceError)
    assert error.line() == (
        "Device vda (vbd) could not be connected. /nowhere/web1.img: No such file or directory"
    )


def test_a_disk_that_is_a_directory_is_refused(hypervisor: LibvirtKvm, roms: Path, lab_directory: Path) -> None:
    error = refusal(hypervisor, tick_xml("web1", roms, disks=[lab_directory]))
    assert str(lab_directory) in error.line()


def test_a_disk_in_use_by_another_guest_is_refused(
    hypervisor: LibvirtKvm, start: Starter, roms: Path, lab_directory: Path
) -> None:
    image = lab_directory / "shared.img"
    image.write_bytes(bytes(1 << 20))
    start("holder", paused=True, disks=[image])
    error = refusal(hypervisor, tick_xml("web1", roms, disks=[image]))
    assert isinstance(error, DeviceError)
    assert error.line() == (
        f"Device vda (vbd) could not be connected. {image} is in use by another guest or program"
    )


def test_more_memory_than_there_can_be_is_refused(hypervisor: LibvirtKvm, roms: Path) -> None:
    error = refusal(hypervisor, tick_xml("web1", roms, memory=2**34))
    assert isinstance(error, HypervisorError)
    assert error.line().startswith("Not enough memory on the host: ")


def test_firmware_that_is_not_there_is_named(hypervisor: LibvirtKvm) -> None:
    error = refusal(hypervisor, tick_xml("web1", Path("/nowhere")))
    assert "/nowhere/tick.rom" in error.line()


@pytest.mark.parametrize("xml", ["", "<domain>", "<domain type='kvm'/>", "<domain type='kvm'><name/></domain>"])
def test_xml_that_is_no_domain_is_refused_in_one_line(hypervisor: LibvirtKvm, xml: str) -> None:
    assert isinstance(refusal(hypervisor, xml), HypervisorError)
