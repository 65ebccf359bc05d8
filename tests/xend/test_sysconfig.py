"""The settings of xendomains: read as data, with the shell's quotes, and nothing passed over in silence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.xend.sysconfig import Settings, read, value_of

EXAMPLE = Path(__file__).resolve().parents[2] / "share/xendomains.sysconfig"
ALL = """\
# a comment
XENDOMAINS_SYSRQ="s e i u"
XENDOMAINS_USLEEP=200000
export XENDOMAINS_CREATE_USLEEP='1500000'   # between starts
XENDOMAINS_MIGRATE="node2 --live"

XENDOMAINS_SAVE=/srv/my\\ saves
XENDOMAINS_SHUTDOWN="-H -w"
XENDOMAINS_SHUTDOWN_ALL=""
XENDOMAINS_RESTORE=false
XENDOMAINS_AUTO="/etc/xen/"'auto'
XENDOMAINS_AUTO_ONLY=true
XENDOMAINS_STOP_MAXWAIT=30
"""


def test_every_variable() -> None:
    assert read(ALL, "f") == (
        Settings(
            sysrq=("s", "e", "i", "u"), usleep=0.2, create_usleep=1.5, migrate="node2 --live", save="/srv/my saves",
            shutdown=("--halt", "--wait"), shutdown_all=(), restore=False, auto="/etc/xen/auto", auto_only=True,
            stop_maxwait=30.0,
        ), (),
    )  # fmt: skip


def test_the_example_sets_every_variable_to_its_usual_value() -> None:
    text = EXAMPLE.read_text()
    assert read(text, "f") == read("", "f") == (Settings(), ())
    named = {name.lower() for name in re.findall(r"^XENDOMAINS_([A-Z_]+)=", text, re.MULTILINE)}
    assert named == set(Settings._fields)


def test_an_empty_value_switches_a_step_off() -> None:
    off = "".join(f'XENDOMAINS_{name}=""\n' for name in ("SAVE", "SHUTDOWN", "SHUTDOWN_ALL", "AUTO", "STOP_MAXWAIT"))
    settings, complaints = read(off, "f")
    assert (settings.save, settings.shutdown, settings.shutdown_all, settings.auto, settings.stop_maxwait) == (
        "", (), (), "", 0.0,
    )  # fmt: skip
    assert complaints == ()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("rm -rf /", 'this is no line NAME="value", and is passed over: rm -rf /'),
        (". /etc/other", 'this is no line NAME="value", and is passed over: . /etc/other'),
        ("XENDOMAINS_SAVE=$(touch /tmp/x)", "XENDOMAINS_SAVE needs a shell, which is not run for it; its usual value counts"),
        ("XENDOMAINS_AUTO=`pwd`", "XENDOMAINS_AUTO needs a shell, which is not run for it; its usual value counts"),
        ('XENDOMAINS_AUTO="$HOME"', "XENDOMAINS_AUTO needs a shell, which is not run for it; its usual value counts"),
        ('XENDOMAINS_AUTO="/etc', "XENDOMAINS_AUTO needs a shell, which is not run for it; its usual value counts"),
        ("XENDOMAINS_AUTO=/a; reboot", "XENDOMAINS_AUTO needs a shell, which is not run for it; its usual value counts"),
        ("XENDOMAINS_SAVED=x", "xendomains has no variable XENDOMAINS_SAVED"),
        ("OTHER=x", "xendomains has no variable OTHER"),
        ("XENDOMAINS_USLEEP=soon", "XENDOMAINS_USLEEP: 'soon' is no number; its usual value counts"),
        ("XENDOMAINS_RESTORE=yes", "XENDOMAINS_RESTORE: 'yes' is neither true nor false; its usual value counts"),
        ("XENDOMAINS_SHUTDOWN=--now", "XENDOMAINS_SHUTDOWN: '--now' is none of --all, --halt, --wait; its usual value counts"),
    ],
)
def test_what_has_no_effect_is_named_with_its_line(line: str, problem: str) -> None:
    assert read(f"\n{line}\n", "/etc/default/xendomains") == (
        Settings(), (f"/etc/default/xendomains:2: {problem}",)
    )  # fmt: skip


@given(st.text(st.characters(exclude_characters="'\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", exclude_categories=["Cs"])))
def test_what_stands_in_single_quotes_is_taken_as_it_is(text: str) -> None:
    assert value_of(f"'{text}'") == text


@given(st.text(max_size=200))
def test_no_text_fails(text: str) -> None:
    read(text, "f")
    read(f"XENDOMAINS_SAVE={text}", "f")
