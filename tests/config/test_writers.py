"""The texts of xl's and xm's files: what is written is read back to the same, and looks as a person writes it."""

from __future__ import annotations

import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.config.strategies import Settings, texts, values, xl_settings, xm_settings
from xmcompat.config import xl
from xmcompat.config.keys import KEYS
from xmcompat.config.layout import GROUPS
from xmcompat.config.python import ScriptHost, evaluate
from xmcompat.config.write_cfg import print_cfg
from xmcompat.config.write_xl import print_xl
from xmcompat.errors import ConfigError
from xmcompat.guest import Value

HOST = ScriptHost(
    uname=("Linux", "h", "", "", "x86_64"), exists=lambda _: False, isfile=lambda _: False, isdir=lambda _: False,
    cwd="/", now=0.0,
)  # fmt: skip
LARGEST = 2**63 - 1
_names = st.from_regex(r"[a-z][_0-9a-z]{0,8}", fullmatch=True)
_python_names = _names.filter(lambda name: not keyword.iskeyword(name) and name not in ("print", "exec"))


def as_xl_reads(value: Value) -> Value:
    """xl keeps numbers as texts until a setting wants one."""
    return [as_xl_reads(item) for item in value] if isinstance(value, list) else str(value)


def check_xl(settings: Settings) -> None:
    read = xl.parse(print_xl(settings), "web1.cfg")
    assert read.values == {name: as_xl_reads(value) for name, value in settings.items()}
    assert read.warnings == ()


def check_cfg(settings: Settings) -> None:
    read = evaluate(print_cfg(settings).encode(), path="web1.cfg", variables={}, host=HOST)
    assert read.values == settings
    assert {name: list(map(type, _leaves(value))) for name, value in read.values.items()} == {
        name: list(map(type, _leaves(value))) for name, value in settings.items()
    }


def _leaves(value: Value) -> list[Value]:
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list) else [value]


@given(values(st.one_of(texts, st.integers(-(2**70), 2**70), st.floats(allow_nan=False)), _names))
def test_xl_reads_what_is_written(settings: Settings) -> None:
    check_xl(settings)


@given(values(st.one_of(texts, st.integers(-LARGEST, LARGEST), st.floats(allow_nan=False)), _python_names))
def test_xm_reads_what_is_written(settings: Settings) -> None:
    check_cfg(settings)


@given(xl_settings())
def test_a_whole_file_of_xl(settings: Settings) -> None:
    check_xl(settings)


@given(xm_settings())
def test_a_whole_file_of_xm(settings: Settings) -> None:
    check_cfg(settings)


@pytest.mark.parametrize("write", [print_xl, print_cfg])
def test_settings_stand_in_groups_in_the_order_in_which_people_write_them(write) -> None:
    text = write({"vif": ["bridge=xenbr0"], "disk": ["a", "b"], "memory": 256, "name": "web1", "odd": 1, "on_crash": "destroy"})
    assert text.replace("'", '"') == """\
name = "web1"

memory = 256

disk = [
    "a",
    "b",
]

vif = ["bridge=xenbr0"]

on_crash = "destroy"

odd = 1
"""


def test_nothing_is_written_for_nothing() -> None:
    assert print_xl({}) == print_cfg({}) == ""


def test_every_key_has_its_place() -> None:
    placed = [name for group in GROUPS for name in group]
    assert sorted(placed) == sorted(KEYS)


def test_xl_writes_numbers_below_zero_as_texts() -> None:
    assert print_xl({"rtc_timeoffset": -60, "vcpus": 2}) == 'vcpus = 2\n\nrtc_timeoffset = "-60"\n'


def test_xl_writes_lists_in_lists_on_one_line_each() -> None:
    assert print_xl({"vnuma": [["pnode=0", "size=512"], ["pnode=1"]]}) == (
        'vnuma = [\n    ["pnode=0", "size=512"],\n    ["pnode=1"],\n]\n'
    )


def test_xm_is_told_of_characters_beyond_ascii() -> None:
    text = print_cfg({"description": "café"})
    assert text.startswith("# -*- coding: utf-8 -*-\n")
    assert "description = 'café'\n" in text
    assert print_cfg({"description": "plain"}).startswith("description")


def test_bytes_that_are_no_characters_are_escapes() -> None:
    assert print_cfg({"extra": "a\udcffb"}) == "extra = 'a\\xffb'\n"


def test_numbers_beyond_pythons_ints_are_texts_to_xm() -> None:
    assert print_cfg({"memory": 2**63}) == "memory = '9223372036854775808'\n"


@pytest.mark.parametrize(
    ("write", "settings"),
    [
        (print_xl, {"Memory": 1}), (print_xl, {"suppress-vmdesc": "1"}), (print_xl, {"extra": "a\0"}),
        (print_cfg, {"suppress-vmdesc": "1"}), (print_cfg, {"print": 1}), (print_cfg, {"memory": float("nan")}),
        (print_cfg, {"extra": "\ud800"}),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_an_error(write, settings) -> None:
    with pytest.raises(ConfigError):
        write(settings)
