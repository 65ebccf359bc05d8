"""Lists of CPUs as xend reads them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.errors import ConfigError
from xmcompat.units import MOST_CPUS, format_cpus, parse_cpus


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0-3,^1", (0, 2, 3)),
        ("2", (2,)),
        ("0-3,5,^1", (0, 2, 3, 5)),
        ("^1,0-3", (0, 1, 2, 3)),
        (" 0 , 2-3 ", (0, 2, 3)),
        ("3-1", ()),
        ("", ()),
        ("  ", ()),
        ("1,1", (1,)),
    ],
)
def test_pieces_count_from_left_to_right(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_cpus(text) == cpus


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "cpus = a: invalid literal for int() with base 10: 'a'"),
        ("0,", "cpus = 0,: invalid literal for int() with base 10: ''"),
        ("0-3,^1-2", "cpus = 0-3,^1-2: invalid literal for int() with base 10: '1-2'"),
        ("all", "cpus = all: invalid literal for int() with base 10: 'all'"),
        ("0-99999999", "cpus = 0-99999999: there is no CPU 99999999"),
        (f"{MOST_CPUS}", f"cpus = {MOST_CPUS}: there is no CPU {MOST_CPUS}"),
    ],
)
def test_what_is_no_list_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_cpus(text)
    assert caught.value.line() == message


def test_ranges_are_as_short_as_can_be() -> None:
    assert format_cpus([3, 0, 2, 2]) == "0,2-3"
    assert format_cpus([]) == ""
    assert format_cpus(range(8)) == "0-7"


@given(st.sets(st.integers(0, MOST_CPUS - 1), max_size=40))
def test_what_is_printed_is_read_back(cpus: set[int]) -> None:
    assert set(parse_cpus(format_cpus(cpus))) == cpus


@given(st.text(alphabet="0123456789,-^ a", max_size=20))
def test_nothing_fails_but_as_config_error(text: str) -> None:
    with suppress(ConfigError):
        assert all(0 <= cpu < MOST_CPUS for cpu in parse_cpus(text))
