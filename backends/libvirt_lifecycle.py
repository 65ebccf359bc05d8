"""What libvirt keeps of a guest after its end, what it tells of ends and restarts, and how one is built anew."""
# ruff: noqa: ANN401 - libvirt's module has no types

from __future__ import annotations

import time

from xmcompat.backends.hypervisor import GuestEvent
from xmcompat.backends.kept_mark import KEPT_PREFIX, KEPT_URI, Mark, Phase, read, shown, this_boot, write
from xmcompat.backends.libvirt_starts import started
from xmcompat.backends.libvirt_wire_domain import is_known
from xmcompat.backends.settings import is_local
from xmcompat.errors import DomainExists, DomainNotFound, XmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from xmcompat.backends.hypervisor import DomainInfo
    from xmcompat.backends.libvirt_errors import Failure
    from xmcompat.backends.libvirt_translated import Translated
    from xmcompat.backends.libvirt_wire import Wire
    from xmcompat.errors import XmError as Error

    Answer = TypeVar("Answer")

_NO_DOMAIN, _NO_METADATA, _OPERATION_INVALID = 42, 80, 55

#: Seconds after which a domain that is being made is taken for one whose maker has died.
MAKING_PATIENCE = 60.0


#: QEMU's events that tell of a guest's end, in our words.
_KINDS = {"SHUTDOWN": "off", "GUEST_PANICKED": "crash", "RESET": "reset"}
#: libvirt's own numbers: started and resumed, stopped. Of those that it gives for a stop: shut down, crashed.
_CHANGES, _BY_GUEST = {2: "runs", 4: "runs", 5: "gone"}, (0, 2)


