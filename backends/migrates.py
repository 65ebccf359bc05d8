"""The part of the Hypervisor protocol by which a domain goes to another host.

On the path of ``xm list``, as ``hypervisor`` is. The values it speaks in are those of ``migration``.
"""

from __future__ import annotations

from xmcompat.light import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xmcompat.backends.migration import MigrationHost, Progress, Transfer


class MigrationJob(Protocol):
    """A transfer under way, which another thread waits for. It goes on when the program ends."""

    def ended(self, seconds: float) -> bool:
        """Wait up to SECONDS; whether it is over."""
        ...

    def result(self) -> None:
        """Once it is over: raises what went wrong. Which copy runs is for both ends to say, not for the error."""
        ...

    def abort(self) -> None:
        """Let the guest run on here, if it is not too late; returns when the transfer is over.

        Raises HypervisorError in post-copy, which cannot be given up; it goes on.
        """
        ...


    def sever(self) -> None:
        """Have QEMU lose its connections to the other host: once that is lost, QEMU may wait for it without an answer to
        anybody, ``abort`` included, while the guest stands still. It gives the transfer up, and the guest goes on here.
        Nothing where QEMU has sent everything.

        Raises HypervisorError in post-copy, and where the kernel does not do it.
        """
        ...


class Migrates(Protocol):
    """Errors are those of ``Hypervisor``."""

    def begin_migration(self, uuid: str, transfer: Transfer) -> MigrationJob:
        """Begin to move it. ``result`` of the job raises MigrationRefused where the other host will not have it,
        MigrationLost where something went away in the middle, MigrationAborted, besides those of ``Hypervisor``."""
        ...

    def migration_progress(self, uuid: str) -> Progress | None:
        """Of a transfer from here that is under way; None where there is none. One that has just gone is DomainNotFound."""
        ...

    def last_migration(self, uuid: str) -> Progress | None:
        """Of the last transfer of a domain that is here, be it to or from here: what it took, COMPLETED. None for none."""
        ...

    def migration_state(self, uuid: str) -> str:
        """A word of MigrationState. Raises DomainNotFound."""
        ...

    def to_postcopy(self, uuid: str) -> None:
        """Have the guest run there now, and fetch what it lacks. Of a transfer with ``postcopy``, once memory is copied:
        HypervisorError before."""
        ...

    def recover_postcopy(self, uuid: str, transfer: Transfer) -> MigrationJob:
        """Take up a post-copy that is STALLED_OUT here, with the TRANSFER that began it."""
        ...

    def set_max_downtime(self, uuid: str, milliseconds: int) -> None:
        """For how long the guest may be paused for the rest of its memory."""
        ...

    def set_bandwidth(self, uuid: str, mebibytes: int | None) -> None:
        """MiB/s for the memory of a transfer that is under way; None for no limit."""
        ...

    def migratable_xml(self, uuid: str) -> str:
        """The XML of the domain as it runs, passwords included, that another host can start it with."""
        ...

    def migration_host(self) -> MigrationHost: ...

    def cpu_refusal(self, xml: str) -> str:
        """Why this host's processor, with its accelerator, cannot be that of the domain XML; "" where it can."""
        ...
