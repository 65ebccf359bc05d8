"""The operations of the toolstack: the Python API beneath every program of xmcompat.

One short method a verb; typed results; errors of ``xmcompat.errors``. The connection is made at first use, and
what ``list`` does not need is imported where it is used.
"""

from __future__ import annotations

import time

from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.local_host import any_moving
from xmcompat.endings import DOM0_UUID as DOM0_UUID
from xmcompat.endings import Endings, refuse_domain0
from xmcompat.errors import DomainEnding, DomainNotFound, HypervisorError, OperationError
from xmcompat.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from xmcompat.backends.hypervisor import HostInfo, Hypervisor
    from xmcompat.backends.machine import XenRecord
    from xmcompat.config.load import Loaded
    from xmcompat.console_session import ConsoleSession
    from xmcompat.hostdevices import HostDevices
    from xmcompat.hotplug import Devices
    from xmcompat.managed import Managed
    from xmcompat.migrating import Migrating
    from xmcompat.notes import Note
    from xmcompat.pools import Pools
    from xmcompat.saving import Saving
    from xmcompat.statistics import Statistics
    from xmcompat.tuning import Tuning

DOM0_NAME = "Domain-0"

#: Seconds that a domain whose QEMU does not answer any more may take to leave the list.
ENDING_PATIENCE = 3.0


class Created(NamedTuple):
    """A started domain, what became of its settings, and what the operator should know of the host."""

    info: DomainInfo
    notes: tuple[Note, ...]
    warnings: tuple[str, ...]


