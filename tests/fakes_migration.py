"""Domains that go from one ``FakeHypervisor`` to another: the protocol's part in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.migration import MigrationHost, MigrationPhase, MigrationState, Progress, Transfer
from xmcompat.errors import DomainNotFound, HypervisorError, MigrationAborted, MigrationRefused, XmError

if TYPE_CHECKING:
    from tests.fakes import FakeHypervisor

MIB = 1024 * 1024
COPYING = Progress(
    MigrationPhase.MEMORY, elapsed=1.0, setup=0.1, total=256 * MIB, processed=64 * MIB, remaining=192 * MIB,
    memory_rate=64 * MIB, iteration=1, downtime=300,
)  # fmt: skip
DONE = Progress(
    MigrationPhase.COMPLETED, elapsed=4.0, setup=0.1, total=256 * MIB, processed=256 * MIB, memory_rate=64 * MIB, iteration=3,
    downtime=42,
)  # fmt: skip


class FakeMigrationJob:
    """Is over after so many looks, or when it is aborted. ARRIVE and FAIL are the transfer's, in ``FakeMigration``."""

    def __init__(
        self, looks: int, error: XmError | None, arrive: Callable[[], None], fail: Callable[[], None],
        postcopy: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._looks = looks
        self._error = error
        self._arrive = arrive
        self._fail = fail
        self._postcopy = postcopy
        self._over = False

    def _end(self) -> None:
        self._over = True
        if self._error is None:
            self._arrive()
        else:
            self._fail()

    def ended(self, seconds: float) -> bool:
        self._looks -= 1
        if self._looks < 0 and not self._over:
            self._end()
        return self._over

    def result(self) -> None:
        assert self._over
        if self._error is not None:
            raise self._error

    def abort(self) -> None:
        if not self._over:
            if self._postcopy():
                raise HypervisorError("cannot abort migration in post-copy mode")
            self._error = MigrationAborted("operation aborted")
            self._end()

    def sever(self) -> None:
        """This host's QEMU answers by itself."""
        raise AssertionError("nothing is to be ended from outside")


@dataclass
class FakeMigration:
    """``others`` are the hypervisors at the uris of transfers. ``migration_looks``, ``migration_errors`` and
    ``migration_told`` by name of the domain: how long its transfer takes, what it ends with, what is told of it on the way,
    the last for ever. ``on_arriving`` is called when the domain is there on the other host, paused, and ``on_arrived`` when
    it has been let go there; ``vanishes`` names those that an error leaves on neither."""

    known: dict[str, DomainInfo] = field(default_factory=dict)
    xml: dict[str, str] = field(default_factory=dict)
    records: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    others: dict[str, FakeHypervisor] = field(default_factory=dict)
    transfers: list[tuple[str, Transfer]] = field(default_factory=list)
    migration_looks: dict[str, int] = field(default_factory=dict)
    migration_errors: dict[str, XmError] = field(default_factory=dict)
    migration_told: dict[str, list[Progress]] = field(default_factory=dict)
    migration_states: dict[str, str] = field(default_factory=dict)
    migrations_done: dict[str, Progress] = field(default_factory=dict)
    bandwidths: list[int | None] = field(default_factory=list)
    downtimes: list[int] = field(default_factory=list)
    vanishes: set[str] = field(default_factory=set)
    on_arriving: Callable[[], None] | None = None
    on_arrived: Callable[[], None] | None = None
    migrates_as: MigrationHost = MigrationHost(
        "30000000-0000-4000-8000-000000000001", "fake", "9.0.0", "7.2.0", ("pc", "pc-i440fx-7.2", "q35", "pc-q35-7.2")
    )
    cpu_refusals: dict[str, str] = field(default_factory=dict)
    transfers_under_way: int = 0
    most_transfers: int = 0

    def _there(self, uuid: str) -> DomainInfo:
        if uuid not in self.known:
            raise DomainNotFound(uuid)
        return self.known[uuid]

    def begin_migration(self, uuid: str, transfer: Transfer) -> FakeMigrationJob:
        info = self._there(uuid)
        self.calls.append(("migrate", info.name))
        self.transfers.append((info.name, transfer))
        error = self.migration_errors.get(info.name)
        if transfer.uri not in self.others:
            return self._refused(info, MigrationRefused(f"unable to connect to server at '{transfer.uri}'"))
        if isinstance(error, MigrationRefused):
            return self._refused(info, error)
        return self._moving(info, transfer, self.others[transfer.uri], error)

    def _refused(self, info: DomainInfo, error: XmError) -> FakeMigrationJob:
        return FakeMigrationJob(
            self.migration_looks.get(info.name, 0), error, lambda: None, lambda: None, lambda: False
        )

    def _moving(self, info: DomainInfo, transfer: Transfer, there: FakeHypervisor, error: XmError | None) -> FakeMigrationJob:
        uuid = info.uuid
        before = there.known.get(uuid)
        paused = info.state == DomainState.PAUSED
        self.transfers_under_way += 1
        self.most_transfers = max(self.most_transfers, self.transfers_under_way)
        self.migration_states[uuid] = MigrationState.OUTGOING
        there.migration_states[uuid] = MigrationState.INCOMING
        there.known[uuid] = info._replace(
            domid=len(there.known) + 50, state=DomainState.PAUSED, persistent=transfer.persist
        )
        there.xml[uuid] = transfer.xml or self.migratable_xml(uuid)
        if uuid in self.records:
            there.records[uuid] = self.records[uuid]
        if self.on_arriving is not None:
            self.on_arriving()

        def gone() -> None:
            self.transfers_under_way -= 1
            now = self.known.pop(uuid)
            self.migration_states.pop(uuid, None)
            if now.persistent and not (transfer.persist and not transfer.keep):
                self.known[uuid] = now._replace(domid=None, state=DomainState.SHUTOFF)
                self.migration_states[uuid] = MigrationState.LEFT

        def arrive() -> None:
            gone()
            if not (transfer.paused or paused):
                there.known[uuid] = there.known[uuid]._replace(state=DomainState.RUNNING)
            there.migration_states[uuid] = MigrationState.ARRIVED
            there.migrations_done[uuid] = DONE
            if self.on_arrived is not None:
                self.on_arrived()

        def fail() -> None:
            del there.known[uuid]
            there.migration_states.pop(uuid)
            if before is not None:
                there.known[uuid] = before
            if info.name in self.vanishes:
                gone()
                return
            self.transfers_under_way -= 1
            self.migration_states.pop(uuid)

        looks = self.migration_looks.get(info.name, 0)
        return FakeMigrationJob(looks, error, arrive, fail, lambda: self._fetches(uuid))

    def _fetches(self, uuid: str) -> bool:
        return self.migration_states.get(uuid) in (MigrationState.POSTCOPY_OUT, MigrationState.STALLED_OUT)

    def migration_progress(self, uuid: str) -> Progress | None:
        info = self._there(uuid)
        if self.migration_states.get(uuid) not in (
            MigrationState.OUTGOING, MigrationState.POSTCOPY_OUT, MigrationState.STALLED_OUT
        ):  # fmt: skip
            return None
        told = self.migration_told.get(info.name) or [COPYING]
        return told.pop(0) if len(told) > 1 else told[0]

    def last_migration(self, uuid: str) -> Progress | None:
        self._there(uuid)
        return self.migrations_done.get(uuid)

    def migration_state(self, uuid: str) -> str:
        self._there(uuid)
        return self.migration_states.get(uuid, MigrationState.NONE)

    def to_postcopy(self, uuid: str) -> None:
        info = self._there(uuid)
        name, transfer = self.transfers[-1]
        assert name == info.name
        if not transfer.postcopy:
            raise HypervisorError("post-copy was not allowed")
        self.calls.append(("postcopy", info.name))
        self.known[uuid] = info._replace(state=DomainState.PAUSED)
        self.migration_states[uuid] = MigrationState.POSTCOPY_OUT
        there = self.others[transfer.uri]
        there.known[uuid] = there.known[uuid]._replace(state=DomainState.RUNNING)
        there.migration_states[uuid] = MigrationState.POSTCOPY_IN

    def recover_postcopy(self, uuid: str, transfer: Transfer) -> FakeMigrationJob:
        info = self._there(uuid)
        assert self.migration_states[uuid] == MigrationState.STALLED_OUT
        self.calls.append(("recover", info.name))
        there = self.others[transfer.uri]
        self.migration_states[uuid] = MigrationState.POSTCOPY_OUT
        there.migration_states[uuid] = MigrationState.POSTCOPY_IN

        def arrive() -> None:
            del self.known[uuid], self.migration_states[uuid]
            there.migration_states[uuid] = MigrationState.ARRIVED

        return FakeMigrationJob(
            self.migration_looks.get(info.name, 0), None, arrive, lambda: None, lambda: self._fetches(uuid)
        )

    def set_max_downtime(self, uuid: str, milliseconds: int) -> None:
        self._there(uuid)
        self.downtimes.append(milliseconds)

    def set_bandwidth(self, uuid: str, mebibytes: int | None) -> None:
        self._there(uuid)
        self.bandwidths.append(mebibytes)

    def migratable_xml(self, uuid: str) -> str:
        self._there(uuid)
        return self.xml.get(uuid, "<domain/>")

    def migration_host(self) -> MigrationHost:
        return self.migrates_as

    def cpu_refusal(self, xml: str) -> str:
        """By what the XML of the domain contains."""
        return next((why for word, why in self.cpu_refusals.items() if word in xml), "")
