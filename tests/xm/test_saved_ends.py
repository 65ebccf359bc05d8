"""What is left where a save or a restore is ended between any two of its steps: no guest started afresh beside its memory,
and no copy of a disk, no file and no guest lost."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.fakes_saving import MEMORY, FakeSaveJob, image, xml_of
from tests.xm.conftest import Xm
from tests.xm.test_saved_guests import UUID, WEB1, config, web1
from xmcompat import moving, saved_disks, saved_guests
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.image_feed import Along
from xmcompat.errors import ConnectionLost, HypervisorError, OperationError
from xmcompat.migration import image_head, save_file
from xmcompat.pending_save import PendingSave
from xmcompat.saved_disks import SavedDisk, SavedDisks
from xmcompat.toolstack import Toolstack
from xmcompat.xm.signals import Ended, raised

__all__ = ["config", "web1"]  # fixtures


class Killed(BaseException):
    """Nothing that follows is done, as after SIGKILL."""


def kill(*_: object, **__: object) -> None:
    raise Killed


def killed_save(web1: FakeHypervisor, path: Path, monkeypatch: pytest.MonkeyPatch, place: object, name: str) -> None:
    """A save whose process ends where the function NAME of PLACE is called."""
    with monkeypatch.context() as patched:
        patched.setattr(place, name, kill)
        pending = Toolstack(lambda: web1).saving.begin("web1", str(path))
        pending.ended(0.0)
        with pytest.raises(Killed):
            pending.finish()
        pending._moving.close()  # the lock goes with the process


# -- a guest that is off


@pytest.mark.parametrize(
    ("place", "name"),
    [(save_file, "complete"), (save_file, "publish"), (saved_guests, "settle"), (PendingSave, "_sweep")],
    ids=["before its header", "before its name", "after its name", "at the end"],
)
def test_wherever_a_save_is_killed_the_guest_is_not_created_beside_its_memory(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, place: object, name: str
) -> None:
    file = tmp_path / "web1.save"
    killed_save(web1, file, monkeypatch, place, name)
    (there,) = tmp_path.glob("web1.save*")
    assert f"Domain 'web1' is saved in {there}" in xm("create", "-q", str(config)).err
    assert xm("restore", str(there)) == (0, "", "")
    assert xm("destroy", "web1").status == 0
    assert xm("create", "-q", str(config)).status == 0


@pytest.mark.parametrize("late", [False, True])
def test_a_guest_is_not_restored_while_its_save_goes_on(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """Its memory is written to the disk, which takes a while: it is off by then. What the save does at its end, it would do
    to a guest that runs."""
    place, name = (PendingSave, "_sweep") if late else (save_file, "complete")
    act, said = getattr(place, name), list[str]()

    def first(*words: object, **more: object) -> None:
        (there,) = tmp_path.glob("f*")
        said.append(xm("restore", str(there)).err)
        assert web1.known == {}
        act(*words, **more)

    monkeypatch.setattr(place, name, first)
    Toolstack(lambda: web1).saving.save("web1", str(tmp_path / "f"))
    assert said == ["Error: 'web1' is being saved, or moved; try again when that is over\n"]
    assert xm("restore", str(tmp_path / "f")) == (0, "", "")


def test_a_save_that_cannot_begin_takes_no_note_away_of_one_that_goes_on_in_libvirt(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its xm was killed; who tries again is refused by libvirt, and then the first comes to its end."""
    first = tmp_path / "web1.save.abcdefgh.unfinished"
    first.write_bytes(image(xml_of(WEB1), whole=False))
    saved_guests.note(web1.uri, WEB1, str(first))
    web1.save_errors["web1"] = HypervisorError("cannot acquire state change lock")
    assert xm("save", "web1", str(tmp_path / "web1.save")).status == 1
    first.write_bytes(image(xml_of(WEB1)))
    web1.known.clear()
    assert f"is saved in {first}" in xm("create", "-q", str(config)).err


