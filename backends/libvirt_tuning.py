"""What libvirt gives a domain: memory, vcpus, pins, shares and quotas."""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

import time

from xmcompat.backends.hypervisor import DomainState, Scheduling, VcpuInfo
from xmcompat.backends.libvirt_queries import each_of
from xmcompat.backends.settings import is_local
from xmcompat.errors import HypervisorError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    from xmcompat.backends.hypervisor import DomainInfo
    from xmcompat.backends.libvirt_translated import Translated
    from xmcompat.backends.libvirt_wire import Wire
    from xmcompat.backends.libvirt_wire_all import Vcpus

    Answer = TypeVar("Answer")

#: Microseconds for which the quota of a Scheduling counts.
_PERIOD = 100_000
#: Tenths of a second that libvirt may take to learn that a vcpu has gone.
_PATIENCE = 20
_OPERATION_TIMEOUT = 68
#: libvirt's number for a vcpu that runs.
_RUNNING = 1


class LibvirtTuning:
    """The part of ``libvirt_kvm.LibvirtKvm`` that these calls are.

    What is set counts at once for a domain that is there, and for the next start of one that is known.
    """

    uri: str

    if TYPE_CHECKING:

        @property
        def _libvirt(self) -> Any: ...

        @property
        def _connection(self) -> Any: ...

        def _translated(self, designation: str = "") -> Translated: ...

        def _raise_if_lost(self, error: Any) -> None: ...

        def _ask(self, question: Callable[[Wire], Answer | None]) -> Answer | None: ...

    def _affected(self, domain: Any) -> int:
        """libvirt's flags for the domain as it is, and for its configuration."""
        libvirt = self._libvirt
        live: int = libvirt.VIR_DOMAIN_AFFECT_LIVE if domain.isActive() else 0
        return live | (libvirt.VIR_DOMAIN_AFFECT_CONFIG if domain.isPersistent() else 0)

    # -- memory

    def set_memory(self, uuid: str, memory: int) -> None:
        """Ask the guest's balloon driver to keep MEMORY KiB; returns at once."""
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            domain.setMemoryFlags(memory, self._affected(domain))

    def set_max_memory(self, uuid: str, memory: int) -> None:
        """The most memory, in KiB, with which a known domain is started; QEMU's own is fixed while it runs."""
        libvirt = self._libvirt
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            domain.setMemoryFlags(memory, libvirt.VIR_DOMAIN_MEM_MAXIMUM | libvirt.VIR_DOMAIN_AFFECT_CONFIG)

    # -- vcpus

    def vcpus(self, uuid: str) -> list[VcpuInfo]:
        """Every vcpu that the domain can have, by number. Whether one is busy is known on this host alone."""
        from xmcompat.backends import libvirt_wire_tuning

        told = self._ask(lambda wire: libvirt_wire_tuning.vcpus(wire, uuid)) or self._vcpus_by_libvirt(uuid)
        *own, count = told
        return _all_vcpus((*own, 0), tuple(range(count)), self._busy(uuid) if own[0] else {})

    def vcpus_of(self, infos: Sequence[DomainInfo]) -> dict[str, list[VcpuInfo]]:
        """The vcpus of many, by uuid; one that has gone is left out."""
        from xmcompat.backends import libvirt_wire_all

        told, count = self._ask(lambda wire: libvirt_wire_all.vcpus(wire, infos)) or ({}, 0)
        busy = self._busy_in_all() if told else {}
        found = {uuid: _all_vcpus(own, tuple(range(count)), busy.get(uuid, {})) for uuid, own in told.items()}
        return each_of(infos, found, self.vcpus)

    def _vcpus_by_libvirt(self, uuid: str) -> Any:
        """The same as ``libvirt_wire_tuning.vcpus``, where that cannot tell. Raises DomainNotFound."""
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            there, maps = self._rows(domain) if domain.isActive() else ((), ())
            return there, [_chosen(mask) for mask in maps], domain.XMLDesc(0), self._connection.getCPUMap()[0]

    def _rows(self, domain: Any) -> Any:
        """libvirt's rows and masks of the vcpus that are online; asked again while one is just going.

        Where one stays half gone, libvirt tells nothing of the others either: they have no place and no time then.
        """
        for _ in range(_PATIENCE):
            try:
                return domain.vcpus()
            except self._libvirt.libvirtError as error:
                if "No such process" not in (error.get_error_message() or ""):
                    raise
                time.sleep(0.1)
        pins = domain.vcpuPinInfo(0)
        return [(number, _RUNNING, 0, -1) for number in range(len(pins))], pins

    def _busy(self, uuid: str) -> dict[int, bool]:
        if not is_local(self.uri):
            return {}
        from xmcompat.backends.local_host import busy_vcpus

        return busy_vcpus(("-uuid", uuid))

    def _busy_in_all(self) -> dict[str, dict[int, bool]]:
        if not is_local(self.uri):
            return {}
        from xmcompat.backends.local_host import busy_vcpus_by

        return busy_vcpus_by("-uuid")

    def set_vcpus(self, uuid: str, count: int) -> None:
        """Plug vcpus in, or have the guest let go of the last ones.

        Returns silently where the guest takes its time, as with xm. Raises HypervisorError where it cannot do so.
        """
        libvirt = self._libvirt
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            flags = self._affected(domain)
            if domain.isActive() and count < domain.info()[3] and "<domain type='qemu'" in domain.XMLDesc(0):
                # QEMU would let go of it, but never say so to libvirt
                raise HypervisorError("An emulated guest keeps its vcpus", hint="with KVM it could let go of them")
            try:
                if not flags & libvirt.VIR_DOMAIN_AFFECT_LIVE:
                    domain.setVcpusFlags(count, flags | libvirt.VIR_DOMAIN_VCPU_MAXIMUM)
                domain.setVcpusFlags(count, flags)
            except libvirt.libvirtError as error:
                self._raise_unless_slow(error)

    def _raise_unless_slow(self, error: Any) -> None:
        message = error.get_error_message() or ""
        if error.get_error_code() == _OPERATION_TIMEOUT and "unplug" in message:
            return
        if "device_del" in message or "hotpluggable vcpus" in message:
            raise HypervisorError(
                "The guest cannot let go of vcpus now",
                hint="it can once its kernel runs, if it has ACPI and xm has started it",
            ) from None
        raise error

    def pin_vcpu(self, uuid: str, vcpu: int, cpus: Sequence[int]) -> None:
        """Keep one vcpu to those of the CPUS that the host has."""
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            mask = tuple(cpu in cpus for cpu in range(self._connection.getCPUMap()[0]))
            domain.pinVcpuFlags(vcpu, mask, self._affected(domain))

    def pin_emulator(self, uuid: str, cpus: Sequence[int]) -> None:
        """Keep what a domain runs besides its vcpus to those of the CPUS that the host has."""
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            mask = tuple(cpu in cpus for cpu in range(self._connection.getCPUMap()[0]))
            domain.pinEmulator(mask, self._affected(domain))

    # -- shares and quotas

    def scheduling(self, uuid: str) -> Scheduling | None:
        """None where libvirt cannot tell, as on a host whose cgroups it may not use."""
        from xmcompat.backends import libvirt_wire_tuning

        told = self._ask(lambda wire: libvirt_wire_tuning.scheduling(wire, uuid)) or self._scheduling_by_libvirt(uuid)
        if told is None:
            return None
        return _scheduling(*told)

    def scheduling_of(self, infos: Sequence[DomainInfo]) -> dict[str, Scheduling | None]:
        """The scheduling of many, by uuid; one that has gone is left out."""
        from xmcompat.backends import libvirt_wire_all

        told = self._ask(lambda wire: libvirt_wire_all.scheduling(wire, infos)) or {}
        found: dict[str, Scheduling | None] = {uuid: _scheduling(*own) for uuid, own in told.items()}
        return each_of(infos, found, self.scheduling)

    def _scheduling_by_libvirt(self, uuid: str) -> tuple[int, dict[str, int]] | None:
        """The number of vcpus, and libvirt's parameters; None where it has none. Raises DomainNotFound."""
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            vcpus: int = domain.info()[3]
        try:
            return vcpus, domain.schedulerParametersFlags(0)
        except self._libvirt.libvirtError as error:
            self._raise_if_lost(error)
            return None

    def set_scheduling(self, uuid: str, *, shares: int | None = None, quota: int | None = None) -> None:
        """Set what is not None; a QUOTA of 0 lifts the limit."""
        values = {} if shares is None else {"cpu_shares": shares}
        if quota is not None:
            values |= {"global_period": _PERIOD, "global_quota": quota} if quota else {"global_quota": -1}
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            affected = self._affected(domain)
            for flag in (self._libvirt.VIR_DOMAIN_AFFECT_LIVE, self._libvirt.VIR_DOMAIN_AFFECT_CONFIG):
                if values and affected & flag:  # libvirt's module takes one of them at a time
                    domain.setSchedulerParametersFlags(values, flag)

    # -- the host

    def host_cpus(self) -> list[VcpuInfo]:
        """The CPUs of the host. Of another host, its guests' time is in theirs."""
        if is_local(self.uri):
            from xmcompat.backends.local_host import host_cpus

            return host_cpus()
        connection = self._connection
        with self._translated():
            _, online, _ = connection.getCPUMap()
            times = [connection.getCPUStats(cpu, 0) if there else {} for cpu, there in enumerate(online)]
        everything = tuple(_chosen(online))
        return [
            VcpuInfo(
                cpu, there, cpu if there else None, DomainState.RUNNING,
                times[cpu].get("kernel", 0) + times[cpu].get("user", 0), everything,
            )
            for cpu, there in enumerate(online)
        ]  # fmt: skip


