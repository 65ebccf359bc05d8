"""The part of the Hypervisor protocol that keeps passwords of disks: QEMU asks for them by a name, and no XML has them.

On the path of ``xm list``, as ``hypervisor`` is.
"""

from __future__ import annotations

from xmcompat.light import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class DiskSecrets(Protocol):
    """A secret is of a kind, "iscsi" or "ceph", and has a name, by which a disk refers to it. Errors are those of
    ``Hypervisor``."""

    def keep_secret(self, kind: str, name: str, value: bytes, *, lasting: bool, readable: bool = False) -> None:
        """Keep VALUE, in place of what it was; LASTING: beyond the end of the hypervisor's daemon, on its disk, for root
        alone. Only one that is READABLE is ever told again, to others than QEMU."""
        ...

    def secret(self, kind: str, name: str) -> bytes | None:
        """The value, b"" for one that is not told; None where there is no such secret, or it has no value any more."""
        ...

    def secret_names(self, beginning: str) -> Sequence[str]:
        """The names of all secrets that begin so."""
        ...

    def let_secrets_last(self, beginning: str) -> None:
        """Let all whose names begin so last, as ``keep_secret`` says."""
        ...

    def forget_secret(self, name: str) -> None:
        """Silent where there is none."""
        ...
