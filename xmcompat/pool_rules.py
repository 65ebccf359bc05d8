"""What holds for CPU pools and the domains in them: which CPUs are whose, and what xend calls an error. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from xmcompat.config import sxp
from xmcompat.errors import ConfigError, OperationError
from xmcompat.pool_store import NAMESPACE, Pins, Pool, State
from xmcompat.units import parse_cpus

#: The pool that is always there.
POOL0 = "Pool-0"


class PoolError(OperationError):
    """xend's own text, to the byte; a hint is a line of its own."""

    hint_apart = True


def refused(*words: str, hint: str | None = None) -> PoolError:
    """An error that xend passed on as the list of its WORDS."""
    return PoolError(repr(list(words)), hint=hint)


def pool0(state: State, host: Sequence[int]) -> Pool:
    """Pool-0, of a HOST with these CPUs."""
    taken = {cpu for pool in state.pools for cpu in pool.cpus}.union(state.free)
    cpus = tuple(cpu for cpu in host if cpu not in taken)
    return Pool(POOL0, NAMESPACE, len(cpus), managed=False, number=0, cpus=cpus)


def all_pools(state: State, host: Sequence[int]) -> tuple[Pool, ...]:
    return (pool0(state, host), *state.pools)


def found(state: State, host: Sequence[int], designation: str) -> Pool:
    """By name, else by id. Raises PoolError."""
    pools = all_pools(state, host)
    by_name = [pool for pool in pools if pool.name == designation]
    by_number = [pool for pool in pools if pool.active and designation == str(pool.number)]
    for pool in (*by_name, *by_number):
        return pool
    raise PoolError(f"unknown pool {designation}")


def found_active(state: State, host: Sequence[int], designation: str) -> Pool:
    pool = found(state, host, designation)
    if not pool.active:
        raise refused("POOL_BAD_STATE", "deactivated")
    return pool


def cpus_of(state: State, host: Sequence[int], name: str) -> tuple[int, ...] | None:
    """The CPUs to which the pool NAME keeps its domains; None for all of the host, and for no pool in use."""
    pool = next((pool for pool in all_pools(state, host) if pool.name == name and pool.active), None)
    return None if pool is None or set(pool.cpus) >= set(host) else pool.cpus


def refuse_offline(pool: str, cpus: Sequence[int], host: Sequence[int]) -> None:
    """Raises PoolError where none of the CPUS of POOL is one that the HOST has online: nothing can run there."""
    if not set(cpus).intersection(host):
        raise PoolError(
            f"none of the CPUs of the pool {pool} is online",
            hint=f"bring one up in /sys/devices/system/cpu, or give the pool another with 'xm cpupool-cpu-add {pool}'",
        )


def with_cpus(state: State, pool: Pool, cpus: tuple[int, ...]) -> State:
    """STATE where POOL has CPUS; Pool-0's are those that are left."""
    pools = tuple(one._replace(cpus=cpus) if one.name == pool.name else one for one in state.pools)
    return state._replace(pools=pools)


def kept_within(own: Sequence[int], cpus: Sequence[int]) -> tuple[int, ...]:
    """The CPUs for a vcpu with pins of its OWN, () for none, in a pool of CPUS; all of them where none is its own."""
    return tuple(cpu for cpu in cpus if cpu in own) or tuple(cpus)


def own_pins(form: Sequence[object], count: int) -> Pins:
    """The pins that a domain's form gives each of COUNT vcpus; () for any CPU."""
    cpus = sxp.value(form, "cpus", "")
    items = cpus if isinstance(cpus, list) else [cpus] * count
    pins = [_listed(item) for item in items[:count]]
    return (*pins, *((),) * (count - len(pins)))


def _listed(item: object) -> tuple[int, ...]:
    try:
        return parse_cpus(",".join(map(str, item)) if isinstance(item, list) else str(item))
    except ConfigError:
        return ()
