"""A transfer that has begun, until it is over: steered, watched, and given up.

libvirt's answers may wait for QEMU's, and QEMU's for the other host: none is waited for without a look at both.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from xmcompat.backends.call_thread import Call
from xmcompat.backends.migration import MigrationPhase
from xmcompat.errors import OperationError, XmError
from xmcompat.migration import convergence
from xmcompat.vigil import Vigil

if TYPE_CHECKING:
    from collections.abc import Callable

    from xmcompat.backends.hypervisor import DomainInfo, Hypervisor
    from xmcompat.backends.migrates import MigrationJob
    from xmcompat.backends.migration import Progress
    from xmcompat.departure import Plan
    from xmcompat.migrating import Listener
    from xmcompat.migration.peer import Pending
    from xmcompat.migration.wire import Connected
    from xmcompat.peers import Way
    from xmcompat.toolstack import Toolstack

#: Seconds between two looks: while it only waits for its memory to begin, at first, and later.
_AT_ONCE, _SOON, _LATER = 0.01, 0.05, 0.5
#: Seconds in which the guest's interfaces are set up there, at the least.
INTERFACES = 60.0
#: Seconds in which a post-copy that has stalled must go on, or end.
RECOVERY = 120.0
#: Seconds without a byte after which the other host is asked whether it is there (before that the question waits behind
#: what the link has queued), after which a transfer to a lost host is given up, and those in which QEMU may end it itself.
_QUIET, _STILL, _STUCK = 1.0, 2.0, 2.0
#: Seconds after which it is no longer waited for that libvirt gives it up: longer than a lost host is known by; and those
#: in which it must have done so once QEMU has no connection any more.
_GIVING_UP, _CUT = 150.0, 20.0

#: Seen with QEMU 7.2. libvirt waits for it; one that is started anew waits while it takes the domain up, answering nobody.
_STILL_WAITS = (
    "the QEMU of '{0}' waits for a connection that it has closed itself: '{0}' runs on, but is changed, saved and moved "
    "only once it was shut down from inside, or destroyed, and started again; leave libvirtd as it is until then"
)


class Crossing:
    """The transfer JOB of the domain INFO, which IS_SLOW until its interfaces are set up there, or goes as fast as planned.

    ``has_gone``: libvirt says that it is there. ``is_cut``: QEMU has no connection by which it could still go. ``last`` is
    what libvirt told last.
    """

    def __init__(
        self, toolstack: Toolstack, info: DomainInfo, way: Way, plan: Plan, listener: Listener, job: MigrationJob,
        *, is_slow: bool,
    ) -> None:  # fmt: skip
        self._toolstack = toolstack
        self._info = info
        self._way = way
        self._plan = plan
        self._listener = listener
        self._job = job
        self._vigil = Vigil(way, info.uuid)
        self._pending: Pending[Connected] | None = None
        self._is_slow = is_slow
        self._due = convergence.Act.KEEP
        self._is_split = False  # in post-copy, or perhaps
        self._gone_over = 0, time.monotonic()  # bytes, and since when it is as many
        self.last: Progress | None = None
        self.has_gone = False
        self.is_cut = False

    @property
    def _hypervisor(self) -> Hypervisor:
        return self._toolstack.hypervisor

    @property
    def _host(self) -> str:
        return self._way.peer.host

    @property
    def _is_connected(self) -> bool:
        """Whether its interfaces are set up there, so that it may arrive."""
        return self._pending is None

    def ended(self) -> XmError | None:
        """Until the transfer is over; what it has raised. Raises what the other host says of the interfaces, and PeerLost
        or the like where that is lost and nothing goes over any more."""
        self._pending = self._way.peer.connect(self._info.uuid)
        course = convergence.Course(self._plan.policy, self._plan.deadline)
        begun = time.monotonic()
        while not self._job.ended(self._rest(time.monotonic() - begun)):
            self._look_out()
            progress = self._progress()
            if progress is None:
                continue
            self._listener.progress(self._info, self._host, progress)
            if self._is_slow and self._is_connected and progress.phase != MigrationPhase.SETUP:
                # libvirt takes another bandwidth once it copies memory
                self._is_slow = not self._done(
                    lambda: self._hypervisor.set_bandwidth(self._info.uuid, self._plan.bandwidth)
                )
            if self._is_connected and not self._is_slow:
                self._steer(course, progress)
            elif progress.elapsed > max(self._plan.deadline, INTERFACES):
                raise OperationError(f"its interfaces are not set up on {self._host} after {progress.elapsed:.0f} s")
        self._vigil.close()
        try:
            self._job.result()
        except XmError as error:
            return error
        self.has_gone = True
        return None

    def _rest(self, elapsed: float) -> float:
        """Seconds until the next look, ELAPSED seconds after it has begun."""
        if self._is_slow and self._is_connected and elapsed < INTERFACES:
            return _AT_ONCE
        return _SOON if self._is_slow or elapsed < 2 else _LATER

    def _look_out(self) -> None:
        """Raises what is the matter with the interfaces there; and with the other host, where nothing goes over any more.
        A conversation alone that has broken is no reason: the two libvirtds go on. In post-copy nobody is asked: it is not
        given up, and who takes it up asks both ends."""
        if self._pending is not None:
            if self._pending.ended(0.0):
                told, self._pending = self._pending.result().told, None
                for one in told:
                    self._listener.note(one.line())
            return
        still = time.monotonic() - self._gone_over[1]
        if still < _QUIET or self._is_split:
            self._vigil.rest()
        elif (lost := self._vigil.look()) is not None and still > _STILL:
            raise lost

    def _done(self, call: Callable[[], object]) -> bool:
        """Whether libvirt does it, before the transfer is over. Raises as ``_look_out``."""
        asked = Call(call)
        while not asked.ended(_SOON):
            if self._job.ended(0.0):
                return False
            self._look_out()
        try:
            asked.result()
        except XmError:
            return False
        return True

    def _progress(self) -> Progress | None:
        """None where libvirt tells nothing just now: its job says what is the matter."""
        told: list[Progress | None] = []
        if not self._done(lambda: told.append(self._hypervisor.migration_progress(self._info.uuid))) or told[0] is None:
            return None
        self.last = found = told[0]
        self._is_split = self._is_split or found.phase == MigrationPhase.POSTCOPY
        over = found.processed + found.disk_total - found.disk_remaining
        if over != self._gone_over[0]:
            self._gone_over = over, time.monotonic()
        return found

    def _steer(self, course: convergence.Course, progress: Progress) -> None:
        """Do what brings it to its end. What QEMU refuses is tried again at the next look. Raises OperationError where it
        is given up."""
        found = course.decided(progress)
        if found.why:
            self._listener.note(f"{self._info.name}: {found.why}")
        if found.act == convergence.Act.GIVE_UP:
            raise OperationError(found.why)
        self._due = found.act if found.act != convergence.Act.KEEP else self._due
        if self._due == convergence.Act.KEEP:
            return
        splits = self._due == convergence.Act.TO_POSTCOPY
        act = self._hypervisor.to_postcopy if splits else self._hypervisor.pause
        was_split, self._is_split = self._is_split, self._is_split or splits  # until QEMU has refused it
        if self._done(lambda: act(self._info.uuid)):
            self._due = convergence.Act.KEEP
        else:
            self._is_split = was_split

    def give_up(self) -> None:
        """Have it end. In post-copy it cannot be given up: it is waited for, but not for ever."""
        giving_up = Call(self._job.abort)
        begun, severed = time.monotonic(), None
        while not giving_up.ended(_LATER):
            now = time.monotonic()
            if now - begun > _GIVING_UP:
                self._listener.note("libvirt does not give up the migration")
                break
            if self.is_cut and severed is not None and now - severed > _CUT:
                self._listener.note(_STILL_WAITS.format(self._info.name))
                break
            if severed is None and not self._is_split and self._vigil.look() is not None and now - begun > _STUCK:
                severed = now
                self.is_cut = self._severed()
                if not self.is_cut:
                    break
        else:
            try:
                giving_up.result()
            except XmError as error:
                self._listener.note(error.line())
                self._job.ended(RECOVERY)
        self._vigil.close()
        with suppress(XmError):
            if self._job.ended(0.0):
                self._job.result()
                self.has_gone = True

    def _severed(self) -> bool:
        """Whether QEMU comes to hear that the other host is lost: until then it waits, and the guest with it."""
        severing = Call(self._job.sever)
        if not severing.ended(_GIVING_UP):
            return False
        try:
            severing.result()
        except XmError as error:
            self._listener.note(error.line())
            return False
        return True
