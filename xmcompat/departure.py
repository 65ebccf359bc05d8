"""One guest on its way to another host: from the moment at which something is changed until just one copy is left.

The guest is not let go there before its interfaces have their filters: its memory goes slowly until the other host says
that they are set up. Whatever breaks it off, both ends are asked what they have, and ``outcome`` decides.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from xmcompat import disk_needs, disk_secrets, guest_kernels, moving_secrets, vif_traces
from xmcompat.backends.call_thread import Call
from xmcompat.backends.hypervisor import DomainState
from xmcompat.backends.migration import MigrationState, Transfer
from xmcompat.copies import copy_of, copy_once_back
from xmcompat.crossing import RECOVERY, Crossing
from xmcompat.deferred import undisturbed
from xmcompat.errors import DomainNotFound, DomainThere, OperationError, XmError
from xmcompat.migration.facts import Copy, Life
from xmcompat.migration.outcome import Act, Place, outcome
from xmcompat.migration.outcome import patience as time_for
from xmcompat.migration.same_disk import late_findings
from xmcompat.vigil import asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from xmcompat.backends.hypervisor import DomainInfo, Hypervisor
    from xmcompat.backends.migration import Progress
    from xmcompat.migrating import Listener
    from xmcompat.migration.facts import Prepared, Wanted
    from xmcompat.migration.outcome import Outcome
    from xmcompat.migration.peer import Peer
    from xmcompat.peers import Way
    from xmcompat.toolstack import Toolstack
    from xmcompat.vifs import BackEnd

T = TypeVar("T")

#: MiB/s for memory until the guest's interfaces are set up there.
SLOW = 1
#: Seconds in which libvirt says what is here, also where it has to be started anew.
ANSWER = 25.0
#: How often it is tried to do what is due, once both ends have had their time.
_TRIES = 3
_ALIVE = (Life.RUNNING, Life.PAUSED)
_LATE = "it was too late to give it up: "


class Plan(NamedTuple):
    """How the domain goes: ``bandwidth`` in MiB/s, ``deadline`` in seconds, ``policy`` a word of MigrationSettings,
    ``copy`` the targets of disks that are copied, ``patience`` seconds in which both ends must agree on what has become of
    it after a fault."""

    live: bool
    bandwidth: int | None
    policy: str
    deadline: float
    persist: bool
    copy: tuple[str, ...]
    patience: float


class Moved(NamedTuple):
    """A domain that has moved: where it runs, and what its transfer took."""

    info: DomainInfo
    host: str
    progress: Progress | None


class Departure:
    """One transfer; ``run`` it once."""

    def __init__(self, toolstack: Toolstack, info: DomainInfo, way: Way, plan: Plan, listener: Listener) -> None:
        self._toolstack = toolstack
        self._info = info
        self._way = way
        self._plan = plan
        self._listener = listener
        self._crossing: Crossing | None = None
        self._transfer: Transfer | None = None
        self._recovery_ends: float | None = None

    def run(self, wanted: Wanted) -> Moved:
        """Raises OperationError, and what a signal raises; then the domain runs on here, unless that says otherwise."""
        back_ends = vif_traces.leaving(self._hypervisor, self._info)
        with ExitStack() as stack:
            try:
                error = self._travelled(wanted)
                came = stack.enter_context(undisturbed())
            except BaseException:
                if self._crossing is not None:
                    self._crossing.give_up()
                self._broken_off(self._concluded(self._plan.patience) if self._crossing else self._never_left(), back_ends)
                raise
            try:
                self._ended(error, back_ends)
            except XmError as failed:
                if came:
                    self._listener.note(failed.line())  # the signal is raised in its place
                raise
            if came:
                self._listener.note(f"{_LATE}'{self._info.name}' runs on {self._host}")
        return Moved(self._info, self._host, self._crossing.last if self._crossing else None)

    def _travelled(self, wanted: Wanted) -> XmError | None:
        """What went wrong on the way."""
        try:
            return self._begin(self._prepared(wanted)).ended()
        except XmError as error:
            return error

    def _ended(self, error: XmError | None, back_ends: tuple[BackEnd, ...]) -> None:
        """Raises OperationError where it is not there."""
        if error is not None and self._crossing is not None:
            self._crossing.give_up()
        if self._crossing is None or isinstance(error, DomainThere):
            raise self._failed(error, self._never_left())
        found = self._concluded(self._plan.patience if error is not None else 0.0)
        if not found.well:
            if found.place == Place.THERE:
                self._leave(back_ends)
            raise self._failed(error, found)
        if error is not None:
            self._listener.note(error.line())
        self._leave(back_ends)

    def _broken_off(self, found: Outcome, back_ends: tuple[BackEnd, ...]) -> None:
        if found.place == Place.THERE:
            self._leave(back_ends)
        late = _LATE if found.well else ""
        self._listener.note(f"{late}'{self._info.name}' {found.says}" + (f"; {found.do}" if found.do else ""))

    def _failed(self, error: XmError | None, found: Outcome) -> OperationError:
        why = error.line() if error is not None else "libvirt says that it has moved"
        return OperationError(f"{why}; '{self._info.name}' {found.says}", hint=found.do or None)

    @property
    def _host(self) -> str:
        return self._way.peer.host

    # -- on the way

    def _prepared(self, wanted: Wanted) -> Prepared:
        """What the other host has made ready. Raises OperationError where disks that it brought up are not the guest's."""
        prepared = self._way.peer.prepare(
            moving_secrets.with_passwords(self._hypervisor, wanted, private=self._way.private)
        )
        late = late_findings(wanted, prepared.disks, self._host)
        for one in (*prepared.told, *late):
            if not one.stops:
                self._listener.note(one.line())
        if stops := [one.line() for one in (*late, *prepared.told) if one.stops]:
            raise OperationError("; ".join(stops))
        return prepared

    def _begin(self, prepared: Prepared) -> Crossing:
        self._transfer = transfer = transfer_of(self._plan, self._way, prepared)
        with undisturbed():  # a transfer that nobody knows of must not be left
            try:
                job = self._hypervisor.begin_migration(self._info.uuid, transfer)
            except DomainNotFound:
                raise DomainNotFound(self._info.name) from None
            self._crossing = Crossing(
                self._toolstack, self._info, self._way, self._plan, self._listener, job, is_slow=transfer.bandwidth == SLOW
            )  # fmt: skip
        return self._crossing

    @property
    def _hypervisor(self) -> Hypervisor:
        return self._toolstack.hypervisor

    # -- at the end

    def _never_left(self) -> Outcome:
        """What there is to say where no transfer has begun: whoever has its uuid there has it from elsewhere."""
        found = outcome(self._here(), Copy(life=Life.GONE), was_paused=True, waited=True, host=self._host)
        with suppress(XmError):  # it gives back by itself what it has prepared
            self._asked(lambda peer: peer.release(self._info.uuid))
        return found

    def _concluded(self, patience: float) -> Outcome:
        """Ask both ends what they have, and do what that calls for, until one copy is left. PATIENCE is in seconds: libvirt
        does the rest by itself, and is through with it earlier where both ends go on saying the same."""
        begun = since = time.monotonic()
        before, tries = None, _TRIES
        while True:
            here, there = now_told = self._here(), self._there()
            now = time.monotonic()
            since = since if now_told == before else now
            waited = before is not None and now >= min(begun + patience, since + time_for(here, there))
            before = now_told
            found = outcome(here, there, was_paused=self._was_paused, waited=waited, host=self._host)
            if found.acts == (Act.WAIT,) and not waited:
                time.sleep(0.2)
                continue
            if Act.RECOVER in found.acts:
                if self._recovered():
                    continue
                return found
            failed = self._acted(found.acts)
            if failed is None:
                return found
            tries -= waited
            if not tries:
                return replace(found, place=Place.UNKNOWN, says=f"was to be seen to, but: {failed}", well=False)
            time.sleep(0.2)

    def _acted(self, acts: tuple[str, ...]) -> str | None:
        """Do ACTS, one after the other; what keeps one of them from being done, None for nothing."""
        for act in acts:
            try:
                self._act(act)
            except XmError as error:
                return error.line()
        return None

    @property
    def _was_paused(self) -> bool:
        return self._info.state == DomainState.PAUSED

    def _here(self) -> Copy:
        """What this host's libvirt says; it may have gone, and come back."""
        found: list[Copy] = []
        call = Call(lambda: found.append(self._asked_here()))
        if not call.ended(ANSWER):
            return Copy(life=Life.UNKNOWN)  # QEMU does not answer libvirt
        call.result()
        (copy,) = found
        if self._crossing is not None and self._crossing.has_gone and copy.life in (Life.GONE, Life.OFF):
            return replace(copy, moving=MigrationState.LEFT)
        if self._crossing is not None and self._crossing.is_cut and copy.life == Life.RUNNING:
            return replace(copy, moving=MigrationState.NONE)  # whatever libvirt waits for, it goes nowhere any more
        return copy

    def _asked_here(self) -> Copy:
        try:
            return copy_of(self._hypervisor, self._info.uuid)
        except XmError:
            return copy_once_back(self._anew, self._info.uuid)

    def _anew(self) -> Hypervisor:
        self._toolstack.close()
        return self._hypervisor

    def _there(self) -> Copy:
        try:
            return self._asked(lambda peer: peer.state(self._info.uuid))
        except XmError:
            return Copy(life=Life.UNKNOWN)

    def _asked(self, ask: Callable[[Peer], T]) -> T:
        return asked(self._way, ask)

    def _act(self, act: str) -> None:
        uuid = self._info.uuid
        match act:
            case Act.RESUME_HERE:
                self._hypervisor.unpause(uuid)
            case Act.DESTROY_HERE:
                self._hypervisor.destroy(uuid)
            case Act.SETTLE_THERE:
                settled = self._asked(lambda peer: peer.settle(uuid))
                for one in settled.told:
                    self._listener.note(one.line())
                if settled.copy.life not in _ALIVE:
                    raise OperationError(f"it is {settled.copy.life} on {self._host}")
            case Act.RELEASE_THERE:
                copy = self._asked(lambda peer: peer.release(uuid))
                if copy.life in _ALIVE:
                    raise OperationError(f"it is {copy.life} on {self._host} all the same")
            case Act.DESTROY_THERE:
                self._asked(lambda peer: peer.end(uuid))

    def _recovered(self) -> bool:
        """Whether both ends are to be asked again after a try to take up a post-copy that has stalled: the hosts may not
        reach each other yet, or QEMU's own connection may have lived on. False once its time is over."""
        assert self._transfer is not None
        now = time.monotonic()
        self._recovery_ends = self._recovery_ends or now + RECOVERY
        if now >= self._recovery_ends:
            return False
        try:
            job = self._hypervisor.recover_postcopy(self._info.uuid, self._transfer)
            job.ended(self._recovery_ends - now)
            job.result()
        except XmError:
            time.sleep(1.0)
        return True

    def _leave(self, back_ends: tuple[BackEnd, ...]) -> None:
        """Give back what the domain had of this host."""
        uuid = self._info.uuid
        vif_traces.gone(back_ends, self._info)
        for told in disk_needs.gone(self._hypervisor, uuid):
            self._listener.note(told)
        try:
            disk_secrets.gone(self._hypervisor, uuid)
            guest_kernels.gone(self._hypervisor, uuid)
            self._hypervisor.sweep(uuid)
        except XmError as error:
            self._listener.note(error.line())


def transfer_of(plan: Plan, way: Way, prepared: Prepared) -> Transfer:
    """How the domain goes to where it is PREPARED: slowly, where its interfaces must be set up first. Disks that are copied
    come before its memory, and at full speed: libvirt takes another bandwidth on the way for memory alone."""
    slowly = prepared.waits and not plan.copy
    address = f"[{prepared.address}]" if ":" in prepared.address else prepared.address
    return Transfer(
        uri=way.uri, migrate_uri=f"tcp://{address}" if address else "", live=plan.live,
        bandwidth=SLOW if slowly else plan.bandwidth, tls=way.tls, postcopy=plan.policy == "post-copy",
        auto_converge=plan.policy == "auto-converge", copy=plan.copy, persist=plan.persist, xml=prepared.xml,
        listen=prepared.listen, unsafe=True,
    )  # fmt: skip
