"""What ``xm info`` tells of the machine, read from made-up files of a kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xmcompat.backends.local_node import capability_words, cpu_places, node_info


def machine(root: Path, cpus: dict[int, tuple[int, int, int]], *, iommu: bool = False) -> tuple[str, str]:
    """Files of a machine with CPUS: number to (core, socket, node)."""
    for cpu, (core, socket, node) in cpus.items():
        folder = root / f"sys/devices/system/cpu/cpu{cpu}"
        (folder / "topology").mkdir(parents=True)
        (folder / "topology/core_id").write_text(f"{core}\n")
        (folder / "topology/physical_package_id").write_text(f"{socket}\n")
        (folder / f"node{node}").mkdir()
    (root / "sys/devices/system/cpu/cpufreq").mkdir(parents=True)
    (root / "sys/kernel/iommu_groups").mkdir(parents=True)
    if iommu:
        (root / "sys/kernel/iommu_groups/0").mkdir()
    proc = root / "proc"
    proc.mkdir()
    (proc / "cpuinfo").write_text(
        "processor\t: 0\ncpu MHz\t\t: 2593.994\nflags\t\t: fpu vmx lm\n\nprocessor\t: 1\ncpu MHz\t\t: 800.000\nflags\t\t: fpu\n"
    )
    (proc / "meminfo").write_text("MemTotal:       8379903 kB\nMemFree:  100 kB\nMemAvailable:   4194305 kB\n")
    (proc / "cmdline").write_text("root=/dev/sda1 ro\n")
    (proc / "version").write_text("Linux version 6.1.0 (me@there) (gcc 12) #1 SMP\n")
    return str(proc), str(root / "sys")


#: Two sockets with two cores of two threads each.
EIGHT = {cpu: (cpu % 2, cpu // 2 % 2, cpu // 2 % 2) for cpu in range(8)}


def test_processors_and_their_places(tmp_path: Path) -> None:
    node = node_info(*machine(tmp_path, EIGHT, iommu=True))
    assert (node.cpus, node.nodes, node.cores_per_socket, node.threads_per_core) == (8, 2, 2, 2)
    assert node.places[:4] == ((0, 0, 0, 0), (1, 1, 0, 0), (2, 0, 1, 1), (3, 1, 1, 1))
    assert (node.mhz, node.virtualises, node.directs_io) == (2593, True, True)
    assert (node.memory, node.free) == (8379903, 4194305)
    assert (node.command_line, node.build) == ("root=/dev/sda1 ro", "Linux version 6.1.0 (me@there) (gcc 12) #1 SMP")
    assert (node.hostname, node.release) == (os.uname().nodename, os.uname().release)


def test_a_processor_that_is_offline_has_no_place(tmp_path: Path) -> None:
    proc, system = machine(tmp_path, {0: (0, 0, 0), 2: (1, 0, 0), 10: (5, 0, 0)})
    (tmp_path / "sys/devices/system/cpu/cpu1").mkdir()
    assert [cpu for cpu, *_ in cpu_places(f"{system}/devices/system")] == [0, 2, 10]
    assert node_info(proc, system).cpus == 3


def test_a_kernel_that_tells_nothing(tmp_path: Path) -> None:
    node = node_info(str(tmp_path), str(tmp_path))
    assert (node.cpus, node.nodes, node.cores_per_socket, node.threads_per_core, node.mhz) == (0, 1, 1, 1, 0)
    assert (node.memory, node.free, node.places, node.build) == (0, 0, (), "")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("fpu vme de", {0: 7}),
        ("pbe", {0: 1 << 31}),
        ("lm syscall nx", {1: 1 << 29 | 1 << 11 | 1 << 20}),
        ("pni vmx hypervisor", {4: 1 | 1 << 5 | 1 << 31}),
        ("lahf_lm svm topoext", {6: 1 | 1 << 2 | 1 << 22}),
        ("avx2 smep avx512vl", {7: 1 << 5 | 1 << 7 | 1 << 31}),
        ("tsc_known_freq - whatever", {}),
    ],
)
def test_the_words_of_processor_features(flags: str, words: dict[int, int]) -> None:
    found = capability_words(flags.replace(" - ", " ").split())
    assert found == tuple(words.get(index, 0) for index in range(8))
