"""Processors of a Machine to libvirt XML: pins and shares, NUMA, features, Hyper-V. Pure; loads lxml."""

from __future__ import annotations

from lxml import etree

from xmcompat.backends.machine import QUOTA_PERIOD, CpuTune, Machine, NumaCell
from xmcompat.backends.xml_elements import ON_OFF, add, said
from xmcompat.units import format_cpus

#: How often a guest tries for a lock before it tells the hypervisor.
SPINLOCK_RETRIES = 8191
#: How well a host's processor must fit what a mode asks for.
_CHECKS = {"host-model": "partial", "host-passthrough": "none", "maximum": "none"}


def vcpus(root: etree._Element, machine: Machine) -> None:
    """Every vcpu but the first can go while the guest runs, as under Xen; the guest needs ACPI to let go of one."""
    if machine.vcpus == 1 or not machine.acpi:
        return
    online = machine.vcpus_online or machine.vcpus
    element = add(root, "vcpus")
    for vcpu in range(machine.vcpus):
        add(element, "vcpu", id=vcpu, enabled=said(vcpu < online), hotpluggable=said(vcpu > 0))


def tune(root: etree._Element, tune: CpuTune) -> None:
    element = etree.Element("cputune")
    if tune.shares is not None:
        add(element, "shares", str(tune.shares))
    if tune.quota is not None:
        add(element, "global_period", str(QUOTA_PERIOD))
        add(element, "global_quota", str(tune.quota))
    for vcpu, cpus in enumerate(tune.pins):
        if cpus:
            add(element, "vcpupin", vcpu=vcpu, cpuset=format_cpus(cpus))
    if tune.emulator:
        add(element, "emulatorpin", cpuset=format_cpus(tune.emulator))
    if len(element):
        root.append(element)


def numatune(root: etree._Element, cells: tuple[NumaCell, ...]) -> None:
    """Where on the host the memory of each cell lies."""
    placed = [(number, cell.host_node) for number, cell in enumerate(cells) if cell.host_node is not None]
    if placed:
        element = add(root, "numatune")
        for number, node in placed:
            add(element, "memnode", cellid=number, mode="strict", nodeset=node)


def cpu(root: etree._Element, machine: Machine) -> None:
    said_of_it = (machine.cpu_mode, machine.cpu_features, machine.numa, machine.cpu_migratable is not None)
    if not any(said_of_it):
        return
    element = add(
        root, "cpu", mode=machine.cpu_mode, check=_CHECKS.get(machine.cpu_mode),
        migratable=said(machine.cpu_migratable, ON_OFF),
    )  # fmt: skip
    for name, policy in machine.cpu_features:
        add(element, "feature", policy=policy, name=name)
    if machine.numa:
        numa = add(element, "numa")
        for number, cell in enumerate(machine.numa):
            _cell(numa, number, cell)


def _cell(parent: etree._Element, number: int, cell: NumaCell) -> None:
    cpus = format_cpus(cell.vcpus)
    element = add(parent, "cell", id=number, cpus=cpus, memory=cell.memory, unit="KiB")
    if cell.distances:
        distances = add(element, "distances")
        for other, distance in enumerate(cell.distances):
            add(distances, "sibling", id=other, value=distance)


def hyperv(features: etree._Element, names: tuple[str, ...]) -> None:
    if names:
        element = add(features, "hyperv", mode="custom")
        for name in names:
            add(element, name, state="on", retries=SPINLOCK_RETRIES if name == "spinlocks" else None)
