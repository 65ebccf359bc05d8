"""Disks of several volumes as QEMU sees them, and what is left when something is killed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from xmcompat.errors import DeviceError
from xmcompat.storage import image_locks
from xmcompat.storage.composite import Composite, Part, assemble, held, is_served, release, socket_owner, sweep

MIB = 1 << 20
ME = (os.getuid(), os.getgid())
STEPS = ("clear", "folder", "volumes", "about", "socket", "locks", "serve", "pid", "go", "done")


def until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., Composite]]:
    """Make a composite of partitions: ``made({1: 4 * MIB, 3: 8 * MIB}, readonly=[3])``; nothing is assembled."""
    found: list[Composite] = []

    def make(sizes: dict[int, int], *, readonly: tuple[int, ...] = (), shareable: bool = False) -> Composite:
        parts = []
        for number, size in sizes.items():
            path = tmp_path / f"volume{number}"
            if not path.exists():
                path.write_bytes((hashlib.sha256(bytes([number])).digest() * (size // 32 + 1))[:size])
            parts.append(Part(number, str(path), number not in readonly, shareable, 51712 + number))
        words = "-".join(map(str, sizes))
        found.append(Composite(str(tmp_path / f"c/u-xvda-{words}"), "web1", tuple(parts)))
        return found[-1]

    yield make
    for composite in found:
        if Path(composite.folder).exists():
            release(composite)


def qemu_io(composite: Composite, *commands: str) -> str:
    words = [word for command in commands for word in ("-c", command)]
    done = subprocess.run(
        ["qemu-io", "-f", "raw", "-d", "unmap", *words, f"nbd+unix:///?socket={composite.socket}"], capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def alive(composite: Composite) -> bool:
    return bool(held(os.path.dirname(composite.folder)))


def test_every_byte_goes_to_its_volume_and_no_other(made: Callable[..., Composite], tmp_path: Path) -> None:
    composite = made({1: 2 * MIB + 700, 3: 4 * MIB})
    before = (tmp_path / "volume1").read_bytes()
    assemble(composite, ME)
    # the first lies at 1 MiB, the other at 4
    said = qemu_io(
        composite, f"write -P 0x11 {MIB} 4096", f"write -P 0x12 {3 * MIB} 512", f"write -P 0x31 {4 * MIB} 64k",
        f"write -f -P 0x32 {8 * MIB - 512} 512", "flush", f"read -P 0x31 {4 * MIB} 64k",
    )  # fmt: skip
    assert "failed" not in said.lower() and "error" not in said.lower(), said
    expected = bytearray(before)
    expected[:4096] = b"\x11" * 4096
    expected[2 * MIB : 2 * MIB + 512] = b"\x12" * 512
    assert (tmp_path / "volume1").read_bytes() == expected, "its last 188 bytes are no sector, and stay"
    other = (tmp_path / "volume3").read_bytes()
    assert len(other) == 4 * MIB
    assert other[: 64 << 10] == b"\x31" * (64 << 10)
    assert other[-512:] == b"\x32" * 512


def test_one_request_may_touch_several_volumes(made: Callable[..., Composite]) -> None:
    composite = made({1: MIB, 2: MIB})
    assemble(composite, ME)
    image = Path(composite.folder, "../whole").resolve()
    subprocess.run(["qemu-img", "convert", "-O", "raw", f"nbd+unix:///?socket={composite.socket}", str(image)], check=True)
    whole = image.read_bytes()
    assert whole[MIB : 2 * MIB] == Path(composite.parts[0].path).read_bytes()
    assert whole[3 * MIB : 4 * MIB] == Path(composite.parts[1].path).read_bytes()


def test_what_is_written_to_the_table_is_gone_at_the_next_start(made: Callable[..., Composite]) -> None:
    composite = made({1: MIB, 2: MIB + 512})
    volumes = [Path(part.path).read_bytes() for part in composite.parts]
    assemble(composite, ME)
    said = qemu_io(
        composite, "write -P 0xff 0 512", f"write -P 0xfe {3 * MIB - 512} 512", "write -z 512 512", "read -P 0xff 0 512",
        f"read -P 0xfe {3 * MIB - 512} 512",
    )  # fmt: skip
    assert "fail" not in said.lower(), said
    assert until(lambda: not alive(composite))
    assemble(composite, ME)
    said = qemu_io(composite, "read -v 510 2", f"read -P 0 {3 * MIB - 512} 512")
    assert "55 aa" in said, "a table as ever"
    assert "fail" not in said.lower(), said
    assert [Path(part.path).read_bytes() for part in composite.parts] == volumes


def test_a_write_may_touch_table_and_volume(made: Callable[..., Composite]) -> None:
    composite = made({1: MIB})
    before = Path(composite.parts[0].path).read_bytes()
    assemble(composite, ME)
    assert "wrote 1024/1024" in qemu_io(composite, f"write -P 0xff {MIB - 512} 1024")
    assert Path(composite.parts[0].path).read_bytes() == b"\xff" * 512 + before[512:]


def test_a_write_that_touches_a_volume_to_be_read_changes_nothing(made: Callable[..., Composite]) -> None:
    composite = made({1: MIB, 2: MIB}, readonly=(2,))
    before = [Path(part.path).read_bytes() for part in composite.parts]
    assemble(composite, ME)
    said = qemu_io(composite, f"write -P 0xff {MIB} 2M", f"write -P 0xff {2 * MIB - 512} {MIB + 1024}")
    assert "wrote 2097152" in said, "up to the volume that may only be read"
    assert "not permitted" in said
    assert Path(composite.parts[0].path).read_bytes() == b"\xff" * MIB
    assert Path(composite.parts[1].path).read_bytes() == before[1]


def test_a_volume_with_mode_r_alone_refuses_writes(made: Callable[..., Composite]) -> None:
    composite = made({1: MIB, 2: MIB}, readonly=(1,))
    before = Path(composite.parts[0].path).read_bytes()
    assemble(composite, ME)
    said = qemu_io(
        composite, f"write -P 1 {MIB} 512", f"discard {MIB} 64k", f"write -z {MIB} 64k", f"write -P 2 {3 * MIB} 512"
    )  # the second lies at 3 MiB
    assert said.count("not permitted") == 2, said
    assert Path(composite.parts[0].path).read_bytes() == before
    assert Path(composite.parts[1].path).read_bytes()[:512] == b"\2" * 512


def test_trim_gives_space_back_and_zeros_are_zero(made: Callable[..., Composite]) -> None:
    composite = made({1: 4 * MIB, 2: 4 * MIB})
    path = Path(composite.parts[1].path)
    blocks = path.stat().st_blocks
    assemble(composite, ME)
    said = qemu_io(composite, f"discard {6 * MIB} 2M", f"write -z {8 * MIB} 1M", "flush")
    assert "failed" not in said.lower(), said
    assert path.read_bytes()[: 3 * MIB] == bytes(3 * MIB)
    assert path.stat().st_blocks <= blocks - 2 * 2048
    assert path.stat().st_size == 4 * MIB


def test_it_ends_with_its_guest(made: Callable[..., Composite]) -> None:
    composite = made({1: MIB})
    assemble(composite, ME)
    assert [(use.domain, use.path) for use in held(os.path.dirname(composite.folder))] == [
        ("web1", composite.parts[0].path)
    ]
    qemu_io(composite, "read 0 512")
    assert until(lambda: not alive(composite))
    sweep(os.path.dirname(composite.folder))
    assert not Path(composite.folder).exists()


def test_a_disk_that_a_guest_has_is_not_taken_away(
    made: Callable[..., Composite], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xmcompat.storage.composite.PATIENCE", 0.2)
    monkeypatch.setattr("xmcompat.storage.processes.running", lambda uuid: ["QEMU"])
    composite = made({1: MIB})
    assemble(composite, ME)
    guest = subprocess.Popen(
        ["qemu-io", "-f", "raw", f"nbd+unix:///?socket={composite.socket}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        guest.stdin.write(b"read 0 512\n")
        guest.stdin.flush()
        guest.stdout.readline()
        for change in (lambda: assemble(composite, ME, deadline=60), lambda: release(composite)):
            with pytest.raises(DeviceError, match="in use by a running guest"):
                change()
        sweep(os.path.dirname(composite.folder))
        guest.stdin.write(b"write -P 7 1M 512\nflush\n")
    finally:
        guest.communicate(timeout=20)
    assert Path(composite.parts[0].path).read_bytes()[:512] == b"\7" * 512


def test_a_server_that_still_writes_what_its_guest_had_is_waited_for(
    made: Callable[..., Composite], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as a disk may take to come up; and no guest is said to have it."""
    monkeypatch.setattr("xmcompat.storage.composite.PATIENCE", 0.1)
    monkeypatch.setattr("xmcompat.storage.processes.running", lambda uuid: [])
    composite = made({1: MIB})
    assemble(composite, ME)
    with open(f"{composite.folder}/busy", "rb") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        for change in (lambda: assemble(composite, ME, deadline=0.3), lambda: release(composite)):
            with pytest.raises(DeviceError, match="is not free yet: its server still writes what 'web1' had"):
                change()
        timer = threading.Timer(0.6, lambda: fcntl.flock(busy, fcntl.LOCK_UN))
        timer.start()
        assemble(composite, ME, deadline=30)
        timer.join()
    assert is_served(composite.folder)


