"""Moving guests to other hosts: the operation beneath ``xm migrate``.

Both hosts are asked before anything is changed, and everything that stands in the way is told at once. Then the other host
makes ready (``Peer``), libvirtd hands the guest to libvirtd, and both ends are asked what has become of it: after whatever
happens just one copy runs, and the message says which. The texts of errors are xend's where it has some.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple, Protocol

from xmcompat import departing, disk_needs, moving
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.migration import MigrationState
from xmcompat.backends.settings import is_local
from xmcompat.backends.settings import read as read_settings
from xmcompat.deferred import undisturbed
from xmcompat.departure import Departure, Moved, Plan
from xmcompat.errors import ConnectionLost, DomainNotFound, OperationError, XmError
from xmcompat.migration import settings as migration_settings
from xmcompat.migration.facts import FileKind, Sight
from xmcompat.migration.preflight import findings
from xmcompat.migration.same_disk import Sameness, sameness
from xmcompat.moving import is_this_host
from xmcompat.toolstack import DOM0_UUID, Toolstack

if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import Hypervisor
    from xmcompat.backends.migration import Progress
    from xmcompat.migration.facts import Finding, HostFacts, SeenDisk, Wanted, WantedDisk
    from xmcompat.migration.settings import MigrationSettings
    from xmcompat.peers import Begun, Way

_RUNS = (DomainState.RUNNING, DomainState.BLOCKED)
#: Seconds in which both ends must agree on what has become of a domain after a fault, at the most.
PATIENCE = 15.0
#: Where a domain lies for a moment that moves to the host on which it is.
FOLDER = "/var/lib/xmcompat/moving"


class Request(NamedTuple):
    """What is asked for: where the domain is to go, and how.

    ``port`` None is the usual one; ``ssl`` None: as xend's settings say. ``node`` is a NUMA node of the other host, None
    for any. ``change_home``: a managed domain is known there afterwards, and no longer here. ``paused_too``: a paused one
    goes, too, and arrives paused. ``bandwidth`` in MiB/s, ``policy`` and ``deadline`` (seconds) as in MigrationSettings;
    None and "" for what these say. ``with_disks``: disks that the other host does not see are copied to it.
    """

    host: str
    live: bool = False
    port: int | None = None
    node: int | None = None
    ssl: bool | None = None
    change_home: bool = False
    paused_too: bool = False
    bandwidth: int | None = None
    policy: str = ""
    deadline: float | None = None
    with_disks: bool = False


class Listener(Protocol):
    """Who hears of a domain on its way."""

    def progress(self, info: DomainInfo, host: str, progress: Progress) -> None: ...

    def note(self, text: str) -> None:
        """A sentence that the operator should know."""
        ...


class Silent:
    """A Listener that does nothing."""

    def progress(self, info: DomainInfo, host: str, progress: Progress) -> None:
        return

    def note(self, text: str) -> None:
        return


class Refused(OperationError):
    """What stands in the way of a migration: all of it. Nothing was changed."""

    def __init__(self, name: str, host: str, found: tuple[Finding, ...]) -> None:
        self.findings = found
        stops = [one.line() for one in found if one.stops]
        if len(stops) == 1:
            super().__init__(stops[0])
        else:
            super().__init__(f"'{name}' cannot move to {host}:\n" + "\n".join(f"  {line}" for line in stops))


class _InFile(OperationError):
    """A domain is off, and its memory is in a file: the text says in which."""


class Migrating:
    """The operations over a TOOLSTACK."""

    def __init__(self, toolstack: Toolstack) -> None:
        self._toolstack = toolstack

    @property
    def _hypervisor(self) -> Hypervisor:
        return self._toolstack.hypervisor

    def migrate(
        self, designation: str, request: Request, listener: Listener | None = None, begun: Begun | None = None
    ) -> Moved:
        """Move a running domain to another host. Returns when it runs there, and nothing of it is left here. BEGUN is the
        way there where that was begun before.

        On any error, and on Ctrl-C that does not come too late, it runs on here. Raises OperationError, Refused,
        DomainNotFound, ConnectionLost.
        """
        listener = listener or Silent()
        info = self._found(designation, request)
        if is_this_host(request.host):
            return Moved(self._onto_itself(info), request.host, None)
        with moving.held(self._hypervisor.uri, info):
            self._refuse_on_its_way(info)
            disk_needs.remember(self._hypervisor, info.uuid)
            asked = self._asked_here(info, request)  # while the way is made
            with open_way(request, self._hypervisor, begun) as way:
                wanted, told = self._agreed(info, request, asked, way)
                for one in told:
                    listener.note(one.line())
                if request.node is not None:
                    who = f"the kernel of {request.host}"
                    listener.note(f"node {request.node} is passed over: {who} places a guest's memory")
                return Departure(self._toolstack, info, way, self._plan(info, request, wanted), listener).run(wanted)

    def check(self, designation: str, request: Request) -> tuple[Finding, ...]:
        """Everything that both hosts have to say of it. Nothing is changed."""
        info = self._found(designation, request)
        asked = self._asked_here(info, request)
        with open_way(request, self._hypervisor) as way:
            return self._looked_at(info, request, asked, way)[1]

    def _refuse_on_its_way(self, info: DomainInfo) -> None:
        """Raise OperationError where libvirt moves it already: for an xm that was killed, or for somebody else."""
        try:
            state = self._hypervisor.migration_state(info.uuid)
        except DomainNotFound:
            raise DomainNotFound(info.name) from None
        if state in (MigrationState.NONE, MigrationState.ARRIVED):
            return
        if state in (MigrationState.POSTCOPY_IN, MigrationState.STALLED_IN):
            raise OperationError(
                f"'{info.name}' still fetches memory from the host it has come from", hint="try again later"
            )
        raise OperationError(
            f"'{info.name}' is on its way to another host already, which libvirt sees to by itself",
            hint=f"'virsh migrate-setspeed {info.name} MIB' lets it go faster, 'virsh domjobabort {info.name}' has it stay",
        )

    def _onto_itself(self, info: DomainInfo) -> DomainInfo:
        """The domain of INFO under a new id, as xm did with one that moves to the host on which it is.

        libvirt has no two of one uuid, so that it goes by way of a file. Differs from xm: it stands still meanwhile also
        with --live. Whatever is raised, a signal that has waited for the end of the save too, it runs afterwards. Raises as
        ``Saving.save`` and ``Saving.restore``; what only the file has is told with its name.
        """
        os.makedirs(FOLDER, mode=0o700, exist_ok=True)
        path = os.path.join(FOLDER, f"{info.uuid}-{os.getpid()}.save")
        before = _inode(path)  # of an earlier process of that number
        try:
            self._toolstack.saving.save(info.uuid, path)
            with undisturbed():
                return self._back(info, path)
        except _InFile:
            raise
        except BaseException:
            with undisturbed():
                if _inode(path) not in (None, before):  # it was saved before that was raised
                    self._back(info, path)
            raise

    def _back(self, info: DomainInfo, path: str) -> DomainInfo:
        """Start what was saved, whose file goes. Raises _InFile."""
        try:
            back = self._toolstack.saving.restore(path)
        except ConnectionLost as error:  # which says what is known of it
            raise _InFile(f"{error.message}; its memory is in {path} as well", hint=error.hint) from None
        except XmError as error:
            raise _InFile(
                f"{error.line()}; '{info.name}' is off, and its memory is in {path}", hint=f"try: xm restore {path}"
            ) from None
        _remove(info.name, path)
        return back

    # -- before anything is changed

    def _found(self, designation: str, request: Request) -> DomainInfo:
        info = moving.settled(self._hypervisor, self._toolstack.find(designation))
        if info.uuid == DOM0_UUID:
            raise OperationError(f"Cannot migrate privileged domain {designation}")
        if info.state not in _RUNS and not (request.paused_too and info.state == DomainState.PAUSED):
            raise OperationError("Domain is not running")
        if request.change_home and not self._toolstack.managed.is_managed(info):
            raise OperationError("Domain is not a managed domain")
        if not is_local(self._hypervisor.uri):
            raise OperationError(
                f"guests can only be moved from the host itself, not through {self._hypervisor.uri}"
            )
        return info

    def _agreed(
        self, info: DomainInfo, request: Request, asked: tuple[Wanted, HostFacts], way: Way
    ) -> tuple[Wanted, tuple[Finding, ...]]:
        """What the domain needs, and what is to be told. Raises Refused."""
        wanted, found = self._looked_at(info, request, asked, way)
        if any(one.stops for one in found):
            raise Refused(info.name, request.host, found)
        return wanted, found

    def _asked_here(
        self, info: DomainInfo, request: Request, copied: tuple[str, ...] = ()
    ) -> tuple[Wanted, HostFacts]:  # fmt: skip
        """What the domain needs, and what this host says of it."""
        from xmcompat import vantage

        wanted = self._wanted(info, request, copied)
        return wanted, vantage.host_facts(self._hypervisor, wanted, other=request.host)

    def _looked_at(
        self, info: DomainInfo, request: Request, asked: tuple[Wanted, HostFacts], way: Way
    ) -> tuple[Wanted, tuple[Finding, ...]]:
        wanted, here = asked
        there = way.peer.look(wanted)
        if request.with_disks and (copied := not_seen(wanted, there)):
            wanted, here = self._asked_here(info, request, copied)
            there = way.peer.look(wanted)
        return wanted, findings(wanted, here, there, host=request.host, private=way.private)

    def _wanted(self, info: DomainInfo, request: Request, copied: tuple[str, ...] = ()) -> Wanted:
        try:
            return departing.wanted_of(
                self._hypervisor, info, live=request.live, persist=self._persists(info, request), copied=copied
            )
        except DomainNotFound:
            raise DomainNotFound(info.name) from None

    def _persists(self, info: DomainInfo, request: Request) -> bool:
        """A domain that is only kept after its end is kept there; a managed one is known there where that is asked for."""
        return info.persistent and (request.change_home or not self._toolstack.managed.is_managed(info))

    def _plan(self, info: DomainInfo, request: Request, wanted: Wanted) -> Plan:
        chosen = self._settings()
        policy = request.policy or chosen.policy
        if policy not in migration_settings.POLICIES:
            known = ", ".join(migration_settings.POLICIES)
            raise XmError(f"'{policy}' is no way to finish a migration", hint=f"known: {known}")
        return Plan(
            live=request.live, bandwidth=request.bandwidth or chosen.bandwidth, policy=policy,
            deadline=chosen.deadline if request.deadline is None else request.deadline,
            persist=wanted.persist, copy=tuple(disk.target for disk in wanted.disks if disk.copy),
            patience=min(PATIENCE, chosen.silence),
        )  # fmt: skip

    @staticmethod
    def _settings() -> MigrationSettings:
        return migration_settings.read(read_settings().migration, "xmcompat.toml")


def open_way(request: Request, hypervisor: Hypervisor, begun: Begun | None = None) -> Way:
    """The way to the other host, to be used as a context manager. Raises OperationError in xend's words."""
    if begun is not None:
        return begun.way(hypervisor)
    from xmcompat import peers

    return peers.open_way(request.host, hypervisor, port=request.port, ssl=request.ssl)


def not_seen(wanted: Wanted, there: HostFacts) -> tuple[str, ...]:
    """The targets of disks that are written to and that the other host does not see as this one does. Volumes that are
    joined to one disk are not copied: libvirt knows none of them."""
    seen = {one.target: one for one in there.disks}
    local = (FileKind.FILE, FileKind.BLOCK)
    own = [disk for disk in wanted.disks if not disk.readonly and not disk.is_part and disk.kind in local]
    return tuple(disk.target for disk in own if disk.target in seen and _differs(disk, seen[disk.target]))


def _differs(disk: WantedDisk, seen: SeenDisk) -> bool:
    return seen.sight == Sight.MISSING or (seen.sight == Sight.FOUND and sameness(disk, seen)[0] is Sameness.NO)


def _remove(name: str, path: str) -> None:
    """What is in the file is of no use: the domain NAME is there. Raises _InFile."""
    try:
        os.unlink(path)
    except OSError as error:
        raise _InFile(f"'{name}' is there again, but {path} is not removed: {error.strerror}", hint="remove it") from None


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
