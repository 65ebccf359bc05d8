"""What a guest wrote is on its volume, byte by byte: through every format and source, whatever ends it, and beside what
is done to the volume meanwhile.

The guest is ``tests.lab.io_guest``, started by ``xm create``: it writes patterns where it is told and nothing else, so that
the whole volume can be foretold. Servers that go away and come back: ``test_disk_servers``, ``test_partitions``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.conftest import Bench
from tests.lab.fixtures import CHECKOUT
from tests.lab.io_guest import BATCH, MIB, SECTOR, IoGuest, pattern, terminal, write_kernel
from xmcompat.storage.partitions import Volume, layout

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

#: MiB of each disk, and QEMU's names of the formats that Xen's words mean.
SIZE = 8
FORMATS = {"raw": "raw", "qcow2": "qcow2", "qcow": "qcow", "vhd": "vpc", "vmdk": "vmdk"}
PORT = 13280


class Source(NamedTuple):
    """A guest's disk: its words in a configuration, and what is on it now as its guest sees it."""

    words: list[str]
    read: Callable[[], bytes]


class Life:
    """A guest io1 that runs from its creation on."""

    def __init__(self, bench: Bench, words: list[str]) -> None:
        self.bench = bench
        kernel = write_kernel(bench.directory)
        bench.config("io1.cfg", f"name = 'io1'\nkernel = {str(kernel)!r}\nmemory = 16\nvif = []\ndisk = {words!r}\n")
        done = bench.xm("create", "-q", "io1.cfg")
        assert done.status == 0, done.stderr
        self.uuid = bench.hypervisor.find("io1").uuid
        self.guest = IoGuest(terminal(bench.hypervisor.domain_xml(self.uuid)))
        self.guest.await_start()

    def write(self, sector: int, tag: int, count: int = 4) -> None:
        assert self.guest.run("p", count, sector, tag).done

    def flush(self) -> None:
        assert self.guest.run("f").done

    def switch_off(self) -> None:
        self.guest.say("q")
        self._end()

    def cut(self) -> None:
        """End it as a power cut would."""
        os.kill(self._process(), signal.SIGKILL)
        self._end()

    def _process(self) -> int:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if f"\0-uuid\0{self.uuid}\0".encode() in path.read_bytes():
                    return int(path.parent.name)
        raise AssertionError("it does not run")

    def _end(self) -> None:
        end = time.monotonic() + 20
        while any(info.name == "io1" for info in self.bench.hypervisor.domains()):
            assert time.monotonic() < end, "it runs on"
            time.sleep(0.05)
        self.guest.close()


@pytest.fixture
def live(bench: Bench) -> Iterator[Callable[[list[str]], Life]]:
    yield lambda words: Life(bench, words)
    bench.xm("destroy", "io1")


@pytest.fixture
def made(bench: Bench) -> Iterator[Callable[[str], Source]]:
    """Make the disk of a kind, which is zero."""
    with ExitStack() as stack:
        yield lambda kind: MAKERS[kind](bench.directory, bench, stack)


def image(word: str) -> Callable[[Path, Bench, ExitStack], Source]:
    def make(folder: Path, bench: Bench, stack: ExitStack) -> Source:
        path = folder / f"disk.{word}"
        subprocess.run(["qemu-img", "create", "-q", "-f", FORMATS[word], path, f"{SIZE}M"], check=True)
        return Source([f"{'file' if word == 'raw' else f'tap:{word}'}:{path},xvda,w"], lambda: content(path, FORMATS[word]))

    return make


def content(path: Path, driver: str = "raw") -> bytes:
    """What a guest sees of the image; its own tables are whole."""
    if driver in ("qcow2", "vmdk"):
        checked = subprocess.run(["qemu-img", "check", "-f", driver, path], capture_output=True, text=True, check=False)
        assert checked.returncode in (0, 3), checked.stdout + checked.stderr  # 3: room that nobody has
    flat = path.with_suffix(".flat")
    subprocess.run(["qemu-img", "convert", "-f", driver, "-O", "raw", path, flat], check=True)
    return flat.read_bytes()


def empty(path: Path, size: int = SIZE * MIB) -> Path:
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def block(folder: Path, bench: Bench, stack: ExitStack) -> Source:
    path = empty(folder / "block.img")
    device = subprocess.run(["losetup", "--show", "-f", path], capture_output=True, text=True, check=True).stdout.strip()
    stack.callback(subprocess.run, ["losetup", "-d", device], check=True)
    return Source([f"phy:{device},xvda,w"], lambda: Path(device).read_bytes())


def nbd(folder: Path, bench: Bench, stack: ExitStack) -> Source:
    path, socket = empty(folder / "nbd.img"), folder / "nbd.sock"
    words = bench.node.enter(["qemu-nbd", "-t", "-f", "raw", "-k", str(socket), str(path)])
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
    stack.callback(process.wait)
    stack.callback(os.killpg, process.pid, signal.SIGKILL)
    end = time.monotonic() + 20
    while not socket.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    return Source([f"nbd:unix:{socket},xvda,w"], path.read_bytes)


def joined(folder: Path, bench: Bench, stack: ExitStack) -> Source:
    """Two files with a gap between their numbers: a whole table, and no byte of a volume but what was written there."""
    paths = {1: empty(folder / "part1.img", 3 * MIB), 3: empty(folder / "part3.img", 4 * MIB)}
    plan = layout([Volume(number, path.stat().st_size) for number, path in paths.items()], "any")

    def read() -> bytes:
        disk = bytearray(plan.size)
        for slot in plan.slots:
            disk[slot.start : slot.start + slot.length] = paths[slot.number].read_bytes()
        return bytes(disk)

    return Source([f"file:{path},xvda{number},w" for number, path in paths.items()], read)


