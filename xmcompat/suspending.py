"""The memory of managed domains put away and fetched again: the operations beneath ``xm suspend`` and ``xm resume``.

The image is libvirt's managed save, of which each domain has one at most. The texts of errors are xend's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmcompat import connecting, disk_needs, disk_owners, guest_kernels, moving, recorded, vif_traces
from xmcompat.backends import domain_xml
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.settings import is_local
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
from xmcompat.losses import when_back
from xmcompat.network.steps import Interrupted
from xmcompat.toolstack import DOM0_UUID, Toolstack

if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import Hypervisor
    from xmcompat.backends.machine import Machine

_RUNS = (DomainState.RUNNING, DomainState.BLOCKED)


class Suspending:
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

    # -- away and back

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
        with moving.held(self._hypervisor.uri, info):
            self._suspend(info, designation)

    def _suspend(self, info: DomainInfo, designation: str) -> None:
        back_ends = vif_traces.leaving(self._hypervisor, info)
        try:
            disk_needs.remember(self._hypervisor, info.uuid)
            job = self._hypervisor.begin_suspend(info.uuid)
        except DomainNotFound:
            raise DomainNotFound(designation) from None
        try:
            while not job.ended(1.0):
                continue
            job.result()
        except DomainNotFound:
            raise DomainNotFound(designation) from None
        except DomainEnding:
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
        disk_needs.gone(self._hypervisor, info.uuid)
        if self._hypervisor.marks(info.uuid)[1] is not None and not disk_owners.runs(self._hypervisor, info.uuid):
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
        moving.refuse_on_its_way(self._hypervisor.uri, info.uuid, info.name)
        xml, machine = self._in_image(info)
        try:
            started = self._from_image(info, xml, machine, paused=paused)
            if not paused:
                self._let_go(started)
        except ConnectionLost as error:
            if not paused:
                when_back(info.name, error, self._again, lambda _hypervisor: self._let_on(info.uuid))
            raise
        return self._hypervisor.find(info.uuid)

    def _from_image(self, info: DomainInfo, xml: str, machine: Machine, *, paused: bool) -> DomainInfo:
        try:
            with disk_needs.given_back(self._hypervisor, info.uuid):
                if is_local(self._hypervisor.uri):
                    self._have_disks_in_image(info, xml, machine)
                started = self._hypervisor.start_known(info.uuid)
                disk_needs.settle(info.uuid)
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
            disk_needs.settle(uuid)
            recorded.renew(self._hypervisor, info)
            self._connect(info)
            self._hypervisor.unpause(uuid)

    def _have_disks_in_image(self, info: DomainInfo, xml: str, machine: Machine) -> None:
        disks = disk_needs.ready_again(self._hypervisor, machine, from_image=True)
        guest_kernels.ensure(machine, disks)
        if changed := disk_needs.renewed(xml, disks):
            self._hypervisor.change_image(info.uuid, changed)

    def _in_image(self, info: DomainInfo) -> tuple[str, Machine]:
        """Raises OperationError for an image that is not whole, beside which libvirt would start the guest afresh."""
        try:
            xml = self._hypervisor.image(info.uuid)
            return xml, domain_xml.parse(xml)
        except HypervisorError as error:
            raise OperationError(
                f"Failed to read stored checkpoint file: {error.line()}",
                hint=f"put the file back, or give its memory up by 'xm start --discard-saved {info.name}'",
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

    def _again(self) -> Hypervisor:
        self._toolstack.close()
        self._hypervisor = self._toolstack.hypervisor
        return self._hypervisor

    def _let_go(self, info: DomainInfo) -> None:
        try:
            self._hypervisor.unpause(info.uuid)
        except (DomainNotFound, DomainEnding):
            raise DomainEnding(f"Domain '{info.name}' is not started") from None
