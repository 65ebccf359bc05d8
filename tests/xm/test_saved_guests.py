"""A guest that is saved: what is said of it meanwhile, that it is not started afresh, and that its disks fit its memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.fakes_saving import MEMORY, image, xml_of
from tests.xm.conftest import Xm
from xmcompat import saved_guests
from xmcompat.backends.domain_xml import render_record
from xmcompat.backends.hypervisor import DomainState
from xmcompat.backends.record import XenRecord
from xmcompat.config.read import offline_host, read
from xmcompat.migration import save_file
from xmcompat.saved_disks import SavedDisk, SavedDisks, written
from xmcompat.saved_guests import SavedGuest
from xmcompat.toolstack import Toolstack

UUID = "11111111-2222-4333-8444-555555555555"
WEB1 = domain("web1", 7, uuid=UUID)
CONFIG = 'kernel = "{kernel}"\nmemory = 64\nname = "{name}"\nuuid = "{uuid}"\n'


def with_disk(info: object, path: Path) -> str:
    disk = (
        f"<devices><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{path}'/>"
        "<target dev='vda' bus='virtio'/></disk></devices></domain>"
    )
    return xml_of(info).replace("</domain>", disk)  # type: ignore[arg-type]


@pytest.fixture
def web1(host: FakeHypervisor, tmp_path: Path) -> FakeHypervisor:
    """It writes the disk ``disk.img``."""
    (tmp_path / "disk.img").write_bytes(b"as it was" + bytes(1000))
    host.known[UUID] = WEB1
    host.xml[UUID] = with_disk(WEB1, tmp_path / "disk.img")
    return host


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration of web1 that can be started."""
    kernel = bytearray(64 * 1024)
    kernel[0x1FE:0x200], kernel[0x202:0x208], kernel[0x211] = b"\x55\xaa", b"HdrS\x0d\x02", 1
    (tmp_path / "vmlinuz").write_bytes(kernel)
    path = tmp_path / "web1.cfg"
    path.write_text(CONFIG.format(kernel=tmp_path / "vmlinuz", name="web1", uuid=UUID))
    return path


# -- while it is saved


