"""Saving guests to files, and starting them from such files: the operations beneath ``xm save`` and ``xm restore``.

A save has two parts: the hypervisor writes its image to an unfinished file beside the one that is wanted, then our header
is put in front of it and the file gets its name. Whatever fails, or is broken off, the guest runs on; where its image was
whole by then, it is started from that. The texts of errors are xend's where it has some.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from xmcompat import connecting, disk_needs, guest_kernels, moving, recorded, saved_disks, saved_guests, vif_traces
from xmcompat.backends import domain_xml
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.settings import is_local
from xmcompat.config import sxp
from xmcompat.describe import recorded_form
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
from xmcompat.migration.checksum import FlowingChecksum, of_file
from xmcompat.pending_save import RUNS, PendingSave
from xmcompat.preflight import DOM0_MIN_MEM, refuse_missing_bridge, refuse_suspended
from xmcompat.save_target import refuse_name
from xmcompat.toolstack import DOM0_NAME, DOM0_UUID, Toolstack

if TYPE_CHECKING:
    from collections.abc import Callable

    from xmcompat.backends.devices import Disk
    from xmcompat.backends.hypervisor import Hypervisor
    from xmcompat.backends.machine import Machine
    from xmcompat.saved_disks import SavedDisks

#: Seconds until a domain that somebody else has just begun to start has its id.
_BEGINNING = 3.0


class Restoring(NamedTuple):
    """How a file is restored. ``force``: its disks may have been written since. ``disks``: they are put back first."""

    path: str
    paused: bool
    force: bool
    disks: bool
    attend: Callable[[DomainInfo], None] | None


class Checkpoint(NamedTuple):
    """What ``save`` has left of a domain that runs on: the ``folder`` with copies of its disks, "" where there are none,
    and those that were not copied."""

    folder: str
    uncopied: tuple[str, ...]


class Saving:
    """The operations over a TOOLSTACK."""

    def __init__(self, toolstack: Toolstack) -> None:
        self._toolstack = toolstack

    @property
    def _hypervisor(self) -> Hypervisor:
        return self._toolstack.hypervisor

    def save(
        self, designation: str, path: str, *, checkpoint: bool = False, copies: bool = True
    ) -> Checkpoint:  # fmt: skip
        """Save a running domain to the file PATH and end it; with CHECKPOINT it runs on, and its disks of that moment are
        copied beside the file, unless COPIES is false.

        Differs from xm: the file is replaced in one step, and no half of it stays after an error; xm copied no disks.
        """
        pending = self.begin(designation, path, checkpoint=checkpoint, copies=copies)
        try:
            while not pending.ended(1.0):
                continue
            pending.finish()
        except BaseException as error:
            pending.abandon()
            if isinstance(error, DomainNotFound):
                raise DomainNotFound(designation) from None
            raise
        return Checkpoint(pending.folder, pending.uncopied)

    def begin(
        self, designation: str, path: str, *, checkpoint: bool = False, paused_too: bool = False, copies: bool = True
    ) -> PendingSave:
        """The same in parts; with PAUSED_TOO a paused domain is saved as well, and is restored paused.

        Raises OperationError for Domain-0, a domain that does not run or must not be moved, a path that cannot be one.
        """
        info = moving.settled(self._hypervisor, self._toolstack.find(designation))
        if info.uuid == DOM0_UUID:
            raise OperationError(f"Cannot save privileged domain {designation}")
        if info.state not in RUNS and not (paused_too and info.state == DomainState.PAUSED):
            raise OperationError("Domain is not running")
        self._refuse_remote("saved")
        try:
            if _must_stay(recorded_form(self._toolstack.record(info))):
                raise OperationError("cannot save non-migratable domain", hint=_STAYS)
            return PendingSave(
                self._toolstack, info, os.path.realpath(path), running=checkpoint, copies=copies
            )  # fmt: skip
        except DomainNotFound:
            raise DomainNotFound(designation) from None

    def _refuse_remote(self, what: str) -> None:
        if not is_local(self._hypervisor.uri):
            raise OperationError(
                f"guests can only be {what} on the host itself, not through {self._hypervisor.uri}"
            )

    def restore(
        self, path: str, *, paused: bool = False, attend: Callable[[DomainInfo], None] | None = None, force: bool = False,
        disks: bool = False,
    ) -> DomainInfo:  # fmt: skip
        """Start the domain that the file PATH holds; the file stays. ATTEND is called with it before it runs; what it
        raises ends the domain. With DISKS the copies beside a checkpoint are put back first; with FORCE its disks need not
        be as they were.

        Raises OperationError, HypervisorError, ConnectionLost; then there is no domain, and the file is as it was.
        Differs from xm: an image that libvirt has saved without xm is taken too; one that Xen has saved is refused, and so
        is one that is damaged, or whose disks have been written since.
        """
        refuse_name(os.path.abspath(path), "read")
        found = save_file.read(path)
        _refuse_unreadable(found.config)
        machine = domain_xml.parse(found.xml)
        self._refuse_remote("restored")
        with moving.restored(self._hypervisor.uri, machine.uuid or "", machine.name):
            return self._begun(machine, found, Restoring(path, paused, force, disks, attend))

    def _begun(self, machine: Machine, found: save_file.SaveFile, how: Restoring) -> DomainInfo:
        self._refuse_taken(machine)
        self._refuse_too_large(machine)
        if machine.nics:
            refuse_missing_bridge(machine, self._hypervisor.bridges())
        uuid = machine.uuid or ""
        self._hypervisor.sweep(machine.name, uuid)
        with disk_needs.given_back(self._hypervisor, uuid):
            info = self._restored(machine, found, how)
        saved_guests.forget(uuid)
        return info

    def _ready(self, machine: Machine, found: save_file.SaveFile, saved: SavedDisks, how: Restoring) -> tuple[Disk, ...]:
        """Its disks, each there, free, and what its memory knows of it. Raises OperationError."""
        try:
            disks = disk_needs.ready_again(self._hypervisor, machine, from_image=True)
            guest_kernels.ensure(machine, disks)
        except (DeviceError, ConfigError) as error:
            raise OperationError(f"Restore failed: {error.line()}") from None
        if how.disks:
            if not how.force:
                saved_disks.refuse_moved_on(saved, machine.name, how.path, uncopied=True)
            if found.checksum is not None and of_file(how.path, found.memory) != found.checksum:
                raise _damaged(how.path)
            saved_disks.put_back(saved, how.path, disks)
        elif not how.force:
            saved_disks.refuse_moved_on(saved, machine.name, how.path)
            if not found.forms:
                saved_disks.refuse_written_after(machine, how.path)
        return disks

    def _started(self, machine: Machine, found: save_file.SaveFile, path: str, disks: tuple[Disk, ...]) -> DomainInfo:
        """The domain, paused; its image is what was written. Raises as ``restore``."""
        uuid = machine.uuid or ""
        checksum = FlowingChecksum(path, found.memory) if found.checksum is not None else None
        try:
            try:
                info = self._hypervisor.restore(uuid, path, found.spans, disk_needs.renewed(found.xml, disks), checksum)
            except HypervisorError:
                if checksum is not None and checksum.result() != found.checksum:
                    raise _damaged(path) from None
                raise
            try:
                if checksum is not None and checksum.result() != found.checksum:
                    raise _damaged(path)
            except BaseException:
                vif_traces.end(self._hypervisor, info, self._hypervisor.destroy)
                raise
        finally:
            if checksum is not None:
                checksum.stop()
        return info

    def _paused(self, machine: Machine, found: save_file.SaveFile, path: str, disks: tuple[Disk, ...]) -> DomainInfo:
        """The same, with errors as ``restore`` has them; OSError."""
        uuid = machine.uuid or ""
        try:
            return self._started(machine, found, path, disks)
        except (OSError, OperationError):
            raise
        except (DomainEnding, DomainExists, HypervisorError) as error:
            self._refuse_just_taken(machine, error)
            raise OperationError(f"Restore failed: {of_disk(self._hypervisor, error, machine.disks).line()}") from None
        except ConnectionLost:
            self._settle_loss(machine.name, uuid, path)
            raise
        except BaseException as error:
            if not isinstance(error, XmError):  # Ctrl-C, noticed when it was there already
                self._end_paused(uuid, path)
            raise

    def _restored(self, machine: Machine, found: save_file.SaveFile, how: Restoring) -> DomainInfo:
        uuid, path = machine.uuid or "", how.path
        saved = saved_disks.read(found.forms)
        try:
            info = self._paused(machine, found, path, self._ready(machine, found, saved, how))
        except OSError as error:
            raise OperationError(f"can't read guest state file {path}: {error.strerror}") from None
        try:
            disk_needs.settle(uuid)
            recorded.renew(self._hypervisor, info)
            connecting.connect(self._hypervisor, info)
            if how.attend is not None:
                how.attend(info)
            if not how.paused and (found.running if saved.running is None else saved.running):
                self._hypervisor.unpause(uuid)
            return self._hypervisor.find(uuid)
        except ConnectionLost:
            return self._settle_loss(machine.name, uuid, path)
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

    def _settle_loss(self, name: str, uuid: str, path: str) -> DomainInfo:
        """After the connection was lost: the domain, if it runs. Otherwise ConnectionLost is raised, and it is ended where
        the file at PATH is still there."""
        deadline = time.monotonic() + BACK
        what, hint = f"'{name}' may be there, running or paused", "see 'xm list' when libvirtd is back, and then try again"
        while time.monotonic() < deadline:
            try:
                self._toolstack.close()
                info = self._hypervisor.find(uuid)
                if info.state in RUNS:
                    return info
                hint = "see the log of libvirtd, and try again"
                ended, what = self._ended(uuid, path), "nothing was restored"
                if not ended:
                    what = f"'{info.name}' is restored, and paused; xm unpause {info.name} lets it run"
                break
            except DomainBusy:
                what, hint = f"'{name}' is there, and paused", stuck(name)
                break
            except HypervisorUnreachable:
                time.sleep(0.1)
            except DomainNotFound:
                what, hint = "nothing was restored", "see the log of libvirtd, and try again"
                break
            except HypervisorError as error:
                what, hint = f"'{name}' is there, and cannot be ended: {error.message}", "see 'xm list'"
                time.sleep(0.1)
        raise ConnectionLost(f"Xend has probably crashed!  The connection was lost; {what}", hint=hint)


#: The reason for which a guest is never moved, as its configuration has it.
_STAYS = "its configuration says nomigrate=1"


def _must_stay(form: object) -> bool:
    """Whether the configuration of a domain, in xend's FORM of it, forbids that it is moved: then it is not restored."""
    image = sxp.value(form, "image") if isinstance(form, list) else None
    return isinstance(image, list) and str(sxp.value(image, "nomigrate", "0")) not in ("0", "")


def _damaged(path: str) -> OperationError:
    return OperationError(
        f"{path} is damaged: by its checksum, the memory in it is not what was written",
        hint="copy it anew from where it is whole",
    )


def _left_paused(name: str, error: XmError) -> OperationError:
    return OperationError(f"'{name}' is restored, and paused: {error.line()}", hint=f"try: xm unpause {name}")


def _refuse_unreadable(config: str) -> None:
    try:
        forms = sxp.parse(config)
    except ConfigError:
        raise OperationError("not a valid guest state file: config parse") from None
    if len(forms) > 1:
        raise OperationError("not a valid guest state file: config parse")
    if forms and _must_stay(forms[0]):
        raise OperationError("cannot restore non-migratable domain", hint=_STAYS)
