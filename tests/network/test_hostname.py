from __future__ import annotations

import socket
import threading

import pytest

from xmcompat.network import hostname


def test_a_name_that_resolves_at_once_is_no_complaint() -> None:
    lookup = hostname.HostnameLookup("localhost")
    for thread in threading.enumerate():
        if thread.name == "hostname-lookup":
            thread.join()
    assert lookup.complaint() is None


def test_a_name_that_hangs_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def hang(*_: object) -> None:
        answer.wait(30)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(hostname, "SLOW", 0.0)
    lookup = hostname.HostnameLookup("dom0.example")
    complaint = lookup.complaint()
    answer.set()
    assert complaint is not None
    assert "'dom0.example' does not resolve" in complaint
    assert "add '127.0.1.1 dom0.example' to /etc/hosts" in complaint