MAKERS: dict[str, Callable[[Path, Bench, ExitStack], Source]] = {
    **{word: image(word) for word in FORMATS}, "block": block, "nbd": nbd, "joined": joined,
}  # fmt: skip
#: Where the guest writes: from a sector on, 128 KiB; of a joined disk the begin and the end of the first volume, and the other.
PLACES = (2048, (4 * MIB - 4 * BATCH) // SECTOR, (6 * MIB) // SECTOR)


def expected(size: int, *writes: tuple[int, int]) -> bytes:
    """A disk of SIZE bytes after writes of (sector, tag)."""
    disk = bytearray(size)
    for sector, tag in writes:
        disk[sector * SECTOR : sector * SECTOR + 4 * BATCH] = pattern(sector, 4, tag)
    return bytes(disk)


def differing(found: bytes, wanted: bytes) -> set[int]:
    """The sectors that are not as they should be."""
    assert len(found) >= len(wanted)
    assert not any(found[len(wanted) :]), "behind the end"
    if found[: len(wanted)] == wanted:
        return set()
    return {at // SECTOR for at in range(0, len(wanted), SECTOR) if found[at : at + SECTOR] != wanted[at : at + SECTOR]}


@pytest.mark.parametrize("kind", MAKERS)
def test_what_was_flushed_outlives_a_power_cut_and_all_that_was_written_a_shutdown(
    live: Callable[[list[str]], Life], made: Callable[[str], Source], kind: str
) -> None:
    source = made(kind)
    first, second, third = PLACES
    life = live(source.words)
    life.write(first, 1)
    life.write(second, 1)
    life.flush()
    life.write(second, 2)
    life.write(third, 2)
    life.cut()
    found = source.read()
    size = SIZE * MIB
    lost = differing(found, expected(size, (first, 1), (second, 1)))
    late = differing(found, expected(size, (first, 1), (second, 2), (third, 2)))
    unsure = {sector + number for sector in (second, third) for number in range(4 * BATCH // SECTOR)}
    assert lost <= unsure, "what was flushed, and what nobody wrote to"
    assert not lost & late, "each sector is as it was before or after its last write"
    life = live(source.words)
    life.write(first, 3)
    life.write(second, 3)
    life.write(third, 3)
    life.switch_off()
    assert differing(source.read(), expected(size, (first, 3), (second, 3), (third, 3))) == set()


def storage(bench: Bench, *words: str) -> tuple[int, str, str]:
    """Status, stdout and stderr of ``xmcompat storage``."""
    env = {**os.environ, "XMCOMPAT_URI": bench.node.uri, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-m", "xmcompat.tool", "storage", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=env)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_a_roll_back_brings_back_what_the_guest_had_written_before_the_snapshot(
    bench: Bench, live: Callable[[list[str]], Life], made: Callable[[str], Source], kind: str
) -> None:
    source, path = made(kind), str(bench.directory / f"disk.{kind}")
    first, second, third = PLACES
    life = live(source.words)
    life.write(first, 1)
    life.write(second, 1)
    life.switch_off()
    assert storage(bench, "snapshot", path, "before")[::2] == (0, "")
    life = live(source.words)
    life.write(second, 2)
    life.write(third, 2)
    life.flush()
    status, _, said = storage(bench, "rollback", path, "before")
    assert status == 1 and "is in use by the guest io1" in said
    life.cut()
    after = expected(SIZE * MIB, (first, 1), (second, 2), (third, 2))
    assert differing(source.read(), after) == set(), "a snapshot is in nobody's way"
    assert storage(bench, "rollback", path, "before")[::2] == (0, "")
    assert differing(source.read(), expected(SIZE * MIB, (first, 1), (second, 1))) == set()
    life = live(source.words)
    life.write(third, 3)
    life.switch_off()
    assert differing(source.read(), expected(SIZE * MIB, (first, 1), (second, 1), (third, 3))) == set()


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_a_disk_that_grows_under_its_guest_keeps_what_is_on_it_and_takes_what_comes(
    bench: Bench, live: Callable[[list[str]], Life], made: Callable[[str], Source], kind: str
) -> None:
    source, path = made(kind), str(bench.directory / f"disk.{kind}")
    first, second, _ = PLACES
    beyond = (2 * SIZE * MIB - 4 * BATCH) // SECTOR
    life = live(source.words)
    life.write(first, 1)
    assert not life.guest.run("p", 4, beyond, 2).done, "it has no such room yet"
    assert storage(bench, "resize", path, f"{2 * SIZE}M") == (0, f"{SIZE} MiB -> {2 * SIZE} MiB", "")
    assert life.guest.run("?").sectors == 2 * SIZE * MIB // SECTOR
    life.write(second, 2)
    life.write(beyond, 2)
    life.flush()
    life.cut()
    assert differing(source.read(), expected(2 * SIZE * MIB, (first, 1), (second, 2), (beyond, 2))) == set()


@pytest.mark.parametrize("kind", ["qcow", "vmdk", "vhd"])
def test_a_format_that_cannot_grow_says_so_and_its_guest_goes_on(
    bench: Bench, live: Callable[[list[str]], Life], made: Callable[[str], Source], kind: str
) -> None:
    source, path = made(kind), str(bench.directory / f"disk.{kind}")
    first, second, _ = PLACES
    life = live(source.words)
    life.write(first, 1)
    size = life.guest.run("?").sectors
    status, out, said = storage(bench, "resize", path, f"{2 * SIZE}M")
    assert (status, out, said.count("\n")) == (1, "", 0), said
    assert path in said
    assert life.guest.run("?").sectors == size
    life.write(second, 2)
    life.switch_off()
    assert differing(source.read(), expected(SIZE * MIB, (first, 1), (second, 2))) == set()