def test_a_signal_that_comes_when_the_file_gets_its_name_does_not_keep_it_from_being_saved(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = save_file.publish

    def signalled(made: str, path: str) -> None:
        publish(made, path)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(save_file, "publish", signalled)
    file = tmp_path / "web1.save"
    with pytest.raises(Ended), raised():
        Toolstack(lambda: web1).saving.save("web1", str(file))
    assert save_file.is_save_file(str(file))
    assert f"is saved in {file}" in xm("create", "-q", str(config)).err
    assert not moving.is_moving(web1.uri, UUID)


def test_an_image_whose_header_was_not_written_is_found_behind_the_room_for_it(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path
) -> None:
    for text in (b"", b"(domain (name web1))"):
        file = tmp_path / "web1.save.abcdefgh.unfinished"
        file.write_bytes((bytes(20) + text).ljust(4096, b"\0") + image(xml_of(WEB1)))
        assert save_file.read(str(file)).spans[0][0] == 4096
        assert save_file.lacks_header(str(file))
        web1.known.clear()
        assert xm("restore", str(file)) == (0, "", "")
    (tmp_path / "zeros").write_bytes(bytes(8192))
    assert not save_file.lacks_header(str(tmp_path / "zeros"))
    assert "not a valid guest state file: found" in xm("restore", str(tmp_path / "zeros")).err


@pytest.mark.parametrize("room", [0, 1 << 16])
def test_a_header_is_begun_by_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """So that half of one is never taken for a whole one; with room for it, libvirt's own is kept first: where the
    image ends is known before anything stands behind it."""
    path, places = tmp_path / "f", list[int]()
    path.write_bytes(image(xml_of(WEB1), room=room))
    size = path.stat().st_size
    length = image(xml_of(WEB1), room=room).index(MEMORY)
    write = image_head.write_all

    def noted(handle: int, data: bytes, place: int = 0) -> None:
        places.append(place)
        write(handle, data, place)

    for module in (save_file, image_head):
        monkeypatch.setattr(module, "write_all", noted)
    config = f"(domain (name web1) (notes {'x' * 5000}))"
    save_file.complete(str(path), config)
    if room:
        assert places == [size + length, size, 16, 0]
    else:
        assert places in ([16, 0], [0])  # [0]: into a copy, which gets its name when it is whole
    assert save_file.read(str(path)).config == config


def test_the_file_is_on_the_disk_before_it_has_its_name(
    web1: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, fsync, replace = list[str](), os.fsync, os.replace

    def synced(handle: int) -> None:
        steps.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    def replaced(made: str, path: str) -> None:
        if path == str(tmp_path / "web1.save"):
            steps.append("named")
        replace(made, path)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    Toolstack(lambda: web1).saving.save("web1", str(tmp_path / "web1.save"))
    assert [step.endswith(".unfinished") for step in steps] == [True] * 3 + [False]  # libvirt's header is kept, then ours comes
    assert steps[3] == "named"


def test_a_disk_that_does_not_take_it_leaves_the_guest_running(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    result = xm("save", "web1", str(tmp_path / "f"))
    assert result.err == f"Error: can't write guest state file {tmp_path}/f: Input/output error\n"
    assert web1.find("web1").state == DomainState.RUNNING
    assert sorted(os.listdir(tmp_path)) == ["disk.img"]


@pytest.mark.parametrize("room", [0, 1 << 16])
@pytest.mark.parametrize("ending", [OSError(5, "Input/output error"), Ended(signal.SIGINT)], ids=["error", "Ctrl-C"])
def test_a_guest_whose_save_came_to_its_end_without_libvirtd_is_not_lost_where_its_file_gets_no_name(
    web1: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: BaseException, room: int
) -> None:
    """The connection was lost, and what tells that its memory is in the file is not libvirt's header any more."""

    def lost(job: FakeSaveJob) -> None:
        raise ConnectionLost("gone")

    def fail(made: str, path: str) -> None:
        raise ending

    monkeypatch.setattr(FakeSaveJob, "result", lost)
    monkeypatch.setattr("tests.fakes_saving.image", partial(image, room=room))
    monkeypatch.setattr(save_file, "publish", fail)
    with pytest.raises((OperationError, Ended)):
        Toolstack(lambda: web1).saving.save("web1", str(tmp_path / "f"))
    assert web1.find("web1").state == DomainState.RUNNING
    assert sorted(os.listdir(tmp_path)) == ["disk.img"]


@pytest.mark.parametrize("name", ["disk.img", "link"])
def test_a_guest_is_not_saved_over_its_own_disk(web1: FakeHypervisor, xm: Xm, tmp_path: Path, name: str) -> None:
    (tmp_path / "link").hardlink_to(tmp_path / "disk.img")
    result = xm("save", "web1", str(tmp_path / name))
    assert (result.status, result.err) == (
        1, f"Error: can't write guest state file {tmp_path}/{name}: it is a disk of 'web1'; name another file\n"
    )  # fmt: skip
    assert (tmp_path / "disk.img").read_bytes().startswith(b"as it was")
    assert web1.known == {UUID: WEB1}


def test_a_guest_is_not_saved_over_another_that_is_saved(web1: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    """Over its own earlier memory it is: it has run since."""
    other = domain("other", 8, uuid="99999999-2222-4333-8444-555555555555")
    web1.known[other.uuid] = other
    file = tmp_path / "f"
    assert xm("save", "web1", str(file)).status == 0
    result = xm("save", "other", str(file))
    assert (result.status, result.err) == (
        1,
        f"Error: can't write guest state file {file}: it has the memory of 'web1', which is saved; name another file\n",
    )  # fmt: skip
    assert xm("restore", str(file)).status == 0
    assert xm("save", "other", str(file)).status == 0
    file.unlink()
    assert xm("save", "web1", str(file)).status == 0
    assert f"<uuid>{UUID}</uuid>" in save_file.read(str(file)).xml


# -- a restore


def test_ctrl_c_that_is_noticed_when_the_guest_is_there_leaves_none(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    xm("save", "web1", str(tmp_path / "f"))
    restore = FakeHypervisor.restore

    def late(
        self: FakeHypervisor, uuid: str, path: str, spans: Sequence[tuple[int, int]], xml: str = "", along: Along | None = None
    ) -> DomainInfo:
        restore(self, uuid, path, spans, xml, along)
        raise Ended(signal.SIGINT)

    monkeypatch.setattr(FakeHypervisor, "restore", late)
    with pytest.raises(Ended):
        Toolstack(lambda: web1).saving.restore(str(tmp_path / "f"))
    assert web1.known == {}
    assert save_file.is_save_file(str(tmp_path / "f"))


def test_a_guest_is_restored_by_one_at_a_time(web1: FakeHypervisor, xm: Xm, tmp_path: Path) -> None:
    """A second that puts its disks back would write what the first's guest has begun to use."""
    xm("save", "web1", str(tmp_path / "f"))
    with moving.restored(web1.uri, UUID, "web1"):
        assert xm("restore", str(tmp_path / "f")).err == "Error: 'web1' is being restored already; see xm list\n"
    assert xm("restore", str(tmp_path / "f")).status == 0


def test_disks_that_have_no_copy_must_not_have_moved_on_either(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside those that are put back."""
    seen = saved_disks.seen
    monkeypatch.setattr(saved_disks, "seen", lambda *words: (*seen(*words), SavedDisk("xvdb", "")))
    file = tmp_path / "f"
    xm("save", "-c", "web1", str(file))
    web1.known.clear()
    refused = xm("restore", "--disks", str(file))
    assert (refused.status, "have been written since" in refused.err, ": xvdb;" in refused.err) == (1, True, True)
    assert web1.known == {}


def test_an_image_of_libvirts_own_is_refused_where_a_disk_was_written_later(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path
) -> None:
    """It says nothing of disks, and may have been restored before."""
    file, disk = tmp_path / "virsh.save", tmp_path / "disk.img"
    file.write_bytes(image(web1.xml[UUID]))
    web1.known.clear()
    whole = os.stat(file).st_mtime_ns
    os.utime(disk, ns=(0, whole + 1))
    refused = xm("restore", str(file))
    assert (refused.status, f"have been written since {file} was saved: vda ({disk})" in refused.err) == (1, True)
    assert web1.known == {}
    os.utime(disk, ns=(0, whole))
    assert xm("restore", str(file)) == (0, "", "")
    assert xm("destroy", "web1").status == 0
    os.utime(disk, ns=(0, whole + 1))
    assert xm("restore", "--force", str(file)) == (0, "", "")


@pytest.mark.parametrize("end", ["memory", "disk"])
def test_a_file_that_cannot_be_read_to_its_end_is_told(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    file = tmp_path / "f"
    xm("save", "-c", "web1", str(file))
    web1.known.clear()

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    if end == "memory":
        monkeypatch.setattr("xmcompat.saving.of_file", fail)
        assert xm("restore", "--disks", str(file)).err == f"Error: can't read guest state file {file}: Input/output error\n"
        return
    monkeypatch.setattr(saved_disks, "_refuse_led_away", lambda copy: None)
    monkeypatch.setattr(saved_disks, "_writing", fail)
    assert f"the disk vda ({tmp_path}/disk.img) is not put back: Input/output error" in xm("restore", "--disks", str(file)).err


@pytest.mark.parametrize("way", ["backing", "data file", "no image"])
def test_a_copy_that_leads_to_a_file_of_the_host_is_not_put_back(tmp_path: Path, way: str) -> None:
    """The guest's own QEMU has written it."""
    from xmcompat.backends.devices import Bus, Disk, FileSource

    secret, disk, folder = tmp_path / "secret", tmp_path / "disk.img", tmp_path / "f.disks-12345678"
    secret.write_bytes(b"the host's own" + bytes(65536 - 14))
    disk.write_bytes(before := bytes(65536))
    folder.mkdir()
    make = ["qemu-img", "create", "-q", "-f", "qcow2"]
    make += ["-b", str(secret), "-F", "raw"] if way == "backing" else ["-o", f"data_file={secret},data_file_raw=on"]
    subprocess.run([*make, str(folder / "a.qcow2"), "64k"], check=True, timeout=20)
    if way == "data file":
        secret.write_bytes(b"the host's own" + bytes(65536 - 14))
    if way == "no image":
        (folder / "a.qcow2").write_bytes(b"text")
    saved = SavedDisks((SavedDisk("vda", str(disk), "", "a.qcow2"),), folder.name, True)
    target = Disk(source=FileSource(path=str(disk)), target="vda", bus=Bus.VIRTIO, driver="raw")
    with pytest.raises(OperationError, match="the disks cannot be put back: "):
        saved_disks.put_back(saved, str(tmp_path / "f"), [target])
    assert disk.read_bytes() == before


def test_no_disk_is_written_where_another_is_not_there(tmp_path: Path) -> None:
    from xmcompat.backends.devices import Bus, Disk, FileSource

    disk, folder = tmp_path / "disk.img", tmp_path / "f.disks-12345678"
    disk.write_bytes(before := b"later" + bytes(65531))
    folder.mkdir()
    for name in ("a", "b"):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(folder / f"{name}.qcow2"), "64k"], check=True, timeout=20)
    both = tuple(SavedDisk(vdev, "", "", f"{name}.qcow2") for vdev, name in (("vda", "a"), ("vdb", "b")))
    target = Disk(source=FileSource(path=str(disk)), target="vda", bus=Bus.VIRTIO, driver="raw")
    with pytest.raises(OperationError, match="vdb cannot be put back: the guest has no such disk"):
        saved_disks.put_back(SavedDisks(both, folder.name, True), str(tmp_path / "f"), [target])
    assert disk.read_bytes() == before
    saved_disks.put_back(SavedDisks(both[:1], folder.name, True), str(tmp_path / "f"), [target])
    assert disk.read_bytes() == bytes(65536)


def test_a_disk_that_another_process_fills_is_not_put_back_and_nobody_fills_it_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xmcompat.backends.devices import BlockSource, Bus, Disk
    from xmcompat.storage import device_locks, image_programs

    volume, folder = tmp_path / "volume", tmp_path / "f.disks-12345678"
    volume.touch()
    folder.mkdir()
    (folder / "a").touch()
    monkeypatch.setattr(stat, "S_ISBLK", stat.S_ISREG)  # stands in for a device
    monkeypatch.setattr(device_locks, "PATIENCE", 0.1)
    monkeypatch.setattr(saved_disks, "_refuse_led_away", lambda copy: None)
    written: list[str] = []
    monkeypatch.setattr(image_programs, "run", lambda *_, **__: written.append(device_locks.filled_by(str(volume))))
    saved = SavedDisks((SavedDisk("vda", "", "", "a"),), folder.name, True)
    target = Disk(source=BlockSource(path=str(volume)), target="vda", bus=Bus.VIRTIO, driver="raw")
    with device_locks.taken(str(volume)), pytest.raises(OperationError, match=f"{volume} is being filled, or changed, by "):
        saved_disks.put_back(saved, str(tmp_path / "f"), [target])
    assert written == []
    saved_disks.put_back(saved, str(tmp_path / "f"), [target])
    assert written == ["another process"]
    assert device_locks.filled_by(str(volume)) == ""


# -- given up


@pytest.mark.parametrize("known", [False, True], ids=["create", "start"])
def test_memory_is_given_up_only_when_the_new_guest_is_there_with_all_it_needs(
    web1: FakeHypervisor, xm: Xm, tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    web1.known[UUID] = WEB1._replace(persistent=known)
    file = tmp_path / "web1.save"
    xm("save", "web1", str(file))
    words = ("start", "--discard-saved", "web1") if known else ("create", "-q", "--discard-saved", str(config))
    with monkeypatch.context() as patched:
        patched.setattr("xmcompat.pools.Pools.settle", lambda *_: (_ for _ in ()).throw(HypervisorError("no such cpu")))
        assert xm(*words).status == 1
    assert save_file.is_save_file(str(file))
    if known:
        web1.known[UUID] = WEB1._replace(persistent=True, domid=None, state=DomainState.SHUTOFF)
    assert xm(*words).status == 0
    assert not file.exists()
