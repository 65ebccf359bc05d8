"""Disks of several volumes that the kernel joins: the table, and what device-mapper makes of it on a kernel that has it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab.uml import in_uml
from xmcompat.storage import loops, mapped
from xmcompat.storage.partitions import Volume, layout
from xmcompat.storage.programs import StorageError

pytestmark = pytest.mark.timeout(300)

MIB = 1 << 20


def rows(*volumes: Volume) -> list[list[str]]:
    numbers = {volume.number: f"252:{volume.number}" for volume in volumes}
    return [row.split() for row in mapped.table(layout(volumes, "web1"), numbers, "7:3")]


def test_the_tables_and_the_volumes_lie_where_the_layout_says() -> None:
    assert rows(Volume(1, 4 * MIB), Volume(3, MIB + 700)) == [
        ["0", "1", "linear", "7:3", "0"],
        ["1", "2047", "zero"],
        ["2048", "8192", "linear", "252:1", "0"],
        ["10240", "2048", "zero"],
        ["12288", "2049", "linear", "252:3", "0"],
        ["14337", "2047", "zero"],
    ]


@pytest.mark.parametrize("numbers", [(1, 2), (1, 3), (1, 5, 6), (5, 6, 7), (1, 2, 3, 6), (1, 2, 3, 4, 128)])
def test_every_sector_is_in_the_table_once(numbers: tuple[int, ...]) -> None:
    volumes = [Volume(number, number * MIB + 512) for number in numbers]
    found = rows(*volumes)
    at = 0
    for start, length, *_ in found:
        assert int(start) == at
        at += int(length)
    made = layout(volumes, "web1")
    assert at == made.size // 512
    tables = [row for row in found if row[3:4] == ["7:3"]]
    assert sum(int(row[1]) for row in tables) * 512 == sum(len(content) for _, content in made.tables)
    assert [int(row[0]) * 512 for row in tables] == sorted(offset for offset, _ in made.tables)


@pytest.fixture(scope="module")
def found(lab_directory: Path) -> dict[str, Any]:
    disk = lab_directory / "pv.img"
    disk.touch()
    os.truncate(disk, 128 * MIB)
    done = in_uml(
        lab_directory / "mapped", [sys.executable, "-m", "tests.storage.mapped_inside"], modules=("loop", "dm-mod"), disks=[disk],
        timeout=200,
    )  # fmt: skip
    assert done.status == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize(
    ("which", "numbers"), [("gap", ["1", "3"]), ("logical", ["1", "4", "5", "6"]), ("gpt", ["1", "2", "3", "6"])]
)
def test_partitions_have_their_numbers_and_are_the_volumes(found: dict[str, Any], which: str, numbers: list[str]) -> None:
    made = found[which]
    assert sorted(made["places"]) == numbers
    assert all(start % MIB == 0 for number, (start, _) in made["places"].items() if number != "4")
    assert made["same"] == {number: True for number in numbers if number != "4"}


@pytest.mark.parametrize("which", ["gap", "logical", "gpt"])
def test_writes_reach_the_volume_and_nothing_is_left(found: dict[str, Any], which: str) -> None:
    made = found[which]
    assert made["written"]
    assert made["loops"] == 1
    devices, loop_devices, files = made["left"]
    assert "xmc-" not in devices
    assert loop_devices == ""
    assert files == ["storage"]


def test_one_that_is_open_stays_and_says_so(found: dict[str, Any]) -> None:
    for which in ("gap", "logical", "gpt"):
        assert found[which]["busy"].endswith("is in use; see 'xm list web1', 'lsblk' and 'mount'")
        assert found[which]["again"].startswith("/dev/mapper/xmc-")


def test_volumes_that_are_only_read_cannot_be_written_to(found: dict[str, Any]) -> None:
    assert found["readonly"] == "Operation not permitted"


def test_whoever_is_killed_leaves_nothing_that_a_sweep_does_not_find(found: dict[str, Any]) -> None:
    *breaches, last = found["killed"]
    assert breaches == []
    assert int(last.removeprefix("whole at ")) > 4


def test_who_has_a_volume_is_known_while_the_disk_is_there(found: dict[str, Any]) -> None:
    during, then = found["holders"]
    assert during == [["web1", "/dev/vg0/part1", False, False], ["web1", "/dev/vg0/part2", False, False]]
    assert then == []


def test_files_and_mixed_modes_are_left_to_the_server(found: dict[str, Any], tmp_path: Path) -> None:
    assert found["possible"] is True
    assert found["fits"] == [True, False]
    parts = [mapped.Part(1, "/dev/loop0", True), mapped.Part(2, "/dev/loop0", False)]
    assert not mapped.fits(parts)
    assert mapped.fits(parts[:1])
    assert not mapped.fits([mapped.Part(1, str(tmp_path / "gone"))])


def test_a_kernel_without_loop_devices_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loops, "_CONTROL", str(tmp_path / "loop-control"))
    with open(tmp_path / "file", "w+b") as file, pytest.raises(StorageError) as caught:
        loops.attach(file.fileno(), "x")
    assert caught.value.line() == "no loop device can be made: No such file or directory; load the module loop"
    assert not loops.possible()
