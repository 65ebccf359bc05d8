"""Managed domains: those that are known whether they run or not. The operations beneath ``xm new``, ``start``,
``delete``, ``suspend`` and ``resume``.

A managed domain is a persistent one of libvirt. What xend kept in a store of its own is libvirt's definition here, with
the configuration in its metadata; the image of a suspended one is libvirt's managed save. The texts of errors are
xend's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from xmcompat import connecting, creation, recorded, vif_traces
from xmcompat.backends import domain_xml
from xmcompat.backends.gather import gather
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.settings import is_local
from xmcompat.config import sxp
from xmcompat.config.read import read_record_form
from xmcompat.describe import recorded_form
from xmcompat.errors import (
    ConnectionLost,
    DeviceError,
    DomainEnding,
    DomainExists,
    DomainNotFound,
    HypervisorError,
    HypervisorUnreachable,
    OperationError,
    XmError,
)
from xmcompat.guest import FirmwareBoot, GuestConfig
from xmcompat.host_settings import with_host_settings
from xmcompat.kept import mark_started
from xmcompat.losses import when_back
from xmcompat.network.steps import Interrupted
from xmcompat.notes import joined
from xmcompat.pool_rules import POOL0
from xmcompat.preflight import refuse_overlong, refuse_suspended, refuse_too_large, refuse_unstartable
from xmcompat.toolstack import DOM0_NAME, DOM0_UUID, Created, Toolstack
from xmcompat.translate.machine import translate

if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import Hypervisor
    from xmcompat.backends.machine import Machine, XenRecord
    from xmcompat.config.load import Loaded

_RUNS = (DomainState.RUNNING, DomainState.BLOCKED)
_ENDS = ("destroy", "coredump-destroy")


class Managed:
    """The operations over a TOOLSTACK."""

    def __init__(self, toolstack: Toolstack) -> None:
        self._toolstack = toolstack
        self._hypervisor = toolstack.hypervisor

    # -- queries

    def is_managed(self, info: DomainInfo) -> bool:
        """Whether it stays known when it is off; one that only stays listed after its end (preserve) does not."""
        if not info.persistent:
            return False
        _, known = self._hypervisor.marks(info.uuid)
        return known is None or known.managed

    def is_suspended(self, designation: str) -> bool:
        """Whether it is off with an image of its memory, from which ``resume`` starts it."""
        info = self._toolstack.find(designation)
        return info.domid is None and info.uuid in self._hypervisor.suspended()

    # -- known and forgotten

    def new(self, loaded: Loaded) -> Created:
        """Have the guest of a configuration known, halted. One of the same name and uuid gets this configuration.

        Its id in the answer is None. Disks and kernel are looked at when it starts. May be repeated only where the
        configuration has a uuid. Raises DomainExists, NotConvertible, OperationError, HypervisorError.
        """
        guest = loaded.guest
        refuse_overlong(guest.name)
        self._refuse_taken(guest)
        hypervisor = self._hypervisor
        facts = with_host_settings(gather(hypervisor, environ=os.environ, bridges=bool(guest.vifs)), os.environ)
        pools = self._toolstack.pools
        pool_cpus = pools.cpus_for(str(guest.options.get("pool") or POOL0)) if facts.local else None
        facts = replace(facts, pool_cpus=pool_cpus, knows_pools=facts.local)
        guest = creation.identified(guest)
        translation = translate(guest, facts, record=creation.record_of(guest)._replace(started=None))
        machine = replace(translation.machine, disks=creation.with_whole_paths(translation.machine.disks))
        hypervisor.sweep(guest.name, guest.uuid or "")
        hypervisor.define(domain_xml.render(machine))
        return Created(hypervisor.find(guest.uuid or guest.name), joined(loaded.notes, translation.notes), ())

    def _refuse_taken(self, guest: GuestConfig) -> None:
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

    # -- started

    def start(
        self, designation: str, *, paused: bool = False, attend: Callable[[Created], None] | None = None
    ) -> Created:
        """Start a halted domain from its definition. On any error, and on Ctrl-C, it is halted.

        ATTEND is as for ``Toolstack.create``. Raises OperationError, DeviceError, HypervisorError, DomainNotFound, and
        DomainEnding for one that has ended before it could run.
        """
        self.refuse_start(designation)
        info = self._toolstack.find(designation)
        record = self._toolstack.record(info)
        guest = _guest_of(record, info)
        machine = domain_xml.parse(self._hypervisor.domain_xml(info.uuid))
        warnings = self._refuse_unfit(guest, machine)
        try:
            created = self._started(info, guest, machine, warnings)
            try:
                if attend is not None:
                    attend(created)
                if not paused:
                    self._let_go(created.info)
            except BaseException:
                self._end(info.uuid)
                raise
        except ConnectionLost as error:
            when_back(info.name, error, self._again, lambda _hypervisor: self._end_paused(info.uuid))
            raise
        return created

    def _again(self) -> Hypervisor:
        self._toolstack.close()
        self._hypervisor = self._toolstack.hypervisor
        return self._hypervisor

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
                nothing = GuestConfig(name=machine.name, boot=FirmwareBoot())
                creation.with_real_paths(self._hypervisor, machine.disks, nothing)
            return ()
        facts = gather(self._hypervisor, environ=os.environ, bridges=False)
        refuse_too_large(guest, facts.memory)
        if facts.local:
            creation.refuse_boot_files(guest)
            disks = creation.with_real_paths(self._hypervisor, machine.disks, guest)
            refuse_unstartable(guest, replace(machine, disks=disks))
        return creation.warnings(self._hypervisor, guest, facts)

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
        except XmError:
            raise
        except BaseException:  # Ctrl-C is noticed when the call is over
            self._end(info.uuid)
            raise
        try:
            recorded.renew(self._hypervisor, started, afresh=True)
            if guest is not None:
                mark_started(self._hypervisor, started, guest, crash_ends=machine.on_crash in _ENDS)
            pools.settle(started, pool_cpus)
            connecting.connect(self._hypervisor, started)
        except BaseException:
            self._end(info.uuid)
            raise
        return Created(started, (), warnings)

    def _let_go(self, info: DomainInfo) -> None:
        try:
            self._hypervisor.unpause(info.uuid)
        except (DomainNotFound, DomainEnding):
            raise DomainEnding(f"Domain '{info.name}' is not started") from None

    def _end(self, uuid: str) -> None:
        try:
            vif_traces.end(self._hypervisor, self._hypervisor.find(uuid), self._hypervisor.destroy)
        except XmError:
            return  # it has ended by itself

    def refuse_start(self, designation: str) -> None:
        """Raise OperationError for a domain that ``start`` would not start, DomainNotFound."""
        info = self._toolstack.find(designation)
        if info.domid is not None or info.uuid in self._hypervisor.suspended():
            raise OperationError("Domain is already running")

    # -- suspended and resumed

    def suspend(self, designation: str) -> None:
        """Save the memory of a managed domain in libvirt's own place and end it; ``resume`` starts it from there.

        On any error, and on Ctrl-C that does not come too late, it runs on. Raises OperationError, DomainNotFound.
        """
        info = self._toolstack.find(designation)
        if info.uuid == DOM0_UUID:
            raise OperationError(f"Cannot suspend privileged domain {designation}")
        if info.state not in _RUNS:
            raise OperationError("Domain is not running")
        if not self.is_managed(info):
            raise OperationError("Domain is not managed by Xend lifecycle support.")
        back_ends = vif_traces.leaving(self._hypervisor, info)
        try:
            job = self._hypervisor.begin_suspend(info.uuid)
        except DomainNotFound:
            raise DomainNotFound(designation) from None
        try:
            while not job.ended(1.0):
                continue
            job.result()
        except (DomainNotFound, DomainEnding):
            raise OperationError("Domain is not running") from None
        except HypervisorUnreachable:
            raise
        except XmError as error:
            told = f"Domain '{info.name}' could not be suspended: {error.line()}"
            raise OperationError(f"{told}; {self._after(info)}") from None
        except BaseException:
            job.abort()
            raise
        vif_traces.gone(back_ends, info)
        if self._hypervisor.marks(info.uuid)[1] is not None:
            self._hypervisor.set_mark(info.uuid, None, live=False)  # what ended it need not be guessed later

    def _after(self, info: DomainInfo) -> str:
        """What has become of the domain of INFO after a failure to suspend it: it is to run on."""
        try:
            self._hypervisor.unpause(info.uuid)
            return "it runs on" if self._hypervisor.find(info.uuid).state in _RUNS else "it does not run now"
        except XmError:
            return "it does not run any more"

    def resume(self, designation: str, *, paused: bool = False) -> DomainInfo:
        """Start a suspended domain from the image of its memory, which goes. On any error the image stays.

        Raises OperationError with xend's words around each reason.
        """
        try:
            return self._resume(designation, paused=paused)
        except HypervisorUnreachable:
            raise
        except DomainNotFound:
            raise OperationError(f"Error occurred when resuming: <Fault 3: '{designation}'>") from None
        except XmError as error:
            raise OperationError(f"Error occurred when resuming: {error.line()}") from None

    def _resume(self, designation: str, *, paused: bool) -> DomainInfo:
        info = self._toolstack.find(designation)
        if info.uuid == DOM0_UUID:
            raise OperationError(f"Cannot resume privileged domain {designation}")
        if info.domid is not None or info.uuid not in self._hypervisor.suspended():
            raise OperationError("Cannot resume domain that is not suspended.")
        machine = self._machine_in_image(info)
        if is_local(self._hypervisor.uri):
            nothing = _guest_of(machine.record, info) or GuestConfig(name=info.name, boot=FirmwareBoot())
            creation.with_real_paths(self._hypervisor, machine.disks, nothing)
        try:
            started = self._from_image(info, paused=paused)
            if not paused:
                self._let_go(started)
        except ConnectionLost as error:
            if not paused:
                when_back(info.name, error, self._again, lambda _hypervisor: self._let_on(info.uuid))
            raise
        return self._hypervisor.find(info.uuid)

    def _from_image(self, info: DomainInfo, *, paused: bool) -> DomainInfo:
        try:
            started = self._hypervisor.start_known(info.uuid)
            self._renew(started)
            self._connect(started)
        except DomainExists:
            raise OperationError("Cannot resume domain that is not suspended.") from None
        except XmError:
            raise
        except BaseException:  # Ctrl-C is noticed when the call is over: its image is gone, and it is all there is
            if not paused:
                self._after(info)
            raise
        return started

    def _let_on(self, uuid: str) -> None:
        """Let go on what this call has started from its image, which is gone. Raises HypervisorError."""
        info = self._hypervisor.find(uuid)
        if info.state == DomainState.PAUSED:
            recorded.renew(self._hypervisor, info)
            self._connect(info)
            self._hypervisor.unpause(uuid)

    def _machine_in_image(self, info: DomainInfo) -> Machine:
        """Raises OperationError for an image that is not whole, beside which libvirt would start the guest afresh."""
        try:
            return domain_xml.parse(self._hypervisor.image(info.uuid))
        except HypervisorError as error:
            raise OperationError(
                f"Failed to read stored checkpoint file: {error.line()}",
                hint=f"put the file back, or give its memory up by 'virsh managedsave-remove {info.name}'",
            ) from None

    def _connect(self, started: DomainInfo) -> None:
        """Its image has gone: where its interfaces cannot be connected, it stays, paused."""
        try:
            connecting.connect(self._hypervisor, started)
        except (DeviceError, Interrupted) as error:
            raise OperationError(
                f"it is there, and paused: {error.line()}", hint=f"'xm unpause {started.name}' lets it run all the same"
            ) from None

    def _renew(self, started: DomainInfo) -> None:
        try:
            recorded.renew(self._hypervisor, started)
        except HypervisorError:
            return  # its memory is worth more than a note on it

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
