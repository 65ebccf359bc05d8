"""Ends and restarts of guests against a real libvirtd: what stays in the list, and what a keeper makes of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.backends.test_libvirt_lifecycle import eventually
from tests.lab.fixtures import CHECKOUT, run_xm
from tests.lab.guests import tick_xml
from xmcompat.backends import libvirt_wire
from xmcompat.backends.domain_xml import METADATA_URI, read_record
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.kept_mark import Mark, Phase, this_boot
from xmcompat.backends.libvirt_kvm import LibvirtKvm, connect
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.errors import DomainExists, DomainNotFound, HypervisorError
from xmcompat.toolstack import Toolstack
from xmcompat.xend.keeper import Keeper, Options

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

UUID = "2d3c5f10-6a2b-4d2f-9d62-0a7c5c1f9e01"
MARK = Mark(Phase.MAKING)


def record(age: float = 3600.0, **actions: str) -> str:
    said = " ".join(f"({name} {action})" for name, action in actions.items())
    return f"<x:guest xmlns:x='{METADATA_URI}' started='{time.time() - age!r}'>(vm (name web1) {said})</x:guest>"


def press(hypervisor: LibvirtKvm, info: DomainInfo, key: str) -> None:
    """Type KEY at the tiny guest once it says that it runs."""
    seen: list[bytes] = []
    ended: list[object] = []
    console = hypervisor.open_console(info.uuid, "serial0", seen.append, ended.append, force=True)
    deadline = time.monotonic() + 60
    for word in (b"TICK", b"KEY") if key else (b"TICK",):
        if word == b"KEY":
            console.send(key.encode())
        while word not in b"".join(seen) and not ended:
            assert time.monotonic() < deadline
            hypervisor.wait_event(0.2)
    console.close()


def row(hypervisor: LibvirtKvm, name: str) -> tuple[int | None, str] | None:
    return next(((info.domid, info.state) for info in hypervisor.domains() if info.name == name), None)


@pytest.fixture
def without_wire(node: PrivateLibvirtd, monkeypatch: pytest.MonkeyPatch) -> Iterator[LibvirtKvm]:
    """A connection that asks libvirt itself for everything."""
    monkeypatch.setattr("xmcompat.backends.libvirt_reading.open_wire", lambda uri: None)
    hypervisor = connect(node.uri)
    yield hypervisor
    hypervisor.close()


@pytest.mark.parametrize(("key", "actions"), [("q", ("destroy", "restart", "destroy")),
                                              ("r", ("destroy", "destroy", "destroy"))])  # fmt: skip
def test_a_kept_guest_stays_in_the_list_after_its_end_until_it_is_destroyed(
    node: PrivateLibvirtd, hypervisor: LibvirtKvm, without_wire: LibvirtKvm, roms: Path, key: str, actions: tuple[str, ...]
) -> None:
    info = hypervisor.create_kept(tick_xml("web1", roms, kvm=False, uuid=UUID, actions=actions), MARK)  # type: ignore[arg-type]
    assert info.state == DomainState.RUNNING
    press(hypervisor, info, key)
    eventually(lambda: row(hypervisor, "web1") == (info.domid, DomainState.DEAD))
    for each in (hypervisor, without_wire):
        assert row(each, "web1") == (info.domid, DomainState.DEAD)
        for designation in ("web1", str(info.domid), UUID):
            assert (each.find(designation).uuid, each.find(designation).domid) == (UUID, info.domid)
        with pytest.raises(DomainExists, match=f"Domain 'web1' already exists with ID '{info.domid}'"):
            each.create(tick_xml("web1", roms, kvm=False))
    listed = run_xm(node, "list", "web1").stdout.splitlines()[1].split()
    assert (listed[0], listed[1], listed[4]) == ("web1", str(info.domid), "---s--")
    long = run_xm(node, "list", "-l", "web1").stdout
    assert "(status 0)" in long
    assert f"(domid {info.domid})" in long
    assert "(state ---s--)" in long
    assert run_xm(node, "domstate", "web1").stdout == "shutoff\n"
    assert run_xm(node, "domid", "web1").stdout == f"{info.domid}\n"
    assert "Domain 'web1' is not started" in run_xm(node, "pause", "web1").stderr
    assert "Domain cannot be shutdown" in run_xm(node, "shutdown", "web1").stderr
    assert run_xm(node, "destroy", "web1").status == 0
    for each in (hypervisor, without_wire):
        assert each.domains() == []
        with pytest.raises(DomainNotFound):
            each.find("web1")


def test_a_kept_guest_that_is_destroyed_while_it_runs_leaves_nothing(hypervisor: LibvirtKvm, roms: Path) -> None:
    info = hypervisor.create_kept(tick_xml("web1", roms, kvm=False), MARK)
    hypervisor.destroy(info.uuid)
    assert hypervisor._connection.listAllDomains() == []


def test_after_virsh_destroy_it_is_not_shown_and_forgotten_by_the_next_create(
    hypervisor: LibvirtKvm, without_wire: LibvirtKvm, roms: Path
) -> None:
    info = hypervisor.create_kept(tick_xml("web1", roms, kvm=False, uuid=UUID), MARK)
    hypervisor._connection.lookupByUUIDString(info.uuid).destroy()
    for each in (hypervisor, without_wire):
        assert each.domains() == []
        with pytest.raises(DomainNotFound):
            each.find("web1")
    hypervisor.sweep("web1")
    assert hypervisor._connection.listAllDomains() == []


def test_a_managed_guest_loses_its_mark_when_it_is_destroyed_and_stays_known(hypervisor: LibvirtKvm, roms: Path) -> None:
    domain = hypervisor._connection.defineXML(tick_xml("web1", roms, kvm=False, uuid=UUID))
    domain.create()
    mark = Mark(Phase.RUNNING, domain.ID(), managed=True, boot=this_boot())
    hypervisor.set_mark(UUID, mark)
    assert hypervisor.marks(UUID) == (mark, mark)
    press(hypervisor, hypervisor.find("web1"), "q")
    eventually(lambda: row(hypervisor, "web1") == (mark.domid, DomainState.DEAD))
    hypervisor.destroy(UUID)
    assert row(hypervisor, "web1") == (None, DomainState.SHUTOFF)
    assert hypervisor.marks(UUID) == (None, None)


def test_a_crash_that_ends_the_guest_is_no_end_that_is_kept(hypervisor: LibvirtKvm, roms: Path) -> None:
    info = hypervisor.create_kept(tick_xml("web1", roms, kvm=False), MARK._replace(crash_ends=True))
    press(hypervisor, info, "c")
    eventually(lambda: row(hypervisor, "web1") is None)


def test_a_crashed_guest_is_kept_by_libvirt_itself(node: PrivateLibvirtd, hypervisor: LibvirtKvm, roms: Path) -> None:
    info = hypervisor.create(tick_xml("web1", roms, kvm=False, actions=("destroy", "restart", "preserve")))
    press(hypervisor, info, "c")
    eventually(lambda: row(hypervisor, "web1") == (info.domid, DomainState.CRASHED))
    assert "(status 5)" in run_xm(node, "list", "-l", "web1").stdout
    assert run_xm(node, "destroy", "web1").status == 0
    assert hypervisor.domains() == []


def test_a_kept_guest_that_cannot_start_leaves_nothing(hypervisor: LibvirtKvm, roms: Path, tmp_path: Path) -> None:
    xml = tick_xml("web1", roms, kvm=False).replace("tick.rom", "nosuch.rom")
    with pytest.raises(HypervisorError):
        hypervisor.create_kept(xml, MARK)
    assert hypervisor._connection.listAllDomains() == []


def test_a_second_create_of_a_kept_guest_leaves_the_first_as_it_is(hypervisor: LibvirtKvm, roms: Path) -> None:
    xml = tick_xml("web1", roms, kvm=False, uuid=UUID)
    info = hypervisor.create_kept(xml, MARK)
    for again in (xml, tick_xml("web1", roms, kvm=False)):
        with pytest.raises(DomainExists):
            hypervisor.create_kept(again, MARK)
    live, known = hypervisor.marks(UUID)
    assert live is not None
    assert (live.phase, live.domid, known) == (Phase.RUNNING, info.domid, live)


def test_a_listing_of_guests_that_run_asks_for_no_marks(hypervisor: LibvirtKvm, roms: Path) -> None:
    hypervisor.create(tick_xml("web1", roms, kvm=False))
    wire = hypervisor._wire
    assert wire is not None
    asked: list[int] = []
    call = wire._call

    def counted(calls: list[tuple[int, bytes]], meanwhile: Callable[[], None] = lambda: None) -> list[bytes | int]:
        asked.extend(procedure for procedure, _ in calls)
        return call(calls, meanwhile)

    wire._call = counted  # type: ignore[method-assign]
    assert len(hypervisor.domains()) == 1
    assert asked == [libvirt_wire.LIST_ALL_DOMAINS, libvirt_wire.LIST_ALL_DOMAINS, libvirt_wire.DOMAIN_GET_INFO]


# -- the keeper


class Kept:
    """A keeper on a connection of its own."""

    def __init__(self, node: PrivateLibvirtd, step: Callable[[str], None] = lambda name: None) -> None:
        self.hypervisor = connect(node.uri)
        self.logged: list[str] = []
        self.keeper = Keeper(
            Toolstack(lambda: self.hypervisor), lambda level, text: self.logged.append(f"{level} {text}"),
            Options(step=step, fresh=60.0),  # a busy machine tells of a reset late, which is not what these are about
        )  # fmt: skip
        self.keeper.watch()

    def until(self, true: Callable[[], object], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, self.logged
            self.hypervisor.wait_event(0.1)


@pytest.fixture
def kept(node: PrivateLibvirtd, hypervisor: LibvirtKvm) -> Iterator[Kept]:
    kept = Kept(node)
    yield kept
    kept.keeper.finish()
    kept.hypervisor.close()


@pytest.mark.parametrize(("key", "actions"), [("r", ("destroy", "restart", "restart")),
                                              ("q", ("restart", "restart", "restart")),
                                              ("c", ("destroy", "restart", "restart"))])  # fmt: skip
def test_with_a_keeper_a_restarted_guest_has_another_id(
    hypervisor: LibvirtKvm, kept: Kept, roms: Path, key: str, actions: tuple[str, str, str]
) -> None:
    xml = tick_xml("web1", roms, kvm=False, uuid=UUID, actions=actions, metadata=record(on_poweroff=actions[0]))
    old = hypervisor.create(xml)
    press(hypervisor, old, key)
    kept.until(lambda: any("has been restarted" in line for line in kept.logged))
    new = hypervisor.find("web1")
    assert new.domid is not None and old.domid is not None
    assert new.domid > old.domid
    assert (new.uuid, new.persistent, new.state) == (UUID, False, DomainState.RUNNING)
    assert hypervisor.marks(UUID) == (None, None)
    known = read_record(hypervisor.metadata(UUID) or "")
    assert known is not None
    assert (known.restarts, time.time() - (known.started or 0) < 20) == (1, True)
    press(hypervisor, new, "q")  # it runs


@pytest.mark.parametrize("key", ["r", "c"])
def test_without_a_keeper_a_guest_restarts_in_place(hypervisor: LibvirtKvm, roms: Path, lab_directory: Path, key: str) -> None:
    log = lab_directory / f"in-place-{key}.log"
    xml = tick_xml("web1", roms, kvm=False, actions=("destroy", "restart", "restart"), metadata=record(), log=log)
    info = hypervisor.create(xml)
    press(hypervisor, info, key)
    eventually(lambda: log.read_bytes().count(b"TICKROM-UP") == 2)
    eventually(lambda: row(hypervisor, "web1") == (info.domid, DomainState.RUNNING))  # libvirt hears of it after the guest runs


def test_the_old_domain_of_a_rename_restart_is_listed_beside_the_new_one(
    node: PrivateLibvirtd, hypervisor: LibvirtKvm, kept: Kept, roms: Path
) -> None:
    xml = tick_xml("web1", roms, kvm=False, actions=("destroy", "restart", "restart"),
                   metadata=record(on_crash="rename-restart"))  # fmt: skip
    info = hypervisor.create(xml)
    press(hypervisor, info, "c")
    kept.until(lambda: any("has been restarted" in line for line in kept.logged))
    rows = {line.split()[0]: line.split() for line in run_xm(node, "list").stdout.splitlines()[1:]}
    (copy,) = (name for name in rows if name.startswith("Domain-") and name != "Domain-0")
    assert (rows[copy][1], rows[copy][4]) == (str(info.domid), "----c-")
    assert int(rows["web1"][1]) > (info.domid or 0)
    assert run_xm(node, "destroy", copy).status == 0
    assert [info.name for info in hypervisor.domains()] == ["web1"]


def test_a_guest_in_a_loop_is_destroyed_and_xm_reset_is_no_loop(hypervisor: LibvirtKvm, kept: Kept, roms: Path) -> None:
    info = hypervisor.create(tick_xml("web1", roms, kvm=False, metadata=record(age=5)))
    hypervisor.reset(info.uuid)
    for _ in range(3):
        kept.hypervisor.wait_event(0.1)
    eventually(lambda: row(hypervisor, "web1") == (info.domid, DomainState.RUNNING))
    press(hypervisor, info, "r")
    kept.until(lambda: row(hypervisor, "web1") is None)
    assert any(line.startswith("ERROR") and "loop" in line for line in kept.logged)


def test_a_reboot_is_noticed_with_a_keeper_and_without(
    node: PrivateLibvirtd, hypervisor: LibvirtKvm, roms: Path
) -> None:
    info = hypervisor.create(tick_xml("web1", roms, kvm=False, metadata=record()))
    press(hypervisor, info, "")
    assert run_xm(node, "reboot", "-w", "web1").stdout == "Domain web1 rebooted\nAll domains rebooted\n"
    assert row(hypervisor, "web1") == (info.domid, DomainState.RUNNING)
    press(hypervisor, info, "")
    with keeper_process(node):
        assert run_xm(node, "reboot", "-w", "web1").stdout == "Domain web1 rebooted\nAll domains rebooted\n"
        eventually(lambda: (row(hypervisor, "web1") or (0, ""))[0] not in (0, None, info.domid))


KEEPER = """
import os, signal, sys
from xmcompat.toolstack import Toolstack
from xmcompat.xend.keeper import Keeper, Options
def step(name):
    if name == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
