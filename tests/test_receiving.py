"""The receiving side's operations over a hypervisor in memory: what is refused, held, settled, and given back."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.lab.guests import tick_xml
from xmcompat import arrival_disks, arrival_sweep, arrivals, connecting, receiving, saved_guests, vantage
from xmcompat.backends import local_memory
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.migration import MigrationState
from xmcompat.copies import copy_of, copy_once_back
from xmcompat.errors import DeviceError, HypervisorUnreachable, OperationError, XmError
from xmcompat.migration.facts import FileKind, Life, Sight, Wanted, WantedDisk
from xmcompat.migration.wire import Greeting
from xmcompat.network.wanted import Mode, Port
from xmcompat.receiving import Receiving
from xmcompat.toolstack import Toolstack
from xmcompat.vifs import BackEnd

UUID = "11111111-2222-4333-8444-555555555555"


def nothing() -> None:
    return


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where promises are, in the place of /run; time goes quickly."""
    monkeypatch.setattr(arrivals, "folder", lambda uri: str(tmp_path / "arriving"))
    monkeypatch.setattr(receiving, "_STANDING", 0.1)
    monkeypatch.setattr(receiving, "_FINISHING", 0.4)
    monkeypatch.setenv("XMCOMPAT_ACCELERATOR", "tcg")
    yield tmp_path


class Local(FakeHypervisor):
    """One of this host."""

    def __init__(self, *infos: DomainInfo) -> None:
        super().__init__()
        self.uri = "qemu:///system"
        for info in infos:
            self.known[info.uuid] = info


def wanted(name: str = "web1", *, uuid: str = UUID, **changes: object) -> Wanted:
    xml = tick_xml(name, Path("/roms"), kvm=False, uuid=uuid)
    made = Wanted(name=name, uuid=uuid, memory=16384, max_memory=16384, vcpus=1, accelerator="qemu", xml=xml)
    return replace(made, **changes)  # type: ignore[arg-type]


def receiver(hypervisor: FakeHypervisor, logged: list[str] | None = None, alone: float = 0.3) -> Receiving:
    log = logged if logged is not None else []
    return Receiving(Toolstack(lambda: hypervisor), {}, log=lambda level, text: log.append(text), alone=alone)


def arriving(hypervisor: FakeHypervisor, state: str = DomainState.PAUSED, moving: str = MigrationState.INCOMING) -> None:
    hypervisor.known[UUID] = domain("web1", 7, uuid=UUID, state=state)
    hypervisor.migration_states[UUID] = moving


# -- prepare


def test_a_domain_is_promised_until_it_is_settled() -> None:
    hypervisor = Local()
    one = receiver(hypervisor)
    one.prepare(wanted(), nothing)
    assert [(found.name, found.memory) for found in arrivals.promised(hypervisor.uri)] == [("web1", 16384)]
    arriving(hypervisor, DomainState.RUNNING, MigrationState.ARRIVED)
    settled = one.settle(UUID, nothing)
    assert (settled.copy.life, settled.domid, settled.told) == (Life.RUNNING, 7, ())
    assert arrivals.promised(hypervisor.uri) == []


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (domain("web1", 4), "Domain 'web1' already exists with ID '4'"),
        (domain("web1", None), "VM name 'web1' already exists"),
        (domain("other", 4, uuid=UUID), "Domain 'other' already exists with ID '4'"),
        (domain("web1", 4, uuid=UUID), "Domain 'web1' already exists with ID '4'"),
    ],
)
def test_a_name_or_uuid_that_is_taken_is_refused(there: DomainInfo, said: str) -> None:
    hypervisor = Local(there)
    with pytest.raises(OperationError, match=said):
        receiver(hypervisor).prepare(wanted(), nothing)
    assert arrivals.promised(hypervisor.uri) == []


def test_a_domain_that_comes_back_may_be_known_here() -> None:
    receiver(Local(domain("web1", None, uuid=UUID))).prepare(wanted(), nothing)


def test_domain_0_does_not_come() -> None:
    with pytest.raises(OperationError, match="Domain-0"):
        receiver(Local()).prepare(wanted("Domain-0"), nothing)


