"""xend's log: the format of a line, levels, generations, and what cannot be written."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.xend.log import GENERATIONS, LARGEST, XendLog


def test_a_line_is_as_xend_writes_it(tmp_path: Path) -> None:
    log = XendLog(str(tmp_path / "new/xend.log"))
    log("INFO", "Xend Daemon started, 100%s")
    text = (tmp_path / "new/xend.log").read_text()
    found = re.fullmatch(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (\d+)\] INFO \(test_log:(\d+)\) Xend Daemon started, 100%s\n", text)
    assert found, text
    assert int(found[1]) == os.getpid()
    assert int(found[2]) == test_a_line_is_as_xend_writes_it.__code__.co_firstlineno + 2, "the line of who called it"
    log.close()


def test_it_is_roots_alone(tmp_path: Path) -> None:
    XendLog(str(tmp_path / "xend.log")).close()
    assert (tmp_path / "xend.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("level", "kept"),
    [("DEBUG", "DIWEC"), ("INFO", "IWEC"), ("WARNING", "WEC"), ("ERROR", "EC"), ("CRITICAL", "C"), ("LOUD", "DIWEC"), ("", "DIWEC")],
)
def test_the_level_says_what_is_kept(tmp_path: Path, level: str, kept: str) -> None:
    log = XendLog(str(tmp_path / "xend.log"), level)
    for word in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        log(word, "text")
    lines = (tmp_path / "xend.log").read_text().splitlines()
    assert "".join(line.split("] ")[1][0] for line in lines) == kept
    log.move(log.path, "CRITICAL")
    log("ERROR", "not any more")
    assert len((tmp_path / "xend.log").read_text().splitlines()) == len(lines)


def test_at_a_mebibyte_a_new_one_is_begun_and_five_old_ones_are_kept(tmp_path: Path) -> None:
    log = XendLog(str(tmp_path / "xend.log"))
    for _ in range(4 * (GENERATIONS + 3)):
        log("INFO", "x" * (LARGEST // 3))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["xend.log", *(f"xend.log.{number}" for number in range(1, GENERATIONS + 1))]
    assert all(path.stat().st_size <= LARGEST for path in tmp_path.iterdir())
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())


@given(st.text())
def test_whatever_a_name_holds_an_entry_is_one_line(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        log = XendLog(f"{folder}/xend.log")
        log("INFO", f"Domain {text}!")
        data = Path(f"{folder}/xend.log").read_bytes()
        log.close()
    assert data.count(b"\n") == 1
    assert data.endswith(b"!\n")


def test_one_that_somebody_has_removed_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "xend.log"
    log = XendLog(str(path))
    log("INFO", "first")
    path.unlink()
    log("INFO", "second")
    assert path.read_text().endswith("second\n")


def test_one_that_cannot_be_written_is_a_problem_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = XendLog(str(tmp_path / "file/xend.log"))
    assert log.problem == f"{tmp_path}/file: Not a directory" or log.problem.startswith(f"{tmp_path}/file/xend.log: ")
    log("ERROR", "nobody sees it")
    log.move(str(tmp_path / "xend.log"), "INFO")
    assert log.problem == ""
    log("INFO", "seen")
    assert (tmp_path / "xend.log").read_text().endswith(" seen\n")


def test_a_full_disk_stops_nothing_and_fills_no_memory() -> None:
    log = XendLog("/dev/full")
    for _ in range(1000):
        log("INFO", "x" * 10000)
    handler = log._logger.handlers[0]
    assert handler.stream is None  # type: ignore[attr-defined]
    log.close()
