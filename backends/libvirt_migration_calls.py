"""libvirt's calls by which a domain goes to another host, and what they tell. They run in threads: they take long."""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from xmcompat.backends.call_thread import Call
from xmcompat.backends.libvirt_errors import NO_DOMAIN, failure_of, lost
from xmcompat.backends.libvirt_migration_errors import named_host, not_migrated
from xmcompat.backends.migration import MigrationHost, MigrationPhase, MigrationState, Progress, Transfer
from xmcompat.backends.migration_sockets import Sending
from xmcompat.errors import DomainNotFound, HypervisorError, MigrationAborted, MigrationLost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from xmcompat.backends.libvirt_translated import Translated

#: Seconds that libvirt may take to give up a transfer.
ABORT_PATIENCE = 60.0
#: Seconds in which libvirt tells a domain's state, unless it is busy with its QEMU.
_BUSY = 2.0
#: The most that libvirt takes, in MiB/s: QEMU counts bytes in 63 bits.
NO_LIMIT = 2**63 // 2**20 - 1

# libvirt's numbers (virDomainState, virDomainJobType, virDomainJobOperation, and reasons of states); they never change
_RUNNING, _PAUSED, _SHUTOFF = 1, 3, 5
_MIGRATION_IN, _MIGRATION_OUT = 4, 5
_BY_REASON = {
    (_RUNNING, 2): MigrationState.ARRIVED,
    (_RUNNING, 10): MigrationState.POSTCOPY_IN,
    (_RUNNING, 11): MigrationState.STALLED_IN,
    (_PAUSED, 12): MigrationState.POSTCOPY_OUT,
    (_PAUSED, 13): MigrationState.STALLED_OUT,
    (_SHUTOFF, 4): MigrationState.LEFT,
}
_PAUSED_TO_MIGRATE = (_PAUSED, 2)
_ENDS = {3: MigrationPhase.COMPLETED, 4: MigrationPhase.FAILED, 5: MigrationPhase.CANCELLED}


def state_of(state: int, reason: int, operation: int, active: bool = True) -> str:
    """A word of MigrationState, from libvirt's numbers for the state, its reason and the job under way (0 for none). Pure.

    One that is not ACTIVE, and still paused for its transfer, has just gone.
    """
    if not active and state == _PAUSED:
        return MigrationState.LEFT
    told = _BY_REASON.get((state, reason), MigrationState.NONE)
    if told not in (MigrationState.NONE, MigrationState.ARRIVED):
        return told
    if (state, reason) == _PAUSED_TO_MIGRATE and not operation:
        return MigrationState.CUT_OFF
    jobs = {_MIGRATION_OUT: MigrationState.OUTGOING, _MIGRATION_IN: MigrationState.INCOMING}
    return jobs.get(operation, told)


def progress_of(stats: Mapping[str, Any], state: int, reason: int) -> Progress | None:
    """From libvirt's statistics of a job, by its names, and the domain's state; None for no transfer. Pure."""
    if stats.get("operation") not in (_MIGRATION_IN, _MIGRATION_OUT) or not stats.get("type"):
        return None
    phase = _ENDS.get(int(stats["type"])) or _phase(stats, state, reason)

    def number(name: str) -> int:
        return int(stats.get(name, 0))

    return Progress(
        phase, elapsed=number("time_elapsed") / 1000, setup=number("setup_time") / 1000, total=number("data_total"),
        processed=number("data_processed"), remaining=number("data_remaining"), disk_total=number("disk_total"),
        disk_remaining=number("disk_remaining"), memory_rate=number("memory_bps"), disk_rate=number("disk_bps"),
        dirty_rate=number("memory_dirty_rate") * number("memory_page_size"), iteration=number("memory_iteration"),
        downtime=int(stats.get("downtime", -1)), throttle=number("auto_converge_throttle"),
    )  # fmt: skip


def _phase(stats: Mapping[str, Any], state: int, reason: int) -> str:
    """Of a transfer that is under way."""
    if _BY_REASON.get((state, reason)) in (MigrationState.POSTCOPY_OUT, MigrationState.STALLED_OUT):
        return MigrationPhase.POSTCOPY
    if not stats.get("memory_total"):
        return MigrationPhase.DISKS if stats.get("disk_total") else MigrationPhase.SETUP
    if (state, reason) == _PAUSED_TO_MIGRATE:
        return MigrationPhase.SWITCH
    return MigrationPhase.MEMORY


