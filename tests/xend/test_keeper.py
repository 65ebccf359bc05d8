"""The keeper: what follows the end of a guest, and that nothing is lost wherever the keeper itself dies."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import pytest

from tests.backends.machines import SMALL
from tests.fakes_lifecycle import DefinitionsAndDomains
from xmcompat.backends import domain_xml, kept_xml
from xmcompat.backends.hypervisor import DomainInfo, DomainState, GuestEvent
from xmcompat.backends.kept_mark import Mark, Phase
from xmcompat.backends.machine import XenRecord
from xmcompat.errors import ConnectionLost, DeviceError, HypervisorError
from xmcompat.xend.keeper import MEMORY, Keeper, Options, actions_of

UUID = "11111111-2222-4333-8444-555555555555"


class Died(BaseException):
    """The keeper's process has been killed."""


@dataclass
class World:
    """A libvirt, a keeper, and what the keeper has logged. The keeper dies before the step DIES_AT."""

    libvirt: DefinitionsAndDomains = field(default_factory=DefinitionsAndDomains)
    logged: list[tuple[str, str]] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    dies_at: str = ""

    def __post_init__(self) -> None:
        self.keeper = Keeper(
            self.libvirt, lambda level, text: self.logged.append((level, text)), Options(step=self._step)  # type: ignore[arg-type]
        )
        self.keeper.watch()

    def _step(self, name: str) -> None:
        if name == self.dies_at:
            raise Died
        self.steps.append(name)

    def tell(self, kind: str, *, by_guest: bool = True, ago: float = 0.0, domid: int = 1) -> None:
        assert self.libvirt.on_event is not None
        self.libvirt.on_event(GuestEvent(UUID, kind, by_guest, False, time.time() - ago, domid))
        self.libvirt.run()

    def end(self, cause: str) -> None:
        """What QEMU tells when libvirt resets a guest that has ended by itself."""
        if cause == "reboot":
            return self.tell("reset")
        self.tell("crash" if cause == "crash" else "off")
        return self.tell("reset", by_guest=False)

    def successor(self) -> World:
        """Another keeper, when the first is gone."""
        self.libvirt.due.clear()
        return World(self.libvirt, self.logged)

    def levels(self) -> list[str]:
        return [level for level, _ in self.logged]

    def record(self) -> XenRecord:
        record = domain_xml.read_record(self.libvirt.there[UUID].xml)
        assert record is not None
        return record


def guest(age: float = 3600.0, **actions: str) -> str:
    """The XML of a guest that was started AGE seconds ago."""
    said = " ".join(f"({name} {action})" for name, action in actions.items())
    record = XenRecord(sxp=f"(vm (name web1) {said})", started=time.time() - age)
    return domain_xml.render(replace(SMALL, name="web1", uuid=UUID, record=record))


def kept_guest(domid: int = 1, **actions: str) -> str:
    return kept_xml.marked(guest(**actions), Mark(Phase.RUNNING, domid))


def rows(world: World) -> list[tuple[str, int | None, str]]:
    return [(info.name, info.domid, info.state) for info in world.libvirt.domains()]


@pytest.mark.parametrize("cause", ["poweroff", "reboot", "crash"])
def test_a_guest_that_restarts_is_built_anew_with_another_id_and_counted(cause: str) -> None:
    world = World()
    world.libvirt.boot(guest(on_poweroff="restart"))
    world.end(cause)
    assert rows(world) == [("web1", 2, DomainState.RUNNING)]
    assert world.libvirt.defined == {}, "it was unknown to libvirt when off, and is again"
    assert world.libvirt.marks(UUID) == (None, None)
    assert world.record().restarts == 1
    assert world.record().started == pytest.approx(time.time(), abs=5)
    assert world.steps == ["doom", "pause", "define", "halt", "start", "settle", "forget"]
    assert world.levels() == ["INFO", "INFO"]


