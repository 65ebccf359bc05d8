"""What a program can open that reads what strangers have written."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from xmcompat.storage import fence
from xmcompat.storage.image_programs import Confinement, ProgramFailed, own_path, reader, run

SECRET = "a guest of somebody else's\n"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A private image of root's, and beside it another file of root's."""
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "image").write_text("an image\n")
    for name in ("secret", "image"):
        os.chmod(tmp_path / name, 0o600)
    return tmp_path / "image"


def denied() -> AbstractContextManager[object]:
    """On a kernel without Landlock there is no fence."""
    return pytest.raises(ProgramFailed, match="Permission denied") if fence.version() else nullcontext()


@pytest.fixture
def fd(image: Path) -> int:
    return os.open(image, os.O_RDONLY | os.O_CLOEXEC)


def test_a_reader_of_a_private_image_reads_no_other_file_of_its_owner(image: Path, fd: int) -> None:
    assert run(["cat", own_path(fd)], fds=(fd,), confined=reader(0)) == "an image\n"
    for path in (str(image.parent / "secret"), "/etc/shadow", "/proc/1/environ"):
        with denied():
            run(["cat", path], fds=(fd,), confined=reader(0))
    assert run(["cat", str(image.parent / "secret")], confined=Confinement(user=0)) == SECRET, "who owns it needs no capability"


def test_it_makes_removes_and_lists_nothing_either(image: Path, fd: int) -> None:
    folder = str(image.parent)
    if not fence.version():
        return  # then the program is only kept from writing much
    for words in (["touch", f"{folder}/new"], ["rm", f"{folder}/secret"], ["ls", folder], ["mkdir", f"{folder}/new"],
                  ["ln", f"{folder}/secret", f"{folder}/new"], ["truncate", "-s", "0", f"{folder}/secret"]):  # fmt: skip
        with pytest.raises(ProgramFailed, match="Permission denied"):
            run(words, fds=(fd,), confined=Confinement(fenced=True))
    assert sorted(os.listdir(folder)) == ["image", "secret"] and (image.parent / "secret").read_text() == SECRET


def test_a_file_is_open_for_what_it_was_given_for(image: Path, fd: int) -> None:
    """Though the program could open it anew by its descriptor."""
    words = ["dd", "if=/dev/zero", "bs=1", "count=1", "status=none", "conv=notrunc"]
    if fence.version():
        with denied():
            run([*words, f"of={own_path(fd)}"], fds=(fd,), confined=Confinement(fenced=True))
        assert image.read_text() == "an image\n"
    writable = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    run([*words, f"of={own_path(writable)}"], fds=(writable,), confined=Confinement(fenced=True))
    assert image.read_text() == "\0n image\n"
    run(["truncate", "-s", "0", own_path(writable)], fds=(writable,), confined=Confinement(fenced=True))
    assert image.read_text() == ""


def test_memory_and_pipes_are_given_as_files_are(fd: int) -> None:
    memory = os.memfd_create("x")
    os.write(memory, b"in memory")
    assert run(["cat", own_path(memory)], fds=(memory,), confined=reader(0)) == "in memory"
    reading, writing = os.pipe()
    os.write(writing, b"in a pipe")
    os.close(writing)
    assert run(["cat", own_path(reading)], fds=(reading,), confined=reader(0)) == "in a pipe"


def test_without_landlock_it_runs_as_before(image: Path, fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence, "version", lambda: 0)
    assert run(["cat", own_path(fd)], fds=(fd,), confined=reader(0)) == "an image\n"


def test_an_older_landlock_serves_as_well(image: Path, fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in range(1, min(fence.version(), 3) + 1):
        monkeypatch.setattr(fence, "version", lambda version=version: version)
        assert run(["cat", own_path(fd)], fds=(fd,), confined=reader(0)) == "an image\n"
        with pytest.raises(ProgramFailed, match="Permission denied"):
            run(["cat", str(image.parent / "secret")], fds=(fd,), confined=reader(0))
