"""``xmcompat evacuate HOST`` of another host, with programs in the place of ssh: whose words are said, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab.fixtures import CHECKOUT
from xmcompat.tool.evacuate_far import MARK

BEGINS = f"printf '{MARK.decode().rstrip()}\\n'; printf '{MARK.decode().rstrip()}\\n' >&2\n"


class Ended(NamedTuple):
    """What the program has said, and its status."""

    out: str
    err: str
    status: int


class Far:
    """``xmcompat evacuate node9`` where ssh is the shell script TEXT; ``{folder}`` is a folder of the test."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder = folder
        program = folder / "ssh"
        program.write_text("#!/bin/sh\n" + text.replace("{folder}", str(folder)))
        program.chmod(0o755)
        (folder / "xmcompat.toml").write_text(f'[migration]\nssh = "{program}"\n')

    def begun(self, *words: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        environment = {**os.environ, "XMCOMPAT_CONFIG": str(self.folder / "xmcompat.toml")}
        return subprocess.Popen(
            [sys.executable, "-m", "xmcompat.tool", "evacuate", "node9", *words], cwd=CHECKOUT, env=environment,
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ended(self, *words: str, stdout: int = subprocess.PIPE) -> Ended:
        process = self.begun(*words, stdout=stdout)
        out, err = process.communicate(timeout=30)
        return Ended(out or "", err, process.returncode)

    def moving(self) -> subprocess.Popen[str]:
        """It has begun, as the program here knows."""
        process = self.begun()
        assert process.stderr is not None
        assert process.stderr.readline() == "moves\n"
        return process

    def come(self, name: str) -> None:
        """Wait for a file that the script makes."""
        deadline = time.monotonic() + 20
        while not (self.folder / name).exists():
            assert time.monotonic() < deadline, f"{name} does not come"
            time.sleep(0.01)


@pytest.fixture
def ssh(tmp_path: Path) -> Callable[[str], Far]:
    return lambda text: Far(tmp_path, text)


def test_what_is_said_there_is_said_here_and_its_status_is_ours(ssh: Callable[[str], Far]) -> None:
    far = ssh(BEGINS + "echo 'web1 -> node2'; echo 'Error: web1: it is full there' >&2; exit 1\n")
    assert far.ended() == Ended("web1 -> node2\n", "Error: web1: it is full there\n", 1)


def test_words_of_ssh_and_of_login_shells_are_not_among_them(ssh: Callable[[str], Far]) -> None:
    far = ssh("printf 'Welcome to nine'; echo 'Warning: Permanently added it' >&2\n" + BEGINS + "echo '{\"moves\": []}'\n")
    assert far.ended("--json") == Ended('{"moves": []}\n', "", 0)


def test_they_come_while_it_goes_on(ssh: Callable[[str], Far]) -> None:
    process = ssh(BEGINS + "echo 'web1 -> node2'; cat; exit 0\n").begun()
    assert process.stdout is not None
    assert process.stdout.readline() == "web1 -> node2\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo 'ssh: connect to host node9 port 22: Connection refused' >&2; exit 255",
         "can't connect: ssh: connect to host node9 port 22: Connection refused; is node9 up, and does its sshd listen there?"),
        ("echo 'bash: line 1: xmcompat: command not found' >&2; exit 127",
         "can't connect: xmcompat cannot be started on node9: bash: line 1: xmcompat: command not found; "
         "install it there, where '{folder}/ssh node9 xmcompat --version' finds it"),
        ("echo 'Error: /etc/xmcompat/xmcompat.toml, line 1: what is this?' >&2; exit 1",
         "node9: /etc/xmcompat/xmcompat.toml, line 1: what is this?"),
        ("echo \"Error: No such option '--tied'.\" >&2; exit 2",
         "node9: No such option '--tied'.; install this version of xmcompat on node9"),
        ("exit 3", "node9: {folder}/ssh ended with status 3"),
        ("kill -9 $$", "can't connect: {folder}/ssh ended with signal 9"),
    ],
    ids=["refused", "no program", "its settings", "an older one", "without a word", "killed"],
)
def test_where_it_does_not_begin_one_line_says_why(ssh: Callable[[str], Far], text: str, said: str) -> None:
    far = ssh(text + "\n")
    assert far.ended() == Ended("", f"Error: {said.replace('{folder}', str(far.folder))}\n", 1)


@pytest.mark.parametrize("end", ["exit 255", "kill -9 $$"])
def test_a_connection_that_breaks_in_the_middle_is_told(ssh: Callable[[str], Far], end: str) -> None:
    far = ssh(BEGINS + f"echo 'web1 -> node2'; {end}\n")
    assert far.ended() == Ended("web1 -> node2\n", (
        "Error: the connection to node9, or xmcompat there, has ended; what is under way is given up once it notices; "
        "see with 'xmcompat evacuate node9 --plan' what is left\n"
    ), 1)  # fmt: skip


#: Moves until its stdin ends.
MOVES = BEGINS + "echo moves >&2; cat; : > {folder}/over; echo 'Error: web1: it was given up' >&2; exit 143\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_has_it_give_up_there_and_tell_so(ssh: Callable[[str], Far], number: signal.Signals) -> None:
    far = ssh(MOVES)
    process = far.moving()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (out, err, process.returncode) == ("", "Error: web1: it was given up\n", 128 + number)
    assert (far.folder / "over").exists()


