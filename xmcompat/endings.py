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

#: Seconds that ``reboot -w`` grants a guest that has left the list: with xm, as many looks.
REBOOT_PATIENCE = 30
#: Seconds between two looks whether the disks of a guest that stands still are copied.
_LOOK = 0.1


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
                disk_needs.gone(self.hypervisor, info.uuid)
                disk_secrets.gone(self.hypervisor, info.uuid)
                guest_kernels.gone(self.hypervisor, info.uuid)
        except DomainNotFound:
            if designation.isdecimal():
                raise OperationError("(3, 'No such process')") from None
            raise

    def shutdown(
        self, designation: str, *, reason: str = "poweroff", on_wait: Callable[[DomainInfo], None] | None = None
    ) -> DomainInfo:  # fmt: skip
        """Ask the guest to end (REASON poweroff or halt) or to start anew (reboot). Returns at once, except where it stands
        still for a checkpoint: ON_WAIT is called then, and it is asked when its disks are copied.

        A paused one learns of it when it goes on.
        """
        info = self.find(designation)
        if info.uuid == DOM0_UUID:
            raise OperationError("Domain 0 cannot be shutdown")
        if not info.started:
            raise OperationError("Domain cannot be shutdown")
        self._await_copies(info, on_wait)
        if not self._request(info, reason, designation):
            raise OperationError("Domain cannot be shutdown")
        return info

    def shutdown_all(
        self, reason: str = "poweroff", *, on_wait: Callable[[DomainInfo], None] | None = None
    ) -> list[DomainInfo]:  # fmt: skip
        """The same for every guest that runs, or stands still for a checkpoint; returns those that were there to be asked.
        """
        infos = [info for info in self.domains() if info.uuid != DOM0_UUID and (_is_running(info) or self._stands(info))]
        for info in sorted(infos, key=self._stands):
            self._await_copies(info, on_wait)
            try:
                self._request(info, reason, info.name)
            except DomainNotFound:
                continue  # it has ended by itself
        return infos

    def _stands(self, info: DomainInfo) -> bool:
        """Whether somebody makes a checkpoint of it, for which it stands still: its memory would have what is asked now."""
        from xmcompat import moving

        return moving.stands_still(self.hypervisor.uri, info.uuid)

    def _await_copies(self, info: DomainInfo, on_wait: Callable[[DomainInfo], None] | None) -> None:
        if self._stands(info):
            if on_wait is not None:
                on_wait(info)
            while self._stands(info):
                time.sleep(_LOOK)

    def _request(self, info: DomainInfo, reason: str, designation: str) -> bool:
        if reason != "reboot":
            return self.done(self.hypervisor.shutdown, info, designation)
        if not self._watching:
            self.hypervisor.watch_reboots(self._rebooted.add)
            self._watching = True
        return self.done(self.hypervisor.reboot, info, designation)

    def wait_gone(self, infos: Sequence[DomainInfo], on_gone: Callable[[DomainInfo], None]) -> None:
        """Wait, for ever if need be, until none of them runs; ON_GONE is called as each goes.

        A paused or crashed domain counts as gone, as with xm; but not one whose QEMU still ends, and may still write, nor
        one that stands still for a checkpoint, and goes on.
        """
        waiting = list(infos)
        while waiting:
            there = {info.name for info in self.hypervisor.domains() if self._goes_on(info)}
            for info in [info for info in waiting if info.name not in there]:
                waiting.remove(info)
                on_gone(info)
            if waiting:
                time.sleep(1)
        from xmcompat import disk_needs

        disk_needs.sweep(self.hypervisor)

    def _goes_on(self, info: DomainInfo) -> bool:
        return (
            _is_running(info) or info.state == DomainState.SHUTDOWN
            or (info.state == DomainState.PAUSED and self._stands(info))
        )  # fmt: skip

    def wait_rebooted(
        self, infos: Sequence[DomainInfo], on_done: Callable[[DomainInfo, bool], None]
    ) -> None:
        """Wait until each has rebooted (ON_DONE(info, True)) or has stayed away too long (False)."""
        waiting = {info.uuid: info for info in infos}
        away: dict[str, float] = {}  # since when
        while waiting:
            started = [info for info in self.hypervisor.domains() if info.started and info.state != DomainState.DYING]
            there = {info.uuid: info for info in started}
            looked = time.monotonic()
            for uuid, info in list(waiting.items()):
                now = there.get(uuid)
                if now is not None:
                    away.pop(uuid, None)
                    back = uuid in self._rebooted or now.domid != info.domid
                    over = back and now.state != DomainState.SHUTDOWN  # libvirt tells of a reboot before it runs anew
                else:
                    over = looked - away.setdefault(uuid, looked) >= REBOOT_PATIENCE
                if over:
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
