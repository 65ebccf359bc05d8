"""Stretches of any length over a device that takes whole sectors alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xmcompat.storage import direct

GRAIN, SIZE = 8, 64


class Device:
    """Takes whole sectors of GRAIN bytes, and nothing behind its end."""

    def __init__(self) -> None:
        self.data = bytearray(range(SIZE))
        self.writes = 0

    def fill(self, offset: int, view: memoryview) -> bool:
        assert offset % GRAIN == len(view) % GRAIN == 0 and offset + len(view) <= SIZE
        view[:] = self.data[offset : offset + len(view)]
        return True

    def put(self, offset: int, view: memoryview) -> None:
        assert offset % GRAIN == len(view) % GRAIN == 0 and offset + len(view) <= SIZE
        self.data[offset : offset + len(view)] = view
        self.writes += 1


STRETCHES = st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE)).filter(lambda one: sum(one) <= SIZE)


@given(STRETCHES)
def test_what_is_read_is_what_is_there(stretch: tuple[int, int]) -> None:
    device, (offset, length) = Device(), stretch
    assert direct.read(GRAIN, offset, length, device.fill) == bytes(range(offset, offset + length))
    assert direct.read(GRAIN, offset, length, lambda _offset, _view: False) is None


@given(STRETCHES)
def test_what_is_written_is_there_and_all_beside_it_stays(stretch: tuple[int, int]) -> None:
    device, (offset, length) = Device(), stretch
    direct.write(GRAIN, offset, memoryview(b"\xff" * length), device.fill, device.put)
    wanted = bytearray(range(SIZE))
    wanted[offset : offset + length] = b"\xff" * length
    assert (device.data, device.writes) == (wanted, 1)
