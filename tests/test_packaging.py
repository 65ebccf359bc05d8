"""The three guards of the layout: one import name, in the checkout and in what is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
SETUPTOOLS = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]
FOLDERS = ("backends", "network", "storage", "migration")


def ruff(text: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "TID251", "--output-format=concise",
            "--stdin-filename", "xmcompat/example.py", "-"]  # fmt: skip
    return subprocess.run(argv, input=text, capture_output=True, text=True, cwd=CHECKOUT, timeout=60, check=False)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_linter_refuses_the_short_import_spelling(folder: str) -> None:
    for line in (f"import {folder}\n", f"from {folder} import machine\n", f"from {folder}.machine import Machine\n"):
        done = ruff(line)
        assert done.returncode == 1
        assert f"TID251 `{folder}" in done.stdout
        assert f"write xmcompat.{folder}" in done.stdout
    assert ruff(f"import xmcompat.{folder}\n").returncode == 0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the checkout."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    source.mkdir()
    for name in ("xmcompat", *FOLDERS, "share"):
        shutil.copytree(CHECKOUT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source / name)
    argv = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(place), str(source)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = place.glob("*.whl")
    return built


def test_the_only_name_that_the_wheel_installs_is_xmcompat(wheel: Path) -> None:
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith((".dist-info", ".data"))} == {"xmcompat"}


def test_the_wheel_holds_every_module_of_the_checkout(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}
    places = {"xmcompat": CHECKOUT / "xmcompat", **{f"xmcompat/{name}": CHECKOUT / name for name in FOLDERS}}
    there = {
        f"{prefix}/{path.relative_to(place)}"
        for prefix, place in places.items()
        for path in place.rglob("*.py")
        if not any(part in FOLDERS for part in path.relative_to(place).parts)
    }
    assert packed == there
    assert "xmcompat/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_the_wheel_holds_the_units_of_systemd(wheel: Path) -> None:
    packed = {name.partition(".data/data/")[2] for name in zipfile.ZipFile(wheel).namelist()} - {""}
    assert packed == {f"share/xmcompat/systemd/{path.name}" for path in (CHECKOUT / "share/systemd").iterdir()}


@pytest.mark.parametrize("package", [name for name in SETUPTOOLS["package-dir"] if "." in name])
def test_each_link_points_where_the_package_is_built_from(package: str) -> None:
    link = CHECKOUT / package.replace(".", "/")
    assert link.is_symlink()
    assert not link.readlink().is_absolute()
    assert link.resolve(strict=True) == CHECKOUT / SETUPTOOLS["package-dir"][package]


def test_no_other_link_is_in_the_package_and_no_package_is_forgotten() -> None:
    links = {path.name for path in (CHECKOUT / "xmcompat").iterdir() if path.is_symlink()}
    assert links == set(FOLDERS)
    packages = {
        ".".join(path.parent.relative_to(CHECKOUT).parts)
        for path in (CHECKOUT / "xmcompat").glob("**/__init__.py")
    } | {f"xmcompat.{name}" for name in FOLDERS}
    assert set(SETUPTOOLS["packages"]) == packages
