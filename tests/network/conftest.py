"""What tests of guests' ports share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.inside import inside
from tests.lab.lan import WITHOUT_DAD, BareHost, set_sysctls
from tests.network.ports import MEANS, Lab
from xmcompat.network import rate, tables


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest, lab_directory: Path) -> Iterator[BareHost]:
    """A host with the bridge xenbr0, for all tests of a file."""
    made = BareHost(lab_directory / request.module.__name__.rpartition(".")[2], "ports")
    set_sysctls(made, WITHOUT_DAD)  # the bridge's address would be tried anew with each tap
    made.run("ip", "-batch", "-", input="link add xenbr0 type bridge stp_state 0 forward_delay 0\nlink set xenbr0 up\n")
    yield made
    made.stop()


@pytest.fixture
def lab(place: BareHost) -> Iterator[Lab]:
    """The host with a tap; nothing of its guest is left in the end."""
    made = Lab(place)
    yield made
    made.tap.close()
    made.take(made.debris())
    assert inside(place.pid, tables.chains) == ()


@pytest.fixture(params=MEANS)
def means(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each means of a limit, as if the kernel had no better."""
    sending, receiving = MEANS[request.param]
    monkeypatch.setattr(rate, "sending_means", lambda: sending)
    monkeypatch.setattr(rate, "receiving_means", lambda: receiving)
    return str(request.param)
