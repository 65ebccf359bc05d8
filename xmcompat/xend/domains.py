"""What xend does to domains when it starts and when it stops, as each one's configuration says.

Source: ``on_xend_start`` and ``on_xend_stop`` of xend 4.1. Errors about a domain are logged and stop nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from xmcompat import moving
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.errors import DomainNotFound, HypervisorUnreachable, XmError
from xmcompat.managed import Managed
from xmcompat.toolstack import DOM0_UUID, Toolstack

Log = Callable[[str, str], None]

_RUNNING = (DomainState.RUNNING, DomainState.BLOCKED)


class Domains:
    """The domains of TOOLSTACK; MANAGED is how those that are known to it are started and suspended."""

    def __init__(self, toolstack: Toolstack, managed: Managed, log: Log) -> None:
        self._toolstack = toolstack
        self._managed = managed
        self._log = log

    def wanted(self) -> list[DomainInfo]:
        """Every managed domain that is halted, not suspended, and has ``on_xend_start = start``."""
        return [
            info for info in self._toolstack.hypervisor.domains()
            if info.domid is None and info.persistent and self._says(info, "on_xend_start") == "start"
        ]  # fmt: skip

    def start(self, info: DomainInfo) -> None:
        """Raises HypervisorUnreachable."""
        with _Logged(self._log, info, "could not be started"):
            now = self._toolstack.hypervisor.find(info.uuid)
            if now.domid is None and not self._managed.is_suspended(info.uuid):
                created = self._managed.start(info.uuid)
                self._log("INFO", f"Domain {info.name} has been started, as its on_xend_start says.")
                for warning in created.warnings:
                    self._log("WARNING", f"Domain {info.name}: {warning}")

    def stop(self) -> None:
        """Treat every running domain but Domain-0 as its ``on_xend_stop`` says. Raises HypervisorUnreachable."""
        for info, what in self._leaving():
            shown = f"Domain {info.name} ({info.domid})"
            if what == "shutdown":
                with _Logged(self._log, info, "could not be shut down"):
                    self._toolstack.shutdown(info.uuid, on_wait=self._refuse)
                    self._log("INFO", f"{shown} has been asked to power off, as its on_xend_stop says.")
            else:
                with _Logged(self._log, info, "could not be suspended"):
                    self._managed.suspend(info.uuid)
                    self._log("INFO", f"{shown} has been suspended, as its on_xend_stop says.")

    def _refuse(self, info: DomainInfo) -> None:
        """A checkpoint has begun of it since it was looked at: the others are not to wait for its disks."""
        moving.refuse_standing(self._toolstack.hypervisor.uri, info)

    def _leaving(self) -> Iterator[tuple[DomainInfo, str]]:
        for info in self._toolstack.hypervisor.domains():
            if info.uuid != DOM0_UUID and info.state in _RUNNING:
                what = self._says(info, "on_xend_stop")
                if what in ("shutdown", "suspend"):
                    yield info, what
                elif what != "ignore":
                    self._log("WARNING", f"Domain {info.name} ({info.domid}) has on_xend_stop = {what}: it is left alone.")

    def _says(self, info: DomainInfo, key: str) -> str:
        """What the domain's configuration has for KEY; "ignore" where it says nothing, or xm did not start it."""
        with _Logged(self._log, info, "could not be looked at"):
            return self._managed.setting(info, key, "ignore")
        return "ignore"


class _Logged:
    """A context that logs an error about the domain of INFO, but for those of the connection."""

    def __init__(self, log: Log, info: DomainInfo, what: str) -> None:
        self._log, self._info, self._what = log, info, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> bool:
        if isinstance(error, DomainNotFound):
            return True  # it has gone meanwhile
        if not isinstance(error, XmError) or isinstance(error, HypervisorUnreachable):
            return False
        self._log("ERROR", f"Domain {self._info.name} {self._what}: {error.line()}")
        return True
