"""Checkpoints by a real libvirtd: the memory and the disks of one moment, of guests that run on and write."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import libvirt
import pytest

from tests.backends.test_libvirt_lifecycle import eventually, ticks
from tests.e2e.conftest import Bench
from tests.e2e.test_saving import Ticking, listed, qemu_of, small_disk
from tests.lab.fixtures import Starter, run_xm, xm_command
from tests.lab.guests import tick_xml
from tests.lab.terminal import Terminal
from xmcompat.backends.hypervisor import DomainState
from xmcompat.backends.libvirt_kvm import LibvirtKvm, connect
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.migration import save_file
from xmcompat.tour.guest import build_guest, xen_config

__all__ = ["small_disk"]  # a fixture

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(300)]

BOOT = 150.0
#: In the guest: a number goes up in the shell's memory, and then onto the disk.
WRITES = b"n=0; (while :; do n=$((n+1)); echo $n > /root/count; sync; echo count=$n; sleep 0.1; done) &\n"

STANDS = "'writer' is being saved, and goes on by itself when its disks are copied"


def counts(terminal: Terminal, more: int) -> int:
    """The last of so many MORE numbers that the guest has said."""
    found = b""
    for _ in range(more):
        found = terminal.expect(b"count=", 60) and terminal.expect(b"\n", 60)
    return int(re.findall(rb"\d+", found)[-1])


def test_a_linux_guest_goes_back_to_a_moment_with_its_memory_and_its_disk(bench: Bench, lab_directory: Path) -> None:
    """It writes all the time. After its return neither has lost the other, and the file system is whole."""
    files = build_guest(lab_directory / "linux", name="linux1")
    bench.config("linux1.cfg", xen_config(files, name="linux1", mac="00:16:3e:11:22:33", bridge="xenbr0", vcpus=1))
    file = bench.directory / "linux1.save"
    environ = {"XMCOMPAT_ACCELERATOR": "tcg"}
    with Terminal(xm_command(bench.node, "create", "-c", "linux1.cfg", cwd=bench.directory, env=environ)) as terminal:
        terminal.expect(b"linux1 login: ", BOOT)
        terminal.send(b"root\n")
        terminal.expect(b"# ", 30)
        terminal.send(WRITES)
        before = counts(terminal, 10)
        outcome = bench.xm("save", "-c", "linux1", str(file))
        assert (outcome.stdout, outcome.status) == ("", 0)
        (folder,) = bench.directory.glob("linux1.save.disks-*")
        assert outcome.stderr == (
            f"{file} has the domain's memory, {folder} its disks of the same moment: 'xm restore --disks {file}' brings "
            "both back, and loses what is written from now on.\n"
        )
        terminal.send(b"echo sa''ved\n")
        terminal.expect(b"saved", 60)  # what it has said until now may be of the time before the moment
        later = counts(terminal, 20)
        assert later > before
        assert bench.xm("destroy", "linux1").status == 0
    refused = bench.xm("restore", str(file))
    assert refused.status == 1
    assert "have been written since" in refused.stderr
    assert f"'xm restore --disks {file}' puts them back" in refused.stderr
    assert bench.remains() == ([], [])
    restored = bench.xm("restore", "-p", "--disks", str(file))
    assert (restored.stderr, restored.status) == ("", 0)
    with Terminal(xm_command(bench.node, "console", "linux1", env=environ)) as terminal:
        bench.await_console("linux1", "console[target/@type='virtio']")
        assert bench.xm("unpause", "linux1") == ("", "", 0)
        gone_back = counts(terminal, 2)
        assert before <= gone_back < later
        terminal.send(b"kill %1; kill $!\n")
        terminal.send(b"sleep 1; sync; echo 3 > /proc/sys/vm/drop_caches; cat /root/count; dmesg | grep -ci 'ext4.*error'\n")
        assert b"\r\n0\r\n" in terminal.expect(b"# ", 30) + terminal.expect(b"# ", 30)
        terminal.send(b"\x1d")
    assert bench.xm("shutdown", "-w", "linux1", timeout=120).status == 0
    checked = subprocess.run(
        ["e2fsck", "-fn", str(files.root_image)], capture_output=True, text=True, check=False, timeout=60
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout


@pytest.fixture
def writer(bench: Bench, start: Starter, tmp_path: Path) -> Ticking:
    """A guest with a disk that it may write, of 8 MiB."""
    disk = bench.directory / "disk.img"
    disk.write_bytes(os.urandom(8 << 20))
    return Ticking(bench, start, "writer", disks=[disk])


def left(bench: Bench) -> list[str]:
    """What is there beside the guest's disk and its log."""
    return sorted(path.name for path in bench.directory.iterdir() if path.name not in ("disk.img", "writer.log"))


