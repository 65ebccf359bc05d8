"""Fakes for ends and restarts of guests: the protocol's part in ``FakeHypervisor``, and a libvirt of definitions and
running domains, as exact as the keeper needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

from lxml import etree

from xmcompat.backends import domain_xml, kept_xml
from xmcompat.backends.domain_xml import METADATA_URI
from xmcompat.backends.hypervisor import DomainInfo, DomainState, GuestEvent
from xmcompat.backends.kept_mark import KEPT_URI, Mark, Phase, read, shown
from xmcompat.errors import DomainNotFound, XmError

_OFF_BY_ITSELF, _DESTROYED = 1, 2


@dataclass
class FakeLifecycle:
    """Marks and definitions beside what ``FakeHypervisor`` has."""

    known: dict[str, DomainInfo] = field(default_factory=dict)
    kept_marks: dict[str, tuple[Mark | None, Mark | None]] = field(default_factory=dict)
    swept: list[str] = field(default_factory=list)
    guest_watchers: list[Callable[[GuestEvent], None]] = field(default_factory=list)

    def create(self, xml: str, *, paused: bool = False, bound: bool = False) -> DomainInfo:
        raise NotImplementedError

    def create_kept(self, xml: str, mark: Mark, *, paused: bool = False) -> DomainInfo:
        info = self.create(xml, paused=paused)._replace(persistent=True)
        self.known[info.uuid] = info
        self.set_mark(info.uuid, mark._replace(phase=Phase.RUNNING, domid=info.domid))
        return info

    def sweep(self, *designations: str) -> None:
        self.swept += designations

    def watch_guests(self, on_event: Callable[[GuestEvent], None]) -> None:
        self.guest_watchers.append(on_event)

    def marked(self) -> list[tuple[str, str]]:
        return [(uuid, self.known[uuid].name) for uuid, marks in self.kept_marks.items() if any(marks)]

    def marks(self, uuid: str) -> tuple[Mark | None, Mark | None]:
        return self.kept_marks.get(uuid, (None, None))

    def set_mark(self, uuid: str, mark: Mark | None, *, live: bool = True, known: bool = True) -> None:
        old = self.marks(uuid)
        self.kept_marks[uuid] = (mark if live else old[0], mark if known else old[1])

    def definition(self, uuid: str) -> str:
        raise NotImplementedError

    def define_again(self, xml: str) -> None:
        raise NotImplementedError

    def halt(self, uuid: str) -> None:
        raise NotImplementedError

    def start_again(self, uuid: str, *, paused: bool = False) -> None:
        raise NotImplementedError

    def forget(self, uuid: str) -> None:
        raise NotImplementedError

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        callback()


@dataclass
class Running:
    """A domain that is there."""

    domid: int
    xml: str
    state: str = DomainState.RUNNING


@dataclass
class DefinitionsAndDomains:
    """libvirt in the small: a domain may be defined, there, or both; metadata is in its XML."""

    uri: str = "elsewhere"
    defined: dict[str, str] = field(default_factory=dict)
    there: dict[str, Running] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    paused_by_admin: set[str] = field(default_factory=set)
    refusal: XmError | None = None
    last_id: int = 0
    on_event: Callable[[GuestEvent], None] | None = None
    due: list[Callable[[], None]] = field(default_factory=list)

    def boot(self, xml: str, *, defined: bool = False) -> DomainInfo:
        uuid = _uuid(xml)
        if defined:
            self.defined[uuid] = xml
        self.last_id += 1
        self.there[uuid] = Running(self.last_id, xml)
        return self.find(uuid)

    def off(self, uuid: str) -> None:
        """The guest ends by itself, with destroy for an action."""
        del self.there[uuid]
        self.reasons[uuid] = _OFF_BY_ITSELF

    def domains(self) -> list[DomainInfo]:
        infos = (self._info(uuid) for uuid in {**self.defined, **self.there})
        return [info for info in infos if info is not None]

    def find(self, designation: str) -> DomainInfo:
        for info in self.domains():
            if designation in (info.name, info.uuid, str(info.domid)):
                return info
        raise DomainNotFound(designation)

    def _info(self, uuid: str) -> DomainInfo | None:
        running = self.there.get(uuid)
        machine = domain_xml.parse(running.xml if running else self.defined[uuid])
        info = DomainInfo(
            running.domid if running else None, machine.name, uuid, running.state if running else DomainState.SHUTOFF,
            machine.memory, machine.memory, machine.vcpus, 0, uuid in self.defined,
        )  # fmt: skip
        mark = None if running else _mark(self.defined[uuid])
        return info if mark is None else shown(info, mark, self.reasons.get(uuid, 0))

    def metadata(self, uuid: str) -> str | None:
        xml = self._xml(uuid)
        return xml if METADATA_URI in xml else None

    def set_metadata(self, uuid: str, element: str, *, live: bool = True, known: bool = True) -> None:
        for store in self._stores(uuid, live=live, known=known):
            root = etree.fromstring(store.xml)
            record = root.find(f"metadata/{{{METADATA_URI}}}guest")
            assert record is not None
            record.attrib.update(etree.fromstring(element).attrib)
            store.put(etree.tostring(root, encoding="unicode"))

    def _stores(self, uuid: str, *, live: bool = True, known: bool = True) -> list[SimpleNamespace]:
        stores = []
        if live and uuid in self.there:
            running = self.there[uuid]
            stores.append(SimpleNamespace(xml=running.xml, put=lambda xml: setattr(running, "xml", xml)))
        if known and uuid in self.defined:
            stores.append(SimpleNamespace(xml=self.defined[uuid], put=lambda xml: self.defined.update({uuid: xml})))
        return stores

    def _xml(self, uuid: str) -> str:
        stores = self._stores(uuid)
        if not stores:
            raise DomainNotFound(uuid)
        return str(stores[0].xml)

    def watch_guests(self, on_event: Callable[[GuestEvent], None]) -> None:
        self.on_event = on_event

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        self.due.append(callback)

    def run(self) -> None:
        """Let everything that was put off happen."""
        while self.due:
            self.due.pop(0)()

    def marked(self) -> list[tuple[str, str]]:
        return [(uuid, domain_xml.parse(self._xml(uuid)).name) for uuid in {**self.there, **self.defined} if any(self.marks(uuid))]

    def marks(self, uuid: str) -> tuple[Mark | None, Mark | None]:
        self._xml(uuid)
        live, known = self.there.get(uuid), self.defined.get(uuid)
        return _mark(live.xml) if live else None, _mark(known) if known else None

    def set_mark(self, uuid: str, mark: Mark | None, *, live: bool = True, known: bool = True) -> None:
        self._xml(uuid)
        for store in self._stores(uuid, live=live, known=known):
            store.put(_unmarked(store.xml) if mark is None else kept_xml.marked(store.xml, mark))

    def marked_paused(self, uuid: str) -> bool:
        return uuid in self.paused_by_admin

    def pause(self, uuid: str) -> None:
        self._xml(uuid)
        self.there[uuid].state = DomainState.PAUSED

    def unpause(self, uuid: str) -> None:
        self._xml(uuid)
        self.there[uuid].state = DomainState.RUNNING

    def domain_xml(self, uuid: str, *, secrets: bool = False) -> str:
        return self._xml(uuid)

    def definition(self, uuid: str) -> str:
        return self.defined.get(uuid) or self._xml(uuid)

    def define_again(self, xml: str) -> None:
        self.defined[_uuid(xml)] = xml

    def halt(self, uuid: str) -> None:
        self._xml(uuid)
        self.there.pop(uuid, None)
        self.reasons[uuid] = _DESTROYED

    def start_again(self, uuid: str, *, paused: bool = False) -> None:
        self._xml(uuid)
        if uuid in self.there:
            return
        if self.refusal is not None:
            raise self.refusal
        self.last_id += 1
        self.there[uuid] = Running(self.last_id, self.defined[uuid], DomainState.PAUSED if paused else DomainState.RUNNING)

    def forget(self, uuid: str) -> None:
        del self.defined[uuid]

    def destroy(self, uuid: str) -> None:
        _, known = self.marks(uuid)
        if known is not None and known.managed:
            self.set_mark(uuid, None, live=False)
        elif known is not None:
            self.forget(uuid)
        self.there.pop(uuid, None)
        self.reasons[uuid] = _DESTROYED

    def sweep(self, *designations: str) -> None:
        for uuid in designations:
            if uuid in self.defined and uuid not in self.there and self._info(uuid) is None:
                self.forget(uuid)


def _uuid(xml: str) -> str:
    return domain_xml.parse(xml).uuid or ""


def _mark(xml: str) -> Mark | None:
    element = etree.fromstring(xml).find(f"metadata/{{{KEPT_URI}}}kept")
    return None if element is None else read(etree.tostring(element, encoding="unicode"))


def _unmarked(xml: str) -> str:
    root = etree.fromstring(xml)
    for element in root.findall(f"metadata/{{{KEPT_URI}}}kept"):
        element.getparent().remove(element)  # type: ignore[union-attr]
    return etree.tostring(root, encoding="unicode")