class LibvirtMigrationJob:
    """A transfer under way."""

    def __init__(self, call: Call, give_up: Callable[[], bool], sever: Callable[[], None]) -> None:
        """GIVE_UP says whether libvirt has agreed to give the transfer up."""
        self._call = call
        self._give_up = give_up
        self.sever = sever
        self._given_up = False

    def ended(self, seconds: float) -> bool:
        """Wait up to SECONDS; whether it is over."""
        return self._call.ended(seconds)

    def result(self) -> None:
        """Raises what the transfer has raised."""
        try:
            self._call.result()
        except MigrationLost as error:
            if self._given_up:  # its sockets are closed under its hands
                raise MigrationAborted("The migration was given up") from error
            raise

    def abort(self) -> None:
        """Let the guest run on here; returns when the call is over, which may have been too late to be given up.

        Raises HypervisorError in post-copy, and after ABORT_PATIENCE seconds.
        """
        deadline = time.monotonic() + ABORT_PATIENCE
        while not self._call.ended(0.0):
            if time.monotonic() > deadline:
                raise HypervisorError("libvirt does not give up the migration")
            self._given_up = self._give_up() or self._given_up
            self._call.ended(0.2)


class MigrationCalls(NamedTuple):
    """The calls over a connection of libvirt's: its module, the connection, how to open one more, what turns errors into
    our words, and the connection's URI."""

    libvirt: Any
    connection: Any
    open: Callable[[], Any]
    translated: Callable[..., Translated]
    uri: str

    def begin(self, uuid: str, transfer: Transfer, *, again: bool = False) -> LibvirtMigrationJob:
        """Move the domain; AGAIN: take up its post-copy."""
        flags, words = self._flags(transfer), self._words(transfer)
        if again:
            flags |= self.libvirt.VIR_MIGRATE_POSTCOPY | self.libvirt.VIR_MIGRATE_POSTCOPY_RESUME
        with self.translated(uuid):
            self.connection.lookupByUUIDString(uuid)

        def give_up() -> bool:
            try:
                with self.translated(uuid):
                    self.connection.lookupByUUIDString(uuid).abortJob()
            except DomainNotFound:
                return False  # it is over
            except HypervisorError as error:
                if "post-copy" in error.message:
                    raise HypervisorError("The guest runs on the other host already: too late to give it up") from None
                return False  # not begun yet, or over
            return True

        sending = Sending(uuid, transfer)

        def sever() -> None:
            if again or self._is_split(uuid):
                raise HypervisorError("The guest runs on the other host already: its connection is needed")
            sending.end()

        return LibvirtMigrationJob(Call(lambda: self._migrate(uuid, transfer, words, flags)), give_up, sever)

    def _is_split(self, uuid: str) -> bool:
        """Whether the domain is in post-copy. libvirt need not ask QEMU for it, but may be busy with one that does not
        answer all the same: then it is not, as far as is known. Raises DomainNotFound, ConnectionLost."""
        told: list[tuple[int, int]] = []

        def ask() -> None:
            with self.translated(uuid):
                told.append(tuple(self.connection.lookupByUUIDString(uuid).state(0)))

        asked = Call(ask)
        if not asked.ended(_BUSY):
            return False
        asked.result()
        return _BY_REASON.get(told[0]) in (MigrationState.POSTCOPY_OUT, MigrationState.STALLED_OUT)

    def _migrate(self, uuid: str, transfer: Transfer, words: Mapping[str, Any], flags: int) -> None:
        """The whole transfer, over a connection of its own."""
        libvirt = self.libvirt
        connection = self.open()
        try:
            with self.translated(uuid):
                domain = connection.lookupByUUIDString(uuid)
            domain.migrateToURI3(transfer.uri, dict(words), flags)
        except libvirt.libvirtError as error:
            if not self._answers(connection):
                raise lost(self.uri) from None
            raise not_migrated(failure_of(error), transfer, lambda: self._is_active(domain)) from None
        finally:
            self._closed(connection)

    def _answers(self, connection: Any) -> bool:
        """Whether this host's libvirtd is there: what it says of the other's end looks like its own."""
        try:
            connection.getLibVersion()
        except self.libvirt.libvirtError:
            return False
        return True

    def _is_active(self, domain: Any) -> bool:
        """Whether it is alive on this host; True where that cannot be told."""
        try:
            return bool(domain.isActive())
        except self.libvirt.libvirtError as error:
            return failure_of(error).code != NO_DOMAIN

    def _closed(self, connection: Any) -> None:
        try:
            connection.close()
        except self.libvirt.libvirtError:
            return  # it was lost before

    def _flags(self, transfer: Transfer) -> int:
        libvirt = self.libvirt
        wanted = (
            (True, libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_ABORT_ON_ERROR),
            (transfer.live, libvirt.VIR_MIGRATE_LIVE),
            (transfer.tls, libvirt.VIR_MIGRATE_TLS),
            (transfer.postcopy, libvirt.VIR_MIGRATE_POSTCOPY),
            (transfer.auto_converge, libvirt.VIR_MIGRATE_AUTO_CONVERGE),
            (transfer.parallel > 0, libvirt.VIR_MIGRATE_PARALLEL),
            (bool(transfer.copy), libvirt.VIR_MIGRATE_NON_SHARED_DISK),
            (transfer.persist, libvirt.VIR_MIGRATE_PERSIST_DEST),
            (transfer.persist and not transfer.keep, libvirt.VIR_MIGRATE_UNDEFINE_SOURCE),
            (transfer.paused, libvirt.VIR_MIGRATE_PAUSED),
            (transfer.unsafe, libvirt.VIR_MIGRATE_UNSAFE),
        )
        return sum(int(flag) for on, flag in wanted if on)

    def _words(self, transfer: Transfer) -> dict[str, Any]:
        libvirt = self.libvirt
        words = {
            libvirt.VIR_MIGRATE_PARAM_URI: transfer.migrate_uri,
            libvirt.VIR_MIGRATE_PARAM_LISTEN_ADDRESS: transfer.listen,
            libvirt.VIR_MIGRATE_PARAM_DEST_XML: transfer.xml,
            libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: transfer.known_xml,
            libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: transfer.bandwidth,
            libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS: transfer.parallel,
            libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS: list(transfer.copy),
            libvirt.VIR_MIGRATE_PARAM_DISKS_URI: transfer.disks_uri if transfer.copy else "",
            libvirt.VIR_MIGRATE_PARAM_TLS_DESTINATION: named_host(transfer.uri) if transfer.tls else "",
        }
        return {name: value for name, value in words.items() if value}

    # -- what is told

    def _job(self, uuid: str, *, last: bool = False) -> tuple[Mapping[str, Any], int, int]:
        """libvirt's statistics of the job under way, or of the LAST one; the domain's state and the reason.

        None of a domain that is off. On the host to which a domain comes it has none either, and says why.
        """
        with self.translated(uuid):
            domain = self.connection.lookupByUUIDString(uuid)
            state, reason = domain.state(0)
            try:
                flag = self.libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | self.libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED
                stats = domain.jobStats(flag if last else 0)
            except self.libvirt.libvirtError as error:
                failure = failure_of(error)
                if failure.has("only on the source host"):
                    stats = {"type": self.libvirt.VIR_DOMAIN_JOB_UNBOUNDED, "operation": _MIGRATION_IN}
                elif failure.has("domain is not running"):
                    stats = {}
                else:
                    raise
            return stats, state, reason

    def progress(self, uuid: str) -> Progress | None:
        stats, state, reason = self._job(uuid)
        told = progress_of(stats, state, reason)
        return told if stats.get("operation") == _MIGRATION_OUT else None

    def last(self, uuid: str) -> Progress | None:
        return progress_of(*self._job(uuid, last=True))

    def state(self, uuid: str) -> str:
        stats, state, reason = self._job(uuid)
        return state_of(state, reason, int(stats.get("operation", 0)) if stats.get("type") else 0, active=bool(stats))

    def set_bandwidth(self, uuid: str, mebibytes: int | None) -> None:
        with self.translated(uuid):
            domain = self.connection.lookupByUUIDString(uuid)
            domain.migrateSetMaxSpeed(NO_LIMIT if mebibytes is None else mebibytes, 0)

    # -- this host

    def host(self) -> MigrationHost:
        from xmcompat.backends.migration_xml import host_identity

        with self.translated():
            connection = self.connection
            uuid, machines = host_identity(connection.getCapabilities())
            versions = _version(connection.getLibVersion()), _version(connection.getVersion())
            return MigrationHost(uuid, connection.getHostname(), *versions, machines)

    def cpu_refusal(self, xml: str) -> str:
        """libvirt compares the processor of the domain XML with what QEMU offers here, with that accelerator."""
        from xmcompat.backends.migration_xml import wanted_cpu

        wanted = wanted_cpu(xml)
        if wanted is None:
            return ""
        try:
            with self.translated():
                self.connection.compareHypervisorCPU(
                    wanted.emulator, wanted.arch, wanted.machine, wanted.kind, wanted.cpu,
                    self.libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE,
                )  # fmt: skip
        except HypervisorError as error:
            return error.message
        return ""


def _version(number: int) -> str:
    """ "9.0.0" for 9000000."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