def program_of(pid: str) -> str:
    """What a process runs; nothing where it has ended meanwhile."""
    with suppress(FileNotFoundError):
        return os.readlink(f"/proc/{pid}/exe")
    return ""


def xm_process(bench: Bench, *words: str) -> tuple[subprocess.Popen[str], int]:
    """``xm WORDS`` while it runs, and its pid: that of the interpreter, not of what started it."""
    process = subprocess.Popen(
        xm_command(bench.node, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip
    found = list[str]()

    def is_there() -> bool:
        done = subprocess.run(["pgrep", "-f", f"xm {' '.join(words)}"], capture_output=True, text=True, check=False)
        found[:] = [pid for pid in done.stdout.split() if "python" in program_of(pid)]
        return len(found) == 1

    eventually(is_there)
    return process, int(found[0])


def written(bench: Bench, what: str) -> bool:
    """Whether a file of that pattern has something in it."""
    with suppress(FileNotFoundError):  # it has got its name meanwhile
        return any(path.stat().st_blocks for path in bench.directory.glob(what))
    return False


def stopped_while(
    bench: Bench, qemu: int, comes: Callable[[], bool], stays: Callable[[], bool] | None = None
) -> tuple[subprocess.Popen[str], int]:
    """``xm save -c`` whose QEMU stands still from the moment that COMES, and STAYS then; it takes some hundredths of a
    second, and may be missed."""
    for _ in range(20):
        process, pid = xm_process(bench, "save", "-c", "writer", f"{bench.directory}/writer.save")
        begun = time.monotonic()
        while process.poll() is None and not comes():
            assert time.monotonic() < begun + 60, "it does not come so far"
        os.kill(qemu, signal.SIGSTOP)
        time.sleep(0.3)  # it is over meanwhile where QEMU has nothing more to do for it
        if process.poll() is None and (stays or comes)():
            return process, pid
        os.kill(qemu, signal.SIGCONT)
        _, said = process.communicate(timeout=60)
        for name in left(bench):  # a whole checkpoint
            place = bench.directory / name
            shutil.rmtree(place) if place.is_dir() else place.unlink()
    raise AssertionError(f"it is met at no time; {said}")


def assert_broken_off(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """PROCESS ends by the signal NUMBER, and says nothing."""
    _, stderr = process.communicate(timeout=60)
    assert stderr == ""
    assert process.returncode in (-number, 128 + number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_checkpoint_that_is_broken_off_leaves_the_guest_running_and_no_file(
    bench: Bench, hypervisor: LibvirtKvm, writer: Ticking, number: signal.Signals
) -> None:
    """By force as well: then another process lets the guest go on, which stands still at that moment."""
    qemu = qemu_of(bench.node, writer.info)
    os.kill(qemu, signal.SIGSTOP)  # so that it cannot be over before the signal comes
    try:
        process, pid = xm_process(bench, "save", "-c", "writer", f"{bench.directory}/writer.save")
        eventually(lambda: any(".disks-" in name for name in left(bench)))
        time.sleep(0.3)
        assert "migrating-writer " in bench.xm("list").stdout
        os.kill(pid, number)
        time.sleep(0.3)
    finally:
        os.kill(qemu, signal.SIGCONT)
    assert_broken_off(process, number)
    eventually(lambda: left(bench) == [])
    assert hypervisor.find("writer").state == DomainState.RUNNING
    writer.goes_on()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("what", ["*.disks-*/*", "*.unfinished"], ids=["its disks are copied", "its memory is written"])
def test_a_checkpoint_that_is_broken_off_midway_leaves_the_guest_running_and_no_file(
    bench: Bench, hypervisor: LibvirtKvm, start: Starter, number: signal.Signals, what: str
) -> None:
    disk = bench.directory / "disk.img"
    disk.write_bytes(os.urandom((200 if "disks" in what else 4) << 20))
    writer = Ticking(bench, start, "writer", disks=[disk])
    qemu = qemu_of(bench.node, writer.info)
    process, pid = stopped_while(bench, qemu, lambda: written(bench, what))
    try:
        assert process.poll() is None
        os.kill(pid, number)
        time.sleep(0.3)
    finally:
        os.kill(qemu, signal.SIGCONT)
    assert_broken_off(process, number)
    eventually(lambda: left(bench) == [])
    assert hypervisor.find("writer").state == DomainState.RUNNING
    writer.goes_on()


def prepares(domain: libvirt.virDomain) -> bool:
    """Whether libvirt has QEMU make the files of copies: then it has a job that it cannot tell of."""
    try:
        domain.jobInfo()
    except libvirt.libvirtError as error:
        return "backup job data missing" in str(error)
    return False


def prepares_still(domain: libvirt.virDomain) -> bool:
    """The same where QEMU stands still, which is asked once it copies."""
    found = list[bool]()
    asking = threading.Thread(target=lambda: found.append(prepares(domain)), daemon=True)
    asking.start()
    asking.join(1.0)
    return found == [True]


def stopped_while_it_prepares(
    bench: Bench, domain: libvirt.virDomain, qemu: int
) -> tuple[subprocess.Popen[str], int]:
    return stopped_while(bench, qemu, lambda: prepares(domain), lambda: prepares_still(domain))


@pytest.fixture
def large(bench: Bench, start: Starter) -> Ticking:
    """A guest with a disk of 200 MiB: it takes QEMU some hundredths of a second to make the file of its copy."""
    disk = bench.directory / "disk.img"
    disk.write_bytes(os.urandom(200 << 20))
    return Ticking(bench, start, "writer", disks=[disk])


def test_a_guest_stands_still_until_libvirt_has_given_up_the_copying(bench: Bench, large: Ticking) -> None:
    """QEMU 7.2 falls where it is told to go on while it makes the files of copies, of which libvirt says that it has given
    it up: its abortion is repeated, and the copying does not go on onto files that are gone."""
    qemu = qemu_of(bench.node, large.info)
    domain = libvirt.open(bench.node.uri).lookupByUUIDString(large.info.uuid)
    process, pid = stopped_while_it_prepares(bench, domain, qemu)
    try:
        os.kill(pid, signal.SIGKILL)
        assert_broken_off(process, signal.SIGKILL)
        time.sleep(1.0)  # the process that watches it has libvirt give it up
        assert "migrating-writer " in bench.xm("list").stdout
        refused = bench.xm("unpause", "writer")
        assert (refused.stderr, refused.status) == (f"Error: {STANDS}\n", 1)
    finally:
        os.kill(qemu, signal.SIGCONT)
    begun, runs, at_work = time.monotonic(), False, True
    while not runs:
        assert time.monotonic() < begun + 60, "it does not go on"
        runs = domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING
        at_work = prepares(domain) or domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE
    assert not at_work
    eventually(lambda: left(bench) == [])
    assert "migrating-" not in bench.xm("list").stdout
    large.goes_on()


def test_a_checkpoint_of_a_guest_that_somebody_lets_run_is_none(bench: Bench, large: Ticking) -> None:
    """Its disks would be of one moment, and its memory of another."""
    domain = libvirt.open(bench.node.uri).lookupByUUIDString(large.info.uuid)
    process, pid = stopped_while_it_prepares(bench, domain, qemu := qemu_of(bench.node, large.info))
    os.kill(pid, signal.SIGSTOP)
    try:
        os.kill(qemu, signal.SIGCONT)
        eventually(lambda: not prepares(domain))
        assert bench.xm("unpause", "writer").stderr == f"Error: {STANDS}\n"
        assert bench.xm("reset", "writer").stderr == f"Error: {STANDS}\n"
        domain.resume()  # nobody asks xm
    finally:
        os.kill(pid, signal.SIGCONT)
        os.kill(process.pid, signal.SIGCONT)  # what has started it stops with it
    _, stderr = process.communicate(timeout=60)
    assert stderr.startswith("Error: ")
    assert "somebody has let it run while it was saved; try again" in stderr
    assert process.returncode == 1
    assert left(bench) == []
    large.goes_on()


def test_a_checkpoint_whose_guest_dies_leaves_no_file(bench: Bench, writer: Ticking) -> None:
    qemu = qemu_of(bench.node, writer.info)
    os.kill(qemu, signal.SIGSTOP)
    process, _ = xm_process(bench, "save", "-c", "writer", f"{bench.directory}/writer.save")
    eventually(lambda: any(".disks-" in name for name in left(bench)))
    time.sleep(0.3)
    os.kill(qemu, signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert (stderr, process.returncode) == ("Error: Domain is not running\n", 1)
    assert left(bench) == []
    assert bench.remains() == ([], [])


@pytest.mark.parametrize("size", ["8500k", "4m"], ids=["for the memory", "for the copies"])
def test_where_there_is_no_room_the_guest_runs_on_and_nothing_is_left(
    bench: Bench, hypervisor: LibvirtKvm, start: Starter, small_disk: Path, size: str
) -> None:
    """The disk is there before the guest: its QEMU sees the host as it was at its start."""
    subprocess.run(bench.node.enter(["mount", "-o", f"remount,size={size}", str(small_disk)]), check=True, timeout=10)
    disk = bench.directory / "disk.img"
    disk.write_bytes(os.urandom(8 << 20))
    writer = Ticking(bench, start, "writer", disks=[disk])
    outcome = bench.xm("save", "-c", "writer", f"{small_disk}/writer.save")
    assert outcome.stderr == f"Error: can't write guest state file {small_disk}/writer.save: No space left on device\n"
    assert outcome.status == 1
    assert listed(bench.node, small_disk) == []
    assert hypervisor.find("writer").state == DomainState.RUNNING
    writer.goes_on()


def test_a_second_checkpoint_takes_the_place_of_the_first_and_its_copies(bench: Bench, writer: Ticking) -> None:
    file = bench.directory / "writer.save"
    assert bench.xm("save", "-c", "writer", str(file)).status == 0
    (first,) = [name for name in left(bench) if ".disks-" in name]
    assert bench.xm("save", "-c", "writer", str(file)).status == 0
    (second,) = [name for name in left(bench) if ".disks-" in name]
    assert first != second
    assert left(bench) == ["writer.save", second]
    assert bench.xm("save", "-c", "--memory-only", "writer", str(file)).stderr == (
        f"{file} has the domain's memory, but not its disks of that moment (vda): restore it only when somebody has put "
        "those back as they were.\n"
    )
    assert left(bench) == ["writer.save"]
    assert bench.xm("destroy", "writer").status == 0
    assert "put them back as they were then" in bench.xm("restore", str(file)).stderr
    assert bench.xm("restore", "--force", str(file)) == ("", "", 0)
    count = ticks(writer.log)
    eventually(lambda: ticks(writer.log) > count)


def test_bytes_that_have_changed_on_their_way_are_noticed_and_nothing_is_started(bench: Bench, writer: Ticking) -> None:
    file = bench.directory / "writer.save"
    assert bench.xm("save", "writer", str(file)) == ("", "", 0)
    place = save_file.read(str(file)).memory[-1][0] + 80_000
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    outcome = bench.xm("restore", str(file))
    assert (outcome.status, outcome.stderr) == (
        1, f"Error: {file} is damaged: by its checksum, the memory in it is not what was written; copy it anew from where it is "
        "whole\n",
    )  # fmt: skip
    assert bench.remains() == ([], [])
    data[place] ^= 1
    file.write_bytes(data)
    assert bench.xm("restore", str(file)) == ("", "", 0)
    writer.goes_on()


def test_a_disk_that_somebody_has_written_meanwhile_keeps_the_guest_from_its_memory(
    bench: Bench, writer: Ticking
) -> None:
    file, disk = bench.directory / "writer.save", bench.directory / "disk.img"
    assert bench.xm("save", "writer", str(file)) == ("", "", 0)
    with open(disk, "r+b") as written:
        written.write(b"x")
    outcome = bench.xm("restore", str(file))
    assert outcome.stderr == (
        f"Error: Restore failed: the disks of 'writer' have been written since {file} was saved: vda ({disk}); going on "
        f"from its memory would damage what is on them; put them back as they were then; 'xm restore --force {file}' starts "
        "it all the same\n"
    )
    assert (outcome.status, bench.remains()) == (1, ([], []))
    assert bench.xm("restore", "--force", str(file)) == ("", "", 0)
    count = ticks(writer.log)
    eventually(lambda: ticks(writer.log) > count)


@pytest.mark.parametrize("word", ["gzip", "zstandard"])
def test_memory_is_compressed_as_libvirt_is_told_to_and_a_word_that_it_does_not_know_is_named(
    lab_directory: Path, roms: Path, word: str
) -> None:
    """And where that libvirtd is killed while a guest stands still for its checkpoint, the guest goes on."""
    directory = lab_directory / word
    node = PrivateLibvirtd(directory, name=word, own_network=True, qemu_conf=f'save_image_format = "{word}"\n')
    node.start()
    try:
        hypervisor = connect(node.uri)
        log, disk, file = directory / "tick.log", directory / "disk.img", directory / "web1.save"
        disk.write_bytes(bytes(1 << 20))
        info = hypervisor.create(tick_xml("web1", roms, log=log, disks=[disk]))
        eventually(lambda: ticks(log) > 2)
        outcome = run_xm(node, "save", "web1", str(file))
        if word != "gzip":
            assert outcome.status == 1
            assert "save image format" in outcome.stderr
            assert "save_image_format in libvirt's qemu.conf is to be raw, or gzip" in outcome.stderr
            assert not file.exists()
            assert hypervisor.find("web1").state == DomainState.RUNNING
            return
        assert outcome == ("", "", 0)
        offset = save_file.read(str(file)).spans[0][0]
        assert file.read_bytes()[offset + 28 : offset + 32] == b"\1\0\0\0"  # libvirt's number of gzip
        assert run_xm(node, "restore", "-p", _header_half_kept(file)) == ("", "", 0)
        hypervisor.destroy(info.uuid)
        assert run_xm(node, "restore", str(file)) == ("", "", 0)
        _killed_while_it_stands_still(node, info.uuid, directory)
        count = ticks(log)
        eventually(lambda: ticks(log) > count + 1)
        assert log.read_bytes().count(b"TICKROM-UP") == 1
    finally:
        node.stop()


def _header_half_kept(file: Path) -> str:
    """What FILE was if xm was killed while it kept libvirt's header: gzip would fail over what follows its own bytes."""
    (head, stream), data = save_file.read(str(file)).spans, file.read_bytes()
    half = data[slice(*head)][:1000]
    path = file.with_name("half.abcdefgh.unfinished")
    path.write_bytes(data[slice(*head)] + data[slice(*stream)] + half + bytes(head[1] - head[0] - len(half)) + data[head[1] :])
    return str(path)


def _killed_while_it_stands_still(node: PrivateLibvirtd, uuid: str, directory: Path) -> None:
    qemu = qemu_of(node, connect(node.uri).find(uuid))
    os.kill(qemu, signal.SIGSTOP)
    try:
        process = subprocess.Popen(
            xm_command(node, "save", "-c", "web1", f"{directory}/again.save"), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        eventually(lambda: list(directory.glob("again.save.disks-*")))
        time.sleep(0.3)
        daemon = node.daemon_pid()
        assert daemon is not None
        os.kill(daemon, signal.SIGKILL)
    finally:
        os.kill(qemu, signal.SIGCONT)
    _, stderr = process.communicate(timeout=60)
    assert (stderr[:7], process.returncode) == ("Error: ", 1)
    assert list(directory.glob("again.save*")) == []
