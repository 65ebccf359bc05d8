"""Small files and signals as steps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xmcompat.network import files, processes
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import File, Signal, act


def test_a_file_is_written_at_once_for_all_to_read(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    before = os.umask(0o077)
    try:
        act(File(str(path), "one\n"))
        act(File(str(path), "two\n"))
    finally:
        os.umask(before)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("two\n", 0o644)
    assert os.listdir(tmp_path) == ["hosts"]
    act(File(str(path), None))
    act(File(str(path), None))
    assert os.listdir(tmp_path) == []
    assert files.read(str(path)) == ""


def test_a_file_without_its_directory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(NetworkError) as caught:
        act(File(str(tmp_path / "no" / "hosts"), "one\n"))
    assert caught.value.line() == f"{tmp_path}/no/hosts cannot be written: No such file or directory"


def test_a_signal_reaches_the_processes_that_were_started_with_a_word() -> None:
    code = "import time; time.sleep(60)"
    word = f"word-{os.getpid()}"
    with (subprocess.Popen([sys.executable, "-c", code, word]) as one,
          subprocess.Popen([sys.executable, "-c", code, f"{word}-other"]) as other):
        try:
            comm = Path(f"/proc/{one.pid}/comm").read_text().strip()
            while not any(word in words for _, words in processes.running(comm)):
                comm = Path(f"/proc/{one.pid}/comm").read_text().strip()
            act(Signal("TERM", comm, word))
            assert one.wait(5) == -15
            assert other.poll() is None
        finally:
            one.kill()
            other.kill()
    act(Signal("TERM", comm, word))


#: Has no word any more when it is to end, and still all that it has opened: as the kernel does with one that ends.
WORDLESS = """
import os, signal, sys
def go(number, frame):
    os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(1)"])
signal.signal(signal.SIGTERM, go)
print("ready", flush=True)
signal.pause()
"""


def test_one_that_has_lost_its_words_has_not_ended_yet() -> None:
    word = f"word-{os.getpid()}"
    with subprocess.Popen([sys.executable, "-c", WORDLESS, word], stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        try:
            assert one.stdout.readline() == "ready\n"
            act(Signal("TERM", Path(f"/proc/{one.pid}/comm").read_text().strip(), word))
            assert one.poll() == 0
        finally:
            one.kill()


def test_they_are_shown_as_one_would_type_them() -> None:
    assert str(File("/run/x", "a\n")) == "cat > /run/x <<'END'\na\nEND"
    assert str(File("/run/x", None)) == "rm -f /run/x"
    assert str(Signal("HUP", "dnsmasq", "--conf-file=/run/x")) == "pkill -HUP -f -- '--conf-file=/run/x'"
