"""What ``xm info`` tells of this machine, from its kernel's files: processors and their places, memory, versions."""

from __future__ import annotations

import os

from xmcompat.backends.hypervisor import NodeInfo

#: Names of /proc/cpuinfo by their bits, from bit 0: CPUID 1 edx, 0x80000001 edx, 1 ecx, 0x80000001 ecx, 7 ebx. "-" is
#: a bit without a name.
_EDX = (
    "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse sse2 "
    "ss ht tm ia64 pbe"
)
_EXTENDED_EDX = "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow"
_ECX = (
    "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 sse4_2 "
    "x2apic movbe popcnt tsc_deadline_timer aes xsave - avx f16c rdrand hypervisor"
)
_EXTENDED_ECX = (
    "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 "
    "tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb"
)
_LEAF7 = (
    "fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f avx512dq rdseed adx "
    "smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl"
)
#: Xen's eight words; the third, fourth and sixth hold nothing that CPUID tells.
_WORDS = (_EDX, _EXTENDED_EDX, "", "", _ECX, "", _EXTENDED_ECX, _LEAF7)


def node_info(proc: str = "/proc", system: str = "/sys") -> NodeInfo:
    """This machine. What a kernel does not tell (a file that is not there) is 0, "" or ()."""
    name = os.uname()
    cpuinfo = _pairs(f"{proc}/cpuinfo")
    memory = {words[0]: int(words[1]) for words in _lines(f"{proc}/meminfo") if len(words) > 1}
    flags = cpuinfo.get("flags", "").split()
    places = cpu_places(f"{system}/devices/system")
    sockets = len({socket for _, _, socket, _ in places}) or 1
    cores = len({(socket, core) for _, core, socket, _ in places}) or 1
    return NodeInfo(
        hostname=name.nodename, release=name.release, version=name.version, machine=name.machine,
        cpus=len(places), nodes=len({node for *_, node in places}) or 1,
        cores_per_socket=max(cores // sockets, 1), threads_per_core=max(len(places) // cores, 1),
        mhz=int(float(cpuinfo.get("cpu MHz", "0") or 0)), hw_caps=capability_words(flags),
        virtualises=bool({"vmx", "svm"} & {*flags}) or os.path.exists("/dev/kvm"),
        directs_io=_has_entries(f"{system}/kernel/iommu_groups"),
        memory=memory.get("MemTotal:", 0), free=memory.get("MemAvailable:", memory.get("MemFree:", 0)),
        places=places, command_line=_text(f"{proc}/cmdline"), build=_text(f"{proc}/version"),
    )  # fmt: skip


def capability_words(flags: list[str]) -> tuple[int, ...]:
    """Xen's eight words of processor features, from the names of /proc/cpuinfo."""
    known = {*flags}
    return tuple(sum(1 << bit for bit, name in enumerate(names.split()) if name in known) for names in _WORDS)


def cpu_places(system: str) -> tuple[tuple[int, int, int, int], ...]:
    """(cpu, core, socket, node) of each processor that is online, by number."""
    try:
        names = [entry.name.removeprefix("cpu") for entry in os.scandir(f"{system}/cpu") if entry.name.startswith("cpu")]
    except OSError:
        return ()
    places = []
    for cpu in sorted(int(name) for name in names if name.isdigit()):
        folder = f"{system}/cpu/cpu{cpu}"
        core, socket = _number(f"{folder}/topology/core_id"), _number(f"{folder}/topology/physical_package_id")
        if core is not None:
            places.append((cpu, core, max(socket or 0, 0), _node(folder)))
    return tuple(places)


def _node(folder: str) -> int:
    names = [entry.name.removeprefix("node") for entry in os.scandir(folder) if entry.name.startswith("node")]
    return min((int(name) for name in names if name.isdigit()), default=0)


def _has_entries(folder: str) -> bool:
    try:
        return bool(os.listdir(folder))
    except OSError:
        return False


def _pairs(path: str) -> dict[str, str]:
    """The first of each "key : value" of a file."""
    pairs: dict[str, str] = {}
    for line in _text(path).splitlines():
        key, _, value = line.partition(":")
        pairs.setdefault(key.strip(), value.strip())
    return pairs


def _lines(path: str) -> list[list[str]]:
    return [words for line in _text(path).splitlines() if (words := line.split())]


def _number(path: str) -> int | None:
    text = _text(path)
    return int(text) if text.lstrip("-").isdigit() else None


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
