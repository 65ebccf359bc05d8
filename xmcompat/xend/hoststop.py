"""What ``xendomains stop`` does: guests are saved, or else asked to shut down, within a time that is set.

Differs from Xen's script, which treats one guest after the other: a few are saved at a time, and all that are to shut down
are asked at once and waited for together. Paused guests are saved too, and come back paused.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from xmcompat import events, moving
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.errors import XmError
from xmcompat.pending_save import PendingSave
from xmcompat.toolstack import DOM0_UUID, Toolstack
from xmcompat.xend.autostart import Report, auto_guests
from xmcompat.xend.sysconfig import Settings

if TYPE_CHECKING:
    from xmcompat.moving_many import Arrival

#: Guests that are saved at a time: the disk is shared.
SAVES_AT_ONCE = 3
#: The same for those that are moved: the network is shared.
MOVES_AT_ONCE = 2
#: Seconds between two looks.
LOOK = 0.1
#: States in which a guest can still be lost.
_ALIVE = (DomainState.RUNNING, DomainState.BLOCKED, DomainState.PAUSED, DomainState.SHUTDOWN)


class Clock(NamedTuple):
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class HostStop:
    """``run`` it once. Everything that is left undone for one guest is told, and the next step takes it up."""

    def __init__(self, toolstack: Toolstack, settings: Settings, report: Report, clock: Clock | None = None) -> None:
        self._toolstack = toolstack
        self._settings = settings
        self._report = report
        self._clock = clock or Clock()
        self._last_dot = 0.0

    def run(self) -> list[str]:
        """The names of the guests that are left. Whatever breaks it off, no save is left half done."""
        chosen = self._chosen()
        if chosen:
            self._report.say("Stopping Xen domains:")
            self._press_keys(chosen)
            left = self._migrate(chosen)
            left = self._save(left)
            self._shut_down(left, self._settings.shutdown)
            self._report.say("\n")
        if self._settings.shutdown_all and self._alive():
            self._report.say("Stopping all other Xen domains:")
            self._shut_down(self._alive(), self._settings.shutdown_all)
            self._report.say("\n")
        return [info.name for info in self._alive()]

    def _alive(self) -> list[DomainInfo]:
        return [
            info for info in self._toolstack.domains() if info.uuid != DOM0_UUID and info.started and info.state in _ALIVE
        ]

    def _chosen(self) -> list[DomainInfo]:
        alive = self._alive()
        if not self._settings.auto_only:
            return alive
        guests = auto_guests(self._settings.auto)
        for guest in guests:
            if guest.problem:
                self._report.fail(guest.problem)
        names = {guest.name for guest in guests}
        return [info for info in alive if info.name in names]

    def _press_keys(self, infos: Sequence[DomainInfo]) -> None:
        for info in infos:
            for letter in self._settings.sysrq:
                try:
                    events.sysrq(self._toolstack, info.name, letter)
                except XmError as error:
                    self._report.fail(f"SysRq {letter} for {info.name}: {error.line()}")
                self._clock.sleep(self._settings.usleep)

    def _migrate(self, infos: list[DomainInfo]) -> list[DomainInfo]:
        """Move a few at a time, each within the set time; gives back those that are still here."""
        if not self._settings.migrate or not infos:
            return infos
        from xmcompat.moving_many import Convoy, Trip
        from xmcompat.xm.migrate import request_of

        try:
            request = request_of(self._settings.migrate.split())
        except XmError as error:
            self._report.fail(f"XENDOMAINS_MIGRATE: {error.line()}; guests are not moved")
            return infos
        left: list[DomainInfo] = []
        trips = [Trip(info, request._replace(paused_too=True), self._settings.stop_maxwait) for info in infos]
        Convoy(trips, MOVES_AT_ONCE, lambda arrival: self._moved(arrival, left), lambda under_way: self._dot()).run()
        return [info for info in infos if info in left]

    def _moved(self, arrival: Arrival, left: list[DomainInfo]) -> None:
        info, host = arrival.trip.info, arrival.trip.request.host
        for note in arrival.notes:
            self._report.fail(f"{info.name}: {note}")
        if arrival.error:
            self._report.fail(f"{info.name} is not moved to {host}: {arrival.error}")
            left.append(info)
        else:
            self._report.say(f" {info.name}(migrate)")

    # -- saving

    def _save(self, infos: list[DomainInfo]) -> list[DomainInfo]:
        """Save a few at a time, each within the set time; gives back those that could not be."""
        if not self._settings.save or not infos:
            return infos
        try:
            os.makedirs(self._settings.save, mode=0o700, exist_ok=True)
        except OSError as error:
            self._report.fail(f"{self._settings.save}: {error.strerror}; guests are not saved")
            return infos
        waiting, under_way, left = deque(infos), list[tuple[PendingSave, float]](), list[DomainInfo]()
        try:
            while waiting or under_way:
                while waiting and len(under_way) < SAVES_AT_ONCE:
                    self._begin(waiting.popleft(), under_way, left)
                self._clock.sleep(LOOK)
                self._dot()
                for entry in [entry for entry in under_way if self._is_due(*entry)]:
                    under_way.remove(entry)
                    self._end(entry[0], left)
        except BaseException:
            for pending, _ in under_way:
                self._abandon(pending)
            raise
        return left

    def _begin(self, info: DomainInfo, under_way: list[tuple[PendingSave, float]], left: list[DomainInfo]) -> None:
        path = os.path.join(self._settings.save, info.name)
        try:
            pending = self._toolstack.saving.begin(info.uuid, path, paused_too=True)
        except XmError as error:
            self._not_saved(info, error.line(), left)
        else:
            under_way.append((pending, self._clock.now()))

    def _is_due(self, pending: PendingSave, begun: float) -> bool:
        return pending.ended(0.0) or self._is_late(begun)

    def _is_late(self, begun: float) -> bool:
        return bool(self._settings.stop_maxwait) and self._clock.now() - begun > self._settings.stop_maxwait

    def _end(self, pending: PendingSave, left: list[DomainInfo]) -> None:
        info = pending.info
        try:
            if not pending.ended(0.0):
                pending.abandon()
                self._not_saved(info, f"it took longer than {self._settings.stop_maxwait:.0f} s", left)
                return
            pending.finish()
        except XmError as error:
            self._abandon(pending)
            self._not_saved(info, error.line(), left)
        except BaseException:
            self._abandon(pending)
            raise
        else:
            self._report.say(f" {info.name}(save)")

    def _not_saved(self, info: DomainInfo, why: str, left: list[DomainInfo]) -> None:
        self._report.fail(f"{info.name} is not saved: {why}")
        left.append(info)

    def _abandon(self, pending: PendingSave) -> None:
        try:
            pending.abandon()
        except XmError as error:
            self._report.fail(error.line())

    # -- shutting down

    def _shut_down(self, infos: Sequence[DomainInfo], words: Sequence[str]) -> None:
        """Ask all of INFOS at once; with --wait, return when they have ended or the set time is over."""
        if not words or not infos:
            return
        begun = self._clock.now()
        asked = dict[str, DomainInfo]()
        for info in sorted(infos, key=self._stands):
            while self._stands(info) and not self._is_late(begun):
                self._clock.sleep(LOOK)
            if self._ask(info, "halt" if "--halt" in words else "poweroff"):
                asked[info.uuid] = info
        while asked and "--wait" in words and not self._is_late(begun):
            there = {info.uuid: info.domid for info in self._alive()}
            for uuid, info in list(asked.items()):
                if there.get(uuid) != info.domid:
                    del asked[uuid]
                    self._report.say(f" {info.name}(shutdown)")
            if asked:
                self._clock.sleep(LOOK)
                self._dot()

    def _stands(self, info: DomainInfo) -> bool:
        """Whether somebody makes a checkpoint of it: until its disks are copied nothing can be asked of it."""
        return moving.stands_still(self._toolstack.hypervisor.uri, info.uuid)

    def _refuse(self, info: DomainInfo) -> None:
        """It is too late to wait for its disks."""
        moving.refuse_standing(self._toolstack.hypervisor.uri, info)

    def _ask(self, info: DomainInfo, reason: str) -> bool:
        """Whether it is asked to shut down. Its errors are told."""
        try:
            if info.state == DomainState.PAUSED:
                self._toolstack.unpause(info.uuid)  # it would never learn of it
            self._toolstack.shutdown(info.uuid, reason=reason, on_wait=self._refuse)
        except XmError as error:
            self._report.fail(f"{info.name} cannot be shut down: {error.line()}")
            return False
        return True

    def _dot(self) -> None:
        """One a second."""
        now = self._clock.now()
        if now - self._last_dot >= 1.0:
            if self._last_dot:
                self._report.say(".")
            self._last_dot = now
