"""The xend program: its texts, its statuses, and what it does where no daemon can be."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.fixtures import CHECKOUT
from tests.lab.nobody import Nobody
from xmcompat.xend import main as program
from xmcompat.xend.notify import notify
from xmcompat.xend.run_files import READY, STARTING, STOPPING, RunFiles, State

Xend = Callable[..., tuple[int, str, str]]


@pytest.fixture
def xend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Xend:
    """Run a command line as root, with files of its own; gives status and both streams."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("XEND_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("XEND_CONFIG", str(tmp_path / "xend-config.sxp"))

    def run(*words: str) -> tuple[int, str, str]:
        status = program.main(words, "/usr/sbin/xend")
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], RunFiles]]:
    """A process that has the lock and is ready, as far as the files tell."""
    files = RunFiles({"XEND_RUN": str(tmp_path / "run")})
    lock = files.lock()
    assert lock is not None
    with subprocess.Popen(["sleep", "60"], pass_fds=[lock]) as process:
        os.close(lock)
        files.tell(State(process.pid, READY))
        files.write_pid(process.pid)
        yield process, files
        process.kill()


def test_without_a_word_the_usage(xend: Xend) -> None:
    assert xend() == (1, "usage: /usr/sbin/xend {start|stop|reload|restart}\n", "")


@pytest.mark.parametrize("word", ["halt", "", "Start", "-h"])
def test_a_word_that_is_none(xend: Xend, word: str) -> None:
    assert xend(word) == (1, f"not an option: {word}\n", "")


@pytest.mark.parametrize("words", [("start", "--forground"), ("stop", "--foreground"), ("status", "-v")])
def test_an_option_that_is_none(xend: Xend, words: tuple[str, str]) -> None:
    assert xend(*words) == (1, f"not an option: {words[1]}\n", "")


@pytest.mark.parametrize("word", ["stop", "reload"])
def test_stop_and_reload_are_0_even_where_their_files_are_spoilt(xend: Xend, tmp_path: Path, word: str) -> None:
    place = Path(os.environ["XEND_RUN"])
    place.mkdir(exist_ok=True)
    (place / "xend").write_text("no directory")
    status, out, err = xend(word)
    assert (status, out) == (0, "")
    assert err == f"Warning: {place}/xend/lock: Not a directory\n"


