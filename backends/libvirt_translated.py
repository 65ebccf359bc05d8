"""libvirt's errors turned into ours, where there are any: what does that is loaded for an error alone."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from xmcompat.backends.libvirt_errors import LibvirtError


class Translated:
    """A context that turns libvirt's errors of a call about the domain DESIGNATION into ours."""

    def __init__(self, error: type[Exception], uri: str, designation: str) -> None:
        self._error = error
        self._uri = uri
        self._designation = designation

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if isinstance(error, self._error):
            from xmcompat.backends.libvirt_errors import failure_of, refused

            known: LibvirtError = error  # type: ignore[assignment]
            raise refused(failure_of(known), self._uri, self._designation) from None
