"""What this host's own kernel tells: its memory and processors, its bridges, when a process began.

On the path of ``xm list``: nothing is imported that the interpreter has not loaded already.
"""

from __future__ import annotations

import os
import time

from xmcompat.backends.hypervisor import DomainState, HostInfo, VcpuInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Of /proc/stat's times those that are work: user, nice, system, irq, softirq. Guests' time is in the first two.
BUSY = (0, 1, 2, 5, 6)


def host_info(proc: str = "/proc") -> HostInfo:
    """The machine, as ``Hypervisor.host`` wants it."""
    cpu_lines = [words for words in _lines(f"{proc}/stat") if words[0].startswith("cpu")]
    ticks = [int(word) for word in cpu_lines[0][1:]]
    busy = sum(ticks[index] for index in BUSY) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))
    memory = next(int(words[1]) for words in _lines(f"{proc}/meminfo") if words[0] == "MemTotal:")
    return HostInfo(os.uname().nodename, memory, len(cpu_lines) - 1, busy)


def cpu_vendor(proc: str = "/proc") -> str:
    """The maker of this host's processor: "Intel", "AMD", "" for any other."""
    try:
        vendor = next((words[-1] for words in _lines(f"{proc}/cpuinfo") if words[:1] == ["vendor_id"]), "")
    except OSError:
        return ""
    return {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}.get(vendor, "")


def free_huge_pages(proc: str = "/proc") -> int:
    """Memory in huge pages that guests could have, in KiB: set aside, not in use, and within their reach."""
    try:
        amounts = {words[0]: words[1] for words in _lines(f"{proc}/meminfo") if len(words) > 1}
        mounted = any(words[2:3] == ["hugetlbfs"] for words in _lines(f"{proc}/mounts"))
    except OSError:
        return 0
    return int(amounts.get("HugePages_Free:", "0")) * int(amounts.get("Hugepagesize:", "0")) if mounted else 0


def numa_nodes(nodes: str = "/sys/devices/system/node") -> int:
    """One more than the highest number of a NUMA node; 0 where the kernel does not tell."""
    try:
        names = [entry.name.removeprefix("node") for entry in os.scandir(nodes) if entry.name.startswith("node")]
    except OSError:
        return 0
    return max((int(name) + 1 for name in names if name.isdigit()), default=0)


def _lines(path: str) -> list[list[str]]:
    with open(path, encoding="utf-8") as file:
        return [line.split() for line in file]


def start_time(words: Sequence[str], proc: str = "/proc") -> float | None:
    """Unix time at which the process began whose arguments hold WORDS in a row; None where there is none.

    Where several hold them (a guest and its short-lived helpers), the oldest counts.
    """
    starts = []
    for path in _processes(words, proc):
        try:
            starts.append(int(_stat(path)[19]))
        except OSError:
            continue  # it has ended
    if not starts:
        return None
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return boot + min(starts) / os.sysconf("SC_CLK_TCK")


def busy_vcpus(words: Sequence[str], proc: str = "/proc") -> dict[int, bool]:
    """For each vcpu of the QEMU whose arguments hold WORDS in a row, whether it wants a CPU at this moment."""
    busy = {}
    for path in _processes(words, proc):
        try:
            for thread in os.scandir(f"{path}/task"):
                name = _read(f"{thread.path}/comm").split()  # "CPU 0/KVM"
                number = name[1].partition(b"/")[0] if name[:1] == [b"CPU"] and len(name) == 2 else b""
                if number.isdigit():
                    busy[int(number)] = _stat(thread.path)[0] == b"R"
        except OSError:
            continue  # it has ended
    return busy


def _processes(words: Sequence[str], proc: str) -> Iterator[str]:
    """The directories of the processes whose arguments hold WORDS in a row."""
    wanted = b"\0" + b"\0".join(os.fsencode(word) for word in words) + b"\0"
    for entry in os.scandir(proc):
        if entry.name.isdigit():
            try:
                if wanted in _read(f"{entry.path}/cmdline"):
                    yield entry.path
            except OSError:
                continue  # it has ended, or is none of our business


def _stat(process: str) -> list[bytes]:
    """The words of a process's or thread's stat that follow its name: its state is the first."""
    return _read(f"{process}/stat").rpartition(b")")[2].split()


def host_cpus(proc: str = "/proc", cpus: str = "/sys/devices/system/cpu") -> list[VcpuInfo]:
    """The CPUs of this host by number, with the time in which they were busy, but not with guests under KVM."""
    from xmcompat.units import parse_cpus

    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    spent = {}
    for words in _lines(f"{proc}/stat"):
        number = words[0].removeprefix("cpu")
        if words[0].startswith("cpu") and number.isdigit():
            ticks = [int(word) for word in words[1:]]
            spent[int(number)] = max(sum(ticks[index] for index in BUSY) - sum(ticks[8:10]), 0) * tick
    try:
        present = parse_cpus(_read(f"{cpus}/present").decode())
    except OSError:
        present = ()
    return [
        VcpuInfo(
            number, number in spent, number if number in spent else None, DomainState.RUNNING, spent.get(number, 0),
            tuple(sorted(spent)),
        )
        for number in sorted({*spent, *present})
    ]  # fmt: skip


def bridges_here(net: str = "/sys/class/net") -> list[str]:
    """The bridges of this host's (or namespace's) network in the order in which they were made."""
    try:
        found = [(_index(entry.path), entry.name) for entry in os.scandir(net) if _is_bridge(entry.path)]
    except OSError:
        return []
    return [name for _, name in sorted(found)]


def _is_bridge(device: str) -> bool:
    return os.path.isdir(f"{device}/bridge")


def _index(device: str) -> int:
    try:
        return int(_read(f"{device}/ifindex"))
    except (OSError, ValueError):
        return 0


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
