"""One save that has begun: the hypervisor writes the guest's memory, then the file gets our header and its name.

It goes on beside other work, can be given up at any time, and loses no guest: see ``saving``.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from xmcompat import (
    connecting,
    disk_needs,
    disk_secrets,
    guest_kernels,
    moving,
    saved_disks,
    saved_guests,
    vif_traces,
)
from xmcompat.backends import domain_xml
from xmcompat.backends.domain_lock import locked
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.config import sxp
from xmcompat.deferred import undisturbed
from xmcompat.describe import describe
from xmcompat.errors import (
    ConnectionLost,
    DomainEnding,
    DomainNotFound,
    HypervisorError,
    HypervisorUnreachable,
    OperationError,
    XmError,
)
from xmcompat.losses import BACK
from xmcompat.migration import save_file
from xmcompat.migration.checksum import GrowingChecksum
from xmcompat.migration.image_head import IMAGE_HEADER
from xmcompat.save_target import unfinished, unwritten
from xmcompat.saved_disks import SavedDisk, SavedDisks
from xmcompat.standing import Guard, await_given_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xmcompat.toolstack import Toolstack

RUNS = (DomainState.RUNNING, DomainState.BLOCKED)



class PendingSave:
    """A save that has begun: wait until it has ``ended``, then ``finish`` it; or ``abandon`` it at any time."""

    def __init__(
        self, toolstack: Toolstack, info: DomainInfo, path: str, *, running: bool, copies: bool = True
    ) -> None:  # fmt: skip
        """Begins it; where the domain is to run on, its disks are copied with COPIES. Raises OperationError for a PATH that
        cannot be written, or where it is moved already; DomainNotFound."""
        self.info = info
        self.path = path
        self._toolstack = toolstack
        self._running = running
        self._over = False
        self._copy = running and copies
        self._seen: tuple[SavedDisk, ...] = ()
        self._folder, self._copies = "", dict[str, str]()
        self._guard: Guard | None = None
        self._checksum: GrowingChecksum | None = None
        self._back_ends = () if running else vif_traces.leaving(toolstack.hypervisor, info)
        self._moving = ExitStack()
        begun = False
        try:
            with self._devices_kept(), undisturbed():  # a file without a save, or the reverse, must not be left
                self._lock = self._moving.enter_context(moving.held(toolstack.hypervisor.uri, info))
                self._begin()
                begun = True
        except BaseException:
            if begun:
                self.abandon()
            else:
                self._moving.close()
            raise

    @contextmanager
    def _devices_kept(self) -> Iterator[None]:
        """Until it is marked as standing still, nobody changes the devices of a domain whose disks are copied, or has it
        stand still for that. Raises OperationError where somebody does for long."""
        if not self._copy:
            yield
            return
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.info.uuid, os.environ, patience=moving.DEVICES))
            except BlockingIOError:
                raise OperationError(
                    f"the devices of '{self.info.name}' are being changed", hint="try again when that is over"
                ) from None
            yield

    def _begin(self) -> None:
        hypervisor, uuid = self._toolstack.hypervisor, self.info.uuid
        self._config = sxp.pretty(describe(hypervisor, self.info, self._toolstack.record(self.info)), 80)
        self._made = unfinished(self.path)
        try:
            self._checksum = GrowingChecksum(self._made, IMAGE_HEADER)
            disk_needs.remember(hypervisor, uuid)
            self._machine = domain_xml.parse(hypervisor.domain_xml(uuid))
            self._refuse_needed()
            disk_secrets.saved(hypervisor, uuid, self.path, self._made)
            if self._copy and (copied := saved_disks.copied(self._machine)):
                self._have_folder(copied)
            if not self._running:
                saved_guests.note(hypervisor.uri, self.info, self._made)
            self._job = hypervisor.begin_save(
                uuid, self._made, running=self._running, disks=self._copies, moment=self._look_at_disks
            )
        except OSError as error:
            self._forget()
            raise OperationError(f"can't write guest state file {self.path}: {error.strerror}") from None
        except BaseException:
            self._forget()
            raise

    def _refuse_needed(self) -> None:
        """Raise OperationError where the file that is to be replaced is a disk of the domain, or has the memory of another
        one, which is saved. Differs from xm: it wrote over both."""
        why = ""
        if saved_disks.is_disk(self._machine, self.path):
            why = f"it is a disk of '{self.info.name}'"
        elif other := saved_guests.saved_in(self._toolstack.hypervisor.uri, self.path, self.info.uuid):
            why = f"it has the memory of '{other.name}', which is saved"
        if why:
            raise OperationError(f"can't write guest state file {self.path}: {why}", hint="name another file")

    def _have_folder(self, copied: dict[str, str]) -> None:
        """For the copies of disks; and who lets the domain go on, should this process die. Raises OSError."""
        self._folder, files = saved_disks.new_folder(self.path, list(copied.values()))
        self._copies = dict(zip(copied, files, strict=True))
        self._guard = Guard(self._toolstack.hypervisor.uri, self.info.uuid, self._made, self._folder, self._lock)
        if self._lock is not None:
            moving.stand_still(self._lock, True)

    def _look_at_disks(self) -> None:
        """What its disks are like: those that were copied have that of their copies' moment."""
        names = {target: os.path.basename(file) for target, file in self._copies.items()}
        self._seen = saved_disks.seen(self._machine, names)

    def _forget(self) -> None:
        """Leave nothing of what was begun; the domain runs on."""
        if self._checksum is not None:
            self._checksum.stop()
        save_file.remove(self._made)
        saved_disks.remove_folder(self._folder)
        if not self._running:
            saved_guests.forget(self.info.uuid, self._made)
        self._end()

    def _end(self) -> None:
        if self._checksum is not None:
            self._checksum.stop()
        if self._guard is not None:
            self._guard.dismiss()
        self._moving.close()

    def _leave(self) -> None:
        """Nobody knows here whether the guest stands still: have the other process let it go."""
        if self._guard is not None:
            self._guard.leave()
            self._guard = None

    def ended(self, seconds: float) -> bool:
        """Wait up to SECONDS; whether the hypervisor's part is over."""
        return self._job.ended(seconds)

    def finish(self) -> None:
        """Put the file in its place. Raises OperationError, ConnectionLost; then ``abandon`` is to follow."""
        try:
            self._job.result()
        except ConnectionLost:
            self._settle_loss()
        except DomainNotFound:
            raise DomainNotFound(self.info.name) from None
        except DomainEnding:
            raise OperationError("Domain is not running") from None
        except HypervisorError as error:
            raise unwritten(self.path, error) from None
        if self._lock is not None:
            moving.stand_still(self._lock, False)
        try:
            assert self._checksum is not None
            checksum = self._checksum.whole(anew=not save_file.is_streamed(self._made))
            save_file.complete(self._made, self._config, checksum=checksum, forms=saved_disks.written(self._disks()))
            if self._folder:
                save_file.sync_folder(self._folder)
            self._publish()
        except OSError as error:
            raise OperationError(f"can't write guest state file {self.path}: {error.strerror}") from None

    def _publish(self) -> None:
        """From here on the guest is off, and saved, whatever comes: a signal waits. Raises OSError."""
        with undisturbed():
            earlier = _folder_of(self.path)
            if not self._running:
                saved_guests.note(self._toolstack.hypervisor.uri, self.info, self._made, self.path)
            save_file.publish(self._made, self.path)
            self._over = True
            saved_disks.remove_folder(earlier)
            if not self._running:
                saved_guests.settle(self.info.uuid, self.path)
            try:
                self._sweep()  # before anybody may restore it
            finally:
                self._end()

    def _disks(self) -> SavedDisks:
        if not self._running:
            # who plugs an interface in may just have it stand still
            return SavedDisks(saved_disks.seen(self._machine), running=self.info.state in RUNS)
        if self._copies:
            return SavedDisks(self._seen, os.path.basename(self._folder), True, self.info.state in RUNS)
        unknown = tuple(disk._replace(stamp="") for disk in saved_disks.seen(self._machine))
        return SavedDisks(unknown, checkpoint=True)  # it never stood still

    @property
    def uncopied(self) -> tuple[str, ...]:
        """Of a domain that runs on: the disks that it writes and that were not copied."""
        return tuple(disk.vdev for disk in self._disks().disks if not disk.copy) if self._running else ()

    @property
    def folder(self) -> str:
        """Where the copies are, "" where none were made."""
        return self._folder

    def _sweep(self) -> None:
        """Nothing is to be left of one that was known for staying after its end alone, nor of its interfaces."""
        if not self._running:
            vif_traces.gone(self._back_ends, self.info)
            disk_needs.gone(self._toolstack.hypervisor, self.info.uuid)
            guest_kernels.gone(self._toolstack.hypervisor, self.info.uuid)
            try:
                self._toolstack.hypervisor.sweep(self.info.uuid)
            except XmError:
                return  # the next create does it

    def abandon(self) -> None:
        """Have the guest run on and no file left. Silent where the save is finished, or was abandoned before.

        Raises OperationError that names the file where only that has the guest's memory now.
        """
        if self._over:
            return
        self._over = True
        if self._checksum is not None:
            self._checksum.unwanted()
        if not os.path.exists(self._made):  # it has its name already
            self._end()
            return
        try:
            saved = self._saved_all_the_same()
            if saved and not self._running:
                self._start_from_file()
        except BaseException:
            self._leave()
            self._end()  # where it does not run on, its memory is in the file, and that is noted
            raise
        try:
            if self._copies and self.info.state in RUNS:
                self._refuse_paused()
        finally:
            self._forget()

    def _saved_all_the_same(self) -> bool:
        try:
            self._job.abort()
        except HypervisorError as error:
            still = "goes on within a minute" if self._copies else f"is being saved to {self._made}"
            raise OperationError(f"{error.line()}; '{self.info.name}' {still}") from None
        try:
            self._job.result()
        except ConnectionLost:
            return self._lost_after_saving()
        except XmError:
            return False
        return True

    def _lost_after_saving(self) -> bool:
        """After the connection was lost: whether the guest is off, saved. Raises OperationError where nobody can tell."""
        now = self._look_again()
        return (now is None or not now.started) and save_file.may_be_whole(self._made)

    def _start_from_file(self) -> None:
        try:
            found = save_file.read(self._made)
            disks = disk_needs.ready_again(
                self._toolstack.hypervisor, domain_xml.parse(found.xml), check=False, from_image=True
            )
            xml = disk_needs.renewed(found.xml, disks)
            info = self._toolstack.hypervisor.restore(self.info.uuid, self._made, found.spans, xml)
            disk_needs.settle(info.uuid)
            connecting.connect(self._toolstack.hypervisor, info)
            if found.running:
                self._toolstack.hypervisor.unpause(info.uuid)
        except (XmError, OSError) as error:
            told = error.line() if isinstance(error, XmError) else error.strerror
            raise OperationError(
                f"'{self.info.name}' is off and its memory is in {self._made}: it could not be started from there: {told}",
                hint=f"try: xm restore {self._made}",
            ) from None

    def _settle_loss(self) -> None:
        """The connection was lost in the middle: silent where the image is whole and the guest off, which is a success.

        Otherwise raises ConnectionLost, with the guest running on.
        """
        if self._lost_after_saving() and not self._running:
            return
        raise ConnectionLost(
            f"Xend has probably crashed!  The connection was lost; '{self.info.name}' was not saved",
            hint="see the log of libvirtd, and try again",
        )

    def _let_go(self) -> None:
        """It stood still for its memory when the connection was lost, and libvirt may still copy its disks."""
        try:
            await_given_up(self._toolstack.hypervisor, self.info.uuid)
            self._toolstack.hypervisor.unpause(self.info.uuid)
        except XmError:
            return  # the next look tells

    def _refuse_paused(self) -> None:
        """It stood still for its memory. Raises OperationError where it cannot be let go."""
        try:
            paused = self._toolstack.hypervisor.find(self.info.uuid).state == DomainState.PAUSED
            if paused:
                self._let_go()
                paused = self._toolstack.hypervisor.find(self.info.uuid).state == DomainState.PAUSED
        except (DomainNotFound, DomainEnding):
            return
        except XmError:
            self._leave()
            return
        except BaseException:
            self._leave()
            raise
        if paused:
            raise OperationError(
                f"'{self.info.name}' is not saved, and is still paused", hint=f"try: xm unpause {self.info.name}"
            )

    def _look_again(self) -> DomainInfo | None:
        """The domain as the libvirt that has come back knows it, None where it does not; waits until it runs again."""
        deadline = time.monotonic() + BACK
        while True:
            is_late = time.monotonic() > deadline  # the last look comes after it: to let the domain go may take a minute
            try:
                self._toolstack.close()
                info = self._toolstack.hypervisor.find(self.info.uuid)
            except DomainNotFound:
                return None
            except HypervisorUnreachable:
                info = None
            if info is not None and self._copies and info.state == DomainState.PAUSED:
                self._let_go()
            elif info is not None and (not info.started or info.state in (*RUNS, self.info.state)):
                return info
            if is_late:
                self._over = True
                self._leave()
                self._end()
                state = "is paused" if info is not None else "cannot be asked for"
                left = "it goes on once libvirtd answers" if self._copies else f"what was written is in {self._made}"
                raise OperationError(
                    f"The connection was lost while '{self.info.name}' was saved, and it {state}; {left}",
                    hint="see xm list when libvirtd is back",
                )
            time.sleep(0.1)


def _folder_of(path: str) -> str:
    """The folder of copies of the file that was at PATH before, "" where there is none."""
    if not save_file.is_save_file(path):
        return ""
    try:
        return saved_disks.folder_of(saved_disks.read(save_file.read(path).forms), path)
    except XmError:
        return ""
