"""Whether the domain is there that holds something of the host's storage: asked when it may be given back.

On the path of ``xm destroy``: only what is cheap is imported.
"""

from __future__ import annotations

from xmcompat.backends.hypervisor import DomainState
from xmcompat.errors import DomainNotFound, XmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from xmcompat.backends.devices import Disk
    from xmcompat.backends.hypervisor import Hypervisor

#: As these a domain may be listed that has ended: by its mark.
_ENDED = (DomainState.CRASHED, DomainState.DYING, DomainState.DEAD)


class Living:
    """The domains (uuids) that are there when they are asked for."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor

    def __contains__(self, uuid: object) -> bool:
        return lives(self._hypervisor, str(uuid))


class StartedAgain(Living):
    """The same without those that have ended, and stay listed: of a domain whose end was seen, another process may have
    started it since."""

    def __contains__(self, uuid: object) -> bool:
        return runs(self._hypervisor, str(uuid))


class Having(Living):
    """The domains that have a disk which IS_MEANT, when they are asked for."""

    def __init__(self, hypervisor: Hypervisor, is_meant: Callable[[Disk], bool]) -> None:
        super().__init__(hypervisor)
        self._is_meant = is_meant

    def __contains__(self, uuid: object) -> bool:
        from xmcompat.backends.domain_xml_hotplug import plugged_disks

        try:
            disks = [one.disk for one in plugged_disks(self._hypervisor.domain_xml(str(uuid)))]
        except DomainNotFound:
            return False
        except XmError:
            return True
        return any(map(self._is_meant, disks))


def lives(hypervisor: Hypervisor, uuid: str) -> bool:
    """Whether the domain is there, or may be."""
    try:
        return hypervisor.find(uuid).domid is not None
    except DomainNotFound:
        return False
    except XmError:
        return True


def runs(hypervisor: Hypervisor, uuid: str) -> bool:
    """The same of one that may be listed though it has ended: libvirt says the number of what is there in its XML."""
    try:
        info = hypervisor.find(uuid)
        if info.domid is None or info.state not in _ENDED:
            return info.domid is not None
        return " id=" in hypervisor.domain_xml(uuid).partition(">")[0]
    except DomainNotFound:
        return False
    except XmError:
        return True