@pytest.mark.parametrize("other", [wanted("web1", uuid=UUID.replace("1", "9")), wanted("web2")])
def test_what_is_coming_already_is_refused(other: Wanted) -> None:
    hypervisor = Local()
    first = receiver(hypervisor)
    first.prepare(wanted(), nothing)
    with pytest.raises(OperationError, match="already coming here from another host"):
        receiver(hypervisor).prepare(other, nothing)
    first.release(UUID, nothing)
    receiver(hypervisor).prepare(other, nothing)


@pytest.mark.parametrize(
    "changes",
    [{"uuid": "../../etc/passwd"}, {"uuid": UUID.upper().replace("1", "A")}, {"name": "web2"}, {"xml": "<domain/>"}, {"xml": "x"}],
)  # fmt: skip
def test_a_source_that_says_one_thing_and_another_is_refused(changes: dict[str, object]) -> None:
    hypervisor = Local()
    with pytest.raises(OperationError, match="in a way that cannot be used"):
        receiver(hypervisor).prepare(replace(wanted(), **changes), nothing)  # type: ignore[arg-type]
    assert arrivals.promised(hypervisor.uri) == []


def test_the_host_itself_is_no_other_host() -> None:
    hypervisor = Local()
    with pytest.raises(OperationError, match="the host itself"):
        receiver(hypervisor).hello(Greeting(xmcompat=1, uuid=hypervisor.migration_host().uuid))


def test_a_missing_bridge_is_told_in_xms_words() -> None:
    xml = tick_xml("web1", Path("/roms"), kvm=False, uuid=UUID, bridges=["br9"])
    with pytest.raises(XmError, match="Could not find bridge device br9"):
        receiver(Local()).prepare(wanted(xml=xml), nothing)


def test_a_bridge_goes_by_this_hosts_name(folder: Path) -> None:
    (folder / "xmcompat.toml").write_text('[bridge_aliases]\nbr9 = "xenbr0"\n')
    hypervisor = Local()
    hypervisor.host_bridges = ["xenbr0"]
    xml = tick_xml("web1", Path("/roms"), kvm=False, uuid=UUID, bridges=["br9"])
    one = Receiving(Toolstack(lambda: hypervisor), {"XMCOMPAT_CONFIG": str(folder / "xmcompat.toml")})
    prepared = one.prepare(wanted(xml=xml), nothing)
    assert 'bridge="xenbr0"' in prepared.xml and "br9" not in prepared.xml
    assert "br9" in one.look(wanted(xml=xml), nothing).bridges


# -- copied disks


def copied(path: Path, **changes: object) -> Wanted:
    disk = WantedDisk(vdev="xvda", target="vda", kind=FileKind.FILE, path=str(path), size=1 << 20, copy=True)
    xml = tick_xml("web1", Path("/roms"), kvm=False, uuid=UUID, disks=[path])
    return wanted(disks=(replace(disk, **changes),), xml=xml)  # type: ignore[arg-type]


def test_the_file_of_a_copied_disk_is_made_and_goes_when_the_domain_does_not_come(tmp_path: Path) -> None:
    path = tmp_path / "root.img"
    one = receiver(Local())
    prepared = one.prepare(copied(path), nothing)
    assert (path.stat().st_size, path.stat().st_mode & 0o777) == (1 << 20, 0o600)
    assert prepared.disks[0].sight == Sight.FOUND
    one.release(UUID, nothing)
    assert not path.exists()


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "root.img"
    path.write_text("precious")
    with pytest.raises(OperationError, match="would be overwritten"):
        receiver(Local()).prepare(copied(path), nothing)
    assert path.read_text() == "precious"
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OperationError, match="would be overwritten"):
        receiver(Local()).prepare(copied(path), nothing)


def test_a_disk_without_a_size_is_not_copied(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="size of the disk xvda .* is not known"):
        receiver(Local()).prepare(copied(tmp_path / "root.img", size=0), nothing)


def test_what_a_killed_receiver_has_made_is_swept(tmp_path: Path) -> None:
    path, hypervisor = tmp_path / "root.img", Local()
    child = os.fork()
    if not child:
        receiver(hypervisor).prepare(copied(path), nothing)
        os._exit(0)
    os.waitpid(child, 0)
    assert path.exists()
    arriving(hypervisor)
    arrival_sweep.sweep(hypervisor)
    assert path.exists() and arrivals.left(hypervisor.uri)
    del hypervisor.known[UUID]
    arrival_sweep.sweep(hypervisor)
    assert not path.exists() and not arrivals.left(hypervisor.uri)