def test_a_guest_is_known_by_its_uuid_and_another_of_its_name_has_no_part_in_its_disk(
    made: Callable[..., Composite], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as that of another libvirt, in a container."""
    monkeypatch.setattr("xmcompat.storage.composite.PATIENCE", 0.1)
    own, other = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
    with tempfile.TemporaryDirectory() as root:  # whose path is short enough for the socket
        composite = made({1: MIB})._replace(folder=f"{root}/{own}-xvda")
        assemble(composite, ME)
        for uuid, expected in ((other, "is not free yet"), (own, "is in use by a running guest")):
            words = ["-c", "input()", "-name", "guest=web1,debug-threads=on", "-uuid", uuid, "-no-user-config"]
            qemu = subprocess.Popen([sys.executable, *words], stdin=subprocess.PIPE)
            try:
                with open(f"{composite.folder}/busy", "rb") as busy:
                    fcntl.flock(busy, fcntl.LOCK_EX)
                    with pytest.raises(DeviceError, match=expected):
                        assemble(composite, ME)
            finally:
                qemu.communicate(b"\n", timeout=20)
        release(composite)


def test_a_server_that_has_just_ended_may_let_go_of_its_volumes_a_little_later(made: Callable[..., Composite]) -> None:
    """The kernel unlocks the files of a process that was killed one after the other, and not in their order."""
    composite = made({1: MIB})
    with ExitStack() as stack, open(composite.parts[0].path, "r+b") as volume:
        assert image_locks.take(volume.fileno(), writable=True, shareable=False)
        late = stack.enter_context(open(os.dup(volume.fileno()), "rb"))
        volume.close()
        timer = threading.Timer(0.15, late.close)
        timer.start()
        assemble(composite, ME)
        timer.join()
    assert is_served(composite.folder)


def has_ended(number: str) -> bool:
    try:
        return "Z" in Path(f"/proc/{number}/stat").read_text().split()
    except OSError:
        return True


def test_a_server_that_is_not_known_by_its_words_yet_is_ended_all_the_same(made: Callable[..., Composite]) -> None:
    """Between two moments of its start the kernel shows no words of a process."""
    composite = made({1: MIB})
    assemble(composite, ME)
    number = Path(composite.folder, "pid")
    server = number.read_text()
    number.write_text(str(os.getpid()))
    timer = threading.Timer(0.3, number.write_text, [server])
    timer.start()
    release(composite)
    timer.join()
    assert until(lambda: has_ended(server))
    with open(composite.parts[0].path, "r+b") as volume:
        assert until(lambda: image_locks.take(volume.fileno(), writable=True, shareable=False))


def test_two_do_not_write_to_one_volume(made: Callable[..., Composite], tmp_path: Path) -> None:
    composite = made({1: MIB})
    assemble(composite, ME)
    other = Composite(str(tmp_path / "c/other"), "web2", (composite.parts[0],))
    with pytest.raises(DeviceError, match="locked by another program"):
        assemble(other, ME)
    assert not Path(other.folder).exists()
    said = subprocess.run(
        ["qemu-io", "-f", "raw", "-c", "write 0 512", composite.parts[0].path], capture_output=True, text=True, check=False
    )
    assert "lock" in said.stderr, "QEMU itself sees it as well"


def test_two_may_share_what_is_shared(made: Callable[..., Composite], tmp_path: Path) -> None:
    composite = made({1: MIB}, shareable=True)
    assemble(composite, ME)
    other = Composite(str(tmp_path / "c/other"), "web2", composite.parts)
    assemble(other, ME)
    release(other)


def test_what_is_shared_goes_past_the_memory_of_the_host(
    made: Callable[..., Composite], lab_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is kept in the host's memory, where another host's writes would not be seen."""
    monkeypatch.chdir(lab_directory)
    volume = lab_directory / "shared.img"
    volume.write_bytes(os.urandom(4 * MIB + 512))
    with open(volume, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    composite = made({1: MIB})._replace(parts=(Part(1, str(volume), True, True), made({1: MIB}).parts[0]._replace(number=2)))
    assemble(composite, ME)
    try:
        said = qemu_io(
            composite, f"write -P 0x41 {MIB} 1M", f"write -P 0x42 {5 * MIB} 512", f"read -P 0x41 {MIB} 64k", f"read {2 * MIB} 2M",
            f"write -P 0x43 {7 * MIB - 512} 1024",
        )  # fmt: skip
        assert "wrote 1048576/1048576" in said
        assert "failed" not in said.replace("write failed: Operation not permitted", "")
        assert in_memory(volume) == 0
        data = volume.read_bytes()
        assert data[:MIB] == b"\x41" * MIB
        assert data[4 * MIB :] == b"\x42" * 512
    finally:
        until(lambda: not alive(composite))
        release(composite)


def in_memory(path: Path) -> int:
    """Pages of the file that the host has in its memory."""
    said = subprocess.run(["fincore", "-b", "-n", "-o", "PAGES", path], capture_output=True, text=True, check=True)
    return int(said.stdout)


def test_a_volume_that_is_not_there_leaves_nothing(made: Callable[..., Composite]) -> None:
    composite = made({1: MIB, 2: MIB})
    os.unlink(composite.parts[1].path)
    with pytest.raises(DeviceError, match=r"Device 51714 \(vbd\) could not be connected. .*volume2: No such file"):
        assemble(composite, ME)
    assert not Path(composite.folder).exists()


def test_a_folder_too_deep_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="too long a path"):
        assemble(Composite(f"{tmp_path}/{'x' * 120}", "web1", ()), ME)


KILLED = """
import os, signal, sys
from xmcompat.storage.composite import Composite, Part, assemble
folder, path, at = sys.argv[1:]
def step(name):
    if name == at:
        os.kill(os.getpid(), signal.SIGKILL)
assemble(Composite(folder, "web1", (Part(1, path),)), (os.getuid(), os.getgid()), step)
"""


@pytest.mark.parametrize("at", STEPS)
def test_killed_at_any_step_the_next_try_works(made: Callable[..., Composite], at: str) -> None:
    composite = made({1: MIB})
    words = [composite.folder, composite.parts[0].path, at]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], check=False, timeout=30)
    assert done.returncode == -signal.SIGKILL
    assemble(composite, ME)
    assert "wrote 512/512" in qemu_io(composite, f"write -P 9 {MIB} 512")
    assert Path(composite.parts[0].path).read_bytes()[:512] == b"\x09" * 512
    assert until(lambda: not alive(composite))


