"""Changes on trial: real processes in a host of the lab, whose only card the change takes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from tests.lab.lan import BareHost, address, end
from tests.lab.networks import OneHost
from tests.lab.snapshot import same

WORDS = "(network-script 'network-bridge bridge=xenbr0')"
MODULE = "xmcompat.tool"


@pytest.fixture
def lab(lan: OneHost) -> OneHost:
    lan.host.run("mkdir", "-p", "/etc/xen")
    lan.host.run("tee", "/etc/xen/xend-config.sxp", input=WORDS)
    return lan


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come to pass"
        time.sleep(0.05)


def bridged(host: BareHost) -> bool:
    return "xenbr0" in host.links()


@contextmanager
def changing(host: BareHost, seconds: int, *, prelude: str = "") -> Iterator[subprocess.Popen[str]]:
    """``up --confirm`` that waits for its answer."""
    argv = host.program_argv(MODULE, "network", "up", f"--confirm={seconds}")
    env = {**host.program_env(), "PYTHONUNBUFFERED": "1"}
    command = host.start(["sh", "-c", f'{prelude} exec "$@"', "sh", *argv] if prelude else argv, env=env)
    try:
        assert command.stderr is not None
        line = command.stderr.readline()
        assert line.startswith("The networks are changed. Type yes within"), line + command.stderr.read()
        assert bridged(host)
        yield command
    finally:
        end(command)


def processes(host: BareHost) -> list[tuple[int, int]]:
    """The command and its watchdog, as pid and parent's pid in the host."""
    found = []
    for line in host.run("ps", "-eo", "pid,ppid,args").splitlines():
        words = line.split()
        if "network up" in line and "python" in words[2]:
            found.append((int(words[0]), int(words[1])))
    return found


def command_and_watchdog(host: BareHost) -> tuple[int, int]:
    found = processes(host)
    (pair,) = [(parent, pid) for pid, parent in found if any(parent == other for other, _ in found)]
    return pair


def kill(host: BareHost, number: int, *pids: int) -> None:
    host.run("kill", f"-{number}", *map(str, pids))


# -- the answers


def test_yes_keeps_the_change_and_leaves_no_process_and_no_mark_of_the_trial(lab: OneHost) -> None:
    with changing(lab.host, 30) as command:
        assert "note-trial-0" in lab.host.run("nft", "list", "ruleset")
        _, said = command.communicate("Yes\n", timeout=20)
        assert (command.returncode, said) == (0, "")
    assert bridged(lab.host)
    assert lab.outside.pings(address(1))
    assert processes(lab.host) == []
    assert lab.host.run("nft", "list", "ruleset") == ""
    assert lab.host.program(MODULE, "network", "status").stdout == "xenbr0  a bridge with the card up0: up\n"


@pytest.mark.parametrize("answer", ["no\n", "perhaps\nno\n"])
def test_no_takes_it_back_at_once(lab: OneHost, answer: str) -> None:
    before = lab.host.snapshot()
    with changing(lab.host, 60) as command:
        _, said = command.communicate(answer, timeout=20)
        assert command.returncode == 1
        assert said.splitlines()[-1].startswith("Error: the change was not confirmed"), said
    assert same(before, lab.host.snapshot)


def test_without_an_answer_it_comes_back_by_itself(lab: OneHost) -> None:
    before = lab.host.snapshot()
    with changing(lab.host, 5) as command:
        assert command.wait(20) == 1
    assert same(before, lab.host.snapshot)


def test_another_login_can_keep_it(lab: OneHost) -> None:
    with changing(lab.host, 30) as command:
        assert lab.host.program(MODULE, "network", "confirm") == ("The change is kept.\n", "", 0)
        assert command.wait(20) == 0
    assert bridged(lab.host)
    assert lab.host.program(MODULE, "network", "confirm") == (
        "", "Error: no change of the networks waits for a confirmation\n", 1,
    )  # fmt: skip


def test_another_login_can_refuse_it(lab: OneHost) -> None:
    before = lab.host.snapshot()
    with changing(lab.host, 30) as command:
        assert lab.host.program(MODULE, "network", "confirm", "--no").status == 0
        assert command.wait(20) == 1
    assert same(before, lab.host.snapshot)


