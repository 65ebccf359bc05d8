"""The destination's end of a conversation: what ``wire`` brings is asked of a ``Receiver``, one thing after the other.

Whoever speaks is who the stream lets in; who that may be is decided before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from xmcompat.errors import XmError
from xmcompat.migration.facts import Copy, HostFacts, Prepared, Settled, Wanted
from xmcompat.migration.json_form import NotOfForm, from_json, to_json
from xmcompat.migration.wire import (
    ASKED,
    BEAT,
    SILENCE,
    VERSION,
    Connected,
    Failure,
    Farewell,
    GivenUp,
    Greeting,
    Lines,
    OfDomain,
    PeerLost,
    Stream,
    WireError,
    decoded,
    encoded,
    failure_of,
    number_of,
    refuse_form,
    shown,
)

#: Called again and again by what takes its time. Raises GivenUp where the source has asked to give it up, PeerLost where
#: the source has gone.
GoingOn = Callable[[], None]

#: How often it is looked whether an answer is there, in seconds.
_TURN = 0.05


class Receiver(Protocol):
    """What a destination does. Every method may raise any XmError or OSError, of which the source is told; none is called
    while another one is at work. They run in a thread that is not the main one.

    All but ``prepare`` and ``connect`` may come on a new conversation, after an earlier one broke, and may be repeated.
    """

    def greeting(self) -> Greeting: ...

    def hello(self, source: Greeting) -> None: ...

    def look(self, wanted: Wanted, going_on: GoingOn) -> HostFacts: ...

    def prepare(self, wanted: Wanted, going_on: GoingOn) -> Prepared: ...

    def connect(self, uuid: str, going_on: GoingOn) -> Connected: ...

    def settle(self, uuid: str, going_on: GoingOn) -> Settled: ...

    def release(self, uuid: str, going_on: GoingOn) -> Copy: ...

    def end(self, uuid: str, going_on: GoingOn) -> Copy: ...

    def state(self, uuid: str, going_on: GoingOn) -> Copy: ...

    def ended(self, farewell: bool) -> None:
        """The conversation is over; without a FAREWELL it broke, and what is prepared is settled or released by what
        libvirt says of it."""
        ...


def serve(stream: Stream, receiver: Receiver, *, silence: float = SILENCE) -> None:
    """Hold the conversation over STREAM to its end, and close it.

    Raises WireError where the other end does not speak as xmcompat does, PeerLost where it has gone without a farewell.
    """
    farewell = False
    try:
        _Conversation(stream, receiver, silence).hold()
        farewell = True
    finally:
        try:
            receiver.ended(farewell)
        finally:
            stream.close()


class _Conversation:
    def __init__(self, stream: Stream, receiver: Receiver, silence: float) -> None:
        self._stream = stream
        self._receiver = receiver
        self._silence = silence
        self._lines = Lines(stream, "the source")
        self._number = 0

    def hold(self) -> None:
        self._send(to_json(self._receiver.greeting()))
        greeted = False
        while True:
            message = self._heard(1.0)
            if message is None or "beat" in message or "stop" in message:
                continue  # a stop that crossed the answer
            try:
                word, value = self._question(message)
                if not greeted and word != "hello":
                    raise WireError(f"the source asks '{word}' before it says who it is")
            except WireError as error:
                self._send({"answer": self._number, "error": to_json(failure_of(error))})
                raise
            greeted = True
            self._answer(word, value)
            if word == "bye":
                return

    def _question(self, message: dict[str, object]) -> tuple[str, object]:
        """What is asked. Raises WireError."""
        word = message.get("ask")
        if not isinstance(word, str) or word not in ASKED:
            raise WireError(f"the source asks what xmcompat does not know: {shown(encoded(message).rstrip())}")
        self._number = number_of(message, "number", "the source")
        try:
            value: object = from_json(ASKED[word][0], message.get("of"), word)
        except NotOfForm as error:
            raise refuse_form(error, "the source") from None
        if isinstance(value, Greeting) and value.xmcompat != VERSION:
            raise WireError(
                f"the source speaks version {value.xmcompat} of xmcompat's protocol for migrations, this host {VERSION}",
                hint="install the same xmcompat on both",
            )
        return word, value

    def _answer(self, word: str, value: object) -> None:
        """Have it done in a thread, and say meanwhile that it is at work."""
        work = _Work(lambda going_on: self._done(word, value, going_on))
        told = time.monotonic()
        try:
            while not work.over.wait(_TURN if work.young else _TURN * 4):
                message = self._heard(0.0)
                if message is not None and message.get("stop") == self._number:
                    work.why_not = GivenUp(f"'{word}' was given up")
                elif message is not None and "ask" in message:
                    raise WireError(f"the source asks something while '{word}' is at work")
                if time.monotonic() - told > min(BEAT, self._silence / 4):
                    self._send({"waits": self._number})
                    told = time.monotonic()
        except BaseException as error:
            work.why_not = error if isinstance(error, XmError) else GivenUp(f"'{word}' was broken off")
            work.over.wait()
            raise
        if work.error is not None:
            self._send({"answer": self._number, "error": to_json(work.error)})
        else:
            self._send({"answer": self._number, "of": to_json(work.found)})

    def _done(self, word: str, value: object, going_on: GoingOn) -> object:
        if isinstance(value, Greeting):
            self._receiver.hello(value)
            return self._receiver.greeting()
        if isinstance(value, Farewell):
            return value
        what = value.uuid if isinstance(value, OfDomain) else value
        return getattr(self._receiver, word)(what, going_on)

    def _heard(self, seconds: float) -> dict[str, object] | None:
        """The next message of the source. Raises PeerLost, WireError."""
        line = self._lines.next(seconds)
        if line is not None:
            return decoded(line, "the source")
        if self._lines.silent > self._silence:
            raise PeerLost(f"the source has been silent for {self._silence:.0f} s")
        return None

    def _send(self, message: dict[str, object]) -> None:
        try:
            self._stream.send(encoded(message))
        except OSError as error:
            raise PeerLost(f"lost the connection to the source: {error.strerror or error}") from None


class _Work(threading.Thread):
    """An operation in a thread of its own. ``why_not`` is raised in it at its next look."""

    def __init__(self, act: Callable[[GoingOn], object]) -> None:
        super().__init__(name="migration-work", daemon=True)
        self._act = act
        self._begun = time.monotonic()
        self.over = threading.Event()
        self.why_not: XmError | None = None
        self.found: object = None
        self.error: Failure | None = None
        self.start()

    @property
    def young(self) -> bool:
        return time.monotonic() - self._begun < 2.0

    def run(self) -> None:
        try:
            self.found = self._act(self._go_on)
        except XmError as error:
            self.error = failure_of(error)
        except OSError as error:
            self.error = Failure(kind="OSError", message=str(error))
        except BaseException as error:  # noqa: BLE001 - the source waits for an answer
            self.error = Failure(kind=type(error).__name__, message=f"this is a fault of xmcompat: {error!r}")
        finally:
            self.over.set()

    def _go_on(self) -> None:
        if self.why_not is not None:
            raise self.why_not
