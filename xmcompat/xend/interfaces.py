"""The host's ends of guests' interfaces while xend runs: those of guests that others than xm start, and what ends leave.

``virsh start``, libvirt's own autostart, and a guest that comes from another host know nothing of what its configuration
says of its interfaces: they are set up as soon as it runs. A guest that ends by itself has nobody else to tidy up after it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from xmcompat import connecting, vif_steps
from xmcompat.backends.domain_lock import locked
from xmcompat.backends.hypervisor import DomainInfo, DomainState, GuestEvent, Hypervisor
from xmcompat.errors import DomainEnding, DomainNotFound, HypervisorUnreachable, XmError
from xmcompat.toolstack import Toolstack
from xmcompat.vifs import BackEnd

Log = Callable[[str, str], None]

_RUNS = (DomainState.RUNNING, DomainState.BLOCKED)


class Interfaces:
    """LOG is as for the keeper. Errors about one guest are logged; those of the connection are raised."""

    def __init__(self, toolstack: Toolstack, log: Log) -> None:
        self._toolstack = toolstack
        self._log = log
        self._scripted: dict[str, tuple[DomainInfo, tuple[BackEnd, ...]]] = {}

    @property
    def _hypervisor(self) -> Hypervisor:
        return self._toolstack.hypervisor

    def catch_up(self) -> None:
        """See to all guests that run, and to what others have left."""
        if not connecting.is_ours(self._hypervisor):
            return
        vif_steps.tidy()
        for info in self._hypervisor.domains():
            if info.started:
                self._see_to(info.uuid)

    def on_event(self, event: GuestEvent) -> None:
        """What libvirt tells of a guest that runs, or has gone."""
        if not connecting.is_ours(self._hypervisor):
            return
        if event.kind == "runs":
            self._see_to(event.uuid)
        elif event.kind == "gone":
            info, back_ends = self._scripted.pop(event.uuid, (None, ()))
            if info is not None and event.by_guest:  # who ends it from outside sees to its scripts himself
                connecting.gone(back_ends, info)
            vif_steps.tidy()

    def _see_to(self, uuid: str) -> None:
        """One that is paused is another's, who sets it up and lets it go: then libvirt tells again."""
        try:
            info = self._hypervisor.find(uuid)
            if info.state not in _RUNS:
                return
            with locked(uuid, os.environ):
                numbers = connecting.repair(self._hypervisor, info)
        except (DomainNotFound, DomainEnding):
            return
        except HypervisorUnreachable:
            raise
        except XmError as error:
            self._log("ERROR", f"Domain {uuid}: {error.line()}")
            return
        if numbers:
            self._log("INFO", f"Domain {info.name} ({info.domid}): vif {', '.join(map(str, numbers))} set up.")
        self._remember(info)

    def _remember(self, info: DomainInfo) -> None:
        """What scripts are to be told when it has gone, and nobody can be asked for its configuration any more."""
        with suppress(DomainNotFound, DomainEnding):
            scripted = tuple(one for one in connecting.back_ends(self._hypervisor, info) if one.script is not None)
            if scripted:
                self._scripted[info.uuid] = (info, scripted)
