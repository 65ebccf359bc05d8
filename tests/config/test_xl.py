"""The grammar of xl's files."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.config.xl import DEEPEST, LARGEST, PYTHON_HINT, XlText, number, parse
from xmcompat.errors import ConfigError, ConfigLimit, ConfigSyntax


def values(text: str) -> dict[str, object]:
    return dict(parse(text, "web.cfg").values)


def test_numbers_stay_as_written_and_are_read_with_their_base() -> None:
    assert values("a = 10\nb = 0x1f\nc=017") == {"a": "10", "b": "0x1f", "c": "017"}
    assert [number(text) for text in ("10", "0x1f", "017", "0", " 7", "-3600", "+2", "0X1F")] == [
        10, 31, 15, 0, 7, -3600, 2, 31,
    ]  # fmt: skip
    assert [number(text) for text in ("", "08", "0x", "1a", "1 ", "yes", "1.0", "9" * 30, "9" * 5000, "١")] == [None] * 10


def test_lines_end_with_a_newline_a_semicolon_or_the_text() -> None:
    assert values("a=1;b='2' ; ;\n\n c=\t3") == {"a": "1", "b": "2", "c": "3"}


def test_comments_reach_to_the_end_of_the_line_outside_texts() -> None:
    assert values("# a=1\nb='#2' # c\nd=[1, # one\n 2]#") == {"b": "#2", "d": ["1", "2"]}


def test_lists_nest_span_lines_and_may_end_in_a_comma() -> None:
    assert values('a=[\n 1,\n "2"\n ,\n [3,[]],\n]\nb=[]\nc=[\n]') == {"a": ["1", "2", ["3", []]], "b": [], "c": []}


def test_the_last_definition_counts_and_is_told() -> None:
    assert parse("a=1\nb=2\na='3'", "p") == XlText(
        values={"b": "2", "a": "3"}, lines={"b": 2, "a": 3},
        warnings=("line 3: a is set again; what line 1 says of it does not count",),
    )  # fmt: skip


def test_appending() -> None:
    assert values("a='x'\na+='y'\na += 3\nb+=[1]\nb+=[[2]]\nc+='new'") == {"a": "xy3", "b": ["1", ["2"]], "c": "new"}
    with pytest.raises(ConfigSyntax, match=r"^web.cfg:2: a: can't add a list to a text$"):
        values("a='x'\na+=['y']")
    with pytest.raises(ConfigSyntax, match=r"^web.cfg:2: a: can't add a text to a list$"):
        values("a=[]\na+='y'")


def test_escapes() -> None:
    assert values(r"""a='\'\"\\\a\b\f\n\r\t\v' ; b="it's" """) == {"a": "'\"\\\a\b\f\n\r\t\v", "b": "it's"}
    with pytest.raises(ConfigSyntax, match=r"web.cfg:1: invalid character after backslash: \\q"):
        values(r"a='\q'")


def test_characters_by_number_are_lost_and_told() -> None:
    assert parse(r"a='x\x41\101y'", "p") == XlText(
        values={"a": "xy"}, lines={"a": 1},
        warnings=(
            r"line 1: xl loses the character that \x41 stands for", r"line 1: xl loses the character that \101 stands for",
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Memory=512", "web.cfg:1: config parsing error near `Memory': lexical error"),
        ("a=1\nb = True", "web.cfg:2: config parsing error near `True': lexical error"),
        ("a = yes", "web.cfg:1: config parsing error near `yes': syntax error"),
        ("import os", "web.cfg:1: config parsing error near `os': syntax error"),
        ("a =\n1", "web.cfg:1: config parsing error: the line ends too early"),
        ("a = [1", "web.cfg:1: config parsing error: the line ends too early"),
        ("a = 'x", "web.cfg:1: a text has no closing quote on its line"),
        ("a = 'x\n'", "web.cfg:1: a text has no closing quote on its line"),
        ("a = 1 b = 2", "web.cfg:1: config parsing error near `b': syntax error"),
        ("a = 'x' 'y'", "web.cfg:1: config parsing error near `'y'': syntax error"),
        ("a = [,]", "web.cfg:1: config parsing error near `,': syntax error"),
        ("a = [1,,2]", "web.cfg:1: config parsing error near `,': syntax error"),
        ("a = [1 2]", "web.cfg:1: config parsing error near `2': syntax error"),
        ("= 1", "web.cfg:1: config parsing error near `=': syntax error"),
        ("5 = 1", "web.cfg:1: config parsing error near `5': syntax error"),
        ("a = 5g", "web.cfg:1: config parsing error near `g': syntax error"),
        ("_a = 5", "web.cfg:1: config parsing error near `_': lexical error"),
        ("a = 1\x00", "web.cfg:1: config parsing error near `\\x00': lexical error"),
    ],
)
def test_what_is_no_xl_names_its_line(text: str, message: str) -> None:
    with pytest.raises(ConfigSyntax) as caught:
        values(text)
    assert caught.value.message == message


@pytest.mark.parametrize("text", ["memory=512+256", "rtc_timeoffset=-60", "a=1.5", "a=(1)", "a.b=1", "if: b"])
def test_python_is_named(text: str) -> None:
    with pytest.raises(ConfigSyntax) as caught:
        values(text)
    assert caught.value.hint == PYTHON_HINT


def test_a_quoted_negative_number_is_fine() -> None:
    assert number(str(values('rtc_timeoffset="-60"')["rtc_timeoffset"])) == -60


def test_carriage_returns_at_the_ends_of_lines_are_passed_over() -> None:
    assert values("a=1\r\nb=[\r\n2]\r\n") == {"a": "1", "b": ["2"]}


def test_limits() -> None:
    assert values("a=" + "[" * DEEPEST + "]" * DEEPEST)
    with pytest.raises(ConfigLimit, match="p:1: lists are nested more than 20 deep"):
        parse("a=" + "[" * 100_000, "p")
    with pytest.raises(ConfigLimit, match="larger than 1024 KiB"):
        parse("#" * (LARGEST + 1), "p")


def test_appending_without_end_stays_quick() -> None:
    assert len(str(values("a+='xyz'\n" * 100_000)["a"])) == 300_000


@given(st.text(alphabet="ab=+[],;#'\"\\\n\r 019xT-.()", max_size=60) | st.text(max_size=40))
def test_any_text_is_read_or_refused_as_a_configuration(text: str) -> None:
    with suppress(ConfigError):
        found = parse(text, "p")
        assert set(found.lines) == set(found.values)


_PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=20)
_VALUES = st.recursive(_PLAIN, lambda inner: st.lists(inner, max_size=4), max_leaves=10)


def written(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(written(item) for item in value) + "]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.dictionaries(st.from_regex("[a-z][_0-9a-z]{0,8}", fullmatch=True), _VALUES, max_size=5))
def test_what_is_written_is_read_again(settings: dict[str, object]) -> None:
    assert values("\n".join(f"{name} = {written(value)}" for name, value in settings.items())) == settings


@given(st.integers(min_value=-(2**63) + 1, max_value=2**63 - 1))
def test_spellings_of_a_number_agree(value: int) -> None:
    sign = "-" if value < 0 else ""
    assert number(str(value)) == number(f"{sign}{abs(value):#x}") == number(f"{sign}0{abs(value):o}") == value
