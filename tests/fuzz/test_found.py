"""What once broke a reader does not break it again; and the search itself finds a mistake where there is one."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz import fuzz_readers
from tests.fuzz.fuzz_readers import CHECKOUT, FOUND, READERS, SLOWEST
from tests.fuzz.reading import read_all

CASES = sorted(path for reader in READERS for path in FOUND.joinpath(reader).glob("*") if path.is_file())


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.name[:40]}")
def test_what_once_broke_a_reader_is_borne(path: Path) -> None:
    begun = time.monotonic()
    read_all(path.parent.name, path.read_bytes())
    assert time.monotonic() - begun < SLOWEST


def test_there_is_something_to_begin_the_search_with(tmp_path: Path) -> None:
    for reader in READERS:
        directory = tmp_path / reader
        directory.mkdir()
        assert fuzz_readers.seeds(reader, directory) >= 10


def test_the_search_tells_a_mistake_from_a_refusal(tmp_path: Path) -> None:
    """A reader with a mistake in it, deep enough that chance alone does not meet it."""
    code = (
        "import sys, atheris\n"
        "@atheris.instrument_func\n"
        "def reader(data):\n"
        "    if data[:1] == b'(':\n"
        "        if data[1:2] == b'v':\n"
        "            if data[2:3] == b'm': raise KeyError('mistake')\n"
        "atheris.Setup([sys.argv[0], '-max_total_time=60', '-seed=1', '-artifact_prefix=' + sys.argv[1] + '/'], reader)\n"
        "atheris.Fuzz()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=100, check=False, cwd=CHECKOUT
    )
    assert done.returncode != 0
    assert "KeyError" in done.stdout + done.stderr
    assert [path.read_bytes()[:3] for path in tmp_path.glob("crash-*")] == [b"(vm"]
