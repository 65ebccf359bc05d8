"""Starting a guest through libvirt, where libvirt does not say why its QEMU has ended.

A QEMU that refuses an option may end between libvirt's two looks at it. libvirt then tells of its own socket, and the
reason stays in the guest's log. Nothing has been started by then, so the call is made again.
"""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

from xmcompat.errors import HypervisorError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from xmcompat.backends.libvirt_errors import Failure

    T = TypeVar("T")

_NOT_REACHED = "failed to connect to monitor socket: Connection refused"
#: With a reason, they go on.
_ENDED = ("unexpectedly closed the monitor", "process exited while connecting to monitor")
_TRIES = 3


def started(libvirt: Any, start: Callable[[], T]) -> T:
    """What START answers; START is called up to 3 times as long as libvirt does not say why QEMU has ended.

    Raises libvirtError as START does.
    """
    for _ in range(_TRIES - 1):
        try:
            return start()
        except libvirt.libvirtError as error:
            if _NOT_REACHED not in (error.get_error_message() or ""):
                raise
    return start()


def without_reason(failure: Failure) -> HypervisorError | None:
    """The error of a start whose reason libvirt does not tell; None for another one."""
    if not failure.has(_NOT_REACHED) and not failure.line.endswith(_ENDED):
        return None
    return HypervisorError(
        "QEMU has ended while the guest was started, and libvirt does not say why",
        hint="see the guest's log on its host, below /var/log/libvirt/qemu",
    )
