"""The program as a process: how it starts, what it loads, and how it ends when something ends it.

libvirt's own test driver stands in for a hypervisor: it needs no daemon.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

HEADER = "Name                                        ID   Mem VCPUs      State   Time(s)"
XM = [sys.executable, "-m", "xmcompat.xm"]

#: Runs ``xm`` and then names on stderr the modules that were loaded.
LOADED = """
import sys
from xmcompat.xm.main import main
status = main(sys.argv[1:])
print(*sorted(sys.modules), file=sys.stderr)
sys.exit(status)
"""

#: Runs ``xm`` over a toolstack that says so on stderr when it is asked, and then takes its time.
SLOW = """
import sys, time
from xmcompat.toolstack import Toolstack
from xmcompat.xm.main import run
def slow(self, names):
    print("asked", file=sys.stderr, flush=True)
    time.sleep(60)
Toolstack.domains = slow
run()
"""


@pytest.fixture
def environ() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XMCOMPAT")}
    return {**kept, "XMCOMPAT_URI": "test:///default"}


def test_list_over_libvirts_test_driver(environ: dict[str, str]) -> None:
    done = subprocess.run([*XM, "list"], env=environ, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == HEADER
    assert [line.split()[:2] for line in lines[1:]] == [["Domain-0", "0"], ["test", "1"]]


@pytest.mark.parametrize("words", [["list"], ["list", "--state=running"], ["domid", "test"], ["pause", "nosuch"]])
def test_the_quick_verbs_load_nothing_heavy(environ: dict[str, str], words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words], env=environ, capture_output=True, text=True, timeout=30
    )
    loaded = set(done.stderr.split())
    assert "xmcompat.backends.libvirt_reading" in loaded
    heavy = ("lxml", "click", "dataclasses", "argparse", "xmcompat.guest", "xmcompat.xm.helptexts")
    assert loaded.isdisjoint(heavy)
    if words == ["list"]:
        assert loaded.isdisjoint(("getopt", "gettext", "subprocess"))


def test_help_does_not_load_libvirt(environ: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED, "help"], env=environ, capture_output=True, text=True)
    assert done.returncode == 0
    assert {"libvirt", "xmcompat.toolstack"}.isdisjoint(done.stderr.split())


def test_ctrl_c_ends_it_by_the_signal_and_without_a_traceback(environ: dict[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, "list"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "asked\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("name", ["-m", "/opt/bin/xm"])
def test_ctrl_c_while_the_program_is_loaded_is_silent(environ: dict[str, str], name: str) -> None:
    code = f"import sys; sys.argv = [{name!r}]; import signal, xmcompat.xm; signal.raise_signal(signal.SIGINT)"
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_who_imports_the_package_for_something_else_keeps_ctrl_c(environ: dict[str, str]) -> None:
    code = "import signal, xmcompat.xm.main; assert signal.getsignal(2) is signal.default_int_handler"
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, timeout=30)


def test_ctrl_c_that_is_ignored_stays_so(environ: dict[str, str]) -> None:
    script = "trap '' INT; exec \"$@\""
    code = (
        "import sys; sys.argv = ['xm', 'help']; import signal; from xmcompat.xm import main\n"
        "main.main = lambda words: print(signal.getsignal(2) is signal.SIG_IGN) or 0\n"
        "main.run()"
    )
    done = subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_a_closed_pipe_ends_it_in_silence(environ: dict[str, str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([*XM, "help"], env=environ, stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")


def test_a_full_disk_is_told(environ: dict[str, str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*XM, "help"], env=environ, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "Error: standard output: No space left on device\n")


def test_a_closed_stdout_is_no_fault(environ: dict[str, str]) -> None:
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *XM, "help"], env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "POSIX"])
def test_bytes_of_the_command_line_come_out_as_they_came_in(environ: dict[str, str], locale: str) -> None:
    name = b"caf\xc3\xa9-\xff"
    done = subprocess.run([*XM, "pause", name], env={**environ, "LC_ALL": locale}, capture_output=True)
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr == b"Error: Domain '" + name + b"' does not exist.\n"


def test_an_error_and_the_usage_come_in_this_order_on_one_stream(environ: dict[str, str]) -> None:
    done = subprocess.run([*XM, "pause"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 1
    assert done.stdout.startswith("Error: 'xm pause' requires 1 arguments.\n\nUsage: xm pause <Domain>\n")


def test_posixly_correct_is_obeyed(environ: dict[str, str]) -> None:
    done = subprocess.run(
        [*XM, "list", "test", "-l"], env={**environ, "POSIXLY_CORRECT": "1"}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "Error: Domain '-l' does not exist.\n")