def killed(hypervisor: FakeHypervisor, what: Wanted) -> None:
    """A receiver has prepared it, and was killed."""
    child = os.fork()
    if not child:
        receiver(hypervisor).prepare(what, nothing)
        os._exit(0)
    os.waitpid(child, 0)


def write(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"the guest's")


def test_the_disk_of_a_guest_that_has_run_here_is_never_swept(tmp_path: Path) -> None:
    """The receiver was killed, the guest came all the same, and was shut down before anybody looked."""
    path, hypervisor, logged = tmp_path / "root.img", Local(), list[str]()
    killed(hypervisor, copied(path))
    write(path)
    arrival_sweep.sweep(hypervisor, lambda level, text: logged.append(text))
    assert path.read_bytes().startswith(b"the guest's") and not arrivals.left(hypervisor.uri)
    assert logged == [f"{path} was made for web1, and may have what it has written here: it is left"]


def test_one_that_came_and_ended_while_nobody_spoke_with_us_keeps_its_disk(tmp_path: Path) -> None:
    path, hypervisor, logged = tmp_path / "root.img", Local(), list[str]()
    one = receiver(hypervisor, logged)
    one.prepare(copied(path), nothing)
    arriving(hypervisor)
    one.connect(UUID, nothing)
    write(path)
    del hypervisor.known[UUID]
    one.ended(False)
    assert path.exists() and not arrivals.promised(hypervisor.uri)
    assert any("it is left" in line for line in logged)


def test_what_was_seen_to_break_off_on_its_way_leaves_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, hypervisor, looks = tmp_path / "root.img", Local(), list[float]()
    one = receiver(hypervisor)
    one.prepare(copied(path), nothing)
    arriving(hypervisor)
    write(path)

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            del hypervisor.known[UUID]

    monkeypatch.setattr(receiving.time, "sleep", sleep)
    one.ended(False)
    assert len(looks) >= 3 and not path.exists()


def test_the_source_may_say_on_another_conversation_that_it_stays_there(tmp_path: Path) -> None:
    path, hypervisor = tmp_path / "root.img", Local()
    killed(hypervisor, copied(path))
    write(path)
    assert receiver(hypervisor).release(UUID, nothing).life == Life.GONE
    assert not path.exists() and not arrivals.left(hypervisor.uri)
    first = receiver(hypervisor)
    first.prepare(copied(path), nothing)
    write(path)
    receiver(hypervisor).release(UUID, nothing)
    assert not path.exists() and arrivals.promised(hypervisor.uri)
    first.ended(False)
    assert not arrivals.promised(hypervisor.uri)


def test_a_file_that_somebody_makes_in_that_moment_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "root.img"

    def lexists(there: str) -> bool:
        path.write_text("precious")
        return False

    monkeypatch.setattr(arrival_disks.os.path, "lexists", lexists)
    with pytest.raises(OperationError, match="would be overwritten"):
        receiver(Local()).prepare(copied(path), nothing)
    assert path.read_text() == "precious"


def test_a_file_that_has_taken_its_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "root.img"
    one = receiver(Local())
    one.prepare(copied(path), nothing)
    path.rename(tmp_path / "ours.img")
    path.write_text("precious")
    one.release(UUID, nothing)
    assert path.read_text() == "precious"


@pytest.mark.parametrize("named", ["root.img", "/etc/nologin-of-the-lab"])
def test_no_file_is_made_that_is_no_disk_of_the_domain(tmp_path: Path, named: str) -> None:
    with pytest.raises(OperationError, match="is no disk of the domain"):
        receiver(Local()).prepare(replace(copied(tmp_path / "root.img"), disks=copied(Path(named)).disks), nothing)
    assert not os.path.lexists(named)


def test_nothing_is_copied_onto_what_is_no_block_device(tmp_path: Path) -> None:
    path = tmp_path / "root.img"
    path.write_text("precious")
    with pytest.raises(OperationError, match="is no block device"):
        receiver(Local()).prepare(copied(path, kind=FileKind.BLOCK), nothing)


