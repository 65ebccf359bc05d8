"""The daemon's mark on the host: what is true of it, whatever files were left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xmcompat.xend.run_files import READY, STARTING, STOPPING, RunFiles, State


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles({"XEND_RUN": str(tmp_path)})


def test_the_usual_places() -> None:
    files = RunFiles({})
    assert (files.pid_file, files.directory) == ("/var/run/xend.pid", "/var/run/xend")


def test_there_is_none_where_nothing_was_ever_started(files: RunFiles) -> None:
    assert files.state() is None
    files.remove_pid()


def test_the_lock_is_one_daemons_and_tells_its_state(files: RunFiles) -> None:
    lock = files.lock()
    assert lock is not None
    assert files.lock() is None
    assert files.state() == State(0, STARTING)
    for state in (State(4194304, READY), State(7, STOPPING), State(12, STARTING)):
        files.tell(state)
        assert files.state() == state
    os.close(lock)
    assert files.state() is None
    again = files.lock()
    assert again is not None, "the next one gets it"
    assert files.state() == State(0, STARTING), "and nothing of the old one's state"
    os.close(again)


def test_the_folder_is_for_root_alone(files: RunFiles) -> None:
    lock = files.lock()
    assert lock is not None
    os.close(lock)
    assert os.stat(files.directory).st_mode & 0o777 == 0o700


def test_a_lock_whose_owner_has_written_nothing_yet_is_a_start(files: RunFiles) -> None:
    lock = files.lock()
    assert lock is not None
    os.ftruncate(lock, 0)
    assert files.state() == State(0, STARTING)
    os.close(lock)


def test_a_pid_file_left_behind_misleads_nobody(files: RunFiles) -> None:
    """Not one of a process that has ended, nor one whose number another program has by now."""
    lock = files.lock()
    assert lock is not None
    files.write_pid(os.getpid())
    files.tell(State(os.getpid(), READY))
    os.close(lock)
    assert Path(files.pid_file).read_text() == f"{os.getpid()}\n"
    assert files.state() is None


def test_a_program_that_the_daemon_starts_does_not_keep_the_lock(files: RunFiles) -> None:
    lock = files.lock()
    assert lock is not None
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program:
        os.close(lock)
        assert files.state() is None
        program.communicate(b"\n")


def test_a_full_disk_is_told_with_the_file(files: RunFiles) -> None:
    os.makedirs(files.directory)
    os.symlink("/dev/full", os.path.join(files.directory, "lock"))
    with pytest.raises(OSError, match="No space left") as raised:
        files.lock()
    assert raised.value.filename == os.path.join(files.directory, "lock")


def test_a_pid_file_that_cannot_be_written_leaves_nothing_beside_it(files: RunFiles) -> None:
    Path(files.pid_file).mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        files.write_pid(7)
    assert os.listdir(os.path.dirname(files.pid_file)) == ["xend.pid"]


def test_only_ones_own_pid_file_is_removed(files: RunFiles) -> None:
    files.write_pid(5)
    files.remove_pid(6)
    assert os.path.exists(files.pid_file)
    files.remove_pid(5)
    assert not os.path.exists(files.pid_file)
