"""All guests of this host to others: what ``xmcompat evacuate`` does.

The plan is made of what both sides say just now, and nothing is written down: an evacuation that was broken off is taken up
by starting it again, since whoever has gone is not here any more.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from xmcompat import departing, migrating, vantage
from xmcompat.backends.hypervisor import DomainState
from xmcompat.errors import DomainEnding, DomainNotFound, OperationError, XmError
from xmcompat.migration.fleet import Budget, Leaving, Plan, Stay, Target, at_a_time, planned, share
from xmcompat.migration.preflight import findings, stopping
from xmcompat.moving_many import Convoy, Trip
from xmcompat.toolstack import DOM0_UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xmcompat.backends.hypervisor import DomainInfo
    from xmcompat.backends.migration import Progress
    from xmcompat.migrating import Request
    from xmcompat.migration.facts import HostFacts, Wanted
    from xmcompat.moving_many import Arrival
    from xmcompat.peers import Way
    from xmcompat.toolstack import Toolstack

_GO = (DomainState.RUNNING, DomainState.BLOCKED, DomainState.PAUSED)


class Evacuating(NamedTuple):
    """A plan, and the guests that it is about, by uuid. ``off`` are the names of those that are known here, and off."""

    plan: Plan
    guests: dict[str, DomainInfo]
    off: tuple[str, ...]


class Evacuation:
    """Of the host of TOOLSTACK to HOSTS. REQUEST says how each guest goes; its host is none of these."""

    def __init__(self, toolstack: Toolstack, hosts: Sequence[str], request: Request, budget: Budget) -> None:
        self._toolstack = toolstack
        self._hosts = tuple(dict.fromkeys(hosts))
        self._request = request._replace(paused_too=True)
        self._budget = budget

    def plan(self) -> Evacuating:
        """Where each guest goes. Nothing is changed. Raises OperationError where no host can be reached."""
        infos = [info for info in self._toolstack.domains() if info.uuid != DOM0_UUID]
        guests = {info.uuid: info for info in infos if info.state in _GO}
        stays = tuple(
            Stay(guest=Leaving(name=info.name, uuid=info.uuid, memory=info.memory), why=f"it is {info.state}")
            for info in infos if info.started and info.uuid not in guests
        )  # fmt: skip
        found = self._planned(list(guests.values())) if guests else Plan()
        off = tuple(info.name for info in infos if not info.started)
        return Evacuating(Plan(moves=found.moves, stays=(*found.stays, *stays)), guests, off)

    def _planned(self, infos: list[DomainInfo]) -> Plan:
        with ExitStack() as stack:
            ways: dict[str, Way] = {}
            errors: dict[str, str] = {}
            for host in self._hosts:
                try:
                    ways[host] = stack.enter_context(migrating.open_way(self._to(host), self._toolstack.hypervisor))
                except XmError as error:
                    errors[host] = error.line()
            if not ways:
                raise OperationError("; ".join(f"{host}: {why}" for host, why in errors.items()) or "no host is given")
            room: dict[str, int | None] = {}
            leaving = [one for info in infos if (one := self._leaving(info, ways, errors, room)) is not None]
        return planned(leaving, [Target(host=host, free_memory=room.get(host)) for host in self._hosts])

    def _leaving(
        self, info: DomainInfo, ways: dict[str, Way], errors: dict[str, str], room: dict[str, int | None]
    ) -> Leaving | None:
        """The guest of INFO with what each host says of it; None for one that has ended. ROOM gets what hosts have left."""
        refused = dict(errors)
        try:
            wanted = departing.wanted_of(self._toolstack.hypervisor, info, live=self._request.live, persist=False)
        except (DomainNotFound, DomainEnding):
            return None
        for host, way in ways.items():
            try:
                there = way.peer.look(wanted)
            except XmError as error:
                refused[host] = error.line()
                continue
            room.setdefault(host, there.free_memory)
            if why := self._why_not(wanted, there, host, private=way.private):
                refused[host] = why
        return Leaving(name=info.name, uuid=info.uuid, memory=info.memory, refused=refused)

    def _why_not(self, wanted: Wanted, there: HostFacts, host: str, *, private: bool) -> str:
        here = vantage.host_facts(self._toolstack.hypervisor, wanted, other=host)
        return "; ".join(one.line() for one in stopping(findings(wanted, here, there, host=host, private=private)))

    def _to(self, host: str) -> Request:
        return self._request._replace(host=host)

    def run(
        self, evacuating: Evacuating, on_done: Callable[[Arrival], None],
        on_look: Callable[[list[tuple[Trip, Progress | None]]], None] = lambda under_way: None,
    ) -> None:  # fmt: skip
        """Move them. Ctrl-C leaves those that are under way here, and where they are gone there; see ``Convoy``."""
        parallel = min(at_a_time(self._budget), max(len(evacuating.plan.moves), 1))
        trips = []
        for move in evacuating.plan.moves:
            info = evacuating.guests[move.guest.uuid]
            request = self._to(move.host)._replace(
                bandwidth=share(self._budget, parallel), change_home=self._toolstack.managed.is_managed(info)
            )
            trips.append(Trip(info, request))
        Convoy(trips, parallel, on_done, on_look).run()
