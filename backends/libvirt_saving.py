"""A guest's memory into a file and back. What this takes is loaded by ``libvirt_save_calls`` when it is needed."""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

from xmcompat.backends.libvirt_wire_domain import library_version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypeVar

    from xmcompat.backends.hypervisor import DomainInfo, SaveJob
    from xmcompat.backends.image_feed import Along
    from xmcompat.backends.libvirt_save_calls import SaveCalls
    from xmcompat.backends.libvirt_translated import Translated
    from xmcompat.backends.libvirt_wire import Wire

    Answer = TypeVar("Answer")


class LibvirtSaving:
    """The part of ``libvirt_kvm.LibvirtKvm`` that these calls are."""

    if TYPE_CHECKING:

        @property
        def _libvirt(self) -> Any: ...

        @property
        def _connection(self) -> Any: ...

        _opened: Any

        def _open(self) -> Any: ...

        def _translated(self, designation: str = "") -> Translated: ...

        def _ask(self, question: Callable[[Wire], Answer | None]) -> Answer | None: ...

        def find(self, designation: str) -> DomainInfo: ...

    def _save_calls(self) -> SaveCalls:
        from xmcompat.backends.libvirt_save_calls import SaveCalls

        return SaveCalls(self._libvirt, lambda: self._connection, self._open, self._translated, self._version, self._keep)

    def begin_save(
        self, uuid: str, path: str, *, running: bool = False, disks: Mapping[str, str] | None = None,
        moment: Callable[[], None] = lambda: None,
    ) -> SaveJob:  # fmt: skip
        """Begin to save the domain to the file PATH, which is there, and to end it; with RUNNING it runs on, and DISKS (new
        files, by target) become copies of its disks of that MOMENT."""
        return self._save_calls().begin(uuid, path, running=running, disks=disks, moment=moment)

    def give_up_save(self, uuid: str) -> bool:
        """Have a save end whose process has ended; whether there is none (any more). To be repeated until there is none.

        Raises DomainNotFound, HypervisorError, HypervisorUnreachable.
        """
        calls = self._save_calls()
        calls.give_up(uuid)
        return calls.is_idle(uuid)

    def restore(
        self, uuid: str, path: str, spans: Sequence[tuple[int, int]], xml: str = "", along: Along | None = None
    ) -> DomainInfo:  # fmt: skip
        """Start the domain, paused, from its image in SPANS of the file PATH, as XML says where it is told. ALONG reads the
        image along.

        On any error, and on Ctrl-C, it is not there. Raises what ``create`` raises, and OSError.
        """
        self._save_calls().restore(uuid, path, spans, xml, along)
        return self.find(uuid)

    def _keep(self, connection: Any) -> bool:
        """Whether CONNECTION is ours from now on: there was none."""
        if self._opened is not None:
            return False
        self._opened = connection
        return True

    def _version(self) -> int:
        told = self._ask(library_version)
        if told is not None:
            return told
        with self._translated():
            return int(self._connection.getLibVersion())