def test_nothing_is_copied_onto_a_device_that_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says so of one that is opened for one alone."""
    path, real, asked = tmp_path / "disk", os.open, list[int]()

    def opened(name: str, flags: int, *more: object, **words: object) -> int:
        if name == str(path):
            asked.append(flags)
            raise OSError(errno.EBUSY, "busy")
        return real(name, flags, *more, **words)  # type: ignore[arg-type]

    path.touch()
    monkeypatch.setattr(arrival_disks.stat, "S_ISBLK", lambda mode: True)
    monkeypatch.setattr(arrival_disks.os, "open", opened)
    with pytest.raises(OperationError, match="cannot be copied to .*/disk: it is in use"):
        receiver(Local()).prepare(copied(path, kind=FileKind.BLOCK), nothing)
    assert asked[0] & os.O_EXCL


# -- promises


@pytest.mark.parametrize("ask", ["connect", "settle", "release", "end", "state"])
@pytest.mark.parametrize("uuid", ["../precious", "", UUID.upper().replace("1", "A"), f"{UUID}\n", "web1"])
def test_what_is_no_uuid_is_no_part_of_a_path(folder: Path, uuid: str, ask: str) -> None:
    """The kernels of a domain, and its promise, lie below its uuid, and are removed with it."""
    for place in ("arriving", "kernels"):
        (folder / place).mkdir()
    (folder / "precious").write_text("precious")
    hypervisor = Local(domain("web1", 4))
    one = Receiving(Toolstack(lambda: hypervisor), {"XMCOMPAT_KERNELS": str(folder / "kernels")})
    with pytest.raises(OperationError, match="where the uuid of a domain should be"):
        getattr(one, ask)(uuid, nothing)
    assert (folder / "precious").read_text() == "precious" and hypervisor.calls == []


def test_two_at_once_are_not_promised_the_same_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_memory, "available", lambda: 500_000)
    monkeypatch.setattr(local_memory, "residents", lambda: {})
    hypervisor = Local()
    first, second = receiver(hypervisor), receiver(hypervisor)
    one = wanted("first", uuid=UUID.replace("1", "7"), memory=300_000, max_memory=300_000)
    other = wanted(memory=300_000, max_memory=300_000)
    for source, what in ((first, one), (second, other)):
        assert source.look(what, nothing).free_memory == 500_000
    first.prepare(one, nothing)
    with pytest.raises(OperationError, match=r"Not enough free memory on .*: I need \d+ KiB but only have 200000"):
        second.prepare(other, nothing)
    assert [found.name for found in arrivals.promised(hypervisor.uri)] == ["first"]


def test_who_sweeps_has_what_was_left_alone(tmp_path: Path) -> None:
    """Else what a new receiver makes in that moment would be removed with it."""
    hypervisor = Local()
    killed(hypervisor, copied(tmp_path / "root.img"))
    with arrivals.taken_over(hypervisor.uri, UUID) as kept:
        assert kept is not None and [one.path for one in kept.promise.made] == [str(tmp_path / "root.img")]
        with arrivals.taken_over(hypervisor.uri, UUID) as second:
            assert second is None
        with pytest.raises(OperationError, match="already coming here"):
            arrivals.promise(hypervisor.uri, arrivals.Promise(UUID, "web1", 5))
    again = arrivals.promise(hypervisor.uri, arrivals.Promise(UUID, "web1", 5))
    assert [one.path for one in again.promise.made] == [str(tmp_path / "root.img")]
    again.let_go()
    with arrivals.taken_over(hypervisor.uri, UUID) as kept:
        assert kept is None


def test_a_source_writes_no_lines_of_its_own_into_the_log() -> None:
    logged = list[str]()
    one = receiver(Local(), logged)
    one.hello(Greeting(xmcompat=1, hostname="web2\n[2026] INFO all is well\x1b[2J\ud800"))
    one.prepare(wanted(), nothing)
    assert logged == ["Domain web1 may come from web2[2026] INFO all is well[2J."]
    one.release(UUID, nothing)


# -- connect, settle, release


def test_connect_waits_until_the_domain_comes() -> None:
    hypervisor = Local(domain("web1", None, uuid=UUID))
    one = receiver(hypervisor)
    one.prepare(wanted(), nothing)
    looks: list[int] = []

    def going_on() -> None:
        looks.append(1)
        if len(looks) == 3:
            arriving(hypervisor)

    assert one.connect(UUID, going_on).told == ()
    assert len(looks) == 3


def test_connect_can_be_given_up() -> None:
    one = receiver(Local())

    def going_on() -> None:
        raise OperationError("given up")

    with pytest.raises(OperationError, match="given up"):
        one.connect(UUID, going_on)


def test_a_domain_that_is_there_is_never_released() -> None:
    hypervisor = Local()
    one = receiver(hypervisor)
    one.prepare(wanted(), nothing)
    arriving(hypervisor, DomainState.RUNNING, MigrationState.ARRIVED)
    assert one.release(UUID, nothing).life == Life.RUNNING
    assert arrivals.promised(hypervisor.uri) and UUID in hypervisor.known


def test_what_libvirt_leaves_of_a_domain_that_has_never_run_is_ended() -> None:
    hypervisor = Local()
    one = receiver(hypervisor)
    one.prepare(wanted(), nothing)
    arriving(hypervisor)
    assert one.release(UUID, nothing).life == Life.GONE
    assert ("destroy", "web1") in hypervisor.calls and not arrivals.promised(hypervisor.uri)


def test_one_that_stands_still_at_the_end_has_come_paused() -> None:
    hypervisor = Local()
    one = receiver(hypervisor)
    one.prepare(wanted(), nothing)
    arriving(hypervisor, moving=MigrationState.NONE)
    assert one.settle(UUID, nothing).copy.life == Life.PAUSED


def test_settling_what_is_not_there_says_so_and_keeps_the_promise() -> None:
    hypervisor = Local()
    one = receiver(hypervisor)
    one.prepare(wanted(), nothing)
    assert one.settle(UUID, nothing).copy.life == Life.GONE
    assert arrivals.promised(hypervisor.uri)


# -- interfaces


class Ends:
    """The host's ends of web1's interfaces, and what is done to them. ``marked`` are set up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *modes: Mode) -> None:
        self.done: list[str] = []
        self.marked: set[str] = set()
        self.ends = [
            BackEnd(number, Port(device=f"tap{number}", mac=f"m{number}", mode=mode, addresses=("192.0.2.1",)))
            for number, mode in enumerate(modes)
        ]
        monkeypatch.setattr(connecting, "is_ours", lambda hypervisor: True)
        monkeypatch.setattr(connecting, "back_ends", lambda *_words, **_more: tuple(self.ends))
        monkeypatch.setattr(connecting, "is_here", lambda port: True)
        monkeypatch.setattr(connecting, "is_marked", lambda port: port.mac in self.marked)
        monkeypatch.setattr(connecting, "filter_alone", lambda ends: self.done.extend(f"filter {one.port.mac}" for one in ends))
        monkeypatch.setattr(connecting, "connect", self.connect)

    def connect(self, hypervisor: FakeHypervisor, info: DomainInfo, *, only: str = "", environ: object = None) -> None:
        self.done.append(f"connect {only or 'all'} {info.state}")
        self.marked |= {one.port.mac for one in self.ends if not only or one.port.mac == only}


