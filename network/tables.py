"""What is there of nftables in the family netdev, asked of the kernel itself: a tenth of what a process of nft takes.

All changes go through nft, but for one that it has no words for. Answers are for the caller's own network namespace.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from xmcompat.network.programs import NetworkError

_NETFILTER, _NFTABLES, _NETDEV = 12, 10, 5
_FAMILIES = {"inet": 1, "netdev": _NETDEV}
_GET_TABLE, _DELETE_TABLE, _GET_CHAIN, _BATCH_BEGIN, _BATCH_END = 1, 2, 4, 16, 17
_REQUEST, _ACK, _DUMP, _ONLY_EMPTY, _INTERRUPTED = 0x1, 0x4, 0x300, 0x100, 0x10
_ERROR, _DONE = 2, 3
_BATCH = (_BATCH_BEGIN, _BATCH_END)
_HEADER = struct.Struct("=IHHII")       # length, type, flags, sequence, port
_TABLE_NAME, _TABLE_USE, _CHAIN_TABLE, _CHAIN_NAME, _CHAIN_USERDATA = 1, 3, 1, 3, 12

#: Seconds for an answer that the kernel gives at once; how often to ask again where something changed meanwhile.
_PATIENCE, _TRIES = 5.0, 20


class Chain(NamedTuple):
    table: str
    name: str
    comment: str = ""


def there(table: str, chain: str) -> bool:
    """Whether the family netdev has CHAIN. False also where the kernel has no nftables, or does not tell."""
    names = _attribute(_CHAIN_TABLE, os.fsencode(table) + b"\0") + _attribute(_CHAIN_NAME, os.fsencode(chain) + b"\0")
    try:
        return next(iter(_ask(_GET_CHAIN, _ACK, names)), None) is not None
    except OSError:
        return False


def is_absent(family: str, table: str) -> bool:
    """Whether the kernel says that FAMILY, inet or netdev, has no TABLE. False also where it does not tell."""
    try:
        list(_ask(_GET_TABLE, _ACK, _attribute(_TABLE_NAME, os.fsencode(table) + b"\0"), family=_FAMILIES[family]))
    except OSError as error:
        return error.errno == errno.ENOENT
    return False


def is_empty(table: str) -> bool:
    """Whether the family netdev has TABLE, with nothing in it."""
    try:
        body = next(iter(_ask(_GET_TABLE, _ACK, _attribute(_TABLE_NAME, os.fsencode(table) + b"\0"))), None)
    except OSError:
        return False
    return body is not None and not any(dict(_attributes(body)).get(_TABLE_USE, b"?"))


def remove_empty(table: str) -> None:
    """Remove TABLE of the family netdev if nothing is in it: one that is in use stays, whoever has just begun to use it.

    Raises NetworkError where the kernel refuses it otherwise.
    """
    begin, end = (_message(kind, _REQUEST, struct.pack("=BBH", 0, 0, socket.htons(_NFTABLES))) for kind in _BATCH)
    body = struct.pack("=BBH", _NETDEV, 0, 0) + _attribute(_TABLE_NAME, os.fsencode(table) + b"\0")
    delete = _message(_NFTABLES << 8 | _DELETE_TABLE, _REQUEST | _ACK | _ONLY_EMPTY, body)
    try:
        list(_answers(begin + delete + end))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EBUSY):
            raise NetworkError(f"the empty table netdev {table} cannot be removed: {error.strerror}") from None


def chains() -> tuple[Chain, ...]:
    """All chains of the family netdev, everybody's. () also where the kernel has no nftables, or does not tell."""
    for _ in range(_TRIES):
        try:
            return tuple(_chain(body) for body in _ask(_GET_CHAIN, _DUMP, b""))
        except InterruptedError:
            continue
        except OSError:
            break
    return ()


def _ask(kind: int, flags: int, attributes: bytes, *, family: int = _NETDEV) -> Iterator[bytes]:
    """The attributes of each object of the answer. Raises OSError; InterruptedError where it has changed meanwhile."""
    body = struct.pack("=BBH", family, 0, 0) + attributes
    return _answers(_message(_NFTABLES << 8 | kind, _REQUEST | flags, body))


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


def _answers(messages: bytes) -> Iterator[bytes]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as netlink:
        netlink.settimeout(_PATIENCE)
        netlink.send(messages)
        while True:
            data = netlink.recv(1 << 18)
            while data:
                length, answer, marks, _, _ = _HEADER.unpack_from(data)
                if answer == _DONE:
                    return
                if marks & _INTERRUPTED:
                    raise InterruptedError
                if answer == _ERROR:
                    (number,) = struct.unpack_from("=i", data, _HEADER.size)
                    if number:
                        raise OSError(-number, os.strerror(-number))
                    return
                yield data[_HEADER.size + 4 : length]
                data = data[(length + 3) & ~3 :]


def _chain(body: bytes) -> Chain:
    found = dict(_attributes(body))
    table, name = (os.fsdecode(found.get(key, b"").rstrip(b"\0")) for key in (_CHAIN_TABLE, _CHAIN_NAME))
    return Chain(table, name, _comment(found.get(_CHAIN_USERDATA, b"")))


def _comment(data: bytes) -> str:
    """nft's own notes in a chain: kind (0 is a comment), length, text."""
    while len(data) >= 2:
        kind, length = data[0], data[1]
        if kind == 0:
            return os.fsdecode(data[2 : 2 + length].rstrip(b"\0"))
        data = data[2 + length :]
    return ""


def _attribute(key: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), key) + value + b"\0" * (-len(value) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, key = struct.unpack_from("=HH", data)
        yield key & 0x3FFF, data[4:length]
        data = data[(max(length, 4) + 3) & ~3 :]
