"""Pinning, weight and cap of the guest's processors, its NUMA nodes, and the pages behind its memory. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import CpuTune, NumaCell
from xmcompat.guest import Dialect, GuestConfig, GuestKind, NumaNode
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import flag, text
from xmcompat.translate.shares import USUAL_WEIGHT, limit_passed, quota_of, shares_of, weight_of
from xmcompat.units import format_cpus

_OWN_DISTANCE, _FARTHEST = 10, 255
#: The CPU pool that is always there.
POOL0 = "Pool-0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backing:
    """``hugepages`` and ``private_pages`` of Machine."""

    hugepages: bool = False
    private_pages: bool = False


def tune(guest: GuestConfig, facts: HostFacts, findings: Findings) -> CpuTune:
    """Pins, shares and quota. A pin to CPUs that this host lacks is one to the others, or none."""
    pins = _pins(guest, facts, findings)
    return CpuTune(
        pins=_within_pool(guest, pins, facts, findings), shares=_shares(guest, facts, findings),
        quota=quota_of(guest.cap) or None, emulator=facts.pool_cpus or (),
    )  # fmt: skip


# -- pins


def _pins(guest: GuestConfig, facts: HostFacts, findings: Findings) -> tuple[tuple[int, ...], ...]:
    if not facts.cpus:
        return guest.pins
    pins = tuple(tuple(cpu for cpu in cpus if cpu < facts.cpus) for cpus in guest.pins)
    missing = {cpu for cpus in guest.pins for cpu in cpus if cpu >= facts.cpus}
    if missing:
        free = [vcpu for vcpu, cpus in enumerate(pins) if guest.pins[vcpu] and not cpus]
        findings.approximated(
            _pinning_key(guest), f"this host has the CPUs {format_cpus(range(facts.cpus))} alone; "
            + (f"vcpu {format_cpus(free)} may run anywhere" if free else "the vcpus keep to the others of their CPUs"),
            value=format_cpus(missing), suggestion="name CPUs of this host",
        )  # fmt: skip
    return pins if any(pins) else ()


def _within_pool(
    guest: GuestConfig, pins: tuple[tuple[int, ...], ...], facts: HostFacts, findings: Findings
) -> tuple[tuple[int, ...], ...]:
    """PINS within the CPUs of the guest's pool; what has none of them gets all of them."""
    pool = text(guest, "pool")
    if pool not in ("", POOL0) and not facts.knows_pools:
        findings.approximated(
            "pool", "the pools of the host that runs it are looked up when 'xm create' starts it", value=pool,
            suggestion="make the pool there by 'xm cpupool-create'",
        )  # fmt: skip
    if facts.pool_cpus is None:
        return pins
    kept, strays = [], []
    for vcpu in range(guest.vcpus):
        own = pins[vcpu] if vcpu < len(pins) else ()
        cpus = tuple(cpu for cpu in facts.pool_cpus if cpu in own)
        strays += [vcpu] if own and not cpus else []
        kept.append(cpus or facts.pool_cpus)
    if strays:
        findings.approximated(
            _pinning_key(guest), f"its pool {pool or POOL0} has the CPUs {format_cpus(facts.pool_cpus)} alone; vcpu "
            f"{format_cpus(strays)} may run on all of them", suggestion="name CPUs of the pool",
        )  # fmt: skip
    return tuple(kept)


def _pinning_key(guest: GuestConfig) -> str:
    return "cpus" if guest.options.get("cpus") not in (None, "", []) else "cpu"


# -- shares


def _shares(guest: GuestConfig, facts: HostFacts, findings: Findings) -> int | None:
    """The weight as a number for this host's cgroups; None for the usual one."""
    weight = guest.weight or 0
    if weight in (0, USUAL_WEIGHT):
        return None
    shares = shares_of(weight, cgroup_v2=facts.cgroup_v2)
    passed = limit_passed(weight, cgroup_v2=facts.cgroup_v2)
    if passed:
        limit = weight_of(shares, cgroup_v2=facts.cgroup_v2)
        findings.approximated(
            "cpu_weight", f"{limit} is the {passed} that this host's cgroups can tell", value=str(weight)
        )
    return shares