@pytest.mark.parametrize("words", [(), ("start",), ("status",), ("halt",)])
def test_only_root(xend: Xend, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    stars = "*" * 70
    assert xend(*words) == (1, "", f"{stars}\n*** Xend must be run as root.\n{stars}\n")


def test_where_nothing_runs(xend: Xend) -> None:
    assert xend("status") == (3, "", "")
    assert xend("stop") == (0, "", "")
    assert xend("reload") == (0, "", "")


@pytest.mark.parametrize(
    "text", ["", "1\n", f"{os.getpid()}\n", "words\n", "99999999\n"], ids=["empty", "init", "itself", "words", "none"]
)
def test_a_pid_file_without_a_daemon_is_nothing_and_goes_with_stop(xend: Xend, tmp_path: Path, text: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/xend.pid").write_text(text)
    assert xend("status") == (3, "", "")
    assert xend("reload") == (0, "", "")
    assert xend("stop") == (0, "", "")
    assert not (tmp_path / "run/xend.pid").exists()


def test_stop_asks_it_to_end_and_does_not_wait(xend: Xend, running: tuple[subprocess.Popen[bytes], RunFiles]) -> None:
    process, files = running
    assert xend("status") == (0, "", "")
    assert xend("stop") == (0, "", "")
    assert process.wait(10) == -signal.SIGTERM
    assert not os.path.exists(files.pid_file)
    assert xend("status") == (3, "", "")


def test_one_that_ends_counts_as_gone_and_is_not_asked_twice(
    xend: Xend, running: tuple[subprocess.Popen[bytes], RunFiles]
) -> None:
    process, files = running
    files.tell(State(process.pid, STOPPING))
    assert xend("status") == (3, "", "")
    assert xend("stop") == (0, "", "")
    assert process.poll() is None


def test_reload_sends_a_hangup(xend: Xend, running: tuple[subprocess.Popen[bytes], RunFiles]) -> None:
    assert xend("reload") == (0, "", "")
    assert running[0].wait(10) == -signal.SIGHUP


def test_start_where_it_runs_is_silent_and_puts_a_lost_pid_file_back(
    xend: Xend, running: tuple[subprocess.Popen[bytes], RunFiles]
) -> None:
    process, files = running
    os.unlink(files.pid_file)
    assert xend("start") == (0, "", "")
    assert Path(files.pid_file).read_text() == f"{process.pid}\n"
    assert process.poll() is None


@pytest.mark.parametrize(("phase", "word"), [(STARTING, "started"), (STOPPING, "ended")])
def test_start_does_not_wait_for_ever_for_another(
    xend: Xend, running: tuple[subprocess.Popen[bytes], RunFiles], monkeypatch: pytest.MonkeyPatch, phase: str, word: str
) -> None:
    monkeypatch.setattr(program, "END_PATIENCE", 0.2)
    process, files = running
    files.tell(State(process.pid, phase))
    assert xend("start") == (1, "", f"Error: the xend that is being {word} takes too long; see its log\n")


def test_foreground_where_it_runs_is_an_error(xend: Xend, running: tuple[subprocess.Popen[bytes], RunFiles]) -> None:
    assert xend("start", "--foreground") == (1, "", "Error: xend runs already; xend stop ends it\n")


def test_settings_that_cannot_be_read_are_told_and_nothing_is_started(xend: Xend, tmp_path: Path) -> None:
    (tmp_path / "xend-config.sxp").write_text("(loglevel INFO)\n(logfile")
    status, out, err = xend("start")
    assert (status, out) == (1, "")
    assert err.startswith(f"Error: {tmp_path}/xend-config.sxp:2: ")
    assert err.count("\n") == 1
    assert xend("status") == (3, "", "")


def test_a_place_that_cannot_be_written_is_told(xend: Xend, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    status, out, err = xend("start")
    assert (status, out) == (1, "")
    assert err.startswith(f"Error: {tmp_path}/run")
    assert err.count("\n") == 1


def test_a_full_disk_beneath_the_debug_log_does_not_swallow_why_it_fails(tmp_path: Path) -> None:
    (tmp_path / "xend-debug.log").symlink_to("/dev/full")
    (tmp_path / "xend-config.sxp").write_text(f"(logfile {tmp_path}/xend.log)")
    variables = {
        "XEND_RUN": f"{tmp_path}/run", "XEND_CONFIG": f"{tmp_path}/xend-config.sxp", "PYTHONPATH": str(CHECKOUT),
        "XMCOMPAT_URI": f"qemu+unix:///system?socket={tmp_path}/none",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "xmcompat.xend", "start"], env=variables, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("Error: libvirt does not answer at ")


#: xend whose first process takes a while to clear up.
SLOW = """
import time
from xmcompat.xend import main
from xmcompat.xend.run_files import RunFiles
remove = RunFiles.remove_pid
RunFiles.remove_pid = lambda files, *pid: (time.sleep(0.5), remove(files, *pid))[1]
main.run()
"""


@pytest.mark.parametrize("program", [("-m", "xmcompat.xend"), ("-c", SLOW)], ids=["as it is", "slowly"])
def test_a_libvirt_that_is_not_there_is_told_and_nothing_is_left(program: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "xend-config.sxp").write_text(f"(logfile {tmp_path}/log/xend.log)")
    uri = f"qemu+unix:///system?socket={tmp_path}/none"
    env = {**os.environ, "XEND_RUN": str(tmp_path), "XEND_CONFIG": str(tmp_path / "xend-config.sxp"), "XMCOMPAT_URI": uri,
           "PYTHONPATH": str(CHECKOUT)}  # fmt: skip
    argv = [sys.executable, *program]
    done = subprocess.run([*argv, "start"], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: libvirt does not answer at {uri}: No such file or directory\n"
    assert "CRITICAL" in (tmp_path / "log/xend.log").read_text()
    assert not (tmp_path / "xend.pid").exists()
    assert subprocess.run([*argv, "status"], env=env, timeout=60, check=False).returncode == 3


def test_nobody_else_may_and_the_program_says_so_itself(nobody: Nobody) -> None:
    outcome = nobody.python(["-m", "xmcompat.xend", "status"])
    assert (outcome.stdout, outcome.status) == ("", 1)
    assert outcome.stderr.splitlines()[1] == "*** Xend must be run as root."


# -- what a service manager is told


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told_and_nobody_else_hears_of_its_socket(tmp_path: Path, abstract: bool) -> None:
    name = f"@xmcompat-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    environ = {"NOTIFY_SOCKET": name, "PATH": "/bin"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1) if abstract else name)
        manager.settimeout(5)
        notify(environ)("READY=1")
        assert manager.recv(100) == b"READY=1"
    assert environ == {"PATH": "/bin"}


def test_without_a_service_manager_nothing_is_told(tmp_path: Path) -> None:
    notify({})("READY=1")
    notify({"NOTIFY_SOCKET": str(tmp_path / "none")})("READY=1")
