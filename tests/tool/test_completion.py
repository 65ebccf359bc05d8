"""``xmcompat completion``: the scripts, in a bash and a zsh, piped and as somebody types. A script stands in for xm."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.terminal import Terminal
from xmcompat.tool.completion import SHELLS, script
from xmcompat.tool.main import main, program
from xmcompat.xm.verbs import ALIASES, VERBS

LISTING = """\
Name                                        ID   Mem VCPUs      State   Time(s)
Domain-0                                     0  1024     4     r-----   1234.6
$(touch pwned)                               4   512     2     -b----     12.3
`touch pwned`                                8   512     2     ---s--     12.3
a:b                                          5   512     2     -b----     12.3
a;touch pwned                                6   512     2     --p---     12.3
basalt 7                                         256     1                 7.0
it's                                             256     1                 7.0
quartz                                      14  2048     1     --p---      0.1
very-long-name-that-pushes-the-rest-of-the-row 9  64     1     r-----      0.1
web 3                                        3   512     2     -b----     12.3
"""
POOLS = """\
Name               CPUs   Sched     Active   Domain count
Pool-0               4    credit       y          2
my pool              1    credit       n          0
"""
NAMES = ["Domain-0", "$(touch pwned)", "`touch pwned`", "a:b", "a;touch pwned", "basalt 7", "it's", "quartz",
         "very-long-name-that-pushes-the-rest-of-the-row", "web 3"]  # fmt: skip

#: Sources the script, completes the line in its arguments, and prints each reply on a line of its own.
DRIVER = r"""
source ./script
COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=("${@:2}")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_xmcompat
((${#COMPREPLY[@]})) && printf '%s\n' "${COMPREPLY[@]}"
exit 0
"""

Complete = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of its own with the script, and an xm on the path that counts how often it is asked."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "listing").write_text(LISTING)
    (tmp_path / "pools").write_text(POOLS)
    xm = tmp_path / "bin" / "xm"
    xm.write_text(
        f"#!/bin/sh\n(IFS='|'; echo \"$*\") >>{tmp_path}/asked\ncase $1 in list) cat {tmp_path}/listing ;; *) cat {tmp_path}/pools ;; esac\n"
    )
    xm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("TERM", "dumb")
    return tmp_path


def asked(place: Path) -> list[str]:
    return (place / "asked").read_text().splitlines() if (place / "asked").exists() else []


@pytest.fixture
def bash(place: Path) -> Complete:
    (place / "script").write_text(script("bash"))

    def complete(*words: str, line: str | None = None) -> list[str]:
        done = subprocess.run(
            ["bash", "--norc", "-c", DRIVER, "bash", " ".join(words) if line is None else line, *words],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        assert done.stderr == ""
        return done.stdout.splitlines()

    return complete


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_well_formed_and_printed(shell: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert text == script(shell)
    (place / "script").write_text(text)
    done = subprocess.run([shell, "-n", "script"], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert main(["completion", "fish"]) == 2


def test_every_verb_alias_and_command_is_offered(bash: Complete, place: Path) -> None:
    assert set(bash("xm", "")) == {*VERBS, *ALIASES, "help"}
    assert set(bash("xmcompat", "")) == set(program.commands)
    assert asked(place) == []


@pytest.mark.parametrize(
    ("words", "replies"),
    [
        ("xm pau", ["pause"]), ("xm vbd-l", ["vbd-list"]), ("xm zz", []), ("xm bogus ", []), ("xm ne ", []),
        ("xm list --st", ["--state="]), ("xm list -", ["-l", "--long", "--label", "--state=", "--pool=", "-v", "--vcpus",
                                                       "--json"]),
        ("xm li --js", ["--json"]), ("xm vif-list --l", ["--long"]), ("xm list --state ha", ["halted"]),
        ("xm trigger quartz n", ["nmi"]), ("xm setenforce ", ["Enforcing", "Permissive", "1", "0"]),
        ("xm mem-set quartz ", []), ("xm info ", []), ("xm pause quartz ", []), ("xm vcpu-pin quartz ", ["all"]),
        ("xm network-attach quartz ma", ["mac="]), ("xm network-attach quartz mac=x bri", ["bridge="]),
        ("xm create x on_poweroff", ["on_poweroff="]), ("xm create on_poweroff", []),
        ("xm block-attach quartz a b ", ["r", "w"]), ("xm getlabel m", ["mgt"]),
        ("xmcompat completion ", ["bash", "zsh"]), ("xmcompat con", ["convert"]), ("xmcompat convert --to x", ["xml", "xl"]),
        ("xmcompat host --ag", ["--again"]),
    ],
)  # fmt: skip
def test_words_from_the_table(bash: Complete, place: Path, words: str, replies: list[str]) -> None:
    assert bash(*words.split(" ")) == replies
    assert asked(place) == []


@pytest.mark.parametrize(
    ("words", "replies"),
    [
        (["xm", "pause", "q"], ["quartz"]), (["xm", "list", "quartz", "D"], ["Domain-0"]), (["xm", "pau", "q"], ["quartz"]),
        (["xm", "sched-credit", "-d", "q"], ["quartz"]), (["xm", "shutdown", "-w", "q"], ["quartz"]),
        (["xm", "pause", "bas"], [r"basalt\ 7"]), (["xm", "pause", r"web\ "], [r"web\ 3"]), (["xm", "pause", "it"], [r"it\'s"]),
        (["xm", "pause", r"\$"], [r"\$\(touch\ pwned\)"]), (["xm", "pause", "'q"], ["quartz"]), (["xm", "pause", "'w"], []),
        (["xm", "pause", "v"], ["very-long-name-that-pushes-the-rest-of-the-row"]), (["xm", "pause", "nosuch"], []),
        (["/usr/sbin/xm", "pause", "q"], ["quartz"]),
    ],
)  # fmt: skip
def test_names_of_domains_are_asked_for_where_one_is_wanted(
    bash: Complete, place: Path, words: list[str], replies: list[str]
) -> None:
    assert bash(*words) == replies
    assert asked(place) == ["list"]


def test_no_name_is_executed_and_each_reply_means_the_name(bash: Complete, place: Path) -> None:
    replies = bash("xm", "destroy", "")
    said = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {' '.join(replies)}"], capture_output=True, text=True, check=True, timeout=30
    ).stdout.splitlines()
    assert said == NAMES
    assert not (place / "pwned").exists()


@pytest.mark.parametrize(
    ("line", "words", "replies"),
    [
        ("xm pause a:", ["xm", "pause", "a", ":"], ["b"]), ("xm pause a:b", ["xm", "pause", "a", ":", "b"], ["b"]),
        ("xm pause a", ["xm", "pause", "a"], ["a:b", r"a\;touch\ pwned"]),
        ("xm list --state=p", ["xm", "list", "--state", "=", "p"], ["paused"]),
        ("xm list --state=", ["xm", "list", "--state", "="], ["halted", "paused", "running", "suspended", "crashed"]),
        ("xm create x on_crash=coredump-d", ["xm", "create", "x", "on_crash", "=", "coredump-d"], ["coredump-destroy"]),
        ("xm create x on_reboot=", ["xm", "create", "x", "on_reboot", "=", ""],
         ["destroy", "restart", "preserve", "rename-restart"]),
        ("xm network-attach a:b backend=q", ["xm", "network-attach", "a", ":", "b", "backend", "=", "q"], ["quartz"]),
        ("xm list --pool=P", ["xm", "list", "--pool", "=", "P"], ["Pool-0"]),
        ("xm cpupool-migrate quartz m", ["xm", "cpupool-migrate", "quartz", "m"], [r"my\ pool"]),
    ],
)  # fmt: skip
def test_words_that_bash_has_split(bash: Complete, line: str, words: list[str], replies: list[str]) -> None:
    assert bash(*words, line=line) == replies


@pytest.mark.parametrize(
    ("words", "replies"),
    [
        ("xm create we", ["web 2.cfg", "web.d", "web1.cfg"]), ("xm create -f web1", ["web1.cfg"]),
        ("xm create web.d/", ["web.d/in.cfg"]), ("xm restore we", ["web 2.cfg", "web.d", "web1.cfg"]),
        ("xm save quartz web1", ["web1.cfg"]), ("xmcompat explain web1", ["web1.cfg"]), ("xm create kernel=web1", ["kernel=web1.cfg"]),
    ],
)  # fmt: skip
def test_files_where_one_is_wanted(bash: Complete, place: Path, words: str, replies: list[str]) -> None:
    (place / "web1.cfg").write_text("")
    (place / "web 2.cfg").write_text("")
    (place / "web.d").mkdir()
    (place / "web.d" / "in.cfg").write_text("")
    assert sorted(bash(*words.split(" "))) == replies
    assert asked(place) == []


@pytest.mark.parametrize("becomes", ["#!/bin/sh\necho broken >&2\nexit 1\n", None])
def test_where_xm_fails_or_is_missing_nothing_is_offered(bash: Complete, place: Path, becomes: str | None) -> None:
    xm = place / "bin" / "xm"
    if becomes is None:
        xm.unlink()
    else:
        xm.write_text(becomes)
    assert bash("xm", "pause", "") == []


@pytest.mark.parametrize("option", ["-u", "-f", "-o posix"])
def test_the_script_does_not_mind_how_the_shell_is_set(bash: Complete, place: Path, option: str) -> None:
    done = subprocess.run(
        ["bash", "--norc", "-c", f"set {option}\n{DRIVER}", "bash", "xm pause q", "xm", "pause", "q"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "quartz\n", "")


# -- as somebody types

SESSIONS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], b"source ./script"),
    "zsh": (["zsh", "-f", "-i"], b"autoload -Uz compinit; compinit -u -D; source ./script"),
}
#: What is typed, and the words that the program gets.
TYPED = (
    (b"xm pau\tq\t", "pause|quartz"),
    (b"xm list --state=ha\t", "list|--state=halted"),
    (b"xm list a:\t", "list|a:b"),
    (b"xm list ba\t", "list|basalt 7"),
    (b"xm list \\$\t", "list|$(touch pwned)"),
    (b"xm create web1\ton_powero\tpres\t", "create|web1.cfg|on_poweroff=preserve"),
    (b"xmcompat man xmd\t", "man|xmdomain.cfg"),
)


def typed(terminal: Terminal, keys: bytes, place: Path) -> str:
    """The words that the program has got when the line of these KEYS was run."""
    terminal.send(keys + b"; echo do''ne\n")
    terminal.expect(b"\ndone\r\n", timeout=60)
    return asked(place)[-1]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_tabulator_goes_on_behind_a_blank_in_the_name_of_a_file(shell: str, place: Path) -> None:
    (place / "script").write_text(script(shell))
    (place / "my dir").mkdir()
    (place / "my dir" / "web 1.cfg").write_text("")
    argv, setup = SESSIONS[shell]
    with Terminal(argv) as terminal:
        terminal.send(setup + b"; echo rea''dy\n")
        terminal.expect(b"\nready\r\n", timeout=60)
        for keys in (rb"xm create my\ d" + b"\t\t", rb"xm create my\ dir/w" + b"\t", b"xm create 'my dir/we\t"):
            assert typed(terminal, keys, place) == "create|my dir/web 1.cfg"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_tabulator_completes(shell: str, place: Path) -> None:
    (place / "script").write_text(script(shell))
    (place / "web1.cfg").write_text("")
    (place / "bin" / "xmcompat").symlink_to("xm")
    argv, setup = SESSIONS[shell]
    with Terminal(argv) as terminal:
        terminal.send(setup + b"; echo rea''dy\n")
        terminal.expect(b"\nready\r\n", timeout=60)
        assert [typed(terminal, keys, place) for keys, _ in TYPED] == [words for _, words in TYPED]
    assert not (place / "pwned").exists()


def test_in_the_function_path_of_zsh_the_file_is_the_function(place: Path) -> None:
    (place / "functions").mkdir()
    (place / "functions" / "_xm").write_text(script("zsh"))
    with Terminal(["zsh", "-f", "-i"]) as terminal:
        terminal.send(b"fpath=($PWD/functions $fpath); autoload -Uz compinit; compinit -u -D; echo rea''dy\n")
        terminal.expect(b"\nready\r\n", timeout=60)
        assert typed(terminal, b"xm pau\tq\t", place) == "pause|quartz"
        assert typed(terminal, b"xm pau\tD\t", place) == "pause|Domain-0"
