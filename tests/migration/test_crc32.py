"""ISA-L and zlib count alike."""

from __future__ import annotations

import ctypes
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.migration import crc32

NUMBERS = st.integers(0, 2**32 - 1)


def test_the_library_is_there_where_all_tests_run() -> None:
    assert crc32._library() is not None


@given(st.binary(max_size=5000), NUMBERS, st.integers(0, 5000))
def test_the_library_counts_as_zlib_does(data: bytes, before: int, more: int) -> None:
    buffer = crc32.Buffer(len(data) + more)
    buffer.view[: len(data)] = data
    assert buffer.crc32(len(data), before) == zlib.crc32(data, before)


@pytest.mark.parametrize("name", ["libnone.so.2", "libc.so.6"], ids=["no library", "one without it"])
def test_without_it_zlib_counts(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(crc32, "_LIBRARY", name)
    crc32._library.cache_clear()
    try:
        assert crc32._library() is None
        buffer = crc32.Buffer(8)
        buffer.view[:] = b"12345678"
        assert buffer.crc32(5, 7) == zlib.crc32(b"12345", 7)
    finally:
        crc32._library.cache_clear()


def test_where_it_writes_is_where_it_counts() -> None:
    buffer = crc32.Buffer(4)
    assert ctypes.string_at(buffer._address, 4) == bytes(4)
    buffer.view[1:3] = b"ab"
    assert ctypes.string_at(buffer._address, 4) == b"\0ab\0"
