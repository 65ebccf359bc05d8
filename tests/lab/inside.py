"""What a test does in a place itself: sockets that belong to another network namespace, and processes that are forked into
all namespaces of a place. No program need be started there."""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import select
import signal
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from tests.lab.frames import ECHO6_REQUEST, ECHO_REQUEST, checksum

CLONE_NEWNET = 0x40000000
#: The mounts come last: the others are found by the /proc of this process.
NAMESPACES = ("net", "uts", "ipc", "pid", "mnt")
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


def forked(pid: int, act: Callable[[], T], *, seconds: float = 60.0) -> T:
    """What ACT returns in a process of its own, a copy of this one in the namespaces of process PID, in its folder "/".

    It must return what can be pickled. Its error is raised here. AssertionError where it ends in another way, as by
    ``os._exit``, or takes longer than SECONDS: then it is killed with its children.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _become(pid, act, writing)
    os.close(writing)
    said = None
    try:
        said = _read_all(reading, time.monotonic() + seconds)
    finally:
        os.close(reading)
        if said is None:  # only then: an orphan is reaped by others, and its place cannot end before
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert said is not None, f"a process in the place of {pid} did not end within {seconds} s"
    assert said, f"a process in the place of {pid} ended without a word, with the status {status}"
    good, result = pickle.loads(said)
    if good:
        return result  # type: ignore[no-any-return]
    kind, words, values = result
    error = kind.__new__(kind, *words)
    error.__dict__.update(values)
    raise error


def _become(pid: int, act: Callable[[], Any], writing: int) -> NoReturn:
    """The first process enters, the second, which is in the process table too, acts and tells."""
    gc.freeze()  # what the test has made is not gone through here, which would copy it
    try:
        os.setsid()
        files = [os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in NAMESPACES]
        for file in files:
            if _libc.setns(file, 0) != 0:
                raise OSError(ctypes.get_errno(), f"cannot enter a namespace of process {pid}")
            os.close(file)
        os.chdir("/")
        if inner := os.fork():
            os.close(writing)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]) & 0xFF)
        answer = pickle.dumps((True, act()))
    except BaseException as error:  # noqa: BLE001 - it is raised by the caller
        answer = _told(error)
    with suppress(OSError), os.fdopen(writing, "wb") as stream:
        stream.write(answer)
    os._exit(0)


def _told(error: BaseException) -> bytes:
    """ERROR in parts, since not every kind comes back from its pickle; its text alone where a part cannot be told."""
    text = "".join(traceback.format_exception(error))
    error.add_note(text)
    try:
        return pickle.dumps((False, (type(error), error.args, error.__dict__)))
    except (pickle.PicklingError, TypeError, AttributeError):
        return pickle.dumps((False, (AssertionError, (text,), {})))


def _read_all(file: int, deadline: float) -> bytes | None:
    """All until the end of FILE; None where that has not come before DEADLINE."""
    parts = []
    while select.select([file], [], [], max(deadline - time.monotonic(), 0))[0]:
        part = os.read(file, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return None


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