def test_a_managed_guest_is_built_anew_from_its_definition_and_stays_managed() -> None:
    world = World()
    world.libvirt.boot(guest(), defined=True)
    world.libvirt.defined[UUID] = world.libvirt.defined[UUID].replace("<vcpu placement", "<title>changed</title><vcpu placement")
    world.end("reboot")
    assert "changed" in world.libvirt.there[UUID].xml
    assert rows(world) == [("web1", 2, DomainState.RUNNING)]
    assert (UUID in world.libvirt.defined, world.libvirt.marks(UUID)) == (True, (None, None))


def test_a_guest_that_stays_after_its_power_off_does_so_after_a_reboot_as_well() -> None:
    world = World()
    world.libvirt.boot(kept_guest(on_poweroff="preserve"), defined=True)
    world.end("reboot")
    world.libvirt.off(UUID)
    assert rows(world) == [("web1", 2, DomainState.DEAD)]


@pytest.mark.parametrize(("cause", "state"), [("poweroff", DomainState.DEAD), ("reboot", DomainState.DEAD),
                                              ("crash", DomainState.CRASHED)])  # fmt: skip
def test_rename_restart_keeps_the_old_domain_under_a_name_of_its_own(cause: str, state: str) -> None:
    world = World()
    world.libvirt.boot(guest(on_poweroff="rename-restart", on_reboot="rename-restart", on_crash="rename-restart"))
    world.end(cause)
    new, old = sorted(world.libvirt.domains(), key=lambda info: info.name, reverse=True)
    assert (new.name, new.domid, new.uuid, new.persistent) == ("web1", 2, UUID, False)
    assert (old.name, old.domid, old.state) == (f"Domain-{old.uuid}", 1, state)
    world.libvirt.destroy(old.uuid)
    assert [info.name for info in world.libvirt.domains()] == ["web1"]


@pytest.mark.parametrize("action", ["restart", "rename-restart", "coredump-restart"])
@pytest.mark.parametrize("cause", ["poweroff", "reboot", "crash"])
def test_a_guest_that_restarts_within_a_minute_of_its_start_is_destroyed(cause: str, action: str) -> None:
    world = World()
    world.libvirt.boot(guest(age=59, on_poweroff=action, on_reboot=action, on_crash=action))
    world.end(cause)
    assert rows(world) == []
    assert world.levels() == ["INFO", "ERROR"]
    assert "after its start; it is destroyed" in world.logged[1][1]


def test_a_managed_guest_that_loops_is_halted() -> None:
    world = World()
    world.libvirt.boot(guest(age=1), defined=True)
    world.end("reboot")
    assert rows(world) == [("web1", None, DomainState.SHUTOFF)]


def test_a_restart_that_is_seen_late_is_counted_alone() -> None:
    """The guest may have its disks mounted again."""
    world = World()
    world.libvirt.boot(guest(age=5))
    world.tell("reset", ago=2)
    assert rows(world) == [("web1", 1, DomainState.RUNNING)]
    assert (world.record().restarts, world.steps, world.levels()) == (1, [], ["WARNING"])


def test_the_reset_button_is_nothing_that_the_guest_did() -> None:
    world = World()
    world.libvirt.boot(guest(age=5))
    world.tell("reset", by_guest=False)
    world.tell("off", by_guest=False)
    world.tell("reset", by_guest=False)
    assert (rows(world), world.logged) == ([("web1", 1, DomainState.RUNNING)], [])


@pytest.mark.parametrize("end", ["off", "crash"])
def test_the_end_of_an_earlier_domain_says_nothing_of_the_reset_of_another(end: str) -> None:
    """xm reset of a guest that was started again is not taken for the power off before."""
    world = World()
    world.tell(end)
    world.libvirt.boot(guest(age=5))
    world.tell("reset", by_guest=False, domid=2)
    assert (rows(world), world.logged) == ([("web1", 1, DomainState.RUNNING)], [])


@pytest.mark.parametrize("action", ["preserve", "destroy", "coredump-destroy"])
def test_a_crashed_guest_that_somebody_resets_runs_on(action: str) -> None:
    """libvirt itself starts none such anew."""
    world = World()
    world.libvirt.boot(guest(on_crash=action))
    world.end("crash")
    assert (rows(world), world.logged) == ([("web1", 1, DomainState.RUNNING)], [])