def test_interfaces_are_set_up_while_the_domain_comes_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ends, hypervisor = Ends(monkeypatch, Mode.BRIDGE, Mode.NAT), Local()
    one = receiver(hypervisor)
    one.prepare(wanted(), nothing)
    arriving(hypervisor)
    one.connect(UUID, nothing)
    arriving(hypervisor, DomainState.RUNNING, MigrationState.ARRIVED)
    assert one.settle(UUID, nothing).told == ()
    assert ends.done == ["connect all paused"]


def test_a_routed_one_has_its_filter_at_once_and_its_route_when_it_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its neighbours would else look for it here while it runs there."""
    ends, hypervisor = Ends(monkeypatch, Mode.ROUTE, Mode.BRIDGE), Local()
    one = receiver(hypervisor)
    one.prepare(wanted(), nothing)
    arriving(hypervisor)
    one.connect(UUID, nothing)
    assert ends.done == ["connect m1 paused", "filter m0"]
    arriving(hypervisor, DomainState.RUNNING, MigrationState.ARRIVED)
    one.settle(UUID, nothing)
    assert ends.done[2:] == ["connect m0 running"]
    assert ("pause", "web1") not in hypervisor.calls


def test_one_that_has_come_is_not_saved_here_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was restored elsewhere."""
    hypervisor = Local()
    saved_guests.note(hypervisor.uri, domain("web1", 7, uuid=UUID), "/srv/web1.save")
    assert os.path.exists(f"{saved_guests.FOLDER}/{UUID}")
    arriving(hypervisor, DomainState.RUNNING, MigrationState.ARRIVED)
    receiver(hypervisor).settle(UUID, nothing)
    assert not os.path.exists(f"{saved_guests.FOLDER}/{UUID}")


