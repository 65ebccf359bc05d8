"""The bridges of Open vSwitch, as its database tells them, and silence where it does not."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xmcompat.backends import openvswitch
from xmcompat.backends.openvswitch import switches_here

Answering = Callable[[list[bytes]], str]


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Answering]:
    """A database at the path given back, which answers one question with these pieces and hangs up."""
    servers: list[socket.socket] = []

    def start(pieces: list[bytes]) -> str:
        path = str(tmp_path / "db.sock")
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen()
        servers.append(server)

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                question = json.loads(connection.recv(65536))
                assert question["params"][1]["table"] == "Bridge"
                for piece in pieces:
                    connection.sendall(piece)

        threading.Thread(target=serve, daemon=True).start()
        return path

    yield start
    for server in servers:
        server.close()


def test_the_bridges_are_told_in_order_however_the_answer_is_cut(answering: Answering) -> None:
    text = b'{"id":0,"result":[{"rows":[{"name":"ovsbr1"},{"name":"ovsbr0"}]}],"error":null}'
    assert switches_here(answering([text[:30], text[30:]])) == ["ovsbr0", "ovsbr1"]


@pytest.mark.parametrize(
    "answer",
    [b"", b"nonsense", b'{"id":0,"result":null,"error":"not allowed"}', b'{"result":[{"error":"no such table"}]}', b"[1]"],
)
def test_an_answer_of_another_kind_is_no_bridge(answering: Answering, answer: bytes) -> None:
    assert switches_here(answering([answer])) == []


def test_a_database_that_says_nothing_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvswitch, "PATIENCE", 0.05)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "db.sock"))
        server.listen()
        assert switches_here(str(tmp_path / "db.sock")) == []


def test_without_open_vswitch_there_is_nothing_to_ask(tmp_path: Path) -> None:
    assert switches_here(str(tmp_path / "none")) == []
