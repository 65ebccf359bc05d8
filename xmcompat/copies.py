"""What this host's libvirt says of a domain that moves, in the words in which the two hosts of a migration compare it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from xmcompat.backends.hypervisor import DomainState
from xmcompat.errors import DomainNotFound, HypervisorUnreachable, XmError
from xmcompat.losses import BACK
from xmcompat.migration.facts import Copy, Life

if TYPE_CHECKING:
    from collections.abc import Callable

    from xmcompat.backends.hypervisor import DomainInfo, Hypervisor

_LIVES = {
    DomainState.PAUSED: Life.PAUSED, DomainState.CRASHED: Life.CRASHED, DomainState.DEAD: Life.OFF,
    DomainState.SHUTOFF: Life.OFF, DomainState.SUSPENDED: Life.OFF,
}  # fmt: skip


def copy_of(hypervisor: Hypervisor, uuid: str) -> Copy:
    """The domain UUID as it is here. Raises HypervisorUnreachable, HypervisorError: nobody can tell."""
    try:
        info = hypervisor.find(uuid)
        if info.uuid != uuid:
            raise DomainNotFound(uuid)  # its name reads as this uuid
        moving = hypervisor.migration_state(uuid)
    except DomainNotFound:
        return Copy(life=Life.GONE)
    return Copy(life=_life(info), known=info.persistent, moving=moving)


def _life(info: DomainInfo) -> str:
    return Life.OFF if info.domid is None else _LIVES.get(info.state, Life.RUNNING)


def copy_once_back(again: Callable[[], Hypervisor], uuid: str, *, patience: float = BACK) -> Copy:
    """The same where libvirtd may be away for a while: AGAIN makes a connection. UNKNOWN after PATIENCE seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return copy_of(again(), uuid)
        except HypervisorUnreachable:
            if time.monotonic() > deadline:
                return Copy(life=Life.UNKNOWN)
            time.sleep(0.1)
        except XmError:
            return Copy(life=Life.UNKNOWN)