def test_one_that_runs_without_filters_stands_still_until_it_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    ends, hypervisor = Ends(monkeypatch, Mode.BRIDGE), Local()
    arriving(hypervisor, DomainState.RUNNING, MigrationState.ARRIVED)
    assert receiver(hypervisor).settle(UUID, nothing).copy.life == Life.RUNNING
    assert hypervisor.calls == [("pause", "web1"), ("unpause", "web1")]
    assert ends.done == ["connect m0 running"]


def test_one_whose_filters_cannot_be_made_stays_paused_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ends, hypervisor = Ends(monkeypatch, Mode.BRIDGE), Local()

    def fails(*_words: object, **_more: object) -> None:
        raise DeviceError("Device 0 (vif) could not be connected. no nft")

    monkeypatch.setattr(connecting, "connect", fails)
    arriving(hypervisor, DomainState.RUNNING, MigrationState.ARRIVED)
    settled = receiver(hypervisor).settle(UUID, nothing)
    assert (settled.copy.life, ends.done) == (Life.PAUSED, [])
    assert settled.told[0].line() == (
        "'web1' is there, and paused: Device 0 (vif) could not be connected. no nft; 'xm unpause web1' lets it run all the same"
    )


# -- the source has gone


def test_a_broken_conversation_is_settled_by_what_libvirt_says() -> None:
    hypervisor, logged = Local(), list[str]()
    one = receiver(hypervisor, logged)
    one.prepare(wanted(), nothing)
    arriving(hypervisor, DomainState.RUNNING, MigrationState.ARRIVED)
    one.ended(False)
    assert not arrivals.promised(hypervisor.uri)
    assert "The source of web1 has gone; the two libvirtds decide about it." in logged
    assert any("has come from" in line for line in logged)


def test_what_does_not_come_is_given_back_after_a_while(tmp_path: Path) -> None:
    hypervisor = Local()
    one = receiver(hypervisor)
    one.prepare(copied(tmp_path / "root.img"), nothing)
    one.ended(False)
    assert not arrivals.promised(hypervisor.uri) and not (tmp_path / "root.img").exists()


def test_a_farewell_gives_back_at_once() -> None:
    hypervisor = Local()
    one = receiver(hypervisor, alone=60.0)
    one.prepare(wanted(), nothing)
    one.ended(True)
    assert not arrivals.promised(hypervisor.uri)


def test_it_is_waited_for_as_long_as_libvirt_is_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hypervisor = Local()
    one = receiver(hypervisor, alone=0.0)
    one.prepare(wanted(), nothing)
    arriving(hypervisor)
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 20:
            arriving(hypervisor, DomainState.RUNNING, MigrationState.ARRIVED)

    monkeypatch.setattr(receiving.time, "sleep", sleep)
    one.ended(False)
    assert len(looks) >= 20 and not arrivals.promised(hypervisor.uri)
    assert ("destroy", "web1") not in hypervisor.calls


def test_libvirtd_may_be_away_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    hypervisor = Local()
    answers = iter([False, False, True])

    def connect() -> FakeHypervisor:
        if not next(answers, True):
            raise HypervisorUnreachable("away")
        return hypervisor

    one = Receiving(Toolstack(connect), {}, alone=5.0)
    with pytest.raises(HypervisorUnreachable):
        one.state(UUID, nothing)
    with pytest.raises(HypervisorUnreachable):
        one.state(UUID, nothing)
    assert one.state(UUID, nothing).life == Life.GONE
    gone = iter([True, True, False])

    def again() -> FakeHypervisor:
        if next(gone, False):
            raise HypervisorUnreachable("away")
        return hypervisor

    assert copy_once_back(again, UUID).life == Life.GONE