class LibvirtLifecycle:
    """The part of ``libvirt_kvm.LibvirtKvm`` that these calls are."""

    uri: str
    _guests: Any = None
    _registration: int = -1
    _changes: int = -1

    if TYPE_CHECKING:

        @property
        def _libvirt(self) -> Any: ...

        @property
        def _connection(self) -> Any: ...

        def _translated(self, designation: str = "") -> Translated: ...

        def _raise_if_lost(self, error: Any) -> None: ...

        def _forget_events(self, connection: Any) -> None: ...

        def _ask(self, question: Callable[[Wire], Answer | None]) -> Answer | None: ...

        def _events(self) -> Any: ...

        def _open_with_events(self, on_closed: Callable[[], None]) -> Any: ...

        def _let_go(self, connection: Any, stream: Any = None) -> None: ...

        def _not_created(self, failure: Failure, xml: str) -> Error: ...

        def _info_of(self, domain: Any, persistent: bool) -> DomainInfo: ...

    # -- marks

    def marks(self, uuid: str) -> tuple[Mark | None, Mark | None]:
        """The marks of the domain that runs and of its definition; None for what is not there."""
        with self._translated(uuid):
            return self._marks_of(self._connection.lookupByUUIDString(uuid))

    def _marks_of(self, domain: Any) -> tuple[Mark | None, Mark | None]:
        libvirt = self._libvirt
        live = self._mark(domain, libvirt.VIR_DOMAIN_AFFECT_LIVE) if domain.isActive() else None
        return live, self._mark(domain, libvirt.VIR_DOMAIN_AFFECT_CONFIG) if domain.isPersistent() else None

    def _mark(self, domain: Any, flags: int) -> Mark | None:
        try:
            return read(domain.metadata(self._libvirt.VIR_DOMAIN_METADATA_ELEMENT, KEPT_URI, flags))
        except self._libvirt.libvirtError as error:
            if error.get_error_code() not in (_NO_METADATA, _OPERATION_INVALID):
                raise
            return None

    def set_mark(self, uuid: str, mark: Mark | None, *, live: bool = True, known: bool = True) -> None:
        """Mark the domain as it runs (LIVE) and its definition (KNOWN), where they are there; None takes it away."""
        with self._translated(uuid):
            self._set_mark(self._connection.lookupByUUIDString(uuid), mark, live=live, known=known)

    def _boot(self) -> str:
        """Which run of the hypervisor's host this is; "" for another host than this."""
        return this_boot() if is_local(self.uri) else ""

    def _set_mark(self, domain: Any, mark: Mark | None, *, live: bool = True, known: bool = True) -> None:
        libvirt = self._libvirt
        mark = mark and mark._replace(boot=self._boot())
        flags = libvirt.VIR_DOMAIN_AFFECT_LIVE if live and domain.isActive() else 0
        flags |= libvirt.VIR_DOMAIN_AFFECT_CONFIG if known and domain.isPersistent() else 0
        for flag in (libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG):
            if not flags & flag:
                continue
            try:
                domain.setMetadata(
                    libvirt.VIR_DOMAIN_METADATA_ELEMENT, None if mark is None else write(mark), KEPT_PREFIX, KEPT_URI, flag
                )
            except libvirt.libvirtError as error:
                if error.get_error_code() != _NO_METADATA:
                    raise

    def marked(self) -> list[tuple[str, str]]:
        """(uuid, name) of every domain with a mark, shown or not."""
        found = []
        with self._translated():
            domains = self._connection.listAllDomains()
        for domain in domains:
            try:
                with self._translated(domain.name()):
                    if any(self._marks_of(domain)):
                        found.append((domain.UUIDString(), domain.name()))
            except DomainNotFound:
                continue  # it has gone meanwhile
        return found

    def _as_shown(self, domain: Any, info: DomainInfo) -> DomainInfo | None:
        """A domain as xm shows it, where it is off and marked; None for what is left of an ended one."""
        if info.domid is not None or not info.persistent:
            return info
        mark = self._mark(domain, 0)
        return info if mark is None else shown(info, mark, domain.state(0)[1], self._boot())

    def _kept_with_id(self, designation: str) -> Any:
        """The domain that has ended and stays in the list under an id that no other has now. Raises DomainNotFound."""
        from xmcompat.backends.libvirt_wire_domain import is_number

        if is_number(designation):
            for domain in self._connection.listAllDomains(self._libvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE):
                info = self._as_shown(domain, self._info_of(domain, True))
                if info is not None and info.domid == int(designation):
                    return domain
        raise DomainNotFound(designation)

    # -- domains that stay after their end

    def create_kept(self, xml: str, mark: Mark, *, paused: bool = False) -> DomainInfo:
        """Define the domain of XML and start it; MARK says how it is kept. On any error there is nothing.

        Its end by itself leaves it in the list. Raises what ``create`` raises.
        """
        from xmcompat.backends.kept_xml import marked

        libvirt, connection = self._libvirt, self._connection
        making = mark._replace(phase=Phase.MAKING, since=time.time(), boot=self._boot())
        try:
            domain = connection.defineXML(marked(xml, making))
        except libvirt.libvirtError as error:
            raise self._refusal(error, xml) from None
        try:
            started(libvirt, lambda: domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED))
        except libvirt.libvirtError as error:
            running = "already running" in (error.get_error_message() or "")
            refusal = DomainExists(domain.name(), domain.ID()) if running else self._refusal(error, xml)
            self._unmake(domain)
            raise refusal from None
        except BaseException:
            self._unmake(domain)
            raise
        try:
            info = self._info_of(domain, True)
            self._set_mark(domain, mark._replace(phase=Phase.RUNNING, domid=info.domid, since=time.time()))
            if not paused:
                domain.resume()
                info = self._info_of(domain, True)
        except libvirt.libvirtError as error:
            self._raise_if_lost(error)
            self._drop(domain)
            raise self._refusal(error, xml) from None
        except BaseException:
            self._drop(domain)
            raise
        return info

    def _refusal(self, error: Any, xml: str) -> XmError:
        from xmcompat.backends.libvirt_errors import failure_of

        return self._not_created(failure_of(error), xml)

    def _unmake(self, domain: Any) -> None:
        """Forget one that did not start. Where another call has started it, its definition gets that one's mark."""
        try:
            live, _ = self._marks_of(domain)
            if domain.isActive():
                if live is not None:
                    self._set_mark(domain, live, live=False)
            else:
                self._undefine(domain)
        except self._libvirt.libvirtError as error:
            self._raise_if_lost(error)

    def _drop(self, domain: Any) -> None:
        """Destroy and forget the domain that this very call has made."""
        for call in (self._undefine, lambda domain: domain.destroy()):
            try:
                call(domain)
            except self._libvirt.libvirtError as error:
                self._raise_if_lost(error)

    def sweep(self, *designations: str) -> None:
        """Forget the domains of these names and uuids of which only a definition is left that nobody wants."""
        known = self._ask(lambda wire: (any(is_known(wire, designation) for designation in designations),))
        if known == (False,):
            return
        connection, libvirt = self._connection, self._libvirt
        for designation in designations:
            for lookup in (connection.lookupByName, connection.lookupByUUIDString):
                try:
                    self._sweep(lookup(designation))
                except libvirt.libvirtError as error:
                    self._raise_if_lost(error)

    def _sweep(self, domain: Any) -> None:
        if domain.isActive() or not domain.isPersistent():
            return
        mark = self._mark(domain, 0)
        if mark is None or (mark.phase == Phase.MAKING and time.time() - mark.since < MAKING_PATIENCE):
            return
        if shown(self._info_of(domain, True), mark, domain.state(0)[1], self._boot()) is None:
            self._undefine(domain)

    def _undefine(self, domain: Any) -> None:
        libvirt = self._libvirt
        domain.undefineFlags(
            libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM
            | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        )  # fmt: skip

    def _forgotten(self, domain: Any) -> bool:
        """Before a domain is destroyed: let nothing stay of one that is known for its mark alone, and say so."""
        mark = self._mark(domain, self._libvirt.VIR_DOMAIN_AFFECT_CONFIG) if domain.isPersistent() else None
        if mark is None:
            return False
        if mark.managed:
            self._set_mark(domain, None, live=False)
        else:
            self._undefine(domain)
        return not mark.managed

    # -- building a guest anew

    def definition(self, uuid: str) -> str:
        """The XML, passwords included, with which the domain would be started again."""
        libvirt = self._libvirt
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            return str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))

    def define_again(self, xml: str) -> None:
        """Have libvirt know the domain of XML, which may run; one that it knows gets this definition."""
        with self._translated():
            self._connection.defineXML(xml)

    def halt(self, uuid: str) -> None:
        """Stop the domain and leave its definition, with its mark. Silent for one that is off."""
        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            try:
                domain.destroy()
            except self._libvirt.libvirtError as error:
                if error.get_error_code() != _OPERATION_INVALID:
                    raise

    def start_again(self, uuid: str, *, paused: bool = False) -> None:
        """Start a domain from its definition. Silent for one that is there. Raises as ``create`` does."""
        from xmcompat.backends.libvirt_errors import failure_of, not_created

        with self._translated(uuid):
            domain = self._connection.lookupByUUIDString(uuid)
            if domain.isActive():
                return
            try:
                flags = self._libvirt.VIR_DOMAIN_START_PAUSED if paused else 0
                started(self._libvirt, lambda: domain.createWithFlags(flags))
            except self._libvirt.libvirtError as error:
                self._raise_if_lost(error)
                raise not_created(failure_of(error), "", (), ()) from None

    def forget(self, uuid: str) -> None:
        """Take the definition away; a domain that runs goes on and leaves nothing behind."""
        with self._translated(uuid):
            self._undefine(self._connection.lookupByUUIDString(uuid))

    # -- what happens to guests

    def watch_guests(self, on_event: Callable[[GuestEvent], None]) -> None:
        """Call ON_EVENT for what happens to any guest from now on, inside ``wait_event``."""
        import libvirt_qemu

        noted = self._events().noting(on_event)

        def told(_connection: object, domain: Any, name: str, seconds: int, micros: int, details: str, _: object) -> None:
            kind = _KINDS.get(name)
            if kind is not None:
                noted(_guest_event(domain, kind, seconds + micros / 1e6, details))

        def changed(_connection: object, domain: Any, event: int, detail: int, _: object) -> None:
            kind = _CHANGES.get(event)
            if kind is not None:
                noted(GuestEvent(domain.UUIDString(), kind, detail in _BY_GUEST, False, time.time()))

        self._guests = self._open_with_events(lambda: None)
        with self._translated():
            self._forget_events(self._guests)
            self._changes = self._guests.domainEventRegisterAny(
                None, self._libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, changed, None
            )
            self._registration = libvirt_qemu.qemuMonitorEventRegister(
                self._guests, None, f"^({'|'.join(_KINDS)})$", told, None,
                libvirt_qemu.VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX,
            )  # fmt: skip

    def _unwatch_guests(self) -> None:
        guests, self._guests = self._guests, None
        if guests is None:
            return
        from contextlib import suppress

        import libvirt_qemu

        with suppress(self._libvirt.libvirtError):  # it was lost before
            guests.domainEventDeregisterAny(self._changes)
            libvirt_qemu.qemuMonitorEventDeregister(guests, self._registration)
        self._let_go(guests)


def press_power_button(domain: Any) -> None:
    """Through QEMU's monitor: libvirt itself presses it for running domains only, and refuses all others."""
    import libvirt_qemu

    libvirt_qemu.qemuMonitorCommand(domain, '{"execute": "system_powerdown"}', 0)


def _guest_event(domain: Any, kind: str, when: float, details: str | None) -> GuestEvent:
    """From the JSON that QEMU sends along."""
    import json

    try:
        known = json.loads(details or "{}")
    except ValueError:
        known = {}
    reason = str(known.get("reason", ""))
    if kind == "off" and reason == "guest-panic":
        kind = "crash"
    by_guest = bool(known.get("guest")) or kind == "crash"
    return GuestEvent(
        domain.UUIDString(), kind, by_guest, kind == "off" and reason == "guest-reset", when, domain.ID()
    )  # fmt: skip
