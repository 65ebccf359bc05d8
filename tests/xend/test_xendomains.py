"""``xendomains`` over a hypervisor in memory: what is started, saved and shut down, in which order, and what is said."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.fakes_peer import URI, FakePeer, FakeWay
from tests.fakes_saving import image, xml_of
from xmcompat import moving
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.errors import HypervisorError, HypervisorUnreachable
from xmcompat.migration import save_file
from xmcompat.migration.facts import HostFacts, Resolved
from xmcompat.toolstack import Toolstack
from xmcompat.xend import autostart, hoststop, xendomains
from xmcompat.xend.autostart import Report
from xmcompat.xend.hoststop import Clock, HostStop
from xmcompat.xend.sysconfig import Settings
from xmcompat.xm.signals import Ended


class Host(NamedTuple):
    fake: FakeHypervisor
    root: Path
    capsys: pytest.CaptureFixture[str]

    def auto(self, file: str, name: str) -> None:
        (self.root / "auto" / file).write_text(f"name = {name!r}\nmemory = 32\nkernel = '{self.root}/vmlinuz'\n")

    def saved(self, name: str, file: str = "") -> DomainInfo:
        info = domain(name, None)
        text = f"(domain (name {name}))".encode()
        data = b"LinuxGuestRecord" + len(text).to_bytes(4, "big") + text + image(xml_of(info))
        (self.root / "save" / (file or name)).write_bytes(data)
        return info

    def configure(self, **settings: object) -> None:
        values = {"save": f"{self.root}/save", "auto": f"{self.root}/auto", "create_usleep": 0, "usleep": 0, **settings}
        text = "".join(f'XENDOMAINS_{key.upper()}="{value}"\n' for key, value in values.items())
        (self.root / "config").write_text(text)

    def run(self, word: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        places = xendomains.Places(str(self.root / "config"), str(self.root / "lock"))
        status = xendomains.main([word], places)
        out, err = self.capsys.readouterr()
        return status, out, err

    def names(self) -> list[str]:
        return sorted(info.name for info in self.fake.known.values() if info.domid is not None)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Host:
    fake = FakeHypervisor()
    monkeypatch.setattr(Toolstack, "open", classmethod(lambda cls, uri=None: cls(lambda: fake)))
    monkeypatch.setenv("XMCOMPAT_ACCELERATOR", "tcg")
    monkeypatch.setattr(hoststop, "LOOK", 0.0)
    for folder in ("save", "auto"):
        (tmp_path / folder).mkdir()
    kernel = bytearray(4096)
    kernel[0x1FE:0x200], kernel[0x202:0x206], kernel[0x206:0x208], kernel[0x211] = b"\x55\xaa", b"HdrS", b"\x0d\x02", 1
    (tmp_path / "vmlinuz").write_bytes(kernel)
    made = Host(fake, tmp_path, capsys)
    made.configure()
    return made


# -- words, files, statuses


def test_another_word_gets_the_usage(host: Host) -> None:
    for word in ("", "bogus", "--help"):
        assert host.run(word) == (3, "Usage: xendomains {start|stop|restart|reload|status}\n", "")


@pytest.mark.parametrize(("word", "status"), [("start", 6), ("stop", 0), ("status", 6), ("restart", 6), ("reload", 6)])
def test_without_settings_nothing_is_done(host: Host, word: str, status: int) -> None:
    (host.root / "config").unlink()
    assert host.run(word) == (status, f"{host.root}/config not existing\n", "")


def test_where_nothing_answers_nothing_is_done(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect() -> FakeHypervisor:
        raise HypervisorUnreachable("Unable to connect to xend: Connection refused. Is xend running?")

    monkeypatch.setattr(Toolstack, "open", classmethod(lambda cls, uri=None: cls(connect)))
    status, out, err = host.run("start")
    assert (status, out) == (0, "")
    assert err == "Warning: nothing is done: Unable to connect to xend: Connection refused. Is xend running?\n"
    assert not (host.root / "lock").exists()


@pytest.mark.parametrize(
    ("folders", "config", "lock"),
    [
        ((), "etc/default/xendomains", "var/lock/xendomains"),
        (("etc/sysconfig",), "etc/sysconfig/xendomains", "var/lock/xendomains"),
        (("var/lock/subsys",), "etc/default/xendomains", "var/lock/subsys/xendomains"),
    ],
)
def test_places(tmp_path: Path, folders: tuple[str, ...], config: str, lock: str) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    root = str(tmp_path)
    assert xendomains.places({}, root) == (f"{root}/{config}", f"{root}/{lock}")
    assert xendomains.places({"XENDOMAINS_CONFIG": "/a", "XENDOMAINS_LOCKFILE": "/b"}, root) == ("/a", "/b")


def test_settings_without_effect_are_told(host: Host) -> None:
    (host.root / "config").write_text("reboot\nXENDOMAINS_AUTO=''\nXENDOMAINS_SAVE=''\n")
    assert host.run("start")[2] == f'Warning: {host.root}/config:1: this is no line NAME="value", and is passed over: reboot\n'


# -- start


def test_saved_guests_come_first_then_those_of_the_auto_directory(host: Host) -> None:
    host.saved("web2")
    host.saved("web1")
    host.auto("20-db", "db")
    host.auto("10-mail", "mail")
    assert host.run("start") == (0, "Restoring Xen domains: web1 web2\nStarting auto Xen domains: 10-mail 20-db\n", "")
    acts = [call for call in host.fake.calls if call[0] in ("restore", "create")]
    assert acts == [("restore", "web1"), ("restore", "web2"), ("create", "mail"), ("create", "db")]
    assert os.listdir(host.root / "save") == []
    assert all(info.state == DomainState.RUNNING for info in host.fake.known.values())


def test_a_file_goes_before_its_guest_runs(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.saved("web1")
    there: list[list[str]] = []
    unpause = host.fake.unpause

    def note(uuid: str) -> None:
        there.append(os.listdir(host.root / "save"))
        unpause(uuid)

    monkeypatch.setattr(host.fake, "unpause", note, raising=False)
    host.run("start")
    assert there == [[]]


def test_one_that_is_there_or_was_saved_is_skipped(host: Host) -> None:
    host.saved("web1")
    host.auto("web1", "web1")
    host.auto("db.cfg", "db")
    running = domain("db", 5)
    host.fake.known[running.uuid] = running
    assert host.run("start")[:2] == (
        0, "Restoring Xen domains: web1\nStarting auto Xen domains: db.cfg(skip) web1(skip)\n",
    )  # fmt: skip


def test_one_that_cannot_be_restored_stays_and_is_not_started_anew(host: Host) -> None:
    host.saved("web1")
    host.auto("web1.cfg", "web1")
    host.fake.restore_error = HypervisorError("no such disk")
    status, out, err = host.run("start")
    assert (status, host.names()) == (1, [])
    assert out == "Restoring Xen domains: web1\n\nStarting auto Xen domains: web1.cfg(skip)\n"
    assert err == f"Error: web1 could not be restored from {host.root}/save/web1: Restore failed: no such disk\n"
    assert os.listdir(host.root / "save") == ["web1"]


def test_only_files_of_xm_save_are_restored(host: Host) -> None:
    (host.root / "save" / "notes").write_text("to do")
    (host.root / "save" / "lost+found").mkdir()
    (host.root / "save" / "web9.x.unfinished").write_bytes(b"half")
    assert host.run("start") == (0, "", "")


def test_what_a_killed_save_has_left_is_told(host: Host) -> None:
    path = host.root / "save" / "web9.x.unfinished"
    path.write_bytes(image(xml_of(domain("web9"))))
    status, _, err = host.run("start")
    assert status == 0
    assert err == f"Error: {path} is what is left of a save that was broken off; try: xm restore {path}, then remove it\n"


@pytest.mark.parametrize("name", [".web1", "web1.unfinished"])
def test_a_name_like_that_of_a_hidden_or_unfinished_file_does_not_keep_a_guest_away(host: Host, name: str) -> None:
    info = domain(name, 3)
    host.fake.known[info.uuid] = info
    host.fake.xml[info.uuid] = xml_of(info)
    assert host.run("stop")[0] == 0
    assert host.run("start") == (0, f"Restoring Xen domains: {name}\n", "")
    assert (host.names(), os.listdir(host.root / "save")) == ([name], [])


def test_a_path_that_cannot_be_one_is_told_and_the_usual_one_counts(host: Host) -> None:
    (host.root / "config").write_text('XENDOMAINS_SAVE="/x\0y"\nXENDOMAINS_AUTO=/nonexistent\n')
    path = host.root / "config"
    assert host.run("reload") == (0, "", f"Warning: {path}:1: XENDOMAINS_SAVE holds a NUL byte; its usual value counts\n")


def test_without_restore_saved_files_do_not_count(host: Host) -> None:
    host.configure(restore="false")
    host.saved("web1")
    host.auto("web1", "web1")
    assert host.run("start")[1] == "Starting auto Xen domains: web1\n"
    assert host.names() == ["web1"]


def test_a_bad_configuration_does_not_keep_the_next_from_starting(host: Host) -> None:
    (host.root / "auto" / "a").write_text("memory = (\n")
    (host.root / "auto" / ".hidden").write_text("memory = (\n")
    (host.root / "auto" / "dangling").symlink_to("/nonexistent")
    host.auto("z", "web1")
    status, _, err = host.run("start")
    assert (status, host.names()) == (1, ["web1"])
    assert err.count("Error: ") == 2
    assert f"{host.root}/auto/a" in err
    assert f"{host.root}/auto/dangling" in err


def test_a_second_start_does_nothing(host: Host) -> None:
    host.run("start")
    host.auto("web1", "web1")
    assert host.run("start") == (0, "xendomains already running (lockfile exists)\n", "")
    assert host.names() == []


def test_there_is_a_pause_between_two_starts(host: Host) -> None:
    host.auto("a", "a")
    host.auto("b", "b")
    slept: list[float] = []
    settings = Settings(auto=str(host.root / "auto"), save=str(host.root / "save"), create_usleep=2.5)
    report = Report(lambda text: None, lambda line: None)
    assert autostart.start(Toolstack(lambda: host.fake), settings, report, sleep=slept.append)
    assert slept == [2.5]


def test_reload_starts_what_is_missing_and_stops_nothing(host: Host) -> None:
    host.auto("web1", "web1")
    host.run("start")
    host.auto("web2", "web2")
    other = domain("other", 9)
    host.fake.known[other.uuid] = other
    assert host.run("reload") == (0, "Starting auto Xen domains: web1(skip) web2\n", "")
    assert host.names() == ["other", "web1", "web2"]


# -- status


def test_status(host: Host) -> None:
    host.auto("web1", "web1")
    assert host.run("status") == (3, "", "")
    host.run("start")
    assert host.run("status") == (0, "Checking for xendomains: web1\n", "")
    host.auto("web2.cfg", "web2")
    host.saved("db")
    assert host.run("status") == (1, "Checking for xendomains: web1 MISS AUTO: web2 MISS SAVED: db\n", "")


# -- stop


def running(host: Host, *names: str, **changes: object) -> None:
    for number, name in enumerate(names, len(host.fake.known) + 1):
        info = domain(name, number, **changes)
        host.fake.known[info.uuid] = info
        host.fake.xml[info.uuid] = xml_of(info)


def ends_when_asked(host: Host, *but: str) -> Callable[[str], None]:
    def shutdown(uuid: str) -> None:
        info = host.fake.known[uuid]
        host.fake.calls.append(("shutdown", info.name))
        if info.name not in but:
            del host.fake.known[uuid]

    return shutdown


def test_guests_are_saved_under_their_names(host: Host) -> None:
    running(host, "web1", "web2", "web3", "web4", "web5")
    host.fake.save_looks = dict.fromkeys(("web1", "web2", "web3", "web4", "web5"), 3)
    (host.root / "lock").touch()
    status, out, err = host.run("stop")
    assert (status, err, host.names()) == (0, "", [])
    assert out == "Stopping Xen domains: web1(save) web2(save) web3(save) web4(save) web5(save)\n"
    assert sorted(os.listdir(host.root / "save")) == ["web1", "web2", "web3", "web4", "web5"]
    assert host.fake.most_saves == hoststop.SAVES_AT_ONCE
    assert not (host.root / "lock").exists()


def test_what_was_saved_comes_back(host: Host) -> None:
    running(host, "web1")
    running(host, "web2", state=DomainState.PAUSED)
    host.run("stop")
    assert host.names() == []
    host.run("start")
    assert {info.name: info.state for info in host.fake.known.values()} == {
        "web1": DomainState.RUNNING, "web2": DomainState.PAUSED,
    }  # fmt: skip


def test_one_that_cannot_be_saved_is_shut_down(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    running(host, "web1", "web2")
    host.fake.save_errors["web1"] = HypervisorError("x: No space left on device")
    monkeypatch.setattr(host.fake, "shutdown", ends_when_asked(host), raising=False)
    status, out, err = host.run("stop")
    assert (status, host.names()) == (0, [])
    assert err == (
        f"Error: web1 is not saved: can't write guest state file {host.root}/save/web1: No space left on device\n"
    )
    assert " web1(shutdown)" in out
    assert os.listdir(host.root / "save") == ["web2"]


def test_a_save_that_takes_too_long_is_given_up(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    running(host, "web1")
    host.fake.save_looks["web1"] = 10**9
    monkeypatch.setattr(host.fake, "shutdown", ends_when_asked(host), raising=False)
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += 1.0

    said: list[str] = []
    settings = Settings(save=str(host.root / "save"), stop_maxwait=20)
    stop = HostStop(Toolstack(lambda: host.fake), settings, Report(said.append, said.append), Clock(lambda: now[0], sleep))
    assert stop.run() == []
    assert "web1 is not saved: it took longer than 20 s" in said
    assert 15 <= said.count(".") <= 22
    assert os.listdir(host.root / "save") == []


def test_shutdown_requests_go_to_all_before_any_is_waited_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.configure(save="")
    running(host, "web1", "web2", "web3")
    asked: list[str] = []

    def shutdown(uuid: str) -> None:
        asked.append(host.fake.known[uuid].name)
        if len(asked) == 3:
            host.fake.known.clear()

    monkeypatch.setattr(host.fake, "shutdown", shutdown, raising=False)
    assert host.run("stop") == (
        0, "Stopping Xen domains: web1(shutdown) web2(shutdown) web3(shutdown)\n", "",
    )  # fmt: skip


def test_what_is_left_is_named(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.configure(save="", shutdown="--halt", shutdown_all="--all")
    running(host, "web1", "web2")
    monkeypatch.setattr(host.fake, "shutdown", ends_when_asked(host, "web2"), raising=False)
    status, out, err = host.run("stop")
    assert (status, err) == (1, "Error: these guests are still there: web2\n")
    assert out == "Stopping Xen domains:\nStopping all other Xen domains:\n"
    assert [call for call in host.fake.calls if call[0] == "shutdown"] == [
        ("shutdown", "web1"), ("shutdown", "web2"), ("shutdown", "web2"),
    ]  # fmt: skip


def test_auto_only_leaves_the_others_to_the_last_step(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.configure(auto_only="true")
    host.auto("web1", "web1")
    running(host, "web1", "other")
    monkeypatch.setattr(host.fake, "shutdown", ends_when_asked(host), raising=False)
    assert host.run("stop")[:2] == (
        0, "Stopping Xen domains: web1(save)\nStopping all other Xen domains: other(shutdown)\n",
    )  # fmt: skip
    assert os.listdir(host.root / "save") == ["web1"]


def test_with_every_step_off_guests_are_left_alone(host: Host) -> None:
    host.configure(save="", shutdown="", shutdown_all="")
    running(host, "web1")
    assert host.run("stop") == (1, "Stopping Xen domains:\n", "Error: these guests are still there: web1\n")
    assert host.fake.calls == []


@pytest.fixture
def node2(host: Host, monkeypatch: pytest.MonkeyPatch) -> FakeWay:
    """The way to another host, to which the guests of this one can go."""
    there = FakeHypervisor(uri="fake:///there")
    host.fake.others[URI] = there
    way = FakeWay(FakePeer(there, HostFacts(hostname="node2", free_memory=8 << 20)))
    monkeypatch.setattr("xmcompat.migrating.open_way", lambda request, hypervisor, begun: way)
    monkeypatch.setattr("xmcompat.vantage._resolved", lambda name: Resolved(name=name, addresses=("192.0.2.2",)))
    return way


def test_keys_are_sent_first_and_then_guests_are_moved(host: Host, node2: FakeWay) -> None:
    host.configure(sysrq="s u", migrate="node2 --live")
    running(host, "web1")
    running(host, "web2", state=DomainState.PAUSED)
    status, out, err = host.run("stop")
    assert (status, err) == (0, "")
    assert sorted(call[0] for call in host.fake.calls) == ["migrate", "migrate", *["send_keys"] * 4]
    assert sorted(out.removeprefix("Stopping Xen domains:").split()) == ["web1(migrate)", "web2(migrate)"]
    assert host.fake.known == {}
    assert sorted(info.state for info in node2.peer.there.known.values()) == [DomainState.PAUSED, DomainState.RUNNING]
    assert all(transfer.live for _, transfer in host.fake.transfers)


def test_what_cannot_be_moved_is_saved(host: Host, node2: FakeWay) -> None:
    host.configure(migrate="node2")
    running(host, "web1")
    node2.peer.facts = HostFacts(hostname="node2", free_memory=1024)
    status, out, err = host.run("stop")
    assert status == 0
    assert err.startswith("Error: web1 is not moved to node2: Not enough free memory on node2: ")
    assert "web1(save)" in out


@pytest.mark.parametrize(
    ("words", "why"), [("--live", "one host must be named"), ("node2 --bad", "option --bad not recognized"), ("a b", "one host")]
)
def test_words_that_are_none_of_migrates_are_told_and_guests_are_saved(host: Host, words: str, why: str) -> None:
    host.configure(migrate=words)
    running(host, "web1")
    status, _, err = host.run("stop")
    assert status == 0
    assert err.startswith(f"Error: XENDOMAINS_MIGRATE: {why}")
    assert [call[0] for call in host.fake.calls] == ["save"]


def test_a_guest_that_moves_for_too_long_is_saved(host: Host, node2: FakeWay) -> None:
    host.configure(migrate="node2", stop_maxwait="1")
    running(host, "web1")
    host.fake.migration_looks["web1"] = 10**9
    status, _, err = host.run("stop")
    assert (status, err) == (0, "Error: web1 is not moved to node2: it took longer than 1 s; 'web1' runs on here\n")
    assert [call[0] for call in host.fake.calls] == ["migrate", "save"]


def test_a_paused_guest_goes_on_to_hear_that_it_is_to_end(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.configure(save="")
    running(host, "web1", state=DomainState.PAUSED)
    monkeypatch.setattr(host.fake, "shutdown", ends_when_asked(host), raising=False)
    assert host.run("stop")[0] == 0
    assert host.fake.calls == [("unpause", "web1"), ("shutdown", "web1")]


def test_a_guest_that_stands_still_for_a_checkpoint_is_asked_to_end_after_that(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are asked before."""
    host.configure(save="", stop_maxwait="60")
    running(host, "web1", state=DomainState.PAUSED)
    running(host, "web2")
    monkeypatch.setattr(host.fake, "shutdown", ends_when_asked(host), raising=False)
    looks = 0
    with ExitStack() as stack:
        lock = stack.enter_context(moving.held(host.fake.uri, host.fake.find("web1")))
        assert lock is not None
        moving.stand_still(lock, True)

        def sleep(_seconds: float) -> None:
            nonlocal looks
            looks += 1
            if looks == 3:
                assert host.fake.calls == [("shutdown", "web2")]
                stack.close()

        monkeypatch.setattr(hoststop, "Clock", lambda: Clock(sleep=sleep))
        assert host.run("stop")[0] == 0
    assert looks == 3
    assert host.fake.calls == [("shutdown", "web2"), ("unpause", "web1"), ("shutdown", "web1")]


