"""pause, unpause, destroy, shutdown, reboot: what is asked of the hypervisor, and every line that is printed."""

from __future__ import annotations

import time

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.xm.conftest import Xm
from xmcompat.backends.hypervisor import DomainState
from xmcompat.xm.help import usage_text


@pytest.fixture(autouse=True)
def guests(host: FakeHypervisor, monkeypatch: pytest.MonkeyPatch) -> FakeHypervisor:
    for info in (domain("web", 5), domain("db", 6), domain("idle", 7, state=DomainState.PAUSED), domain("off", None)):
        host.known[info.uuid] = info
    return host


@pytest.mark.parametrize("verb", ["pause", "unpause", "destroy", "shutdown", "reboot"])
@pytest.mark.parametrize("designation", ["web", "5"])
def test_success_is_silent(xm: Xm, guests: FakeHypervisor, verb: str, designation: str) -> None:
    assert xm(verb, designation) == (0, "", "")
    assert guests.calls == [(verb, "web")]


@pytest.mark.parametrize("verb", ["pause", "unpause", "destroy", "shutdown", "reboot"])
def test_an_unknown_domain_ends_in_3_without_usage(xm: Xm, verb: str) -> None:
    assert xm(verb, "nosuch") == (3, "", "Error: Domain 'nosuch' does not exist.\n")


@pytest.mark.parametrize("verb", ["pause", "unpause", "destroy"])
@pytest.mark.parametrize("designation", ["0", "Domain-0"])
def test_domain_0_is_privileged(xm: Xm, verb: str, designation: str) -> None:
    line = f"Error: Cannot {verb} privileged domain {designation}\n"
    assert xm(verb, designation) == (1, usage_text(verb), line)


@pytest.mark.parametrize("verb", ["pause", "unpause"])
def test_a_halted_domain_is_not_started(xm: Xm, verb: str) -> None:
    assert xm(verb, "off") == (1, usage_text(verb), "Error: Domain 'off' is not started\n")


def test_destroying_an_unknown_number_is_an_error_of_the_hypervisor(xm: Xm) -> None:
    assert xm("destroy", "999") == (1, usage_text("destroy"), "Error: (3, 'No such process')\n")


def test_destroying_a_halted_domain_is_silent(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("destroy", "off") == (0, "", "")
    assert guests.calls == []


@pytest.mark.parametrize("verb", ["shutdown", "reboot"])
def test_what_cannot_be_shut_down(xm: Xm, verb: str) -> None:
    assert xm(verb, "0") == (1, usage_text(verb), "Error: Domain 0 cannot be shutdown\n")
    assert xm(verb, "off") == (1, usage_text(verb), "Error: Domain cannot be shutdown\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["shutdown", "-H", "-R", "web"], "Can't specify halt and reboot"),
        (["shutdown", "-HR", "web"], "Can't specify halt and reboot"),
        (["reboot", "-H", "web"], "Can't specify halt and reboot"),
        (["shutdown", "-w"], "No domain parameter given"),
        (["reboot", "--wait"], "No domain parameter given"),
        (["shutdown", "web", "db"], "No multiple domain parameters allowed"),
        (["reboot", "web", "-w", "db"], "No multiple domain parameters allowed"),
    ],
)
def test_words_that_do_not_go_together_print_no_usage(
    xm: Xm, guests: FakeHypervisor, words: list[str], line: str
) -> None:
    assert xm(*words) == (1, "", f"Error: {line}\n")
    assert guests.calls == []


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["shutdown", "web", "-H"], "shutdown"),
        (["shutdown", "--halt", "web"], "shutdown"),
        (["shutdown", "-R", "web"], "reboot"),
        (["reboot", "-R", "web"], "reboot"),
    ],
)
def test_what_the_guest_is_asked_for(xm: Xm, guests: FakeHypervisor, words: list[str], call: str) -> None:
    assert xm(*words) == (0, "", "")
    assert guests.calls == [(call, "web")]


def test_all_are_those_that_run_and_operands_are_ignored(xm: Xm, guests: FakeHypervisor) -> None:
    assert xm("shutdown", "-a", "idle") == (0, "", "")
    assert sorted(guests.calls) == [("shutdown", "db"), ("shutdown", "web")]


def _end_one_a_poll(guests: FakeHypervisor, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    waiting = list(names)

    def sleep(seconds: float) -> None:
        assert seconds == 1
        name = waiting.pop(0)
        guests.known = {uuid: info for uuid, info in guests.known.items() if info.name != name}

    monkeypatch.setattr(time, "sleep", sleep)


def test_waiting_for_one(xm: Xm, guests: FakeHypervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    _end_one_a_poll(guests, monkeypatch, "web")
    assert xm("shutdown", "-w", "web") == (0, "Domain web terminated\nAll domains terminated\n", "")


def test_waiting_for_all_names_them_as_they_go(
    xm: Xm, guests: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    _end_one_a_poll(guests, monkeypatch, "web", "db")
    out = "Domain web terminated\nDomain db terminated\nAll domains terminated\n"
    assert xm("shutdown", "-wa") == (0, out, "")


def test_a_paused_domain_counts_as_gone(xm: Xm) -> None:
    assert xm("shutdown", "-w", "idle") == (0, "Domain idle terminated\nAll domains terminated\n", "")


def test_waiting_for_a_reboot(xm: Xm, guests: FakeHypervisor) -> None:
    web = next(info for info in guests.known.values() if info.name == "web")
    guests.on_wait = lambda: guests.reboot_watchers[0](web.uuid)
    assert xm("reboot", "web", "-w") == (0, "Domain web rebooted\nAll domains rebooted\n", "")


def test_a_domain_that_stays_away_was_destroyed_for_failing_to_reboot(
    xm: Xm, guests: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("xmcompat.endings.time.monotonic", lambda: now[0])

    def look() -> None:
        guests.known.clear()
        now[0] += 1.0

    guests.on_wait = look
    out = "Domain web destroyed for failing to reboot\nAll domains rebooted\n"
    assert xm("reboot", "-w", "web") == (0, out, "")


def test_a_paused_domain_is_asked_and_counts_as_gone_at_once(xm: Xm, host: FakeHypervisor) -> None:
    host.known = {"u": domain("web", 5, uuid="u", state=DomainState.PAUSED)}
    assert xm("shutdown", "web") == (0, "", "")
    assert xm("shutdown", "-w", "web") == (0, "Domain web terminated\nAll domains terminated\n", "")
    assert host.calls == [("shutdown", "web")] * 2
