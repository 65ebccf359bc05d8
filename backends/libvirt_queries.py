"""What is asked of libvirt: the domains, one of them, its XML and metadata, and the host."""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

from xmcompat.backends import libvirt_wire_domain
from xmcompat.backends.hypervisor import DomainInfo, HostInfo
from xmcompat.backends.libvirt_wire import LIST_TRANSIENT, NO_DOMAIN, STATES, unanswered
from xmcompat.backends.record import METADATA_URI
from xmcompat.backends.settings import is_local
from xmcompat.errors import DomainEnding, DomainNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    from xmcompat.backends.hypervisor import DiskUse
    from xmcompat.backends.libvirt_errors import Failure
    from xmcompat.backends.libvirt_translated import Translated
    from xmcompat.backends.libvirt_wire import Wire

    Answer = TypeVar("Answer")

XML_SECURE = 1
_NO_ID = 2**32 - 1
_LARGEST_ID = 2**31 - 1
_INVALID_ARG, _NO_METADATA = 8, 80


class LibvirtQueries:
    """The part of ``libvirt_kvm.LibvirtKvm`` that these calls are. What the wire can tell is asked over it."""

    uri: str

    if TYPE_CHECKING:

        @property
        def _libvirt(self) -> Any: ...

        @property
        def _connection(self) -> Any: ...

        def _translated(self, designation: str = "") -> Translated: ...

        def _raise_if_lost(self, error: Any) -> None: ...

        def _ask(self, question: Callable[[Wire], Answer | None]) -> Answer | None: ...

        def _as_shown(self, domain: Any, info: DomainInfo) -> DomainInfo | None: ...

        def _kept_with_id(self, designation: str) -> Any: ...

    def domains(self) -> list[DomainInfo]:
        """Two lists (the second tells which of the running ones are transient) and one call a domain.

        This is cheaper than the bulk statistics, which ask cgroups and monitors.
        """
        known = self._ask(lambda wire: wire.domains())
        if known is not None:
            return known
        connection = self._connection
        with self._translated():
            found = connection.listAllDomains()
            transient = {domain.UUID() for domain in connection.listAllDomains(LIST_TRANSIENT)}
        infos = (self._listed(domain, domain.UUID() not in transient) for domain in found)
        return [info for info in infos if info is not None]

    def _listed(self, domain: Any, persistent: bool) -> DomainInfo | None:
        """None for a domain that has gone meanwhile; one that does not answer is shown without numbers."""
        try:
            return self._as_shown(domain, domain_info(domain, persistent))
        except self._libvirt.libvirtError as error:
            self._raise_if_lost(error)
            if error.get_error_code() == NO_DOMAIN:
                return None
            return unanswered(domid_of(domain), domain.name(), domain.UUIDString(), persistent)

    def find(self, designation: str) -> DomainInfo:
        """By name, else by id of one that is there, else by uuid. Raises DomainNotFound.

        Source: xm's rules for <Domain>, Xen 4.1: a name hides an id, and nothing is matched by prefix.
        """
        found = self._ask(lambda wire: (libvirt_wire_domain.find(wire, designation),))
        if found is not None:
            if found[0] is not None and found[0].domid is not None:
                return found[0]
            if found[0] is None and not designation.isdigit():
                raise DomainNotFound(designation)
        with self._translated(designation):  # one that is off may be kept, with its id
            domain = self._lookup(designation)
            info = self._as_shown(domain, domain_info(domain, bool(domain.isPersistent())))
        if info is None:
            raise DomainNotFound(designation)
        return info

    def _lookup(self, designation: str) -> Any:
        connection = self._connection
        lookups: list[Callable[[], Any]] = [lambda: connection.lookupByName(designation)]
        if libvirt_wire_domain.is_number(designation) and int(designation) <= _LARGEST_ID:
            lookups.append(lambda: connection.lookupByID(int(designation)))
        if len(designation) == 36 and designation == designation.lower():
            lookups.append(lambda: connection.lookupByUUIDString(designation))
        for lookup in lookups:
            try:
                return lookup()
            except ValueError:
                break  # a NUL, or bytes that are no text: no domain is called that
            except self._libvirt.libvirtError as error:
                if error.get_error_code() not in (NO_DOMAIN, _INVALID_ARG):
                    raise
        return self._kept_with_id(designation)

    def domain_xml(self, uuid: str, *, secrets: bool = False) -> str:
        text = self._ask(lambda wire: libvirt_wire_domain.xml(wire, uuid, XML_SECURE if secrets else 0))
        if text is not None:
            return text
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            return str(domain.XMLDesc(XML_SECURE if secrets else 0))

    def metadata(self, uuid: str) -> str | None:
        """The text of our element in the domain's metadata, None where it has none."""
        kept = self._ask(lambda wire: libvirt_wire_domain.metadata(wire, uuid, METADATA_URI))
        if kept is not None:
            return kept[0]
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            try:
                return str(domain.metadata(self._libvirt.VIR_DOMAIN_METADATA_ELEMENT, METADATA_URI))
            except self._libvirt.libvirtError as error:
                if error.get_error_code() == _NO_METADATA:
                    return None
                raise

    def metadata_of(self, infos: Sequence[DomainInfo]) -> dict[str, str | None]:
        """The same of many, by uuid; one that has gone is left out."""
        from xmcompat.backends import libvirt_wire_all

        found = self._ask(lambda wire: libvirt_wire_all.metadata(wire, infos, METADATA_URI)) or {}
        return each_of(infos, found, self.metadata)

    def domains_with_metadata(
        self, meanwhile: Callable[[], None] = lambda: None
    ) -> tuple[list[DomainInfo], dict[str, str | None]]:
        """``domains`` and ``metadata_of`` all. MEANWHILE may be called once, while this waits for answers."""
        from xmcompat.backends import libvirt_wire_all

        told = self._ask(lambda wire: libvirt_wire_all.domains(wire, METADATA_URI, meanwhile))
        infos, found = told or (self.domains(), {})
        return infos, each_of(infos, found, self.metadata)

    def start_time(self, uuid: str) -> float | None:
        """Unix time at which the domain's QEMU started; None where it is on another host, or off."""
        if not is_local(self.uri):
            return None
        from xmcompat.backends.local_host import start_time

        return start_time(("-uuid", uuid))

    def host(self) -> HostInfo:
        """The machine. This one is not asked through libvirt, which would look its name up in the network."""
        if is_local(self.uri):
            from xmcompat.backends.local_host import host_info

            return host_info()
        connection = self._connection
        with self._translated():
            _, mebibytes, cpus, *_ = connection.getInfo()
            memory = connection.getMemoryStats(-1).get("total", mebibytes * 1024)
            times = connection.getCPUStats(-1, 0)
            return HostInfo(connection.getHostname(), memory, cpus, times.get("kernel", 0) + times.get("user", 0))

    def bridges(self) -> list[str]:
        """By libvirt's own account of its host, in the order of ours where it is the same host."""
        from xmcompat.backends.local_host import bridges_here

        here = bridges_here() if is_local(self.uri) else []
        connection = self._connection
        try:
            interfaces = connection.listAllInterfaces(0)
            from xmcompat.backends.libvirt_devices import bridge_name

            there = [name for interface in interfaces if (name := bridge_name(interface.XMLDesc(0)))]
        except self._libvirt.libvirtError as error:
            self._raise_if_lost(error)
            return here
        return here if set(here) == set(there) else there

    def paused_by_error(self, uuid: str) -> bool:
        """Whether it is paused since one of its disks could not be read or written. Raises DomainNotFound."""
        with self._translated(uuid):
            state, reason = self._connection.lookupByUUIDString(uuid).state()
        return bool(state == self._libvirt.VIR_DOMAIN_PAUSED and reason == self._libvirt.VIR_DOMAIN_PAUSED_IOERROR)

    def disk_uses(self) -> list[DiskUse]:
        """The disks of all running domains; one that ends meanwhile has none."""
        from xmcompat.backends import libvirt_wire_all

        found = self._ask(libvirt_wire_all.disk_uses)
        if found is not None:
            return found
        from xmcompat.backends.devices_glance import disk_uses

        uses: list[DiskUse] = []
        with self._translated():
            running = self._connection.listAllDomains(self._libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        for domain in running:
            try:
                with self._translated(domain.name()):
                    xml = domain.XMLDesc(0)
            except DomainNotFound:
                continue
            uses.extend(disk_uses(xml))
        return uses

    def supports_kvm(self) -> bool:
        """Whether the hypervisor offers KVM at all (its capabilities; no guest is tried)."""
        connection = self._connection
        try:
            connection.getDomainCapabilities(None, None, None, "kvm", 0)
        except self._libvirt.libvirtError as error:
            self._raise_if_lost(error)
            return False
        return True


def each_of(infos: Sequence[DomainInfo], found: dict[str, Answer], ask: Callable[[str], Answer]) -> dict[str, Answer]:
    """What was FOUND, by uuid, and what those that are missing say when asked alone; those that have ended are left out."""
    for info in infos:
        if info.uuid not in found:
            try:
                found[info.uuid] = ask(info.uuid)
            except (DomainNotFound, DomainEnding):
                continue
    return found


def failure(error: Any) -> Failure:
    from xmcompat.backends.libvirt_errors import failure_of

    return failure_of(error)


def domid_of(domain: Any) -> int | None:
    number: int = domain.ID()
    return None if number in (-1, _NO_ID) else number


def domain_info(domain: Any, persistent: bool) -> DomainInfo:
    state, max_memory, memory, vcpus, cpu_time = domain.info()
    return DomainInfo(
        domid_of(domain), domain.name(), domain.UUIDString(), STATES.get(state, "blocked"), memory,
        max_memory, vcpus, cpu_time, persistent,
    )  # fmt: skip
