"""What libvirt knows of the storage beneath disks, and the sizes of those that guests use."""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

from xmcompat.errors import DeviceError, HypervisorError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from xmcompat.backends.hypervisor import DiskUse
    from xmcompat.backends.libvirt_translated import Translated
    from xmcompat.backends.libvirt_wire import Wire

    Answer = TypeVar("Answer")

_NO_POOL = 49


class LibvirtVolumes:
    """The part of ``libvirt_kvm.LibvirtKvm`` that these calls are."""

    if TYPE_CHECKING:

        def _ask(self, question: Callable[[Wire], Answer | None]) -> Answer | None: ...

        @property
        def _libvirt(self) -> Any: ...

        @property
        def _connection(self) -> Any: ...

        def _translated(self, designation: str = "") -> Translated: ...

        def _raise_if_lost(self, error: Any) -> None: ...

    def resize_disk(self, uuid: str, path: str, size: int) -> None:
        """Have QEMU give the disk of the image PATH another size. Raises DeviceError where the domain has no such disk."""
        libvirt = self._libvirt
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            try:
                domain.blockResize(path, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
            except libvirt.libvirtError as error:
                refusal = not_resized(error.get_error_message() or "", path)
                if refusal is None:
                    raise
                raise refusal from None

    def known_disks(self) -> list[DiskUse]:
        """Those of all definitions. One that is forgotten meanwhile has none."""
        from xmcompat.backends import libvirt_wire_all

        found = self._ask(libvirt_wire_all.known_disks)
        if found is not None:
            return found
        from xmcompat.backends.devices_glance import disk_uses

        libvirt = self._libvirt
        uses: list[DiskUse] = []
        with self._translated():
            known = self._connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)
        for domain in known:
            try:
                uses.extend(disk_uses(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)))
            except libvirt.libvirtError as error:
                self._raise_if_lost(error)
        return uses

    def pool_place(self, name: str) -> str | None:
        """Where libvirt's pool of that name is: the path of its folder, or the name of its volume group."""
        libvirt = self._libvirt
        with self._translated():
            try:
                return place_in(self._connection.storagePoolLookupByName(name).XMLDesc(0))
            except libvirt.libvirtError as error:
                if error.get_error_code() == _NO_POOL:
                    return None
                raise


def not_resized(message: str, path: str) -> DeviceError | HypervisorError | None:
    """Why the size of a disk in use could not be changed; None for what may go wrong with any call. Pure."""
    if "invalid path" in message or "invalid disk" in message or "no disk" in message:
        return DeviceError(f"The domain has no disk {path}")
    if any(word in message for word in ("readonly", "read-only", "Permission conflict")):
        return HypervisorError("it only reads this disk, whose size stays as it knows it")
    if "does not support resize" in message or "Cannot grow" in message:
        from xmcompat.backends.libvirt_errors import one_line

        return HypervisorError(f"{path} cannot get another size: {one_line(message)}")
    return None


def place_in(xml: str) -> str | None:
    """The place of the storage pool of XML, None for one of a kind that has none on this host. Pure."""
    from lxml import etree

    root = etree.fromstring(xml)
    kind = root.get("type")
    if kind in ("dir", "fs", "netfs"):
        return root.findtext("target/path")
    return root.findtext("source/name") if kind == "logical" else None
