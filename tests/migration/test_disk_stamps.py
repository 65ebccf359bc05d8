"""Whether a disk was written since: what the stamps of files and of block devices tell, and where they tell nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.migration.disk_stamps import moved_on, stamp


def test_a_file_that_was_written_has_another_stamp(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(4096))
    then = stamp(str(path))
    assert moved_on(then, stamp(str(path))) is False
    os.utime(path, ns=(0, os.stat(path).st_mtime_ns + 1))  # the clock of a file system may be coarse
    assert moved_on(then, stamp(str(path))) is True


def test_a_file_that_was_only_read_or_given_to_another_user_has_not(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(4096))
    then = stamp(str(path))
    path.read_bytes()
    path.chmod(0o600)
    os.chown(path, 1, 1)
    assert moved_on(then, stamp(str(path))) is False


@pytest.mark.parametrize(
    ("then", "now", "moved"),
    [
        ("file:10:1700000000123456789", "file:10:1700000000000000000", False),  # copied without fractions
        ("file:10:1700000000123456789", "file:10:1700000000123456788", True),
        ("file:10:1700000000123456789", "file:11:1700000000123456789", True),
        ("file:10:1700000000000000000", "file:10:1700000001000000000", True),
        ("file:10:1", "block:boot:7:100", True),                                # something else is there
        ("block:boot:7:100", "block:boot:7:100", False),
        ("block:boot:7:100", "block:boot:7:108", True),
        ("block:boot:7:100", "block:boot:8:0", None),                           # it went, and came again
        ("block:boot:7:100", "block:other:7:100", None),                        # the host was started anew
        ("", "file:10:1", None),
        ("file:10:1", "", None),
    ],
)  # fmt: skip
def test_what_two_stamps_tell(then: str, now: str, moved: bool | None) -> None:
    assert moved_on(then, now) is moved


@given(st.text(), st.text())
def test_any_two_texts_have_an_answer(then: str, now: str) -> None:
    assert moved_on(then, now) in (True, False, None)
    assert moved_on(f"file:{then}", f"file:{now}") in (True, False, None)


def test_what_is_no_disk_has_no_stamp(tmp_path: Path) -> None:
    assert stamp(str(tmp_path)) == stamp(str(tmp_path / "none")) == stamp("/dev/null") == ""


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """A disk (8:0) with one partition (8:1), as the kernel shows them."""
    disk = tmp_path / "devices/sda"
    (disk / "sda1").mkdir(parents=True)
    (disk / "diskseq").write_text("7\n")
    (disk / "stat").write_text("1 0 8 0 2 0 100 0 0 0 0 3 0 40 0 0 0\n")
    (disk / "sda1/stat").write_text("1 0 8 0 2 0 60 0 0 0 0\n")
    (disk / "sda1/partition").write_text("1\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/8:0").symlink_to(disk)
    (tmp_path / "dev/8:1").symlink_to(disk / "sda1")
    (tmp_path / "boot_id").write_text("abc\n")
    return tmp_path


@pytest.mark.parametrize(("minor", "expected"), [(0, "block:abc:7:100+40"), (1, "block:abc:7:60")])
def test_of_a_device_counts_what_was_written_and_discarded(sysfs: Path, minor: int, expected: str) -> None:
    node = sysfs / "node"
    os.mknod(node, 0o600 | stat.S_IFBLK, os.makedev(8, minor))
    assert stamp(str(node), devices=f"{sysfs}/dev", boot_id=f"{sysfs}/boot_id") == expected