# -- memory


def numa(guest: GuestConfig, findings: Findings, facts: HostFacts | None = None) -> tuple[NumaCell, ...]:
    """The guest's NUMA nodes, each with memory, as QEMU wants them.

    Where the host's nodes are known, memory is bound to those alone that are there.
    """
    wanted = _with_memory(guest.numa, findings)
    distances = _are_distances(wanted)
    if not distances:
        findings.approximated(
            "vnuma", f"libvirt takes distances of {_OWN_DISTANCE} from a node to itself and up to {_FARTHEST} to others; "
            "it sets its own",
        )  # fmt: skip
    nodes = facts.numa_nodes if facts is not None else 0
    cells = []
    for index, node in enumerate(wanted):
        host_node = node.host_node
        if host_node is not None and nodes and host_node >= nodes:
            findings.approximated(
                f"vnuma[{index}]", f"this host has no node {host_node}; the memory may lie on any",
                value=f"pnode={host_node}",
            )  # fmt: skip
            host_node = None
        cells.append(NumaCell(
            vcpus=node.vcpus, memory=node.size * 1024, distances=node.distances if distances else (), host_node=host_node,
        ))  # fmt: skip
    return tuple(cells)


def _with_memory(nodes: tuple[NumaNode, ...], findings: Findings) -> tuple[NumaNode, ...]:
    """The nodes less those without memory, whose vcpus go to the first that has some."""
    full = [index for index, node in enumerate(nodes) if node.size]
    if len(full) in (0, len(nodes)):
        return nodes
    homeless: list[int] = []
    for index, node in enumerate(nodes):
        if not node.size:
            homeless += node.vcpus
            findings.approximated(
                f"vnuma[{index}]", f"QEMU has no node without memory; its vcpus are in that of vnuma[{full[0]}]"
            )
    return tuple(
        replace(
            nodes[index], distances=tuple(nodes[index].distances[other] for other in full if nodes[index].distances),
            vcpus=tuple(sorted((*nodes[index].vcpus, *homeless))) if index == full[0] else nodes[index].vcpus,
        )
        for index in full
    )  # fmt: skip


def _are_distances(nodes: tuple[NumaNode, ...]) -> bool:
    """Whether libvirt takes what the nodes say of distances; each says nothing, or one for every node."""
    return all(
        (distance == _OWN_DISTANCE) if other == index else _OWN_DISTANCE < distance <= _FARTHEST
        for index, node in enumerate(nodes)
        for other, distance in enumerate(node.distances)
    )


def backing(guest: GuestConfig, facts: HostFacts, findings: Findings) -> Backing:
    """Huge pages for a paravirtual guest that asks for them, where the host has set enough aside.

    Pages that are never shared for one with a BIOS whose file says so; in the forms that xend prints of every domain it
    asks for nothing.
    """
    hvm = guest.kind is GuestKind.HVM
    private = hvm and guest.dialect is Dialect.XM and not flag(guest, "memory_sharing", True)
    if hvm and flag(guest, "memory_sharing", False):
        findings.approximated("memory_sharing", "the host's KSM shares equal pages of all guests, where it runs")
    return Backing(hugepages=_hugepages(guest, facts, findings), private_pages=private)


def _hugepages(guest: GuestConfig, facts: HostFacts, findings: Findings) -> bool:
    if guest.kind is GuestKind.HVM or not flag(guest, "superpages", False):
        return False
    needed = max(guest.maxmem or 0, guest.memory)
    if facts.hugepages >= needed * 1024:
        return True
    findings.no_meaning(
        "superpages", f"the host has no {needed} MiB in huge pages set aside; it uses large pages where it can",
        value=text(guest, "superpages"), suggestion="set vm.nr_hugepages on the host",
    )  # fmt: skip
    return False
