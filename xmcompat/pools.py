"""CPU pools: sets of the host's CPUs to which the domains in them are kept. The operations beneath ``xm cpupool-*``.

Pool-0 is always there, with every CPU that is in no other pool and has not been taken out of it. A domain's vcpus are
pinned to the CPUs of its pool, within their own pins, which come back with another pool; so is what QEMU runs besides.
Domain-0 is the host itself, which no pool keeps from any CPU. The texts of errors are xend's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from xmcompat import recorded
from xmcompat.backends import domain_xml
from xmcompat.backends.hypervisor import DomainInfo, DomainState, Hypervisor
from xmcompat.backends.settings import is_local
from xmcompat.config import sxp
from xmcompat.describe import recorded_form
from xmcompat.errors import DomainEnding, DomainNotFound, XmError
from xmcompat.light import NamedTuple
from xmcompat.pool_rules import (
    POOL0,
    PoolError,
    all_pools,
    cpus_of,
    found,
    found_active,
    kept_within,
    own_pins,
    pool0,
    refuse_offline,
    refused,
    with_cpus,
)
from xmcompat.pool_store import Member, Pins, Pool, State, Store, state_directory
from xmcompat.toolstack import DOM0_NAME, DOM0_UUID
from xmcompat.tuning import with_values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xmcompat.backends.record import XenRecord
    from xmcompat.config.pool import PoolConfig

SCHEDULERS = ("credit",)


class PoolInfo(NamedTuple):
    """A pool as it is, and the domains in it that are there."""

    pool: Pool
    domains: tuple[DomainInfo, ...]


class Pools:
    """The operations over a HYPERVISOR. A change returns what the operator should know: sentences, mostly none."""

    def __init__(self, hypervisor: Hypervisor, store: Store | None = None) -> None:
        self._hypervisor = hypervisor
        self._store = store or Store(state_directory(os.environ))
        self._here = is_local(hypervisor.uri)

    # -- queries

    @property
    def state(self) -> State:
        """What is kept of pools on this host; of another host's hypervisor nothing is."""
        return self._store.read() if self._here else State()

    def host_cpus(self) -> tuple[int, ...]:
        return tuple(cpu.number for cpu in self._hypervisor.host_cpus() if cpu.online)

    def free_cpus(self) -> tuple[int, ...]:
        """The CPUs that are in no pool."""
        return self._free(self.state, self.host_cpus())

    def overview(self) -> list[PoolInfo]:
        """All pools, Pool-0 first."""
        state, host = self.state, self.host_cpus()
        infos = [info for info in self._hypervisor.domains() if info.started]
        names = {info.uuid: self._name_of(state, info) for info in infos}
        dom0 = DomainInfo(0, DOM0_NAME, DOM0_UUID, DomainState.RUNNING, 0, 0, len(host), 0, False)
        rows = []
        for pool in all_pools(state, host):
            there = [info for info in infos if names[info.uuid] == pool.name]
            rows.append(PoolInfo(pool, (*([dom0] if pool.name == POOL0 else []), *there)))
        return rows

    def find(self, designation: str) -> Pool:
        """By name, else by id. Raises PoolError in xend's words."""
        return found(self.state, self.host_cpus(), designation)

    def names_of(self, infos: Iterable[DomainInfo]) -> dict[str, str]:
        """For each domain's uuid the name of its pool. One that goes meanwhile has none."""
        state = self.state
        return {info.uuid: self._name_of(state, info) for info in infos}

    def name_of(self, info: DomainInfo) -> str:
        return self._name_of(self.state, info)

    def _name_of(self, state: State, info: DomainInfo) -> str:
        if info.uuid == DOM0_UUID:
            return POOL0
        try:
            form = recorded_form(self._record(info))
        except DomainNotFound:
            return ""
        if form is not None:
            return str(sxp.value(form, "pool_name", POOL0))
        return next((one.pool for one in state.members if one.uuid == info.uuid), POOL0)

    def _record(self, info: DomainInfo) -> XenRecord | None:
        text = self._hypervisor.metadata(info.uuid)
        return None if text is None else domain_xml.read_record(text)

    def cpus_of(self, info: DomainInfo) -> tuple[int, ...] | None:
        """The CPUs to which its pool keeps a domain; None for all of the host."""
        state = self.state
        if not state.pools and not state.free:
            return None
        return cpus_of(state, self.host_cpus(), self._name_of(state, info))

    def cpus_for(self, name: str) -> tuple[int, ...] | None:
        """The CPUs for a new domain of the pool NAME; None for all of the host. Raises PoolError."""
        state = self.state
        if name == POOL0 and not state.pools and not state.free:
            return None
        host = self.host_cpus()
        pool = pool0(state, host) if name == POOL0 else state.pool(name)
        if pool is None:
            raise PoolError(f"unknown pool {name}", hint="make it with 'xm cpupool-create'")
        if not pool.active:
            raise PoolError(f"pool {name} not activated", hint=f"use 'xm cpupool-start {name}'")
        refuse_offline(name, pool.cpus, host)
        return None if set(pool.cpus) >= set(host) else pool.cpus

    # -- pools come and go

    def create(self, config: PoolConfig) -> tuple[str, ...]:
        """Make an unmanaged pool and activate it."""
        with self._changing() as state:
            pool = self._new(state, config)._replace(managed=False)
            return self._activate(state._replace(pools=(*state.pools, pool)), pool)

    def new(self, config: PoolConfig) -> None:
        """Register a managed pool, which is not active."""
        with self._changing() as state:
            self._store.write(state._replace(pools=(*state.pools, self._new(state, config))))

    def start(self, designation: str) -> tuple[str, ...]:
        with self._changing() as state:
            pool = found(state, self.host_cpus(), designation)
            if pool.active:
                raise refused("POOL_BAD_STATE", "activated")
            return self._activate(state, pool)

    def start_marked(self) -> tuple[str, ...]:
        """Activate the managed pools that start with xend; their CPUs are taken out of Pool-0 where they must be.

        Returns a sentence for each that could not be.
        """
        told: list[str] = []
        for pool in self.state.pools:
            if pool.managed and pool.autostart and not pool.active:
                try:
                    told += self._start_marked(pool.name)
                except XmError as error:
                    told.append(f"the CPU pool {pool.name} was not started: {error.line()}")
        return tuple(told)

    def _start_marked(self, name: str) -> tuple[str, ...]:
        with self._changing() as state:
            host, pool = self.host_cpus(), state.pool(name)
            if pool is None or pool.active:
                return ()
            free, spare = self._free(state, host), pool0(state, host).cpus[1:]
            missing = [cpu for cpu in pool.proposed if cpu in spare and cpu not in free]
            if not pool.proposed:
                missing = list(reversed(spare))[: max(pool.wanted - len(free), 0)]
            return self._activate(state._replace(free=tuple(sorted({*state.free, *missing}))), pool)

    def destroy(self, designation: str) -> tuple[str, ...]:
        """Deactivate a pool without domains, and forget it if it is unmanaged. Its CPUs are in no pool then."""
        with self._changing() as state:
            pool = found(state, self.host_cpus(), designation)
            if not pool.active:
                raise refused("POOL_BAD_STATE", "deactivated")
            if pool.name == POOL0 or any(
                self._name_of(state, info) == pool.name for info in self._hypervisor.domains() if info.started
            ):
                raise refused("POOL_BAD_STATE", "in use")
            left = [one for one in state.pools if one.name != pool.name or one.managed]
            pools = tuple(one._replace(number=None, cpus=()) if one.name == pool.name else one for one in left)
            self._store.write(state._replace(pools=pools, free=tuple(sorted({*state.free, *pool.cpus}))))
            return ()

    def delete(self, designation: str) -> None:
        """Forget a managed pool that is not active."""
        with self._changing() as state:
            pool = found(state, self.host_cpus(), designation)
            if pool.active:
                raise refused("POOL_BAD_STATE", "activated")
            self._store.write(state._replace(pools=tuple(one for one in state.pools if one.name != pool.name)))

    def _new(self, state: State, config: PoolConfig) -> Pool:
        from uuid import uuid4

        if config.sched not in SCHEDULERS:
            raise refused("UNKOWN_SCHED_POLICY", hint=f"KVM's guests are scheduled by weight and cap: {SCHEDULERS[0]}")
        if config.name == POOL0 or state.pool(config.name) is not None:
            raise refused("PARAMETER_ERROR", f'Pool name "{config.name}" already exists')
        if not config.has_valid_name:
            raise refused("PARAMETER_ERROR", f'Invalid pool name "{config.name}"')
        if config.count < 1:
            raise refused("PARAMETER_ERROR", "a pool has one CPU or more")
        return Pool(
            config.name, str(uuid4()), config.count, config.proposed, config.sched,
            other_config=config.other_config, autostart=config.autostart,
        )  # fmt: skip

    def _activate(self, state: State, pool: Pool) -> tuple[str, ...]:
        """Give POOL its CPUs, which must be free. No domain is in it yet."""
        free = self._free(state, self.host_cpus())
        usable = tuple(cpu for cpu in pool.proposed if cpu in free) if pool.proposed else free
        wanted = len(pool.proposed) or pool.wanted
        if len(usable) < wanted:
            raise refused(
                "INSUFFICIENT_CPUS", str(wanted), str(len(usable)),
                hint="take CPUs out of another pool first, as in 'xm cpupool-cpu-remove Pool-0 1'",
            )  # fmt: skip
        cpus = usable[:wanted]
        taken = {one.number for one in state.pools}
        number = next(number for number in range(1, len(taken) + 2) if number not in taken)
        pools = tuple(one._replace(number=number, cpus=cpus) if one.name == pool.name else one for one in state.pools)
        return self._settle(state._replace(pools=pools, free=tuple(cpu for cpu in state.free if cpu not in cpus)))

    # -- CPUs

    def add_cpu(self, designation: str, cpu: int) -> tuple[str, ...]:
        """Bind a free CPU to an active pool."""
        with self._changing() as state:
            host = self.host_cpus()
            pool = found_active(state, host, designation)
            if cpu not in host:
                raise refused("INVAILD_CPU", "CPU unknown")
            if cpu not in self._free(state, host):
                raise refused("INVAILD_CPU", "CPU already assigned to pool")
            free = tuple(one for one in state.free if one != cpu)
            return self._settle(with_cpus(state._replace(free=free), pool, tuple(sorted((*pool.cpus, cpu)))))

    def remove_cpu(self, designation: str, cpu: int) -> tuple[str, ...]:
        """Take a CPU out of an active pool; it is in no pool then."""
        with self._changing() as state:
            pool = found_active(state, self.host_cpus(), designation)
            if cpu not in pool.cpus:
                raise refused("INVAILD_CPU", "CPU not assigned to pool")
            if len(pool.cpus) == 1:
                raise refused("LAST_CPU_NOT_REMOVEABLE", "could not remove last cpu")
            left = tuple(one for one in pool.cpus if one != cpu)
            return self._settle(with_cpus(state._replace(free=tuple(sorted({*state.free, cpu}))), pool, left))

    @staticmethod
    def _free(state: State, host: Sequence[int]) -> tuple[int, ...]:
        return tuple(cpu for cpu in host if cpu in state.free)

    # -- domains

    def migrate(self, designation: str, to: str) -> tuple[str, ...]:
        """Move a domain, there or known, to another pool."""
        try:
            info = self._hypervisor.find(designation) if designation not in (DOM0_NAME, "0", DOM0_UUID) else None
        except DomainNotFound:
            raise PoolError(f"unknown domain {designation}") from None
        with self._changing() as state:
            pool = found(state, self.host_cpus(), to)
            if info is None:
                raise PoolError("could not move Domain-0", hint="it is this host itself, which may use every CPU")
            if info.started and not pool.active:
                raise PoolError("could not move domain", hint=f"use 'xm cpupool-start {pool.name}' first")
            if info.started:
                refuse_offline(pool.name, pool.cpus, self.host_cpus())
            try:
                return self._move(state, info, pool)
            except (DomainNotFound, DomainEnding):
                raise PoolError("could not move domain", hint="it has ended meanwhile") from None

    def _move(self, state: State, info: DomainInfo, pool: Pool) -> tuple[str, ...]:
        if recorded_form(self._record(info)) is not None:
            recorded.change_forms(self._hypervisor, info, lambda form: with_values(form, {"pool_name": pool.name}))
        else:
            members = {one.uuid: one for one in state.members}
            own = members[info.uuid].pins if info.uuid in members else self._pins_now(info)
            members[info.uuid] = Member(info.uuid, pool.name, own)
            state = state._replace(members=tuple(members.values()))
            self._store.write(state)
        if pool.active:
            self._keep_within(state, info, self.host_cpus())
        return ()

    def own_pins(self, info: DomainInfo, count: int) -> Pins:
        """For each of COUNT vcpus the CPUs to which it is pinned besides its pool; () for any."""
        state = self.state
        form = recorded_form(self._record(info))
        if form is not None:
            return own_pins(form, count)
        pins = next((one.pins for one in state.members if one.uuid == info.uuid), None)
        pins = self._pins_now(info) if pins is None else pins
        return (*pins, *((),) * count)[:count]

    def remember(self, info: DomainInfo, pins: Pins) -> None:
        """Keep the own PINS of a domain without a record, if its pool is what keeps them from being in force."""
        state = self.state
        if any(one.uuid == info.uuid for one in state.members):
            with self._changing() as state:
                members = tuple(one._replace(pins=pins) if one.uuid == info.uuid else one for one in state.members)
                self._store.write(state._replace(members=members))

    def settle(self, info: DomainInfo, within: Sequence[int] | None) -> None:
        """Pin a domain that has just been started for a pool of the CPUs WITHIN, if they are others by now."""
        if self.cpus_of(info) == (None if within is None else tuple(within)):
            return
        with self._changing() as state, suppress(DomainNotFound, DomainEnding):
            self._keep_within(state, info, self.host_cpus())

    def _settle(self, state: State) -> tuple[str, ...]:
        """Keep STATE, and every domain within its pool. Returns a sentence for each that could not be."""
        host = self.host_cpus()
        infos = self._hypervisor.domains()
        known = {info.uuid for info in infos}
        state = self._with_members(state, infos)
        self._store.write(state._replace(members=tuple(one for one in state.members if one.uuid in known)))
        told = []
        for info in infos:
            try:
                self._keep_within(state, info, host)
            except (DomainNotFound, DomainEnding):
                continue  # it has ended meanwhile
            except XmError as error:
                told.append(f"'{info.name}' is not kept to the CPUs of its pool: {error.line()}")
        return tuple(told)

    def _with_members(self, state: State, infos: Sequence[DomainInfo]) -> State:
        """STATE with the own pins of each domain without a record, before a pool pins it."""
        members = {one.uuid: one for one in state.members}
        for info in infos:
            try:
                if info.uuid not in members and recorded_form(self._record(info)) is None:
                    members[info.uuid] = Member(info.uuid, POOL0, self._pins_now(info))
            except (DomainNotFound, DomainEnding):
                continue  # it has ended meanwhile
        return state._replace(members=tuple(members.values()))

    def _pins_now(self, info: DomainInfo) -> Pins:
        host = set(self.host_cpus())
        rows = self._hypervisor.vcpus(info.uuid)
        return tuple(() if host <= set(row.affinity) else row.affinity for row in rows)

    def _keep_within(self, state: State, info: DomainInfo, host: Sequence[int]) -> None:
        """Pin the vcpus of a domain within its pool, and what QEMU runs besides; only what is not so already."""
        name = self._name_of(state, info)
        cpus = tuple(host) if (kept := cpus_of(state, host, name)) is None else kept
        if info.started:
            refuse_offline(name, cpus, host)
        elif not set(cpus).intersection(host):
            return  # its start is refused
        vcpus = self._hypervisor.vcpus(info.uuid)
        form = recorded_form(self._record(info))
        member = next((one for one in state.members if one.uuid == info.uuid), None)
        own = own_pins(form, len(vcpus)) if form is not None else (member.pins if member else ())
        for row in vcpus:
            wanted = kept_within(own[row.number] if row.number < len(own) else (), cpus)
            if set(row.affinity).intersection(host) != set(wanted):
                self._hypervisor.pin_vcpu(info.uuid, row.number, wanted)
        self._hypervisor.pin_emulator(info.uuid, cpus)

    @contextmanager
    def _changing(self) -> Iterator[State]:
        """What is kept of pools, which nobody else changes meanwhile. Raises XmError."""
        if not self._here:
            raise PoolError("CPU pools are made on the host where the guests run", hint="run xm there")
        with self._store.changing() as state:
            yield state
