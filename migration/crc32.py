"""CRC-32 by Intel's ISA-L (libisal2) where the host has it; else by zlib, the same number.

A file in memory is read and counted in about the time of the reading alone; with zlib that takes four times as long, which
is seen where two processors are busy with QEMU.
"""

from __future__ import annotations

import ctypes
import zlib
from functools import cache

_LIBRARY = "libisal.so.2"


class Buffer:
    """SIZE bytes to read into; ``view`` is what they are written to."""

    def __init__(self, size: int) -> None:
        own = bytearray(size)
        self.view = memoryview(own)
        self._bytes = (ctypes.c_char * size).from_buffer(own)
        self._address = ctypes.addressof(self._bytes)

    def crc32(self, count: int, before: int) -> int:
        """The CRC-32 of what came BEFORE and the first COUNT bytes. Other threads run meanwhile."""
        library = _library()
        return zlib.crc32(self.view[:count], before) if library is None else int(library(before, self._address, count))


@cache
def _library() -> ctypes._NamedFuncPointer | None:
    try:
        function = ctypes.CDLL(_LIBRARY).crc32_gzip_refl
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_uint32
    function.argtypes = (ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint64)
    return function