def test_what_is_remembered_of_ends_is_forgotten_in_time() -> None:
    world = World()
    world.tell("off", ago=MEMORY + 1)
    world.keeper.on_event(GuestEvent(UUID.replace("1", "9"), "off", True, False, time.time(), 2))
    assert len(world.keeper._ends) == 1


def test_guests_that_xm_did_not_start_are_left_alone() -> None:
    world = World()
    world.libvirt.boot(domain_xml.render(replace(SMALL, name="web1", uuid=UUID, record=None)))
    world.end("reboot")
    assert (rows(world), world.logged) == ([("web1", 1, DomainState.RUNNING)], [])


def test_what_libvirt_could_not_do_on_reboot_is_done() -> None:
    """Where power off restarts, libvirt can only restart on reboot, too."""
    for action, left in (("destroy", []), ("preserve", [("web1", 1, DomainState.DEAD)])):
        world = World()
        world.libvirt.boot(guest(on_poweroff="restart", on_reboot=action))
        world.end("reboot")
        assert rows(world) == left


def test_a_reboot_by_power_button_is_a_reboot_where_power_off_would_end_the_guest() -> None:
    world = World()
    world.libvirt.boot(guest(on_reboot="rename-restart"))
    world.end("poweroff")
    assert len(rows(world)) == 2


def test_a_guest_that_cannot_start_again_stays_in_the_list() -> None:
    world = World()
    world.libvirt.boot(guest())
    world.libvirt.refusal = HypervisorError("Cannot access storage file")
    world.end("reboot")
    assert rows(world) == [("web1", 1, DomainState.DEAD)]
    assert world.logged[-1] == (
        "ERROR", "Domain web1 could not be started again: Cannot access storage file. It stays halted.",
    )  # fmt: skip


def test_a_guest_destroyed_while_it_is_being_restarted_stays_destroyed() -> None:
    for defined in (False, True):
        world = World()
        world.libvirt.boot(guest(), defined=defined)
        halt = world.libvirt.halt

        def halt_and_destroy(uuid: str, world: World = world, halt: object = halt) -> None:
            halt(uuid)  # type: ignore[operator]
            world.libvirt.destroy(uuid)

        world.libvirt.halt = halt_and_destroy  # type: ignore[method-assign]
        world.end("reboot")
        assert rows(world) == ([("web1", None, DomainState.SHUTOFF)] if defined else [])
        assert world.levels() == ["INFO", "INFO"]


@pytest.mark.parametrize("action", ["restart", "preserve"])
@pytest.mark.parametrize("defined", [False, True])
def test_a_guest_destroyed_before_its_new_definition_is_there_stays_destroyed(defined: bool, action: str) -> None:
    world = World()
    world.libvirt.boot(guest(on_reboot=action), defined=defined)
    define_again = world.libvirt.define_again

    def destroy_and_define(xml: str) -> None:
        world.libvirt.destroy(UUID)
        define_again(xml)

    world.libvirt.define_again = destroy_and_define  # type: ignore[method-assign]
    world.end("reboot")
    assert rows(world) == ([("web1", None, DomainState.SHUTOFF)] if defined else [])
    assert world.libvirt.defined.keys() == ({UUID} if defined else set())
    assert not defined or world.libvirt.marks(UUID) == (None, None)
    assert world.logged[-1] == ("INFO", "Domain web1 has gone meanwhile.")


def test_guests_that_restart_together_are_all_stopped_at_once() -> None:
    """Building one takes longer than another may run on."""
    world = World()
    other = UUID.replace("1", "9")
    for uuid in (UUID, other):
        world.libvirt.boot(guest().replace(UUID, uuid).replace("web1", f"web{uuid[0]}"))
    for uuid in (UUID, other):
        world.keeper.on_event(GuestEvent(uuid, "reset", True, False, time.time()))
    assert {running.state for running in world.libvirt.there.values()} == {DomainState.PAUSED}
    world.libvirt.run()
    assert sorted(rows(world)) == [("web1", 3, DomainState.RUNNING), ("web9", 4, DomainState.RUNNING)]


