"""Guests whose disk is made of LVs: they come up before it, and go down after it, whoever joins them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab.uml import in_uml
from xmcompat.tour.guest import build_guest

pytestmark = pytest.mark.timeout(300)

MIB = 1 << 20
UUID = "11111111-2222-4333-8444-555555555555"
SERVED = "<source protocol='nbd'"
JOINED = {
    "sources": [f"<source dev='/dev/mapper/xmc-{UUID}-xvda'"], "active": ["swap", "root"], "joined": [f"xmc-{UUID}-xvda"],
    "held": ["lvm", "lvm", "mapped"],
}  # fmt: skip
NOTHING = {"guests": [], "sources": [], "active": [], "joined": [], "held": []}


#: The first program of the Linux guest, in place of init: what it sees and what it writes, and off it goes.
PROVE = """\
#!/bin/sh
mount -o remount,rw /
swapon /dev/vda1
{ cat /proc/partitions /proc/swaps /proc/cmdline; echo written; } >/found
swapoff /dev/vda1
mount -o remount,ro /
poweroff -f
"""


def linux(directory: Path) -> Path:
    """The folder with a guest's kernel, RAM disk, swap and root, whose program is PROVE."""
    files = build_guest(directory / "linux1", name="linux1", root_mib=12, swap_mib=4)
    (directory / "prove").write_text(PROVE)
    commands = f"write {directory}/prove /prove\nsif /prove mode 0100755\n"
    done = subprocess.run(["debugfs", "-w", "-f", "-", files.root_image], input=commands, text=True, capture_output=True, check=True)
    assert "Allocated inode" in done.stdout
    return files.kernel.parent


@pytest.fixture(scope="module")
def found(lab_directory: Path) -> dict[str, Any]:
    disk = lab_directory / "partitions-pv.img"
    disk.touch()
    os.truncate(disk, 128 * MIB)
    files = linux(lab_directory)
    done = in_uml(
        lab_directory / "partitions", [sys.executable, "-m", "tests.storage.partitions_inside", str(files)],
        modules=("loop", "dm-mod"), disks=[disk], writable=[files], timeout=280, memory="768M",
    )  # fmt: skip
    assert done.status == 0, done.stdout + done.stderr
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


def test_the_volumes_are_activated_and_joined_by_the_kernel(found: dict[str, Any]) -> None:
    assert found["before"] == []
    assert found["created"] == {**JOINED, "guests": ["linux1"]}


def test_a_linux_guest_boots_from_two_volumes_and_what_it_wrote_is_there(found: dict[str, Any]) -> None:
    seen = found["wrote"].splitlines()
    sizes = [line.split()[2:] for line in seen if " vda" in line]
    assert sizes[1:] == [["4096", "vda1"], ["12288", "vda3"]] and sizes[0][1] == "vda"
    assert any(line.startswith("/dev/vda1 ") and " partition" in line for line in seen)
    assert any(line.startswith("root=/dev/vda3 ro ") for line in seen)
    assert "written" in seen
    assert re.fullmatch(r"root: .* files .*, .* blocks", seen[-1])  # e2fsck has nothing to say


def test_a_volume_of_it_is_no_other_guests(found: dict[str, Any]) -> None:
    assert found["other"].startswith("Device 51712 (vbd) could not be connected.")
    assert "/dev/vg0/root is mounted in a guest domain" in found["other"]


def test_what_nobody_saw_ending_is_swept(found: dict[str, Any]) -> None:
    assert found["ended"] == {**JOINED, "guests": [], "sources": []}
    assert found["swept"] == NOTHING


def test_a_known_guest_has_them_while_it_is_there(found: dict[str, Any]) -> None:
    assert found["known"] == [NOTHING, [SERVED]]
    assert found["started"] == {**JOINED, "guests": ["web1"]}
    assert found["saved"] == NOTHING


def test_a_saved_guest_goes_on_where_the_kernel_cannot_join_them(found: dict[str, Any]) -> None:
    assert found["restored"] == {
        "guests": ["web1"], "sources": [SERVED], "active": ["swap", "root"], "joined": [], "held": ["lvm", "lvm", "served"]
    }  # fmt: skip


def test_all_of_it_goes_with_the_guest(found: dict[str, Any]) -> None:
    assert found["destroyed"] == NOTHING
