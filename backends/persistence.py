"""The part of the Hypervisor protocol that known domains have: definitions, images beside them, and what is kept in both.

On the path of ``xm list``, as ``hypervisor`` is.
"""

from __future__ import annotations

from xmcompat.backends.disk_secrets import DiskSecrets
from xmcompat.light import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import DomainInfo, SaveJob


class Persistence(DiskSecrets, Protocol):
    """Errors are those of ``Hypervisor``."""

    def define(self, xml: str) -> None:
        """Have the domain of XML known; one of its uuid gets this definition, and runs on. Raises DomainExists."""
        ...

    def remove(self, uuid: str) -> None:
        """Forget a domain that is off, its NVRAM and TPM with it. Raises HypervisorError where it has an image."""
        ...

    def begin_suspend(self, uuid: str) -> SaveJob:
        """Begin to save a known domain to the image beside its definition, and to end it."""
        ...

    def suspended(self) -> set[str]:
        """The uuids of the domains that have such an image."""
        ...

    def image(self, uuid: str) -> str:
        """The XML of the domain that is in the image. Raises HypervisorError for an image that is not whole."""
        ...

    def change_image(self, uuid: str, xml: str) -> None:
        """Have the image say XML of its domain; what the guest sees must be the same."""
        ...

    def discard_image(self, uuid: str) -> None:
        """Forget the image beside its definition; silent where there is none."""
        ...

    def start_known(self, uuid: str) -> DomainInfo:
        """Start it, paused, from its definition; or from its image, which is gone then. Raises what ``create`` raises."""
        ...

    def known_metadata(self, uuid: str) -> str | None:
        """The text of our element in the metadata of the definition, None where there is none."""
        ...

    def set_metadata(self, uuid: str, element: str, *, live: bool = True, known: bool = True) -> None:
        """Put ELEMENT, of no namespace, in the place of our element in the metadata.

        LIVE: of the domain as it runs; KNOWN: of its definition; where they are there.
        """
        ...
