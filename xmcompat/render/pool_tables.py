"""``xm cpupool-list``: a table, the CPUs, or the forms of all pools. Pure."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Iterable, Sequence
from typing import NamedTuple

HEADER = "Name               CPUs   Sched     Active   Domain count"
CPUS_HEADER = f"{'Name':<16} CPU list"


class PoolRow(NamedTuple):
    """A pool. ``cpus`` are those that it has; ``wanted`` is how many it wants. ``domains`` are (name, uuid)."""

    name: str
    uuid: str
    active: bool
    sched: str
    cpus: tuple[int, ...]
    wanted: int
    domains: tuple[tuple[str, str], ...]
    autostart: bool = False
    description: str = ""
    proposed: tuple[int, ...] = ()
    other_config: tuple[tuple[str, str], ...] = ()


def pool_table(rows: Iterable[PoolRow]) -> str:
    """``xm cpupool-list``. A pool that is not active has the CPUs that it wants, and no domains."""
    lines = [HEADER]
    for row in rows:
        count = len(row.cpus) if row.active else row.wanted
        letter = "y" if row.active else "n"
        domains = len(row.domains) if row.active else 0
        lines.append(f"{row.name:<16}   {count:>3}  {row.sched:>8}       {letter}          {domains}")
    return "\n".join(lines) + "\n"


def cpu_table(rows: Iterable[PoolRow]) -> str:
    """``xm cpupool-list -c``."""
    lines = [CPUS_HEADER]
    lines += [f"{row.name:<16} {','.join(map(str, row.cpus)) or '-'}" for row in rows]
    return "\n".join(lines) + "\n"


def pool_form(row: PoolRow, host: str, namespace: str) -> list[object]:
    """``xm cpupool-list -l`` of one pool. HOST is the uuid of this host; those of its CPUs are made in NAMESPACE."""
    space = uuids.UUID(namespace)
    return [
        row.uuid,
        ["started_VM_names", *(name for name, _ in row.domains)],
        ["host_CPUs", *(str(uuids.uuid5(space, f"cpu{cpu}")) for cpu in row.cpus)],
        ["activated", str(row.active)],
        ["ncpu", row.wanted],
        ["auto_power_on", str(row.autostart)],
        ["name_description", row.description],
        ["host_CPU_numbers", *row.cpus],
        ["started_VMs", *(uuid for _, uuid in row.domains)],
        ["uuid", row.uuid],
        ["sched_policy", row.sched],
        ["other_config", *_pairs(row.other_config)],
        ["name_label", row.name],
        ["resident_on", host],
        ["proposed_CPUs", *row.proposed],
    ]


def _pairs(pairs: Sequence[tuple[str, str]]) -> list[object]:
    return [[key, text] for key, text in pairs]
