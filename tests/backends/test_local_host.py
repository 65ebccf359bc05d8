"""What is read from the kernel's files."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xmcompat.backends.local_host import (
    bridges_here,
    busy_vcpus,
    busy_vcpus_by,
    cpu_vendor,
    free_huge_pages,
    host_cpus,
    host_info,
    numa_nodes,
    run_folder,
    small_mtus,
    start_time,
)


def test_the_host_is_read_from_proc(tmp_path: Path) -> None:
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    (tmp_path / "stat").write_text(
        "cpu  100 20 30 4000 500 6 7 0 50 0\ncpu0 1 1 1 1 1 1 1 0 0 0\ncpu3 1 1 1 1 1 1 1 0 0 0\n"
        "intr 5 0\nctxt 9\nbtime 1700000000\n"
    )
    (tmp_path / "meminfo").write_text("MemTotal:       2048000 kB\nMemFree:         100 kB\n")
    info = host_info(str(tmp_path))
    assert (info.hostname, info.memory, info.cpus, info.cpu_time) == (
        os.uname().nodename, 2048000, 2, (100 + 20 + 30 + 6 + 7) * tick,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("written", "vendor"),
    [("GenuineIntel", "Intel"), ("AuthenticAMD", "AMD"), ("HygonGenuine", ""), ("", "")],
)
def test_the_maker_of_the_processor(tmp_path: Path, written: str, vendor: str) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {written}\nmodel name\t: X\n\nvendor_id\t: Other\n")
    assert cpu_vendor(str(tmp_path)) == vendor


def test_a_host_without_cpuinfo_has_a_processor_of_no_known_maker(tmp_path: Path) -> None:
    assert cpu_vendor(str(tmp_path)) == ""


def test_huge_pages_that_guests_can_have(tmp_path: Path) -> None:
    assert free_huge_pages(str(tmp_path)) == 0
    (tmp_path / "meminfo").write_text("HugePages_Total:    9\nHugePages_Free:    3\nHugepagesize:    2048 kB\n")
    (tmp_path / "mounts").write_text("proc /proc proc rw 0 0\n")
    assert free_huge_pages(str(tmp_path)) == 0
    (tmp_path / "mounts").write_text("hugetlbfs /dev/hugepages hugetlbfs rw 0 0\n")
    assert free_huge_pages(str(tmp_path)) == 6144


def test_numa_nodes(tmp_path: Path) -> None:
    assert numa_nodes(str(tmp_path / "none")) == numa_nodes(str(tmp_path)) == 0
    for name in ("node0", "node2", "has_cpu", "nodeset"):
        (tmp_path / name).mkdir()
    assert numa_nodes(str(tmp_path)) == 3


def test_the_start_of_a_process_is_found_by_its_arguments() -> None:
    before = time.time()
    mark = f"mark-{os.getpid()}"
    with subprocess.Popen([sys.executable, "-c", "input()", "-uuid", mark], stdin=subprocess.PIPE) as process:
        time.sleep(0.1)
        started = start_time(("-uuid", mark))
        process.communicate(b"\n")
    assert started is not None
    assert before - 0.1 <= started <= time.time()
    assert start_time(("-uuid", mark)) is None
    assert start_time(("-uuid", mark[:-1])) is None


def test_bridges_come_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    for name, index, bridge in (("xenbr1", 3, True), ("eth0", 2, False), ("xenbr0", 9, True)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ifindex").write_text(f"{index}\n")
        if bridge:
            (tmp_path / name / "bridge").mkdir()
    assert bridges_here(str(tmp_path)) == ["xenbr1", "xenbr0"]
    assert bridges_here(str(tmp_path / "none")) == []


def test_bridges_that_take_smaller_packets_than_ethernet(tmp_path: Path) -> None:
    for name, size in (("vnet0004", "1450\n"), ("xenbr0", "1500\n"), ("jumbo", "9000\n"), ("odd", "\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mtu").write_text(size)
    assert small_mtus(["xenbr0", "vnet0004", "jumbo", "odd", "gone"], str(tmp_path)) == (("vnet0004", 1450),)


def test_the_cpus_of_the_host_with_their_time_less_that_of_guests(tmp_path: Path) -> None:
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    (tmp_path / "stat").write_text(
        "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 100 20 30 4000 500 6 7 0 50 5\ncpu2 1 0 0 0 0 0 0 0 9 0\nintr 5\n"
    )
    (tmp_path / "present").write_text("0-2\n")
    cpus = host_cpus(str(tmp_path), str(tmp_path))
    assert [(cpu.number, cpu.online, cpu.cpu, cpu.cpu_time, cpu.affinity) for cpu in cpus] == [
        (0, True, 0, (100 + 20 + 30 + 6 + 7 - 55) * tick, (0, 2)), (1, False, None, 0, (0, 2)), (2, True, 2, 0, (0, 2)),
    ]  # fmt: skip
    assert [cpu.number for cpu in host_cpus(str(tmp_path), str(tmp_path / "none"))] == [0, 2]


def test_a_vcpu_is_busy_while_its_thread_is(tmp_path: Path) -> None:
    threads = {"10": ("qemu-system-x86", "R"), "11": ("CPU 0/KVM", "S"), "12": ("CPU 1/TCG", "R"), "13": ("CPU x/KVM", "R")}
    for number, words in (("10", "qemu\0-uuid\0abc\0"), ("20", "qemu\0-uuid\0other\0"), ("self", "")):
        (tmp_path / number).mkdir()
        (tmp_path / number / "cmdline").write_text(words)
    for number, (name, state) in threads.items():
        thread = tmp_path / "10" / "task" / number
        thread.mkdir(parents=True)
        (thread / "comm").write_text(f"{name}\n")
        (thread / "stat").write_text(f"{number} ({name}) {state} 1 1 1\n")
    assert busy_vcpus(("-uuid", "abc"), str(tmp_path)) == {0: False, 1: True}
    assert busy_vcpus(("-uuid", "none"), str(tmp_path)) == busy_vcpus(("-uuid", "other"), str(tmp_path)) == {}
    assert busy_vcpus_by("-uuid", str(tmp_path)).get("abc") == {0: False, 1: True}
    assert "none" not in busy_vcpus_by("-uuid", str(tmp_path))


def test_a_private_libvirtd_has_a_run_folder_of_its_own(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    uri = f"qemu+unix:///system?socket={run}/libvirt/libvirt-sock"
    assert run_folder(uri) == run_folder(f"{uri}&mode=x") == str(run)
    (tmp_path / "link").symlink_to("/run")
    others = ("qemu:///system", f"qemu+unix:///system?socket={tmp_path}/link/libvirt/libvirt-sock",
              "qemu+unix:///system?socket=/nowhere/libvirt/libvirt-sock", f"qemu+unix:///system?socket={run}/other")  # fmt: skip
    assert {run_folder(other) for other in others} == {"/run"}
