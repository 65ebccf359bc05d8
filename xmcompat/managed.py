"""Managed domains: those that are known whether they run or not. The operations beneath ``xm new``, ``start`` and
``delete``; ``suspend`` and ``resume`` lie beneath them, in suspending.

A managed domain is a persistent one of libvirt. What xend kept in a store of its own is libvirt's definition here, with
the configuration in its metadata; the image of a suspended one is libvirt's managed save. The texts of errors are
xend's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from xmcompat import (
    connecting,
    creation,
    disk_needs,
    disk_secrets,
    guest_kernels,
    moving,
    recorded,
    saved_guests,
    vif_traces,
)
from xmcompat.backends import domain_xml
from xmcompat.backends.gather import gather
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.settings import is_local
from xmcompat.config import sxp
from xmcompat.config.read import read_record_form
from xmcompat.describe import recorded_form
from xmcompat.disk_files import refuse_unreadable, who_denies
from xmcompat.disk_paths import with_whole_paths
from xmcompat.errors import (
    ConnectionLost,
    DiskRefused,
    DomainExists,
    DomainNotFound,
    HypervisorError,
    OperationError,
    XmError,
)
from xmcompat.guest import GuestConfig
from xmcompat.kept import mark_started
from xmcompat.losses import when_back
from xmcompat.notes import joined
from xmcompat.pool_rules import POOL0
from xmcompat.preflight import give_up_saved, refuse_overlong, refuse_suspended, refuse_too_large, refuse_unstartable
from xmcompat.suspending import Suspending
from xmcompat.toolstack import DOM0_NAME, DOM0_UUID, Created
from xmcompat.translate.machine import translate

if TYPE_CHECKING:
    from xmcompat.backends.devices import Disk
    from xmcompat.backends.machine import Machine, XenRecord
    from xmcompat.config.load import Loaded

_RUNS = (DomainState.RUNNING, DomainState.BLOCKED)
_ENDS = ("destroy", "coredump-destroy")


class Managed(Suspending):
    """The operations over a TOOLSTACK, those on its suspended domains included."""

    # -- known and forgotten

    def new(self, loaded: Loaded, *, discard_saved: bool = False) -> Created:
        """Have the guest of a configuration known, halted. One of the same name and uuid gets this configuration; where it
        is suspended only with DISCARD_SAVED, and its memory is given up.

        Its id in the answer is None. Disks and kernel are looked at when it starts. May be repeated only where the
        configuration has a uuid. Raises DomainExists, NotConvertible, OperationError, HypervisorError.
        """
        guest = loaded.guest
        refuse_overlong(guest.name)
        self._refuse_taken(guest, discard_saved=discard_saved)
        hypervisor = self._hypervisor
        facts = creation.facts_for(hypervisor, guest)
        guest = creation.identified(guest)
        translation = translate(guest, facts, record=creation.record_of(guest)._replace(started=None))
        machine = replace(translation.machine, disks=with_whole_paths(translation.machine.disks))
        hypervisor.sweep(guest.name, guest.uuid or "")
        uuid = disk_needs.owner(machine.uuid)
        try:
            if facts.local:
                disk_secrets.prepared(hypervisor, machine.disks, guest, uuid, lasting=True)
            hypervisor.define(domain_xml.render(machine))
        except BaseException:
            disk_secrets.gone(hypervisor, uuid)
            raise
        info = hypervisor.find(guest.uuid or guest.name)
        if discard_saved:
            give_up_saved(hypervisor, info)
        return Created(info, joined(loaded.notes, translation.notes), ())

    def _refuse_taken(self, guest: GuestConfig, *, discard_saved: bool) -> None:
        """Raise where name or uuid belong to another domain, or to one that is there or suspended."""
        if guest.name == DOM0_NAME or guest.uuid == DOM0_UUID:
            raise OperationError(f"VM name '{DOM0_NAME}' already exists as domain 0")
        for designation in filter(None, (guest.name, guest.uuid)):
            try:
                holder = self._hypervisor.find(designation)
            except DomainNotFound:
                continue
            if guest.name != holder.name and guest.uuid != holder.uuid:
                continue  # a name that reads as somebody's id
            if holder.domid is not None:
                raise OperationError(f"VM name '{holder.name}' already exists as domain {holder.domid}")
            if (guest.name, guest.uuid) != (holder.name, holder.uuid):
                raise DomainExists(holder.name, None)
            if not discard_saved:
                refuse_suspended(self._hypervisor, holder)

    def delete(self, designation: str) -> None:
        """Forget a halted domain, with all that libvirt keeps for it. Raises OperationError, DomainNotFound."""
        info = self._toolstack.find(designation)
        if info.domid is not None or info.uuid in self._hypervisor.suspended():
            raise OperationError("Domain is not halted.")
        try:
            self._hypervisor.remove(info.uuid)
        except HypervisorError:
            if info.uuid in self._hypervisor.suspended():  # since a moment
                raise OperationError("Domain is not halted.") from None
            raise
        disk_needs.gone(self._hypervisor, info.uuid)
        disk_secrets.gone(self._hypervisor, info.uuid)
        guest_kernels.gone(self._hypervisor, info.uuid)

    # -- started

    def start(
        self, designation: str, *, paused: bool = False, attend: Callable[[Created], None] | None = None,
        discard_saved: bool = False,
    ) -> Created:  # fmt: skip
        """Start a halted domain from its definition. On any error, and on Ctrl-C, it is halted. One whose memory is saved
        is refused; with DISCARD_SAVED that memory is given up.

        ATTEND is as for ``Toolstack.create``. Raises OperationError, DeviceError, HypervisorError, DomainNotFound, and
        DomainEnding for one that has ended before it could run.
        """
        self.refuse_start(designation, discard_saved=discard_saved)
        info = self._toolstack.find(designation)
        record = self._toolstack.record(info)
        guest = _guest_of(record, info)
        machine = domain_xml.parse(self._hypervisor.domain_xml(info.uuid))
        try:
            with disk_needs.given_back(self._hypervisor, info.uuid):
                warnings = self._refuse_unfit(guest, machine)
                if discard_saved and info.uuid in self._hypervisor.suspended():
                    self._hypervisor.discard_image(info.uuid)  # libvirt would start from it
                created = self._started(info, guest, machine, warnings)
                try:
                    if attend is not None:
                        attend(created)
                    if discard_saved:
                        give_up_saved(self._hypervisor, created.info)
                    if not paused:
                        self._let_go(created.info)
                except BaseException:
                    self._end(info.uuid)
                    raise
        except ConnectionLost as error:
            when_back(info.name, error, self._again, lambda _hypervisor: self._end_paused(info.uuid))
            raise
        return created

    def _end_paused(self, uuid: str) -> None:
        """End what this call has started and not let go. Raises HypervisorUnreachable."""
        info = self._hypervisor.find(uuid)
        if info.state == DomainState.PAUSED:
            vif_traces.end(self._hypervisor, info, self._hypervisor.destroy)

    def _refuse_unfit(self, guest: GuestConfig | None, machine: Machine) -> tuple[str, ...]:
        """Raise where this host cannot start it now; returns what the operator should know.

        Of a domain that xm did not make, GUEST is None, and only its disks are looked at.
        """
        if guest is None:
            if is_local(self._hypervisor.uri):
                self._have_disks(machine)
            return ()
        facts = gather(self._hypervisor, environ=os.environ, bridges=False)
        refuse_too_large(guest, facts.memory)
        if facts.local:
            creation.refuse_boot_files(guest)
            disks = self._have_disks(machine)
            told = refuse_unreadable(disks)
            if not guest_kernels.renew(self._hypervisor, machine.uuid or "", disks):
                refuse_unstartable(guest, replace(machine, disks=disks))
            return (*creation.warnings(self._hypervisor, guest, facts), *told)
        return creation.warnings(self._hypervisor, guest, facts)

    def _have_disks(self, machine: Machine) -> tuple[Disk, ...]:
        disks = disk_needs.ready_again(self._hypervisor, machine)
        disk_needs.renew(self._hypervisor, machine.uuid or "", disks)
        return disks

    def _started(
        self, info: DomainInfo, guest: GuestConfig | None, machine: Machine, warnings: tuple[str, ...]
    ) -> Created:  # fmt: skip
        """The domain, paused, with its marks, and kept to its pool."""
        pools = self._toolstack.pools
        local = is_local(self._hypervisor.uri)
        pool_cpus = pools.cpus_for(str(guest.options.get("pool") or POOL0)) if guest and local else None
        try:
            started = self._hypervisor.start_known(info.uuid)
        except DomainExists:
            raise OperationError("Domain is already running") from None
        except DiskRefused as error:
            raise who_denies(self._hypervisor, error) from None
        except XmError:
            raise
        except BaseException:  # Ctrl-C is noticed when the call is over
            self._end(info.uuid)
            raise
        try:
            disk_needs.settle(started.uuid)
            disk_needs.remember(self._hypervisor, started.uuid)
            recorded.renew(self._hypervisor, started, afresh=True)
            if guest is not None:
                mark_started(self._hypervisor, started, guest, crash_ends=machine.on_crash in _ENDS)
            pools.settle(started, pool_cpus)
            connecting.connect(self._hypervisor, started)
        except BaseException:
            self._end(info.uuid)
            raise
        return Created(started, (), warnings)

    def _end(self, uuid: str) -> None:
        try:
            vif_traces.end(self._hypervisor, self._hypervisor.find(uuid), self._hypervisor.destroy)
        except XmError:
            return  # it has ended by itself

    def refuse_start(self, designation: str, *, discard_saved: bool = False) -> None:
        """Raise OperationError for a domain that ``start`` would not start, DomainNotFound."""
        info = self._toolstack.find(designation)
        if info.domid is not None or (not discard_saved and info.uuid in self._hypervisor.suspended()):
            raise OperationError("Domain is already running")
        moving.refuse_on_its_way(self._hypervisor.uri, info.uuid, info.name)
        saved = None if discard_saved else saved_guests.find(self._hypervisor.uri, info.name, info.uuid)
        if saved is not None:
            saved_guests.refuse(saved)

    # -- what its configuration says

    def setting(self, info: DomainInfo, key: str, default: str = "") -> str:
        """What the domain's configuration has for KEY of its form, as ``on_xend_start``; DEFAULT where it has none."""
        form = recorded_form(self._toolstack.record(info))
        return default if form is None else str(sxp.value(form, key, default))


def _guest_of(record: XenRecord | None, info: DomainInfo) -> GuestConfig | None:
    """The guest as its configuration says; None for a domain that xm did not make, or whose record is spoilt."""
    if record is None:
        return None
    try:
        return replace(read_record_form(record.sxp, record.source).guest, name=info.name, uuid=info.uuid)
    except XmError:
        return None
