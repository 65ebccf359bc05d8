"""``xm shell``: piped and at a terminal. libvirt's own test driver stands in for a hypervisor, with one domain, "test"."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.lab.terminal import Terminal
from xmcompat.errors import HypervisorUnreachable
from xmcompat.toolstack import Toolstack
from xmcompat.xm import line_editor
from xmcompat.xm.help import usage_text

SHELL = [sys.executable, "-m", "xmcompat.xm", "shell"]
BANNER = 'The Xen Master. Type "help" for a list of functions.\n'
UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("XMCOMPAT"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XMCOMPAT_URI", "test:///default")
    monkeypatch.setenv("TERM", "dumb")


def piped(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(SHELL, input=text, capture_output=True, text=True, timeout=60, check=False)


def test_the_end_of_the_input_is_a_newline_and_status_0() -> None:
    done = piped("")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{BANNER}xm> \n", "")


@pytest.mark.parametrize(
    ("lines", "out"),
    [
        ("domid test\ndomname 1\n", "xm> 1\nxm> test\nxm> \n"),
        ("xm domid test\n", "xm> 1\nxm> \n"),
        ("domid 'test'", "xm> 1\nxm> \n"),
        ("\n   \nxm\n", "xm> xm> xm> xm> \n"),
        ("domi test\n", "xm> 1\nxm> \n"),
        ("bogus x\nxm exit\n-h\n", "xm> *** Unknown command: bogus\nxm> *** Unknown command: exit\n"
         "xm> *** Unknown command: -h\nxm> \n"),
        ("list \"a\n", "xm> *** No closing quotation: list \"a\nxm> \n"),
        ("domid --json test", f'xm> {{\n  "name": "test",\n  "id": 1,\n  "uuid": "{UUID}"\n}}\nxm> \n'),
        ("help pause\n", f"xm> {usage_text('pause')}xm> \n"),
    ],
)  # fmt: skip
def test_lines_are_verbs_and_their_words(lines: str, out: str) -> None:
    done = piped(lines)
    assert (done.returncode, done.stdout, done.stderr) == (0, BANNER + out, "")


def test_help_lists_everything() -> None:
    assert "\nxm full list of subcommands:\n" in piped("help\n").stdout


def test_an_error_of_a_verb_does_not_end_it() -> None:
    done = piped("domid nosuch\npause\nvbd-list test\ndomid test\n")
    assert done.returncode == 0
    assert done.stdout.startswith(f"{BANNER}xm> xm> {usage_text('pause')}xm> Vdev ")
    assert done.stdout.endswith("xm> 1\nxm> \n")
    assert done.stderr == (
        "Error: Domain 'nosuch' does not exist.\nError: 'xm pause' requires 1 arguments.\n\n"
        "Command vbd-list is deprecated.  Please use xm block-list instead.\n"
    )


def test_a_verb_that_reads_gets_what_follows_its_line() -> None:
    done = piped("shell\ndomid test\n")
    assert done.stdout == f"{BANNER}xm> {BANNER}xm> 1\nxm> \nxm> \n"


def test_a_verb_that_becomes_another_program_does_not_end_it() -> None:
    code = (
        "import os, sys\nfrom xmcompat.xm import help, main\n"
        "help.full_help = lambda words: os.execvp('echo', ['echo', 'replaced'])\n"
        "sys.argv = ['xm', 'shell']\nmain.run()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input="help\ndomid test\n", capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"{BANNER}xm> replaced\nxm> 1\nxm> \n")


def test_a_closed_input_is_its_end() -> None:
    done = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", *SHELL], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_without_a_terminal_ends_it_by_the_signal() -> None:
    with subprocess.Popen(SHELL, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == BANNER
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (-signal.SIGINT, "")


def test_an_interrupt_that_is_ignored_stays_so_for_its_verbs() -> None:
    code = (
        "import signal, sys\nfrom xmcompat.xm import help, main\n"
        "help.full_help = lambda words: print(signal.getsignal(2) is signal.SIG_IGN) or 0\n"
        "sys.argv = ['xm', 'shell']\nmain.run()\n"
    )
    done = subprocess.run(["sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, "-c", code], input="help\n",
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"{BANNER}xm> True\nxm> \n")


def test_a_line_without_end_is_refused_and_the_next_one_read() -> None:
    done = piped(f"domid {'x' * 300_000}\ndomid test\n")
    assert done.stdout == f"{BANNER}xm> *** A line of more than 131072 bytes\nxm> 1\nxm> \n"


def test_an_input_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as only_written:
        done = subprocess.run(SHELL, stdin=only_written, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "Error: standard input: Bad file descriptor\n")


def test_where_no_process_can_be_made_the_shell_goes_on() -> None:
    code = (
        "import os, sys\nfrom xmcompat.xm import main\n"
        "def fork():\n    raise BlockingIOError(11, 'Resource temporarily unavailable')\n"
        "os.fork = fork\nsys.argv = ['xm', 'shell']\nmain.run()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input="help\nbogus\n", capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{BANNER}xm> *** Resource temporarily unavailable\nxm> *** Unknown command: bogus\nxm> \n"


def test_words_after_shell_are_ignored() -> None:
    done = subprocess.run([*SHELL, "-x", "list"], input="", capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, f"{BANNER}xm> \n")


# -- at a terminal


def test_at_a_terminal_words_are_completed_and_lines_called_back() -> None:
    with Terminal(SHELL) as terminal:
        terminal.expect(b"xm> ")
        terminal.send(b"domn\t1\n")
        terminal.expect(b"domname 1\r\ntest\r\nxm> ")
        terminal.send(b"domid te\t\n")
        terminal.expect(b"domid test \r\n1\r\nxm> ")
        terminal.send(b"\x10\n")
        terminal.expect(b"1\r\nxm> ")
        terminal.send(b"\x04")
        assert terminal.wait() == 0


def test_ctrl_c_takes_the_line_away_and_ends_a_verb_but_not_the_shell() -> None:
    code = (
        "import sys, time\nfrom xmcompat.toolstack import Toolstack\nfrom xmcompat.xm import main\n"
        "def slow(self, names=()):\n    print('asked', flush=True)\n    time.sleep(60)\n"
        "Toolstack.domains = slow\nsys.argv = ['xm', 'shell']\nmain.run()\n"
    )
    with Terminal([sys.executable, "-c", code]) as terminal:
        terminal.expect(b"xm> ")
        terminal.send(b"destroy te")
        terminal.expect(b"destroy te")
        terminal.idle()
        terminal.send(b"\x03")
        terminal.expect(b"xm> ")
        terminal.send(b"list\n")
        terminal.expect(b"asked")
        time.sleep(0.1)
        terminal.send(b"\x03")
        terminal.expect(b"xm> ")
        terminal.send(b"domid test\n")
        terminal.expect(b"\n1\r\nxm> ")
        terminal.send(b"\x04")
        assert terminal.wait() == 0
        assert b"Traceback" not in terminal.output


# -- what can stand where


@pytest.fixture
def guests(host: FakeHypervisor) -> FakeHypervisor:
    names = ("orchid", "web 3", "it's", "$(id)")
    host.known = {info.uuid: info for info in (domain(name, place + 1) for place, name in enumerate(names))}
    return host


@pytest.mark.parametrize(
    ("before", "typed", "words"),
    [
        ("", "pau", ["pause "]), ("xm ", "vbd-l", ["vbd-list "]), ("", "hel", ["help "]), ("bogus ", "o", []),
        ("pause ", "or", ["orchid "]), ("li ", "or", ["orchid "]), ("pause orchid ", "or", []),
        ("list orchid ", "or", ["orchid "]), ("list ", "'w", ["'web 3' "]), ("list ", "'$", ["'$(id)' "]),
        ("list '", "w", []), ("list ", "--st", ["--state="]), ("list ", "--state=pa", ["--state=paused "]),
        ("list --state ", "ha", ["halted "]), ("sched-credit -d ", "or", ["orchid "]), ("list ", "--js", ["--json "]),
        ("trigger orchid ", "s", ["s3resume "]), ("setenforce ", "P", ["Permissive "]),
        ("network-attach orchid ", "backe", ["backend="]), ("network-attach orchid ", "backend=D", ["backend=Domain-0 "]),
        ("create x.cfg ", "on_poweroff=p", ["on_poweroff=preserve "]), ("create ", "on_power", []),
        ("pause ", "nosuch", []), ("info ", "", []), ("vcpu-pin orchid ", "", ["all "]),
    ],
)  # fmt: skip
def test_what_can_stand_there(guests: FakeHypervisor, before: str, typed: str, words: list[str]) -> None:
    assert line_editor.matches(before, typed) == words


def test_files_can_stand_where_a_configuration_is_wanted(
    guests: FakeHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "web1.cfg").write_text("")
    (tmp_path / "web.d").mkdir()
    (tmp_path / "web 2.cfg").write_text("")
    assert line_editor.matches("create ", "web") == ["web.d/", "web1.cfg "]
    assert line_editor.matches("create -f ", "web1") == ["web1.cfg "]
    assert line_editor.matches("save orchid ", "web1") == ["web1.cfg "]


def test_where_nothing_answers_no_domain_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> FakeHypervisor:
        raise HypervisorUnreachable("no")

    monkeypatch.setattr(Toolstack, "open", classmethod(lambda cls, uri=None: cls(refuse)))
    assert line_editor.matches("pause ", "") == []
