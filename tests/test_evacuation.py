"""``xmcompat evacuate`` over hypervisors in memory: where guests go, what stays and why, and how it is taken up again."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.fakes_migration import FakeMigrationJob
from tests.fakes_peer import FakePeer, FakeWay
from tests.fakes_saving import xml_of
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.errors import MigrationLost, OperationError
from xmcompat.migrating import Request
from xmcompat.migration.facts import HostFacts, Resolved
from xmcompat.tool.main import main
from xmcompat.toolstack import Toolstack

MIB = 1024


class Fleet(NamedTuple):
    """This host, the ways to the others, and ``xmcompat evacuate localhost``."""

    here: FakeHypervisor
    ways: dict[str, FakeWay]
    run: Callable[..., tuple[int, str, str]]

    def guest(self, name: str, memory: int = 256, **changes: object) -> DomainInfo:
        info = domain(name, len(self.here.known) + 1, memory=memory * MIB, max_memory=memory * MIB)._replace(**changes)
        self.here.known[info.uuid] = info
        self.here.xml[info.uuid] = xml_of(info)
        return info

    def names(self, host: str) -> list[str]:
        return sorted(info.name for info in self.ways[host].peer.there.known.values())

    def room(self, host: str, mebibytes: int) -> None:
        self.ways[host].peer.facts = HostFacts(hostname=host, free_memory=mebibytes * MIB)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fleet:
    here = FakeHypervisor()
    ways: dict[str, FakeWay] = {}
    for host in ("node2", "node3"):
        there = FakeHypervisor(uri=f"fake:///{host}")
        uri = f"qemu+tls://{host}/system"
        here.others[uri] = there
        ways[host] = FakeWay(FakePeer(there, HostFacts(hostname=host, free_memory=4096 * MIB), host), uri)

    def open_way(request: Request, hypervisor: FakeHypervisor, begun: None = None) -> FakeWay:
        if request.host not in ways:
            raise OperationError("can't connect: [Errno 111] Connection refused")
        return ways[request.host]

    monkeypatch.setattr("xmcompat.migrating.open_way", open_way)
    monkeypatch.setattr("xmcompat.vantage._resolved", lambda name: Resolved(name=name, addresses=("192.0.2.2",)))
    monkeypatch.setattr("xmcompat.migrating.PATIENCE", 0.3)
    monkeypatch.setattr(Toolstack, "open", classmethod(lambda cls, uri=None: cls(lambda: here)))

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["evacuate", "localhost", *words])
        out, err = capsys.readouterr()
        return status, out, err

    return Fleet(here, ways, run)


TO_BOTH = ("--to", "node2", "--to", "node3")


def test_every_guest_goes_where_there_is_room(fleet: Fleet) -> None:
    for number, memory in enumerate((2000, 1500, 1000, 1000)):
        fleet.guest(f"web{number}", memory)
    fleet.room("node2", 3000)
    fleet.room("node3", 3500)
    status, out, err = fleet.run(*TO_BOTH)
    assert (status, err) == (0, "")
    assert fleet.here.known == {}
    assert sorted(fleet.names("node2") + fleet.names("node3")) == ["web0", "web1", "web2", "web3"]
    assert fleet.names("node2") and fleet.names("node3")
    assert sum(" is on node" in line for line in out.splitlines()) == 4


def test_a_plan_moves_none(fleet: Fleet) -> None:
    fleet.guest("web1", 2000)
    fleet.guest("web2", 9000)
    fleet.guest("web3", domid=None, state=DomainState.SHUTOFF, persistent=True)
    fleet.room("node3", 2500)
    fleet.room("node2", 1000)
    status, out, err = fleet.run(*TO_BOTH, "--plan")
    assert (status, err) == (1, "")
    lines = out.splitlines()
    assert lines[0] == "web1 -> node3"
    assert lines[1].startswith("web2 stays: node2: Not enough free memory on node2: ")
    assert "; node3: Not enough free memory on node3: " in lines[1]
    assert lines[2] == "web3 is off, and stays known here"
    assert fleet.here.transfers == []


def test_json_has_the_plan_and_what_came_of_it(fleet: Fleet) -> None:
    web1 = fleet.guest("web1")
    status, out, err = fleet.run("--to", "node2", "--json", "--plan")
    wanted = {"moves": [{"name": "web1", "uuid": web1.uuid, "memory": 256 * MIB, "host": "node2"}], "stays": [], "off": []}
    assert (status, json.loads(out), err) == (0, wanted, "")
    status, out, err = fleet.run("--to", "node2", "--json")
    document = json.loads(out)
    (moved,) = document.pop("moved")
    assert (status, document, err) == (0, wanted, "")
    assert (moved["name"], moved["host"], moved["error"], moved["notes"]) == ("web1", "node2", None, [])


def test_paused_guests_go_paused_and_managed_ones_take_their_entry_along(fleet: Fleet) -> None:
    fleet.guest("web1", state=DomainState.PAUSED)
    fleet.guest("web2", persistent=True)
    assert fleet.run("--to", "node2")[0] == 0
    assert fleet.here.known == {}
    arrived = {info.name: info for info in fleet.ways["node2"].peer.there.known.values()}
    assert (arrived["web1"].state, arrived["web1"].persistent) == (DomainState.PAUSED, False)
    assert (arrived["web2"].state, arrived["web2"].persistent) == (DomainState.RUNNING, True)


def test_a_few_go_at_a_time_and_share_the_bandwidth(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = FakeMigrationJob.ended

    deadline = time.monotonic() + 30

    def slowly(job: FakeMigrationJob, seconds: float) -> bool:
        """None is over before as many have begun as may."""
        time.sleep(0.01)
        return (fleet.here.most_transfers >= 3 or time.monotonic() > deadline) and ended(job, seconds)

    monkeypatch.setattr(FakeMigrationJob, "ended", slowly)
    for number in range(6):
        fleet.guest(f"web{number}")
        fleet.here.migration_looks[f"web{number}"] = 20
    assert fleet.run("--to", "node2", "--parallel", "3", "--bandwidth", "90")[0] == 0
    assert fleet.here.most_transfers == 3
    assert fleet.here.bandwidths and set(fleet.here.bandwidths) == {30}


def test_one_at_a_time_is_one(fleet: Fleet) -> None:
    for number in range(3):
        fleet.guest(f"web{number}")
        fleet.here.migration_looks[f"web{number}"] = 5
    assert fleet.run("--to", "node2", "--parallel", "1", "--cold")[0] == 0
    assert fleet.here.most_transfers == 1
    assert not any(transfer.live for _, transfer in fleet.here.transfers)


def test_one_that_fails_does_not_keep_the_others_and_goes_the_next_time(fleet: Fleet) -> None:
    fleet.guest("web1")
    fleet.guest("web2")
    fleet.here.migration_errors["web1"] = MigrationLost("client socket is closed")
    status, out, err = fleet.run("--to", "node2")
    assert status == 1
    assert err == "Error: web1: client socket is closed; 'web1' runs on here\n"
    assert fleet.names("node2") == ["web2"]
    del fleet.here.migration_errors["web1"]
    status, out, err = fleet.run("--to", "node2")
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == "web1 -> node2"
    assert fleet.names("node2") == ["web1", "web2"]
    assert fleet.run("--to", "node2") == (0, "", "")


def test_a_host_that_cannot_be_reached_takes_none(fleet: Fleet) -> None:
    fleet.guest("web1")
    status, out, _ = fleet.run("--to", "node9", "--to", "node2")
    assert (status, out.splitlines()[0]) == (0, "web1 -> node2")
    fleet.guest("web2")
    assert fleet.run("--to", "node9") == (1, "", "Error: node9: can't connect: [Errno 111] Connection refused\n")


def test_some_host_must_be_given(fleet: Fleet) -> None:
    fleet.guest("web1")
    assert fleet.run() == (
        1, "", 'Error: no host is given to which guests could go; give --to HOST, or write hosts = ["..."] below [migration]\n'
    )  # fmt: skip


def test_the_settings_may_say_where_guests_go(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("settings") / "xmcompat.toml"
    file.write_text('[migration]\nhosts = ["node3"]\nbandwidth = 64\n')
    monkeypatch.setenv("XMCOMPAT_CONFIG", str(file))
    fleet.guest("web1")
    fleet.here.migration_looks["web1"] = 20
    assert fleet.run()[1].splitlines()[0] == "web1 -> node3"
    assert fleet.here.bandwidths == [64]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_here_what_is_under_way(fleet: Fleet, number: signal.Signals) -> None:
    for name in ("web1", "web2"):
        fleet.guest(name)
        fleet.here.migration_looks[name] = 10**9
    came: list[int] = []

    def on_word(word: str) -> None:
        came.append(1)
        if word == "connect" and came.count(1) == len(came):
            os.kill(os.getpid(), number)

    fleet.ways["node2"].peer.on_word = on_word
    with pytest.raises(SystemExit) as ended:
        fleet.run("--to", "node2", "--parallel", "1")
    assert ended.value.code == 128 + number
    assert sorted(info.name for info in fleet.here.known.values()) == ["web1", "web2"]
    assert fleet.names("node2") == []
    assert len(fleet.here.transfers) == 1


def test_another_host_is_evacuated_there(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                                         tmp_path_factory: pytest.TempPathFactory) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("ssh")
    (folder / "ssh").write_text(f'#!/bin/sh\necho "$@" > {folder}/said\nexit 1\n')
    (folder / "ssh").chmod(0o755)
    (folder / "toml").write_text(f'[migration]\nssh = "{folder}/ssh"\n')
    monkeypatch.setenv("XMCOMPAT_CONFIG", str(folder / "toml"))
    assert main(["evacuate", "node9", "--to", "node2", "--plan", "--parallel", "3"]) == 1
    said = (folder / "said").read_text()
    assert said.endswith("-- node9 xmcompat evacuate localhost --tied --plan --parallel 3 --to node2\n")
