"""What libvirt keeps of a known domain: its definition, the image that it was suspended to, and our record in it."""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

from xmcompat.backends import libvirt_wire_domain
from xmcompat.backends.libvirt_secrets import LibvirtSecrets
from xmcompat.backends.libvirt_starts import started
from xmcompat.backends.record import METADATA_PREFIX, METADATA_URI
from xmcompat.errors import DomainExists

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from xmcompat.backends.hypervisor import DomainInfo, SaveJob
    from xmcompat.backends.libvirt_save_calls import SaveCalls
    from xmcompat.backends.libvirt_translated import Translated
    from xmcompat.backends.libvirt_wire import Wire
    from xmcompat.errors import XmError

    Answer = TypeVar("Answer")

_OPERATION_INVALID, _NO_METADATA = 55, 80


class LibvirtPersistence(LibvirtSecrets):
    """The part of ``libvirt_kvm.LibvirtKvm`` that these calls are."""

    if TYPE_CHECKING:

        @property
        def _libvirt(self) -> Any: ...

        @property
        def _connection(self) -> Any: ...

        def _translated(self, designation: str = "") -> Translated: ...

        def _ask(self, question: Callable[[Wire], Answer | None]) -> Answer | None: ...

        def _refusal(self, error: Any, xml: str) -> XmError: ...

        def _info_of(self, domain: Any, persistent: bool) -> DomainInfo: ...

        def _save_calls(self) -> SaveCalls: ...

    # -- definitions

    def define(self, xml: str) -> None:
        """Have the domain of XML known; one of its uuid gets this definition, and runs on. Raises DomainExists."""
        try:
            self._connection.defineXML(xml)
        except self._libvirt.libvirtError as error:
            raise self._refusal(error, xml) from None

    def remove(self, uuid: str) -> None:
        """Forget a domain that is off, its NVRAM and TPM with it. libvirt refuses where it has an image."""
        libvirt = self._libvirt
        with self._translated(uuid):
            self._connection.lookupByUUIDString(uuid).undefineFlags(
                libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_TPM
                | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            )  # fmt: skip

    # -- images

    def begin_suspend(self, uuid: str) -> SaveJob:
        """Begin to save a known domain to its managed image, and to end it."""
        return self._save_calls().begun(uuid, lambda domain: domain.managedSave(0))

    def suspended(self) -> set[str]:
        """The uuids of the domains that have an image."""
        found = self._ask(libvirt_wire_domain.with_image)
        if found is not None:
            return found
        with self._translated():
            domains = self._connection.listAllDomains(self._libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)
        return {domain.UUIDString() for domain in domains}

    def image(self, uuid: str) -> str:
        """The XML of the domain that is in the image. Raises HypervisorError for an image that is not whole."""
        libvirt = self._libvirt
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            return str(domain.managedSaveGetXMLDesc(libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE))

    def change_image(self, uuid: str, xml: str) -> None:
        """Have the image say XML of its domain. libvirt refuses what the guest would see."""
        with self._translated(uuid):
            self._connection.lookupByUUIDString(uuid).managedSaveDefineXML(xml, 0)

    def discard_image(self, uuid: str) -> None:
        """Forget its image; silent where there is none."""
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            if domain.hasManagedSaveImage():
                domain.managedSaveRemove()

    def start_known(self, uuid: str) -> DomainInfo:
        """Start it, paused, from its definition; or from its image, which libvirt removes when that has succeeded.

        Raises what ``create`` raises.
        """
        libvirt = self._libvirt
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            xml = domain.XMLDesc(0)
        try:
            started(libvirt, lambda: domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED))
        except libvirt.libvirtError as error:
            if "already running" in (error.get_error_message() or ""):
                raise DomainExists(domain.name(), domain.ID()) from None
            raise self._refusal(error, xml) from None
        with self._translated(uuid):
            return self._info_of(domain, True)

    # -- the record

    def known_metadata(self, uuid: str) -> str | None:
        """The text of our element in the metadata of the definition, None where there is none."""
        libvirt = self._libvirt
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            try:
                kind, flag = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_CONFIG
                return str(domain.metadata(kind, METADATA_URI, flag))
            except libvirt.libvirtError as error:
                if error.get_error_code() not in (_NO_METADATA, _OPERATION_INVALID):
                    raise
                return None

    def set_metadata(self, uuid: str, element: str, *, live: bool = True, known: bool = True) -> None:
        """Put ELEMENT, of no namespace, in the place of our element: of the domain as it runs, and of its definition."""
        libvirt = self._libvirt
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            flags = libvirt.VIR_DOMAIN_AFFECT_LIVE if live and domain.isActive() else 0
            flags |= libvirt.VIR_DOMAIN_AFFECT_CONFIG if known and domain.isPersistent() else 0
            if flags:
                kind = libvirt.VIR_DOMAIN_METADATA_ELEMENT
                domain.setMetadata(kind, element, METADATA_PREFIX, METADATA_URI, flags)
