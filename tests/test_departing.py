"""What a domain needs of another host, as it is read from the domain and its disks; and who says that it is moving."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.lab.guests import tick_xml
from xmcompat import departing, migrating, moving
from xmcompat.errors import OperationError
from xmcompat.migration.facts import FileKind, HostFacts, Passed, SeenDisk, Sight, Wanted, WantedDisk
from xmcompat.storage import identity, image_locks

WEB1 = domain("web1", 7, uuid="11111111-2222-4333-8444-555555555555")


def wanted(xml: str, **details: object) -> Wanted:
    host = FakeHypervisor.with_domains(WEB1)
    host.xml[WEB1.uuid] = xml
    return departing.wanted_of(host, WEB1, live=True, persist=False, **details)  # type: ignore[arg-type]


def xml_with(tmp_path: Path, devices: str = "", **details: object) -> str:
    xml = tick_xml("web1", tmp_path, uuid=WEB1.uuid, **details)  # type: ignore[arg-type]
    return xml.replace("<memballoon", f"{devices}<memballoon")


def test_disks_are_told_with_what_they_are_known_by(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(4096))
    (found,) = wanted(xml_with(tmp_path, disks=[disk])).disks
    (known,) = identity.identities(str(disk))
    assert (found.target, found.vdev, found.kind, found.path, found.size) == ("vda", "vda", FileKind.FILE, str(disk), 4096)
    assert [(one.kind, one.place, one.number) for one in found.identities] == [tuple(known)]
    assert (found.locked, found.copy, found.cache) == (False, False, "writeback")


def test_a_lock_on_a_disk_is_seen(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(4096))
    fd = os.open(disk, os.O_RDWR)
    try:
        assert image_locks.take(fd, writable=True, shareable=False)
        (found,) = wanted(xml_with(tmp_path, disks=[disk])).disks
    finally:
        os.close(fd)
    assert found.locked


@pytest.mark.parametrize(("readonly", "copied"), [(False, True), (True, False)])
def test_a_disk_is_copied_where_that_is_asked_for_and_it_is_written_to(
    tmp_path: Path, readonly: bool, copied: bool
) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(4096))
    xml = xml_with(tmp_path, disks=[disk])
    xml = xml.replace("</disk>", "<readonly/></disk>") if readonly else xml
    (found,) = wanted(xml, copied=("vda",)).disks
    assert found.copy is copied


def test_an_image_that_is_copied_is_as_large_as_the_guest_sees_it(tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "3G"], check=True)
    xml = xml_with(tmp_path, disks=[disk]).replace("type='raw'", "type='qcow2'")
    (found,) = wanted(xml, copied=("vda",)).disks
    assert (found.format, found.size) == ("qcow2", 3 << 30)
    disk.write_bytes(b"short")
    (found,) = wanted(xml, copied=("vda",)).disks
    assert found.size == 0


def test_images_beneath_that_of_a_disk_are_told_as_long_as_it_is_not_copied(tmp_path: Path) -> None:
    top, middle, base = (tmp_path / name for name in ("top.qcow2", "middle.qcow2", "base.img"))
    for path in (top, middle, base):
        path.write_bytes(bytes(4096))
    chain = (
        f"<backingStore type='file'><format type='qcow2'/><source file='{middle}'/>"
        f"<backingStore type='file'><format type='raw'/><source file='{base}'/><backingStore/></backingStore></backingStore></disk>"
    )
    xml = xml_with(tmp_path, disks=[top]).replace("type='raw'", "type='qcow2'").replace("</disk>", chain)
    own, *beneath = wanted(xml).disks
    assert (own.target, own.readonly) == ("vda", False)
    assert [(one.vdev, one.target, one.path, one.format, one.size, one.readonly) for one in beneath] == [
        ("vda", "vda/1", str(middle), "qcow2", 4096, True), ("vda", "vda/2", str(base), "raw", 4096, True)
    ]  # fmt: skip
    assert all(one.identities and one.is_beneath and not one.is_part for one in beneath)
    assert [one.target for one in wanted(xml, copied=("vda",)).disks] == ["vda"]


def test_volumes_that_are_joined_to_one_disk_are_not_copied() -> None:
    disks = tuple(WantedDisk(vdev=f"xvd{name}", target=f"vd{name}", kind=FileKind.BLOCK, path=f"/dev/vg0/{name}", size=512) for name in ("a1", "b"))
    seen = tuple(SeenDisk(target=one.target, sight=Sight.MISSING) for one in disks)
    facts = HostFacts(hostname="node2", disks=seen)
    needs = Wanted(name="a", uuid="b", memory=1, max_memory=1, vcpus=1, accelerator="kvm", disks=disks)
    assert migrating.not_seen(needs, facts) == ("vdb",)


def test_a_disk_that_is_not_there_is_told_all_the_same(tmp_path: Path) -> None:
    (found,) = wanted(xml_with(tmp_path, disks=[tmp_path / "nothing.img"])).disks
    assert (found.size, found.identities) == (0, ())


def test_interfaces_screens_files_and_devices_of_the_host_are_told(tmp_path: Path) -> None:
    usb = "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1d6b'/><product id='0x2'/></source></hostdev>"
    screen = "<graphics type='vnc' port='5910' autoport='no' listen='192.0.2.1'/>"
    found = wanted(xml_with(tmp_path, usb + screen, bridges=["xenbr0"]))
    assert [(vif.bridge, bool(vif.mac)) for vif in found.vifs] == [("xenbr0", False)]
    assert [(one.kind, one.listen, one.port) for one in found.screens] == [("vnc", "192.0.2.1", 5910)]
    assert found.files == (f"{tmp_path}/tick.rom",)
    assert [type(one) for one in found.passed] == [Passed] and found.passed[0].kind == "usb"
    assert (found.accelerator, found.machine_type, found.memory) == ("kvm", "pc", WEB1.memory)


def test_a_cpu_is_told_as_libvirt_has_it(tmp_path: Path) -> None:
    xml = xml_with(tmp_path)
    assert wanted(xml).cpu == ""
    cpu = "<cpu mode='custom' match='exact'><model>qemu64</model></cpu>"
    assert wanted(xml.replace("<features>", f"{cpu}<features>")).cpu == cpu
    assert wanted(xml.replace("<features>", "<cpu mode='host-model'/><features>")).cpu == "<cpu mode='host-model'/>"


def test_just_one_of_many_moves_a_domain() -> None:
    """Others look meanwhile, which takes the lock for a moment."""
    inside: list[int] = []
    most: list[int] = []
    refused: list[str] = []
    start = threading.Barrier(6)

    def move() -> None:
        start.wait()
        for _ in range(20):
            try:
                with moving.held("fake:///", WEB1):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
            except OperationError as error:
                refused.append(error.line())

    def look() -> None:
        start.wait()
        for _ in range(200):
            moving.is_moving("fake:///", WEB1.uuid)

    threads = [threading.Thread(target=act) for act in (move, move, move, look, look, look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert set(refused) <= {"'web1' is being moved already; see xm list"}
    assert not moving.is_moving("fake:///", WEB1.uuid)