def test_a_guest_that_stands_still_for_longer_than_the_host_waits_is_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.configure(save="", stop_maxwait="1")
    running(host, "web1")
    monkeypatch.setattr(host.fake, "shutdown", ends_when_asked(host), raising=False)
    now = 0.0

    def sleep(_seconds: float) -> None:
        nonlocal now
        now += 0.1

    monkeypatch.setattr(hoststop, "Clock", lambda: Clock(now=lambda: now, sleep=sleep))
    with moving.held(host.fake.uri, host.fake.find("web1")) as lock:
        assert lock is not None
        moving.stand_still(lock, True)
        _, _, err = host.run("stop")
    why = "'web1' is being saved, and goes on by itself when its disks are copied"
    assert f"Error: web1 cannot be shut down: {why}\n" in err
    assert host.fake.calls == []


def test_ended_guests_that_are_kept_do_not_count(host: Host) -> None:
    running(host, "dead", state=DomainState.DEAD)
    running(host, "crashed", state=DomainState.CRASHED)
    assert host.run("stop") == (0, "", "")


@pytest.mark.parametrize("ready", [True, False])
def test_a_signal_leaves_no_save_half_done(host: Host, ready: bool) -> None:
    running(host, "web1", "web2")
    host.fake.save_looks = {"web1": 10**9, "web2": 10**9}

    def sleep(seconds: float) -> None:
        if ready:
            host.fake.save_looks.clear()
        raise Ended(15)

    settings = Settings(save=str(host.root / "save"))
    report = Report(lambda text: None, lambda line: None)
    with pytest.raises(Ended):
        HostStop(Toolstack(lambda: host.fake), settings, report, Clock(sleep=sleep)).run()
    assert sorted(host.names()) == ["web1", "web2"]
    assert os.listdir(host.root / "save") == []


def test_restart_saves_and_restores(host: Host) -> None:
    running(host, "web1")
    (host.root / "lock").touch()
    assert host.run("restart") == (0, "Stopping Xen domains: web1(save)\nRestoring Xen domains: web1\n", "")
    assert host.fake.find("web1").domid == 101
    assert (host.root / "lock").exists()


def test_the_directory_for_saves_is_made(host: Host) -> None:
    (host.root / "save").rmdir()
    running(host, "web1")
    assert host.run("stop")[0] == 0
    assert save_file.is_save_file(str(host.root / "save" / "web1"))
    assert (host.root / "save").stat().st_mode & 0o777 == 0o700
