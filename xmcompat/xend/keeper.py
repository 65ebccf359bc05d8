"""What xend does when a guest ends by itself: builds it anew under a new id, keeps the old one, or stops a loop.

libvirt alone loses no guest: it resets one in place, or leaves the definition of one that is to be kept. The keeper does
the rest while it runs. Each of its steps leaves a mark with the domain, so that ``catch_up`` of the next keeper finishes
what one that has died began. Differs from xend: a guest that has run on for more than a moment since its reset is left
alone, since it may have its disks mounted again.
"""

from __future__ import annotations

import time
import uuid as uuids
from collections.abc import Callable
from typing import NamedTuple

from xmcompat import composites, connecting, disk_needs, guest_kernels, vif_traces
from xmcompat.backends import domain_xml, kept_xml
from xmcompat.backends.hypervisor import DomainInfo, DomainState, GuestEvent, Hypervisor
from xmcompat.backends.kept_mark import Mark, Phase
from xmcompat.backends.machine import XenRecord
from xmcompat.backends.settings import is_local
from xmcompat.describe import recorded_form
from xmcompat.errors import DomainEnding, DomainNotFound, HypervisorUnreachable, XmError
from xmcompat.guest import EventAction
from xmcompat.render.domain_sxp import RESTART as OBSOLETE_RESTART
from xmcompat.toolstack import Toolstack

Log = Callable[[str, str], None]

POWEROFF, REBOOT, CRASH = "poweroff", "reboot", "crash"

#: Seconds for which what QEMU said of a guest's end explains its reset: a core may be dumped in between.
MEMORY = 3600.0

#: Seconds in which guests that restart together are stopped, before the first is built anew.
GATHERING = 0.05

#: Seconds for which all wait for what a guest has written to be on its volumes, before it waits beside the others; and
#: between two looks then. Longer, and what happens to others is seen late.
MOMENT = 0.25
#: Seconds from one time to the next at which what others hold is looked at, while some wait so.
TENDED = 10.0

_RESTARTS = (EventAction.RESTART, EventAction.RENAME_RESTART, EventAction.COREDUMP_RESTART, EventAction.SOFT_RESET)


class Options(NamedTuple):
    """Seconds: a guest that restarts sooner than LOOP after its start is destroyed; one whose reset is older than FRESH
    runs on. STEP is called before each step of building one anew, with its name."""

    loop: float = 60.0
    fresh: float = 0.5
    step: Callable[[str], None] = lambda name: None


class Actions(NamedTuple):
    poweroff: EventAction
    reboot: EventAction
    crash: EventAction

    def after(self, cause: str) -> EventAction:
        """What the guest's configuration wants. An end by power button is no reboot, unless only that restarts it."""
        if cause == CRASH:
            return self.crash
        if cause == REBOOT:
            return self.reboot
        return self.reboot if self.poweroff not in _RESTARTS else self.poweroff


