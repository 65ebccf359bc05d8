"""A guest's memory into a file and back. What this takes is loaded by ``libvirt_save_calls`` when it is needed."""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from xmcompat.backends.hypervisor import DomainInfo, SaveJob
    from xmcompat.backends.libvirt_errors import Translated
    from xmcompat.backends.libvirt_save_calls import SaveCalls


class LibvirtSaving:
    """The part of ``libvirt_kvm.LibvirtKvm`` that these calls are."""

    if TYPE_CHECKING:

        @property
        def _libvirt(self) -> Any: ...

        @property
        def _connection(self) -> Any: ...

        def _open(self) -> Any: ...

        def _translated(self, designation: str = "") -> Translated: ...

        def _info_of(self, domain: Any, persistent: bool) -> DomainInfo: ...

    def _save_calls(self) -> SaveCalls:
        from xmcompat.backends.libvirt_save_calls import SaveCalls

        return SaveCalls(self._libvirt, self._connection, self._open, self._translated, self._info_of)

    def begin_save(
        self, uuid: str, path: str, *, running: bool = False, disks: Mapping[str, str] | None = None,
        moment: Callable[[], None] = lambda: None,
    ) -> SaveJob:  # fmt: skip
        """Begin to save the domain to the file PATH, which is there, and to end it; with RUNNING it runs on, and DISKS (new
        files, by target) become copies of its disks of that MOMENT."""
        return self._save_calls().begin(uuid, path, running=running, disks=disks, moment=moment)

    def give_up_save(self, uuid: str) -> None:
        """Have a save end whose process has ended; silent where there is none."""
        self._save_calls().give_up(uuid)

    def restore(self, uuid: str, path: str, spans: Sequence[tuple[int, int]], xml: str = "") -> DomainInfo:
        """Start the domain, paused, from its image in SPANS of the file PATH, as XML says where it is told.

        On any error, and on Ctrl-C, it is not there. Raises what ``create`` raises, and OSError.
        """
        return self._save_calls().restore(uuid, path, spans, xml)
