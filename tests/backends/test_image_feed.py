"""Parts of a file, through a pipe or as a copy: byte for byte, and with nothing left of it."""

from __future__ import annotations

import gc
import os
import threading
import time
import zlib
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.backends import image_feed
from xmcompat.backends.image_feed import _LONGEST_REST, _SHORTEST_REST, Feed, copied, next_rest
from xmcompat.migration.checksum import FlowingChecksum

MIB = 1 << 20
#: All of it, and what stands behind a header; and a part before one that stands before it, as our files have them.
WHOLE = ((0, 1 << 62),)
TAIL = ((4096, 1 << 62),)
TURNED = ((5 * MIB, 5 * MIB + 12000), (67_259, 5 * MIB))
PARTS = {"behind a header": TAIL, "two parts": TURNED}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "web1.save"
    path.write_bytes(os.urandom(5 * MIB + 12345))
    return path


def parts(source: Path, spans: Sequence[tuple[int, int]]) -> bytes:
    data = source.read_bytes()
    return b"".join(data[start:end] for start, end in spans)


@pytest.mark.parametrize("rest", [0.0, 0.002], ids=["read as fast as it comes", "read slowly"])
@pytest.mark.parametrize("spans", PARTS.values(), ids=PARTS)
def test_who_reads_has_all_that_is_named_and_the_name_is_gone(
    source: Path, spans: Sequence[tuple[int, int]], rest: float
) -> None:
    feed = Feed(str(source), spans)
    assert not feed.opened
    read = bytearray()
    with open(feed.path, "rb", buffering=0) as pipe:
        while data := pipe.read(100_000):
            read += data
            time.sleep(rest)
    feed.stop()
    assert read == parts(source, spans)
    assert feed.opened
    assert [path.name for path in source.parent.iterdir()] == ["web1.save"]


class Listener:
    """What was told, and what the reader had by then."""

    def __init__(self, read: bytearray, error: OSError | None = None) -> None:
        self.told: list[tuple[int, int, int]] = []
        self._read = read
        self._error = error

    def flows(self, place: int, end: int) -> None:
        self.told.append((place, end, len(self._read)))
        if self._error is not None and len(self.told) == 3:
            raise self._error

    def beside(self) -> None:
        raise AssertionError("it is passed on")


@pytest.mark.parametrize("spans", PARTS.values(), ids=PARTS)
def test_who_reads_along_is_told_of_each_byte_once_and_before(source: Path, spans: Sequence[tuple[int, int]]) -> None:
    read = bytearray()
    listener = Listener(read)
    feed = Feed(str(source), spans, listener)
    with open(feed.path, "rb", buffering=0) as pipe:
        while data := pipe.read(50_000):
            read += data
    feed.stop()
    assert read == parts(source, spans)
    told = [(place, end) for place, end, _ in listener.told]
    size = source.stat().st_size
    assert b"".join(parts(source, (span,)) for span in told) == read
    assert [end for _, end in told[:-1]] != [] and all(end - place <= 2 * MIB for place, end in told)
    come = 0
    for place, end, had in listener.told:
        assert had <= come, "no byte is read before it is told"
        come += max(min(end, size) - place, 0)


def test_where_who_reads_along_cannot_read_it_ends(source: Path) -> None:
    read = bytearray()
    feed = Feed(str(source), TAIL, Listener(read, OSError(5, "Input/output error")))
    with open(feed.path, "rb", buffering=0) as pipe:
        while data := pipe.read(50_000):
            read += data
    feed.stop()
    assert 0 < len(read) < source.stat().st_size - 4096
    assert source.read_bytes()[4096:].startswith(bytes(read))


