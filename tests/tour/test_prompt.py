"""Commands typed at the tour's prompt: what is shown, what is kept, and what happens when they fail or hang."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xmcompat.tour.prompt import TIDY_SECONDS, Prompt, Running, StepFailed

Maker = Callable[[str], Prompt]


@pytest.fixture
def screen() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def prompt(tmp_path: Path, screen: io.StringIO) -> Iterator[Maker]:
    """A prompt where ``xm`` is a script for sh; its words are the script's."""
    made: list[Prompt] = []

    def make(script: str) -> Prompt:
        made.append(Prompt(tmp_path / "log", program=["sh", "-c", script, "xm"], environ={"COLOUR": "red"}, out=screen))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_command_is_shown_as_typed_with_all_it_says(prompt: Maker, screen: io.StringIO, tmp_path: Path) -> None:
    said = prompt('echo "$1 $COLOUR"; echo oops >&2').xm("list", "-l", seconds=10)
    assert said == "list red\noops\n"
    assert screen.getvalue() == "# xm list -l\nlist red\noops\n"
    assert (tmp_path / "log").read_text() == screen.getvalue()


def test_a_bad_status_is_a_failed_step(prompt: Maker) -> None:
    with pytest.raises(StepFailed, match=r"^'xm create a\.cfg' failed with status 3$"):
        prompt("exit 3").xm("create", "a.cfg", seconds=10)


def test_a_command_that_hangs_is_told_to_stop(prompt: Maker, tmp_path: Path) -> None:
    mark = tmp_path / "tidied"
    begun = time.monotonic()
    with pytest.raises(StepFailed, match=r"^'xm list' has not ended in time$"):
        prompt(f"trap 'touch {mark}; exit 0' INT; while :; do sleep 0.1; done").xm("list", seconds=5)
    assert mark.exists()
    assert time.monotonic() - begun < TIDY_SECONDS, "it has ended by itself, and was not killed"


def test_a_conversation_waits_for_each_text_and_answers_it(prompt: Maker, screen: io.StringIO) -> None:
    script = r"""
        stty raw -echo; printf 'login: '; read name; printf '\033[6nhello %s\r\n# ' "$name"
        key=$(dd bs=1 count=1 2>/dev/null | od -An -tx1); echo "key$key"
    """
    said = prompt(script).console("web1", (("login: ", "anna\n"), ("# ", "\x1d")), seconds=10)
    assert said == "login: hello anna\n# key 1d\n"
    assert screen.getvalue() == f"# xm console web1\n{said}"


def test_a_text_that_never_comes_is_a_failed_step(prompt: Maker) -> None:
    with pytest.raises(StepFailed, match="^'xm console web1' has not shown 'login:'$"):
        prompt("echo nothing").console("web1", (("login: ", "anna\n"),), seconds=10)
    with pytest.raises(StepFailed, match="^'xm console web1' has not shown 'login:'$"):
        prompt("sleep 60").console("web1", (("login: ", "anna\n"),), seconds=0.3)


def test_an_escape_sequence_in_two_pieces_is_left_out_as_well() -> None:
    shown: list[str] = []
    script = r"printf 'a\033['; sleep 0.3; printf '6nb'"
    with Running(["sh", "-c", script], dict(os.environ), shown.append) as running:
        running.wait(time.monotonic() + 10, "test")
    assert "".join(shown) == "ab"


def test_ctrl_c_reaches_the_command_and_waits_for_it_to_tidy_up(prompt: Maker, tmp_path: Path) -> None:
    ready, mark = tmp_path / "ready", tmp_path / "tidied"

    def await_trap() -> None:
        deadline = time.monotonic() + 15
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGALRM)

    def press(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, press)
    presser = threading.Thread(target=await_trap)
    presser.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            script = f"trap 'sleep 0.3; touch {mark}; exit 0' INT; touch {ready}; while :; do sleep 0.1; done"
            prompt(script).xm("create", seconds=20)
    finally:
        presser.join()
        signal.signal(signal.SIGALRM, before)
    assert mark.exists()
