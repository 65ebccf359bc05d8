"""Devices plugged in, changed and taken away through the Hypervisor protocol, against a real libvirtd."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import libvirt_qemu
import pytest

from tests.backends.test_libvirt_tuning import known, machine
from xmcompat.backends import libvirt_hotplug
from xmcompat.backends.domain_xml_hotplug import (
    Drive,
    controller_xml,
    disk_xml,
    nic_xml,
    plugged_disks,
    plugged_nics,
    scsi_place,
)
from xmcompat.backends.libvirt_kvm import LibvirtKvm
from xmcompat.backends.machine import Bus, Disk, DiskDevice, FileSource, Nic
from xmcompat.errors import DevicePresent, DomainNotFound, HypervisorError

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

UNKNOWN = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def image(lab_directory: Path, request: pytest.FixtureRequest) -> FileSource:
    path = lab_directory / f"{request.node.name[:40]}.img"
    path.write_bytes(bytes(64 * 1024))
    return FileSource(path=str(path))


def virtio(image: FileSource, target: str = "vdb", vdev: str = "xvdb") -> str:
    return disk_xml(Disk(source=image, target=target, bus=Bus.VIRTIO, vdev=vdev, readonly=True))


def aliases(hypervisor: LibvirtKvm, uuid: str) -> list[str]:
    return [one.alias for one in plugged_disks(hypervisor.domain_xml(uuid))]


def test_a_disk_is_there_at_once_under_our_name(hypervisor: LibvirtKvm, image: FileSource) -> None:
    uuid = hypervisor.create(machine("plugs")).uuid
    hypervisor.attach_device(uuid, virtio(image))
    (one,) = plugged_disks(hypervisor.domain_xml(uuid))
    assert (one.alias, one.disk.vdev, one.disk.target, one.disk.source) == ("ua-xvdb", "xvdb", "vdb", image)


def test_a_name_is_given_once(hypervisor: LibvirtKvm, image: FileSource) -> None:
    uuid = hypervisor.create(machine("once")).uuid
    hypervisor.attach_device(uuid, virtio(image))
    for again in (virtio(image, "vdc"), virtio(image, vdev="xvdc")):
        with pytest.raises(DevicePresent):
            hypervisor.attach_device(uuid, again)
    hypervisor.attach_device(uuid, nic_xml(Nic(mac="00:16:3e:00:00:01", bridge="xenbr0"), 0))
    with pytest.raises(DevicePresent):
        hypervisor.attach_device(uuid, nic_xml(Nic(mac="00:16:3e:00:00:02", bridge="xenbr0"), 0))
    assert aliases(hypervisor, uuid) == ["ua-xvdb"]


def test_a_known_domain_keeps_it_and_forgets_it(hypervisor: LibvirtKvm, image: FileSource) -> None:
    uuid = known(hypervisor, "keeps")
    nic = Nic(mac="00:16:3e:00:00:01", bridge="xenbr0")
    hypervisor.attach_device(uuid, virtio(image))
    hypervisor.start_again(uuid)
    hypervisor.attach_device(uuid, nic_xml(nic, 4))
    hypervisor.attach_device(uuid, virtio(image, "vdc", "xvdc"))
    for xml in (hypervisor.domain_xml(uuid), hypervisor.definition(uuid)):
        assert [one.disk.vdev for one in plugged_disks(xml)] == ["xvdb", "xvdc"]
        assert [(one.number, one.nic.mac) for one in plugged_nics(xml)] == [(4, nic.mac)]
    for _ in range(2):  # what is not there is no matter
        hypervisor.forget_device(uuid, virtio(image, "vdc", ""))
        hypervisor.forget_device(uuid, nic_xml(nic))
    assert [one.disk.vdev for one in plugged_disks(hypervisor.definition(uuid))] == ["xvdb"]
    assert plugged_nics(hypervisor.definition(uuid)) == []
    assert len(aliases(hypervisor, uuid)) == 2


def test_a_guest_without_a_kernel_lets_go_of_nothing_and_may_be_asked_again(
    hypervisor: LibvirtKvm, image: FileSource
) -> None:
    uuid = hypervisor.create(machine("stubborn")).uuid
    hypervisor.attach_device(uuid, virtio(image))
    for _ in range(2):
        hypervisor.unplug_device(uuid, "ua-xvdb")
    assert aliases(hypervisor, uuid) == ["ua-xvdb"]
    hypervisor.unplug_device(uuid, "ua-nosuch")
    hypervisor.forget_device(uuid, virtio(image))  # there is no definition


def test_emulated_drives_neither_come_nor_go(hypervisor: LibvirtKvm, image: FileSource) -> None:
    drive = Disk(source=image, target="hdc", bus=Bus.IDE, device=DiskDevice.CDROM, readonly=True, vdev="hdc")
    uuid = hypervisor.create(machine("ide", disks=(drive,))).uuid
    with pytest.raises(HypervisorError, match="does not support hotplugging"):
        hypervisor.attach_device(uuid, disk_xml(Disk(source=image, target="hda", bus=Bus.IDE, vdev="hda")))
    with pytest.raises(HypervisorError, match="cannot be"):
        hypervisor.unplug_device(uuid, "ua-hdc")


def test_media_change_and_go(hypervisor: LibvirtKvm, image: FileSource, lab_directory: Path) -> None:
    drive = Disk(source=image, target="hdc", bus=Bus.IDE, device=DiskDevice.CDROM, readonly=True, vdev="hdc")
    uuid = hypervisor.create(machine("media", disks=(drive,))).uuid
    other = lab_directory / "other.iso"
    other.write_bytes(bytes(64 * 1024))
    for source in (FileSource(path=str(other)), None, image):
        (now,) = plugged_disks(hypervisor.domain_xml(uuid))
        hypervisor.change_device(uuid, disk_xml(replace(now.disk, source=source)), force=True)
        (now,) = plugged_disks(hypervisor.domain_xml(uuid))
        assert now.disk.source == source


def test_drives_on_a_controller_that_was_plugged_in(hypervisor: LibvirtKvm, image: FileSource) -> None:
    """The medium of a drive that came later can be changed by force alone: libvirt does not know of its tray."""
    uuid = hypervisor.create(machine("scsi")).uuid
    assert scsi_place([hypervisor.domain_xml(uuid)]) == Drive(0, 0, True)
    hypervisor.attach_device(uuid, controller_xml(0))
    for unit, target in enumerate(("sda", "sdb")):
        place = scsi_place([hypervisor.domain_xml(uuid)])
        assert place == Drive(0, unit, False)
        drive = Disk(source=image, target=target, bus=Bus.SCSI, device=DiskDevice.CDROM, readonly=True, vdev=f"xv{target[1:]}")
        hypervisor.attach_device(uuid, disk_xml(drive, place))
    empty = disk_xml(replace(drive, source=None))
    hypervisor.change_device(uuid, empty, force=True)
    assert [one.disk.source for one in plugged_disks(hypervisor.domain_xml(uuid))] == [image, None]
    hypervisor.change_device(uuid, disk_xml(drive), force=True)
    hypervisor.change_device(uuid, disk_xml(drive), force=True)


def test_a_tray_that_a_reset_of_the_guest_shuts_again_is_opened_again(
    hypervisor: LibvirtKvm, image: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QEMU shuts the trays of a SCSI controller that is reset, also between our two calls."""
    uuid = hypervisor.create(machine("resets")).uuid
    hypervisor.attach_device(uuid, controller_xml(0))
    drive = Disk(source=image, target="sda", bus=Bus.SCSI, device=DiskDevice.CDROM, readonly=True, vdev="xvda")
    hypervisor.attach_device(uuid, disk_xml(drive, scsi_place([hypervisor.domain_xml(uuid)])))
    opened: list[str] = []
    move_tray = libvirt_hotplug._move_tray

    def with_resets(domain: Any, where: str, alias: str, **arguments: bool) -> None:
        move_tray(domain, where, alias, **arguments)
        if where == "open":
            opened.append(alias)
            if len(opened) < resets:
                move_tray(domain, "close", alias)

    monkeypatch.setattr(libvirt_hotplug, "_move_tray", with_resets)
    empty = disk_xml(replace(drive, source=None))
    resets = 10
    with pytest.raises(HypervisorError, match="is not open"):
        hypervisor.change_device(uuid, empty, force=True)
    assert len(opened) == 3
    opened, resets = [], 3
    hypervisor.change_device(uuid, empty, force=True)
    assert opened == ["ua-xvda"] * 3
    assert [one.disk.source for one in plugged_disks(hypervisor.domain_xml(uuid))] == [None]


