"""By what a disk is known on two hosts: files by their file system and inode, devices by what they carry."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from xmcompat.storage import identity
from xmcompat.storage.identity import Identity, identities
from xmcompat.storage.mounts import Mount


def test_a_file_is_known_by_its_file_system_and_its_inode(tmp_path: Path) -> None:
    file = tmp_path / "disk.img"
    file.touch()
    (found,) = identities(str(file))
    assert found == Identity("file", f"{os.statvfs(file).f_fsid:x}", file.stat().st_ino)
    os.link(file, tmp_path / "other.img")
    (tmp_path / "link.img").symlink_to(file)
    assert identities(str(tmp_path / "other.img")) == identities(str(tmp_path / "link.img")) == (found,)
    (tmp_path / "copy.img").touch()
    assert identities(str(tmp_path / "copy.img")) != (found,)


def test_one_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        identities(str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("point", "source", "place"),
    [("", "nas:/export", "nas:/export/images"), ("images", "nas:/export/images/", "nas:/export/images")],
)
def test_a_file_over_nfs_is_known_by_its_server_wherever_it_is_mounted(
    tmp_path: Path, point: str, source: str, place: str
) -> None:
    (tmp_path / "images").mkdir()
    file = tmp_path / "images" / "disk.img"
    file.touch()
    mounts = [Mount("root", "/", "ext4", "rw"), Mount(source, str(tmp_path / point), "nfs4", "rw")]
    assert identities(str(file), mounts) == (Identity("nfs", place, file.stat().st_ino),)


def test_a_file_system_of_a_cluster_is_one_on_all_its_hosts(tmp_path: Path) -> None:
    file = tmp_path / "disk.img"
    file.touch()
    (found,) = identities(str(file), [Mount("/dev/sda", str(tmp_path), "ocfs2", "rw")])
    assert found.kind == "cluster"


@pytest.fixture
def sys_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in /sys of the device that /dev/null is taken for."""
    folder = tmp_path / "dev/block/1:3"
    folder.mkdir(parents=True)
    monkeypatch.setattr(identity, "SYS", str(tmp_path))
    monkeypatch.setattr("stat.S_ISBLK", lambda mode: True)
    yield folder


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"dm/uuid": "LVM-" + "v" * 32 + "l" * 32}, [Identity("lv", "v" * 32 + "l" * 32)]),
        ({"dm/uuid": "LVM-" + "v" * 32 + "l" * 32 + "-pool"}, [Identity("lv", "v" * 32 + "l" * 32)]),
        ({"dm/uuid": "mpath-36001405abc"}, [Identity("wwid", "6001405abc")]),
        ({"device/wwid": "naa.6001405abc"}, [Identity("wwid", "6001405abc")]),
        ({"wwid": "eui.0025388b"}, [Identity("wwid", "0025388b")]),
        ({"dm/uuid": "CRYPT-LUKS2-1"}, [Identity("wwid", "dm-CRYPT-LUKS2-1")]),
        ({}, []),
    ],
)
def test_a_device_is_known_by_what_it_carries(sys_block: Path, files: dict[str, str], wanted: list[Identity]) -> None:
    for name, text in files.items():
        (sys_block / name).parent.mkdir(exist_ok=True)
        (sys_block / name).write_text(f"{text}\n")
    assert list(identities("/dev/null")) == wanted


def test_a_volume_is_known_by_the_disks_beneath_it_too(sys_block: Path, tmp_path: Path) -> None:
    """A partition, a disk with several paths, a RAID of a disk, what DRBD copies, and a disk that does not say what it is."""
    (sys_block / "dm").mkdir()
    (sys_block / "dm/uuid").write_text("LVM-" + "v" * 32 + "l" * 32 + "\n")
    devices = {
        "sda/sda3/partition": "3", "sda/device/wwid": "naa.600a", "dm-1/dm/uuid": "mpath-3600b", "md0/slaves/sdb/wwid": "naa.600c",
        "drbd0/size": "1", "vda/size": "1",
    }  # fmt: skip
    for name, text in devices.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    (sys_block / "slaves").mkdir()
    for name in ("sda/sda3", "dm-1", "md0", "drbd0", "vda"):
        (sys_block / "slaves" / Path(name).name).symlink_to(tmp_path / name)
    kinds = [(one.kind, one.place) for one in identities("/dev/null")]
    assert kinds[0] == ("lv", "v" * 32 + "l" * 32)
    assert sorted(kinds[1:]) == [("beneath", place) for place in ("600a", "600b", "600c", "drbd drbd0")]


def test_a_loop_device_is_the_file_behind_it(tmp_path: Path) -> None:
    file = tmp_path / "disk.img"
    file.write_bytes(bytes(1 << 20))
    done = subprocess.run(["losetup", "-f", "--show", str(file)], capture_output=True, text=True, check=True, timeout=20)
    try:
        assert identities(done.stdout.strip()) == identities(str(file))
    finally:
        subprocess.run(["losetup", "-d", done.stdout.strip()], check=True, timeout=20)
