"""What domains have used by now, as ``Hypervisor.counters`` tells it, and what ``xm top`` makes of two such answers.

Time in nanoseconds, memory in KiB.
"""

from __future__ import annotations

from typing import NamedTuple

from xmcompat.backends.hypervisor import DomainInfo


class NicCounters(NamedTuple):
    """Of one interface, as the guest sees it: what it has received and sent."""

    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_drops: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_drops: int = 0


class DiskCounters(NamedTuple):
    """Of one disk; ``target`` is libvirt's name for it ("vda")."""

    target: str
    reads: int = 0
    writes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0


class DomainCounters(NamedTuple):
    """Of one domain that is there.

    ``vcpus`` has (number, time) of each that is online, None where that was not told. ``disks`` are None where QEMU
    did not answer at once.
    """

    info: DomainInfo
    vcpus: tuple[tuple[int, int], ...] | None
    nics: tuple[NicCounters, ...]
    disks: tuple[DiskCounters, ...] | None


class Usage(NamedTuple):
    """What one domain uses. ``cpu_percent`` is of one CPU, since the look before; 0.0 at the first.

    Memory is in KiB; ``max_memory`` is None where nothing limits it. ``vcpus`` has (number, nanoseconds).
    """

    info: DomainInfo
    cpu_percent: float
    max_memory: int | None
    vcpus: tuple[tuple[int, int], ...]
    nics: tuple[NicCounters, ...]
    disks: tuple[DiskCounters, ...]


class Picture(NamedTuple):
    """All domains at one moment, by id. Memory in KiB; ``free`` is what the host could give to guests."""

    time: float
    memory: int
    free: int
    cpus: int
    mhz: int
    usages: tuple[Usage, ...]