def test_a_server_that_is_killed_loses_nothing_that_was_flushed(made: Callable[..., Composite]) -> None:
    composite = made({1: MIB})
    assemble(composite, ME)
    server = int(Path(composite.folder, "pid").read_text())
    guest = subprocess.Popen(
        ["qemu-io", "-f", "raw", f"nbd+unix:///?socket={composite.socket}"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    guest.stdin.write("write -P 5 1M 64k\nflush\n")
    guest.stdin.flush()
    assert until(lambda: Path(composite.parts[0].path).read_bytes()[: 64 << 10] == b"\5" * (64 << 10))
    os.kill(server, signal.SIGKILL)
    said, _ = guest.communicate("write -P 6 1M 512\n", timeout=20)
    assert "failed" in said
    assert Path(composite.parts[0].path).read_bytes()[: 64 << 10] == b"\5" * (64 << 10)
    assemble(composite, ME)


@pytest.mark.parametrize(
    ("text", "expected"), [('#user = "x"\nuser = "root"  # as Xen\n', 0), ('user = "+1234"\n', 1234)]
)
def test_the_socket_is_for_the_user_of_qemu(tmp_path: Path, text: str, expected: int) -> None:
    (tmp_path / "qemu.conf").write_text(text)
    assert socket_owner(str(tmp_path / "qemu.conf")) == (expected, 0)


def test_a_shared_file_that_is_no_whole_number_of_the_disks_sectors_is_refused(
    made: Callable[..., Composite], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To write its last sector would make it longer."""
    monkeypatch.setattr("xmcompat.storage.direct.grain_of", lambda _fd: 4096)
    whole, odd = made({1: MIB}, shareable=True), made({2: MIB + 512}, shareable=True)
    with pytest.raises(DeviceError, match="Device 51714 .* can be shared in whole numbers of 4096 bytes alone"):
        assemble(odd, ME)
    assert not Path(odd.folder).exists()
    assemble(whole, ME)


@pytest.fixture
def coarse(tmp_path: Path) -> Iterator[Path]:
    """A block device whose sectors have 4096 bytes, with 4 MiB of data."""
    file = tmp_path / "coarse.img"
    file.write_bytes(os.urandom(4 * MIB))
    words = ["losetup", "-f", "--show", "--sector-size", "4096", str(file)]
    device = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    yield Path(device)
    subprocess.run(["losetup", "-d", device], check=True)


def test_a_shared_volume_of_larger_sectors_is_read_and_written_by_those_of_the_guest(
    coarse: Path, made: Callable[..., Composite]
) -> None:
    """The guest's sectors have 512 bytes; what lies beside them in one of the device's stays."""
    volume = coarse.read_bytes()
    composite = made({2: MIB})._replace(parts=(Part(1, str(coarse), True, True), made({2: MIB}).parts[0]))
    assemble(composite, ME)
    try:
        said = qemu_io(
            composite, f"write -P 0x41 {MIB + 512} 512", f"write -P 0x42 {MIB + 7 * 512} 10752",
            f"write -P 0x43 {2 * MIB} 4096", f"write -z {3 * MIB + 1024} 512", f"write -P 0x44 {5 * MIB - 512} 1024", f"read -P 0x41 {MIB + 512} 512",
            f"read -P 0x42 {MIB + 8 * 512} 512", "flush",
        )  # fmt: skip
        assert "failed" not in said and "error" not in said, said
    finally:
        until(lambda: not alive(composite))
        release(composite)
    wanted = bytearray(volume)
    for at, data in ((512, b"\x41" * 512), (7 * 512, b"\x42" * 10752), (MIB, b"\x43" * 4096), (2 * MIB + 1024, bytes(512)),
                     (4 * MIB - 512, b"\x44" * 512)):  # fmt: skip
        wanted[at : at + len(data)] = data
    assert coarse.read_bytes() == bytes(wanted)