def test_meanwhile_it_is_listed_by_the_name_that_xend_gave_it(web1: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    web1.save_looks["web1"] = 10
    pending = Toolstack(lambda: web1).saving.begin("web1", str(tmp_path / "f"))
    assert "migrating-web1 " in xm("list").out
    again = xm("save", "web1", str(tmp_path / "other"))
    assert (again.status, again.err) == (1, "Error: 'web1' is being moved already; see xm list\n")
    pending.abandon()
    assert "migrating-" not in xm("list").out
    assert sorted(os.listdir(tmp_path)) == ["disk.img"]


# -- not started afresh


def test_one_that_is_saved_to_a_file_is_not_created_but_by_a_word_of_its_own(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, config: Path
) -> None:
    file = tmp_path / "web1.save"
    assert xm("save", "web1", str(file)).status == 0
    refused = xm("create", "-q", str(config))
    assert (refused.status, refused.err) == (1, (
        f"Error: Domain 'web1' is saved in {file}; its memory would be lost; go on with it by 'xm restore {file}', or give its "
        "memory up by --discard-saved\n"
    ))  # fmt: skip
    assert web1.known == {}
    assert xm("create", "-q", "--discard-saved", str(config)).status == 0
    assert not file.exists()
    assert web1.find("web1").state == DomainState.RUNNING
    assert xm("destroy", "web1").status == 0
    assert xm("create", "-q", str(config)).status == 0


def test_one_that_could_not_be_started_keeps_its_memory(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, config: Path
) -> None:
    file = tmp_path / "web1.save"
    xm("save", "web1", str(file))
    (tmp_path / "vmlinuz").write_bytes(b"no kernel" * 100)
    assert xm("create", "-q", "--discard-saved", str(config)).status == 1
    assert save_file.is_save_file(str(file))
    assert "is saved in" in xm("create", "-q", str(config)).err


@pytest.mark.parametrize("end", ["restored", "file removed", "another guest's file"])
def test_what_is_not_saved_any_more_is_created_as_ever(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, config: Path, end: str
) -> None:
    file = tmp_path / "web1.save"
    xm("save", "web1", str(file))
    if end == "restored":
        assert xm("restore", str(file)).status == 0
        assert xm("destroy", "web1").status == 0
    elif end == "file removed":
        file.unlink()
    else:
        file.write_bytes(image(xml_of(domain("other", 8, uuid="99999999-2222-4333-8444-555555555555"))))
    assert xm("create", "-q", str(config)).status == 0


def test_a_checkpoint_saves_nobody(web1: FakeHypervisor, xm: Xm, tmp_path: Path, config: Path) -> None:
    """Its guest ran on, and ended as guests do."""
    xm("save", "-c", "web1", str(tmp_path / "f"))
    xm("destroy", "web1")
    assert xm("create", "-q", str(config)).status == 0


def test_a_known_one_is_not_started_either(web1: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    web1.known[UUID] = WEB1._replace(persistent=True)
    file = tmp_path / "web1.save"
    xm("save", "web1", str(file))
    refused = xm("start", "web1")
    assert (refused.status, f"is saved in {file}" in refused.err) == (1, True)
    assert xm("start", "--discard-saved", "web1").status == 0
    assert not file.exists()


def test_the_image_of_a_suspended_one_is_given_up_by_the_same_word(
    web1: FakeHypervisor, xm: Xm, config: Path
) -> None:
    web1.known[UUID] = WEB1._replace(persistent=True)
    assert xm("suspend", "web1").status == 0
    assert "by --discard-saved of 'xm create' or 'xm start'" in xm("create", "-q", str(config)).err
    assert xm("create", "-q", "--discard-saved", str(config)).status == 0
    assert web1.suspended() == set()


def test_a_new_configuration_of_a_suspended_one_gives_its_memory_up_by_the_same_word(
    web1: FakeHypervisor, xm: Xm, config: Path
) -> None:
    web1.known[UUID] = WEB1._replace(persistent=True)
    xm("suspend", "web1")
    assert "is suspended; its memory would be lost" in xm("new", "-q", str(config)).err
    assert web1.suspended() == {UUID}
    assert xm("new", "-q", "--discard-saved", str(config)).status == 0
    assert web1.suspended() == set()
    assert web1.find("web1").state == DomainState.SHUTOFF


def test_notes_that_nobody_can_read_are_none(tmp_path: Path) -> None:
    assert saved_guests.find("qemu:///system", "web1", None) is None
    os.makedirs(saved_guests.FOLDER)
    for number, text in enumerate((b"", b"[]", b"\xff\xfe", b'{"hypervisor": "qemu:///system", "name": "web1"}', b"{" * 5000)):
        (Path(saved_guests.FOLDER) / str(number)).write_bytes(text)
        assert saved_guests.find("qemu:///system", "web1", None) is None
    saved_guests.note("qemu:///other", WEB1, str(tmp_path / "f"))
    assert saved_guests.find("qemu:///system", "web1", UUID) is None


def test_notes_of_a_private_libvirtd_go_when_it_has_gone(tmp_path: Path) -> None:
    (tmp_path / "run/libvirt").mkdir(parents=True)
    there, gone = (f"qemu+unix:///system?socket={tmp_path}/{name}/run/libvirt/libvirt-sock" for name in (".", "none"))
    saved_guests.note(gone, WEB1, "/f")
    assert os.listdir(saved_guests.FOLDER) == []
    saved_guests.note(there, WEB1, "/f")
    assert os.listdir(saved_guests.FOLDER) == [UUID]


def test_a_file_that_cannot_be_removed_is_told(web1: FakeHypervisor, tmp_path: Path) -> None:
    from xmcompat.errors import OperationError

    with pytest.raises(OperationError, match="cannot be given up: .*: Is a directory"):
        saved_guests.discard(SavedGuest(UUID, "web1", str(tmp_path)))


# -- its disks


def test_what_the_file_says_of_disks_is_no_part_of_the_configuration() -> None:
    config = "(domain\n    (domid 7)\n    (name web1)\n    (maxmem 64)\n    (memory 64)\n    (image (linux (kernel /boot/vmlinuz))))"
    forms = written(SavedDisks((SavedDisk("xvda", "/srv/web1.img", "file:1:1"),), "web1.disks-1", True))
    data = save_file.header(config, 4, 512, checksum=7, forms=forms) + b"\0\0\0\0"
    assert b"/srv/web1.img" in data
    (document,) = read(data, "f", host=offline_host())
    assert (document.guest.name, document.guest.memory, document.guest.disks) == ("web1", 64, ())


def test_a_disk_that_was_written_since_keeps_it_from_its_memory(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path
) -> None:
    file, disk = tmp_path / "web1.save", tmp_path / "disk.img"
    xm("save", "web1", str(file))
    os.utime(disk, ns=(0, os.stat(disk).st_mtime_ns + 1))
    refused = xm("restore", str(file))
    assert refused.err == (
        f"Error: Restore failed: the disks of 'web1' have been written since {file} was saved: vda ({disk}); going on from its "
        f"memory would damage what is on them; put them back as they were then; 'xm restore --force {file}' starts it all the "
        "same\n"
    )
    assert web1.known == {}
    assert xm("restore", "--force", str(file)) == (0, "", "")


def test_a_file_from_before_says_nothing_of_disks_and_is_taken(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path
) -> None:
    file = tmp_path / "old.save"
    text = b"(domain (name web1))\n(image_file (size %d))" % len(image(web1.xml[UUID]))
    file.write_bytes(b"LinuxGuestRecord" + len(text).to_bytes(4, "big") + text + image(web1.xml[UUID]))
    web1.known.clear()
    assert xm("restore", str(file)) == (0, "", "")


def test_a_checkpoint_says_what_it_can_be_used_for(web1: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    file = tmp_path / "f"
    result = xm("save", "-c", "web1", str(file))
    (folder,) = tmp_path.glob("f.disks-*")
    assert result == (0, "", (
        f"{file} has the domain's memory, {folder} its disks of the same moment: 'xm restore --disks {file}' brings both back, "
        "and loses what is written from now on.\n"
    ))  # fmt: skip
    assert [path.name for path in folder.iterdir()] == ["vda.qcow2"]
    memory_only = xm("save", "-c", "--memory-only", "web1", str(file))
    assert "but not its disks of that moment (vda): restore it only when somebody has put those back" in memory_only.err
    assert not folder.exists()


@pytest.mark.parametrize("damage", ["no copies", "copy gone", "memory"])
def test_disks_are_not_touched_where_they_cannot_all_be_put_back(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, damage: str
) -> None:
    file, disk = tmp_path / "f", tmp_path / "disk.img"
    xm("save", *(() if damage == "no copies" else ("-c",)), "web1", str(file))
    web1.known.clear()
    before = disk.read_bytes()
    if damage == "copy gone":
        next(tmp_path.glob("f.disks-*/vda.qcow2")).unlink()
    elif damage == "memory":
        data = bytearray(file.read_bytes())
        data[data.index(MEMORY)] ^= 1
        file.write_bytes(data)
    said = {
        "no copies": f"Restore failed: the disks cannot be put back: {file} has no copies of its disks",
        "copy gone": "vda.qcow2 is not there",
        "memory": f"{file} is damaged: by its checksum, the memory in it is not what was written",
    }[damage]
    result = xm("restore", "--disks", str(file))
    assert (result.status, said in result.err) == (1, True), result.err
    assert disk.read_bytes() == before
    assert web1.known == {}


def test_memory_that_is_not_what_was_written_is_ended_before_it_runs(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path
) -> None:
    file = tmp_path / "f"
    xm("save", "web1", str(file))
    data = bytearray(file.read_bytes())
    data[data.index(MEMORY)] ^= 1
    file.write_bytes(data)
    result = xm("restore", str(file))
    assert (result.status, result.err) == (
        1,
        f"Error: {file} is damaged: by its checksum, the memory in it is not what was written; copy it anew from where it is "
        "whole\n",
    )  # fmt: skip
    assert web1.known == {}
    assert ("unpause", "web1") not in web1.calls


# -- what must not be moved


def test_one_that_must_not_be_moved_is_neither_saved_nor_restored(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path
) -> None:
    form = "(vm (name web1) (image (linux (kernel /boot/vmlinuz) (nomigrate 1))))"
    web1.records[UUID] = render_record(XenRecord(form, started=1000.0))
    assert xm("save", "web1", str(tmp_path / "f")).err == (
        "Error: cannot save non-migratable domain; its configuration says nomigrate=1\n"
    )
    text = b"(domain (name web1) (image (linux (nomigrate 1))))"
    (tmp_path / "f").write_bytes(b"LinuxGuestRecord" + len(text).to_bytes(4, "big") + text + image(web1.xml[UUID]))
    assert xm("restore", str(tmp_path / "f")).err == (
        "Error: cannot restore non-migratable domain; its configuration says nomigrate=1\n"
    )
