"""Partition tables: written, read again, and as another program reads them; joined and taken apart byte for byte."""

from __future__ import annotations

import os
import random
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xmcompat.storage.image_join import join, numbered, split
from xmcompat.storage.image_programs import ImageError
from xmcompat.storage.image_table import LINUX, SECTOR, SWAP, Table, laid_out, read_table, written

KINDS = st.sampled_from([LINUX, SWAP])
PARTS = st.dictionaries(st.integers(1, 12), st.tuples(st.integers(1, 9000), KINDS), min_size=1, max_size=6)


def disk_of(table: Table) -> bytes:
    data = bytearray(table.size * SECTOR)
    for place, piece in written(table):
        data[place : place + len(piece)] = piece
    return bytes(data)


def read(data: bytes) -> Table | None:
    return read_table(lambda place, length: data[place : place + length] if place >= 0 else b"", len(data))


@given(PARTS)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_again(parts: dict[int, tuple[int, str]]) -> None:
    table = laid_out([(number, size, kind) for number, (size, kind) in parts.items()])
    found = read(disk_of(table))
    assert found is not None
    assert (found.label, found.size, found.partitions) == (table.label, table.size, table.partitions)
    assert table.label == ("gpt" if max(parts) > 4 else "dos")


@given(st.binary(max_size=1024), st.integers(0, 5000))
@settings(deadline=None)
def test_any_bytes_are_a_table_or_none_or_one_error(head: bytes, more: int) -> None:
    for data in (head + bytes(more), head[:510].ljust(510, b"\1") + b"\x55\xaa" + head + bytes(more)):
        with suppress(ImageError):
            read(data)


@pytest.mark.parametrize("numbers", [(1, 3), (2, 7)])
def test_another_program_reads_the_same(numbers: tuple[int, int], tmp_path: Path) -> None:
    table = laid_out([(numbers[0], 5000, SWAP), (numbers[1], 9001, LINUX)])
    (tmp_path / "disk").write_bytes(disk_of(table))
    done = subprocess.run(
        ["partx", "-g", "-o", "NR,START,SECTORS,TYPE", "-r", "disk"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [[int(word) for word in row[:3]] for row in rows] == [
        [one.number, one.start, one.size] for one in table.partitions
    ]
    assert rows[0][3] in ("0x82", "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f")


def test_logical_partitions_are_read() -> None:
    data = bytearray(40000 * SECTOR)
    data[446:462] = bytes([0, 0, 0, 0, 5, 0, 0, 0]) + (2048).to_bytes(4, "little") + (30000).to_bytes(4, "little")
    for place, further in ((2048, 8192), (2048 + 8192, 0)):
        start = place * SECTOR
        data[start + 446 : start + 462] = (
            bytes([0, 0, 0, 0, 0x83, 0, 0, 0]) + (63).to_bytes(4, "little") + (100).to_bytes(4, "little")
        )
        if further:
            data[start + 462 : start + 478] = bytes([0, 0, 0, 0, 5, 0, 0, 0]) + further.to_bytes(4, "little") + bytes(4)
        data[start + 510 : start + 512] = b"\x55\xaa"
    data[510:512] = b"\x55\xaa"
    table = read(bytes(data))
    assert table is not None
    assert [(one.number, one.start) for one in table.partitions] == [(5, 2111), (6, 10303)]


def test_the_copy_of_a_damaged_gpt_is_used_and_without_it_the_disk_is_refused() -> None:
    table = laid_out([(5, 5000, LINUX)])
    data = bytearray(disk_of(table))
    data[SECTOR + 20] ^= 1
    found = read(bytes(data))
    assert found is not None and found.partitions == table.partitions
    data[-SECTOR + 20] ^= 1
    with pytest.raises(ImageError, match="GPT is damaged"):
        read(bytes(data))


@given(PARTS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_joined_and_split_is_the_same_byte_for_byte(tmp_path: Path, parts: dict[int, tuple[int, str]]) -> None:
    source = random.Random(len(parts))
    images = {}
    for number, (size, _) in parts.items():
        data = bytearray(size * SECTOR)
        for _ in range(3):  # islands in holes
            place = source.randrange(size) * SECTOR
            data[place : place + SECTOR] = source.randbytes(SECTOR)
        data[510:512] = b"\0\0"
        path = tmp_path / f"in{number}"
        with open(path, "wb") as file:
            os.ftruncate(file.fileno(), len(data))
            for place in range(0, len(data), SECTOR):
                if any(data[place : place + SECTOR]):
                    os.pwrite(file.fileno(), data[place : place + SECTOR], place)
        images[number] = bytes(data)
    join([(number, str(tmp_path / f"in{number}")) for number in images], str(tmp_path / "disk"), force=True)
    found = split(str(tmp_path / "disk"), str(tmp_path), force=True)
    assert {number: Path(path).read_bytes() for number, path in found} == images
    assert not list(tmp_path.glob(".*"))


def test_holes_stay_holes(tmp_path: Path) -> None:
    with open(tmp_path / "p", "wb") as file:
        file.truncate(256 << 20)
    join([(1, str(tmp_path / "p"))], str(tmp_path / "disk"))
    assert (tmp_path / "disk").stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize(
    ("words", "found"),
    [(["a", "b"], [(1, "a"), (2, "b")]), (["xvda3=a", "sda1=b=c"], [(3, "a"), (1, "b=c")]), (["5=a"], [(5, "a")])],
)
def test_numbers_of_partitions(words: list[str], found: list[tuple[int, str]]) -> None:
    assert numbered(words) == found


def test_what_cannot_be_joined_is_refused_by_name(tmp_path: Path) -> None:
    odd, disk = tmp_path / "odd", tmp_path / "disk"
    odd.write_bytes(b"x" * 700)
    disk.write_bytes(disk_of(laid_out([(1, 100, LINUX)])))
    out = str(tmp_path / "out")
    with pytest.raises(ImageError, match="odd is no whole number of sectors"):
        join([(1, str(odd))], out)
    with pytest.raises(ImageError, match="disk is a disk with partitions"):
        join([(1, str(disk))], out)
    with pytest.raises(ImageError, match="'b' has no number"):
        numbered(["xvda1=a", "b"])
    odd.write_bytes(bytes(512))
    with pytest.raises(ImageError, match="given twice"):
        join([(1, str(odd)), (1, str(odd))], out)
    with pytest.raises(ImageError, match="no partition number 129"):
        join([(129, str(odd))], out)
    with pytest.raises(ImageError, match="no partitions"):
        split(str(odd), str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "odd"]


def test_a_partition_that_ends_before_it_begins_is_told() -> None:
    """Its checksums fit, for whoever made it knew how."""
    table = laid_out([(1, 2048, "linux"), (5, 2048, "linux")])
    backwards = tuple(replace(one, size=-100) if one.number == 5 else one for one in table.partitions)
    disk = bytearray(table.size * SECTOR)
    for place, data in written(replace(table, partitions=backwards)):
        disk[place : place + len(data)] = data
    with pytest.raises(ImageError, match="partition 5 of the GPT ends before it begins"):
        read_table(lambda offset, length: bytes(disk[offset : offset + length]), len(disk))