def _chosen(mask: Sequence[bool]) -> tuple[int, ...]:
    return tuple(cpu for cpu, there in enumerate(mask) if there)


def _all_vcpus(told: Vcpus, cpus: tuple[int, ...], busy: dict[int, bool]) -> list[VcpuInfo]:
    """Every vcpu that a domain can have; of one that is offline its XML has the pin. CPUS are those of the host."""
    there, maps, xml, most = told
    pins: list[tuple[int, ...]] = [()] * most
    if xml:
        from xmcompat.backends.vcpu_pins import vcpu_pins

        pins = vcpu_pins(xml)
    usable = {row[0]: mask for row, mask in zip(there, maps, strict=True)}
    online = {row[0]: row for row in there}
    return [
        _vcpu(number, online.get(number), usable.get(number, pin or cpus), busy.get(number, True))
        for number, pin in enumerate(pins)
    ]


def _scheduling(vcpus: int, values: dict[str, int]) -> Scheduling:
    quotas = [_quota(values, "global", 1), _quota(values, "vcpu", vcpus)]
    return Scheduling(values.get("cpu_shares", 0), min(filter(None, quotas), default=0))


def _vcpu(number: int, row: Sequence[int] | None, affinity: tuple[int, ...], busy: bool) -> VcpuInfo:
    """From libvirt's (number, state, time, cpu) of one that is online."""
    if row is None:
        return VcpuInfo(number, False, None, DomainState.BLOCKED, 0, affinity)
    _, state, time, cpu = row
    running = busy and state == _RUNNING
    return VcpuInfo(
        number, True, cpu if cpu >= 0 else None, DomainState.RUNNING if running else DomainState.BLOCKED, time, affinity
    )


def _quota(values: dict[str, int], name: str, times: int) -> int:
    """Microseconds of each 100 ms, 0 for no limit."""
    quota, period = values.get(f"{name}_quota", 0), values.get(f"{name}_period", 0)
    return quota * times * _PERIOD // period if quota > 0 and period > 0 else 0
