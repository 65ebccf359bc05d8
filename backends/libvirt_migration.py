"""Domains that go to another host. What this takes is loaded by ``libvirt_migration_calls`` when it is needed."""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from xmcompat.backends.libvirt_migration_calls import MigrationCalls
    from xmcompat.backends.libvirt_translated import Translated
    from xmcompat.backends.migrates import MigrationJob
    from xmcompat.backends.migration import MigrationHost, Progress, Transfer


class LibvirtMigration:
    """The part of ``libvirt_kvm.LibvirtKvm`` that these calls are."""

    uri: str
    _host_of_migrations: MigrationHost | None = None

    if TYPE_CHECKING:

        @property
        def _libvirt(self) -> Any: ...

        @property
        def _connection(self) -> Any: ...

        def _open(self) -> Any: ...

        def _translated(self, designation: str = "") -> Translated: ...

    def _migration_calls(self) -> MigrationCalls:
        from xmcompat.backends.libvirt_migration_calls import MigrationCalls

        return MigrationCalls(self._libvirt, self._connection, self._open, self._translated, self.uri)

    def begin_migration(self, uuid: str, transfer: Transfer) -> MigrationJob:
        """Begin to move the domain, from libvirtd to libvirtd: it goes on when this program ends."""
        return self._migration_calls().begin(uuid, transfer)

    def recover_postcopy(self, uuid: str, transfer: Transfer) -> MigrationJob:
        """Take up a post-copy that is stalled here, with the TRANSFER that began it."""
        return self._migration_calls().begin(uuid, transfer, again=True)

    def migration_progress(self, uuid: str) -> Progress | None:
        """Of a transfer from here that is under way; None where there is none."""
        return self._migration_calls().progress(uuid)

    def last_migration(self, uuid: str) -> Progress | None:
        """Of the last transfer of a domain that is here, until libvirtd is started anew; None for none."""
        return self._migration_calls().last(uuid)

    def migration_state(self, uuid: str) -> str:
        """A word of MigrationState. Raises DomainNotFound."""
        return self._migration_calls().state(uuid)

    def to_postcopy(self, uuid: str) -> None:
        """Have the guest run there now. QEMU refuses before the first of its memory has gone over."""
        with self._translated(uuid):
            self._connection.lookupByUUIDString(uuid).migrateStartPostCopy(0)

    def set_max_downtime(self, uuid: str, milliseconds: int) -> None:
        with self._translated(uuid):
            self._connection.lookupByUUIDString(uuid).migrateSetMaxDowntime(milliseconds, 0)

    def set_bandwidth(self, uuid: str, mebibytes: int | None) -> None:
        """MiB/s for memory; None for no limit."""
        self._migration_calls().set_bandwidth(uuid, mebibytes)

    def migratable_xml(self, uuid: str) -> str:
        """The XML of the domain as it runs, passwords included, that another host can start it with."""
        libvirt = self._libvirt
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            return str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE))

    def migration_host(self) -> MigrationHost:
        """This host. Asked once: libvirt counts processors and memory anew each time."""
        if self._host_of_migrations is None:
            self._host_of_migrations = self._migration_calls().host()
        return self._host_of_migrations

    def cpu_refusal(self, xml: str) -> str:
        """Why this host's processor, with its accelerator, cannot be that of the domain XML; "" where it can."""
        return self._migration_calls().cpu_refusal(xml)
