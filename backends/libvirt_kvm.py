"""The Hypervisor protocol over libvirt: the only file that imports libvirt.

Memory is in KiB and time in nanoseconds on both sides. libvirt itself is loaded at the first call that needs it:
a listing of a local hypervisor goes over ``libvirt_wire``. The same holds for lxml, the event loop and the console.
"""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

import os

from xmcompat.backends.hypervisor import DomainInfo, HostInfo
from xmcompat.backends.libvirt_acts import LibvirtActs
from xmcompat.backends.libvirt_calls import LibvirtEvents
from xmcompat.backends.libvirt_tuning import METADATA_URI, LibvirtTuning
from xmcompat.backends.libvirt_wire import LIST_TRANSIENT, NO_DOMAIN, STATES, NotAsExpected, open_wire, unanswered
from xmcompat.backends.settings import hypervisor_uri, is_local
from xmcompat.errors import DomainExists, DomainNotFound, XmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from xmcompat.backends.hypervisor import DiskUse
    from xmcompat.backends.libvirt_errors import Failure, Translated

_NO_ID = 2**32 - 1
_LARGEST_ID = 2**31 - 1
_INVALID_ARG, _OPERATION_INVALID, _NO_METADATA = 8, 55, 80


def connect(uri: str | None = None) -> LibvirtKvm:
    """Open the hypervisor at URI, or where environment and settings say (see ``settings.hypervisor_uri``).

    Raises HypervisorUnreachable, and ConfigError for unusable settings.
    """
    return LibvirtKvm(hypervisor_uri(uri))


def _load() -> Any:
    """The libvirt module. Its own messages on stderr are not wanted: errors are raised."""
    try:
        import libvirt
    except ImportError as error:
        raise XmError(f"libvirt's Python module cannot be loaded: {error}", hint="install python3-libvirt") from None
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    return libvirt


