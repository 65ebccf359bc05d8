"""``xm migrate`` over hypervisors in memory: words, errors, what is shown, and which copy is left."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.fakes_migration import COPYING
from tests.fakes_peer import URI, FakePeer, FakePending, FakeWay
from tests.fakes_saving import xml_of
from tests.xm.conftest import Xm
from xmcompat import moving
from xmcompat.backends.hypervisor import DomainState
from xmcompat.backends.migration import MigrationPhase, MigrationState, Progress
from xmcompat.errors import MigrationLost, MigrationRefused, OperationError
from xmcompat.migrating import Request
from xmcompat.migration.facts import FileKind, Finding, HostFacts, Prepared, Resolved, SeenDisk, Sight, Taken, WantedDisk
from xmcompat.migration.same_disk import late_findings
from xmcompat.migration.wire import PeerLost
from xmcompat.render.migration import progress_line
from xmcompat.xm.migrate import ProgressLine
from xmcompat.xm.signals import Ended

WEB1 = domain("web1", 7, uuid="11111111-2222-4333-8444-555555555555")
USAGE = "Usage: xm migrate <Domain> <Host>\n\nMove a domain to another host.\n"
ROOMY = HostFacts(hostname="node2", free_memory=8 << 20, bridges=("xenbr0",), emulator="7.2.0", libvirt="9.0.0")


@dataclass
class Begun:
    """The way to another host that nobody goes."""

    host: str
    port: int | None = None
    ssl: bool | None = None
    closed: bool = False

    def __enter__(self) -> Begun:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Begun]:
    """The ways that were begun."""
    made: list[Begun] = []

    def begin(host: str, *, port: int | None, ssl: bool | None) -> Begun:
        made.append(Begun(host, port, ssl))
        return made[-1]

    monkeypatch.setattr("xmcompat.peers.Begun", begin)
    return made


@pytest.fixture
def there() -> FakeHypervisor:
    """The other host's hypervisor."""
    return FakeHypervisor(uri="fake:///there")


@pytest.fixture
def web1(host: FakeHypervisor, there: FakeHypervisor) -> FakeHypervisor:
    """This host, with a guest that runs."""
    host.known[WEB1.uuid] = WEB1
    host.xml[WEB1.uuid] = xml_of(WEB1)
    host.others[URI] = there
    return host


@pytest.fixture
def way(web1: FakeHypervisor, there: FakeHypervisor, monkeypatch: pytest.MonkeyPatch) -> FakeWay:
    """The way to the other host."""
    made = FakeWay(FakePeer(there, ROOMY))
    monkeypatch.setattr("xmcompat.migrating.open_way", lambda request, hypervisor, begun: made)
    monkeypatch.setattr("xmcompat.vantage._resolved", lambda name: Resolved(name=name, addresses=("192.0.2.2",)))
    monkeypatch.setattr("xmcompat.migrating.PATIENCE", 0.3)
    return made