@pytest.mark.parametrize("taken", [1, 1000, 2 * MIB])
@pytest.mark.parametrize("stays", [False, True], ids=["closed in between", "the first one stays"])
@pytest.mark.parametrize("spans", PARTS.values(), ids=PARTS)
def test_who_opens_it_twice_has_all_of_it_the_second_time(
    source: Path, spans: Sequence[tuple[int, int]], stays: bool, taken: int
) -> None:
    """And who stays comes to an end."""
    before = set(threading.enumerate())
    checksum = FlowingChecksum(str(source), spans)
    feed = Feed(str(source), spans, checksum, twice=True)
    whole = parts(source, spans)
    with ExitStack() as stack:
        one = stack.enter_context(open(feed.path, "rb", buffering=0))
        head = b""
        while len(head) < taken:
            head += one.read(taken - len(head))
        if not stays:
            one.close()
        with open(feed.path, "rb", buffering=0) as two:
            read = b"".join(iter(lambda: two.read(100_000), b""))
        rest = b"".join(iter(lambda: one.read(100_000), b"")) if stays else b""
    assert feed.opened
    feed.stop()
    assert read == whole
    assert whole.startswith(head + rest)
    assert checksum.result() == zlib.crc32(whole)
    assert [path.name for path in source.parent.iterdir()] == ["web1.save"]
    assert set(threading.enumerate()) <= before


def test_who_may_open_it_twice_and_does_once_has_all_of_it(source: Path) -> None:
    before = set(threading.enumerate())
    feed = Feed(str(source), TURNED, twice=True)
    with open(feed.path, "rb", buffering=0) as pipe:
        read = b"".join(iter(lambda: pipe.read(100_000), b""))
    feed.stop()
    feed.stop()
    assert read == parts(source, TURNED)
    assert [path.name for path in source.parent.iterdir()] == ["web1.save"]
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("opens", [0, 1, 2])
def test_one_that_is_stopped_early_leaves_nothing_however_often_it_was_opened(source: Path, opens: int) -> None:
    before = set(threading.enumerate())
    feed = Feed(str(source), WHOLE, twice=True)
    with ExitStack() as stack:
        for _ in range(opens):
            pipe = stack.enter_context(open(feed.path, "rb", buffering=0))
            assert len(pipe.read(1000)) == 1000
        feed.stop()
    assert feed.opened == (opens > 0)
    assert [path.name for path in source.parent.iterdir()] == ["web1.save"]
    assert set(threading.enumerate()) <= before


def test_one_that_nobody_reads_ends_and_leaves_nothing(source: Path) -> None:
    before = set(threading.enumerate())
    feed = Feed(str(source), TAIL)
    feed.stop()
    feed.stop()
    assert not feed.opened
    assert set(threading.enumerate()) <= before
    assert [path.name for path in source.parent.iterdir()] == ["web1.save"]


def test_a_reader_of_one_that_is_stopped_comes_to_the_end(source: Path) -> None:
    feed = Feed(str(source), WHOLE)
    with open(feed.path, "rb", buffering=0) as pipe:
        first = pipe.read(1000)
        feed.stop()
        rest = b"".join(iter(lambda: pipe.read(MIB), b""))
    assert source.read_bytes().startswith(first + rest)
    assert len(first) == 1000


@pytest.mark.parametrize("twice", [False, True])
def test_a_reader_that_is_about_to_open_one_that_is_stopped_is_not_left_waiting(source: Path, twice: bool) -> None:
    def read(path: str) -> None:
        for _ in range(2 if twice else 1):
            with suppress(FileNotFoundError), open(path, "rb", buffering=0) as pipe:
                pipe.read(10)

    for number in range(150):
        feed = Feed(str(source), TAIL, twice=twice)
        reader = threading.Thread(target=read, args=(feed.path,), daemon=True)
        reader.start()
        time.sleep(number % 15 * 0.0001)
        feed.stop()
        reader.join(10)
        assert not reader.is_alive(), number
    assert [path.name for path in source.parent.iterdir()] == ["web1.save"]


@pytest.mark.parametrize("opens", [0, 1])
def test_a_reader_that_was_held_up_on_his_way_to_one_that_is_stopped_is_not_left_waiting(
    source: Path, monkeypatch: pytest.MonkeyPatch, opens: int
) -> None:
    """He has found its name, and comes when that is gone and whoever held it open for him as well."""
    monkeypatch.setattr(image_feed, "_LATE", 60)
    ends: list[bytes] = []

    def come_late() -> None:
        while os.path.exists(feed.path):
            time.sleep(0.001)
        time.sleep(0.05)
        with open(f"/proc/self/fd/{found}", "rb", buffering=0) as pipe:
            ends.append(pipe.read(10))

    feed = Feed(str(source), TAIL, twice=opens > 0)
    with ExitStack() as stack:
        for _ in range(opens):
            assert stack.enter_context(open(feed.path, "rb", buffering=0)).read(10)
        found = os.open(feed.path, os.O_PATH)
        stack.callback(os.close, found)
        reader = threading.Thread(target=come_late, daemon=True)
        reader.start()
        feed.stop()
        reader.join(5)
        assert ends == [b""]


