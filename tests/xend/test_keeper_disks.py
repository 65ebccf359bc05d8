"""The keeper and disks that are not free in the moment in which their guest starts anew."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.backends.machines import SMALL
from tests.xend.test_keeper import UUID, World, guest
from xmcompat import disk_needs, disk_owners
from xmcompat.backends import domain_xml
from xmcompat.backends.devices import Bus, Disk, NetworkSource
from xmcompat.backends.hypervisor import DomainState, GuestEvent
from xmcompat.backends.machine import XenRecord
from xmcompat.errors import HypervisorError
from xmcompat.xend import keeper

OTHER = "22222222-2222-4222-8222-222222222222"


class Writes:
    """The server of a joined disk of the guest web1, which has not written all."""

    def __init__(self, folder: Path, file: int) -> None:
        self._file = file
        disk = Disk(
            source=NetworkSource(protocol="nbd", socket=f"{folder}/nbd"), target="vda", bus=Bus.VIRTIO, vdev="xvda"
        )
        record = XenRecord(sxp="(vm (name web1) (on_reboot restart))", started=time.time() - 3600)
        self.guest = domain_xml.render(replace(SMALL, name="web1", uuid=UUID, record=record, disks=(disk,)))

    def end(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)


@contextmanager
def a_server_that_writes(folder: Path) -> Iterator[Writes]:
    folder.mkdir()
    file = os.open(folder / "busy", os.O_CREAT | os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield Writes(folder, file)
    finally:
        os.close(file)


@pytest.fixture
def writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writes]:
    monkeypatch.setattr(keeper, "MOMENT", 0.02)
    with a_server_that_writes(tmp_path / f"{UUID}-xvda") as server:
        yield server


def states(world: World) -> dict[str, str]:
    return {info.name: info.state for info in world.libvirt.domains()}


def turn(world: World) -> None:
    """Let what was put off happen once."""
    for act in [world.libvirt.due.pop(0) for _ in [*world.libvirt.due]]:
        act()


def rebooted(world: World, *uuids: str) -> None:
    for domid, uuid in enumerate(uuids, 1):
        world.keeper.on_event(GuestEvent(uuid, "reset", True, False, time.time(), domid))


def test_a_guest_whose_disk_is_still_written_waits_beside_the_others(writes: Writes) -> None:
    world = World()
    world.libvirt.boot(writes.guest)
    world.libvirt.boot(guest().replace(UUID, OTHER).replace("<name>web1<", "<name>web2<"))
    rebooted(world, UUID, OTHER)
    turn(world)
    turn(world)
    assert states(world) == {"web1": DomainState.DYING, "web2": DomainState.RUNNING}
    assert disk_owners.lives(world.libvirt, UUID), "its disks are not given back"
    writes.end()
    turn(world)
    assert states(world) == {"web1": DomainState.RUNNING, "web2": DomainState.RUNNING}
    assert [text for _, text in world.logged if "waits" in text] == [
        "Domain web1 waits for its disks: what it had is still being written."
    ]


def test_one_that_has_waited_for_too_long_stays_halted_and_it_is_said_why(
    writes: Writes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_needs, "DEADLINE", 0.2)
    world = World()
    world.libvirt.boot(writes.guest)
    began = time.monotonic()
    rebooted(world, UUID)
    world.libvirt.run()
    assert 0.2 < time.monotonic() - began < 5
    assert states(world) == {"web1": DomainState.DEAD}
    assert "could not be started again: " in world.logged[-1][1]
    assert "is not free yet: its server still writes what 'web1' had" in world.logged[-1][1]


def test_one_that_waits_is_started_before_the_keeper_goes(writes: Writes) -> None:
    world = World()
    world.libvirt.boot(writes.guest)
    rebooted(world, UUID)
    turn(world)
    assert states(world) == {"web1": DomainState.DYING}
    writes.end()
    world.keeper.finish()
    assert states(world) == {"web1": DomainState.RUNNING}


def test_one_that_waits_is_started_by_the_next_keeper(writes: Writes) -> None:
    world = World()
    world.libvirt.boot(writes.guest)
    rebooted(world, UUID)
    turn(world)
    after = world.successor()
    after.keeper.catch_up()
    assert states(world) == {"web1": DomainState.DYING}
    writes.end()
    after.libvirt.run()
    assert states(world) == {"web1": DomainState.RUNNING}


@pytest.mark.parametrize("act", ["destroyed", "started"])
def test_one_that_somebody_deals_with_while_it_waits_is_left_to_him(writes: Writes, act: str) -> None:
    world = World()
    world.libvirt.boot(writes.guest)
    rebooted(world, UUID)
    turn(world)
    if act == "destroyed":
        world.libvirt.forget(UUID)
    else:
        world.libvirt.start_again(UUID)
    before = states(world)
    writes.end()
    world.libvirt.run()
    assert states(world) == before
    assert "ERROR" not in world.levels()


def test_what_others_hold_is_not_looked_at_each_time_one_that_waits_is(
    writes: Writes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look lets guests run whose disks fail, and tries again to give back what could not be taken down."""
    world = World()
    world.libvirt.boot(writes.guest)
    rebooted(world, UUID)
    looks: list[str] = []
    monkeypatch.setattr(disk_needs, "sweep", lambda _hypervisor: looks.append("look") or ())
    world.keeper.tend()
    for _ in range(5):
        turn(world)
        world.keeper.tend()
    assert states(world) == {"web1": DomainState.DYING}
    assert looks == ["look"]
    writes.end()
    turn(world)
    world.keeper.tend()
    assert states(world) == {"web1": DomainState.RUNNING}
    assert looks == ["look", "look"]


def test_one_whose_definition_cannot_be_read_stays_halted_and_it_is_said_why(
    writes: Writes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be listed as dying for as long as xend runs."""
    world = World()
    world.libvirt.boot(writes.guest)

    def fail(_xml: str, _patience: float) -> None:
        raise HypervisorError("no such machine")

    monkeypatch.setattr(keeper.composites, "unwritten", fail)
    rebooted(world, UUID)
    turn(world)
    assert states(world) == {"web1": DomainState.DEAD}
    assert world.logged[-1] == ("ERROR", "Domain web1 could not be started again: no such machine. It stays halted.")
