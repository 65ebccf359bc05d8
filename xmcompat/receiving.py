"""The receiving side of a migration: what libvirt cannot make ready for a domain that comes from another host.

Its disks are brought up and held, its interfaces get their filters and limits before it runs, and it is noted as started
here when it has come. What is prepared is given back when it does not come. If the source goes away in the middle, libvirt
decides: the two libvirtds go on by themselves. Source of what is promised: xend 4.1 restored at this end and let the domain
run.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from xmcompat import (
    __version__,
    arrival_disks,
    arrival_sweep,
    arrivals,
    connecting,
    disk_needs,
    disk_secrets,
    guest_kernels,
    moving_secrets,
    recorded,
    saved_guests,
)
from xmcompat.backends import domain_xml, glance
from xmcompat.backends.domain_lock import locked
from xmcompat.backends.migration import MigrationState
from xmcompat.backends.settings import is_local
from xmcompat.backends.settings import read as read_settings
from xmcompat.composites import guest_in
from xmcompat.copies import copy_of
from xmcompat.errors import (
    ConfigError,
    DeviceError,
    DomainEnding,
    DomainNotFound,
    HypervisorUnreachable,
    OperationError,
    XmError,
)
from xmcompat.migration import settings as migration_settings
from xmcompat.migration.facts import Copy, Finding, HostFacts, Life, Prepared, Settled, Wanted
from xmcompat.migration.wire import VERSION, Connected, Greeting
from xmcompat.network.wanted import Mode
from xmcompat.preflight import refuse_missing_bridge
from xmcompat.toolstack import Toolstack
from xmcompat.vantage import host_facts, paths_of, refuse_taken, refuse_too_large, seen_disks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from xmcompat.backends.hypervisor import DomainInfo, Hypervisor
    from xmcompat.backends.machine import Machine
    from xmcompat.migration.serving import GoingOn
    from xmcompat.vifs import BackEnd

#: Seconds between two looks at a domain that is coming.
_LOOK = 0.05
#: Seconds in which libvirt gives a domain its interfaces once it has begun to take it.
_TAPS = 15.0
#: Seconds in which libvirt must be through with a domain that has come, or that does not come any more.
_FINISHING = 30.0
#: Seconds after which a domain has come of which libvirt does not say so, as one that is paused.
_STANDING = 3.0
#: Seconds in which a domain that was on its way, and is gone now, cannot have run here.
_A_MOMENT = 2.0
#: Seconds for which a domain is waited for whose source has gone before it came, and libvirtd while it is away.
ALONE = 60.0

_ARRIVED = (MigrationState.POSTCOPY_IN, MigrationState.STALLED_IN, MigrationState.ARRIVED)
_HERE = (MigrationState.INCOMING, *_ARRIVED)


class Receiving:
    """One conversation with a source, by TOOLSTACK. It is a ``migration.serving.Receiver``."""

    def __init__(
        self, toolstack: Toolstack, environ: Mapping[str, str] = os.environ, *,
        log: Callable[[str, str], None] = lambda level, text: None, alone: float = ALONE,
    ) -> None:  # fmt: skip
        """LOG takes a level ("INFO") and a text."""
        self._toolstack = toolstack
        self._environ = environ
        self._log = log
        self._alone = alone
        self._source = Greeting(xmcompat=VERSION)
        self._kept: arrivals.Kept | None = None
        self._coming: DomainInfo | None = None
        self._back_ends: tuple[BackEnd, ...] = ()
        self._filtered: tuple[str, ...] = ()
        self._seen = float("-inf")  # when it was last on its way, as long as nobody speaks with us

    @property
    def _hypervisor(self) -> Hypervisor:
        return self._toolstack.hypervisor

    # -- what changes nothing

    def greeting(self) -> Greeting:
        return Greeting(
            xmcompat=VERSION, hostname=os.uname().nodename, uuid=self._hypervisor.migration_host().uuid, program=__version__
        )

    def hello(self, source: Greeting) -> None:
        if source.uuid and source.uuid == self._hypervisor.migration_host().uuid:
            raise OperationError("this is the host itself", hint="name another host")
        self._source = replace(source, hostname="".join(filter(str.isprintable, source.hostname))[:253])

    def look(self, wanted: Wanted, going_on: GoingOn) -> HostFacts:
        return host_facts(self._hypervisor, wanted, other=self._source.hostname, environ=self._environ)

    def state(self, uuid: str, going_on: GoingOn) -> Copy:
        arrivals.refuse_no_uuid(uuid)
        return copy_of(self._hypervisor, uuid)

    # -- before it comes

    def prepare(self, wanted: Wanted, going_on: GoingOn) -> Prepared:
        """Hold its disks, its name and its memory. Raises OperationError, DeviceError; then nothing is held."""
        machine = self._machine_of(wanted)
        if self._kept is not None:
            raise OperationError(f"'{self._kept.promise.name}' is being received already; one at a time")
        refuse_taken(self._hypervisor, wanted)
        aliases, bridges = dict(read_settings(self._environ).bridge_aliases), self._hypervisor.bridges()
        refuse_missing_bridge(arrival_disks.on_bridges(machine, aliases, bridges), bridges)
        passwords = moving_secrets.checked(machine, wanted)
        self._kept = arrivals.promise(
            self._hypervisor.uri, arrivals.Promise(wanted.uuid, wanted.name, max(wanted.memory, wanted.max_memory, 0))
        )
        try:
            refuse_too_large(self._hypervisor, wanted, self._environ)
            moving_secrets.keep(self._hypervisor, machine, passwords)
            return self._prepared(wanted, machine, self._kept, going_on)
        except BaseException:
            self._give_back(wanted.uuid, sure=True)
            raise

    def _prepared(self, wanted: Wanted, machine: Machine, kept: arrivals.Kept, going_on: GoingOn) -> Prepared:
        arrival_disks.make(wanted, paths_of(machine), kept.note)
        going_on()
        disks = disk_needs.ready_again(self._hypervisor, machine, from_image=True)
        going_on()
        guest_kernels.ensure(machine, disks, self._environ)
        xml = disk_needs.renewed(wanted.xml, disks) or wanted.xml
        xml = arrival_disks.with_bridges(xml, dict(read_settings(self._environ).bridge_aliases), self._hypervisor.bridges())
        going_on()
        self._log("INFO", f"Domain {wanted.name} may come from {self._source.hostname or 'another host'}.")
        chosen = migration_settings.read(
            read_settings(self._environ).migration, self._environ.get("XMCOMPAT_CONFIG") or "xmcompat.toml"
        )
        return Prepared(
            disks=tuple(seen_disks(self._hypervisor, wanted)), address=chosen.address or os.uname().nodename,
            listen=chosen.address, xml="" if xml == wanted.xml else xml, waits=self._waits(xml),
        )  # fmt: skip

    def _waits(self, xml: str) -> bool:
        """Whether its interfaces have filters or limits here, or a script is run for them."""
        machine = domain_xml.parse(xml)
        return connecting.is_ours(self._hypervisor) and connecting.prepared(
            guest_in(machine).vifs, machine.nics, environ=self._environ
        )

    def _machine_of(self, wanted: Wanted) -> Machine:
        """Raises OperationError for what is no domain, or another one than it is said to be."""
        if not is_local(self._hypervisor.uri):
            raise OperationError(f"guests can only come to the host itself, not to {self._hypervisor.uri}")
        try:
            machine = domain_xml.parse(wanted.xml)
            if disk_needs.owner(wanted.uuid) != wanted.uuid or (machine.uuid, machine.name) != (wanted.uuid, wanted.name):
                raise ValueError
        except (XmError, ValueError):
            raise OperationError(f"the source describes '{wanted.name}' in a way that cannot be used") from None
        return machine

    # -- while it comes

    def connect(self, uuid: str, going_on: GoingOn) -> Connected:
        """Wait until it is coming, and set up its interfaces. Raises DeviceError."""
        arrivals.refuse_no_uuid(uuid)
        while not self._is_coming(uuid):
            going_on()
            time.sleep(_LOOK)
        self._await_taps(uuid, going_on)
        self._connect(self._hypervisor.find(uuid))
        return Connected()

    def _is_coming(self, uuid: str) -> bool:
        found = copy_of(self._hypervisor, uuid)
        return found.moving in _HERE and found.life not in (Life.OFF, Life.GONE)

    def _await_taps(self, uuid: str, going_on: GoingOn) -> None:
        """Until the host's ends of all its interfaces are there; those that stay away are told of by ``_connect``."""
        if not connecting.is_ours(self._hypervisor):
            return
        end = time.monotonic() + _TAPS
        while time.monotonic() < end:
            try:
                info = self._hypervisor.find(uuid)
                wanted = glance.read(self._hypervisor.domain_xml(uuid)).all("devices/interface")
                ends = connecting.back_ends(self._hypervisor, info, environ=self._environ)
            except DomainNotFound:
                raise OperationError("the domain does not come any more") from None
            count = sum(nic.get("type", "") != "user" for nic in wanted)
            if len(ends) >= count and all(connecting.is_here(one.port) for one in ends):
                return
            going_on()
            time.sleep(_LOOK)

    def _connect(self, info: DomainInfo) -> None:
        """Set up the interfaces of a domain that does not run here yet. Those of routed ones get their filters alone: until
        it runs here, their addresses are behind the other host."""
        self._coming = info
        if not connecting.is_ours(self._hypervisor):
            return
        self._back_ends = connecting.back_ends(self._hypervisor, info, environ=self._environ)
        with locked(info.uuid, self._environ):  # xend sees to interfaces, too
            self._set_up(info)

    def _set_up(self, info: DomainInfo) -> None:
        routed = [one for one in self._back_ends if one.waits and one.port.mode is Mode.ROUTE]
        if not routed:
            connecting.connect(self._hypervisor, info, environ=self._environ)
            return
        for one in self._back_ends:
            if one not in routed:
                connecting.connect(self._hypervisor, info, only=one.port.mac, environ=self._environ)
        connecting.filter_alone(routed)
        self._filtered = tuple(one.port.mac for one in routed)

    # -- once it has come

    def settle(self, uuid: str, going_on: GoingOn) -> Settled:
        """It has come, and libvirt has let it go: see to what is missing of its interfaces, and note that it was started
        here. What cannot be done is told, and does not end it."""
        arrivals.refuse_no_uuid(uuid)
        copy = self._once_through(uuid, going_on)
        if copy.life in (Life.GONE, Life.OFF):
            return Settled(copy=copy)
        info = self._hypervisor.find(uuid)
        told = [*self._connected(info)]
        with suppress(XmError):  # the next sweep of holds finds it there
            disk_needs.settle(uuid)
            disk_secrets.arrived(self._hypervisor, info)
        saved_guests.forget(uuid)  # its memory is here; that in a file is an older one's
        try:
            recorded.renew(self._hypervisor, info)
        except XmError as error:
            told.append(Finding(stops=False, what=f"it is not noted when '{info.name}' was started: {error.line()}"))
        self._let_go()
        arrival_sweep.came(self._hypervisor.uri, uuid)
        copy = copy_of(self._hypervisor, uuid)
        self._log("INFO", f"Domain {info.name} ({info.domid}) has come from {self._source.hostname or 'another host'}.")
        for one in told:
            self._log("ERROR", f"Domain {info.name}: {one.line()}")
        return Settled(copy=copy, domid=info.domid, told=tuple(told))

    def _once_through(self, uuid: str, going_on: GoingOn) -> Copy:
        """The domain once libvirt has let it go, or has given it up. Where libvirt does not say that it has come, it may be
        at its very beginning: it is looked at for a moment more."""
        end, since = time.monotonic() + _FINISHING, None
        while True:
            copy = copy_of(self._hypervisor, uuid)
            now = time.monotonic()
            if copy.life in (Life.GONE, Life.OFF) or copy.moving in _ARRIVED or now > end:
                return copy
            since = None if copy.moving == MigrationState.INCOMING else since or now
            if since is not None and now - since > _STANDING:
                return copy
            going_on()
            time.sleep(_LOOK)

    def _connected(self, info: DomainInfo) -> list[Finding]:
        """See that its interfaces are set up; one that runs without its filters stands still meanwhile."""
        if not connecting.is_ours(self._hypervisor):
            return []
        stopped = False
        try:
            ends = connecting.back_ends(self._hypervisor, info, environ=self._environ)
            missing = [one for one in ends if not connecting.is_marked(one.port) and (one.waits or self._coming is None)]
            bare = [one for one in missing if one.waits and one.port.mac not in self._filtered]
            stopped = bool(bare) and copy_of(self._hypervisor, info.uuid).life == Life.RUNNING
            if stopped:
                self._hypervisor.pause(info.uuid)
            with locked(info.uuid, self._environ):
                for one in missing:
                    if not connecting.is_marked(one.port):
                        connecting.connect(self._hypervisor, info, only=one.port.mac, environ=self._environ)
            if stopped:
                self._hypervisor.unpause(info.uuid)
        except (DomainNotFound, DomainEnding):
            return []
        except XmError as error:
            where = f"'{info.name}' is there, and paused: " if stopped else ""
            do = f"'xm unpause {info.name}' lets it run all the same" if stopped else error.hint or ""
            return [Finding(stops=stopped, what=f"{where}{error.message}", do=do)]
        return []

    # -- when it does not come

    def release(self, uuid: str, going_on: GoingOn) -> Copy:
        """It stays where it was: give back what was prepared, unless it is here all the same. What libvirt leaves of it,
        which has never run, is ended."""
        arrivals.refuse_no_uuid(uuid)
        copy = self._once_through(uuid, going_on)
        if copy.moving == MigrationState.INCOMING:
            with suppress(DomainNotFound, DomainEnding):
                self._hypervisor.destroy(uuid)
            copy = copy_of(self._hypervisor, uuid)
        if copy.life in (Life.GONE, Life.OFF):
            self._give_back(uuid, sure=True)
            arrival_sweep.stays_away(self._hypervisor.uri, uuid)
        return copy

    def end(self, uuid: str, going_on: GoingOn) -> Copy:
        """It runs at the source: end what is paused here, and give back what was prepared. What runs is left alone."""
        arrivals.refuse_no_uuid(uuid)
        if copy_of(self._hypervisor, uuid).life == Life.PAUSED:
            with suppress(DomainNotFound, DomainEnding):
                self._hypervisor.destroy(uuid)
        return self.release(uuid, going_on)

    def _give_back(self, uuid: str, *, sure: bool) -> None:
        if self._coming is not None:
            with suppress(XmError):
                connecting.gone(self._back_ends, self._coming, environ=self._environ)
        for sentence in disk_needs.gone(self._hypervisor, uuid):
            self._log("ERROR", sentence)
        disk_secrets.gone(self._hypervisor, uuid)
        guest_kernels.gone(self._hypervisor, uuid, self._environ)
        if self._kept is not None:
            for sentence in arrival_sweep.removed(self._kept.promise, sure=sure):
                self._log("ERROR", sentence)
        self._let_go()

    def _let_go(self) -> None:
        kept, self._kept = self._kept, None
        self._coming, self._back_ends, self._filtered = None, (), ()
        if kept is not None:
            kept.let_go()

    # -- the end of the conversation

    def ended(self, farewell: bool) -> None:
        """Settle or release, by what libvirt says, what the source did not."""
        if self._kept is None:
            return
        promise = self._kept.promise
        if not farewell:
            self._log("WARNING", f"The source of {promise.name} has gone; the two libvirtds decide about it.")
        end = time.monotonic() + (0.0 if farewell else self._alone)
        while self._kept is not None:
            try:
                end = self._by_libvirt(promise.uuid, end)
            except HypervisorUnreachable:
                self._toolstack.close()
                if time.monotonic() > end + self._alone:
                    return  # whoever comes next finds what is left
            except (XmError, OSError) as error:
                self._log("ERROR", f"Domain {promise.name}: {error}")
                if time.monotonic() > end:
                    return
            time.sleep(_LOOK * 4)

    def _by_libvirt(self, uuid: str, end: float) -> float:
        """One look at what becomes of it; returns until when it is waited for, should it not have come."""
        now = time.monotonic()
        copy = copy_of(self._hypervisor, uuid)
        if copy.moving == MigrationState.INCOMING:
            self._seen = now
            if self._coming is None:
                with suppress(DeviceError, ConfigError, OperationError):
                    self._await_taps(uuid, lambda: None)
                    self._connect(self._hypervisor.find(uuid))
            return time.monotonic()  # it was there: when it is gone, it does not come any more
        if copy.life not in (Life.GONE, Life.OFF):
            if self._once_through(uuid, lambda: None).moving != MigrationState.INCOMING:
                self.settle(uuid, lambda: None)
        elif time.monotonic() >= end:
            self._give_back(uuid, sure=time.monotonic() - self._seen < _A_MOMENT)
        return end


def silence(environ: Mapping[str, str] = os.environ) -> float:
    """Seconds without a word after which a source is taken for lost. Raises ConfigError."""
    path = environ.get("XMCOMPAT_CONFIG") or "xmcompat.toml"
    return migration_settings.read(read_settings(environ).migration, path).silence