def test_ctrl_c_at_the_terminal_reaches_it_through_its_stdin_alone(ssh: Callable[[str], Far]) -> None:
    far = ssh("trap ': > {folder}/interrupted' INT\n" + MOVES)
    environment = {**os.environ, "XMCOMPAT_CONFIG": str(far.folder / "xmcompat.toml")}
    process = subprocess.Popen([sys.executable, "-m", "xmcompat.tool", "evacuate", "node9"], cwd=CHECKOUT, env=environment,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, process_group=0)  # fmt: skip
    assert process.stderr is not None
    assert process.stderr.readline() == b"moves\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 128 + signal.SIGINT
    far.come("over")
    assert not (far.folder / "interrupted").exists()


def test_before_it_begins_there_a_signal_waits_for_nothing(ssh: Callable[[str], Far]) -> None:
    far = ssh(": > {folder}/connects; exec sleep 30\n")
    process = far.begun()
    far.come("connects")
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 128 + signal.SIGINT
    assert time.monotonic() - begun < 10


UNSETTLED = (
    "Error: node9 has not said that it gave up what was under way; see with 'xmcompat evacuate node9 --plan' what is left\n"
)


def test_a_second_ctrl_c_does_not_wait_until_it_has_given_up_and_says_so(ssh: Callable[[str], Far]) -> None:
    far = ssh(BEGINS + "echo moves >&2; cat; : > {folder}/gives-up; exec sleep 30\n")
    process = far.moving()
    process.send_signal(signal.SIGINT)
    far.come("gives-up")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("", UNSETTLED)
    assert process.returncode == 128 + signal.SIGINT


def long(lines: int) -> str:
    return BEGINS + f"i=0; while [ $i -lt {lines} ]; do echo 'web1 -> node2'; i=$((i+1)); done\n"


def test_who_reads_slowly_reads_all(ssh: Callable[[str], Far]) -> None:
    """More than one pipe takes, and less than two do: ssh has ended."""
    process = ssh(long(7000)).begun()
    time.sleep(6.5)  # more than what is waited for then
    out, err = process.communicate(timeout=30)
    assert (len(out.splitlines()), set(out.splitlines()), err, process.returncode) == (7000, {"web1 -> node2"}, "", 0)


def test_last_words_after_a_long_silence_are_said(ssh: Callable[[str], Far]) -> None:
    """They and the end come at once, again and again: whoever looks first must not matter."""
    far = ssh(BEGINS + "sleep 5.5; echo 'web1 is on node2'; echo 'Error: web2: it is full there' >&2; exit 1\n")
    for process in [far.begun() for _ in range(6)]:
        assert process.communicate(timeout=60) == ("web1 is on node2\n", "Error: web2: it is full there\n")
        assert process.returncode == 1


def test_a_stream_that_takes_no_more_just_now_is_waited_for(ssh: Callable[[str], Far]) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = ssh(long(20000)).begun(stdout=writing)
    os.close(writing)
    time.sleep(0.5)
    with open(reading) as stream:
        assert len(stream.read().splitlines()) == 20000
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0


def test_a_child_that_keeps_the_streams_is_not_waited_for(ssh: Callable[[str], Far]) -> None:
    begun = time.monotonic()
    assert ssh(BEGINS + "echo 'web1 -> node2'; sleep 40 &\n").ended() == Ended("web1 -> node2\n", "", 0)
    assert time.monotonic() - begun < 20


def test_a_connection_that_is_lost_while_it_gives_up_is_told(ssh: Callable[[str], Far]) -> None:
    process = ssh(BEGINS + "echo moves >&2; cat; exit 255\n").moving()
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20) == ("", UNSETTLED)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_session_that_is_lost_sends_several_signals_and_it_gives_up_all_the_same(ssh: Callable[[str], Far]) -> None:
    far = ssh(BEGINS + "echo moves >&2; cat; sleep 1; : > {folder}/over; exit 143\n")
    process = far.moving()
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode in (128 + signal.SIGHUP, 128 + signal.SIGTERM)  # both wait, and the lower is told first
    assert (far.folder / "over").exists()


def test_it_gives_up_there_where_the_one_here_is_killed(ssh: Callable[[str], Far]) -> None:
    far = ssh(MOVES)
    process = far.moving()
    process.kill()
    process.communicate(timeout=30)
    far.come("over")


def test_it_gives_up_there_where_nobody_reads_on(ssh: Callable[[str], Far]) -> None:
    far = ssh(BEGINS + "echo 'web1 -> node2'; while [ ! -e {folder}/closed ]; do sleep 0.02; done\n"
              "echo 'web1 is on node2'; cat; : > {folder}/over\n")  # fmt: skip
    process = far.begun()
    assert process.stdout is not None
    assert process.stdout.readline() == "web1 -> node2\n"
    process.stdout.close()
    (far.folder / "closed").touch()
    assert process.wait(30) == 1
    assert process.stderr is not None
    assert process.stderr.read() == ""
    far.come("over")


def test_a_full_disk_is_told(ssh: Callable[[str], Far]) -> None:
    with open("/dev/full", "w") as full:
        assert ssh(MOVES.replace("cat;", "echo 'web1 -> node2'; cat;")).ended(stdout=full.fileno()) == Ended(
            "", "moves\nError: web1: it was given up\nError: stdout: No space left on device\n", 1
        )
