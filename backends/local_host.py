"""What this host's own kernel tells: its memory and processors, its bridges, when a process began.

On the path of ``xm list``: nothing is imported that the interpreter has not loaded already.
"""

from __future__ import annotations

import os
import time

from xmcompat.backends.hypervisor import DomainState, HostInfo, VcpuInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: Of /proc/stat's times those that are work: user, nice, system, irq, softirq. Guests' time is in the first two.
BUSY = (0, 1, 2, 5, 6)


#: Where a libvirtd listens, in its /run.
_SOCKET = "/libvirt/libvirt-sock"

#: Bytes of the largest packet of a network where nobody has said otherwise.
ETHERNET_MTU = 1500


def host_info(proc: str = "/proc") -> HostInfo:
    """The machine, as ``Hypervisor.host`` wants it."""
    cpu_lines = [line for line in _read(f"{proc}/stat").splitlines() if line.startswith(b"cpu")]
    ticks = [int(word) for word in cpu_lines[0].split()[1:]]
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


def processes_with(words: Sequence[str]) -> list[str]:
    """The directories in /proc of the processes whose arguments hold WORDS in a row: ("-uuid", UUID) for a guest's QEMU."""
    return list(_processes(words, "/proc"))


def busy_vcpus(words: Sequence[str], proc: str = "/proc") -> dict[int, bool]:
    """For each vcpu of the QEMU whose arguments hold WORDS in a row, whether it wants a CPU at this moment."""
    busy = {}
    for path in _processes(words, proc):
        busy.update(_busy_threads(path))
    return busy


def busy_vcpus_by(option: str, proc: str = "/proc") -> dict[str, dict[int, bool]]:
    """The same of every QEMU whose arguments have OPTION, by the word that follows it; the processes are looked at once."""
    sign = b"\0" + os.fsencode(option) + b"\0"
    busy: dict[str, dict[int, bool]] = {}
    for path, arguments in _all_processes(proc):
        found = arguments.partition(sign)[2].partition(b"\0")[0]
        if found:
            busy.setdefault(os.fsdecode(found), {}).update(_busy_threads(path))
    return busy


def _busy_threads(process: str) -> dict[int, bool]:
    busy = {}
    try:
        for thread in os.listdir(f"{process}/task"):
            name = _read(f"{process}/task/{thread}/comm").split()  # "CPU 0/KVM"
            number = name[1].partition(b"/")[0] if name[:1] == [b"CPU"] and len(name) == 2 else b""
            if number.isdigit():
                busy[int(number)] = _stat(f"{process}/task/{thread}")[0] == b"R"
    except OSError:
        return busy  # it has ended
    return busy


def _processes(words: Sequence[str], proc: str) -> Iterator[str]:
    """The directories of the processes whose arguments hold WORDS in a row."""
    wanted = b"\0" + b"\0".join(os.fsencode(word) for word in words) + b"\0"
    return (path for path, arguments in _all_processes(proc) if wanted in arguments)


def _all_processes(proc: str) -> Iterator[tuple[str, bytes]]:
    """The directory of each process, and its arguments, each with a NUL behind it."""
    for name in os.listdir(proc):
        if name.isdigit():
            try:
                yield f"{proc}/{name}", _read(f"{proc}/{name}/cmdline")
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
    for line in _read(f"{proc}/stat").decode().splitlines():
        words = line.split() if line.startswith("cpu") else [""]  # the line of all interrupts is long
        number = words[0].removeprefix("cpu")
        if number.isdigit():
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
        found = [(_number(f"{entry.path}/ifindex"), entry.name) for entry in os.scandir(net) if _is_bridge(entry.path)]
    except OSError:
        return []
    return [name for _, name in sorted(found)]


def small_mtus(bridges: Iterable[str], net: str = "/sys/class/net") -> tuple[tuple[str, int], ...]:
    """The BRIDGES of this host whose largest packet is smaller than Ethernet's, each with its size in bytes."""
    sizes = ((name, _number(f"{net}/{name}/mtu")) for name in bridges)
    return tuple((name, size) for name, size in sizes if 0 < size < ETHERNET_MTU)


def link_alias(name: str, net: str = "/sys/class/net") -> str:
    """What somebody has noted on a link of this host, "" for nothing, and where there is no such link."""
    try:
        return _read(f"{net}/{name}/ifalias").decode("utf-8", "replace").rstrip("\n")
    except OSError:
        return ""


def _is_bridge(device: str) -> bool:
    return os.path.isdir(f"{device}/bridge")


def _number(path: str) -> int:
    try:
        return int(_read(path))
    except (OSError, ValueError):
        return 0


def _read(path: str) -> bytes:
    """All of a small file; without the layers of ``open``, which cost more than the kernel's answer."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(file, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(file)


def run_folder(uri: str) -> str:
    """The folder that is /run for the libvirtd at URI: a private one has its own, which others see by another name."""
    socket = uri.partition("socket=")[2].partition("&")[0]
    run = socket.removesuffix(_SOCKET)
    try:
        return run if run != socket and run.startswith("/") and not os.path.samefile(run, "/run") else "/run"
    except OSError:
        return "/run"


def moving_folder(uri: str) -> str:
    """Where the files of domains that are being moved lie: see ``moving``."""
    return f"{run_folder(uri)}/xmcompat/moving"


def any_moving(uri: str) -> bool:
    """Whether there may be such a domain: what ``xm list`` pays for the question."""
    try:
        return bool(os.listdir(moving_folder(uri)))
    except OSError:
        return False
