"""The tables of ``xm vcpu-list`` and ``xm sched-credit``, byte for byte. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xmcompat.backends.hypervisor import DomainInfo, DomainState, VcpuInfo
from xmcompat.units import format_cpus

VCPU_HEADER = f"{'Name':<32} {'ID':>5} {'VCPU':>5} {'CPU':>5} {'State':>5} {'Time(s)':>9} CPU Affinity"
CREDIT_HEADER = f"{'Name':<33} {'ID':>4} {'Weight':>6} {'Cap':>4}"


def vcpu_table(rows: Iterable[tuple[DomainInfo, Sequence[VcpuInfo]]], host_cpus: Sequence[int]) -> str:
    """``xm vcpu-list``: a row for each vcpu of each domain. HOST_CPUS are those that the host has.

    ID, CPU and State of a halted domain are blank. Time(s) is in seconds, one column left of its header as with xm.
    """
    lines = [VCPU_HEADER]
    for info, vcpus in rows:
        for vcpu in vcpus:
            cpu, state = _place(info, vcpu)
            lines.append(
                f"{info.name:<32} {_shown(info.domid):>5} {vcpu.number:>5} {cpu:>5} {state:>5}  "
                f"{vcpu.cpu_time / 1e9:>8.1f} {affinity(vcpu.affinity, host_cpus)}"
            )
    return "\n".join(lines) + "\n"


def _place(info: DomainInfo, vcpu: VcpuInfo) -> tuple[str, str]:
    """The CPU, and three letters: running, blocked, paused (which is offline)."""
    if info.domid is None:
        return "", ""
    if not vcpu.online:
        return "-", "--p"
    runs = info.state in (DomainState.RUNNING, DomainState.BLOCKED, DomainState.SHUTDOWN)
    letters = {DomainState.RUNNING: "r--", DomainState.BLOCKED: "-b-"}.get(vcpu.state, "---") if runs else "---"
    return "-" if vcpu.cpu is None else str(vcpu.cpu), letters


def affinity(cpus: Iterable[int], host_cpus: Sequence[int]) -> str:
    """CPUs that the host lacks are left out: "any cpu", "no cpus", or a list with ranges."""
    usable = set(cpus).intersection(host_cpus)
    if not usable:
        return "no cpus"
    return "any cpu" if usable == set(host_cpus) else format_cpus(usable)


def credit_table(rows: Iterable[tuple[DomainInfo, int, int]]) -> str:
    """``xm sched-credit``: domains with weight and cap, -1 where the host does not tell."""
    lines = [CREDIT_HEADER]
    lines += [f"{info.name:<32} {_shown(info.domid):>5} {weight:>6} {cap:>4}" for info, weight, cap in rows]
    return "\n".join(lines) + "\n"


def _shown(domid: int | None) -> str:
    return "" if domid is None else str(domid)
