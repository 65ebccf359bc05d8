"""How the two ends of a migration speak: whatever comes, there is an answer or an error, never a hang."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.migration.pairs import HOST, ME, WANTED, Destination, NotedReceiver
from xmcompat.errors import DeviceError, OperationError
from xmcompat.migration.facts import Copy, HostFacts, Life, Password, Prepared
from xmcompat.migration.peer import FromPeer, PeerClient
from xmcompat.migration.serving import GoingOn, serve
from xmcompat.migration.sockets import SocketStream
from xmcompat.migration.streams import PipeStream
from xmcompat.migration.wire import LONGEST, MOST_NOISE, GivenUp, PeerLost, WireError


def test_what_is_asked_reaches_the_destination_and_its_answer_comes_back() -> None:
    there = Destination(NotedReceiver())
    peer = there.client()
    assert peer.greeting == HOST
    assert peer.look(WANTED) == HostFacts(hostname="host2", bridges=("xenbr0",))
    assert peer.prepare(WANTED) == Prepared(address="host2")
    assert peer.connect("u1").result().told == ()
    assert peer.settle("u1").domid == 7
    assert peer.release("u1") == peer.end("u1") == peer.state("u1") == Copy(life=Life.GONE)
    peer.close()
    peer.close()
    assert there.over() is None and there.receiver.farewell
    assert there.receiver.asked == [
        ("hello", ME), ("look", WANTED), ("prepare", WANTED), ("connect", "u1"), ("settle", "u1"), ("release", "u1"), ("end", "u1"),
        ("state", "u1"),
    ]  # fmt: skip


SENT = replace(WANTED, passwords=(Password(vdev="xvda", value="czNjcmV0"),))


def test_passwords_go_along_where_nobody_else_can_read_them() -> None:
    there = Destination(NotedReceiver())
    peer = there.client(private=True)
    peer.prepare(SENT)
    peer.close()
    assert there.over() is None
    assert ("prepare", SENT) in there.receiver.asked and "czNjcmV0" not in repr(there.receiver.asked)


def test_no_password_goes_over_a_stream_that_others_can_read() -> None:
    there = Destination(NotedReceiver())
    peer = there.client()
    with pytest.raises(OperationError, match="passwords would go to host2 in clear"):
        peer.prepare(SENT)
    peer.prepare(WANTED)  # the conversation goes on
    peer.close()
    assert there.over() is None
    assert [what for word, what in there.receiver.asked if word == "prepare"] == [WANTED]


def fails(error: BaseException):
    def act(going_on: GoingOn) -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "kind", "line"),
    [
        (DeviceError("no bridge", hint="make it"), "DeviceError", "no bridge (from host2); make it"),
        (FileNotFoundError(2, "No such file", "/a"), "OSError", "[Errno 2] No such file: '/a' (from host2)"),
        (DeviceError("a\n\x1b[2Jb", hint="\a"), "DeviceError", "a\n?[2Jb (from host2); ?"),
        (KeyError("x"), "KeyError", "this is a fault of xmcompat: KeyError('x') (from host2)"),
    ],
)
def test_an_error_of_the_destination_is_told_as_xm_told_it(error: BaseException, kind: str, line: str) -> None:
    there = Destination(NotedReceiver(does={"prepare": fails(error)}))
    peer = there.client()
    with pytest.raises(FromPeer) as raised:
        peer.prepare(WANTED)
    assert (raised.value.kind, raised.value.line()) == (kind, line)
    assert peer.state("u1") == Copy(life=Life.GONE)  # the conversation goes on
    peer.close()
    assert there.over() is None


def endless(going_on: GoingOn) -> None:
    while True:
        time.sleep(0.01)
        going_on()


def test_what_takes_long_can_be_waited_for_and_given_up() -> None:
    there = Destination(NotedReceiver(does={"connect": endless}), silence=2.0)
    peer = there.client(silence=2.0)
    pending = peer.connect("u1")
    assert not pending.ended(2.6)  # longer than either end bears silence
    pending.stop()
    with pytest.raises(FromPeer) as raised:
        pending.result()
    assert raised.value.kind == GivenUp.__name__
    pending.stop()
    peer.close()
    assert there.over() is None


def test_a_question_gives_up_what_is_still_awaited() -> None:
    there = Destination(NotedReceiver(does={"connect": endless}))
    peer = there.client()
    pending = peer.connect("u1")
    assert peer.release("u1") == Copy(life=Life.GONE)
    assert pending.ended(0.0)
    peer.close()
    assert there.over() is None


def test_a_source_that_goes_away_breaks_off_what_is_at_work() -> None:
    there = Destination(NotedReceiver(does={"connect": endless}))
    peer = there.client()
    peer.connect("u1").ended(0.1)
    there.other.shutdown(socket.SHUT_RDWR)
    assert isinstance(there.over(), PeerLost) and there.receiver.farewell is False
    with pytest.raises(PeerLost):
        peer.release("u1")
    peer.close()


def test_a_source_that_falls_silent_is_lost() -> None:
    there = Destination(NotedReceiver(), silence=0.3)
    there.other.sendall(b'{"ask":"hello","number":1,"of":{"xmcompat":1}}\n')
    error = there.over()
    assert isinstance(error, PeerLost) and error.message == "the source has been silent for 0 s"
    assert there.receiver.farewell is False
    there.other.close()


def test_a_destination_that_was_not_asked_anything_for_long_has_not_fallen_silent() -> None:
    """While memory is copied for minutes nothing is asked, and its next answer may take a moment."""
    receiver = NotedReceiver({"state": lambda going_on: time.sleep(1.3)})
    destination = Destination(receiver)
    client = destination.client(silence=6.0)
    client._lines.heard -= 60.0  # as if nothing had been asked for a minute
    try:
        assert client.state("u1") == Copy(life=Life.GONE)
    finally:
        client.close()
    assert destination.over() is None


def test_a_destination_that_falls_silent_is_lost() -> None:
    here, there = socket.socketpair()
    there.sendall(b'{"xmcompat":1}\n{"answer":1,"of":{"xmcompat":1}}\n')
    peer = PeerClient(SocketStream(here), "host2", ME, silence=0.4)
    with pytest.raises(PeerLost, match="host2 has been silent"):
        peer.look(WANTED)
    peer.close()
    there.close()


def test_an_answer_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("xmcompat.migration.peer", fromlist=["PATIENCE"]).PATIENCE, "prepare", 0.2)
    there = Destination(NotedReceiver(does={"prepare": endless}))
    peer = there.client()
    with pytest.raises(PeerLost, match="host2 has not answered 'prepare' in 0 s"):
        peer.prepare(WANTED)
    assert peer.release("u1") == Copy(life=Life.GONE)
    peer.close()
    assert there.over() is None


def answered(data: bytes, *, silence: float = 5.0) -> PeerClient:
    """A client of a destination that says DATA and closes."""
    here, there = socket.socketpair()
    threading.Thread(target=lambda: (suppressed(there, data), there.close())).start()
    return PeerClient(SocketStream(here), "host2", ME, silence=silence)


def suppressed(end: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        end.sendall(data)


GREETING = b'{"xmcompat":1,"hostname":"host2"}\n'


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (b"", "host2 has closed the connection"),
        (b"Welcome\nxmcompat: \x1b[1mnot found\n", "host2 has closed the connection; it said: xmcompat: ?[1mnot found"),
        (b"\n" * (MOST_NOISE + 1), "host2 does not speak as xmcompat does: "),
        (b'{"xmcompat":2}\n', "host2 speaks version 2 of xmcompat's protocol for migrations, this host 1; install the same xmcompat on both"),
        (b'{"xmcompat":"1"}\n', "what host2 says cannot be used: Greeting.xmcompat is '1', which is no whole number"),
        (GREETING + b"[]\n", "host2 does not speak as xmcompat does: []"),
        (GREETING + b'{"answer":null}\n', "host2 does not speak as xmcompat does: 'answer' is no number"),
        (GREETING + b"[" * 100_000 + b"\n", f"host2 does not speak as xmcompat does: {'[' * 80}..."),
        (GREETING + b'{"answer":1,"of":{}}\n', "what host2 says cannot be used: hello lacks 'xmcompat'"),
        (GREETING + b'{"answer":1,"error":{"kind":"OperationError","message":"no"}}\n', "no (from host2)"),
    ],
)  # fmt: skip
def test_a_destination_that_speaks_otherwise_is_told_of_in_a_line(said: bytes, line: str) -> None:
    with pytest.raises(OperationError) as raised:
        answered(said)
    assert raised.value.line() == line


def test_a_login_shell_may_say_something_before_the_greeting() -> None:
    peer = answered(b"Last login: today\n\n" + GREETING + b'{"answer":1,"of":{"xmcompat":1}}\n')
    assert peer.greeting.hostname == "host2"
    peer.close()


def test_a_line_without_an_end_is_refused() -> None:
    with pytest.raises(WireError, match="host2 sends a line of more than"):
        answered(GREETING + b" " * (LONGEST + 200_000))


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (b"GET / HTTP/1.1\r\n", "the source does not speak as xmcompat does: GET / HTTP/1.1"),
        (b'{"ask":"look"}\n', "the source does not speak as xmcompat does: 'number' is no number"),
        (b'{"ask":"destroy","number":1}\n', 'the source asks what xmcompat does not know: {"ask":"destroy","number":1}'),
        (b'{"ask":"state","number":1,"of":{"uuid":"u1"}}\n', "the source asks 'state' before it says who it is"),
        (b'{"ask":"hello","number":1,"of":{"xmcompat":3}}\n',
         "the source speaks version 3 of xmcompat's protocol for migrations, this host 1; install the same xmcompat on both"),
    ],
)  # fmt: skip
def test_a_source_that_speaks_otherwise_is_told_and_left(said: bytes, line: str) -> None:
    there = Destination(NotedReceiver())
    there.other.sendall(said)
    error = there.over()
    assert isinstance(error, WireError) and error.line() == line
    assert there.receiver.farewell is False and there.receiver.asked == []
    there.other.close()


#: Bytes, and pieces of what is really said.
WORDS = [
    b"\n", b'{"ask":"hello","number":1,"of":{"xmcompat":1}}\n', b'{"ask":"look","number":2,"of":', b'{"stop":1}\n', b'{"beat":0}\n',
    b'{"ask":"connect","number":3,"of":{"uuid":"u1"}}\n', b'{"answer":1,"of":{"xmcompat":1}}\n', b'{"waits":1}\n', GREETING, b"}\n",
    b'{"answer":1,"error":{}}\n', b'{"ask":"bye","number":4,"of":{}}\n',
]  # fmt: skip
SPEECH = st.lists(st.one_of(st.binary(max_size=30), st.sampled_from(WORDS)), max_size=8).map(b"".join)


@settings(max_examples=80, deadline=None)
@given(SPEECH)
def test_any_bytes_of_a_source_end_the_conversation_with_an_error_or_a_farewell(said: bytes) -> None:
    there = Destination(NotedReceiver(), silence=5.0)
    there.other.sendall(said)
    there.other.shutdown(socket.SHUT_WR)
    error = there.over()
    assert isinstance(error, WireError | PeerLost) or (error is None and there.receiver.farewell)
    while there.other.recv(1 << 16):
        pass
    there.other.close()


@settings(max_examples=80, deadline=None)
@given(SPEECH, st.booleans())
def test_any_bytes_of_a_destination_are_an_answer_or_an_error(said: bytes, greeted: bool) -> None:
    with suppress(PeerLost, WireError, FromPeer):
        peer = answered(GREETING + b'{"answer":1,"of":{"xmcompat":1}}\n' + said if greeted else said)
        try:
            peer.look(WANTED)
        finally:
            peer.close()


def test_a_conversation_goes_over_pipes() -> None:
    to_source, from_destination = os.pipe()
    to_destination, from_source = os.pipe()
    receiver = NotedReceiver()
    thread = threading.Thread(target=serve, args=(PipeStream(to_destination, from_destination), receiver))
    thread.start()
    peer = PeerClient(PipeStream(to_source, from_source), "host2", ME)
    assert peer.look(WANTED).hostname == "host2"
    peer.close()
    thread.join(20)
    assert receiver.farewell


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_stream_sends_much_and_finds_the_other_end_gone(kind: str) -> None:
    if kind == "pipe":
        read, write = os.pipe()
        reading, sending = PipeStream(read, os.dup(write)), PipeStream(os.dup(read), write)
    else:
        one, other = socket.socketpair()
        reading, sending = SocketStream(one), SocketStream(other)  # type: ignore[assignment]
    data = os.urandom(3 << 20)
    thread = threading.Thread(target=sending.send, args=(data,))
    thread.start()
    found = b""
    while len(found) < len(data):
        found += reading.receive(5.0) or b""
    thread.join()
    assert found == data and reading.receive(0.0) is None
    sending.close()
    if kind == "socket":
        assert reading.receive(1.0) == b""
    reading.close()
    reading.close()
    assert reading.receive(0.0) == b""


def test_what_is_sent_is_ascii_in_one_line() -> None:
    there = Destination(NotedReceiver())
    there.other.sendall(b'{"ask":"hello","number":1,"of":{"xmcompat":1,"hostname":"a\\ud800\\n"}}\n{"ask":"bye","number":2,"of":{}}\n')
    assert there.over() is None
    said = b""
    while data := there.other.recv(1 << 16):
        said += data
    lines = said.decode("ascii").splitlines()
    assert [json.loads(line).get("answer") for line in lines] == [None, 1, 2]
    there.other.close()
