"""The counters of all domains by one call of libvirt, which no QEMU that hangs can hold up for long."""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from threading import Thread
    from typing import Any

    from xmcompat.backends.counters import DiskCounters, DomainCounters, NicCounters
    from xmcompat.backends.libvirt_translated import Translated

#: Seconds for the answer of every QEMU. One that has not answered by then is not asked while that goes on.
PATIENCE = 1.0
#: Questions of ours that may stay open, each of which keeps one of libvirtd's threads busy.
MOST_OPEN = 3


class LibvirtCounters:
    """The part of ``libvirt_kvm.LibvirtKvm`` that this call is."""

    _open_questions: tuple[Thread, ...] = ()

    if TYPE_CHECKING:

        @property
        def _libvirt(self) -> Any: ...

        @property
        def _connection(self) -> Any: ...

        def _translated(self, designation: str = "") -> Translated: ...

    def counters(self) -> list[DomainCounters]:
        """Of every domain that is there, in one call.

        A QEMU that is busy is not waited for; of one that hangs, what QEMU itself would have to tell is missing.
        """
        libvirt = self._libvirt
        by_libvirt: int = libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
        by_libvirt |= libvirt.VIR_DOMAIN_STATS_INTERFACE
        by_qemu = libvirt.VIR_DOMAIN_STATS_BALLOON | libvirt.VIR_DOMAIN_STATS_VCPU | libvirt.VIR_DOMAIN_STATS_BLOCK
        self._open_questions = tuple(thread for thread in self._open_questions if thread.is_alive())
        rows = None
        for _ in range(2):  # libvirt knows at the second time that QEMU is busy
            if rows is None and len(self._open_questions) < MOST_OPEN:
                rows = self._counted(by_libvirt | by_qemu, PATIENCE)
        if rows is None:
            rows = self._counted(by_libvirt, None)
        return [_domain(domain, values) for domain, values in rows]

    def _counted(self, kinds: int, patience: float | None) -> Any:
        """libvirt's answer, for which a thread waits: it is left behind after PATIENCE seconds, and None returned.

        Ctrl-C is noticed meanwhile.
        """
        from threading import Thread

        libvirt, connection = self._libvirt, self._connection
        answer: list[tuple[Any, Any]] = []
        flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT

        def ask() -> None:
            try:
                answer.append((connection.getAllDomainStats(kinds, flags), None))
            except libvirt.libvirtError as error:
                answer.append((None, error))

        thread = Thread(target=ask, name="counters", daemon=True)
        thread.start()
        thread.join(patience)
        if not answer:
            self._open_questions = (*self._open_questions, thread)
            return None
        rows, error = answer[0]
        if error is not None:
            with self._translated():
                raise error
        return rows


def _domain(domain: Any, values: Mapping[str, Any]) -> DomainCounters:
    from xmcompat.backends.counters import DomainCounters
    from xmcompat.backends.hypervisor import DomainInfo
    from xmcompat.backends.libvirt_queries import domid_of
    from xmcompat.backends.libvirt_wire import STATES

    most = int(values.get("vcpu.maximum", 0))
    info = DomainInfo(
        domid_of(domain), domain.name(), domain.UUIDString(), STATES.get(values.get("state.state", 0), "blocked"),
        int(values.get("balloon.current", 0)), int(values.get("balloon.maximum", 0)),
        int(values.get("vcpu.current", 0)), int(values.get("cpu.time", 0)), False,
    )  # fmt: skip
    times = [(number, values.get(f"vcpu.{number}.time")) for number in range(most)]
    return DomainCounters(
        info,
        tuple((number, int(time)) for number, time in times if time is not None) if most else None,
        tuple(_nic(values, f"net.{index}.") for index in range(int(values.get("net.count", 0)))),
        _disks(values),
    )


def _nic(values: Mapping[str, Any], beginning: str) -> NicCounters:
    from xmcompat.backends.counters import NicCounters

    names = [f"{way}.{what}" for way in ("rx", "tx") for what in ("bytes", "pkts", "errs", "drop")]
    return NicCounters(*(int(values.get(beginning + name, 0)) for name in names))


def _disks(values: Mapping[str, Any]) -> tuple[DiskCounters, ...] | None:
    """None where libvirt could not ask QEMU: it tells then which disks there are, without figures, or nothing."""
    from xmcompat.backends.counters import DiskCounters

    count = values.get("block.count")
    if count is None:
        return None
    disks = []
    figures = False
    for index in range(int(count)):
        beginning = f"block.{index}."
        names = ("rd.reqs", "wr.reqs", "rd.bytes", "wr.bytes")
        figures = figures or f"{beginning}rd.reqs" in values
        numbers = (int(values.get(beginning + name, 0)) for name in names)
        disks.append(DiskCounters(str(values.get(f"{beginning}name", "")), *numbers))
    return tuple(disks) if figures or not disks else None
