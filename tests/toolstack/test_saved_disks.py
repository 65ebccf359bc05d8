"""What the file of a saved guest says of its disks: written, read back, and where volumes lie in the copy of their disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat import saved_disks
from xmcompat.backends.devices import BlockSource, Bus, Disk, FileSource
from xmcompat.errors import OperationError
from xmcompat.saved_disks import SavedDisk, SavedDisks, moved_on, read, written

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1).filter(lambda text: text not in (".", ".."))
DISKS = st.builds(
    SavedDisk, st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8")),
    st.text(st.characters(codec="utf-8")), st.just("") | TEXTS, st.just("") | st.just("1048576+512"),
)  # fmt: skip


@given(st.builds(
    SavedDisks, st.lists(DISKS).map(tuple), st.just("") | TEXTS, st.booleans(), st.none() | st.booleans(),
))  # fmt: skip
def test_what_is_written_is_read_back(saved: SavedDisks) -> None:
    assert read(written(saved)) == saved


@given(st.text())
def test_any_text_is_read_without_a_fault_and_leads_nowhere_else(text: str) -> None:
    for forms in (text, f"(folder {text}) (disk (copy {text}) (place {text}))"):
        found = read(forms)
        for name in (found.folder, *(disk.copy for disk in found.disks)):
            assert "/" not in name
            assert name not in (".", "..")


def test_of_a_checkpoint_an_unknown_disk_has_moved_on_and_of_a_save_it_has_not() -> None:
    disks = (SavedDisk("xvda", "/dev/none", "block:boot:1:1"), SavedDisk("xvdb", ""))
    assert moved_on(SavedDisks(disks)) == []
    assert moved_on(SavedDisks(disks, checkpoint=True)) == list(disks)


def test_a_folder_can_be_passed_through_and_not_read_and_only_such_folders_are_removed(tmp_path: Path) -> None:
    folder, files = saved_disks.new_folder(str(tmp_path / "web1.save"), ["xvda", "c0d0/p1"])
    assert os.stat(folder).st_mode & 0o777 == 0o711
    assert [os.path.basename(file) for file in files] == ["xvda.qcow2", "c0d0-p1.qcow2"]
    for file in files:
        Path(file).write_bytes(b"")
    saved_disks.remove_folder(folder)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    saved_disks.remove_folder(str(tmp_path / "mine"))
    saved_disks.remove_folder("")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_volume_is_written_from_its_place_in_the_copy(tmp_path: Path) -> None:
    """Commas would end a value of QEMU's options."""
    volume = Disk(source=FileSource(path=f"{tmp_path}/a,b"), target="vda2", bus=Bus.VIRTIO)
    Path(f"{tmp_path}/a,b").write_bytes(b"")
    words = saved_disks._writing("/x,y/vda.qcow2", SavedDisk("xvda2", "/p", "", "vda.qcow2", "1048576+4096"), volume)
    assert words[-2:] == [
        "driver=raw,offset=1048576,size=4096,file.driver=qcow2,file.file.driver=file,file.file.filename=/x,,y/vda.qcow2",
        f"driver=raw,file.driver=file,file.filename={tmp_path}/a,,b,file.locking=off",
    ]
    whole = Disk(source=BlockSource(path="/dev/vg0/web1"), target="vda", bus=Bus.VIRTIO, driver="raw")
    assert saved_disks._writing("/x/vda.qcow2", SavedDisk("xvda", "/p", "", "vda.qcow2"), whole) == [
        "qemu-img", "convert", "-n", "-t", "writeback", "-f", "qcow2", "-O", "raw", "/x/vda.qcow2", "/dev/vg0/web1",
    ]  # fmt: skip


def test_a_copy_for_which_the_guest_has_no_disk_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "f.disks-12345678"
    folder.mkdir()
    (folder / "a.qcow2").write_bytes(b"")
    saved = SavedDisks((SavedDisk("xvda", "/p", "", "a.qcow2"),), folder.name, True)
    with pytest.raises(OperationError, match="the disk xvda cannot be put back: the guest has no such disk"):
        saved_disks.put_back(saved, str(tmp_path / "f"), [])