# -- what the host has


def test_memory_is_less_what_others_were_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_memory, "available", lambda: 1_000_000)
    monkeypatch.setattr(local_memory, "residents", lambda: {domain("big").uuid: 200_000})
    hypervisor = Local(domain("big", 3, memory=300_000, max_memory=300_000), domain("off", None, max_memory=900_000))
    assert receiver(hypervisor).look(wanted(), nothing).free_memory == 900_000
    kept, other = receiver(hypervisor), UUID.replace("1", "7")
    kept.prepare(wanted("coming", uuid=other, memory=100_000, max_memory=150_000), nothing)
    assert receiver(hypervisor).look(wanted(), nothing).free_memory == 750_000
    kept.release(other, nothing)
    assert receiver(hypervisor).look(wanted(), nothing).free_memory == 900_000


def test_what_is_free_is_bounded_by_the_cgroups_that_hold_us(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable:    8000000 kB\n")
    (tmp_path / "self/cgroup").write_text("4:cpu:/a\n3:memory:/a/b\n0::/\n")
    group = tmp_path / "groups/memory/a"
    (group / "b").mkdir(parents=True)
    assert local_memory.available(str(tmp_path), str(tmp_path / "groups")) == 8_000_000
    (group / "memory.limit_in_bytes").write_text(str(1 << 30))
    (group / "memory.usage_in_bytes").write_text(str(1 << 29))
    (group / "memory.stat").write_text("cache 1\ntotal_inactive_file 1048576\n")
    assert local_memory.available(str(tmp_path), str(tmp_path / "groups")) == (1 << 19) + 1024
    assert local_memory.available(str(tmp_path / "nowhere")) is None


def test_own_process_is_found_by_the_uuid_of_its_guest(tmp_path: Path) -> None:
    (tmp_path / "77").mkdir()
    (tmp_path / "77/cmdline").write_bytes(b"qemu\0-uuid\0" + UUID.encode() + b"\0-m\0")
    (tmp_path / "77/status").write_text("Name:\tqemu\nVmHWM:\t  900 kB\nVmRSS:\t  100 kB\nHugetlbPages:\t    2048 kB\n")
    assert local_memory.residents(str(tmp_path)) == {UUID: 2148}


def test_disks_as_they_are_seen_from_here(tmp_path: Path) -> None:
    image = tmp_path / "there.img"
    image.write_bytes(bytes(4096))
    disks = tuple(
        WantedDisk(vdev=f"xvd{letter}", target=f"vd{letter}", kind=FileKind.FILE, path=str(path))
        for letter, path in (("a", image), ("b", tmp_path / "no/where.img"))
    )
    seen = list(vantage.seen_disks(Local(), wanted(disks=disks)))
    assert [(one.sight, one.size, bool(one.identities)) for one in seen] == [
        (Sight.FOUND, 4096, True), (Sight.MISSING, 0, False)
    ]  # fmt: skip
    assert seen[1].why == f"there is no {tmp_path}/no"


def test_copies_are_told_in_words(tmp_path: Path) -> None:
    hypervisor = Local()
    assert copy_of(hypervisor, UUID).life == Life.GONE
    arriving(hypervisor)
    assert copy_of(hypervisor, UUID).moving == MigrationState.INCOMING
    hypervisor.known[UUID] = domain(UUID, None)  # a name that reads as the uuid
    assert copy_of(hypervisor, UUID).life == Life.GONE


def test_a_promise_that_is_being_written_counts(tmp_path: Path) -> None:
    hypervisor = Local()
    kept = arrivals.promise(hypervisor.uri, arrivals.Promise(UUID, "web1", 5))
    path = tmp_path / "arriving" / UUID
    assert json.loads(path.read_text())["memory"] == 5
    path.write_text("")
    assert [one.uuid for one in arrivals.promised(hypervisor.uri)] == [UUID]
    kept.let_go()
    kept.let_go()
    assert arrivals.promised(hypervisor.uri) == []
    assert arrival_disks.remove((), sure=True) == ()