class Toolstack(Endings):
    """Everything that can be done to guests. Close it, or use it as a context manager."""

    def __init__(self, connect: Callable[[], Hypervisor]) -> None:
        self._connect = connect
        self._hypervisor: Hypervisor | None = None
        super().__init__()

    @classmethod
    def open(cls, uri: str | None = None) -> Toolstack:
        """The toolstack of this host, or of URI. Nothing is contacted yet."""

        def connect() -> Hypervisor:
            from xmcompat.backends.libvirt_reading import connect as connect_libvirt

            return connect_libvirt(uri)

        return cls(connect)

    @property
    def hypervisor(self) -> Hypervisor:
        """The connection, made now if it was not. Raises HypervisorUnreachable."""
        if self._hypervisor is None:
            self._hypervisor = self._connect()
        return self._hypervisor

    def close(self) -> None:
        """Let go of the connection. May be repeated."""
        if self._hypervisor is not None:
            self._hypervisor.close()
            self._hypervisor = None

    def __enter__(self) -> Toolstack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- queries

    def domains(self, designations: Sequence[str] = ()) -> list[DomainInfo]:
        """Those named, in that order; else all, Domain-0 among them, by name in byte order.

        Raises DomainNotFound before anything is known of the others.
        """
        if designations:
            return [self.find(designation) for designation in designations]
        return self._all(self.hypervisor.domains())

    def _all(self, guests: list[DomainInfo], host: HostInfo | None = None) -> list[DomainInfo]:
        return sorted([self._domain0(guests, host), *guests], key=lambda info: info.name.encode())

    def domains_with_records(
        self, meanwhile: Callable[[], None] = lambda: None
    ) -> tuple[list[DomainInfo], dict[str, XenRecord | None]]:
        """All ``domains``, and their ``records``. MEANWHILE may be called once, while answers are on their way."""
        hosts: list[HostInfo] = []

        def look_at_host() -> None:
            meanwhile()
            hosts.append(self.hypervisor.host())

        guests, texts = self.hypervisor.domains_with_metadata(look_at_host)
        return self._all(guests, hosts[0] if hosts else None), {DOM0_UUID: None, **_records(texts)}

    def find(self, designation: str) -> DomainInfo:
        """By name, then by id, then by uuid; Domain-0 by any of its three."""
        if designation == DOM0_NAME:
            return self._domain0(None)
        try:
            return self.hypervisor.find(designation)
        except DomainNotFound:
            if designation == DOM0_UUID or (designation.isdecimal() and int(designation) == 0):
                return self._domain0(None)
            if designation.startswith("migrating-") and any_moving(self.hypervisor.uri):
                return self._moving(designation)
            raise

    def _moving(self, designation: str) -> DomainInfo:
        """By the name that it has in the list while it is moved."""
        for info in self.shown(self.hypervisor.domains()):
            if info.name == designation:
                return self.hypervisor.find(info.uuid)
        raise DomainNotFound(designation)

    def shown(self, infos: Sequence[DomainInfo]) -> list[DomainInfo]:
        """INFOS as the list shows them: one that is moved to another host just now is ``migrating-NAME``, as with xm."""
        if not any_moving(self.hypervisor.uri):
            return list(infos)
        from xmcompat import moving

        return moving.shown(self.hypervisor.uri, infos)

    def _domain0(self, guests: list[DomainInfo] | None, host: HostInfo | None = None) -> DomainInfo:
        """The host itself as the privileged domain: its memory, its cpus, and what the guests left of their time."""
        host = host or self.hypervisor.host()
        spent = sum(info.cpu_time for info in (self.hypervisor.domains() if guests is None else guests))
        return DomainInfo(
            domid=0, name=DOM0_NAME, uuid=DOM0_UUID, state=DomainState.RUNNING, memory=host.memory,
            max_memory=host.memory, vcpus=host.cpus, cpu_time=max(host.cpu_time - spent, 0), persistent=False,
        )

    def domid(self, designation: str) -> int | None:
        return self.find(designation).domid

    def domname(self, designation: str) -> str:
        return self.find(designation).name

    def uptime(self, info: DomainInfo) -> float | None:
        """Seconds since the domain was started; None where it is off, has just gone, or nothing tells."""
        if info.domid is None:
            return None
        if info.uuid == DOM0_UUID:
            with open("/proc/uptime", encoding="ascii") as file:
                return float(file.read().split()[0])
        try:
            record = self.record(info)
        except DomainNotFound:
            return None
        started = record.started if record else None
        if started is None:
            started = self.hypervisor.start_time(info.uuid)
        return None if started is None else max(time.time() - started, 0.0)

    def told_suspended(self, infos: Sequence[DomainInfo]) -> list[DomainInfo]:
        """INFOS with the state SUSPENDED for those that are off with an image."""
        if all(info.state != DomainState.SHUTOFF for info in infos):
            return list(infos)
        suspended = self.hypervisor.suspended()
        return [
            info._replace(state=DomainState.SUSPENDED)
            if info.state == DomainState.SHUTOFF and info.uuid in suspended else info
            for info in infos
        ]  # fmt: skip

    def describe(
        self, infos: Sequence[DomainInfo], designations: Sequence[str] = (),
        records: Mapping[str, XenRecord | None] | None = None,
    ) -> list[list[object]]:
        """The ``(domain ...)`` form of each, as ``list --long`` shows it. RECORDS are theirs, where they are known.

        One that has gone meanwhile is left out; where it was asked for by its DESIGNATION, DomainNotFound is raised.
        """
        from xmcompat.describe import describe

        forms = []
        known = records if records is not None else self.records(infos)
        for index, info in enumerate(self.told_suspended(infos)):
            try:
                if info.uuid not in known:
                    raise DomainNotFound(info.name)
                forms.append(describe(self.hypervisor, info, known[info.uuid]))
            except DomainNotFound:
                if designations:
                    raise DomainNotFound(designations[index]) from None
        return forms

    def record(self, info: DomainInfo) -> XenRecord | None:
        """What xm kept with the domain; None for one that xm did not start."""
        if info.uuid == DOM0_UUID:
            return None
        return _record(self.hypervisor.metadata(info.uuid))

    def records(self, infos: Sequence[DomainInfo]) -> dict[str, XenRecord | None]:
        """The same of many, by uuid; one that has gone meanwhile is left out."""
        guests = [info for info in infos if info.uuid != DOM0_UUID]
        return {DOM0_UUID: None, **_records(self.hypervisor.metadata_of(guests))}

    @property
    def tuning(self) -> Tuning:
        """The operations on memory, vcpus and scheduling."""
        from xmcompat.tuning import Tuning

        return Tuning(self)

    @property
    def statistics(self) -> Statistics:
        """Looks at what the domains use, each from the one before."""
        from xmcompat.statistics import Statistics

        return Statistics(self)

    @property
    def pools(self) -> Pools:
        """The operations on CPU pools."""
        from xmcompat.pools import Pools

        return Pools(self.hypervisor)

    @property
    def saving(self) -> Saving:
        """Saving guests to files, and starting them from such files."""
        from xmcompat.saving import Saving

        return Saving(self)

    @property
    def migrating(self) -> Migrating:
        """Moving guests to other hosts."""
        from xmcompat.migrating import Migrating

        return Migrating(self)

    @property
    def devices(self) -> Devices:
        """The operations on disks and network interfaces."""
        from xmcompat.hotplug import Devices

        return Devices(self)

    @property
    def host_devices(self) -> HostDevices:
        """The operations on devices of the host that guests are given: PCI, SCSI and USB."""
        from xmcompat.hostdevices import HostDevices

        return HostDevices(self)

    @property
    def managed(self) -> Managed:
        """The operations on domains that are known whether they run or not."""
        from xmcompat.managed import Managed

        return Managed(self)

    # -- life cycle

    def create(
        self, loaded: Loaded, *, paused: bool = False, attend: Callable[[Created], None] | None = None,
        discard_saved: bool = False,
    ) -> Created:  # fmt: skip
        """Start the guest of a configuration. On any error, and on Ctrl-C, the host is as it was.

        ATTEND is called with the domain before it runs; what it raises ends the domain. With DISCARD_SAVED the memory of
        one that is saved is given up; else it is refused.
        Raises DomainExists, NotConvertible, DeviceError, HypervisorError, and DomainNotFound for a domain that has
        ended before it could run.
        """
        from xmcompat.creation import create

        return create(
            self.hypervisor, loaded, paused=paused, attend=attend, again=self._connected_anew, discard_saved=discard_saved
        )

    def pause(self, designation: str) -> None:
        info = self.on_started(designation, "pause", self.hypervisor.pause)
        self._mark_paused(info, True)

    def unpause(self, designation: str) -> None:
        """Raises OperationError where it stands still while its disks are copied."""
        info = self._started(designation, "unpause")
        if info.state == DomainState.PAUSED:
            from xmcompat import disk_needs, vif_traces

            disk_needs.repaired(self.hypervisor)
            self.done(lambda _uuid: vif_traces.repair(self.hypervisor, info), info, designation)
        info = self.on_started(designation, "unpause", lambda uuid: self._let_run(info, uuid))
        self._mark_paused(info, False)

    def _let_run(self, info: DomainInfo, uuid: str) -> None:
        from xmcompat import moving

        moving.refuse_standing(self.hypervisor.uri, info)
        self.hypervisor.unpause(uuid)

    def _mark_paused(self, info: DomainInfo, paused: bool) -> None:
        """For ``paused_by_admin``. One that has ended meanwhile needs no mark."""
        try:
            self.hypervisor.mark_paused(info.uuid, paused)
        except (DomainNotFound, HypervisorError):
            return

    def paused_by_admin(self, info: DomainInfo) -> bool:
        """Whether ``pause`` has paused it, and nothing has let it go on since."""
        try:
            return info.state == DomainState.PAUSED and self.hypervisor.marked_paused(info.uuid)
        except DomainNotFound:
            return False

    def on_started(self, designation: str, verb: str, call: Callable[[str], None]) -> DomainInfo:
        """Make the CALL, with its uuid, for a guest that is there; returns what it was before.

        Raises OperationError for Domain-0 (to which VERB is refused) and for one that is off.
        """
        info = self._started(designation, verb)
        if not self.done(call, info, designation):
            raise OperationError(f"Domain '{designation}' is not started")
        return info

    def done(self, call: Callable[[str], None], info: DomainInfo, designation: str) -> bool:
        """Make the CALL for a domain that was there a moment ago; False for one that is known and off by now.

        Raises DomainNotFound, with the word that was typed, for one that has gone.
        """
        try:
            call(info.uuid)
        except DomainNotFound:
            raise DomainNotFound(designation) from None
        except DomainEnding:
            deadline = time.monotonic() + ENDING_PATIENCE
            while (now := self._again(info, designation)).started:
                if now.state == DomainState.CRASHED:
                    raise OperationError(
                        f"Domain '{designation}' has crashed, and is only kept in the list",
                        hint=f"'xm destroy {designation}' takes it out",
                    ) from None
                if time.monotonic() > deadline:
                    raise OperationError(f"Domain '{designation}' does not answer") from None
                time.sleep(0.05)
            return False
        return True

    def _again(self, info: DomainInfo, designation: str) -> DomainInfo:
        """The domain of INFO as it is now. Raises DomainNotFound with DESIGNATION, the word that was typed."""
        try:
            return self.hypervisor.find(info.uuid)
        except DomainNotFound:
            raise DomainNotFound(designation) from None

    def _started(self, designation: str, verb: str) -> DomainInfo:
        info = self.find(designation)
        refuse_domain0(info, designation, verb)
        if not info.started:
            raise OperationError(f"Domain '{designation}' is not started")
        return info

    # -- consoles

    def open_console(
        self, designation: str, *, number: int | None = None, on_data: Callable[[int, bytes], None]
    ) -> ConsoleSession:
        """Open the consoles of a domain, or only the NUMBERth; ON_DATA(index, bytes) runs inside ``wait``.

        Raises ConsoleBusy, and OperationError for a domain that is off or has no such console.
        """
        from xmcompat.console_session import open_session

        info = self.find(designation)
        if not info.started:
            raise OperationError(f"Domain '{designation}' is not started")
        if info.uuid == DOM0_UUID:
            raise OperationError(f"Domain '{designation}' is this host itself; it has no console")
        opened: list[ConsoleSession] = []

        def open_it(_uuid: str) -> None:
            record = self.record(info)
            opened.append(
                open_session(
                    self.hypervisor, info, record, designation=designation, number=number, on_data=on_data
                )
            )  # fmt: skip

        if not self.done(open_it, info, designation):
            raise OperationError(f"Domain '{designation}' is not started")
        return opened[0]


def _records(texts: dict[str, str | None]) -> dict[str, XenRecord | None]:
    return {uuid: _record(text) for uuid, text in texts.items()}


def _record(text: str | None) -> XenRecord | None:
    from xmcompat.backends.record import read_record

    return None if text is None else read_record(text)
