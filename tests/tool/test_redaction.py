"""Passwords in what is said of a configuration: found by what they are called, and left out."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.errors import ConfigError
from xmcompat.tool.redaction import Redactor, passwords, redactor


def test_a_word_is_left_out_where_its_name_says_so() -> None:
    redact = Redactor(["longsecret"])
    assert redact("vncpasswd=abc,type=vnc") == "vncpasswd=(not shown),type=vnc"
    assert redact("{'password': 'abc'}") == "{'password': '(not shown)'}"
    assert redact("id=x:key=AQ==:conf=y") == "id=x:key=(not shown):conf=y"
    assert redact("iscsi://alice%ab,c@store/iqn.x") == "iscsi://alice%(not shown)@store/iqn.x"
    assert redact("a longsecret b") == "a (not shown) b"
    assert redact("gfx_passthru=1 the password is long") == "gfx_passthru=1 the password is long"
    assert passwords("vncpasswd = \"hidden\"\n(vncpasswd other)") == {"hidden", "other"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('vncpasswd="open end', 'vncpasswd="(not shown)'), ("vncpasswd = 'two words'", "vncpasswd = '(not shown)'"),
        ("(vncpasswd ab)", "(vncpasswd (not shown))"), ("(vncpasswd 'a b')", "(vncpasswd '(not shown)')"),
    ],
)  # fmt: skip
def test_a_short_one_and_one_with_blanks_is_left_out_as_a_whole(text: str, shown: str) -> None:
    assert Redactor()(text) == shown


@pytest.mark.parametrize("text", ["near VNCPASSWD': lexical error", "vncpasswd: no meaning on KVM", "the passwd of it"])
def test_what_is_no_password_is_left_alone(text: str) -> None:
    assert Redactor()(text) == text


def test_a_password_with_a_comma_is_hidden_in_all_its_pieces() -> None:
    redact = redactor("vfb=['type=vnc,vncpasswd=Comma,Pw99,keymap=de']")
    assert redact("a:1: Pw99 should be a pair, separated by an equals sign.") == (
        "a:1: (not shown) should be a pair, separated by an equals sign."
    )
    assert redact("Comma and Pw99 and keymap=de") == "(not shown) and (not shown) and keymap=de"
    assert redactor("vif=['macc']")("macc should be a pair, separated by an equals sign.").startswith("macc ")
    assert "xvda" not in passwords("disk=['iscsi:iqn=i,password=chapsecret,xvda,w']")


def test_a_piece_too_short_to_look_for_is_not_quoted_either() -> None:
    redact = redactor("vfb=['vncpasswd=a,b c']")
    assert redact("b c should be a pair, separated by an equals sign.").startswith("(not shown) should")


def test_an_error_keeps_its_place_and_loses_its_password() -> None:
    error = redactor("vncpasswd='hidden'").error(ConfigError("hidden is wrong", path="a", line=3, hint="not hidden"))
    assert (error.line(), error.line_number) == ("a:3: (not shown) is wrong; not (not shown)", 3)  # type: ignore[attr-defined]


@given(st.text(alphabet="abcXYZ0189!$%&*+\t\\\x01é", min_size=4, max_size=12), st.sampled_from("'\""))
def test_a_password_of_a_file_is_in_no_text(word: str, quote: str) -> None:
    redact = redactor(f"vncpasswd = {quote}{word}{quote}\n")
    if not word.strip() or word != word.strip():
        return
    assert word not in redact(f"x {word} y").replace("(not shown)", "")
    assert repr(word)[1:-1] not in redact(f"x {word!r} y").replace("(not shown)", "")


@pytest.mark.parametrize("unit", ["pass", "passwd", "passwd ", "passwd='", "vncpasswd=a,", "passwd':", "key=", ": ", "(passwd ", "//a%", "//a%@"])
def test_a_text_that_is_made_to_take_long_does_not(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    begun = time.monotonic()
    redactor(text)(text[:5000])
    Redactor(wary=True)(text)
    assert time.monotonic() - begun < 5
