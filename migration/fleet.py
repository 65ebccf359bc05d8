"""Where each guest of a host goes when the host is emptied, and how many go at a time. Pure.

A plan is made of what is on the host just now, so that one that was broken off is taken up by making it again: who has gone
is not asked for any more. Memory is in KiB, bandwidth in MiB/s.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from xmcompat.migration.preflight import memory_needed

#: MiB/s below which no guest is moved beside another one: what it changes meanwhile would be too much.
LEAST_SHARE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """A guest of MEMORY KiB that is to go. ``refused`` has the hosts that cannot take it, and why."""

    name: str
    uuid: str
    memory: int
    refused: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A host that takes guests, with the memory that it has left for them; None where it does not say."""

    host: str
    free_memory: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many guests move at a time, and the most that all of them take together, None for no limit."""

    parallel: int = 2
    bandwidth: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A guest, and where it goes."""

    guest: Leaving
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """A guest that can go nowhere; ``why`` names each host."""

    guest: Leaving
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``moves`` in the order in which they begin."""

    moves: tuple[Move, ...] = ()
    stays: tuple[Stay, ...] = ()


def planned(guests: Iterable[Leaving], targets: Sequence[Target]) -> Plan:
    """A host for each guest, the largest first, since they take the longest and are the hardest to place.

    Each goes to the host that has the most memory left then. Where packing them as tightly as possible moves more memory,
    that is done instead.
    """
    ordered = sorted(guests, key=lambda one: (-one.memory, one.name, one.uuid))
    spread, packed = (_placed(ordered, targets, tight=tight) for tight in (False, True))
    return packed if _memory(packed) > _memory(spread) else spread


def _memory(plan: Plan) -> int:
    return sum(move.guest.memory for move in plan.moves)


def _placed(guests: Sequence[Leaving], targets: Sequence[Target], *, tight: bool) -> Plan:
    left = {target.host: target.free_memory for target in targets}
    moves: list[Move] = []
    stays: list[Stay] = []
    for guest in guests:
        need = memory_needed(guest.memory)
        open_to = {host: free for host, free in left.items() if host not in guest.refused}
        room = {host: free for host, free in open_to.items() if free is not None and free >= need}
        if not room:
            stays.append(Stay(guest=guest, why=_why_not(guest, need, left)))
            continue
        host = min(room, key=lambda one: (room[one] if tight else -room[one], one))
        left[host] = room[host] - need
        moves.append(Move(guest=guest, host=host))
    return Plan(moves=tuple(moves), stays=tuple(stays))


def _why_not(guest: Leaving, need: int, left: Mapping[str, int | None]) -> str:
    if not left:
        return "no host is given that could take it"
    return "; ".join(f"{host}: {_why_not_there(guest, need, host, free)}" for host, free in left.items())


def _why_not_there(guest: Leaving, need: int, host: str, free: int | None) -> str:
    if host in guest.refused:
        return guest.refused[host]
    if free is None:
        return "it does not say how much memory it has left"
    return f"{need} KiB are needed, and {free} left"


def at_a_time(budget: Budget) -> int:
    """How many move at once: as many as each can have LEAST_SHARE of the bandwidth, and one at least."""
    if budget.bandwidth is None:
        return max(budget.parallel, 1)
    return max(min(budget.parallel, budget.bandwidth // LEAST_SHARE), 1)


def share(budget: Budget, moving: int) -> int | None:
    """The bandwidth of each of the MOVING guests; None for no limit."""
    if budget.bandwidth is None:
        return None
    return max(budget.bandwidth // max(moving, 1), 1)


def may_begin(plan: Plan, budget: Budget, *, moving: Collection[str], over: Collection[str]) -> tuple[Move, ...]:
    """The moves that begin now, given the uuids of the guests that are MOVING, and of those of which it is OVER."""
    waiting = [move for move in plan.moves if move.guest.uuid not in moving and move.guest.uuid not in over]
    return tuple(waiting[: max(at_a_time(budget) - len(moving), 0)])
