"""Known domains in memory: definitions, images and the records of both; the protocol's part in ``FakeHypervisor``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.fakes_saving import FakeSaveJob
from tests.fakes_secrets import FakeSecrets
from xmcompat.backends import domain_xml
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.errors import DomainExists, DomainNotFound, HypervisorError, XmError


@dataclass
class FakePersistence(FakeSecrets):
    """``records`` has those of domains as they are, ``known_records`` those of definitions beside a running domain."""

    known: dict[str, DomainInfo] = field(default_factory=dict)
    xml: dict[str, str] = field(default_factory=dict)
    records: dict[str, str] = field(default_factory=dict)
    known_records: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    images: dict[str, str] = field(default_factory=dict)
    start_refusal: XmError | None = None
    suspend_refusal: XmError | None = None
    on_suspending: Callable[[], None] | None = None

    def _known(self, uuid: str) -> DomainInfo:
        if uuid not in self.known:
            raise DomainNotFound(uuid)
        return self.known[uuid]

    def define(self, xml: str) -> None:
        machine = domain_xml.parse(xml)
        assert machine.uuid is not None
        for info in self.known.values():
            if info.name == machine.name and info.uuid != machine.uuid:
                raise DomainExists(machine.name, info.domid)
        self.known[machine.uuid] = DomainInfo(
            None, machine.name, machine.uuid, DomainState.SHUTOFF, machine.current_memory, machine.memory, machine.vcpus,
            0, True,
        )  # fmt: skip
        self.xml[machine.uuid] = self.records[machine.uuid] = xml
        self.calls.append(("define", machine.name))

    def remove(self, uuid: str) -> None:
        info = self._known(uuid)
        if uuid in self.images:
            raise HypervisorError("Refusing to undefine while domain managed save image exists")
        self.calls.append(("remove", info.name))
        del self.known[uuid]

    def begin_suspend(self, uuid: str) -> FakeSaveJob:
        info = self._known(uuid)
        self.calls.append(("suspend", info.name))

        def act() -> None:
            self.images[uuid] = self.xml[uuid]
            self.known[uuid] = info._replace(domid=None, state=DomainState.SHUTOFF)

        return FakeSaveJob(1, act, self.suspend_refusal, self.on_suspending or (lambda: None))

    def suspended(self) -> set[str]:
        return set(self.images)

    def discard_image(self, uuid: str) -> None:
        self._known(uuid)
        if self.images.pop(uuid, None) is not None:
            self.calls.append(("discard", self.known[uuid].name))

    def image(self, uuid: str) -> str:
        self._known(uuid)
        if not self.images[uuid]:
            raise HypervisorError("save image is incomplete")
        return self.images[uuid]

    def change_image(self, uuid: str, xml: str) -> None:
        assert self.images[uuid]
        self.images[uuid] = xml

    def start_known(self, uuid: str) -> DomainInfo:
        info = self._known(uuid)
        if self.start_refusal is not None:
            raise self.start_refusal
        if info.domid is not None:
            raise DomainExists(info.name, info.domid)
        self.calls.append(("start", info.name))
        self.images.pop(uuid, None)
        if uuid in self.records:
            self.known_records[uuid] = self.records[uuid]
        self.known[uuid] = info._replace(domid=len(self.known) + 10, state=DomainState.PAUSED)
        return self.known[uuid]

    def known_metadata(self, uuid: str) -> str | None:
        info = self._known(uuid)
        if not info.persistent:
            return None
        return self.known_records.get(uuid) if info.started else self.records.get(uuid)

    def set_metadata(self, uuid: str, element: str, *, live: bool = True, known: bool = True) -> None:
        info = self._known(uuid)
        if info.started and live:
            self.records[uuid] = element
        if info.persistent and known:
            (self.known_records if info.started else self.records)[uuid] = element