def test_no_reader_is_looked_for_where_it_was_read_or_nobody_comes(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_feed, "_LATE", 60)
    feed = Feed(str(source), TAIL)
    begun = time.monotonic()
    feed.stop(over=True)
    feed = Feed(str(source), TAIL)
    with open(feed.path, "rb", buffering=0) as pipe:
        feed.stop()
        pipe.read(10)
    assert time.monotonic() - begun < 10
    assert [path.name for path in source.parent.iterdir()] == ["web1.save"]


def test_the_name_goes_also_where_nothing_more_can_be_opened(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = Feed(str(source), TAIL)

    def refuse(path: str, flags: int, *_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    feed.stop()
    assert [path.name for path in source.parent.iterdir()] == ["web1.save"]


def test_where_no_thread_can_be_begun_nothing_is_left(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    gc.collect()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="can't start new thread"):
        Feed(str(source), TAIL)
    assert os.listdir("/proc/self/fd") == before
    assert [path.name for path in source.parent.iterdir()] == ["web1.save"]


def test_a_reader_that_has_had_enough_ends_it(source: Path) -> None:
    before = set(threading.enumerate())
    feed = Feed(str(source), WHOLE)
    with open(feed.path, "rb", buffering=0) as pipe:
        pipe.read(1000)
    deadline = time.monotonic() + 10
    while not set(threading.enumerate()) <= before and time.monotonic() < deadline:
        time.sleep(0.001)
    assert set(threading.enumerate()) <= before
    feed.stop()


@given(st.floats(_SHORTEST_REST, _LONGEST_REST), st.integers(0, MIB))
def test_a_rest_is_shorter_after_an_empty_pipe_and_longer_after_a_full_one(rest: float, taken: int) -> None:
    following = next_rest(rest, taken, MIB)
    assert _SHORTEST_REST <= following <= _LONGEST_REST
    if taken >= MIB * 3 // 4:
        assert following < rest or rest == _SHORTEST_REST
    elif taken < MIB // 4:
        assert following > rest or rest == _LONGEST_REST
    else:
        assert following == rest


@pytest.mark.parametrize("spans", PARTS.values(), ids=PARTS)
def test_a_copy_has_all_that_is_named_and_is_gone_in_the_end(source: Path, spans: Sequence[tuple[int, int]]) -> None:
    with copied(str(source), spans) as copy:
        assert Path(copy).read_bytes() == parts(source, spans)
        assert Path(copy).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in source.parent.iterdir()] == ["web1.save"]


@pytest.mark.parametrize("limit", [0, 3 * MIB + 7])
def test_where_files_cannot_be_copied_by_the_kernel_they_are_read_and_written(
    source: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """From the place on to which it has come."""
    by_kernel, left = os.copy_file_range, [limit]

    def some(source: int, target: int, count: int, place: int) -> int:
        if not left[0]:
            raise OSError("not here")
        done = by_kernel(source, target, min(count, left[0]), place)
        left[0] -= done
        return done

    monkeypatch.setattr(os, "copy_file_range", some)
    with copied(str(source), TURNED) as copy:
        assert Path(copy).read_bytes() == parts(source, TURNED)


def test_what_cannot_be_copied_leaves_nothing(source: Path) -> None:
    with pytest.raises(FileNotFoundError), copied(f"{source}.none", WHOLE):
        pass
    assert [path.name for path in source.parent.iterdir()] == ["web1.save"]


@pytest.mark.parametrize("name", ["n" * 255, "\u20ac" * 85, os.fsdecode(b"\xff" * 255)], ids=["long", "of three bytes", "no text"])
def test_a_file_may_have_the_longest_name(source: Path, name: str) -> None:
    source = source.rename(source.with_name(name))
    feed = Feed(str(source), TAIL)
    try:
        assert os.path.dirname(feed.path) == str(source.parent)
        assert feed.path.encode()  # libvirt takes no other
    finally:
        feed.stop()
    with copied(str(source), TAIL) as copy:
        assert Path(copy).read_bytes() == parts(source, TAIL)
    assert [path.name for path in source.parent.iterdir()] == [name]