@pytest.mark.parametrize("kind", ["interface", "disk"])
def test_what_a_killed_libvirtd_has_left_in_the_guest_is_taken_away_before_it_is_plugged_in_again(
    kind: str, hypervisor: LibvirtKvm, image: FileSource
) -> None:
    """QEMU gets what libvirt gives it to plug the device in, behind libvirt's back; the guest lets go when it is reset."""
    xml, alias = (nic_xml(Nic(mac="00:16:3e:00:00:01", bridge="xenbr0"), 1), "ua-vif-1")
    if kind == "disk":
        xml, alias = virtio(image), "ua-xvdb"
    uuid = hypervisor.create(machine(f"left-{kind}")).uuid
    domain = hypervisor._connection.lookupByUUIDString(uuid)

    def tell(command: str, **arguments: object) -> None:
        answer = libvirt_qemu.qemuMonitorCommand(domain, json.dumps({"execute": command, "arguments": arguments}), 0)
        assert "error" not in json.loads(answer), answer

    if kind == "interface":
        tell("netdev_add", type="user", id=f"host{alias}")
        tell("device_add", driver="virtio-net-pci", id=alias, netdev=f"host{alias}", bus="pci.0", addr="3")
    else:
        storage = {"driver": "file", "filename": image.path, "read-only": True, "node-name": "libvirt-1-storage"}
        tell("blockdev-add", **storage)
        tell("blockdev-add", **{"driver": "raw", "file": "libvirt-1-storage", "read-only": True, "node-name": "libvirt-1-format"})
        tell("device_add", driver="virtio-blk-pci", id=alias, drive="libvirt-1-format", bus="pci.0", addr="3")
    said = f"'left-{kind}' still has the device '{alias}', which libvirtd was killed over and does not know of"
    with pytest.raises(HypervisorError, match=re.escape(said)) as caught:
        hypervisor.attach_device(uuid, xml)
    assert f"'xm reset left-{kind}'" in caught.value.line()
    hypervisor.reset(uuid)
    deadline = time.monotonic() + 20
    while True:  # until libvirt hears that a device has gone, of which it does not know
        time.sleep(0.5)
        try:
            hypervisor.attach_device(uuid, xml)
            break
        except HypervisorError as error:
            assert said in error.line() and time.monotonic() < deadline, error
    now = hypervisor.domain_xml(uuid)
    assert [one.alias for one in (*plugged_disks(now), *plugged_nics(now))] == [alias]
    with pytest.raises(DevicePresent):
        hypervisor.attach_device(uuid, xml)


