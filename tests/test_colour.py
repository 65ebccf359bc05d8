"""Nothing is coloured: not xm's tables, nor what xmcompat prints, whatever the terminal and the environment ask for."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.lab.terminal import Terminal

CHECKOUT = Path(__file__).resolve().parents[1]
ESCAPE = b"\x1b"


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XMCOMPAT_URI", "test:///default")
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "CLICOLOR", "PY_COLORS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    (tmp_path / "web1.cfg").write_text("name = 'web1'\nmemory = 64\nkernel = '/k'\nbogus = 1\n")


@pytest.mark.parametrize("words", ["list", "list -l", "list --json", "vcpu-list", "info", "uptime", "help", "list -x", "domid nosuch",
                                   "block-list test", "sched-credit"])  # fmt: skip
def test_xms_own_text_has_no_colours(words: str) -> None:
    with Terminal([sys.executable, "-m", "xmcompat.xm", *words.split()]) as terminal:
        terminal.wait()
        assert terminal.output
        assert ESCAPE not in terminal.output


@pytest.mark.parametrize("words", ["--help", "host", "explain {}/web1.cfg", "report {}", "keys memory", "keys nosuch", "bogus",
                                   "convert {}/web1.cfg", "completion bash"])  # fmt: skip
@pytest.mark.parametrize("no_colour", [True, False])
def test_what_xmcompat_prints_has_none(
    words: str, no_colour: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if no_colour:
        monkeypatch.setenv("NO_COLOR", "1")
    with Terminal([sys.executable, "-m", "xmcompat.tool", *words.format(tmp_path).split()]) as terminal:
        terminal.wait(60)
        assert terminal.output
        assert ESCAPE not in terminal.output


def test_no_source_has_a_colour_in_it() -> None:
    marks = re.compile(r"\\(?:x1b|033|e)\[[0-9;]*m|click\.(?:style|secho)|\bfg=")
    folders = ("xmcompat", "backends", "network", "storage", "migration")
    paths = [path for folder in folders for path in (CHECKOUT / folder).rglob("*.py")]
    assert [str(path) for path in paths if marks.search(path.read_text())] == []