@pytest.mark.parametrize("age", [5.0, 3600.0])
def test_a_guest_that_is_started_again_before_its_turn_comes_is_another_one(age: float) -> None:
    """Others may have been built anew meanwhile, and the operator has not waited."""
    world = World()
    world.libvirt.boot(guest(age))
    world.keeper.on_event(GuestEvent(UUID, "reset", True, False, time.time(), 1))
    world.libvirt.destroy(UUID)
    world.libvirt.boot(guest(age))
    world.libvirt.run()
    assert rows(world) == [("web1", 2, DomainState.RUNNING)]
    assert world.logged[-1] == ("INFO", "Domain web1 has gone meanwhile.")


def test_a_daemon_that_ends_leaves_no_guest_stopped() -> None:
    world = World()
    world.libvirt.boot(guest())
    world.keeper.on_event(GuestEvent(UUID, "reset", True, False, time.time()))
    assert rows(world) == [("web1", 1, DomainState.PAUSED)]
    world.keeper.finish()
    assert rows(world) == [("web1", 2, DomainState.RUNNING)]
    world.libvirt.run()
    assert rows(world) == [("web1", 2, DomainState.RUNNING)]


def test_a_lost_connection_is_raised() -> None:
    world = World()
    world.libvirt.boot(guest())
    world.libvirt.refusal = ConnectionLost("gone")
    with pytest.raises(ConnectionLost):
        world.end("reboot")
    world.libvirt.refusal = None
    world.successor().keeper.catch_up()
    assert rows(world) == [("web1", 2, DomainState.RUNNING)]


