"""``xmcompat man``: pages that troff takes without a word, and that leave nothing out."""

from __future__ import annotations

import re
import subprocess

import pytest

from xmcompat.config.keys import KEYS
from xmcompat.render.man import escaped
from xmcompat.tool.main import main, program
from xmcompat.tool.man import PAGES, page
from xmcompat.xm.verbs import GROUPS


def shown(name: str) -> str:
    """The page as a terminal shows it, without the marks of bold print; fails where troff complains."""
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-c", "-rLL=200n"], input=page(name), capture_output=True, text=True, timeout=30,
        check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return re.sub(r".\x08", "", done.stdout)


@pytest.mark.parametrize("name", PAGES)
def test_troff_takes_the_page(name: str) -> None:
    text = shown(name)
    for heading in ("NAME", "DESCRIPTION", "SEE ALSO"):
        assert re.search(rf"^{heading}$", text, re.MULTILINE), heading


def test_every_verb_is_in_the_page_of_xm() -> None:
    text = shown("xm")
    verbs = [verb.name for group in GROUPS.values() for verb in group]
    assert [name for name in verbs if not re.search(rf"^\s+{re.escape(name)}\b", text, re.MULTILINE)] == []


def test_every_command_and_option_is_in_the_page_of_xmcompat() -> None:
    text = shown("xmcompat")
    for name, command in program.commands.items():
        assert re.search(rf"^\s+{name} \[OPTIONS\]", text, re.MULTILINE), name
        for param in command.params:
            assert all(opt in text for opt in param.opts if opt.startswith("-")), param.opts


def test_every_key_is_in_the_page_of_the_configuration() -> None:
    text = shown("xmdomain.cfg")
    assert [name for name in KEYS if not re.search(rf"^\s+{re.escape(name)} \(", text, re.MULTILINE)] == []


def test_every_verb_and_setting_is_in_the_page_of_xend() -> None:
    from xmcompat.xend.config_keys import XEND_KEYS
    from xmcompat.xend.main import _VERBS

    text = shown("xend")
    assert [name for name in (*_VERBS, *XEND_KEYS) if not re.search(rf"^\s+{re.escape(name)}\b", text, re.MULTILINE)] == []


def test_nothing_in_a_text_is_a_command_of_troffs() -> None:
    assert escaped('a-b \\n "c"\n.SH x') == "a\\-b \\en \\(dqc\\(dq .SH x"


def test_the_page_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["man", "xm"]) == 0
    assert capsys.readouterr().out == page("xm")
    assert main(["man", "ls"]) == 2
