"""What a host says of the disks of a domain that is to come: what would be lost if one were written anew."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor
from xmcompat import vantage
from xmcompat.migration.facts import FileKind, SeenDisk, Wanted, WantedDisk

MIB = 1 << 20


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[str]:
    """A block device of 8 MiB on which nothing is."""
    (tmp_path / "disk").write_bytes(bytes(8 * MIB))
    made = subprocess.run(["losetup", "-f", "--show", str(tmp_path / "disk")], capture_output=True, text=True, check=True)
    device = made.stdout.strip()
    yield device
    subprocess.run(["losetup", "-d", device], check=True)


def seen(path: str, *, copy: bool) -> SeenDisk:
    disk = WantedDisk(vdev="xvda", target="vda", kind=FileKind.BLOCK, path=path, size=8 * MIB, copy=copy)
    wanted = Wanted(name="web1", uuid="a", memory=1, max_memory=1, vcpus=1, accelerator="qemu", disks=(disk,))
    (found,) = vantage.seen_disks(FakeHypervisor(), wanted)
    return found


def test_a_volume_on_which_something_is_would_be_lost(volume: str) -> None:
    assert seen(volume, copy=True).why == ""
    subprocess.run(["mke2fs", "-q", "-L", "data", volume], check=True)
    assert seen(volume, copy=True).why == 'it holds something: ext2 "data"'
    assert seen(volume, copy=False).why == ""


def test_a_volume_that_a_process_has_open_would_be_torn_from_it(volume: str) -> None:
    with open(volume, "r+b", buffering=0) as file:
        child = subprocess.Popen(["sleep", "60"], stdin=file)
    try:
        assert f"(process {child.pid}) has it open" in seen(volume, copy=True).why
        assert seen(volume, copy=False).why == ""
    finally:
        child.kill()
        child.wait()
