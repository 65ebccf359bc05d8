"""How guests are asked to end or to start anew, and how it is waited for: a part of the toolstack.

On the path of ``xm list``, which loads the toolstack: only what is cheap is imported.
"""

from __future__ import annotations

import time

from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.errors import DomainNotFound, OperationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xmcompat.backends.hypervisor import Hypervisor

DOM0_UUID = "00000000-0000-0000-0000-000000000000"

#: Polls of one second that ``reboot -w`` grants a guest that has left the list.
REBOOT_PATIENCE = 30


class Endings:
    """The part of ``toolstack.Toolstack`` that these operations are."""

    def __init__(self) -> None:
        self._rebooted: set[str] = set()
        self._watching = False

    if TYPE_CHECKING:

        @property
        def hypervisor(self) -> Hypervisor: ...

        def domains(self, designations: Sequence[str] = ()) -> list[DomainInfo]: ...

        def find(self, designation: str) -> DomainInfo: ...

        def close(self) -> None: ...

        def done(self, call: Callable[[str], None], info: DomainInfo, designation: str) -> bool: ...

    def _connected_anew(self) -> Hypervisor:
        """A new connection in place of the one that is there. Raises HypervisorUnreachable."""
        self.close()
        return self.hypervisor

    def destroy(self, designation: str) -> None:
        """End it now; silent where it is known and already off."""
        try:
            info = self.find(designation)
            refuse_domain0(info, designation, "destroy")
            if info.domid is not None:
                from xmcompat import disk_needs, disk_secrets, guest_kernels, vif_traces

                back_ends = vif_traces.leaving(self.hypervisor, info)
                self.done(self.hypervisor.destroy, info, designation)
                vif_traces.gone(back_ends, info)
                disk_needs.gone(info.uuid)
                disk_secrets.gone(self.hypervisor, info.uuid)
                guest_kernels.gone(self.hypervisor, info.uuid)
        except DomainNotFound:
            if designation.isdecimal():
                raise OperationError("(3, 'No such process')") from None
            raise

    def shutdown(self, designation: str, *, reason: str = "poweroff") -> DomainInfo:
        """Ask the guest to end (REASON poweroff or halt) or to start anew (reboot). Returns at once.

        A paused one learns of it when it goes on.
        """
        info = self.find(designation)
        if info.uuid == DOM0_UUID:
            raise OperationError("Domain 0 cannot be shutdown")
        if not info.started or not self._request(info, reason, designation):
            raise OperationError("Domain cannot be shutdown")
        return info

    def shutdown_all(self, reason: str = "poweroff") -> list[DomainInfo]:
        """The same for every running guest; returns those that were there to be asked."""
        running = [info for info in self.domains() if _is_running(info) and info.uuid != DOM0_UUID]
        for info in running:
            try:
                self._request(info, reason, info.name)
            except DomainNotFound:
                continue  # it has ended by itself
        return running

    def _request(self, info: DomainInfo, reason: str, designation: str) -> bool:
        if reason != "reboot":
            return self.done(self.hypervisor.shutdown, info, designation)
        if not self._watching:
            self.hypervisor.watch_reboots(self._rebooted.add)
            self._watching = True
        return self.done(self.hypervisor.reboot, info, designation)

    def wait_gone(self, infos: Sequence[DomainInfo], on_gone: Callable[[DomainInfo], None]) -> None:
        """Wait, for ever if need be, until none of them runs; ON_GONE is called as each goes.

        A paused or crashed domain counts as gone, as with xm.
        """
        waiting = list(infos)
        while waiting:
            running = {info.name for info in self.hypervisor.domains() if _is_running(info)}
            for info in [info for info in waiting if info.name not in running]:
                waiting.remove(info)
                on_gone(info)
            if waiting:
                time.sleep(1)
        from xmcompat import disk_needs

        disk_needs.sweep(self.hypervisor)

    def wait_rebooted(
        self, infos: Sequence[DomainInfo], on_done: Callable[[DomainInfo, bool], None]
    ) -> None:
        """Wait until each has rebooted (ON_DONE(info, True)) or has stayed away too long (False)."""
        waiting = {info.uuid: info for info in infos}
        absences = dict.fromkeys(waiting, 0)
        while waiting:
            started = [info for info in self.hypervisor.domains() if info.started and info.state != DomainState.DYING]
            there = {info.uuid: info for info in started}
            for uuid, info in list(waiting.items()):
                now = there.get(uuid)
                absences[uuid] += now is None
                back = uuid in self._rebooted or (now is not None and now.domid != info.domid)
                if (now is not None and back) or absences[uuid] > REBOOT_PATIENCE:
                    del waiting[uuid]
                    on_done(info, now is not None)
            if waiting:
                self.hypervisor.wait_event(1.0)


def _is_running(info: DomainInfo) -> bool:
    return info.state in (DomainState.RUNNING, DomainState.BLOCKED)


def refuse_domain0(info: DomainInfo, designation: str, verb: str) -> None:
    """Raise OperationError where the domain of INFO is this host itself."""
    if info.uuid == DOM0_UUID:
        raise OperationError(f"Cannot {verb} privileged domain {designation}")
