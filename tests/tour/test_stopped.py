"""A tour that is stopped while it has hardly begun leaves nothing."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from xmcompat.tour import program


class Nowhere(NamedTuple):
    """A place that no guest of the tour has come to."""

    uri: str = "qemu:///system"


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(program, "choose", lambda _: Nowhere())
    with tempfile.TemporaryDirectory() as short:  # enough for the name of a socket in it
        yield Path(short) / "xmcompat/tour"


def stopped_after(call: Callable[..., object]) -> Callable[..., object]:
    def stopped(*words: object, **more: object) -> object:
        done = call(*words, **more)
        os.kill(os.getpid(), signal.SIGINT)
        return done

    return stopped


@pytest.mark.parametrize("name", ["mkdir", "chmod"])
def test_ctrl_c_while_its_directory_is_made_leaves_none(
    directory: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(Path, name, stopped_after(getattr(Path, name)))
    assert program.main(["--directory", str(directory)]) == 130
    assert not directory.parent.exists()


def test_ctrl_c_when_its_log_has_just_been_opened_leaves_none(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "Prompt", stopped_after(program.Prompt))
    assert program.main(["--directory", str(directory)]) == 130
    assert not directory.parent.exists()


def test_a_second_tour_that_is_stopped_leaves_the_first_ones_lock(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with program._alone(directory):
        monkeypatch.setattr(Path, "mkdir", stopped_after(Path.mkdir))
        assert program.main(["--directory", str(directory)]) == 130
        assert (directory / "lock").exists()
    assert not directory.parent.exists()
