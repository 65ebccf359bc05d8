"""``xm`` in this process, over a hypervisor in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.fakes import FakeHypervisor
from xmcompat.toolstack import Toolstack
from xmcompat.xm.main import main


class Result(NamedTuple):
    status: int
    out: str
    err: str


Xm = Callable[..., Result]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> FakeHypervisor:
    """The hypervisor that every Toolstack of the test talks to; empty at first."""
    fake = FakeHypervisor()
    monkeypatch.setattr("xmcompat.host_settings.sets_up_ports", lambda: False)  # its interfaces are not this host's
    monkeypatch.setattr("xmcompat.connecting.sets_up_ports", lambda: False)
    monkeypatch.setattr(Toolstack, "open", classmethod(lambda cls, uri=None: cls(lambda: fake)))
    return fake


@pytest.fixture
def xm(host: FakeHypervisor, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Xm:
    """Run a command line; gives status and both streams."""
    monkeypatch.delenv("POSIXLY_CORRECT", raising=False)
    monkeypatch.delenv("XMCOMPAT_DEBUG", raising=False)

    def run(*words: str) -> Result:
        capsys.readouterr()
        status = main(list(words))
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run