toolstack = Toolstack.open(sys.argv[1])
keeper = Keeper(toolstack, lambda level, text: None, Options(step=step, fresh=60.0))
keeper.watch()
keeper.catch_up()
print("ready", flush=True)
while True:
    toolstack.hypervisor.wait_event(1.0)
"""


class keeper_process:
    """A keeper in a process of its own, which kills itself before the step DIES_AT. It sees the node's own /run."""

    def __init__(self, node: PrivateLibvirtd, dies_at: str = "") -> None:
        self.argv = ["nsenter", f"--target={node.pid}", "--mount", sys.executable, "-c", KEEPER, node.uri, dies_at]

    def __enter__(self) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(
            self.argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def _is_another(info: DomainInfo, old: DomainInfo) -> bool:
    return info.domid != old.domid and info.state == DomainState.RUNNING and not info.persistent


@pytest.mark.parametrize("step", ["define", "copy", "start", "forget"])
def test_a_keeper_that_is_killed_loses_no_guest(
    node: PrivateLibvirtd, hypervisor: LibvirtKvm, roms: Path, step: str
) -> None:
    old = hypervisor.create(tick_xml("web1", roms, kvm=False, uuid=UUID, metadata=record(on_reboot="rename-restart")))
    press(hypervisor, old, "")
    with keeper_process(node, step) as process:
        press(hypervisor, old, "r")
        assert process.wait(timeout=60) == -signal.SIGKILL
    assert (row(hypervisor, "web1") or (None,))[0] is not None, "the list has lost it"
    with keeper_process(node):
        new = hypervisor.find("web1")
        hypervisor.set_metadata(UUID, f"<guest started='{time.time() - 100!r}'>(vm (name web1))</guest>")
        press(hypervisor, new, "r")
        eventually(lambda: _is_another(hypervisor.find("web1"), new))
        new = hypervisor.find("web1")
    assert new.domid is not None and old.domid is not None
    assert new.domid > old.domid
    assert [info.state for info in hypervisor.domains() if info.name != "web1"] == [DomainState.DEAD]
    press(hypervisor, new, "q")
