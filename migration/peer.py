"""The other end of a migration, as the source sees it: ``Peer``, and the one that speaks ``wire`` over a stream."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Generic, Protocol, TypeVar, cast

from xmcompat.errors import OperationError
from xmcompat.migration.facts import Copy, HostFacts, Prepared, Settled, Wanted
from xmcompat.migration.json_form import NotOfForm, from_json, to_json
from xmcompat.migration.wire import (
    ASKED,
    BEAT,
    MOST_NOISE,
    SILENCE,
    VERSION,
    Connected,
    Failure,
    Farewell,
    Greeting,
    Lines,
    OfDomain,
    PeerLost,
    Stream,
    WireError,
    decoded,
    encoded,
    harmless,
    number_of,
    refuse_form,
    shown,
)

T = TypeVar("T", covariant=True)
V = TypeVar("V")

#: Seconds for each question; ``connect`` lasts as long as the copying of memory.
PATIENCE = {"hello": 30.0, "look": 120.0, "prepare": 300.0, "settle": 120.0, "release": 120.0, "end": 120.0, "state": 60.0}
#: Seconds for what was given up to end.
_STOPPING = 30.0
#: How the line of a greeting begins.
_GREETING = b'{"xmcompat":'
#: Seconds that a farewell is waited for, and what is just being sent.
_GOODBYE, _DROPPING = 5.0, 1.0


class FromPeer(OperationError):
    """An error that the other end reports, as xm words it. ``kind`` is the name of its class, ``plain`` its own words.

    Source: xend's relocation, Xen 4.1.
    """

    def __init__(self, host: str, failure: Failure) -> None:
        self.kind = failure.kind
        self.plain = harmless(failure.message)
        super().__init__(f"{self.plain} (from {host})", hint=failure.hint and harmless(failure.hint))


class Pending(Protocol[T]):
    """An answer that is awaited."""

    def ended(self, seconds: float) -> bool:
        """Wait up to SECONDS; whether it is over, well or not. Raises nothing."""
        ...

    def result(self) -> T:
        """The answer, waited for as long as is usual. Raises FromPeer, PeerLost, WireError."""
        ...

    def stop(self) -> None:
        """Have the other end give it up; returns when it has, or is lost. Silent for one that is over."""
        ...


class Peer(Protocol):
    """The destination. One thing is asked at a time: what is still awaited is given up at the next question.

    Every method raises PeerLost where it has gone or is silent, WireError where it does not speak as xmcompat does, and
    FromPeer for its own errors. ``host`` is the name by which the operator called it.
    """

    host: str
    noise: str

    @property
    def greeting(self) -> Greeting: ...

    def look(self, wanted: Wanted) -> HostFacts: ...

    def prepare(self, wanted: Wanted) -> Prepared:
        """Raises OperationError where passwords would go in clear."""
        ...

    def connect(self, uuid: str) -> Pending[Connected]:
        """Ask at the beginning of the copying; it is answered when the interfaces of the domain that arrives are set up."""
        ...

    def settle(self, uuid: str) -> Settled: ...

    def release(self, uuid: str) -> Copy: ...

    def end(self, uuid: str) -> Copy:
        """It runs here: what is paused there is ended, and given back."""
        ...

    def state(self, uuid: str) -> Copy: ...

    def close(self) -> None:
        """Say goodbye. May be repeated, and raises nothing."""
        ...


class PeerClient:
    """The peer at the other end of a stream. Tells by itself, all the time, that this end is still there."""

    def __init__(
        self, stream: Stream, host: str, me: Greeting, *, silence: float = SILENCE, private: bool = False
    ) -> None:  # fmt: skip
        """Returns once both ends have said who they are. PRIVATE: nobody else can read what goes over STREAM.

        Raises PeerLost, WireError, FromPeer; then STREAM is closed."""
        self.host = host
        self._private = private
        self._stream = stream
        self._silence = silence
        self._lines = Lines(stream, host)
        self._turn = threading.Lock()
        self._number = 0
        self._awaited: _Answer[object] | None = None
        self._closed = threading.Event()
        #: What was said before the greeting, by a login shell as a rule: the last line, "" for nothing.
        self.noise = ""
        try:
            self.greeting = self._greeted()
            self._asked("hello", me, Greeting).result()
        except BaseException:
            self._drop()
            raise
        threading.Thread(target=self._beat, name="migration-beat", daemon=True).start()

    def _greeted(self) -> Greeting:
        """The first line that is a greeting: a login shell may have said something before."""
        noise, last, end = 0, b"", time.monotonic() + self._silence
        while noise < MOST_NOISE:
            try:
                line = self._lines.next(max(end - time.monotonic(), 0.0))
            except PeerLost as error:
                raise PeerLost(f"{error.message}; it said: {shown(last)}" if last else error.message) from None
            if line is None:
                raise PeerLost(f"{self.host} says nothing", hint="is xmcompat installed there?")
            before, mark, rest = line.partition(_GREETING)  # whoever spoke before may not have ended the line
            if mark:
                self.noise = shown(before if before.strip() else last)
                return self._known(mark + rest)
            noise, last = noise + len(line) + 1, line or last
        raise WireError(f"{self.host} does not speak as xmcompat does: {shown(last)}")

    def _known(self, line: bytes) -> Greeting:
        try:
            found = from_json(Greeting, decoded(line, self.host))
        except NotOfForm as error:
            raise refuse_form(error, self.host) from None
        if found.xmcompat != VERSION:
            raise WireError(
                f"{self.host} speaks version {found.xmcompat} of xmcompat's protocol for migrations, this host {VERSION}",
                hint="install the same xmcompat on both",
            )
        return found

    def _beat(self) -> None:
        while not self._closed.wait(min(BEAT, self._silence / 4)):
            try:
                self._send({"beat": 0})
            except PeerLost:
                return  # whoever asks next is told

    def _send(self, message: dict[str, object]) -> None:
        try:
            with self._turn:
                if self._closed.is_set():
                    raise PeerLost(f"the conversation with {self.host} is over")
                self._stream.send(encoded(message))
        except OSError as error:
            raise PeerLost(f"lost the connection to {self.host}: {error.strerror or error}") from None

    def _asked(self, word: str, value: object, kind: type[V]) -> _Answer[V]:
        if self._awaited is not None:
            self._awaited.stop()
        self._number += 1
        self._lines.heard = time.monotonic()  # it says nothing of itself where nothing is asked
        assert ASKED[word] == (type(value), kind)
        with suppress(PeerLost):  # it may have said why before it went: what it said is read first
            self._send({"ask": word, "number": self._number, "of": to_json(value)})
        answer = _Answer(self, word, self._number, kind)
        self._awaited = cast("_Answer[object]", answer)
        return answer

    def look(self, wanted: Wanted) -> HostFacts:
        return self._asked("look", wanted, HostFacts).result()

    def prepare(self, wanted: Wanted) -> Prepared:
        if wanted.passwords and not self._private:
            raise OperationError(f"passwords would go to {self.host} in clear")
        return self._asked("prepare", wanted, Prepared).result()

    def connect(self, uuid: str) -> Pending[Connected]:
        return self._asked("connect", OfDomain(uuid=uuid), Connected)

    def settle(self, uuid: str) -> Settled:
        return self._asked("settle", OfDomain(uuid=uuid), Settled).result()

    def release(self, uuid: str) -> Copy:
        return self._asked("release", OfDomain(uuid=uuid), Copy).result()

    def end(self, uuid: str) -> Copy:
        return self._asked("end", OfDomain(uuid=uuid), Copy).result()

    def state(self, uuid: str) -> Copy:
        return self._asked("state", OfDomain(uuid=uuid), Copy).result()

    def close(self) -> None:
        if not self._closed.is_set():
            try:
                self._asked("bye", Farewell(), Farewell).ended(_GOODBYE)
            finally:
                self._drop()

    def _drop(self) -> None:
        self._closed.set()
        alone = self._turn.acquire(timeout=_DROPPING)  # what is sent meanwhile must not go to another file of that number
        try:
            self._stream.close()
        finally:
            if alone:
                self._turn.release()

    def _heard(self, seconds: float) -> dict[str, object] | None:
        """The next message, None for none within SECONDS. Raises PeerLost, WireError."""
        if self._closed.is_set():
            raise PeerLost(f"the conversation with {self.host} is over")
        line = self._lines.next(seconds)
        if line is not None:
            return decoded(line, self.host)
        if self._lines.silent > self._silence:
            raise PeerLost(f"{self.host} has been silent for {self._silence:.0f} s")
        return None

    def _over(self, answer: object) -> None:
        if self._awaited is answer:
            self._awaited = None


class _Answer(Generic[V]):
    """The answer to one question."""

    def __init__(self, client: PeerClient, word: str, number: int, kind: type[V]) -> None:
        self._client = client
        self._word = word
        self._number = number
        self._kind = kind
        self._found: V | None = None
        self._error: OperationError | None = None

    def ended(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while self._found is None and self._error is None:
            left = max(end - time.monotonic(), 0.0)
            try:
                message = self._client._heard(min(left, 1.0))
                if message is not None:
                    self._take(message)
            except OperationError as error:
                self._ends(error)
            else:
                if message is None and left == 0.0:
                    return False
        return True

    def _ends(self, error: OperationError) -> None:
        self._error = error
        self._client._over(self)

    def _take(self, message: dict[str, object]) -> None:
        host = self._client.host
        if "waits" in message:
            return
        if number_of(message, "answer", host) != self._number:
            return  # to what was given up
        try:
            if "error" in message:
                return self._ends(FromPeer(host, from_json(Failure, message["error"])))
            self._found = from_json(self._kind, message.get("of"), self._word)
        except NotOfForm as error:
            raise refuse_form(error, host) from None
        self._client._over(self)

    def result(self) -> V:
        patience = PATIENCE.get(self._word)
        while not self.ended(3600.0 if patience is None else patience):
            if patience is not None:
                self.stop()
                raise PeerLost(f"{self._client.host} has not answered '{self._word}' in {patience:.0f} s")
        if self._found is None:
            assert self._error is not None
            raise self._error
        return self._found

    def stop(self) -> None:
        try:
            if not self.ended(0.0):
                self._client._send({"stop": self._number})
                self.ended(_STOPPING)
        except PeerLost as error:
            self._ends(error)
        self._client._over(self)
