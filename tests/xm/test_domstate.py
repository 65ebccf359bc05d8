"""``xm domstate``: one word, or nothing at all."""

from __future__ import annotations

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from xmcompat.backends.hypervisor import DomainState
from xmcompat.xm.help import usage_text


@pytest.mark.parametrize(
    ("state", "out"),
    [
        (DomainState.RUNNING, ""),
        (DomainState.SHUTDOWN, ""),
        ("some other", ""),
        (DomainState.BLOCKED, "idle\n"),
        (DomainState.DYING, "shutdown\n"),
        (DomainState.CRASHED, "crashed\n"),
        (DomainState.PAUSED, "paused\n"),
        (DomainState.SHUTOFF, "shutoff\n"),
    ],
)
def test_the_word_for_each_state(xm: Xm, host: FakeHypervisor, state: str, out: str) -> None:
    host.known = {"u": domain("web", 5, uuid="u", state=state)}
    assert xm("domstate", "web") == (0, out, "")


def test_who_has_paused_a_domain_is_told_until_it_goes_on(xm: Xm, host: FakeHypervisor) -> None:
    host.known = {"u": domain("web", 5, uuid="u", state=DomainState.PAUSED)}
    assert xm("domstate", "5").out == "paused\n"
    xm("pause", "web")
    assert xm("domstate", "5").out == "paused by admin\n"
    xm("unpause", "web")
    assert xm("domstate", "5").out == ""
    host.known["u"] = host.known["u"]._replace(state=DomainState.PAUSED)
    assert xm("domstate", "5").out == "paused\n"


def test_domain_0_runs_always(xm: Xm) -> None:
    assert xm("domstate", "0") == xm("domstate", "Domain-0") == (0, "", "")


def test_an_unknown_domain_ends_in_3(xm: Xm) -> None:
    assert xm("domstate", "nosuch") == (3, "", "Error: Domain 'nosuch' does not exist.\n")


@pytest.mark.parametrize("words", [[], ["a", "b"]])
def test_it_wants_one_word(xm: Xm, words: list[str]) -> None:
    assert xm("domstate", *words) == (
        1, usage_text("domstate"), "Error: 'xm domstate' requires 1 arguments.\n\n",
    )  # fmt: skip


def test_an_option_that_it_has_not(xm: Xm) -> None:
    assert xm("domstate", "-z") == (1, usage_text("domstate"), "Error: option -z not recognized\n")
