"""A save that is given up: whoever asks for its end waits until the call is over. A restore: who reads along, and what
becomes of its connection."""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple, cast

import pytest

from xmcompat.backends.call_thread import Call
from xmcompat.backends.libvirt_save_calls import LibvirtSaveJob, SaveCalls
from xmcompat.backends.libvirt_translated import Translated
from xmcompat.errors import ConnectionLost, HypervisorError, HypervisorUnreachable
from xmcompat.migration.checksum import FlowingChecksum

UUID = "8ac1f0a4-1111-4222-8333-444455556666"


@pytest.mark.parametrize("failure", [HypervisorUnreachable("no libvirtd"), ConnectionLost("gone")], ids=["no", "lost"])
def test_one_that_cannot_be_given_up_is_waited_for(failure: HypervisorUnreachable) -> None:
    end, asked = threading.Event(), 0

    def give_up() -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            end.set()
        raise failure

    def save() -> None:
        assert end.wait(30.0)
        raise ConnectionLost("the connection of the call itself")

    job = LibvirtSaveJob(Call(save), give_up)
    job.abort()
    assert asked == 2
    assert job.ended(0.0)
    with pytest.raises(ConnectionLost, match="of the call itself"):
        job.result()


def test_the_result_of_one_that_goes_on_is_not_taken_for_a_success() -> None:
    end = threading.Event()
    call = Call(lambda: end.wait(30.0))
    with pytest.raises(AssertionError, match="the call is not over"):
        call.result()
    end.set()
    assert call.ended(30.0)
    call.result()


class Libvirt(NamedTuple):
    """The module, as far as a restore needs it."""

    VIR_DOMAIN_SAVE_PAUSED: int = 4
    libvirtError: type[Exception] = RuntimeError


class Connection:
    """Reads the image as libvirt and QEMU do, as far as they get."""

    def __init__(self, most: int = 1 << 62, error: HypervisorError | None = None, *, looks: int = 0, only_files: bool = False) -> None:
        self.read = b""
        self.open = True
        self.restores = 0
        self._most = most
        self._error = error
        #: Bytes that are read by themselves before; nothing else is done with them.
        self._looks = looks
        self._only_files = only_files

    def restoreFlags(self, path: str, xml: str | None, flags: int) -> None:
        assert (xml, flags) == (None, 4)
        self.restores += 1
        if self._looks:
            with open(path, "rb", buffering=0) as image:
                assert len(image.read(self._looks)) == self._looks
            if self._only_files and not os.path.isfile(path):
                raise HypervisorError(f"{path} is no file")
        with open(path, "rb", buffering=0) as image:
            while len(self.read) < self._most and (data := image.read(30_000)):
                self.read += data
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        assert self.open
        self.open = False


class Reader:
    """Who reads along."""

    def __init__(self) -> None:
        self.flown: list[tuple[int, int]] = []
        self.alone = 0

    def flows(self, place: int, end: int) -> None:
        self.flown.append((place, end))

    def beside(self) -> None:
        self.alone += 1


class Host(NamedTuple):
    connection: Connection
    kept: list[Connection]
    calls: SaveCalls


def host(connection: Connection, *, version: int = 9_000_000, keeps: bool = True) -> Host:
    kept: list[Connection] = []

    def keep(connection: Connection) -> bool:
        kept.extend([connection] if keeps else [])
        return keeps

    def translated(_: str) -> Translated:
        return cast("Translated", nullcontext())

    calls = SaveCalls(Libvirt(), lambda: connection, lambda: connection, translated, lambda: version, keep)
    return Host(connection, kept, calls)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "web1.save"
    path.write_bytes(os.urandom(3_000_000))
    return path


SPANS = ((2_999_000, 3_000_000), (4_096, 2_999_000))


def image(saved: Path, spans: Sequence[tuple[int, int]] = SPANS) -> bytes:
    return b"".join(saved.read_bytes()[start:end] for start, end in spans)


def test_an_image_in_parts_flows_past_who_reads_along(saved: Path) -> None:
    connection, kept, calls = host(Connection())
    reader = Reader()
    calls.restore(UUID, str(saved), SPANS, "", reader)
    assert connection.read == image(saved)
    assert reader.alone == 0
    assert image(saved, reader.flown) == image(saved)
    assert kept == [connection]
    assert connection.open
    assert list(saved.parent.iterdir()) == [saved]


def test_a_libvirt_that_looks_at_an_image_first_has_it_from_a_pipe_as_well(saved: Path) -> None:
    connection, kept, calls = host(Connection(looks=1000), version=11_003_000)
    checksum = FlowingChecksum(str(saved), SPANS)
    calls.restore(UUID, str(saved), SPANS, "", checksum)
    assert connection.read == image(saved)
    assert checksum.result() == zlib.crc32(image(saved))
    assert (connection.restores, kept) == (1, [connection])
    assert list(saved.parent.iterdir()) == [saved]


def test_one_that_takes_files_alone_the_second_time_has_a_copy(saved: Path) -> None:
    connection, _, calls = host(Connection(looks=1000, only_files=True), version=11_003_000)
    reader = Reader()
    calls.restore(UUID, str(saved), SPANS, "", reader)
    assert connection.read == image(saved)
    assert (connection.restores, reader.alone) == (2, 1)
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("version", [9_000_000, 11_000_000])
@pytest.mark.parametrize("spans", [SPANS, ((0, 3_000_000),)], ids=["in parts", "all of it"])
def test_what_does_not_flow_is_read_beside(
    saved: Path, spans: Sequence[tuple[int, int]], version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole file is given to libvirt by its name; a copy of its parts where no pipe can be made."""
    monkeypatch.setattr(os, "mkfifo", lambda *_: (_ for _ in ()).throw(PermissionError(1, "Operation not permitted")))
    connection, _, calls = host(Connection(), version=version)
    reader = Reader()
    calls.restore(UUID, str(saved), spans, "", reader)
    assert connection.read == image(saved, spans)
    assert (reader.alone, reader.flown) == (1, [])
    assert list(saved.parent.iterdir()) == [saved]


def test_a_connection_is_closed_where_there_is_one_already(saved: Path) -> None:
    connection, kept, calls = host(Connection(), keeps=False)
    calls.restore(UUID, str(saved), SPANS)
    assert (kept, connection.open) == ([], False)


def await_threads() -> None:
    """Until no call and no feed is under way any more, those of other tests among them."""
    deadline = time.monotonic() + 10
    while any(thread.name in ("libvirt-call", "image-feed") for thread in threading.enumerate()):
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.005)


def test_a_connection_over_which_nothing_was_restored_is_closed(saved: Path) -> None:
    before = set(threading.enumerate())
    connection, kept, calls = host(Connection(most=100_000, error=HypervisorError("QEMU has ended")))
    reader = Reader()
    with pytest.raises(HypervisorError, match="QEMU has ended"):
        calls.restore(UUID, str(saved), SPANS, "", reader)
    assert (kept, connection.open) == ([], False)
    assert reader.alone == 0
    await_threads()
    assert set(threading.enumerate()) <= before
    assert list(saved.parent.iterdir()) == [saved]