def test_the_slots_of_a_guest_are_soon_all_taken(hypervisor: LibvirtKvm) -> None:
    uuid = hypervisor.create(machine("full"), paused=True).uuid
    with pytest.raises(HypervisorError, match="^The guest has no free PCI slot$"):
        for number in range(40):
            hypervisor.attach_device(uuid, nic_xml(Nic(mac=f"00:16:3e:00:01:{number:02x}", bridge="xenbr0"), number))
    assert len(plugged_nics(hypervisor.domain_xml(uuid))) > 20


def test_a_missing_bridge_and_a_missing_file_are_told_in_xms_words(hypervisor: LibvirtKvm, image: FileSource) -> None:
    uuid = hypervisor.create(machine("missing")).uuid
    with pytest.raises(Exception, match=r"^Device 0 \(vif\) could not be connected. Could not find bridge device nobr$"):
        hypervisor.attach_device(uuid, nic_xml(Nic(mac="00:16:3e:00:00:01", bridge="nobr"), 0))
    with pytest.raises(Exception, match=r"^Device 51728 \(vbd\) could not be connected. /nosuch: No such file"):
        hypervisor.attach_device(uuid, virtio(FileSource(path="/nosuch")))


def test_an_unknown_domain(hypervisor: LibvirtKvm, image: FileSource) -> None:
    calls: list[Callable[[], None]] = [
        lambda: hypervisor.attach_device(UNKNOWN, virtio(image)), lambda: hypervisor.unplug_device(UNKNOWN, "ua-xvdb"),
        lambda: hypervisor.change_device(UNKNOWN, virtio(image)), lambda: hypervisor.forget_device(UNKNOWN, virtio(image)),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(DomainNotFound):
            call()
