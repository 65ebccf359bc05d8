"""The quick listing's own end of the wire protocol: which addresses it takes, and what it does with nonsense."""

import socket
import threading
from contextlib import suppress
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmcompat.backends import libvirt_wire
from xmcompat.backends.hypervisor import DomainInfo
from xmcompat.backends.libvirt_kvm import LibvirtKvm
from xmcompat.backends.libvirt_wire import NotAsExpected, Wire, open_wire, socket_of
from xmcompat.errors import DomainNotFound

UUID = bytes(range(16))


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("qemu+unix:///system?socket=/tmp/x/libvirt-sock", "/tmp/x/libvirt-sock"),
        ("qemu+unix:///system?socket=relative", None),
        ("qemu+unix:///system?socket=/tmp/x&mode=direct", None),
        ("qemu+unix:///system?socket=/tmp/%20x", None),
        ("qemu+unix:///session?socket=/tmp/x", None),
        ("qemu:///session", None),
        ("qemu+ssh://host/system", None),
        ("test:///default", None),
        ("", None),
    ],
)
def test_only_plain_local_addresses_are_taken(uri: str, path: str | None) -> None:
    assert socket_of(uri) == path


def test_the_system_address_is_the_first_socket_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sockets = (str(tmp_path / "libvirt-sock"), str(tmp_path / "virtqemud-sock"))
    monkeypatch.setattr(libvirt_wire, "SOCKETS", sockets)
    assert socket_of("qemu:///system") is None
    Path(sockets[1]).touch()
    assert socket_of("qemu:///system") == sockets[1]
    Path(sockets[0]).touch()
    assert socket_of("qemu:///system") == sockets[0]


class Peer:
    """A Wire whose other end says what the test wants, each message in answer to as many calls as came."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.wire = Wire.__new__(Wire)
        self.wire._serial = 0
        self.wire._buffer = b""
        self.wire._socket = ours

    def answer(self, *bodies: bytes, status: int = 0, first: int = 0) -> None:
        for serial, body in enumerate(bodies, first):
            self.theirs.sendall(pack(">IIIiiIi", 28 + len(body), 0x20008086, 1, 0, 1, serial, status) + body)

    def close(self) -> None:
        self.wire._socket.close()
        self.theirs.close()


def listed(name: bytes, number: int) -> bytes:
    return pack(">I", len(name)) + name + bytes(-len(name) % 4) + UUID + pack(">i", number)


def test_a_list_is_read_as_it_is_laid_out() -> None:
    peer = Peer()
    body = pack(">I", 2) + listed(b"web1", 7) + listed("é".encode(), -1) + pack(">I", 2)
    peer.answer(body, pack(">II", 0, 0))
    peer.answer(pack(">IQQIQ", 3, 2048, 1024, 2, 10**12), first=2)
    peer.answer(pack(">i", 42), status=1, first=3)
    assert peer.wire.domains() == [
        DomainInfo(7, "web1", "00010203-0405-0607-0809-0a0b0c0d0e0f", "paused", 1024, 2048, 2, 10**12, True)
    ]
    peer.close()


def test_answers_in_another_order_and_messages_of_others_are_sorted_out() -> None:
    peer = Peer()
    keepalive = pack(">IIIiiIi", 28, 0x6B656570, 1, 1, 2, 0, 0)
    peer.theirs.sendall(keepalive)
    peer.answer(b"second", first=1)
    peer.answer(b"first")
    assert peer.wire._call([(1, b""), (2, b"")]) == [b"first", b"second"]
    peer.close()


def test_what_is_answered_after_an_interruption_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer()

    def interrupted() -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(peer.wire, "_receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            peer.wire._call([(1, b"")])
    peer.answer(b"late", b"in time")
    assert peer.wire._call([(2, b"")]) == [b"in time"]
    peer.close()


@pytest.mark.parametrize("broken", [KeyboardInterrupt, SystemExit, KeyError])
def test_a_wire_whose_question_was_broken_off_is_given_up(broken: type[BaseException]) -> None:
    peer, hypervisor = Peer(), LibvirtKvm.__new__(LibvirtKvm)
    hypervisor._wire = peer.wire

    def refused(_: Wire) -> tuple[int]:
        raise DomainNotFound("web1")

    def broken_off(_: Wire) -> tuple[int]:
        raise broken

    with pytest.raises(DomainNotFound):
        hypervisor._ask(refused)
    assert hypervisor._ask(lambda wire: (1,)) == (1,)
    with pytest.raises(broken):
        hypervisor._ask(broken_off)
    assert hypervisor._wire is None
    assert hypervisor._ask(lambda wire: (1,)) is None
    assert peer.theirs.recv(1) == b""
    peer.close()


def test_a_domain_that_does_not_answer_is_shown_without_numbers() -> None:
    peer = Peer()
    body = pack(">I", 1) + listed(b"ill", 3) + pack(">I", 1)
    peer.answer(body, body)
    peer.answer(pack(">i", 38), status=1, first=2)
    assert peer.wire.domains() == [
        DomainInfo(3, "ill", "00010203-0405-0607-0809-0a0b0c0d0e0f", "blocked", 0, 0, 0, 0, False)
    ]
    peer.close()


@given(st.binary(max_size=200), st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_nonsense_fails_only_as_foreseen(first: bytes, second: bytes) -> None:
    peer = Peer()
    peer.answer(first, second)
    peer.theirs.sendall(second)
    peer.theirs.shutdown(socket.SHUT_WR)
    with suppress(NotAsExpected, OSError):
        peer.wire.domains()
    peer.close()


def test_a_daemon_that_wants_authentication_is_left_to_libvirt(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.recv(1000)
                body = pack(">II", 1, 2)
                client.sendall(pack(">IIIiiIi", 28 + len(body), 0x20008086, 1, 66, 1, 0, 0) + body)
                client.recv(1000)

        thread = threading.Thread(target=serve)
        thread.start()
        assert open_wire(f"qemu+unix:///system?socket={path}") is None
        thread.join()
