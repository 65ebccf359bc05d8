"""Waiting for a device node: with and without udev, and for no longer than told."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from xmcompat.storage import waiting
from xmcompat.storage.programs import StorageError
from xmcompat.storage.waiting import is_device, wait_for


def make(path: Path) -> None:
    """A block device node; nothing need answer behind it."""
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(259, 4095))


@pytest.fixture(autouse=True)
def no_udev(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(waiting, "UDEV", str(tmp_path / "no-control"))


def test_a_device_that_is_there_is_not_waited_for(tmp_path: Path) -> None:
    make(tmp_path / "dm-0")
    (tmp_path / "web1").symlink_to("dm-0")
    called: list[int] = []
    wait_for(str(tmp_path / "web1"), 5, lambda: called.append(1))
    assert called == []


def test_a_device_that_comes_later_is_found(tmp_path: Path) -> None:
    later = threading.Timer(0.3, make, (tmp_path / "sda",))
    later.start()
    begin = time.monotonic()
    wait_for(str(tmp_path / "sda"), 20)
    later.join()
    assert 0.25 < time.monotonic() - begin < 10


def test_what_brings_it_nearer_is_tried_again(tmp_path: Path) -> None:
    tried: list[int] = []

    def scan() -> None:
        tried.append(1)
        if len(tried) == 3:
            make(tmp_path / "sda")

    wait_for(str(tmp_path / "sda"), 20, scan)
    assert len(tried) == 3


def test_after_the_deadline_it_ends_with_a_sentence(tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(StorageError) as caught:
        wait_for(f"{tmp_path}/sda", 0.4, lambda: None)
    assert caught.value.line() == f"{tmp_path}/sda is not there after 0.4 seconds"
    assert 0.4 <= time.monotonic() - begin < 5


def test_a_failed_try_ends_the_wait(tmp_path: Path) -> None:
    def scan() -> None:
        raise StorageError("the target is gone")

    with pytest.raises(StorageError, match="the target is gone"):
        wait_for(f"{tmp_path}/sda", 20, scan)


@pytest.mark.parametrize("kind", ["file", "folder", "dangling", "character", "nothing"])
def test_what_is_no_block_device_is_none(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    if kind == "file":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "dangling":
        path.symlink_to("dm-0")
    elif kind == "character":
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    assert not is_device(str(path))


def test_udev_may_finish_first_where_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control, path = tmp_path / "control", tmp_path / "web1"
    control.write_bytes(b"")
    calls: list[Sequence[str]] = []

    def settles(words: Sequence[str], *, deadline: float) -> str:
        calls.append(words)
        assert deadline <= 10
        make(path)
        return ""

    monkeypatch.setattr(waiting, "UDEV", str(control))
    monkeypatch.setattr(waiting, "run", settles)
    wait_for(str(path), 8)
    (words,) = calls
    assert words[:2] == ["udevadm", "settle"]
    assert int(words[2].removeprefix("--timeout=")) <= 8
    assert words[3] == f"--exit-if-exists={path}"
