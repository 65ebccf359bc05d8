"""How the two hosts of a migration speak: a line of JSON each way, over any stream of bytes (a pipe to ssh, TLS, TCP).

The destination speaks first and says who it is (``Greeting``). The source asks one thing after the other:

    hello    who asks                           -> Greeting
    look     Wanted                             -> HostFacts   changes nothing
    prepare  Wanted, with passwords of disks    -> Prepared    disks are held, name and memory promised
    connect  the uuid                           -> Connected   when the interfaces of the arriving domain are set up
    settle   the uuid                           -> Settled     it has arrived: it is let go, known, noted
    release  the uuid                           -> Copy        it has not: what was prepared is given back
    end      the uuid                           -> Copy        it runs at the source: what is paused there is ended
    state    the uuid                           -> Copy        what libvirt says of it there
    bye                                                        no more

    source        {"ask": "look", "number": 3, "of": {...}}
                  {"stop": 3}      give it up          {"beat": 0}     the source is still there
    destination   {"answer": 3, "of": {...}}           {"answer": 3, "error": {...}}
                  {"waits": 3}     it is still at it

Passwords go over a stream alone that nobody else can read: ssh, TLS.

Both ends take a silence of SILENCE seconds for a conversation that has broken, and say something more often than that.
A line that is no such message ends the conversation with an error; none is longer than LONGEST bytes.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Protocol

from xmcompat.errors import OperationError, XmError
from xmcompat.migration.facts import Copy, Finding, HostFacts, Prepared, Settled, Wanted
from xmcompat.migration.json_form import NotOfForm

#: The protocol's version; an end that knows a later one must know this one, too.
VERSION = 1
#: Bytes of a line.
LONGEST = 8 << 20
#: Bytes that a login shell may say before the greeting.
MOST_NOISE = 64 * 1024
#: Seconds without a word after which the other end is taken for lost, and between two words.
SILENCE = 30.0
BEAT = 4.0


class WireError(OperationError):
    """The other end does not speak this protocol."""


class PeerLost(OperationError):
    """The other end has gone, or is silent."""


class GivenUp(OperationError):
    """The source has asked to give up what it had asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """Who speaks: the version of the protocol, host name and libvirt's uuid of the host, xmcompat's version."""

    xmcompat: int
    hostname: str = ""
    uuid: str = ""
    program: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfDomain:
    """What is asked of one domain."""

    uuid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """The domain's interfaces are set up; ``told`` is what the operator should know of them."""

    told: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Farewell:
    """Nothing to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error as it is sent: the name of its class, and its words."""

    kind: str
    message: str
    hint: str | None = None


#: What is asked, with the types of the question and of the answer.
ASKED: dict[str, tuple[type, type]] = {
    "hello": (Greeting, Greeting),
    "look": (Wanted, HostFacts),
    "prepare": (Wanted, Prepared),
    "connect": (OfDomain, Connected),
    "settle": (OfDomain, Settled),
    "release": (OfDomain, Copy),
    "end": (OfDomain, Copy),
    "state": (OfDomain, Copy),
    "bye": (Farewell, Farewell),
}


class Stream(Protocol):
    """Bytes both ways. One thread may send while another receives."""

    def send(self, data: bytes) -> None:
        """All of DATA. Raises OSError where the other end has gone, or takes nothing for SILENCE seconds."""
        ...

    def receive(self, seconds: float) -> bytes | None:
        """What is there, waiting up to SECONDS; None for nothing yet, b"" for the end. Raises OSError."""
        ...

    def close(self) -> None:
        """May be repeated."""
        ...


class Lines:
    """The lines that come over a stream. ``host``: whose, for messages."""

    def __init__(self, stream: Stream, host: str) -> None:
        self._stream = stream
        self._host = host
        self._rest = bytearray()
        self._searched = 0
        self.heard = time.monotonic()

    def next(self, seconds: float) -> bytes | None:
        """The next line without its end, waiting up to SECONDS; None for none yet.

        Raises PeerLost where the stream has ended, WireError for a line that does not.
        """
        end = time.monotonic() + seconds
        while True:
            place = self._rest.find(b"\n", self._searched)
            if place >= 0:
                line, self._searched = bytes(self._rest[:place]), 0
                del self._rest[: place + 1]
                return line
            self._searched = len(self._rest)
            if self._searched > LONGEST:
                raise WireError(f"{self._host} sends a line of more than {LONGEST} bytes")
            data = self._receive(max(end - time.monotonic(), 0.0))
            if data is None:
                return None
            self._rest += data
            self.heard = time.monotonic()

    def _receive(self, seconds: float) -> bytes | None:
        try:
            data = self._stream.receive(seconds)
        except OSError as error:
            raise PeerLost(f"lost the connection to {self._host}: {error.strerror or error}") from None
        if data == b"":
            raise PeerLost(f"{self._host} has closed the connection")
        return data

    @property
    def silent(self) -> float:
        """Seconds since something came."""
        return time.monotonic() - self.heard


def encoded(message: dict[str, object]) -> bytes:
    """A message as a line, in ASCII."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


def decoded(line: bytes, host: str) -> dict[str, object]:
    """The message on a line. Raises WireError for what is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise WireError(f"{host} does not speak as xmcompat does: {shown(line)}") from None
    if not isinstance(found, dict):
        raise WireError(f"{host} does not speak as xmcompat does: {shown(line)}")
    return found


def shown(line: bytes) -> str:
    """The beginning of a line, safe to print."""
    return harmless(line[:80].decode("utf-8", "replace").strip()) + ("..." if len(line) > 80 else "")


def harmless(text: str) -> str:
    """TEXT without what would do something to a terminal; its lines stay."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def number_of(message: dict[str, object], name: str, host: str) -> int:
    """The number that MESSAGE has under NAME. Raises WireError."""
    number = message.get(name)
    if type(number) is not int:
        raise WireError(f"{host} does not speak as xmcompat does: '{name}' is no number")
    return number


def failure_of(error: XmError) -> Failure:
    """An error as it is sent. Raises nothing."""
    return Failure(kind=type(error).__name__, message=error.message, hint=error.hint)


def refuse_form(error: NotOfForm, host: str) -> WireError:
    """The same error, of HOST's words."""
    return WireError(f"what {host} says cannot be used: {error.message}", hint=error.hint)
