"""The checksum of an image: whole or growing, it is that of the bytes that are there in the end."""

from __future__ import annotations

import os
import threading
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.migration.checksum import Checksum, FlowingChecksum, GrowingChecksum, _is_there, of_file

START = 92


def crc(data: bytes) -> int:
    return zlib.crc32(data[START:])


@given(st.binary(max_size=3000), st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 4000)), min_size=1, max_size=3))
def test_it_counts_the_parts_that_are_named_one_after_the_other(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, spans: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(data)
    wanted = zlib.crc32(b"".join(data[start:end] for start, end in spans))
    assert of_file(str(path), spans) == wanted == Checksum(str(path), spans).result()


def test_a_large_part_is_counted_piece_by_piece(tmp_path: Path) -> None:
    path = tmp_path / "file"
    data = os.urandom(1_000_003)
    path.write_bytes(data)
    assert Checksum(str(path), ((900_000, 1 << 62), (1, 900_000))).result() == zlib.crc32(data[900_000:] + data[1:900_000])


def test_what_flows_is_counted_and_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that are not of the spans are none of it."""
    monkeypatch.setattr("xmcompat.migration.checksum.of_file", lambda *_: pytest.fail("it is read again"))
    path = tmp_path / "file"
    data = os.urandom(3_000_003)
    path.write_bytes(data)
    checksum = FlowingChecksum(str(path), ((900_092, 3_000_003), (100, 900_000)))
    for place, end in ((900_000, 1_000_000), (1_000_000, 3_000_003), (0, 800_000), (800_000, 900_000)):
        checksum.flows(place, end)
    assert checksum.result() == zlib.crc32(data[900_092:] + data[100:900_000])


@given(st.binary(min_size=10, max_size=3000), st.integers(0, 3000), st.data())
def test_what_flows_in_any_pieces_has_the_same_checksum(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, start: int, draw: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(data)
    checksum = FlowingChecksum(str(path), ((start, 4000),))
    cuts = sorted({0, 4000, *draw.draw(st.lists(st.integers(0, 4000), max_size=5))})
    for place, end in pairwise(cuts):
        checksum.flows(place, end)
    assert checksum.result() == zlib.crc32(data[start:])


@pytest.mark.parametrize("came", [0, 1, 999_999], ids=["nothing", "a byte", "all but one"])
def test_what_flowed_in_part_is_counted_whole(tmp_path: Path, came: int) -> None:
    path = tmp_path / "file"
    data = os.urandom(1_000_000)
    path.write_bytes(data)
    checksum = FlowingChecksum(str(path), ((0, 1_000_000),))
    checksum.flows(0, came)
    assert checksum.result() == zlib.crc32(data)


def test_what_flows_in_another_order_is_counted_in_that_of_the_spans(tmp_path: Path) -> None:
    path = tmp_path / "file"
    data = os.urandom(1_000_000)
    path.write_bytes(data)
    checksum = FlowingChecksum(str(path), ((0, 1_000_000),))
    checksum.flows(500_000, 1_000_000)
    checksum.flows(0, 500_000)
    assert checksum.result() == zlib.crc32(data)


def test_all_that_the_disk_has_is_in_memory_before_it_flows(tmp_path: Path) -> None:
    path, size = tmp_path / "file", 40 << 20
    with open(path, "wb") as file:
        file.write(os.urandom(size))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    checksum = FlowingChecksum(str(path), ((100, size),))
    checksum._thread.join()
    checksum.stop()
    with open(path, "rb", buffering=0) as file:
        missing = [place for place in range(0, size, 4096) if not _is_there(file.fileno(), place)]
    assert missing == []


def test_what_is_passed_on_by_nobody_is_counted_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xmcompat.migration.checksum.of_file", lambda *_: pytest.fail("it is read again"))
    path = tmp_path / "file"
    data = os.urandom(1_000_000)
    path.write_bytes(data)
    before = set(threading.enumerate())
    checksum = FlowingChecksum(str(path), ((92, 1_000_000),))
    checksum.beside()
    assert checksum.result() == crc(data)
    checksum.stop()
    assert set(threading.enumerate()) <= before


def test_a_flow_that_nobody_wants_leaves_no_thread(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1_000_000))
    before = set(threading.enumerate())
    checksum = FlowingChecksum(str(path), ((92, 1_000_000),))
    checksum.beside()
    checksum.unwanted()
    checksum.stop()
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("cached", [True, False])
def test_the_disk_is_asked_for_what_is_not_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: bool) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr("xmcompat.migration.checksum._is_there", lambda _handle, _place: cached)
    monkeypatch.setattr(os, "posix_fadvise", lambda _handle, start, length, _advice: asked.append((start, start + length)))
    path, size = tmp_path / "file", 70 << 20
    with open(path, "wb") as file:
        file.truncate(size)
    checksum = FlowingChecksum(str(path), ((100, size),))
    checksum._thread.join()
    checksum.stop()
    if cached:
        assert asked == []
    else:
        assert (asked[0][0], asked[-1][1]) == (100, size)
        assert [end for _, end in asked[:-1]] == [start for start, _ in asked[1:]]


def test_what_grows_is_counted_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    pieces = [os.urandom(300_000) for _ in range(9)]
    checksum = GrowingChecksum(str(path), START)
    with open(path, "ab", buffering=0) as file:
        for piece in pieces:
            file.write(piece)
            threading.Event().wait(0.005)
        file.flush()
    with open(path, "r+b") as file:
        file.write(b"x" * START)  # the header is rewritten when all is there
    assert checksum.whole() == crc(path.read_bytes())


def test_what_grows_is_sent_to_the_disk_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(
        "xmcompat.migration.checksum.begin_writing_out", lambda _, start, length: sent.append((start, start + length))
    )
    path = tmp_path / "file"
    path.write_bytes(os.urandom(20 << 20))
    checksum = GrowingChecksum(str(path), START)
    while checksum._place < 20 << 20:
        threading.Event().wait(0.001)
    assert checksum.whole() == crc(path.read_bytes())
    assert sent[0][0] == START
    assert [end for _, end in sent[:-1]] == [start for start, _ in sent[1:]]
    assert 16 << 20 <= sent[-1][1] <= 20 << 20


def test_what_is_whole_already_is_not_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Set(threading.Event):
        """As ``whole`` leaves it, with all of the file on the disk."""

        def is_set(self) -> bool:
            return True

    sent: list[int] = []
    monkeypatch.setattr("xmcompat.migration.checksum.begin_writing_out", lambda _, start, length: sent.append(start))
    path = tmp_path / "file"
    path.write_bytes(os.urandom(20 << 20))
    whole = zlib.crc32(path.read_bytes()[START:])

    class Late(GrowingChecksum):
        def _compute(self) -> None:
            self._over = Set()
            super()._compute()

    checksum = Late(str(path), START)
    checksum._thread.join(60.0)
    assert (checksum._place, checksum._crc, sent) == (20 << 20, whole, [])
    checksum.stop()


@pytest.mark.parametrize("change", ["replaced", "shortened", "filled"])
def test_where_the_file_is_not_what_was_read_it_is_read_anew(tmp_path: Path, change: str) -> None:
    """Replaced by another, cut, or filled in any order, as some formats of images are."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(200_000))
    checksum = GrowingChecksum(str(path), START)
    while checksum._place < 200_000:
        threading.Event().wait(0.001)
    if change == "replaced":
        path.with_name("new").write_bytes(os.urandom(200_000))
        path.with_name("new").replace(path)
    elif change == "shortened":
        os.truncate(path, 150_000)
    else:
        with open(path, "r+b") as file:
            file.seek(100_000)
            file.write(b"later")
    assert checksum.whole(anew=change == "filled") == crc(path.read_bytes())


def test_one_that_nobody_wants_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    before = set(threading.enumerate())
    checksum = GrowingChecksum(str(path), START)
    checksum.stop()
    checksum.stop()
    assert set(threading.enumerate()) <= before


def test_a_file_that_is_not_there_cannot_be_counted(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Checksum(str(tmp_path / "none"), ((0, 1),))
