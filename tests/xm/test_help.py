"""The layouts of help and usage, column for column."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.xm.conftest import Xm
from xmcompat.render import help as layout
from xmcompat.xm import helptexts
from xmcompat.xm.help import short_help_text, usage_text
from xmcompat.xm.verbs import COMMON, GROUPS, HELP, VERBS


def test_a_usage_without_options() -> None:
    assert usage_text("pause") == "Usage: xm pause <Domain>\n\nStop a domain's cpus for a while.\n"


def test_a_usage_without_synopsis_ends_its_first_line_in_a_blank() -> None:
    assert usage_text("top").splitlines()[0] == "Usage: xm top "


def test_option_rows_are_padded_and_an_empty_line_ends_them() -> None:
    assert layout.usage("v", "<D>", "Does it.", [("-a, --all", "All of them."), ("--pool=NAME", "word " * 11)]) == (
        "Usage: xm v <D>\n\nDoes it.\n"
        "  -a, --all                      All of them.                               \n"
        "  --pool=NAME                    word word word word word word word word    \n"
        "                                 word word word\n"
        "\n"
    )


def test_undocumented_options_are_not_shown() -> None:
    assert "--vcpus" not in usage_text("list")
    assert "-n" not in usage_text("console")


def test_the_usage_of_a_beginning_is_that_of_the_first_verb_that_begins_so() -> None:
    assert usage_text("ne") == usage_text("new")
    assert usage_text("net") == usage_text("network-attach")
    assert usage_text("bogus") == short_help_text()
    assert usage_text("vbd-list") == short_help_text()


def test_create_has_its_options_below_a_heading_of_their_own() -> None:
    lines = usage_text("create").split("\n")
    assert lines[:8] == [
        "Usage: xm create <ConfigFile> [options] [vars]",
        "",
        "Start a domain from a configuration file.",
        "",
        "Options:",
        "",
        "-h, --help           Print this text.",
        "--help_config        List the variables of a configuration, which can also",
    ]
    index = lines.index("-f=FILE, --defconfig=FILE")
    assert lines[index + 1].startswith(" " * 21 + "The configuration")
    assert lines[-2:] == ["", ""]


def test_keys_of_twenty_characters_share_the_line_and_longer_ones_do_not() -> None:
    rows = [("--vncviewer-autopass", "Text."), ("-f=FILE, --defconfig=FILE", "Text.")]
    assert layout.own_options("Options", rows) == (
        "\nOptions:\n\n--vncviewer-autopass Text.\n-f=FILE, --defconfig=FILE\n                     Text.\n\n"
    )


def test_the_short_help() -> None:
    lines = short_help_text().split("\n")
    assert lines[0] == "Usage: xm <subcommand> [args]"
    assert lines[1] == ""
    assert lines[3:6] == ["", "Common 'xm' commands:", ""]
    rows = lines[6:-7]
    assert [row.split()[0] for row in rows if not row.startswith("  ")] == list(COMMON)
    assert lines[-7] == ""
    assert [bool(line) for line in lines[-6:]] == [True, True, True, False, True, False]
    assert "'xm help'" in lines[-2]


def test_the_full_help(xm: Xm) -> None:
    lines = xm("help").out.split("\n")
    assert lines[:4] == short_help_text().split("\n")[:4]
    assert lines[4:6] == ["xm full list of subcommands:", ""]
    rows = lines[6:-6]
    names = [verb.name for group in GROUPS.values() for verb in group]
    assert [row.split()[0] for row in rows if not row.startswith("  ")] == names
    assert "help" not in names
    assert [bool(line) for line in lines[-6:]] == [False, True, True, True, False, False]


@pytest.mark.parametrize("words", [[], ["help"]])
def test_rows_of_a_help_have_their_columns(xm: Xm, words: list[str]) -> None:
    lines = xm(*words).out.split("\n")[6:]
    for line in lines[: lines.index("")]:
        if line.startswith("  "):
            assert re.fullmatch(r" {22}\S.{0,47}", line)
        elif len(line.split()[0]) <= 20:
            assert len(line) == 1 + 20 + 1 + 50
            assert line[22] != " "


def test_every_verb_and_every_shown_option_has_a_text() -> None:
    assert set(helptexts.DESCRIPTIONS) == {*VERBS, HELP.name}
    for name, texts in helptexts.OPTIONS.items():
        assert set(texts) <= set(VERBS[name].options), name


@given(st.lists(st.text(alphabet="abcdefg", min_size=1, max_size=12), max_size=40), st.integers(20, 60))
def test_wrapping_keeps_the_words_and_the_width_and_is_greedy(words: list[str], width: int) -> None:
    lines = layout.wrap(" ".join(words), width)
    assert " ".join(lines).split() == words
    assert all(len(line) <= width - 2 for line in lines)
    for line, following in itertools.pairwise(lines):
        assert len(line) + 1 + len(following.split()[0]) > width - 2
