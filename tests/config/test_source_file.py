"""Configurations that are no regular files: pipes, devices, sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from xmcompat.config import source_file
from xmcompat.config.load import LARGEST, find_config, load, load_sxp
from xmcompat.errors import ConfigError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(path: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value.line()


def test_a_pipe_into_which_nobody_writes_is_not_waited_for_for_ever(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_file, "NO_WRITER", 0.1)
    os.mkfifo(here / "pipe")
    assert refusal("./pipe") == "./pipe: nobody writes into this pipe"


def test_a_writer_who_says_nothing_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_file, "SILENCE", 0.1)
    reader, writer = os.pipe()
    os.write(writer, b"memory = 64\n")
    try:
        assert refusal(f"/dev/fd/{reader}") == f"/dev/fd/{reader}: nothing has come from it for 0 seconds"
    finally:
        os.close(reader)
        os.close(writer)


def test_a_pipe_is_read_to_its_end_however_slowly_it_comes(here: Path) -> None:
    os.mkfifo(here / "pipe")

    def write() -> None:
        time.sleep(0.1)
        with open(here / "pipe", "w") as pipe:
            for line in ("name = 'slow'\n", "memory = 64\n", "kernel = '/bin/true'\n"):
                pipe.write(line)
                pipe.flush()
                time.sleep(0.05)

    writing = threading.Thread(target=write)
    writing.start()
    guest = load("./pipe").guest
    writing.join()
    assert (guest.name, guest.memory) == ("slow", 64)


@pytest.mark.parametrize("closed", [True, False])
def test_a_process_substitution_is_a_file_like_any_other(closed: bool) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"name = 'sub'\nmemory = 64\nkernel = '/bin/true'\n")
    if closed:
        os.close(writer)
    else:
        threading.Timer(0.1, os.close, [writer]).start()
    try:
        assert load(find_config(f"/dev/fd/{reader}")).guest.name == "sub"
    finally:
        os.close(reader)


def test_a_pipe_that_ends_at_once_is_an_empty_file() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    begun = time.monotonic()
    try:
        guest = load(f"/dev/fd/{reader}", words=["name=web1", "kernel=/bin/true"]).guest
    finally:
        os.close(reader)
    assert (guest.name, guest.memory) == ("web1", 128)
    assert time.monotonic() - begun < 2


def test_dev_null_is_an_empty_file_that_variables_fill() -> None:
    guest = load(find_config("/dev/null"), words=["name=foo", "memory=64", "kernel=/bin/true"]).guest
    assert (guest.name, guest.memory) == ("foo", 64)


def test_a_device_without_end_is_too_large() -> None:
    assert refusal("/dev/zero") == f"/dev/zero: this is larger than {LARGEST // 1024} KiB: no guest configuration"


def test_a_socket_on_standard_input_is_read_and_stays_as_it_was() -> None:
    program = (
        "import os; from xmcompat.config.load import load; print(load('/dev/stdin').guest.name, os.get_blocking(0))"
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"name = 'far'\nkernel = '/bin/true'\n")
        ours.shutdown(socket.SHUT_WR)
        done = subprocess.run([sys.executable, "-c", program], stdin=theirs, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("far True\n", "")


def test_an_sxp_form_is_read_from_a_pipe_just_once() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"(vm (name sub) (memory 64) (image (linux (kernel /bin/true))))")
    os.close(writer)
    try:
        loaded = load_sxp(f"/dev/fd/{reader}")
    finally:
        os.close(reader)
    assert loaded.guest.name == "sub"
    assert isinstance(loaded.form, list)
    assert loaded.form[:2] == ["vm", ["name", "sub"]]