class LibvirtKvm(LibvirtActs, LibvirtTuning, LibvirtEvents):
    """One connection to libvirt. Not to be shared among threads."""

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

    @property
    def _libvirt(self) -> Any:
        if self._module is None:
            self._module = _load()
        return self._module

    @property
    def _connection(self) -> Any:
        """libvirt's connection, made at first need."""
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> Any:
        libvirt = self._libvirt
        try:
            return libvirt.open(self.uri)
        except libvirt.libvirtError as error:
            from xmcompat.backends.libvirt_errors import unreachable

            raise unreachable(_failure(error), self.uri, euid=os.geteuid()) from None

    def _translated(self, designation: str = "") -> Translated:
        """Turns libvirt's errors of a call about the domain DESIGNATION into ours."""
        from xmcompat.backends.libvirt_errors import Translated

        return Translated(self._libvirt.libvirtError, self.uri, designation)

    def _lost(self) -> XmError:
        from xmcompat.backends.libvirt_errors import lost

        return lost(self.uri)

    def _raise_if_lost(self, error: Any) -> None:
        from xmcompat.backends.libvirt_errors import is_lost

        if is_lost(_failure(error)):
            raise self._lost() from None

    # -- queries

    def domains(self) -> list[DomainInfo]:
        """Two lists (the second tells which of the running ones are transient) and one call a domain.

        This is cheaper than the bulk statistics, which ask cgroups and monitors.
        """
        if self._wire is not None:
            try:
                return self._wire.domains()
            except OSError:
                raise self._lost() from None
            except NotAsExpected:
                self._close_wire()
        connection = self._connection
        with self._translated():
            found = connection.listAllDomains()
            transient = {domain.UUID() for domain in connection.listAllDomains(LIST_TRANSIENT)}
        infos = (self._listed(domain, domain.UUID() not in transient) for domain in found)
        return [info for info in infos if info is not None]

    def _listed(self, domain: Any, persistent: bool) -> DomainInfo | None:
        """None for a domain that has gone meanwhile; one that does not answer is shown without numbers."""
        try:
            return _domain_info(domain, persistent)
        except self._libvirt.libvirtError as error:
            self._raise_if_lost(error)
            if error.get_error_code() == NO_DOMAIN:
                return None
            return unanswered(_domid(domain), domain.name(), domain.UUIDString(), persistent)

    def find(self, designation: str) -> DomainInfo:
        """By name, else by id of one that is there, else by uuid. Raises DomainNotFound.

        Source: xm's rules for <Domain>, Xen 4.1: a name hides an id, and nothing is matched by prefix.
        """
        with self._translated(designation):
            domain = self._lookup(designation)
            return _domain_info(domain, bool(domain.isPersistent()))

    def _lookup(self, designation: str) -> Any:
        connection = self._connection
        lookups: list[Callable[[], Any]] = [lambda: connection.lookupByName(designation)]
        if designation.isascii() and designation.isdigit() and int(designation) <= _LARGEST_ID:
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
        raise DomainNotFound(designation)

    def domain_xml(self, uuid: str, *, secrets: bool = False) -> str:
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            return str(domain.XMLDesc(self._libvirt.VIR_DOMAIN_XML_SECURE if secrets else 0))

    def metadata(self, uuid: str) -> str | None:
        """The text of our element in the domain's metadata, None where it has none."""
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            try:
                return str(domain.metadata(self._libvirt.VIR_DOMAIN_METADATA_ELEMENT, METADATA_URI))
            except self._libvirt.libvirtError as error:
                if error.get_error_code() == _NO_METADATA:
                    return None
                raise

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

    def disk_uses(self) -> list[DiskUse]:
        """The disks of all running domains; one that ends meanwhile has none."""
        from xmcompat.backends.libvirt_devices import disk_uses

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

    # -- life cycle

    def create(self, xml: str, *, paused: bool = False) -> DomainInfo:
        """Start a transient domain in one call.

        Raises DomainExists, DeviceError, HypervisorError. Where the guest has ended before it could be looked
        at, the tuple holds what its start told.
        """
        libvirt, connection = self._libvirt, self._connection
        try:
            domain = connection.createXML(xml, libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)
        except libvirt.libvirtError as error:
            raise self._not_created(_failure(error), xml) from None
        try:
            return _domain_info(domain, False)
        except libvirt.libvirtError:
            return unanswered(_domid(domain), domain.name(), domain.UUIDString(), False)

    def _not_created(self, failure: Failure, xml: str) -> XmError:
        from xmcompat.backends.libvirt_devices import domain_identity, named_devices
        from xmcompat.backends.libvirt_errors import is_taken, not_created

        if not is_taken(failure):
            return not_created(failure, self.uri, *named_devices(xml))
        name, uuid = domain_identity(xml)
        for designation in filter(None, (name, uuid)):
            try:
                holder = self.find(designation)
            except DomainNotFound:
                continue
            return DomainExists(holder.name, holder.domid)
        return DomainExists(name, None)

    def pause(self, uuid: str) -> None:
        """Silent for one that is paused already."""
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            domain.suspend()

    def unpause(self, uuid: str) -> None:
        """Silent for one that runs already."""
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            if domain.state(0)[0] == self._libvirt.VIR_DOMAIN_PAUSED:
                domain.resume()

    def shutdown(self, uuid: str) -> None:
        """Press the ACPI power button. Returns at once.

        A guest that is paused finds it pressed when it goes on. One that sleeps (S3) is ended at once, as with xm.
        """
        libvirt = self._libvirt
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            try:
                domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
            except libvirt.libvirtError as error:
                if error.get_error_code() != _OPERATION_INVALID or not domain.isActive():
                    raise
                if domain.state(0)[0] == libvirt.VIR_DOMAIN_PMSUSPENDED:
                    domain.destroy()
                else:
                    _press_power_button(domain)

    def reboot(self, uuid: str) -> None:
        """Press the ACPI power button; libvirt starts the guest anew where it would end. Returns at once."""
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            domain.reboot(self._libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN)

    def destroy(self, uuid: str) -> None:
        """Stop it now. Silent for one that is known and already off."""
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            try:
                domain.destroy()
            except self._libvirt.libvirtError as error:
                if error.get_error_code() != _OPERATION_INVALID:
                    raise

    def close(self) -> None:
        """Close consoles and connection. May be repeated."""
        for console in self._consoles:
            console.close()
        self._consoles.clear()
        self._close_wire()
        watching, self._watching = self._watching, None
        if watching is not None:
            self._let_go(watching)
        connection, self._opened = self._opened, None
        if connection is not None:
            try:
                connection.close()
            except self._libvirt.libvirtError:
                return  # it was lost before

    def _close_wire(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()


def _press_power_button(domain: Any) -> None:
    """Through QEMU's monitor: libvirt itself presses it for running domains only, and refuses all others."""
    import libvirt_qemu

    libvirt_qemu.qemuMonitorCommand(domain, '{"execute": "system_powerdown"}', 0)


def _failure(error: Any) -> Failure:
    from xmcompat.backends.libvirt_errors import failure_of

    return failure_of(error)


def _domid(domain: Any) -> int | None:
    number: int = domain.ID()
    return None if number in (-1, _NO_ID) else number


def _domain_info(domain: Any, persistent: bool) -> DomainInfo:
    state, max_memory, memory, vcpus, cpu_time = domain.info()
    return DomainInfo(
        _domid(domain), domain.name(), domain.UUIDString(), STATES.get(state, "blocked"), memory,
        max_memory, vcpus, cpu_time, persistent,
    )  # fmt: skip