STEPS = ["pause", "define", "halt", "copy", "start", "settle", "forget"]
WAYS = ["transient", "managed", "kept"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("action", ["restart", "rename-restart"])
@pytest.mark.parametrize("step", STEPS)
def test_wherever_the_keeper_dies_the_guest_is_there_and_the_next_one_ends_the_work(
    step: str, action: str, way: str
) -> None:
    world = World(dies_at=step)
    actions = {"on_reboot": action, "on_poweroff": "preserve" if way == "kept" else "destroy"}
    world.libvirt.boot(kept_guest(**actions) if way == "kept" else guest(**actions), defined=way != "transient")
    died = True
    try:
        world.end("reboot")
        died = False
    except Died:
        assert "web1" in {info.name for info in world.libvirt.domains()}, "the list has lost it"
        assert next(info for info in world.libvirt.domains() if info.name == "web1").domid is not None
    later = world.successor()
    later.keeper.catch_up()
    later.keeper.catch_up()
    same = died and step == "pause"
    new: DomainInfo = world.libvirt.find("web1")
    assert (new.domid, new.uuid, new.state) == (1 if same else 2, UUID, DomainState.RUNNING)
    assert new.persistent is (way != "transient")
    copies = [info for info in world.libvirt.domains() if info.name != "web1"]
    assert [(info.domid, info.state) for info in copies] == (
        [(1, DomainState.DEAD)] if action == "rename-restart" and not same else []
    )
    live, known = world.libvirt.marks(UUID)
    if way == "kept":
        assert live is not None and (live.phase, live.domid, live.copy) == (Phase.RUNNING, new.domid, "")
        assert known == live or same
    else:
        assert (live, known) == (None, None)


def test_a_guest_that_somebody_has_let_go_on_is_spared() -> None:
    for step in ("define", "halt"):
        for way in WAYS:
            world = World(dies_at=step)
            actions = {"on_poweroff": "preserve" if way == "kept" else "destroy"}
            world.libvirt.boot(kept_guest(**actions) if way == "kept" else guest(), defined=way != "transient")
            with pytest.raises(Died):
                world.end("reboot")
            world.libvirt.there[UUID].state = DomainState.RUNNING
            world.successor().keeper.catch_up()
            assert rows(world) == [("web1", 1, DomainState.RUNNING)]
            assert (UUID in world.libvirt.defined) is (way != "transient")
            known = world.libvirt.marks(UUID)[1]
            assert known is None if way != "kept" else known is not None and known.phase == Phase.RUNNING


def test_a_guest_that_the_operator_has_paused_meanwhile_is_spared() -> None:
    world = World(dies_at="define")
    world.libvirt.boot(guest())
    with pytest.raises(Died):
        world.end("reboot")
    world.libvirt.paused_by_admin.add(UUID)
    world.successor().keeper.catch_up()
    assert rows(world) == [("web1", 1, DomainState.PAUSED)]


def test_a_loop_is_stopped_by_the_next_keeper_as_well() -> None:
    world = World(dies_at="destroy")
    world.libvirt.boot(guest(age=3))
    with pytest.raises(Died):
        world.end("reboot")
    world.successor().keeper.catch_up()
    assert rows(world) == []


def test_what_is_left_of_an_ended_domain_is_forgotten() -> None:
    world = World()
    world.libvirt.boot(kept_guest(on_poweroff="preserve"), defined=True)
    world.libvirt.halt(UUID)  # as virsh destroy does
    assert rows(world) == []
    world.keeper.catch_up()
    assert world.libvirt.defined == {}


def test_actions_are_those_of_the_configuration_or_xms_own() -> None:
    def of(form: str) -> tuple[str, ...]:
        return tuple(action.value for action in actions_of(XenRecord(sxp=form)))

    assert of("(vm (name a))") == ("destroy", "restart", "restart")
    assert of("(vm (restart onreboot))") == ("destroy", "restart", "destroy")
    assert of("(vm (on_poweroff preserve) (on_crash coredump-restart))") == ("preserve", "restart", "coredump-restart")
    assert of("(vm (on_reboot nonsense))") == ("destroy", "destroy", "restart")
    assert of("spoilt (") == ("destroy", "restart", "restart")


# -- the interfaces of one that is built anew


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to the host's ends of interfaces, all of which are to be set up before their guests run."""
    done: list[str] = []
    monkeypatch.setattr("xmcompat.connecting.is_ours", lambda hypervisor: True)
    monkeypatch.setattr("xmcompat.connecting.waits", lambda xml: True)
    monkeypatch.setattr("xmcompat.connecting.connect", lambda hypervisor, info: done.append(f"connect {info.domid} {info.state}"))
    monkeypatch.setattr("xmcompat.vif_traces.leaving", lambda hypervisor, info: (info.domid,))
    monkeypatch.setattr("xmcompat.vif_traces.gone", lambda ends, info: done.append(f"gone {ends[0]}"))
    return done


def test_the_new_one_is_connected_before_it_runs(ours: list[str]) -> None:
    world = World()
    world.libvirt.boot(guest())
    world.end("reboot")
    assert ours == ["gone 1", "connect 2 paused"]
    assert rows(world) == [("web1", 2, DomainState.RUNNING)]


def test_one_that_cannot_be_connected_stays_halted(ours: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(hypervisor: object, info: DomainInfo) -> None:
        raise DeviceError("Device 0 (vif) could not be connected. no tc today")

    monkeypatch.setattr("xmcompat.connecting.connect", refuse)
    monkeypatch.setattr("xmcompat.vif_traces.end", lambda hypervisor, info, call: call(info.uuid))
    world = World()
    world.libvirt.boot(guest(), defined=True)
    world.end("reboot")
    assert rows(world) == [("web1", None, DomainState.SHUTOFF)] or rows(world)[0][2] == DomainState.DEAD
    assert world.logged[-1][1] == (
        "Domain web1 could not be started again: Device 0 (vif) could not be connected. no tc today. It stays halted."
    )


@pytest.mark.parametrize("step", ["settle", "forget"])
def test_a_keeper_that_dies_leaves_none_paused(ours: list[str], step: str) -> None:
    world = World()
    world.libvirt.boot(guest())
    world.dies_at = step
    with pytest.raises(Died):
        world.end("reboot")
    world.successor().keeper.catch_up()
    assert rows(world) == [("web1", 2, DomainState.RUNNING)]


def test_what_libvirt_tells_of_starts_and_ends_is_no_end_of_a_guest() -> None:
    told: list[str] = []
    keeper = Keeper(DefinitionsAndDomains(), print, on_change=lambda event: told.append(event.kind))  # type: ignore[arg-type]
    for kind in ("runs", "gone"):
        keeper.on_event(GuestEvent(UUID, kind, True, False, time.time()))
    assert told == ["runs", "gone"] and keeper._ends == {}
