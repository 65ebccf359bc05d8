"""Memory, vcpus and scheduling through xm alone: what a real Linux guest sees of it, and what libvirt does."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Bench, Writer
from tests.e2e.test_linux_guest import ask, console, log_in
from tests.lab.terminal import Terminal
from xmcompat.backends.hypervisor import Scheduling
from xmcompat.backends.local_host import host_cpus
from xmcompat.tour.guest import GuestFiles, build_guest, xen_config

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(300)]

CPUS = [cpu.number for cpu in host_cpus() if cpu.online]


@pytest.fixture(scope="module")
def files(lab_directory: Path) -> GuestFiles:
    return build_guest(lab_directory / "tuned", name="linux1")


@pytest.fixture
def config(bench: Bench, files: GuestFiles) -> Iterator[Path]:
    text = xen_config(files, name="linux1", mac="00:16:3e:11:22:44", bridge="xenbr0", vcpus=1)
    yield bench.config("linux1.cfg", text + "maxvcpus = 2\ncpus = '0-3'\ncpu_weight = 300\n")


def free_memory(terminal: Terminal) -> int:
    """KiB that the guest has left."""
    said = re.search(rb"MemFree: +(\d+) kB", ask(terminal, b"grep MemFree: /proc/meminfo"))
    assert said is not None
    return int(said[1])


def until(terminal: Terminal, command: bytes, wanted: bytes) -> None:
    """Ask the guest until COMMAND prints WANTED on a line."""
    deadline = time.monotonic() + 30
    while b"\n" + wanted + b"\r" not in (said := ask(terminal, command)):
        assert time.monotonic() < deadline, said
        time.sleep(0.2)


def test_a_real_guest_follows(bench: Bench, config: Path) -> None:
    assert bench.xm("create", "-q", "linux1.cfg").status == 0
    with console(bench, "console", "linux1") as terminal:
        log_in(terminal)
        _memory(bench, terminal)
        _vcpus(bench, terminal)
        terminal.send(b"\x1d")
        assert terminal.wait() == 0
    _pins(bench)
    _weights(bench)
    assert bench.xm("destroy", "linux1") == ("", "", 0)


def _memory(bench: Bench, terminal: Terminal) -> None:
    before = free_memory(terminal)
    assert bench.xm("mem-set", "linux1", "176") == ("", "", 0)
    deadline = time.monotonic() + 30
    while bench.xm("list", "linux1").stdout.split()[-4] != "176":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert 60 * 1024 < before - free_memory(terminal) < 100 * 1024
    assert bench.xm("mem-max", "linux1", "200") == ("", "", 0)
    refused = bench.xm("mem-set", "linux1", "256")
    assert refused.stderr == "Error: memory_dynamic_max must be less than or equal to memory_static_max\n"
    assert bench.xm("mem-set", "linux1", "200m") == ("", "", 0)
    assert "    (maxmem 200)\n" in bench.xm("list", "-l", "linux1").stdout


def _vcpus(bench: Bench, terminal: Terminal) -> None:
    until(terminal, b"nproc", b"1")
    rows = bench.xm("vcpu-list", "linux1").stdout.splitlines()
    assert rows[2].split()[2:5] == ["1", "-", "--p"]
    assert bench.xm("vcpu-set", "linux1", "2") == ("", "", 0)
    until(terminal, b"cat /sys/devices/system/cpu/present", b"0-1")
    online = b"/sys/devices/system/cpu/cpu1/online"
    until(terminal, b"ls " + online + b" || true", online)
    ask(terminal, b"grep -q 1 %b || echo 1 >%b" % (online, online))
    until(terminal, b"grep -c ^processor /proc/cpuinfo", b"2")
    assert bench.xm("list", "linux1").stdout.split()[-3] == "2"
    assert bench.xm("vcpu-set", "linux1", "3").stderr == (
        "Error: Cannot set vcpus greater than max vcpus on running domain\n"
    )
    assert bench.xm("vcpu-set", "linux1", "1").stderr == (
        "Error: An emulated guest keeps its vcpus; with KVM it could let go of them\n"
    )


def _pins(bench: Bench) -> None:
    info = bench.hypervisor.find("linux1")
    last = CPUS[-1]
    assert bench.xm("vcpu-pin", "linux1", "1", str(last)) == ("", "", 0)
    domain = bench.hypervisor._connection.lookupByUUIDString(info.uuid)
    assert [cpu for cpu, there in enumerate(domain.vcpuPinInfo(0)[1]) if there] == [last]
    lines = bench.xm("vcpu-list", "linux1").stdout.splitlines()[1:]
    assert [(line.split()[2], line[67:]) for line in lines] == [("0", "any cpu"), ("1", str(last))]
    assert bench.xm("vcpu-pin", "linux1", "all", "all") == ("", "", 0)
    assert all(all(pins) for pins in domain.vcpuPinInfo(0))


def _weights(bench: Bench) -> None:
    assert bench.xm("sched-credit", "-d", "linux1").stdout.split()[-2:] == ["300", "0"]
    assert bench.xm("sched-credit", "-d", "linux1", "-w", "777", "-c", "150") == ("", "", 0)
    assert bench.xm("sched-credit", "-d", "linux1").stdout.split()[-2:] == ["777", "150"]
    now = bench.hypervisor.scheduling(bench.hypervisor.find("linux1").uuid)
    assert now in (Scheduling(3108, 150_000), Scheduling(304, 150_000))
    form = bench.xm("list", "-l", "linux1").stdout
    assert "    (cpu_weight 777)\n    (cpu_cap 150)\n" in form


def test_what_the_configuration_says_is_told(bench: Bench, pv: Writer) -> None:
    pv("tuned.cfg", vcpus=2, cpu_weight=512, cpu_cap=50, cpus=[str(CPUS[0]), str(CPUS[-1])])
    assert bench.xm("create", "-p", "-q", "tuned.cfg").status == 0
    assert bench.xm("sched-credit", "-d", "tuned").stdout.splitlines()[1].split()[2:] == ["512", "50"]
    rows = bench.xm("vcpu-list", "tuned").stdout.splitlines()[1:]
    assert [(line.split()[4], line[67:]) for line in rows] == [("---", str(CPUS[0])), ("---", str(CPUS[-1]))]


def test_domain_0_is_told_of_truly(bench: Bench) -> None:
    rows = [line.split() for line in bench.xm("vcpu-list", "0").stdout.splitlines()[1:]]
    assert [row[2:4] for row in rows] == [[str(cpu)] * 2 for cpu in CPUS]
    assert all(row[4] == "r--" and row[6:] == ["any", "cpu"] for row in rows)
    times = sum(float(row[5]) for row in rows)
    assert times <= float(bench.xm("list", "0").stdout.split()[-1]) + 5
    assert bench.xm("sched-sedf").stderr.startswith("Error: Xen is running with the credit scheduler\n")