# -- what may become of the command


def test_ctrl_c_takes_it_back_at_once(lab: OneHost) -> None:
    before = lab.host.snapshot()
    with changing(lab.host, 60) as command:
        pid, _ = command_and_watchdog(lab.host)
        kill(lab.host, signal.SIGINT, pid)
        _, said = command.communicate(timeout=20)
        assert said == "Error: stopped by Ctrl-C; all is as it was before\n"
    assert same(before, lab.host.snapshot)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_a_command_that_is_killed_leaves_the_deadline(lab: OneHost, number: signal.Signals) -> None:
    before = lab.host.snapshot()
    with changing(lab.host, 10):
        pid, _ = command_and_watchdog(lab.host)
        kill(lab.host, number, pid)
        assert bridged(lab.host)
        until(lambda: not processes(lab.host), 40)
    assert same(before, lab.host.snapshot)


def test_after_the_terminal_is_gone_another_login_can_still_keep_it(lab: OneHost) -> None:
    with changing(lab.host, 30):
        pid, _ = command_and_watchdog(lab.host)
        kill(lab.host, signal.SIGHUP, pid)
        until(lambda: len(processes(lab.host)) == 1)
        assert lab.host.program(MODULE, "network", "confirm").status == 0
        until(lambda: not processes(lab.host))
    assert bridged(lab.host)


def test_a_watchdog_that_is_killed_has_the_command_take_it_back(lab: OneHost) -> None:
    before = lab.host.snapshot()
    with changing(lab.host, 60) as command:
        _, watchdog = command_and_watchdog(lab.host)
        kill(lab.host, signal.SIGKILL, watchdog)
        _, said = command.communicate(timeout=20)
        assert said.splitlines()[-1] == "Error: the watchdog of the change has died; all is as it was before"
    assert same(before, lab.host.snapshot)


def test_a_watchdog_that_is_told_to_end_takes_it_back(lab: OneHost) -> None:
    before = lab.host.snapshot()
    with changing(lab.host, 60) as command:
        _, watchdog = command_and_watchdog(lab.host)
        kill(lab.host, signal.SIGTERM, watchdog)
        assert command.wait(20) == 1
    assert same(before, lab.host.snapshot)


def test_when_both_are_killed_the_next_call_takes_it_back(lab: OneHost) -> None:
    before = lab.host.snapshot()
    with changing(lab.host, 60):
        kill(lab.host, signal.SIGKILL, *command_and_watchdog(lab.host))
        until(lambda: not processes(lab.host))
    assert "waits for a confirmation" in lab.host.program(MODULE, "network", "status").stdout
    lab.host.run("tee", "/etc/xen/xend-config.sxp", input="(network-script network-dummy)")
    said = lab.host.program(MODULE, "network", "up")
    assert "An earlier change had stopped in the middle, or was not confirmed: xenbr0 is taken away again." in said.stderr
    assert said.status == 0
    assert same(before, lab.host.snapshot)


SLOW = """\
#!/bin/sh
case "$*" in *"master xenbr0"*) echo here >/run/reached; sleep 30 ;; esac
exec {ip} "$@"
"""


@contextmanager
def slow_ip(host: BareHost, script: str) -> Iterator[subprocess.Popen[str]]:
    """``up --confirm`` whose ``ip`` is SCRIPT, once that has said where it has come to."""
    real = host.run("sh", "-c", "command -v ip").strip()
    host.run("mkdir", "-p", "/run/slow")
    host.run("tee", "/run/slow/ip", input=script.format(ip=real))
    host.run("chmod", "755", "/run/slow/ip")
    argv = host.program_argv(MODULE, "network", "up", "--confirm=60")
    command = host.start(["sh", "-c", 'PATH=/run/slow:$PATH exec "$@"', "sh", *argv], env=host.program_env())
    try:
        until(lambda: host.outcome("test", "-e", "/run/reached").status == 0)
        yield command
    finally:
        end(command)


