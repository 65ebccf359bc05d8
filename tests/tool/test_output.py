from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xmcompat.tool.output import printable


@given(st.text())
def test_nothing_printed_can_steer_a_terminal_or_fail_to_encode(text: str) -> None:
    shown = printable(text)
    assert not any((ord(char) < 32 and char != "\t") or 127 <= ord(char) < 160 for char in shown)
    shown.encode()


@given(st.text(st.characters(exclude_categories=("C",))))
def test_plain_text_is_left_alone(text: str) -> None:
    assert printable(text) == text
