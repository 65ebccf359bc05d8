"""Disks of a new guest against real files and device nodes: xm's sentence for each thing that is wrong."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.fixtures import CHECKOUT
from xmcompat.errors import DeviceError, DiskBusy
from xmcompat.storage import device_locks, looking
from xmcompat.storage.check import Source, assemble, host_uses, identities
from xmcompat.storage.sharing import Held, Identity

NUMBER = 51714
IN_GUEST = "Device {} is mounted in a guest domain,\nand so cannot be mounted now."
CONNECTED = f"Device {NUMBER} (vbd) could not be connected."


def source(path: object, *, kind: str = "file", writable: bool = True, shareable: bool = False) -> Source:
    return Source(kind, str(path), writable, shareable, NUMBER)


def held(path: object, *, readonly: bool = False, shareable: bool = False) -> Held:
    return Held(domain="other", path=str(path), readonly=readonly, shareable=shareable)


def refusal(*sources: Source, others: tuple[Held, ...] = (), mountinfo: str = "") -> str:
    with pytest.raises(DeviceError) as error:
        assemble(sources, others=others, mountinfo=mountinfo)
    assert error.value.exit_code == 1
    assert error.value.shows_usage
    return error.value.lines()[0]


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose server does not answer: a look at anything in it does not end."""
    real, answer = os.stat, threading.Event()

    def waits(path: str, **more: object) -> os.stat_result:
        if isinstance(path, str) and path.startswith(f"{tmp_path}/away/"):
            answer.wait(30)
        return real(path, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", waits)
    monkeypatch.setattr(looking, "DEADLINE", 1.0)
    monkeypatch.setattr(looking.stat, "__defaults__", (1.0,))
    yield tmp_path / "away"
    answer.set()


def test_a_disk_on_a_server_that_is_away_is_told_in_time(silent: Path) -> None:
    assert refusal(source(silent / "web1.img")) == (
        f"{CONNECTED} {silent}/web1.img: the file system does not answer; its server may be away."
    )


def test_disks_of_others_on_a_server_that_is_away_keep_no_guest_from_its_start(image: Path, silent: Path) -> None:
    others = tuple(held(silent / f"{number}.img") for number in range(2))
    begun = time.monotonic()
    assert assemble([source(image)], others=others, mountinfo="") == [str(image)]
    assert "in a guest domain" in refusal(source(image), others=(*others, held(image)))
    assert time.monotonic() - begun < 10


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "web1.img"
    path.write_bytes(b"\0" * 512)
    return path


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A block device node. Nothing need answer behind it: only its number is looked at."""
    path = tmp_path / "lv"
    os.mknod(path, 0o600 | stat.S_IFBLK, os.makedev(259, 4095))
    return path


def test_sound_disks_come_back_as_absolute_paths(image: Path, node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(image.parent)
    sources = [source("web1.img"), source(node, kind="block"), source(f"{image.parent}/./x/../web1.img")]
    # the third is the same file again: a domain's own disks do not hinder each other
    assert assemble(sources, others=[], mountinfo="") == [str(image), str(node), str(image)]


def test_no_disks_are_no_question() -> None:
    assert assemble([], others=[held("/srv/x.img")]) == []


def test_a_link_keeps_its_name_which_holds_on_other_hosts_too(image: Path) -> None:
    link = image.with_name("link")
    link.symlink_to(image.name)
    assert assemble([source(link)], others=[], mountinfo="") == [str(link)]


@pytest.mark.parametrize("kind", ["file", "block"])
@pytest.mark.parametrize("missing", ["none.img", "none/x.img", "web1.img/x", "dangling", "nul\0.img"])
def test_what_does_not_exist(image: Path, kind: str, missing: str) -> None:
    (image.parent / "dangling").symlink_to("nowhere")
    path = f"{image.parent}/{missing}"
    assert refusal(source(path, kind=kind)) == f"{CONNECTED} {path} does not exist."


def test_an_empty_path_does_not_exist() -> None:
    assert refusal(source("")) == f"{CONNECTED}  does not exist."


def test_a_ring_of_links_is_told_as_the_kernel_tells_it(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    assert refusal(source(tmp_path / "a")) == f"{CONNECTED} {tmp_path}/a: Too many levels of symbolic links."


@pytest.mark.parametrize("name", ["file", "directory", "/dev/null"])
def test_phy_needs_a_block_device(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    path = tmp_path / name
    assert refusal(source(path, kind="block")) == f"{CONNECTED} {path} is not a block device."


def test_a_directory_is_no_image(tmp_path: Path) -> None:
    assert refusal(source(tmp_path)) == f"{CONNECTED} {tmp_path} is a directory."


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refusal(source(tmp_path / "pipe")) == f"{CONNECTED} {tmp_path}/pipe is not a regular file."


def test_a_block_device_serves_as_a_file(node: Path) -> None:
    assert assemble([source(node)], others=[], mountinfo="") == [str(node)]


def test_a_read_only_file_is_not_written(image: Path) -> None:
    image.chmod(0o444)
    assert refusal(source(image)) == (
        f"{CONNECTED}\nFile {image} is read-only, and so I will not\nmount it read-write in a guest domain."
    )
    assert assemble([source(image, writable=False)], others=[], mountinfo="") == [str(image)]
    image.chmod(0o464)
    assert assemble([source(image)], others=[], mountinfo="") == [str(image)]


def test_the_device_is_named_as_xm_names_it(tmp_path: Path) -> None:
    bad = Source("file", f"{tmp_path}/x", True, False, "vdb", "tap")
    assert refusal(bad) == f"Device vdb (tap) could not be connected. {tmp_path}/x does not exist."


def test_the_first_bad_disk_is_the_one_named(image: Path) -> None:
    assert refusal(source(image), source("/none/1"), source("/none/2")).endswith(" /none/1 does not exist.")


def test_a_file_that_another_guest_writes_is_taken_whatever_its_name(image: Path) -> None:
    other_name = image.with_name("hard")
    other_name.hardlink_to(image)
    assert refusal(source(image), others=(held(other_name),)) == f"{CONNECTED}\n{IN_GUEST.format(image)}"


def test_a_device_that_another_guest_holds_is_taken_whatever_its_node(node: Path) -> None:
    again = node.with_name("dm-1")
    os.mknod(again, 0o600 | stat.S_IFBLK, os.makedev(259, 4095))
    other = node.with_name("dm-2")
    os.mknod(other, 0o600 | stat.S_IFBLK, os.makedev(259, 4094))
    assert refusal(source(node, kind="block"), others=(held(again),)) == f"{CONNECTED}\n{IN_GUEST.format(node)}"
    assert assemble([source(node, kind="block")], others=[held(other)], mountinfo="") == [str(node)]


@pytest.fixture
def device(image: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that stands in for a block device."""
    monkeypatch.setattr(stat, "S_ISBLK", lambda mode: stat.S_IFMT(mode) == stat.S_IFREG)
    monkeypatch.setattr(device_locks, "PATIENCE", 0.5)
    return image


@contextmanager
def locked(path: Path, seconds: float = 30.0) -> Iterator[int]:
    """As by a process that fills it; its number."""
    fills = ["python3", "-c", "import fcntl, sys, time\nfile = open(sys.argv[1])\nfcntl.flock(file, fcntl.LOCK_EX)\n"
             "print('locked', flush=True)\ntime.sleep(float(sys.argv[2]))", str(path), str(seconds)]  # fmt: skip
    with subprocess.Popen(fills, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        try:
            child.stdout.readline()
            yield child.pid
        finally:
            child.kill()


@pytest.mark.parametrize("writable", [True, False])
def test_a_device_that_is_being_filled_is_given_to_no_guest(device: Path, writable: bool) -> None:
    wanted = source(device, kind="block", writable=writable)
    with locked(device) as pid:
        assert refusal(wanted) == f"{CONNECTED}\nDevice {device} is being filled, or changed, by another process."
        with pytest.raises(DiskBusy) as error:
            assemble([wanted], others=[], mountinfo="")
        assert error.value.lines()[-1] == f"Hint: 'python3' (process {pid}) has locked it; wait for it"
        shared = source(device, kind="block", shareable=True)
        assert assemble([shared], others=[], mountinfo="") == [str(device)]
    assert assemble([wanted], others=[], mountinfo="") == [str(device)]


def test_a_device_that_is_being_filled_is_seen_also_where_other_looks_have_used_up_the_time(
    device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At images of other guests, on a server that is away."""
    monkeypatch.setattr(looking, "DEADLINE", 0.0)
    with locked(device), pytest.raises(DiskBusy, match="is being filled, or changed, by another process"):
        assemble([source(device, kind="block")], others=[], mountinfo="")


def test_who_has_a_device_for_a_moment_hinders_nobody(device: Path) -> None:
    with locked(device, 0.1):
        assert assemble([source(device, kind="block")], others=[], mountinfo="") == [str(device)]


ASKS = """
import sys
from xmcompat.storage import device_locks
device_locks.PATIENCE = 0.5
with open(sys.argv[1]) as file:
    print(repr(device_locks.filled_by(sys.argv[1])), device_locks.take(file.fileno()))
"""


@pytest.mark.parametrize(
    "wrapper",
    ["flock DEV ASK", "flock -o DEV ASK", "flock -o DEV sh -c 'ASK; :'", "sh -c 'exec 9<DEV; flock 9; exec ASK'"],
    ids=["flock", "without its lock", "above a shell", "left by a shell"],
)
def test_a_device_that_was_locked_for_the_very_command_is_free_for_it(device: Path, wrapper: str) -> None:
    """So that nobody else starts the same guest meanwhile."""
    program = device.parent / "ask.py"
    program.write_text(ASKS)
    words = wrapper.replace("ASK", f"{sys.executable} {program} {device}").replace("DEV", str(device))
    done = subprocess.run(
        ["sh", "-c", f"exec {words}"], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}
    )
    assert (done.stdout, done.stderr) == ("'' True\n", "")


def test_what_this_process_fills_itself_is_being_filled(device: Path) -> None:
    with device_locks.taken(str(device)):
        assert device_locks.filled_by(str(device)) == "another process"


def test_who_only_looks_at_a_device_hinders_nobody(device: Path) -> None:
    """As udev does."""
    with device.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert assemble([source(device, kind="block")], others=[], mountinfo="") == [str(device)]


def test_the_holder_is_named_on_a_line_of_its_own(image: Path) -> None:
    with pytest.raises(DiskBusy) as error:
        assemble([source(image)], others=[held(image)], mountinfo="")
    assert error.value.lines()[1] == f"Hint: the domain {held(image).domain} has it"


def test_w_with_an_exclamation_mark_shares(image: Path) -> None:
    shared = source(image, shareable=True)
    assert assemble([shared], others=[held(image, shareable=True)], mountinfo="") == [str(image)]


def test_a_disk_of_another_guest_that_is_gone_hinders_nobody(image: Path) -> None:
    assert assemble([source(image)], others=[held("/none/gone.img")], mountinfo="") == [str(image)]


def test_a_device_that_this_host_has_mounted_is_taken(node: Path) -> None:
    mountinfo = "36 35 259:4095 / /srv rw,noatime shared:1 - ext4 /dev/x rw,errors=remount-ro\n"
    assert refusal(source(node, kind="block"), mountinfo=mountinfo) == (
        f"{CONNECTED}\nDevice {node} is mounted in the privileged domain,\nand so cannot be mounted by a guest."
    )


def test_a_file_system_without_a_number_is_known_by_its_source() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        path = f"{directory}/sdx1"
        os.mknod(path, 0o600 | stat.S_IFBLK, os.makedev(259, 4095))
        (use,) = host_uses(f"36 35 0:44 / /srv rw - btrfs {path} rw\n")
    assert use.identities == {Identity("block", 259, 4095)}
    assert not use.readonly


def test_this_hosts_own_mounts_are_read_where_none_are_given(image: Path) -> None:
    assert assemble([source(image)], others=[]) == [str(image)]


def test_identities_of_nothing_are_none(image: Path) -> None:
    found = image.stat()
    assert identities(str(image)) == {Identity("file", found.st_dev, found.st_ino)}
    assert identities("/none") == identities("a\0b") == frozenset()


def test_checking_opens_and_changes_nothing(image: Path) -> None:
    image.chmod(0o000)
    before, files = image.stat(), os.listdir(image.parent)
    assert assemble([source(image, writable=False)], others=[]) == [str(image)]
    assert image.stat() == before
    assert os.listdir(image.parent) == files
