"""The table of partitions that makes one disk of several volumes."""

from __future__ import annotations

import json
import subprocess
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xmcompat.errors import DeviceError
from xmcompat.storage.partitions import ALIGNMENT, SECTOR, Layout, Volume, layout

MIB = 1 << 20


def read_by_sfdisk(made: Layout) -> dict[str, object]:
    with TemporaryDirectory() as folder:
        disk = Path(folder, "disk")
        with disk.open("wb") as file:
            for offset, content in made.tables:
                file.seek(offset)
                file.write(content)
            file.truncate(made.size)
        done = subprocess.run(["sfdisk", "--json", str(disk)], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)["partitiontable"] | {"said": done.stderr}


def places(table: dict[str, object]) -> dict[int, tuple[int, int, str]]:
    """(start, sectors, type) by number, the extended partition left out."""
    found = {}
    for row in table["partitions"]:  # type: ignore[attr-defined]
        if row["type"] != "5":
            found[int(row["node"].rpartition("disk")[2])] = (row["start"], row["size"], row["type"])
    return found


NUMBERS = st.lists(st.integers(1, 15), min_size=1, max_size=15, unique=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(NUMBERS, st.data())
def test_sfdisk_reads_what_was_meant(numbers: list[int], data: st.DataObject) -> None:
    volumes = [
        Volume(number, data.draw(st.integers(SECTOR, 64 * MIB)), swap=data.draw(st.booleans())) for number in numbers
    ]
    made = layout(volumes, "web1")
    table = read_by_sfdisk(made)
    found = places(table)
    assert table["said"] == ""
    assert sorted(found) == sorted(numbers)
    for slot in made.slots:
        assert found[slot.number][:2] == (slot.start // SECTOR, slot.length // SECTOR)
    if made.label == "mbr":
        assert {number: kind for number, (_, _, kind) in found.items()} == {
            volume.number: "82" if volume.swap else "83" for volume in volumes
        }


@given(st.lists(st.tuples(st.integers(1, 128), st.integers(SECTOR, 1 << 44)), min_size=1, unique_by=lambda one: one[0]))
def test_volumes_and_tables_never_overlap(given_volumes: list[tuple[int, int]]) -> None:
    made = layout([Volume(number, size) for number, size in given_volumes], "web1")
    sizes = dict(given_volumes)
    stretches = [(slot.start, slot.start + slot.length) for slot in made.slots]
    stretches += [(offset, offset + len(content)) for offset, content in made.tables]
    for (_, end), (start, _) in pairwise(sorted(stretches)):
        assert end <= start
    assert max(end for _, end in stretches) <= made.size
    for slot in made.slots:
        assert slot.start % (ALIGNMENT * SECTOR) == 0
        assert slot.length == sizes[slot.number] // SECTOR * SECTOR


@pytest.mark.parametrize(
    ("numbers", "label"),
    [([1], "mbr"), ([2, 3], "mbr"), ([1, 5], "mbr"), ([1, 2, 3, 5, 6, 7], "mbr"), ([1, 2, 3, 4, 5], "gpt"),
     ([1, 6], "gpt"), ([5, 7], "gpt"), ([15], "gpt")],
)  # fmt: skip
def test_an_mbr_as_far_as_it_goes(numbers: list[int], label: str) -> None:
    assert layout([Volume(number, MIB) for number in numbers], "web1").label == label


def test_a_gpt_beyond_two_tebibytes() -> None:
    assert layout([Volume(1, 3 << 40)], "web1").label == "gpt"


def test_partuuids_stay() -> None:
    one, same, other = (layout([Volume(1, MIB), Volume(2, MIB)], who) for who in ("a", "a", "b"))
    assert one == same
    assert read_by_sfdisk(one)["id"] != read_by_sfdisk(other)["id"]


def test_a_volume_keeps_its_place_when_the_one_behind_it_grows() -> None:
    before = layout([Volume(1, 8 * MIB), Volume(2, 8 * MIB)], "web1")
    after = layout([Volume(1, 8 * MIB), Volume(2, 16 * MIB)], "web1")
    assert [slot.start for slot in before.slots] == [slot.start for slot in after.slots]


def test_a_gpt_is_whole_for_sgdisk(tmp_path: Path) -> None:
    made = layout([Volume(1, MIB), Volume(7, 5 * MIB + 700, swap=True)], "web1")
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        for offset, content in made.tables:
            file.seek(offset)
            file.write(content)
        file.truncate(made.size)
    done = subprocess.run(["sgdisk", "-v", str(disk)], capture_output=True, text=True, check=True)
    assert "No problems found" in done.stdout


@pytest.mark.parametrize(
    ("volumes", "said"),
    [([Volume(1, 511)], "511 bytes"), ([Volume(0, MIB)], "0 is no number"), ([Volume(129, MIB)], "129 is no number"),
     ([Volume(2, MIB), Volume(2, MIB)], "partition 2 is given twice"), ([], "no volume")],
)  # fmt: skip
def test_what_is_no_disk_is_refused(volumes: list[Volume], said: str) -> None:
    with pytest.raises(DeviceError, match=said):
        layout(volumes, "web1")