def test_a_command_that_is_killed_between_two_steps_is_undone_at_once(lab: OneHost) -> None:
    before = lab.host.snapshot()
    with slow_ip(lab.host, SLOW):
        pid, watchdog = command_and_watchdog(lab.host)
        for child in lab.host.run("ps", "-o", "pid=", "--ppid", str(pid)).split():
            if int(child) != watchdog:
                lab.host.run("kill", "-9", "--", f"-{child}")  # it has a session of its own, with what it has started
        kill(lab.host, signal.SIGKILL, pid)
        until(lambda: not processes(lab.host))
    assert same(before, lab.host.snapshot)


LATE = """\
#!/bin/sh
case "$*" in *-batch*) echo here >/run/reached; sleep 2; {ip} "$@"; echo done >/run/acted ;; *) exec {ip} "$@" ;; esac
"""


def test_a_program_that_outlives_a_command_that_was_killed_has_ended_when_all_is_undone(lab: OneHost) -> None:
    """As one that waits for the kernel's lock of the networks: nothing but the kernel can end it."""
    before = lab.host.snapshot()
    with slow_ip(lab.host, LATE) as command:
        pid, _ = command_and_watchdog(lab.host)
        kill(lab.host, signal.SIGKILL, pid)
        until(lambda: not processes(lab.host) and lab.host.outcome("test", "-e", "/run/acted").status == 0)
        assert command.wait(20) != 0
    assert same(before, lab.host.snapshot)


# -- two at once, and connections


def test_a_second_change_is_refused_while_one_waits(lab: OneHost) -> None:
    with changing(lab.host, 30) as command:
        said = lab.host.program(MODULE, "network", "down")
        assert (said.status, said.stderr.startswith("Error: a change of the networks waits for its confirmation")) == (1, True)
        assert "is changing the networks, on trial" in lab.host.program(MODULE, "network", "status").stdout
        command.communicate("no\n", timeout=20)


def test_two_at_once_come_one_after_the_other(lab: OneHost) -> None:
    lab.host.run("tee", "/etc/xen/xend-config.sxp", input="(network-script 'network-bridge netdev=dummy0 bridge=in0')")
    argv = lab.host.program_argv(MODULE, "network", "up")
    both = [lab.host.start(argv, env=lab.host.program_env()) for _ in range(4)]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0] * 4, said
    assert sorted(out for out, _ in said) == ["", *["Nothing is to be done.\n"] * 3]


@contextmanager
def echo_server(host: BareHost) -> Iterator[int]:
    """A TCP server in the host that sends back what it gets; its port."""
    with closing(host.socket(socket.AF_INET, socket.SOCK_STREAM)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address(1), 0))
        server.listen()
        child = os.fork()
        if child == 0:
            connection, _ = server.accept()
            while data := connection.recv(100):
                connection.sendall(data)
            os._exit(0)
        try:
            yield server.getsockname()[1]
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def test_a_connection_that_the_change_cuts_off_is_there_again_afterwards(lab: OneHost) -> None:
    with echo_server(lab.host) as port, closing(lab.outside.socket(socket.AF_INET, socket.SOCK_STREAM)) as client:
        client.settimeout(30)
        client.connect((address(1), port))
        client.sendall(b"before")
        assert client.recv(100) == b"before"
        argv = lab.host.program_argv(MODULE, "network", "up", "--confirm=10")
        command = lab.host.start(argv, env=lab.host.program_env())
        try:
            until(lambda: bridged(lab.host))
            until(lambda: lab.host.json("ip", "-j", "link", "show", "up0")[0].get("master") == "xenbr0")
            rules = "table netdev cut { chain in { type filter hook ingress device xenbr0 priority 0; policy drop; }\n}\n"
            lab.host.run("nft", "-f", "-", input=rules)  # the new network does not work: a mistake of the operator's
            client.sendall(b"during")
            client.settimeout(0.7)
            with pytest.raises(TimeoutError):
                client.recv(100)
            client.settimeout(30)
            assert command.wait(20) == 1
            assert client.recv(100) == b"during"
        finally:
            end(command)