@pytest.fixture
def asked(way: FakeWay, monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The requests with which the way was opened."""
    requests: list[Request] = []

    def open_way(request: Request, hypervisor: FakeHypervisor, begun: Begun) -> FakeWay:
        assert (begun.host, begun.port, begun.ssl) == (request.host, request.port, request.ssl)
        requests.append(request)
        return way

    monkeypatch.setattr("xmcompat.migrating.open_way", open_way)
    return requests


# -- words


@pytest.mark.parametrize("words", [(), ("web1",), ("web1", "node2", "more")])
def test_two_operands_are_wanted(xm: Xm, words: tuple[str, ...]) -> None:
    status, out, err = xm("migrate", *words)
    assert (status, err) == (1, "Error: Invalid number of arguments\n")
    assert out.startswith(USAGE)
    assert "-l, --live" in out


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_shows_the_options(xm: Xm, option: str) -> None:
    status, out, err = xm("migrate", option)
    assert (status, err) == (1, "")
    assert out.startswith(USAGE)


@pytest.mark.parametrize(
    "words", [("-p", "x"), ("--port=x",), ("-n", "1.5"), ("-r", "fast"), ("--deadline=soon",), ("--deadline=0",),
              ("-p", "65536"), ("--port=-1",)]
)
def test_a_bad_number_is_named_without_usage(xm: Xm, way: FakeWay, words: tuple[str, ...]) -> None:
    value = words[-1].rpartition("=")[2]
    assert xm("migrate", *words, "web1", "node2") == (1, "", f"Error: Invalid value: {value}\n")
    assert way.peer.asked == []


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ((), Request("node2")),
        (("-l",), Request("node2", live=True)),
        (("--live",), Request("node2", live=True)),
        (("-p", "8003"), Request("node2", port=8003)),
        (("--port=0",), Request("node2")),
        (("--node=-1",), Request("node2")),
        (("-s",), Request("node2", ssl=True)),
        (("--ssl",), Request("node2", ssl=True)),
        (("-r", "1000"), Request("node2", bandwidth=119)),
        (("--resource=1",), Request("node2", bandwidth=1)),
        (("--with-disks",), Request("node2", with_disks=True)),
        (("--finish=post-copy", "--deadline=60"), Request("node2", policy="post-copy", deadline=60.0)),
    ],
)
def test_options_are_read_before_and_after_the_operands(
    xm: Xm, web1: FakeHypervisor, asked: list[Request], words: tuple[str, ...], wanted: Request
) -> None:
    assert xm("migrate", *words, "web1", "node2") == (0, "", "")
    assert asked == [wanted]
    web1.known[WEB1.uuid] = WEB1
    web1.others[URI].known.clear()
    assert xm("migrate", "web1", "node2", *words) == (0, "", "")
    assert asked == [wanted, wanted]


@pytest.mark.parametrize("words", [("-n", "1"), ("--node=1",)])
def test_a_numa_node_is_passed_over_which_is_told(xm: Xm, way: FakeWay, words: tuple[str, ...]) -> None:
    told = "Warning: node 1 is passed over: the kernel of node2 places a guest's memory\n"
    assert xm("migrate", "-l", *words, "web1", "node2") == (0, "", told)


def test_an_unknown_way_to_finish_is_refused_before_anything_is_changed(xm: Xm, way: FakeWay) -> None:
    status, _, err = xm("migrate", "--finish=soon", "web1", "node2")
    assert (status, err) == (
        1, "Error: 'soon' is no way to finish a migration; known: auto-converge, post-copy, stop, give-up\n"
    )  # fmt: skip
    assert "prepare" not in way.peer.asked


# -- the guest


def test_a_domain_that_has_moved_is_there_and_no_longer_here(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay
) -> None:
    assert xm("migrate", "-l", "web1", "node2") == (0, "", "")
    assert web1.known == {}
    arrived = there.known[WEB1.uuid]
    assert (arrived.name, arrived.uuid, arrived.state) == ("web1", WEB1.uuid, DomainState.RUNNING)
    assert way.peer.asked == ["look", "prepare", "connect", "state", "settle"]
    assert way.peer.closed == 1
    ((name, transfer),) = web1.transfers
    assert (name, transfer.uri, transfer.live, transfer.tls, transfer.persist) == ("web1", URI, True, True, False)


def test_without_live_it_is_stopped_first(xm: Xm, web1: FakeHypervisor, way: FakeWay) -> None:
    assert xm("migrate", "web1", "node2").status == 0
    assert not web1.transfers[0][1].live


def test_memory_goes_slowly_until_the_interfaces_are_set_up_there(xm: Xm, web1: FakeHypervisor, way: FakeWay) -> None:
    web1.migration_looks["web1"] = 6
    way.peer.pending = FakePending(looks=3)
    assert xm("migrate", "-l", "-r", "1000", "web1", "node2") == (0, "", "")
    assert web1.transfers[0][1].bandwidth == 1
    assert web1.bandwidths == [119]


def test_the_bandwidth_is_not_changed_before_libvirt_copies_memory(xm: Xm, web1: FakeHypervisor, way: FakeWay) -> None:
    """libvirt would put its own in the place of it."""
    web1.migration_looks["web1"] = 4
    web1.migration_told["web1"] = [Progress(MigrationPhase.SETUP), Progress(MigrationPhase.SETUP)]
    assert xm("migrate", "-l", "web1", "node2") == (0, "", "")
    assert web1.bandwidths == []


@pytest.fixture
def managed(web1: FakeHypervisor) -> FakeHypervisor:
    web1.known[WEB1.uuid] = WEB1._replace(persistent=True)
    return web1


@pytest.mark.parametrize("option", ["-c", "--change_home_server"])
def test_a_managed_domain_takes_its_entry_along_where_that_is_asked_for(
    xm: Xm, managed: FakeHypervisor, there: FakeHypervisor, way: FakeWay, option: str
) -> None:
    assert xm("migrate", option, "web1", "node2") == (0, "", "")
    assert managed.known == {}
    assert there.known[WEB1.uuid].persistent


def test_else_its_entry_stays_here(xm: Xm, managed: FakeHypervisor, there: FakeHypervisor, way: FakeWay) -> None:
    assert xm("migrate", "web1", "node2") == (0, "", "")
    assert managed.known[WEB1.uuid].state == DomainState.SHUTOFF
    assert not there.known[WEB1.uuid].persistent


def test_a_domain_that_is_not_managed_has_no_entry(xm: Xm, way: FakeWay) -> None:
    status, out, err = xm("migrate", "-c", "web1", "node2")
    assert (status, err) == (1, "Error: Domain is not a managed domain\n")
    assert out.startswith(USAGE)


@pytest.mark.parametrize("name", ["Domain-0", "0"])
def test_domain_0_stays(xm: Xm, way: FakeWay, name: str) -> None:
    assert xm("migrate", name, "node2").err == f"Error: Cannot migrate privileged domain {name}\n"


@pytest.mark.parametrize("state", [DomainState.PAUSED, DomainState.SHUTOFF, DomainState.CRASHED])
def test_a_domain_that_does_not_run_stays(xm: Xm, web1: FakeHypervisor, way: FakeWay, state: str) -> None:
    domid = None if state == DomainState.SHUTOFF else 7
    web1.known[WEB1.uuid] = WEB1._replace(state=state, domid=domid, persistent=True)
    assert xm("migrate", "web1", "node2").err == "Error: Domain is not running\n"


def test_an_unknown_domain_ends_in_3(xm: Xm, way: FakeWay, begun: list[Begun]) -> None:
    assert xm("migrate", "nosuch", "node2") == (3, "", "Error: Domain 'nosuch' does not exist.\n")
    assert begun == [Begun("node2", closed=True)]  # the way had been begun meanwhile


def test_no_way_is_begun_by_words_that_are_wrong_or_name_this_host(xm: Xm, web1: FakeHypervisor, begun: list[Begun]) -> None:
    assert xm("migrate", "-n", "x", "web1", "node2").status == 1
    assert xm("migrate", "nosuch", "localhost").status == 3
    assert begun == []


# -- before anything is changed


def test_a_host_that_cannot_be_reached_is_told_in_xends_words(
    xm: Xm, web1: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(request: Request, hypervisor: FakeHypervisor, begun: Begun) -> FakeWay:
        raise OperationError("can't connect: [Errno 111] Connection refused")

    monkeypatch.setattr("xmcompat.migrating.open_way", refused)
    assert xm("migrate", "web1", "node2").err == "Error: can't connect: [Errno 111] Connection refused\n"
    assert web1.known[WEB1.uuid] == WEB1


def test_one_obstacle_is_the_message_and_several_are_told_at_once(xm: Xm, web1: FakeHypervisor, way: FakeWay) -> None:
    full = "Not enough free memory on node2: I need 329728 KiB but only have 1024; end or shrink guests there"
    way.peer.facts = HostFacts(hostname="node2", free_memory=1024)
    status, out, err = xm("migrate", "-l", "web1", "node2")
    assert (status, err) == (1, f"Error: {full}\n")
    assert out.startswith(USAGE)
    way.peer.facts = HostFacts(
        hostname="node2", free_memory=1024, taken=(Taken(name="web1", uuid="another", life="running"),)
    )
    assert xm("migrate", "-l", "web1", "node2").err == (
        "Error: 'web1' cannot move to node2:\n"
        f"  {full}\n"
        "  VM name 'web1' already exists on node2; rename one of the two\n"
    )  # fmt: skip
    assert web1.transfers == []
    assert "prepare" not in way.peer.asked


def test_what_does_not_stop_it_is_a_warning(xm: Xm, web1: FakeHypervisor, way: FakeWay) -> None:
    way.peer.facts = HostFacts(
        hostname="node2", free_memory=8 << 20, told=(Finding(stops=False, what="it is dark there", do="bring a lamp"),)
    )
    assert xm("migrate", "-l", "web1", "node2") == (0, "", "Warning: it is dark there; bring a lamp\n")


# -- what goes wrong


def still_here(web1: FakeHypervisor, there: FakeHypervisor) -> bool:
    return web1.known == {WEB1.uuid: WEB1} and there.known == {}


def test_what_the_other_host_cannot_prepare_is_told_and_the_domain_runs_on(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay
) -> None:
    way.peer.errors["prepare"] = OperationError("no room (from node2)")
    assert xm("migrate", "web1", "node2").err == "Error: no room (from node2); 'web1' runs on here\n"
    assert still_here(web1, there)
    assert way.peer.asked[-1] == "release"


@pytest.mark.parametrize("error", [MigrationRefused("no such bridge"), MigrationLost("client socket is closed")])
def test_a_transfer_that_fails_leaves_the_domain_running_here(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay, error: MigrationRefused
) -> None:
    web1.migration_errors["web1"] = error
    web1.migration_looks["web1"] = 2
    status, _, err = xm("migrate", "web1", "node2")
    assert (status, err) == (1, f"Error: {error.message}; 'web1' runs on here\n")
    assert still_here(web1, there)
    assert way.peer.asked[-2:] == ["state", "release"]


def test_interfaces_that_cannot_be_set_up_there_keep_the_domain_here(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay
) -> None:
    web1.migration_looks["web1"] = 50
    way.peer.pending = FakePending(error=OperationError("Device 0 (vif) could not be connected. (from node2)"))
    assert xm("migrate", "-l", "web1", "node2").err == (
        "Error: Device 0 (vif) could not be connected. (from node2); 'web1' runs on here\n"
    )
    assert still_here(web1, there)


def test_a_domain_that_is_lost_is_said_to_be(xm: Xm, web1: FakeHypervisor, way: FakeWay) -> None:
    web1.migration_errors["web1"] = MigrationLost("domain is not running")
    web1.vanishes.add("web1")
    err = xm("migrate", "-l", "web1", "node2").err
    assert err.startswith("Error: domain is not running; 'web1' has ended here; start it again")


def test_a_domain_that_has_arrived_all_the_same_is_no_error(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay
) -> None:
    """libvirt's error came when it ran there already."""

    def arrive() -> None:
        web1.known.clear()
        there.known[WEB1.uuid] = WEB1._replace(domid=51)

    web1.migration_errors["web1"] = MigrationRefused("the connection was lost")
    way.peer.on_word = lambda word: arrive() if word == "state" else None
    assert xm("migrate", "-l", "web1", "node2") == (0, "", "Warning: the connection was lost\n")


def test_a_copy_that_is_paused_there_is_ended_while_it_runs_here(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay
) -> None:
    """libvirt had lost the answer to the hand-over, and let it run on here."""

    def arrive() -> None:
        if "end" not in way.peer.asked:
            there.known[WEB1.uuid] = WEB1._replace(domid=51, state=DomainState.PAUSED)
            there.migration_states[WEB1.uuid] = MigrationState.ARRIVED

    web1.migration_errors["web1"] = MigrationRefused("the connection was lost")
    way.peer.on_word = lambda word: arrive() if word == "state" else None
    assert xm("migrate", "-l", "web1", "node2").err == "Error: the connection was lost; 'web1' runs on here\n"
    assert still_here(web1, there)
    assert way.peer.asked[-2:] == ["state", "end"]


def test_a_disk_that_is_another_one_once_it_is_brought_up_there_keeps_the_domain_here(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    comes = WantedDisk(vdev="xvda", target="vda", kind=FileKind.BLOCK, path="/dev/vg0/a", size=512, needs=(("lvm", "vg0/a"),))
    way.peer.prepared = Prepared(disks=(SeenDisk(target="vda", sight=Sight.FOUND, size=1024),))
    monkeypatch.setattr("xmcompat.departure.late_findings", lambda wanted, seen, host: late_findings(replace(wanted, disks=(comes,)), seen, host))
    assert xm("migrate", "-l", "web1", "node2").err == (
        "Error: disk xvda: /dev/vg0/a is not the same on node2: it has 1024 bytes there, and 512 here; "
        "share it with node2, or have it copied; 'web1' runs on here\n"
    )
    assert still_here(web1, there) and web1.transfers == []


def test_a_conversation_that_breaks_is_taken_up_again_to_settle(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay
) -> None:
    web1.migration_looks["web1"] = 3
    way.peer.on_word = lambda word: setattr(way.peer, "lost", "state") if word == "connect" else None
    assert xm("migrate", "-l", "web1", "node2") == (0, "", "")
    assert way.reopened == 1
    assert way.peer.asked[-1] == "settle"


def test_a_host_that_cannot_be_asked_any_more_leaves_what_runs_here(
    xm: Xm, web1: FakeHypervisor, way: FakeWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    web1.migration_errors["web1"] = MigrationLost("client socket is closed")

    def never() -> FakePeer:
        raise PeerLost("node2 cannot be reached")

    monkeypatch.setattr(way, "again", never)
    way.peer.on_word = lambda word: setattr(way.peer, "lost", "state") if word == "connect" else None
    err = xm("migrate", "-l", "web1", "node2").err
    assert err.startswith("Error: client socket is closed; 'web1' runs on here; node2 cannot be asked; see 'xm list' on node2 when it ")
    assert web1.known[WEB1.uuid] == WEB1


# -- signals


@pytest.mark.parametrize("word", ["look", "prepare", "connect"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_domain_running_here(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay, capsys: pytest.CaptureFixture[str],
    word: str, number: signal.Signals,
) -> None:  # fmt: skip
    web1.migration_looks["web1"] = 50
    way.peer.on_word = lambda asked: os.kill(os.getpid(), number) if asked == word else None
    with pytest.raises(Ended) as ended:
        xm("migrate", "-l", "web1", "node2")
    assert ended.value.number == number
    assert still_here(web1, there)
    if word != "look":
        assert capsys.readouterr().err == "Warning: 'web1' runs on here\n"
        assert way.peer.asked[-1] == "release"
    assert way.peer.closed == 1


def test_a_signal_that_comes_too_late_says_where_the_domain_is(
    xm: Xm, web1: FakeHypervisor, there: FakeHypervisor, way: FakeWay, capsys: pytest.CaptureFixture[str]
) -> None:
    web1.migration_looks["web1"] = 50

    def late(word: str) -> None:
        if word == "connect":
            web1.known.clear()
            there.known[WEB1.uuid] = WEB1._replace(domid=51)
            web1.migration_looks["web1"] = 0
            os.kill(os.getpid(), signal.SIGINT)

    way.peer.on_word = late
    web1.begin_migration = lambda uuid, transfer: OverJob()  # type: ignore[method-assign, assignment]
    with pytest.raises(Ended):
        xm("migrate", "-l", "web1", "node2")
    assert capsys.readouterr().err == "Warning: it was too late to give it up: 'web1' runs on node2\n"
    assert way.peer.asked[-1] == "settle"


class OverJob:
    """A transfer that is over."""

    def ended(self, seconds: float) -> bool:
        return True

    def result(self) -> None:
        return

    def abort(self) -> None:
        return


# -- meanwhile


def test_it_is_listed_as_migrating_meanwhile(xm: Xm, web1: FakeHypervisor, way: FakeWay) -> None:
    said: list[str] = []

    def look(word: str) -> None:
        if word == "connect":
            said.append(xm("list").out)
            said.append(xm("domid", "migrating-web1").out)

    way.peer.on_word = look
    assert xm("migrate", "-l", "web1", "node2").status == 0
    assert [line.split()[0] for line in said[0].splitlines()] == ["Name", "Domain-0", "migrating-web1"]
    assert said[1] == "7\n"
    assert os.listdir(moving.moving_folder(web1.uri)) == []


def test_one_that_is_moved_already_is_not_moved_twice(xm: Xm, web1: FakeHypervisor, way: FakeWay) -> None:
    with moving.held(web1.uri, WEB1):
        assert xm("migrate", "web1", "node2").err == "Error: 'web1' is being moved already; see xm list\n"
    assert way.peer.asked == []


def test_a_mark_that_a_killed_process_left_is_none(xm: Xm, web1: FakeHypervisor, way: FakeWay) -> None:
    folder = Path(moving.moving_folder(web1.uri))
    folder.mkdir(parents=True)
    (folder / WEB1.uuid).touch()
    (folder / "of-one-that-is-gone.restored").touch()
    assert "migrating-" not in xm("list").out
    assert os.listdir(folder) == []  # so that the next look is a quick one
    (folder / WEB1.uuid).touch()
    assert xm("domid", "migrating-web1").status == 3
    assert xm("migrate", "web1", "node2").status == 0


def test_who_looks_takes_no_mark_of_one_that_moves_away(web1: FakeHypervisor) -> None:
    """Marks come and go meanwhile, by the same name."""
    over, lost, held = threading.Event(), list[str](), 0

    def look() -> None:
        while not over.wait(0.0005):
            moving.shown(web1.uri, [WEB1])

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        for number in range(150):
            with suppress(OperationError), moving.held(web1.uri, WEB1):
                held += 1
                lost += [] if moving.is_moving(web1.uri, WEB1.uuid) else [f"mark {number}"]
    finally:
        over.set()
        for looker in lookers:
            looker.join()
    assert lost == []
    assert held > 50


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    yield Terminal()


def test_progress_is_one_line_on_a_terminal_that_goes_again(terminal: Terminal) -> None:
    line = ProgressLine(terminal)
    line.progress(WEB1, "node2", COPYING)
    shown = "web1 -> node2: copying memory, 25 %, 192 MiB left, 64 MiB/s, expected downtime 300 ms"
    assert terminal.getvalue() == f"\r{shown[:79]}"
    line.note("something")
    assert terminal.getvalue().endswith(f"\r{' ' * 79}\rWarning: something\n")


def test_progress_is_not_shown_elsewhere() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream)
    line.progress(WEB1, "node2", COPYING)
    line.clear()
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (Progress(MigrationPhase.SETUP), "web1 -> node2: making ready"),
        (
            COPYING._replace(iteration=4, dirty_rate=5 << 19, throttle=20, remaining=7 << 19),
            "web1 -> node2: copying memory, 98 %, 3.5 MiB left, pass 4, 64 MiB/s, guest changes 2.5 MiB/s, guest slowed by "
            "20 %, expected downtime 300 ms",
        ),
        (Progress(MigrationPhase.DISKS, disk_total=400, disk_remaining=100), "web1 -> node2: copying disks, 75 %, 0.0 MiB left"),
    ],
)
def test_a_line_tells_what_is_known(progress: Progress, line: str) -> None:
    assert progress_line("web1", "node2", progress) == line


# -- onto the host itself


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", os.uname().nodename])
def test_a_domain_that_moves_to_its_own_host_gets_a_new_id(
    xm: Xm, web1: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("xmcompat.migrating.FOLDER", str(tmp_path / "moving"))
    assert xm("migrate", "-l", "web1", name) == (0, "", "")
    (back,) = web1.known.values()
    assert (back.name, back.uuid, back.state) == ("web1", WEB1.uuid, DomainState.RUNNING)
    assert back.domid != WEB1.domid
    assert os.listdir(tmp_path / "moving") == []
    assert (tmp_path / "moving").stat().st_mode & 0o777 == 0o700


def test_what_its_file_alone_has_is_told(
    xm: Xm, web1: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xmcompat.migrating.FOLDER", str(tmp_path / "moving"))

    def refuse(*words: object, **more: object) -> None:
        raise OperationError("no memory is left")

    monkeypatch.setattr(web1, "restore", refuse)
    file = tmp_path / "moving" / f"{WEB1.uuid}-{os.getpid()}.save"
    err = xm("migrate", "web1", "localhost").err
    assert err.startswith("Error: ")
    assert err.endswith(f"'web1' is off, and its memory is in {file}; try: xm restore {file}\n")
    assert file.exists()
