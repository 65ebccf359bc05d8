"""Processes of the host, found by what they run and in which network: no file has to say where they are."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

from xmcompat.network.programs import NetworkError

#: Seconds that a process has to end after SIGTERM.
DEADLINE = 5.0


def running(program: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The processes of PROGRAM in this network namespace, with their words. Those of others are left out."""
    here = _network("self")
    for pid in os.listdir("/proc"):
        if pid.isdecimal() and _read(f"/proc/{pid}/comm").strip() == program[:15] and _network(pid) == here:
            yield int(pid), tuple(_read(f"/proc/{pid}/cmdline").rstrip("\0").split("\0"))


def send(name: str, program: str, word: str) -> None:
    """Send the signal NAME ("TERM", "HUP") to every process of PROGRAM that was started with WORD; none is fine.

    After TERM, wait for their end: until each is gone or awaits its parent, for only then its sockets are closed. Raises
    NetworkError.
    """
    pids = _started_with(word, program)
    for pid in pids:
        try:
            os.kill(pid, getattr(signal, f"SIG{name}"))
        except ProcessLookupError:
            continue
        except PermissionError:
            raise NetworkError(f"process {pid} ({program}) cannot be stopped", hint="only root may do that") from None
    deadline = time.monotonic() + DEADLINE
    while name == "TERM" and (left := [pid for pid in pids if _lives(pid, program)] or _started_with(word, program)):
        if time.monotonic() > deadline:
            raise NetworkError(f"process {left[0]} ({program}) does not end", hint="see what it waits for")
        time.sleep(0.005)


def _started_with(word: str, program: str) -> list[int]:
    return [pid for pid, words in running(program) if word in words]


def _lives(pid: int, program: str) -> bool:
    """Whether the process PID is there, of PROGRAM, and has not closed all it had: it has no words any more before that."""
    name, _, rest = _read(f"/proc/{pid}/stat").partition(" (")[2].rpartition(") ")
    return name == program[:15] and rest[:1] not in ("Z", "X")


def _network(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
