"""``xm top`` and xentop against a real libvirtd: at a terminal, in a pipe, and when something breaks meanwhile."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path

import pytest

from tests.e2e.conftest import Bench
from tests.lab.fixtures import CHECKOUT, Starter, xm_command
from tests.lab.guests import tick_xml
from tests.lab.terminal import Terminal
from xmcompat.backends.libvirt_kvm import connect
from xmcompat.backends.local_host import processes_with
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.errors import XmError
from xmcompat.toolstack import Toolstack

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

TITLES = (
    "      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) VCPUS NETS NETTX(k) NETRX(k) VBDS   "
    "VBD_OO   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT SSID"
)
TICK = os.sysconf("SC_CLK_TCK")


def command(node: PrivateLibvirtd, *words: str) -> list[str]:
    """What runs xentop inside the node."""
    argv = xm_command(node)
    return [*argv[: argv.index(sys.executable)], sys.executable, "-c", "from xmcompat.xm.top import run; run()", *words]


def xentop(node: PrivateLibvirtd, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(node, *words), capture_output=True, text=True, timeout=60, check=False)


def outside(node: PrivateLibvirtd, *words: str) -> list[str]:
    """What runs ``xm WORDS`` outside the node's namespaces, so that its own status is seen."""
    env = ["env", "-u", "LINES", "-u", "COLUMNS", "TERM=xterm", f"XMCOMPAT_URI={node.uri}", f"PYTHONPATH={CHECKOUT}"]
    return [*env, sys.executable, "-m", "xmcompat.xm", *words]


