"""The system's libvirt: left alone where it answers, started as this host starts it where it does not."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from xmcompat.backends import system_libvirtd
from xmcompat.backends.private_init import process_start
from xmcompat.backends.settings import DEFAULT_URI
from xmcompat.backends.system_libvirtd import Host, SystemLibvirtd
from xmcompat.errors import HypervisorUnreachable, XmError


@dataclass
class World:
    """A host whose programs are scripts in a folder. libvirt answers when the file ANSWERS is there."""

    folder: Path
    said: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("bin", "run"):
            (self.folder / name).mkdir()
        os.symlink("/bin/sleep", self.folder / "bin/sleep")
        os.symlink("/usr/bin/touch", self.folder / "bin/touch")

    @property
    def answers(self) -> Path:
        return self.folder / "answers"

    def program(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def daemon(self, name: str, script: str = "") -> None:
        """A program that makes libvirt answer, and runs until it is ended."""
        self.program(name, f"{script}\necho {name} $$ >> {self.folder}/started\ntouch {self.answers}\nexec sleep 60")

    def started(self) -> list[str]:
        path = self.folder / "started"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []

    def ask(self) -> None:
        if not self.answers.exists():
            raise HypervisorUnreachable("Unable to connect to xend: Connection refused. Is xend running?")

    def libvirtd(self, uri: str = DEFAULT_URI) -> SystemLibvirtd:
        host = Host(self.ask, (str(self.folder / "bin"),), str(self.folder / "bin/systemctl"), str(self.folder / "systemd"))
        return SystemLibvirtd(uri, str(self.folder / "run"), lambda level, text: self.said.append((level, text)), host)

    def wait_started(self, count: int) -> None:
        deadline = time.monotonic() + 10
        while len(self.started()) < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end_all(self) -> None:
        path = self.folder / "started"
        for line in path.read_text().splitlines() if path.exists() else ():
            pid = int(line.split()[1])
            try:
                if os.readlink(f"/proc/{pid}/exe").endswith("sleep"):
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                continue


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setattr(system_libvirtd, "LAST_PATIENCE", 0.2)
    monkeypatch.setattr(system_libvirtd, "START_DEADLINE", 30.0)
    world = World(tmp_path)
    yield world
    world.end_all()


def test_one_that_answers_is_left_alone(world: World) -> None:
    world.answers.touch()
    world.daemon("libvirtd")
    libvirtd = world.libvirtd()
    libvirtd.ensure()
    libvirtd.again()
    libvirtd.stop()
    assert (world.started(), world.said, libvirtd.ours()) == ([], [], [])


def test_where_there_is_none_it_is_started_and_stopped_but_for_the_log_daemon(world: World) -> None:
    world.daemon("libvirtd")
    world.program("virtlogd", f"echo virtlogd $$ >> {world.folder}/started; exec sleep 60")
    libvirtd = world.libvirtd()
    libvirtd.ensure()
    world.wait_started(2)
    assert sorted(world.started()) == ["libvirtd", "virtlogd"]
    ((name, pid),) = libvirtd.ours()
    assert name == "libvirtd"
    assert world.libvirtd().ours() == [(name, pid)], "another process knows it as well"
    libvirtd.stop()
    assert libvirtd.ours() == []
    assert not os.path.exists(f"/proc/{pid}")
    log_daemon = next(int(line.split()[1]) for line in (world.folder / "started").read_text().splitlines() if "virtlogd" in line)
    assert os.path.exists(f"/proc/{log_daemon}")
    assert [level for level, _ in world.said] == ["INFO", "INFO"]


def test_a_daemon_of_its_own_for_each_part_where_there_is_no_libvirtd(world: World) -> None:
    for name in ("virtqemud", "virtnetworkd"):
        world.daemon(name)
    libvirtd = world.libvirtd()
    libvirtd.ensure()
    world.wait_started(2)
    assert {name for name, _ in libvirtd.ours()} == {"virtqemud", "virtnetworkd"}


def test_one_that_was_started_here_and_has_died_is_started_again(world: World) -> None:
    world.daemon("libvirtd")
    libvirtd = world.libvirtd()
    libvirtd.ensure()
    ((_, first),) = libvirtd.ours()
    os.kill(first, signal.SIGKILL)
    world.answers.unlink()
    while libvirtd.ours():
        time.sleep(0.01)
    libvirtd.again()
    ((_, second),) = libvirtd.ours()
    assert second != first


def test_the_systems_own_that_was_lost_is_only_waited_for(world: World) -> None:
    world.daemon("libvirtd")
    with pytest.raises(HypervisorUnreachable):
        world.libvirtd().again()
    assert world.started() == []


def test_one_that_another_program_has_the_number_of_is_not_stopped(world: World) -> None:
    (world.folder / "run/libvirtd").write_text(f"libvirtd {os.getpid()} 1\n")
    assert process_start(os.getpid()) != "1"
    world.libvirtd().stop()
    assert world.said == []


@pytest.mark.parametrize("text", ["", "libvirtd\n", "libvirtd x y\n", "\0\xff"])
def test_a_record_that_somebody_has_spoilt_names_nothing(world: World, text: str) -> None:
    (world.folder / "run/libvirtd").write_text(text, encoding="latin-1")
    assert world.libvirtd().ours() == []


def test_one_that_ends_at_once_is_told(world: World) -> None:
    world.program("libvirtd", "exit 1")
    with pytest.raises(XmError) as raised:
        world.libvirtd().ensure()
    assert raised.value.line() == "libvirtd ended when it was started; xend-debug.log says why"


def test_one_that_ends_since_another_is_just_starting_is_no_error(world: World) -> None:
    world.program("libvirtd", f"touch {world.answers}; exit 1")
    world.libvirtd().ensure()


def test_one_that_never_answers_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_libvirtd, "START_DEADLINE", 0.3)
    world.program("libvirtd", f"echo libvirtd $$ >> {world.folder}/started; exec sleep 60")
    with pytest.raises(HypervisorUnreachable) as raised:
        world.libvirtd().ensure()
    assert "does not answer" in raised.value.line()


def test_without_libvirt_it_is_said_what_to_install(world: World) -> None:
    with pytest.raises(XmError) as raised:
        world.libvirtd().ensure()
    assert raised.value.line() == "libvirt does not answer, and libvirtd is not installed; install libvirt-daemon-system"


def test_another_hypervisor_is_nobodys_to_start(world: World) -> None:
    world.daemon("libvirtd")
    with pytest.raises(HypervisorUnreachable) as raised:
        world.libvirtd("qemu+ssh://other/system").ensure()
    assert raised.value.line() == "libvirt does not answer at qemu+ssh://other/system: Connection refused"
    assert world.started() == []


# -- with a service manager


def service_manager(world: World, listed: str, start: str = "touch {answers}") -> None:
    (world.folder / "systemd").mkdir()
    world.daemon("libvirtd")
    script = f'case $1 in list-unit-files) printf "{listed}";; start) echo "$2" > {world.folder}/asked; '
    world.program("systemctl", script + start.format(answers=world.answers) + ";; esac")


@pytest.mark.parametrize(
    ("listed", "asked"),
    [
        ("libvirtd.service enabled enabled\\n", "libvirtd.service"),
        ("libvirtd.service enabled enabled\\nvirtqemud.service disabled enabled\\n", "libvirtd.service"),
        ("libvirtd.service disabled enabled\\nvirtqemud.service enabled enabled\\n", "virtqemud.service"),
        ("libvirtd.service masked enabled\\nvirtqemud.service disabled enabled\\n", "virtqemud.service"),
    ],
)
def test_the_service_manager_is_asked_to_start_what_it_knows(world: World, listed: str, asked: str) -> None:
    service_manager(world, listed)
    libvirtd = world.libvirtd()
    libvirtd.ensure()
    assert (world.folder / "asked").read_text() == f"{asked}\n"
    assert (world.started(), libvirtd.ours()) == ([], []), "it is not ours"


def test_a_service_manager_that_knows_no_libvirt_does_not_matter(world: World) -> None:
    service_manager(world, "")
    world.libvirtd().ensure()
    assert world.started() == ["libvirtd"]


def test_what_somebody_has_forbidden_is_not_started(world: World) -> None:
    service_manager(world, "libvirtd.service masked enabled\\n")
    with pytest.raises(XmError) as raised:
        world.libvirtd().ensure()
    assert raised.value.line() == "libvirtd.service is masked; allow it with systemctl unmask libvirtd.service"
    assert world.started() == []


def test_a_service_that_fails_is_told_with_its_reason(world: World) -> None:
    service_manager(world, "libvirtd.service enabled enabled\\n", "echo 'Job failed.' >&2; exit 1")
    with pytest.raises(HypervisorUnreachable) as raised:
        world.libvirtd().ensure()
    assert raised.value.line() == "libvirtd.service cannot be started: Job failed.; see systemctl status libvirtd.service"
