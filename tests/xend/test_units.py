"""Units for systemd: what systemd itself finds wrong with them is nothing, and what they start is there."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from xmcompat.tool.main import main
from xmcompat.tool.units import programs_folder
from xmcompat.xend.config_keys import markdown_table
from xmcompat.xend.main import _VERBS, FOREGROUND
from xmcompat.xend.units import PACKAGED, UNITS, unit

CHECKOUT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())

each_unit = pytest.mark.parametrize("name", UNITS)


def parsed(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read_string(text)
    return parser


@each_unit
def test_those_for_packages_are_the_same(name: str) -> None:
    assert (CHECKOUT / "share/systemd" / name).read_text() == unit(name, PACKAGED)
    assert f"share/systemd/{name}" in PYPROJECT["tool"]["setuptools"]["data-files"]["share/xmcompat/systemd"]


@each_unit
def test_what_they_start_is_a_program_of_ours_with_a_verb_that_it_has(name: str) -> None:
    service = parsed(unit(name, "/usr/bin"))["Service"]
    lines = [service[key].lstrip("-").split() for key in service if key.startswith("Exec")]
    assert lines
    for program, *words in lines:
        assert program.startswith("/usr/bin/")
        assert program.removeprefix("/usr/bin/") in PYPROJECT["project"]["scripts"]
        if program.endswith("/xend"):
            assert words[0] in _VERBS
            assert words[1:] in ([], [FOREGROUND])


def test_a_restart_of_xend_touches_no_guest() -> None:
    """A unit that requires another is stopped with it, and xendomains saves or ends guests then."""
    found = parsed(unit("xendomains.service", "/usr/bin"))["Unit"]
    assert not {"Requires", "BindsTo", "PartOf", "Requisite"} & set(found)
    assert "xend.service" in found["After"].split()
    assert parsed(unit("xend.service", "/usr/bin"))["Service"]["KillMode"] == "process"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    programs = tmp_path / "with blank"
    programs.mkdir()
    for name in ("xend", "xendomains"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    for name in UNITS:
        (tmp_path / name).write_text(unit(name, str(programs)))
    argv = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in UNITS)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@each_unit
def test_they_are_printed_for_the_programs_of_this_installation(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["units", name]) == 0
    assert capsys.readouterr().out == unit(name, programs_folder())
    assert programs_folder().startswith("/")


def test_the_folder_is_that_of_the_program_that_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/xen/bin/xmcompat", "units"])
    assert programs_folder() == "/opt/xen/bin"


def test_the_table_of_settings_is_the_programs_own() -> None:
    text = (CHECKOUT / "docs/howto-xend.md").read_text()
    assert text.endswith("\n\n" + markdown_table() + "\n"), "its last lines are what config_keys.markdown_table gives"
