"""The words of the NBD protocol, as a server says and hears them: only what QEMU needs. Pure.

Source: the protocol's own description (doc/proto.md), "fixed newstyle".
"""

from __future__ import annotations

import struct
from typing import NamedTuple

HELLO = struct.pack(">8s8sH", b"NBDMAGIC", b"IHAVEOPT", 0b11)
CLIENT_FLAGS = struct.Struct(">I")
OPTION = struct.Struct(">8sII")
REQUEST = struct.Struct(">IHHQQI")
REPLY = struct.Struct(">IIQ")
OPTION_MAGIC, REQUEST_MAGIC, REPLY_MAGIC = b"IHAVEOPT", 0x25609513, 0x67446698
_OPTION_REPLY = struct.Struct(">QIII")

#: Options of the client.
EXPORT_NAME, ABORT, LIST, INFO, GO = 1, 2, 3, 6, 7
#: Requests.
READ, WRITE, DISCONNECT, FLUSH, TRIM, WRITE_ZEROES = 0, 1, 2, 3, 4, 6
#: Flags of requests: on stable storage before the answer; write zeros, not holes.
FUA, NO_HOLE = 1, 2
#: Errors on the wire.
EPERM, EIO, EINVAL, ENOSPC, ENOTSUP = 1, 5, 22, 28, 95

NO_ZEROES = 2
_ACK, _SERVER, _INFO, _UNSUPPORTED = 1, 2, 3, (1 << 31) + 1
_READ_ONLY, _FLAGS = 2, 1 | 4 | 8 | 32 | 64 | 256  # flush, FUA, trim, zeros, several connections
#: The longest option and request, in bytes.
LONGEST_OPTION, LONGEST = 4096, 32 << 20


class Export(NamedTuple):
    """SIZE in bytes."""

    size: int
    readonly: bool


def flags(export: Export) -> int:
    return _FLAGS | (_READ_ONLY if export.readonly else 0)


def export_named(export: Export, client_flags: int) -> bytes:
    """The answer to EXPORT_NAME, the oldest way to begin."""
    return struct.pack(">QH", *_sized(export)) + (b"" if client_flags & NO_ZEROES else bytes(124))


def option_answer(option: int, export: Export) -> bytes:
    """The answer to any other OPTION. There is one export, whatever it is called."""
    if option in (INFO, GO):
        about = struct.pack(">HQH", 0, *_sized(export))
        sizes = struct.pack(">HIII", 3, 512, 4096, LONGEST)
        return _answer(option, _INFO, about) + _answer(option, _INFO, sizes) + _answer(option, _ACK)
    if option == LIST:
        return _answer(option, _SERVER, struct.pack(">I", 0)) + _answer(option, _ACK)
    return _answer(option, _ACK if option == ABORT else _UNSUPPORTED)


def _sized(export: Export) -> tuple[int, int]:
    return export.size, flags(export)


def _answer(option: int, kind: int, data: bytes = b"") -> bytes:
    return _OPTION_REPLY.pack(0x3E889045565A9, option, kind, len(data)) + data