def resize(terminal: Terminal, lines: int, columns: int) -> None:
    ioctl(terminal._fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


@pytest.fixture
def screen(bench: Bench) -> Iterator[Terminal]:
    """``xm top`` on a terminal of 30 lines and 170 columns."""
    with Terminal(["sh", "-c", 'stty rows 30 cols 170; exec "$@"', "sh", *outside(bench.node, "top")]) as terminal:
        yield terminal


@pytest.fixture
def spinning(lab_directory: Path) -> Path:
    """Firmware that jumps to itself for ever."""
    directory = lab_directory / "spin"
    directory.mkdir(exist_ok=True)
    (directory / "tick.rom").write_bytes(b"\xff" * 0xFFF0 + b"\xeb\xfe" + b"\xff" * 14)
    return directory


def qemu(uuid: str) -> int:
    """The number of a guest's QEMU."""
    return next(int(os.path.basename(process)) for process in processes_with(("-uuid", uuid)))


def spent(pid: int) -> float:
    """Seconds of processor time of a process."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICK


def row(text: str, name: str) -> list[str]:
    """The last row of a domain."""
    return [line.split() for line in text.splitlines() if line.split()[:1] == [name]][-1]


def test_the_share_of_a_cpu_is_what_the_kernel_counts(bench: Bench, start: Starter, spinning: Path, roms: Path) -> None:
    infos = [
        bench.hypervisor.create(tick_xml(name, spinning, kvm=False)) for name in ("busy1", "busy2")
    ] + [start("idle1", kvm=False, idle=True)]  # fmt: skip
    pids = [qemu(info.uuid) for info in infos]
    with Toolstack.open(bench.node.uri) as toolstack:
        toolstack.statistics.picture()  # a QEMU that has just started answers late
        deadline = time.monotonic() + 60
        while True:  # a busy host may leave the two that spin little of a processor
            statistics = toolstack.statistics
            first = statistics.picture()
            before, begun = [spent(pid) for pid in pids], time.monotonic()
            time.sleep(10)
            second = statistics.picture()
            after, elapsed = [spent(pid) for pid in pids], time.monotonic() - begun
            counted = [100 * (new - old) / elapsed for old, new in zip(before, after, strict=True)]
            if min(counted[:2]) > 28 or time.monotonic() > deadline:
                break
    assert {usage.cpu_percent for usage in first.usages} == {0.0}
    shares = {usage.info.name: usage.cpu_percent for usage in second.usages}
    for info, share in zip(infos, counted, strict=True):
        assert shares[info.name] == pytest.approx(share, abs=8), shares
    assert shares["busy1"] > 20 and shares["busy2"] > 20 and shares["idle1"] < 15
    assert 0 <= shares["Domain-0"] <= 100 * second.cpus
    assert sum(shares.values()) < 100 * second.cpus + 30


def test_in_batch_form_each_look_has_titles_and_rows(bench: Bench, start: Starter, tmp_path: Path) -> None:
    disk = bench.directory / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    start("a-name-of-20-letters", kvm=False, bridges=["xenbr0"], disks=[disk])
    start("sleeper", kvm=False, paused=True)
    done = xentop(bench.node, "-b", "-i2", "-d", "0.3")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line for line in lines if "SSID" in line] == [TITLES] * 2
    assert len(lines) == 8 and lines[0] == lines[4] == TITLES
    assert [line.split()[:2] for line in lines[5:]] == [
        ["Domain-0", "-----r"], ["a-name-of-", "-----r"], ["sleeper", "----p-"]
    ]  # fmt: skip
    cells = row(done.stdout, "a-name-of-")
    assert (cells[4], cells[6], cells[8:10], cells[12]) == ("16384", "16384", ["1", "1"], "1")
    assert "no limit       n/a" in lines[1]
    full = xentop(bench.node, "--full-name", "--networks", "--vbds", "--vcpus", "--repeat-header", "--iterations=1")
    text = full.stdout
    assert "a-name-of-20-letters -----r " in text
    assert text.count("SSID") == 3
    assert re.search(r"^VCPUs\(sec\):   0: +\d+s", text, re.MULTILINE)
    assert re.search(r"^Net0 RX: +\d+bytes +\d+pkts +0err +0drop  TX: +\d+bytes +\d+pkts +0err +0drop$", text, re.MULTILINE)
    assert re.search(r"^VBD BlkBack 51712 \[ca: 0\]  OO: +0   RD: +\d+   WR: +\d+  RSECT: +\d+  WSECT: +\d+$", text, re.MULTILINE)


def test_a_full_disk_is_one_line(bench: Bench) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command(bench.node, "-b", "-i1"), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (1, "xentop: cannot go on: No space left on device\n")


def test_in_a_pipe_it_goes_on_until_nobody_reads(bench: Bench) -> None:
    reader, writer = os.pipe()
    with subprocess.Popen(outside(bench.node, "top"), stdout=writer, stderr=subprocess.PIPE, text=True) as process:
        os.close(writer)
        assert os.read(reader, 4096).decode().splitlines()[0] == TITLES
        os.close(reader)
        _, said = process.communicate(timeout=20)
        assert (process.returncode, said) == (0, "")


def test_keys_change_the_screen_and_q_leaves_the_terminal_as_it_was(screen: Terminal, start: Starter) -> None:
    screen.expect(b"xentop - ")
    screen.expect(b"1 domains: ")
    screen.expect(b"SSID")
    screen.send(b"v")
    screen.expect(b"VCPUs(sec)")
    start("orchid", kvm=False, bridges=["xenbr0"])
    screen.send(b"d1\r")
    screen.expect(b"orchid", timeout=10)  # it has come by the next look
    screen.send(b"n")
    screen.expect(b"Net0 RX")
    resize(screen, 12, 60)
    os.kill(screen.process.pid, signal.SIGWINCH)
    screen.send(b"s\x1b[B\x1bOA\x1b[6~rxbz")
    time.sleep(0.3)
    assert screen.process.poll() is None
    screen.send(b"q")
    assert screen.wait() == 0
    assert screen.modes() == screen.saved_modes
    assert b"\x1b[?1049l" in screen.output and b"Traceback" not in screen.output


@pytest.mark.parametrize("ending", [b"\x03", b"\x1b"])
def test_ctrl_c_and_esc_end_it_too(screen: Terminal, ending: bytes) -> None:
    screen.expect(b"SSID")
    screen.send(ending)
    assert screen.wait() == 0
    assert screen.modes() == screen.saved_modes


def test_a_signal_ends_it_and_the_terminal_is_as_it_was(screen: Terminal) -> None:
    screen.expect(b"SSID")
    screen.process.terminate()
    assert screen.wait() == -signal.SIGTERM
    assert screen.modes() == screen.saved_modes


def test_domains_come_and_go(bench: Bench, start: Starter) -> None:
    with Toolstack.open(bench.node.uri) as toolstack:
        statistics = toolstack.statistics
        assert [usage.info.name for usage in statistics.picture().usages] == ["Domain-0"]
        info = start("guest", kvm=False)
        assert [usage.info.name for usage in statistics.picture().usages] == ["Domain-0", "guest"]
        bench.hypervisor.destroy(info.uuid)
        (only,) = statistics.picture().usages
        assert 0 <= only.cpu_percent <= 100 * len(os.sched_getaffinity(0))


def test_a_qemu_that_hangs_holds_up_nothing(bench: Bench, start: Starter) -> None:
    hung, other = start("hung", kvm=False), start("other", kvm=False)
    with Toolstack.open(bench.node.uri) as toolstack:
        statistics = toolstack.statistics
        statistics.picture()
        os.kill(qemu(hung.uuid), signal.SIGSTOP)
        try:
            begun = time.monotonic()
            pictures = [statistics.picture() for _ in range(4)]
            assert time.monotonic() - begun < 4
        finally:
            os.kill(qemu(hung.uuid), signal.SIGCONT)
        assert [[usage.info.name for usage in picture.usages] for picture in pictures] == [["Domain-0", "hung", "other"]] * 4
        assert all(usage.info.memory and usage.info.vcpus for usage in pictures[-1].usages)
        assert bench.hypervisor.find(other.uuid).started


def test_when_libvirtd_dies_it_ends_with_one_line(bench: Bench) -> None:
    programs = (outside(bench.node, "top"), command(bench.node, "-b", "-d", "0.2"))
    for argv, status, beginning in zip(programs, (0, 1), ("Error: ", "xentop: "), strict=True):
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == f"{TITLES}\n"
            daemon = bench.node.daemon_pid()
            assert daemon is not None
            os.kill(daemon, signal.SIGKILL)
            _, said = process.communicate(timeout=30)
        assert (process.returncode, said.splitlines()[0].startswith(beginning)) == (status, True), said
        assert len(said.splitlines()) <= 2 and "Traceback" not in said
        until_it_answers(bench.node)


def until_it_answers(node: PrivateLibvirtd) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            connect(node.uri).close()
        except XmError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


def test_without_libvirtd_it_says_so() -> None:
    env = {**os.environ, "XMCOMPAT_URI": "qemu+unix:///system?socket=/nowhere", "PYTHONPATH": str(CHECKOUT)}
    words = [sys.executable, "-m", "xmcompat.xm", "top"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("Error: ")