class Keeper:
    """Call ``watch`` and ``catch_up``, then run ``hypervisor.wait_event`` until it is time to ``finish``; the same again
    for a new connection.

    LOG takes a level ("INFO") and a text. Errors about one guest are logged; those of the connection are raised.
    """

    def __init__(
        self, toolstack: Toolstack | Hypervisor, log: Log, options: Options | None = None,
        on_change: Callable[[GuestEvent], None] = lambda event: None,
    ) -> None:  # fmt: skip
        """ON_CHANGE is called with what libvirt tells of guests that have begun to run, or have gone."""
        self._toolstack = toolstack
        self._log = log
        self._on_change = on_change
        self._options = options or Options()
        self._due: list[tuple[DomainInfo, XenRecord, Mark]] = []
        self._ends: dict[str, GuestEvent] = {}
        self._tended = 0.0
        self._waiting: dict[str, tuple[str, float]] = {}  # the names of those that wait for their disks, and until when

    @property
    def _hypervisor(self) -> Hypervisor:
        toolstack = self._toolstack
        return toolstack.hypervisor if isinstance(toolstack, Toolstack) else toolstack

    def watch(self) -> None:
        """See from now on what happens to guests."""
        self._ends.clear()
        self._due.clear()
        self._waiting.clear()
        self._hypervisor.watch_guests(self.on_event)

    def catch_up(self) -> None:
        """Finish what another keeper, or an earlier connection of this one, left half done."""
        for uuid, name in self._hypervisor.marked():
            self._guarded(name, lambda uuid=uuid, name=name: self._finish(uuid, name))  # type: ignore[misc]
        self.tend()

    def tend(self) -> None:
        """Give back what disks of guests needed that have gone, and serve those again whose servers have died. Not at each
        look at those that wait for their disks."""
        now = time.monotonic()
        if self._waiting and now < self._tended + TENDED:
            return
        self._tended = now
        for sentence in (*disk_needs.sweep(self._hypervisor), *disk_needs.repaired(self._hypervisor)):
            self._log("ERROR", sentence)

    def finish(self) -> None:
        """End what has been begun, before nobody waits for events any more: no guest is to stay stopped."""
        while self._due:
            self._next()
        while self._waiting:
            time.sleep(MOMENT)
            for uuid in [*self._waiting]:
                self._try_again(uuid)

    def on_event(self, event: GuestEvent) -> None:
        """What QEMU says of a guest: an end is remembered, and acted on when the guest starts anew."""
        if event.kind in ("runs", "gone"):
            if event.kind == "gone":
                self._guarded(event.uuid, self.tend)
            return self._on_change(event)
        if event.kind != "reset":
            if event.by_guest and not (event.kind == "off" and self._crashed(event)):
                self._ends = {uuid: end for uuid, end in self._ends.items() if event.time - end.time < MEMORY}
                self._ends[event.uuid] = event
            return
        end = self._ends.pop(event.uuid, None)
        if event.by_guest:
            cause = REBOOT
        elif end is not None and end.domid == event.domid and event.time - end.time < MEMORY:
            cause = CRASH if end.kind == "crash" else POWEROFF
        else:
            return  # somebody pressed the reset button
        self._guarded(event.uuid, lambda: self._restarted(event, cause))

    def _crashed(self, event: GuestEvent) -> bool:
        before = self._ends.get(event.uuid)
        return before is not None and before.kind == "crash" and before.domid == event.domid

    def _guarded(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except (DomainNotFound, DomainEnding):
            self._log("INFO", f"Domain {name} has gone meanwhile.")
        except HypervisorUnreachable:
            raise
        except XmError as error:
            self._log("ERROR", f"Domain {name}: {error.line()}")

    def _step(self, name: str) -> None:
        self._options.step(name)

    # -- a guest has started anew in place

    def _restarted(self, event: GuestEvent, cause: str) -> None:
        """Stop it at once, and act when what else has just happened to guests has been seen, too."""
        hypervisor, uuid = self._hypervisor, event.uuid
        record = self._record(uuid)
        if record is None:
            return  # not one of xm's
        live, known = hypervisor.marks(uuid)
        if live is not None and live.phase in (Phase.DOOMED, Phase.REBUILDING):
            return  # it is being restarted already
        info = hypervisor.find(uuid)
        action = actions_of(record).after(cause)
        if cause == CRASH and action not in _RESTARTS:
            return  # libvirt starts none such anew: somebody has reset what was left of it
        age = time.time() - event.time
        if age > self._options.fresh:
            self._log("WARNING", f"Domain {info.name} ({info.domid}), {cause}: seen {age:.1f} s late; it keeps its id.")
            self._count(uuid, record)
            return
        copy = str(uuids.uuid4()) if action is EventAction.RENAME_RESTART else ""
        doomed = Mark(
            Phase.DOOMED, info.domid, _is_managed(info, known), known is not None and known.keeps,
            known is not None and known.crash_ends, cause, copy, event.time,
        )  # fmt: skip
        self._step("doom")
        hypervisor.set_mark(uuid, doomed, known=False)
        self._step("pause")
        hypervisor.pause(uuid)
        self._log("INFO", f"Domain {info.name} ({info.domid}) has ended: {cause}; action {action.value}.")
        self._due.append((info, record, doomed))
        if len(self._due) == 1:
            hypervisor.call_later(GATHERING, self._next)

    def _next(self) -> None:
        """Act on the first of those that were stopped, if there is one; the others have their turns."""
        if not self._due:
            return
        info, record, doomed = self._due[0]
        try:
            self._guarded(info.name, lambda: self._act_on_same(info, record, doomed))
        finally:
            del self._due[0]
        if self._due:
            self._hypervisor.call_later(GATHERING, self._next)

    def _act_on_same(self, info: DomainInfo, record: XenRecord, doomed: Mark) -> None:
        """Unless it has been destroyed and started again while others had their turns. Raises DomainNotFound then."""
        live, _ = self._hypervisor.marks(info.uuid)
        if not _is_same(live, doomed):
            raise DomainNotFound(info.name)
        self._act(info, record, doomed)

    def _act(self, info: DomainInfo, record: XenRecord, doomed: Mark) -> None:
        """With the domain of INFO paused and marked."""
        action = actions_of(record).after(doomed.cause)
        lived = self._options.loop if record.started is None else doomed.since - record.started
        if action is EventAction.PRESERVE:
            self._preserve(info, doomed)
        elif action in _RESTARTS and lived >= self._options.loop:
            self._rebuild(info, doomed)
        else:
            if action in _RESTARTS:
                self._log(
                    "ERROR", f"Domain {info.name} ({info.domid}) wants to restart {lived:.1f} s after its start; it is "
                    "destroyed, as it may be in a loop.",
                )  # fmt: skip
            self._step("destroy")
            self._end(info.uuid, self._hypervisor.destroy)

    def _end(self, uuid: str, call: Callable[[str], None], *, for_good: bool = True) -> None:
        """Make the CALL that ends a domain, and leave nothing of its interfaces, nor, FOR_GOOD, of its disks' needs."""
        info = self._hypervisor.find(uuid)
        back_ends = vif_traces.leaving(self._hypervisor, info)
        call(uuid)
        vif_traces.gone(back_ends, info)
        for sentence in disk_needs.gone(self._hypervisor, uuid) if for_good else ():
            self._log("ERROR", f"Domain {info.name}: {sentence}")
        if for_good:
            guest_kernels.gone(self._hypervisor, uuid)

    def _record(self, uuid: str) -> XenRecord | None:
        text = self._hypervisor.metadata(uuid)
        return None if text is None else domain_xml.read_record(text)

    def _count(self, uuid: str, record: XenRecord) -> None:
        """One restart more, in place."""
        counted = record._replace(restarts=record.restarts + 1, started=time.time())
        self._hypervisor.set_metadata(uuid, domain_xml.render_record(counted), known=False)

    # -- building one anew, in steps that can be taken up at any point

    def _preserve(self, info: DomainInfo, doomed: Mark) -> None:
        self._define(info, doomed, kept_xml.marked(self._hypervisor.definition(info.uuid), _dead(doomed)))
        self._step("halt")
        self._end(info.uuid, self._hypervisor.halt)

    def _rebuild(self, info: DomainInfo, doomed: Mark) -> None:
        mark = doomed._replace(phase=Phase.REBUILDING)
        xml = kept_xml.renewed(self._hypervisor.definition(info.uuid), mark, started=time.time())
        self._define(info, doomed, xml)
        self._destroy_old(info.uuid, info.name, mark)

    def _define(self, info: DomainInfo, doomed: Mark, xml: str) -> None:
        """Have it known by XML. Raises DomainNotFound where it was destroyed meanwhile, which would bring it back."""
        hypervisor, uuid = self._hypervisor, info.uuid
        self._step("define")
        hypervisor.define_again(xml)
        live, _ = hypervisor.marks(uuid)
        if _is_same(live, doomed):
            return
        if doomed.managed or live is not None:
            hypervisor.set_mark(uuid, live, live=False)
        else:
            hypervisor.forget(uuid)
        raise DomainNotFound(info.name)

    def _destroy_old(self, uuid: str, name: str, mark: Mark) -> None:
        self._step("halt")
        self._end(uuid, self._hypervisor.halt, for_good=False)
        self._start_new(uuid, name, mark)

    def _start_new(self, uuid: str, name: str, mark: Mark, end: float = 0.0) -> None:
        """END: until when (monotonic time) it may still wait for its disks; 0 at the first try."""
        hypervisor = self._hypervisor
        if mark.copy and not self._is_there(mark.copy):
            dead = _dead(mark)._replace(managed=False, keeps=True)
            self._step("copy")
            hypervisor.define_again(kept_xml.renamed(hypervisor.definition(uuid), f"Domain-{mark.copy}", mark.copy, dead))
            self._log("INFO", f"Domain {name} ({mark.domid}) is kept as Domain-{mark.copy}.")
        _, known = hypervisor.marks(uuid)
        if known is None or known.phase != Phase.REBUILDING:
            raise DomainNotFound(name)  # somebody has destroyed it
        try:
            unwritten = composites.unwritten(hypervisor.definition(uuid), 0.0 if end else MOMENT)
            if unwritten and (not end or time.monotonic() < end):
                return self._wait(uuid, name, end)
            self._step("start")
            if unwritten:
                raise unwritten
            self._have_disks(uuid)
            hypervisor.start_again(uuid, paused=self._waits(uuid))
            disk_needs.settle(uuid)
            disk_needs.remember(hypervisor, uuid)
            self._connect(uuid)
        except (DomainNotFound, HypervisorUnreachable):
            raise
        except XmError as error:
            vif_traces.end(hypervisor, hypervisor.find(uuid), hypervisor.halt)
            disk_needs.gone(hypervisor, uuid)
            hypervisor.set_mark(uuid, mark._replace(phase=Phase.HALTED, copy=""))
            self._log("ERROR", f"Domain {name} could not be started again: {error.line()}. It stays halted.")
            return
        self._settle(uuid, name, mark)

    def _wait(self, uuid: str, name: str, end: float) -> None:
        """Try once more when others have had their turns: a slow volume takes its time."""
        if not end:
            self._log("INFO", f"Domain {name} waits for its disks: what it had is still being written.")
        self._waiting[uuid] = (name, end or time.monotonic() + disk_needs.DEADLINE)
        self._hypervisor.call_later(MOMENT, lambda: self._try_again(uuid))

    def _try_again(self, uuid: str) -> None:
        """Unless it waits no longer; somebody may have destroyed it meanwhile, or started it, and it may have its turn."""
        name, end = self._waiting.pop(uuid, ("", 0.0))
        if name and all(info.uuid != uuid for info, _, _ in self._due):
            self._guarded(name, lambda: self._finish(uuid, name, end))

    def _have_disks(self, uuid: str) -> None:
        if is_local(self._hypervisor.uri):
            machine = domain_xml.parse(self._hypervisor.definition(uuid))
            disks = disk_needs.ready_again(self._hypervisor, machine)
            disk_needs.renew(self._hypervisor, uuid, disks)
            guest_kernels.renew(self._hypervisor, uuid, disks)

    def _waits(self, uuid: str) -> bool:
        """Whether its interfaces are to be set up before it runs."""
        hypervisor = self._hypervisor
        return connecting.is_ours(hypervisor) and connecting.waits(hypervisor.definition(uuid))

    def _connect(self, uuid: str) -> None:
        """Set up the interfaces of the new domain, and let it go where it waits for that."""
        info = self._hypervisor.find(uuid)
        connecting.connect(self._hypervisor, info)
        if info.state == DomainState.PAUSED:
            self._hypervisor.unpause(uuid)

    def _is_there(self, uuid: str) -> bool:
        try:
            return self._hypervisor.find(uuid).uuid == uuid
        except DomainNotFound:
            return False

    def _settle(self, uuid: str, name: str, mark: Mark) -> None:
        """The new domain is there: libvirt is to know of it what it knew of the old one, and nothing else."""
        hypervisor = self._hypervisor
        self._step("settle")
        info = hypervisor.find(uuid)
        if mark.keeps:
            hypervisor.set_mark(uuid, _running(mark, info))
        elif mark.managed:
            hypervisor.set_mark(uuid, None)
        else:
            hypervisor.set_mark(uuid, None, known=False)
            self._step("forget")
            hypervisor.forget(uuid)
        self._log("INFO", f"Domain {name} has been restarted: {mark.domid} was its id, {info.domid} is.")

    # -- what a keeper that has died left

    def _finish(self, uuid: str, name: str, end: float = 0.0) -> None:
        live, known = self._hypervisor.marks(uuid)
        if live is None:
            if known is not None and known.phase == Phase.REBUILDING:
                self._start_new(uuid, name, known, end)
            elif known is not None:
                self._hypervisor.sweep(uuid)
        elif live.phase == Phase.REBUILDING:
            self._connect(uuid)
            self._settle(uuid, name, live)
        elif live.phase == Phase.MAKING and time.time() - live.since > self._options.loop:
            self._hypervisor.set_mark(uuid, _running(live, self._hypervisor.find(uuid)))
        elif live.phase == Phase.DOOMED:
            self._finish_doomed(uuid, live, known)

    def _finish_doomed(self, uuid: str, live: Mark, known: Mark | None) -> None:
        hypervisor = self._hypervisor
        info = hypervisor.find(uuid)
        prepared = known is not None and known.phase in (Phase.REBUILDING, Phase.HALTED, Phase.CRASHED)
        if info.state != DomainState.PAUSED or hypervisor.marked_paused(uuid):
            self._log("WARNING", f"Domain {info.name} ({info.domid}) runs on since its restart; it keeps its id.")
            self._spare(info, live, prepared=prepared)
        elif known is not None and known.phase == Phase.REBUILDING:
            self._destroy_old(uuid, info.name, known)
        elif prepared:
            self._step("halt")
            self._end(uuid, hypervisor.halt)
        else:
            record = self._record(uuid)
            if record is not None:
                self._act(info, record, live)

    def _spare(self, info: DomainInfo, live: Mark, *, prepared: bool) -> None:
        """Take back what was PREPARED for the end of a domain that lives on."""
        hypervisor = self._hypervisor
        hypervisor.set_mark(info.uuid, _running(live, info) if live.keeps else None)
        if prepared and not live.keeps and not live.managed:
            hypervisor.forget(info.uuid)


def _is_same(live: Mark | None, doomed: Mark) -> bool:
    """Whether the mark LIVE of one that runs is that which was DOOMED."""
    return live is not None and (live.phase, live.domid) == (Phase.DOOMED, doomed.domid)


def _dead(mark: Mark) -> Mark:
    return mark._replace(phase=Phase.CRASHED if mark.cause == CRASH else Phase.HALTED, cause="", copy="")


def _running(mark: Mark, info: DomainInfo) -> Mark:
    return mark._replace(phase=Phase.RUNNING, domid=info.domid, cause="", copy="", since=time.time())


def _is_managed(info: DomainInfo, known: Mark | None) -> bool:
    """Whether libvirt knows the domain for another reason than its mark."""
    return info.persistent and (known is None or known.managed)


def actions_of(record: XenRecord) -> Actions:
    """What the configuration of a domain wants after its ends; xm's defaults where it does not say."""
    form = recorded_form(record) or []
    said = {str(row[0]): str(row[1]) for row in form[1:] if isinstance(row, list) and len(row) > 1}
    poweroff, reboot, crash = OBSOLETE_RESTART.get(said.get("restart", ""), ("destroy", "restart", "restart"))
    return Actions(
        _action(said.get("on_poweroff", poweroff)), _action(said.get("on_reboot", reboot)),
        _action(said.get("on_crash", crash)),
    )  # fmt: skip


def _action(word: str) -> EventAction:
    try:
        return EventAction(word)
    except ValueError:
        return EventAction.DESTROY
