"""Saving guests to files, and starting them from such files: the operations beneath ``xm save`` and ``xm restore``.

A save has two parts: the hypervisor writes its image to an unfinished file beside the one that is wanted, then our header
is put in front of it and the file gets its name. Whatever fails, or is broken off, the guest runs on; where its image was
whole by then, it is started from that. The texts of errors are xend's where it has some.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from xmcompat import connecting, disk_needs, guest_kernels, recorded, vif_traces
from xmcompat.backends import domain_xml
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.settings import is_local
from xmcompat.config import sxp
from xmcompat.disk_files import of_disk
from xmcompat.errors import (
    ConfigError,
    ConnectionLost,
    DeviceError,
    DomainBusy,
    DomainEnding,
    DomainExists,
    DomainNotFound,
    HypervisorError,
    HypervisorUnreachable,
    OperationError,
    XmError,
)
from xmcompat.losses import BACK, stuck
from xmcompat.migration import save_file
from xmcompat.pending_save import RUNS, PendingSave
from xmcompat.preflight import DOM0_MIN_MEM, refuse_missing_bridge, refuse_suspended
from xmcompat.toolstack import DOM0_NAME, DOM0_UUID, Toolstack

if TYPE_CHECKING:
    from collections.abc import Callable

    from xmcompat.backends.hypervisor import Hypervisor
    from xmcompat.backends.machine import Machine

#: Seconds until a domain that somebody else has just begun to start has its id.
_BEGINNING = 3.0


class Saving:
    """The operations over a TOOLSTACK."""

    def __init__(self, toolstack: Toolstack) -> None:
        self._toolstack = toolstack

    @property
    def _hypervisor(self) -> Hypervisor:
        return self._toolstack.hypervisor

    def save(self, designation: str, path: str, *, checkpoint: bool = False) -> None:
        """Save a running domain to the file PATH and end it; with CHECKPOINT it runs on.

        Differs from xm: the domain keeps its name meanwhile; the file is replaced in one step, and no half of it stays
        after an error.
        """
        pending = self.begin(designation, path, checkpoint=checkpoint)
        try:
            while not pending.ended(1.0):
                continue
            pending.finish()
        except BaseException:
            pending.abandon()
            raise

    def begin(
        self, designation: str, path: str, *, checkpoint: bool = False, paused_too: bool = False
    ) -> PendingSave:
        """The same in parts; with PAUSED_TOO a paused domain is saved as well, and is restored paused.

        Raises OperationError for Domain-0, a domain that does not run, a path that cannot be one.
        """
        info = self._toolstack.find(designation)
        if info.uuid == DOM0_UUID:
            raise OperationError(f"Cannot save privileged domain {designation}")
        if info.state not in RUNS and not (paused_too and info.state == DomainState.PAUSED):
            raise OperationError("Domain is not running")
        self._refuse_remote("saved")
        try:
            return PendingSave(self._toolstack, info, os.path.realpath(path), running=checkpoint)
        except DomainNotFound:
            raise DomainNotFound(designation) from None

    def _refuse_remote(self, what: str) -> None:
        if not is_local(self._hypervisor.uri):
            raise OperationError(
                f"guests can only be {what} on the host itself, not through {self._hypervisor.uri}"
            )

    def restore(
        self, path: str, *, paused: bool = False, attend: Callable[[DomainInfo], None] | None = None
    ) -> DomainInfo:
        """Start the domain that the file PATH holds; the file stays. ATTEND is called with it before it runs; what it
        raises ends the domain.

        Raises OperationError, HypervisorError, ConnectionLost; then there is no domain, and the file is as it was.
        Differs from xm: an image that libvirt has saved without xm is taken too; one that Xen has saved is refused.
        """
        found = save_file.read(path)
        _refuse_unreadable(found.config)
        machine = domain_xml.parse(found.xml)
        self._refuse_remote("restored")
        self._refuse_taken(machine)
        self._refuse_too_large(machine)
        if machine.nics:
            refuse_missing_bridge(machine, self._hypervisor.bridges())
        uuid = machine.uuid or ""
        self._hypervisor.sweep(machine.name, uuid)
        with disk_needs.given_back(self._hypervisor, uuid):
            return self._restored(machine, found, path, paused=paused, attend=attend)

    def _restored(
        self, machine: Machine, found: save_file.SaveFile, path: str, *, paused: bool,
        attend: Callable[[DomainInfo], None] | None,
    ) -> DomainInfo:  # fmt: skip
        uuid = machine.uuid or ""
        try:
            disks = disk_needs.ready_again(self._hypervisor, machine, from_image=True)
            guest_kernels.ensure(machine, disks)
        except (DeviceError, ConfigError) as error:
            raise OperationError(f"Restore failed: {error.line()}") from None
        try:
            info = self._hypervisor.restore(uuid, path, found.offset, disk_needs.renewed(found.xml, disks))
        except OSError as error:
            raise OperationError(f"can't read guest state file {path}: {error.strerror}") from None
        except (DomainEnding, DomainExists, HypervisorError) as error:
            self._refuse_just_taken(machine, error)
            raise OperationError(f"Restore failed: {of_disk(self._hypervisor, error, machine.disks).line()}") from None
        except ConnectionLost:
            self._settle_loss(uuid, path)
            raise
        try:
            disk_needs.settle(uuid)
            recorded.renew(self._hypervisor, info)
            connecting.connect(self._hypervisor, info)
            if attend is not None:
                attend(info)
            if found.running and not paused:
                self._hypervisor.unpause(uuid)
            return self._hypervisor.find(uuid)
        except ConnectionLost:
            return self._settle_loss(uuid, path)
        except DomainNotFound:
            raise OperationError(f"Restore failed: '{machine.name}' has ended at once") from None
        except BaseException as error:
            if not self._end_paused(uuid, path) and isinstance(error, XmError):
                raise _left_paused(machine.name, error) from None
            raise

    def _refuse_taken(self, machine: Machine) -> None:
        """Raise OperationError where another domain has the name or the uuid; one that is known and off may have both."""
        if machine.name == DOM0_NAME or machine.uuid == DOM0_UUID:
            raise OperationError(DomainExists(DOM0_NAME, 0).message)
        for designation in (machine.name, machine.uuid or ""):
            try:
                holder = self._hypervisor.find(designation)
            except DomainNotFound:
                continue
            if machine.name != holder.name and machine.uuid != holder.uuid:
                continue  # a name that reads as somebody's id
            if holder.domid is not None:
                raise OperationError(DomainExists(holder.name, holder.domid).message)
            if (machine.name, machine.uuid) != (holder.name, holder.uuid):
                raise OperationError(DomainExists(holder.name, None).message)
            refuse_suspended(self._hypervisor, holder)

    def _refuse_just_taken(self, machine: Machine, error: XmError) -> None:
        """The same once libvirt has refused it with ERROR: somebody else may just be starting it."""
        deadline = time.monotonic() + (_BEGINNING if "already" in error.line() else 0)
        while True:
            self._refuse_taken(machine)
            if time.monotonic() >= deadline:
                return
            time.sleep(0.05)

    def _refuse_too_large(self, machine: Machine) -> None:
        left = self._hypervisor.host().memory - DOM0_MIN_MEM
        if machine.memory > left:
            raise OperationError(
                f"I need {machine.memory} KiB, but dom0_min_mem is {DOM0_MIN_MEM} and shrinking to "
                f"{DOM0_MIN_MEM} KiB would leave only {max(left, 0)} KiB free."
            )

    def _end_paused(self, uuid: str, path: str) -> bool:
        """End the domain that this call has started, if it has not run yet: its file is as good as it was.

        False where it stays, for ATTEND has removed the file at PATH: nothing else has its memory now.
        """
        try:
            return self._ended(uuid, path)
        except XmError:
            return True  # it has ended, or nobody can tell

    def _ended(self, uuid: str, path: str) -> bool:
        info = self._hypervisor.find(uuid)
        if info.state == DomainState.PAUSED:
            if not os.path.exists(path):
                return False
            vif_traces.end(self._hypervisor, info, self._hypervisor.destroy)
        return True

    def _settle_loss(self, uuid: str, path: str) -> DomainInfo:
        """After the connection was lost: the domain, if it runs. Otherwise ConnectionLost is raised, and it is ended where
        the file at PATH is still there."""
        deadline, what, hint = time.monotonic() + BACK, "nothing was restored", "see the log of libvirtd, and try again"
        while time.monotonic() < deadline:
            try:
                self._toolstack.close()
                info = self._hypervisor.find(uuid)
                if info.state in RUNS:
                    return info
                if not self._ended(uuid, path):
                    what = f"'{info.name}' is restored, and paused; xm unpause {info.name} lets it run"
                break
            except DomainBusy:
                what, hint = f"'{info.name}' is there, and paused", stuck(info.name)
                break
            except HypervisorUnreachable:
                time.sleep(0.1)
            except (DomainNotFound, HypervisorError):
                break  # it has ended
        raise ConnectionLost(f"Xend has probably crashed!  The connection was lost; {what}", hint=hint)


def _left_paused(name: str, error: XmError) -> OperationError:
    return OperationError(f"'{name}' is restored, and paused: {error.line()}", hint=f"try: xm unpause {name}")


def _refuse_unreadable(config: str) -> None:
    try:
        sxp.parse(config)
    except ConfigError:
        raise OperationError("not a valid guest state file: config parse") from None
