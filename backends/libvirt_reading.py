"""A connection for verbs that only ask: what goes over the wire, without loading all else that libvirt can do.

Loading the rest of ``libvirt_kvm`` took as long as asking twenty guests for their records.
"""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

from xmcompat.backends.libvirt_queries import LibvirtQueries
from xmcompat.backends.libvirt_tuning import LibvirtTuning
from xmcompat.backends.libvirt_wire import NotAsExpected, open_wire
from xmcompat.backends.settings import hypervisor_uri

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from xmcompat.backends.hypervisor import Hypervisor
    from xmcompat.backends.libvirt_wire import Wire
    from xmcompat.errors import XmError

    Answer = TypeVar("Answer")


def connect(uri: str | None = None) -> Hypervisor:
    """As ``libvirt_kvm.connect``; the rest of it is loaded when it is wanted."""
    reading: Any = LibvirtReading(hypervisor_uri(uri))
    hypervisor: Hypervisor = reading
    return hypervisor


class LibvirtReading(LibvirtQueries, LibvirtTuning):
    """One connection to libvirt. It becomes a ``libvirt_kvm.LibvirtKvm`` as soon as it is asked for more than it has."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._loop: Any = None
        self._watching: Any = None
        self._consoles: list[Any] = []
        self._reboot_watchers: list[Callable[[str], None]] = []
        self._module: Any = None
        self._opened: Any = None
        self._wire = open_wire(uri)
        if self._wire is None:
            self._opened = self._open()

    if TYPE_CHECKING:

        def _open(self) -> Any: ...

        def _lost(self) -> XmError: ...

    else:

        def __getattr__(self, name: str) -> Any:
            from xmcompat.backends.libvirt_kvm import LibvirtKvm

            if isinstance(self, LibvirtKvm) or name.startswith("__"):
                raise AttributeError(f"{type(self).__name__} has no {name}")
            self.__class__ = LibvirtKvm
            return getattr(self, name)

    def _ask(self, question: Callable[[Wire], Answer | None]) -> Answer | None:
        """The answer to QUESTION over the wire; None where only libvirt can give it, or say what is wrong."""
        if self._wire is None:
            return None
        try:
            return question(self._wire)
        except OSError:
            raise self._lost() from None
        except NotAsExpected:
            self._close_wire()
            return None
        except BaseException as failure:
            from xmcompat.errors import XmError

            if not isinstance(failure, XmError):  # a signal, perhaps in the middle of a message: libvirt takes over
                wire, self._wire = self._wire, None
                wire.drop()
            raise

    def close(self) -> None:
        """Close the connection. May be repeated."""
        self._close_wire()

    def _close_wire(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()
