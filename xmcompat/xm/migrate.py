"""``xm migrate``: a domain to another host."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TextIO

from xmcompat.errors import UsageError, XmError
from xmcompat.toolstack import Toolstack
from xmcompat.xm.options import Words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xmcompat.backends.hypervisor import DomainInfo
    from xmcompat.backends.migration import Progress
    from xmcompat.migrating import Request
    from xmcompat.peers import Begun

#: Megabits in a mebibyte, a second each.
_MBIT = 1_000_000 / 8 / (1 << 20)


def migrate(words: Words) -> int:
    """``xm migrate [-l] [-p PORT] [-n NODE] [-s] [-c] [-r MBIT] DOMAIN HOST``: silent. Ctrl-C lets the domain run on here.

    Differs from xm: -r limits the bandwidth, as it did before Xen 4. --with-disks, --finish and --deadline are ours.
    """
    from xmcompat.xm import signals

    if len(words.operands) != 2:
        from xmcompat.xm.dispatch import with_use

        raise with_use(UsageError("Invalid number of arguments"), "migrate")
    designation, host = words.operands
    _numbers(words)  # what is wrong with them is told first
    line = ProgressLine(sys.stderr)
    with Toolstack.open() as toolstack, signals.raised(), _begun(words, host) as begun:
        request = _request(words, host)
        try:
            toolstack.migrating.migrate(designation, request, line, begun)
        finally:
            line.clear()
    return 0


@contextmanager
def _begun(words: Words, host: str) -> Iterator[Begun | None]:
    """The way to HOST, begun before what it takes to move a domain is loaded; None for this host."""
    from xmcompat import moving

    if moving.is_this_host(host):
        yield None
        return
    from xmcompat import peers

    with peers.Begun(host, port=_port(words), ssl=_ssl(words)) as begun:
        yield begun


def request_of(words: Sequence[str]) -> Request:
    """What WORDS of a command line say after the domain, as XENDOMAINS_MIGRATE has them: "node2 --live". Raises XmError."""
    from xmcompat.xm.options import read
    from xmcompat.xm.verbs import VERBS

    parsed = read(VERBS["migrate"], words)
    if len(parsed.operands) != 1:
        raise XmError("one host must be named")
    return _request(parsed, parsed.operands[0])


def _request(words: Words, host: str) -> Request:
    from xmcompat.migrating import Request

    read = _numbers(words)
    return Request(
        host=host, live=words.has("live"), port=_port(words), node=read.node, ssl=_ssl(words),
        change_home=words.has("change_home_server"), bandwidth=read.bandwidth, with_disks=words.has("with-disks"),
        policy=words.value("finish"), deadline=read.deadline,
    )  # fmt: skip


class _Numbers(NamedTuple):
    """The numbers of the options: NUMA node, MiB/s, seconds."""

    node: int | None
    bandwidth: int | None
    deadline: float | None


def _numbers(words: Words) -> _Numbers:
    """Raises XmError in xm's words."""
    resource = _number(words, "resource")
    _port(words)
    node = _node(words)
    return _Numbers(node, max(1, round(resource * _MBIT)) if resource > 0 else None, _deadline(words))


def _port(words: Words) -> int | None:
    port = _number(words, "port")
    if not 0 <= port <= 65535:  # else another one is meant by its last bits
        raise XmError(f"Invalid value: {words.value('port')}")
    return port or None


def _ssl(words: Words) -> bool | None:
    return True if words.has("ssl") else None


def _number(words: Words, option: str) -> int:
    """The whole number of OPTION, 0 where it is not given. Raises XmError in xm's words."""
    text = words.value(option, "0")
    try:
        if not text.isascii() or len(text) > 20:
            raise ValueError
        return int(text)
    except ValueError:
        raise XmError(f"Invalid value: {text}") from None


def _node(words: Words) -> int | None:
    return _number(words, "node") if words.has("node") and _number(words, "node") >= 0 else None


def _deadline(words: Words) -> float | None:
    if not words.has("deadline"):
        return None
    seconds = _number(words, "deadline")
    if seconds <= 0:
        raise XmError(f"Invalid value: {words.value('deadline')}")
    return float(seconds)


class ProgressLine:
    """How far it is: one line that is written over, on a terminal alone; what is to be known stands above it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._visible = stream.isatty()
        self._shown = 0
        self._at = 0.0

    def progress(self, info: DomainInfo, host: str, progress: Progress) -> None:
        now = time.monotonic()
        if not self._visible or now - self._at < 0.2:
            return
        from xmcompat.render.migration import progress_line

        self._at = now
        text = progress_line(info.name, host, progress, width=self._width() - 1)
        self._write(f"\r{text}{' ' * (self._shown - len(text))}")
        self._shown = len(text)

    def note(self, text: str) -> None:
        """A sentence of its own. Parts of it may come from the other host."""
        self.clear()
        self._write(f"Warning: {''.join(letter if letter.isprintable() else '?' for letter in text)}\n")

    def clear(self) -> None:
        """May be repeated."""
        if self._shown:
            self._write(f"\r{' ' * self._shown}\r")
            self._shown = 0

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._visible = False  # nobody is there to read it; the guest goes on

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except OSError:
            return 80
