"""The Hypervisor protocol over libvirt: the only file that imports libvirt.

Memory is in KiB and time in nanoseconds on both sides. libvirt itself is loaded at the first call that needs it:
a listing of a local hypervisor goes over ``libvirt_wire``. The same holds for lxml, the event loop and the console.
"""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

import os

from xmcompat.backends import libvirt_lost_errors
from xmcompat.backends.hypervisor import DomainInfo
from xmcompat.backends.libvirt_acts import LibvirtActs
from xmcompat.backends.libvirt_calls import LibvirtEvents
from xmcompat.backends.libvirt_counters import LibvirtCounters
from xmcompat.backends.libvirt_hotplug import LibvirtHotplug
from xmcompat.backends.libvirt_lifecycle import LibvirtLifecycle, press_power_button
from xmcompat.backends.libvirt_migration import LibvirtMigration
from xmcompat.backends.libvirt_persistence import LibvirtPersistence
from xmcompat.backends.libvirt_queries import domain_info, domid_of, failure
from xmcompat.backends.libvirt_reading import LibvirtReading
from xmcompat.backends.libvirt_saving import LibvirtSaving
from xmcompat.backends.libvirt_starts import started
from xmcompat.backends.libvirt_volumes import LibvirtVolumes
from xmcompat.backends.libvirt_wire import NO_DOMAIN, unanswered
from xmcompat.backends.settings import hypervisor_uri
from xmcompat.errors import DomainExists, DomainNotFound, XmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from xmcompat.backends.libvirt_errors import Failure
    from xmcompat.backends.libvirt_translated import Translated

_OPERATION_INVALID = 55


def connect(uri: str | None = None) -> LibvirtKvm:
    """Open the hypervisor at URI, or where environment and settings say (see ``settings.hypervisor_uri``).

    Raises HypervisorUnreachable, and ConfigError for unusable settings.
    """
    return LibvirtKvm(hypervisor_uri(uri))


def _load() -> Any:
    """The libvirt module. Its own messages on stderr are not wanted: errors are raised, and none of them is lost."""
    try:
        import libvirt
    except ImportError as error:
        raise XmError(f"libvirt's Python module cannot be loaded: {error}", hint="install python3-libvirt") from None
    libvirt_lost_errors.keep(libvirt)
    return libvirt


class LibvirtKvm(
    LibvirtReading, LibvirtActs, LibvirtPersistence, LibvirtHotplug, LibvirtLifecycle, LibvirtEvents, LibvirtCounters,
    LibvirtSaving, LibvirtVolumes, LibvirtMigration,
):
    """One connection to libvirt. Not to be shared among threads."""

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

            raise unreachable(failure(error), self.uri, euid=os.geteuid()) from None

    def _info_of(self, domain: Any, persistent: bool) -> DomainInfo:
        return domain_info(domain, persistent)

    def _translated(self, designation: str = "") -> Translated:
        """Turns libvirt's errors of a call about the domain DESIGNATION into ours."""
        from xmcompat.backends.libvirt_translated import Translated

        return Translated(self._libvirt.libvirtError, self.uri, designation)

    def _lost(self) -> XmError:
        from xmcompat.backends.libvirt_errors import lost

        return lost(self.uri)

    def _raise_if_lost(self, error: Any) -> None:
        from xmcompat.backends.libvirt_errors import is_lost

        if is_lost(failure(error)):
            raise self._lost() from None

    # -- life cycle

    def create(self, xml: str, *, paused: bool = False, bound: bool = False) -> DomainInfo:
        """Start a transient domain in one call; one that is BOUND is destroyed when this connection ends.

        Raises DomainExists, DeviceError, HypervisorError. Where the guest has ended before it could be looked
        at, the tuple holds what its start told.
        """
        libvirt, connection = self._libvirt, self._connection
        try:
            flags = libvirt.VIR_DOMAIN_START_PAUSED if paused else 0
            flags |= libvirt.VIR_DOMAIN_START_AUTODESTROY if bound else 0
            domain = started(libvirt, lambda: connection.createXML(xml, flags))
        except libvirt.libvirtError as error:
            raise self._not_created(failure(error), xml) from None
        try:
            return domain_info(domain, False)
        except libvirt.libvirtError:
            return unanswered(domid_of(domain), domain.name(), domain.UUIDString(), False)

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
        """Silent for one that runs already. Raises DiskBusy where a guest of another host has one of its disks."""
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            if domain.state(0)[0] == self._libvirt.VIR_DOMAIN_PAUSED:
                try:
                    domain.resume()
                except self._libvirt.libvirtError as error:
                    told = failure(error)
                    if told.has("domain is already running"):
                        return  # somebody else has let it go meanwhile
                    raise self._leased(told, domain) or error from None

    def _leased(self, failure: Failure, domain: Any) -> XmError | None:
        """The lock manager's refusal, which comes when the guest is to run: None for another one."""
        from xmcompat.backends.libvirt_devices import named_devices
        from xmcompat.backends.libvirt_errors import leased

        return leased(failure, named_devices(domain.XMLDesc(0))[1]) if failure.has("Lockspace resource") else None

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
                    press_power_button(domain)

    def reboot(self, uuid: str) -> None:
        """Press the ACPI power button; libvirt starts the guest anew where it would end. Returns at once."""
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            domain.reboot(self._libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN)

    def destroy(self, uuid: str) -> None:
        """Stop it now. Silent for one that is known and already off."""
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            forgotten = self._forgotten(domain)
            try:
                domain.destroy()
            except self._libvirt.libvirtError as error:
                if error.get_error_code() != (NO_DOMAIN if forgotten else _OPERATION_INVALID):
                    raise

    def close(self) -> None:
        """Close consoles and connection. May be repeated."""
        for console in self._consoles:
            console.close()
        self._consoles.clear()
        self._close_wire()
        self._unwatch_guests()
        self._unwatch_reboots()
        connection, self._opened = self._opened, None
        if connection is not None:
            from contextlib import suppress

            with suppress(self._libvirt.libvirtError):  # it was lost before
                connection.close()
        if self._some_loop is not None:
            self._some_loop.settle()
