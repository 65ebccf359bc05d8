"""Sockets of this process that belong to another network namespace: no program need be started there."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tests.lab.frames import ECHO6_REQUEST, ECHO_REQUEST, checksum

CLONE_NEWNET = 0x40000000
ECHO_REPLY, ECHO6_REPLY = 0, 129
SO_BINDTODEVICE = 25

_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


def inside(pid: int, act: Callable[[], T]) -> T:
    """What ACT returns in the network of process PID; it runs in a thread of its own. Its error is raised here."""
    results: list[T] = []
    errors: list[BaseException] = []

    def go() -> None:
        try:
            with open(f"/proc/{pid}/ns/net") as namespace:
                if _libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, f"cannot enter the network of process {pid}: {os.strerror(number)}")
            results.append(act())
        except BaseException as error:  # noqa: BLE001 - it is raised by the caller
            errors.append(error)

    thread = threading.Thread(target=go, name=f"inside-{pid}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def open_socket(pid: int, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket of this process in the network of process PID. The caller closes it."""
    return inside(pid, lambda: socket.socket(family, kind, protocol))


def echo_answered(pid: int, address: str, *, count: int = 1, seconds: float = 2.0, source: str | None = None) -> bool:
    """Whether ADDRESS answers one of COUNT echo requests from the network of PID, each within SECONDS."""
    six = ":" in address
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    kind, answer = (ECHO6_REQUEST, ECHO6_REPLY) if six else (ECHO_REQUEST, ECHO_REPLY)
    with open_socket(pid, family, socket.SOCK_RAW, protocol) as raw:
        if source:
            raw.bind((source, 0))
        for number in range(count):
            mark = struct.pack("!H", number) + os.urandom(8)
            head = struct.pack("!BBHH", kind, 0, 0, os.getpid() & 0xFFFF)
            total = 0 if six else checksum(head + mark)  # the kernel fills it in for version 6
            try:
                raw.sendto(head[:2] + struct.pack("!H", total) + head[4:] + mark, (address, 0))
            except OSError:
                time.sleep(min(seconds, 0.2))  # no way there, or not yet
                continue
            if _answer_came(raw, answer, mark, seconds):
                return True
    return False


def _answer_came(raw: socket.socket, kind: int, mark: bytes, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        raw.settimeout(left)
        try:
            data = raw.recv(2048)
        except TimeoutError:
            return False
        except OSError:
            continue  # an error that a router or the kernel tells of; an answer to a later request may come
        if raw.family == socket.AF_INET:
            data = data[(data[0] & 15) * 4 :]
        if data[:1] == bytes([kind]) and data.endswith(mark):
            return True
    return False
