"""What domains use, looked at again and again: the operations beneath ``xm top``."""

from __future__ import annotations

import time
from collections.abc import Callable

from xmcompat.backends.counters import DomainCounters, Picture, Usage
from xmcompat.backends.hypervisor import DomainInfo, DomainState, HostInfo
from xmcompat.toolstack import DOM0_NAME, DOM0_UUID, Toolstack


class Statistics:
    """Looks at the domains of a TOOLSTACK; each look remembers the one before."""

    def __init__(self, toolstack: Toolstack, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._hypervisor = toolstack.hypervisor
        self._clock = clock
        self._looked = 0.0
        self._host: HostInfo | None = None
        self._before: dict[tuple[str, int | None], DomainCounters] = {}

    def picture(self) -> Picture:
        """All domains as they are now; one call of libvirt, whatever their number. Raises ConnectionLost."""
        told, now, host = self._hypervisor.counters(), self._clock(), self._hypervisor.host()
        node = self._hypervisor.node()
        counters = [self._completed(one) for one in told]
        elapsed = now - self._looked if self._host is not None else 0.0
        usages = [self._domain0(host, counters, elapsed), *(self._usage(one, elapsed) for one in counters)]
        self._host, self._looked = host, now
        self._before = {_key(one): one for one in counters}
        usages.sort(key=lambda usage: usage.info.domid or 0)
        return Picture(time.time(), host.memory, min(node.free, host.memory), host.cpus, node.mhz, tuple(usages))

    def _completed(self, counters: DomainCounters) -> DomainCounters:
        """What was not told this time is as it was before."""
        info = counters.info
        before = self._before.get(_key(counters))
        if before is None:
            return counters._replace(vcpus=counters.vcpus or (), disks=counters.disks or ())
        kept = {
            name: getattr(before.info, name) for name in ("memory", "max_memory", "vcpus", "cpu_time")
            if not getattr(info, name)
        }  # fmt: skip
        return counters._replace(
            info=info._replace(**kept),
            vcpus=before.vcpus if counters.vcpus is None else counters.vcpus,
            disks=before.disks if counters.disks is None else counters.disks,
        )

    def _usage(self, counters: DomainCounters, elapsed: float) -> Usage:
        info = counters.info
        spent = self._spent(counters)
        return Usage(
            info, _percent(spent, elapsed), info.max_memory, counters.vcpus or (), counters.nics, counters.disks or ()
        )

    def _spent(self, counters: DomainCounters) -> int:
        """Nanoseconds since the look before; all of them for a domain that has come meanwhile."""
        before = self._before.get(_key(counters))
        return max(counters.info.cpu_time - (before.info.cpu_time if before else 0), 0)

    def _domain0(self, host: HostInfo, counters: list[DomainCounters], elapsed: float) -> Usage:
        """The host itself: its memory, and the time that its guests did not use."""
        guests = sum(one.info.cpu_time for one in counters)
        info = DomainInfo(
            0, DOM0_NAME, DOM0_UUID, DomainState.RUNNING, host.memory, host.memory, host.cpus,
            max(host.cpu_time - guests, 0), False,
        )  # fmt: skip
        busy = host.cpu_time - self._host.cpu_time if self._host else 0
        spent = max(busy - sum(self._spent(one) for one in counters), 0) if self._host else 0
        vcpus = tuple((cpu.number, cpu.cpu_time) for cpu in self._hypervisor.host_cpus() if cpu.online)
        return Usage(info, min(_percent(spent, elapsed), 100.0 * host.cpus), None, vcpus, (), ())


def _key(counters: DomainCounters) -> tuple[str, int | None]:
    """A domain that was started anew is another one."""
    return counters.info.uuid, counters.info.domid


def _percent(nanoseconds: int, seconds: float) -> float:
    return nanoseconds / seconds / 1e7 if seconds > 0 else 0.0
