"""on_xend_start and on_xend_stop: which domains, in which way, and that errors stop nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from xmcompat import moving
from xmcompat.backends import domain_xml
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.machine import XenRecord
from xmcompat.errors import ConnectionLost, HypervisorError, HypervisorUnreachable, XmError
from xmcompat.managed import Managed
from xmcompat.toolstack import Created, Toolstack
from xmcompat.xend.domains import Domains


class NotedManaged(Managed):
    """Notes what is done to managed domains, and raises ERROR then, if there is one."""

    def __init__(self, toolstack: Toolstack) -> None:
        super().__init__(toolstack)
        self.calls: list[tuple[str, str]] = []
        self.asleep: set[str] = set()
        self.error: XmError | None = None

    def start(self, designation: str, **_options: object) -> Created:  # type: ignore[override]
        self._call("start", designation)
        return Created(self._toolstack.find(designation), (), ("it will be slow",))

    def suspend(self, designation: str) -> None:
        self._call("suspend", designation)

    def is_suspended(self, designation: str) -> bool:
        return designation in self.asleep

    def _call(self, what: str, designation: str) -> None:
        self.calls.append((what, designation))
        if self.error is not None:
            raise self.error


@dataclass
class World:
    host: FakeHypervisor = field(default_factory=FakeHypervisor)
    logged: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        toolstack = Toolstack(lambda: self.host)
        self.managed = NotedManaged(toolstack)
        self.domains = Domains(toolstack, self.managed, lambda level, text: self.logged.append((level, text)))

    def add(self, name: str, domid: int | None, settings: str, **changes: object) -> DomainInfo:
        info = domain(name, domid, **changes)
        self.host.known[info.uuid] = info
        self.host.records[info.uuid] = domain_xml.render_record(XenRecord(sxp=f"(vm (name {name}) {settings})"))
        return info


@pytest.fixture
def world() -> World:
    return World()


def test_halted_managed_domains_that_want_it_are_started(world: World) -> None:
    wanted = world.add("web1", None, "(on_xend_start start)")
    world.add("ignored", None, "(on_xend_start ignore)")
    world.add("silent", None, "")
    world.add("running", 5, "(on_xend_start start)", persistent=True)
    world.add("kept", 6, "(on_xend_start start)", persistent=True, state=DomainState.DEAD)
    world.host.known["other"] = domain("libvirts-own", None, uuid="other")
    assert world.domains.wanted() == [wanted]
    world.domains.start(wanted)
    assert world.managed.calls == [("start", wanted.uuid)]
    assert world.logged == [
        ("INFO", "Domain web1 has been started, as its on_xend_start says."), ("WARNING", "Domain web1: it will be slow"),
    ]  # fmt: skip


def test_one_that_is_suspended_or_was_started_meanwhile_is_left(world: World) -> None:
    asleep, awake = world.add("asleep", None, "(on_xend_start start)"), world.add("awake", None, "(on_xend_start start)")
    world.managed.asleep.add(asleep.uuid)
    world.host.known[awake.uuid] = awake._replace(domid=3, state=DomainState.RUNNING)
    for info in (asleep, awake):
        world.domains.start(info)
    assert (world.managed.calls, world.logged) == ([], [])


def test_one_that_has_gone_meanwhile_is_no_error(world: World) -> None:
    info = world.add("web1", None, "(on_xend_start start)")
    del world.host.known[info.uuid]
    world.domains.start(info)
    assert world.logged == []


def test_an_error_of_one_is_logged(world: World) -> None:
    info = world.add("web1", None, "(on_xend_start start)")
    world.managed.error = HypervisorError("no memory", hint="buy some")
    world.domains.start(info)
    assert world.logged == [("ERROR", "Domain web1 could not be started: no memory; buy some")]


@pytest.mark.parametrize("error", [ConnectionLost("gone"), HypervisorUnreachable("gone")])
def test_a_lost_connection_is_not_hidden(world: World, error: HypervisorUnreachable) -> None:
    info = world.add("web1", None, "(on_xend_start start)")
    world.managed.error = error
    with pytest.raises(HypervisorUnreachable):
        world.domains.start(info)


def test_what_becomes_of_running_domains_when_xend_stops(world: World) -> None:
    world.add("stays", 1, "(on_xend_stop ignore)")
    world.add("silent", 2, "")
    down = world.add("down", 3, "(on_xend_stop shutdown)")
    asleep = world.add("asleep", 4, "(on_xend_stop suspend)", persistent=True)
    world.add("paused", 5, "(on_xend_stop shutdown)", state=DomainState.PAUSED)
    world.add("off", None, "(on_xend_stop shutdown)")
    world.add("odd", 7, "(on_xend_stop explode)", state=DomainState.BLOCKED)
    world.domains.stop()
    assert world.managed.calls == [("suspend", asleep.uuid)]
    assert [call for call in world.host.calls if call[0] == "shutdown"] == [("shutdown", "down")]
    assert down.uuid in world.host.known
    assert world.logged == [
        ("INFO", "Domain down (3) has been asked to power off, as its on_xend_stop says."),
        ("INFO", "Domain asleep (4) has been suspended, as its on_xend_stop says."),
        ("WARNING", "Domain odd (7) has on_xend_stop = explode: it is left alone."),
    ]


def test_one_of_which_a_checkpoint_has_begun_since_is_told_and_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(moving, "moving_folder", lambda uri: str(tmp_path))
    info = world.add("web1", 3, "(on_xend_stop shutdown)")
    with moving.held("fake:///", info) as lock:
        assert lock is not None
        moving.stand_still(lock, True)
        world.domains.stop()
    ((level, said),) = world.logged
    assert (level, "'web1' is being saved, and goes on by itself when its disks are copied" in said) == ("ERROR", True)


def test_an_error_of_one_does_not_keep_xend_from_the_next(world: World) -> None:
    world.add("first", 1, "(on_xend_stop suspend)", persistent=True)
    world.add("second", 2, "(on_xend_stop suspend)", persistent=True)
    world.managed.error = HypervisorError("the disk is full")
    world.domains.stop()
    assert [level for level, _ in world.logged] == ["ERROR", "ERROR"]
