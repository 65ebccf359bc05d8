"""One save that has begun: the hypervisor writes the guest's memory, then the file gets our header and its name.

It goes on beside other work, can be given up at any time, and loses no guest: see ``saving``.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import time
from typing import TYPE_CHECKING

from xmcompat import connecting, disk_needs, disk_secrets, guest_kernels, vif_traces
from xmcompat.backends import domain_xml
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.config import sxp
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

if TYPE_CHECKING:
    from xmcompat.toolstack import Toolstack

RUNS = (DomainState.RUNNING, DomainState.BLOCKED)
#: The signals that end a program from outside.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: The end of what libvirt says when a file cannot be written.
_REASON = re.compile(
    r"(No space left on device|Disk quota exceeded|File too large|Input/output error|Read-only file system|"
    r"Permission denied)$"
)


class PendingSave:
    """A save that has begun: wait until it has ``ended``, then ``finish`` it; or ``abandon`` it at any time."""

    def __init__(self, toolstack: Toolstack, info: DomainInfo, path: str, *, running: bool) -> None:
        """Begins it. Raises OperationError for a PATH that cannot be written, DomainNotFound."""
        self.info = info
        self.path = path
        self._toolstack = toolstack
        self._running = running
        self._over = False
        self._config = sxp.pretty(describe(toolstack.hypervisor, info, toolstack.record(info)), 80)
        self._back_ends = () if running else vif_traces.leaving(toolstack.hypervisor, info)
        held = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # a file without a save, or the reverse, must not be left
        try:
            self._begin()
        except BaseException:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
            raise
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)  # raises what has come meanwhile
        except BaseException:
            self.abandon()
            raise

    def _begin(self) -> None:
        self._made = _unfinished(self.path)
        try:
            disk_needs.remember(self._toolstack.hypervisor, self.info.uuid)
            disk_secrets.saved(self._toolstack.hypervisor, self.info.uuid, self.path)
            self._job = self._toolstack.hypervisor.begin_save(self.info.uuid, self._made, running=self._running)
        except BaseException:
            save_file.remove(self._made)
            raise

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
            raise _unwritten(self.path, error) from None
        try:
            save_file.prepend(self._made, self._config)
            save_file.publish(self._made, self.path)
        except OSError as error:
            raise OperationError(f"can't write guest state file {self.path}: {error.strerror}") from None
        self._over = True
        self._sweep()

    def _sweep(self) -> None:
        """Nothing is to be left of one that was known for staying after its end alone, nor of its interfaces."""
        if not self._running:
            vif_traces.gone(self._back_ends, self.info)
            disk_needs.gone(self.info.uuid)
            guest_kernels.gone(self._toolstack.hypervisor, self.info.uuid)
            try:
                self._toolstack.hypervisor.sweep(self.info.uuid)
            except XmError:
                return  # the next create does it

    def abandon(self) -> None:
        """Have the guest run on and no file left. Silent where the save is finished, or was abandoned before.

        Raises OperationError that names the file where only that has the guest's memory now.
        """
        if self._over or not os.path.exists(self._made):
            return
        self._over = True
        saved = self._saved_all_the_same()
        if saved and not self._running:
            self._start_from_file()
        save_file.remove(self._made)

    def _saved_all_the_same(self) -> bool:
        try:
            self._job.abort()
        except HypervisorError as error:
            raise OperationError(f"{error.line()}; '{self.info.name}' is being saved to {self._made}") from None
        except ConnectionLost:
            pass  # its result tells
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
        return (now is None or not now.started) and save_file.is_whole_image(self._made)

    def _start_from_file(self) -> None:
        try:
            found = save_file.read(self._made)
            disks = disk_needs.ready_again(
                self._toolstack.hypervisor, domain_xml.parse(found.xml), check=False, from_image=True
            )
            xml = disk_needs.renewed(found.xml, disks)
            info = self._toolstack.hypervisor.restore(self.info.uuid, self._made, found.offset, xml)
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
        if self._lost_after_saving():
            return
        raise ConnectionLost(
            f"Xend has probably crashed!  The connection was lost; '{self.info.name}' was not saved",
            hint="see the log of libvirtd, and try again",
        )

    def _look_again(self) -> DomainInfo | None:
        """The domain as the libvirt that has come back knows it, None where it does not; waits until it runs again."""
        deadline = time.monotonic() + BACK
        while True:
            try:
                self._toolstack.close()
                info = self._toolstack.hypervisor.find(self.info.uuid)
            except DomainNotFound:
                return None
            except HypervisorUnreachable:
                info = None
            if info is not None and (not info.started or info.state in (*RUNS, self.info.state)):
                return info
            if time.monotonic() > deadline:
                self._over = True
                state = "is paused" if info is not None else "cannot be asked for"
                raise OperationError(
                    f"The connection was lost while '{self.info.name}' was saved, and it {state}; "
                    f"what was written is in {self._made}", hint="see xm list when libvirtd is back",
                )  # fmt: skip
            time.sleep(0.1)


def _unfinished(path: str) -> str:
    """The file that is to become PATH. Raises OperationError."""
    why = None
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            why = "Is a directory" if stat.S_ISDIR(mode) else "it is no regular file"
    except FileNotFoundError:
        pass
    except OSError as error:
        why = error.strerror
    if why is None:
        try:
            return save_file.unfinished(path)
        except OSError as error:
            why = error.strerror
    raise OperationError(f"can't write guest state file {path}: {why}")


def _unwritten(path: str, error: HypervisorError) -> OperationError:
    """What libvirt said of a save that failed, in xend's words where it is about the file."""
    found = _REASON.search(error.line())
    if found:
        return OperationError(f"can't write guest state file {path}: {found[1]}")
    return OperationError(error.line())
