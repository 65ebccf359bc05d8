"""on_poweroff, on_reboot and on_crash: what libvirt does of them by itself, and what is said of the rest."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from tests.translate.guests import PV
from xmcompat.guest import EventAction
from xmcompat.notes import Fate
from xmcompat.translate.events import events, is_kept
from xmcompat.translate.findings import Findings

D, R, P, RR, CD, CR, SR = EventAction
EVERY = tuple(EventAction)


def translated(
    poweroff: EventAction = D, reboot: EventAction = R, crash: EventAction = R, *, dump: bool = False
) -> tuple[tuple[str, str, str], Findings]:
    guest = replace(PV, on_poweroff=poweroff, on_reboot=reboot, on_crash=crash)
    findings = Findings(guest)
    return events(guest, findings, dump_crashes=dump), findings


@pytest.mark.parametrize(
    ("poweroff", "reboot", "became"),
    [
        (D, R, ("destroy", "restart")),
        (R, R, ("restart", "restart")),
        (P, R, ("destroy", "restart")),
        (P, P, ("destroy", "destroy")),
        (D, P, ("destroy", "destroy")),
        (RR, RR, ("restart", "restart")),
        (D, RR, ("destroy", "restart")),
        (CD, CR, ("destroy", "restart")),
        (D, SR, ("destroy", "restart")),
        (R, D, ("restart", "restart")),
        (RR, P, ("restart", "restart")),
    ],
)
def test_power_off_and_reboot(poweroff: EventAction, reboot: EventAction, became: tuple[str, str]) -> None:
    assert translated(poweroff, reboot)[0][:2] == became


@pytest.mark.parametrize(("crash", "plain", "dumped"), [
    (D, "destroy", "coredump-destroy"), (R, "restart", "coredump-restart"), (P, "preserve", "preserve"),
    (RR, "restart", "coredump-restart"), (CD, "coredump-destroy", "coredump-destroy"),
    (CR, "coredump-restart", "coredump-restart"), (SR, "restart", "coredump-restart"),
])  # fmt: skip
def test_a_crash_and_the_same_with_enable_dump(crash: EventAction, plain: str, dumped: str) -> None:
    assert translated(crash=crash)[0][2] == plain
    became, findings = translated(crash=crash, dump=True)
    assert became[2] == dumped
    assert [note.key for note in findings.notes] == ["on_crash"]


def test_where_the_core_goes_is_said() -> None:
    for crash, dump in ((CD, False), (CR, False), (R, True)):
        (note,) = translated(crash=crash, dump=dump)[1].notes
        assert "auto_dump_path" in note.reason
        assert note.harmless


def test_the_defaults_need_no_note() -> None:
    assert translated()[1].notes == ()
    assert translated(crash=P)[1].notes == ()


def test_what_only_a_running_xend_does_is_said() -> None:
    for given in ((RR, R, R), (D, RR, R), (D, R, RR), (R, D, R)):
        (note,) = translated(*given)[1].notes
        assert "while xend runs" in note.reason
        assert note.fate is Fate.APPROXIMATED


def test_where_libvirt_tells_no_power_off_from_a_reboot_the_domain_is_kept_after_both() -> None:
    for given, key in (((P, D), "on_reboot"), ((D, P), "on_poweroff")):
        notes = [note for note in translated(*given)[1].notes if "after both" in note.reason]
        assert [(note.key, note.value) for note in notes] == [(key, "destroy")]
    assert not any("after both" in note.reason for note in translated(P, P)[1].notes + translated(P, R)[1].notes)


def test_a_guest_that_is_preserved_after_power_off_or_reboot_is_kept() -> None:
    for poweroff, reboot, crash in itertools.product(EVERY, EVERY, EVERY):
        guest = replace(PV, on_poweroff=poweroff, on_reboot=reboot, on_crash=crash)
        assert is_kept(guest) == (P in (poweroff, reboot))
