"""Packages: what apt says about one, and a cache that holds whole packages or none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from xmcompat.tour import packages
from xmcompat.tour.packages import Package, candidate, clear, default_cache, parse_candidate, unpacked
from xmcompat.tour.programs import ProgramFailed, run

SHOWN = """\
Package: linux-image-virtual
Version: 6.8.0-45.45
Depends: linux-image-6.8.0-45-generic, linux-firmware | other, libc6:any (>= 2.38)
Description: kernel for guests
 Depends: on nothing

Package: other
Version: 1:2
"""
TOOL = Package("tool", "1:2.0-1")


def test_name_version_and_first_alternatives_are_read() -> None:
    assert parse_candidate(SHOWN, "linux-image-virtual") == Package(
        "linux-image-virtual", "6.8.0-45.45", ("linux-image-6.8.0-45-generic", "linux-firmware", "libc6")
    )
    assert parse_candidate(SHOWN, "other") == Package("other", "1:2")
    assert parse_candidate(SHOWN, "third") is None
    assert parse_candidate("", "third") is None


def test_a_package_that_apt_does_not_know_is_none() -> None:
    assert candidate("no-such-package-anywhere") is None


def test_the_cache_is_named_by_the_environment_else_by_who_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XMCOMPAT_CACHE", "/somewhere/else/../cache")
    assert default_cache() == Path("/somewhere/cache")
    monkeypatch.delenv("XMCOMPAT_CACHE")
    assert default_cache() == Path("/var/cache/xmcompat")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/anna/.cache")
    assert default_cache() == Path("/home/anna/.cache/xmcompat")


class Apt:
    """Plays apt-get and dpkg; fails as often as it is told to."""

    def __init__(self, *, failing_downloads: int = 0, failing_unpacks: int = 0) -> None:
        self.failing_downloads = failing_downloads
        self.failing_unpacks = failing_unpacks
        self.calls: list[str] = []

    def __call__(self, argv: Sequence[str | Path], *, seconds: float, cwd: Path | None = None) -> str:
        if argv[0] == "dpkg":
            self.calls.append("unpack")
            target = Path(argv[3])
            (target / "half").write_text("")
            if self.failing_unpacks:
                self.failing_unpacks -= 1
                raise ProgramFailed("dpkg: no space left")
            (target / "whole").write_text("")
            return ""
        self.calls.append(str(argv[2]) if argv[2] == "update" else "download")
        if "download" in argv:
            if self.failing_downloads:
                self.failing_downloads -= 1
                raise ProgramFailed("apt-get: 404 Not Found")
            assert cwd is not None
            (cwd / "tool_1%3a2.0-1_amd64.deb").write_text("")
        return ""


def said(_line: str) -> None:
    """Not of interest."""


def test_a_package_is_downloaded_and_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apt = Apt()
    monkeypatch.setattr(packages, "run", apt)
    folder = unpacked(TOOL, tmp_path, said)
    assert sorted(path.name for path in folder.iterdir()) == ["half", "whole"]
    assert unpacked(TOOL, tmp_path, said) == folder
    assert apt.calls == ["download", "unpack"]
    assert list((tmp_path / "downloads").iterdir()) == []


def test_lists_that_are_too_old_are_fetched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apt = Apt(failing_downloads=1)
    monkeypatch.setattr(packages, "run", apt)
    unpacked(TOOL, tmp_path, said)
    assert apt.calls == ["download", "update", "download", "unpack"]


def test_half_a_package_is_never_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apt = Apt(failing_unpacks=1)
    monkeypatch.setattr(packages, "run", apt)
    with pytest.raises(ProgramFailed, match="no space left"):
        unpacked(TOOL, tmp_path, said)
    assert not (tmp_path / "unpacked" / TOOL.folder).exists()
    assert sorted(path.name for path in unpacked(TOOL, tmp_path, said).iterdir()) == ["half", "whole"]


def test_a_program_that_fails_is_its_last_line() -> None:
    with pytest.raises(ProgramFailed, match="^sh: second$"):
        run(["sh", "-c", "echo first >&2; echo second >&2; exit 3"], seconds=10)
    with pytest.raises(ProgramFailed, match="^sh: status 3$"):
        run(["sh", "-c", "exit 3"], seconds=10)
    with pytest.raises(ProgramFailed, match="^no-such-program is not installed$"):
        run(["no-such-program"], seconds=10)
    with pytest.raises(ProgramFailed, match="^sleep has not ended within 0 seconds$"):
        run(["sleep", "5"], seconds=0.1)


def test_a_cache_is_cleared_of_what_is_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "run", Apt())
    cache = tmp_path / "cache"
    clear(cache)
    unpacked(TOOL, cache, said)
    (cache / "letters").write_text("")
    clear(cache)
    assert [path.name for path in cache.iterdir()] == ["letters"]
    (cache / "letters").unlink()
    clear(cache)
    assert not cache.exists()
