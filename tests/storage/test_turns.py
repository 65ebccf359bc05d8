"""A lock that somebody keeps for ever ends the wait for it, with a sentence that says who that is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from xmcompat.storage import composite, holds, lvm, turns
from xmcompat.storage.composite import Composite, Part
from xmcompat.storage.needs import Need
from xmcompat.storage.programs import StorageError

KEEPER = """
import fcntl, sys
with open(sys.argv[1], "a") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("kept", flush=True)
    sys.stdin.readline()
"""

Keep = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def keep() -> Iterator[Keep]:
    """Has another process lock a file, until it is told something."""
    with ExitStack() as stack:

        def keep(path: str) -> subprocess.Popen[str]:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            words = [sys.executable, "-S", "-c", KEEPER, path]
            child = stack.enter_context(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            stack.callback(child.kill)
            assert child.stdout is not None and child.stdout.readline() == "kept\n"
            return child

        yield keep


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits longer than 0.2 s."""
    monkeypatch.setattr(turns.take, "__defaults__", (0.2,))
    monkeypatch.setattr(composite, "_TURN", 0.2)


def told(child: subprocess.Popen[str]) -> str:
    return rf"has been locked by 'python\S*' \(process {child.pid}\) for 0 s$"


def test_who_lets_go_in_time_is_waited_for(keep: Keep, tmp_path: Path) -> None:
    path = f"{tmp_path}/lock"
    child = keep(path)
    fd = os.open(path, os.O_RDWR)
    try:
        with pytest.raises(StorageError):
            turns.take(fd, path, 0.0)
        child.communicate("go\n")
        turns.take(fd, path, 30.0)
    finally:
        os.close(fd)


def test_a_need_that_another_process_never_leaves(
    keep: Keep, hasty: None, tmp_path: Path
) -> None:
    need = Need(kind="lvm", name="vg0/web1", words={"path": "/dev/vg0/web1"})
    child = keep(f"{holds._place(need, str(tmp_path))}/lock")
    begun = time.monotonic()
    with pytest.raises(StorageError, match=told(child)) as caught:
        holds.take(need, "11111111-1111-4111-8111-111111111111.51712", folder=str(tmp_path))
    assert time.monotonic() - begun < 10
    assert caught.value.hint == f"see what process {child.pid} waits for; end it, and try again"
    with pytest.raises(StorageError, match=told(child)):
        holds.give(need, "11111111-1111-4111-8111-111111111111.51712", folder=str(tmp_path))
    assert holds.held(str(tmp_path)) == ()


def test_a_joined_disk_whose_maker_never_ends(keep: Keep, hasty: None, tmp_path: Path) -> None:
    child = keep(f"{tmp_path}/joined/.lock")
    wanted = Composite(f"{tmp_path}/joined/web1-xvda", "web1", (Part(1, f"{tmp_path}/volume"),))
    for call in (lambda: composite.assemble(wanted, (0, 0)), lambda: composite.release(wanted)):
        with pytest.raises(StorageError, match=told(child)):
            call()
    assert os.listdir(f"{tmp_path}/joined") == [".lock"]


def test_an_activation_that_never_ends(
    keep: Keep, hasty: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lvm, "_LOCK", f"{tmp_path}/lvm.lock")
    child = keep(lvm._LOCK)
    with pytest.raises(StorageError, match=told(child)):
        lvm.assemble(Need(kind="lvm", name="vg0/none", words={"path": "/dev/vg0/none"}), 1.0)


def test_who_keeps_it_where_nobody_can_see_them_is_told_as_that(
    keep: Keep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{tmp_path}/lock"
    keep(path)
    monkeypatch.setattr("xmcompat.storage.processes.locking", lambda _path: [])
    fd = os.open(path, os.O_RDWR)
    try:
        with pytest.raises(StorageError, match=re.escape(f"{path} has been locked by a process that is not seen from here")):
            turns.take(fd, path, 0.1)
    finally:
        os.close(fd)
