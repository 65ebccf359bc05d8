"""The Hyper-V interface, by the groups of viridian."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.translate.guests import HOST, HVM, PV
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator
from xmcompat.config.xl_checks import VIRIDIAN
from xmcompat.guest import Dialect, GuestConfig, Value
from xmcompat.notes import Fate
from xmcompat.translate.findings import Findings
from xmcompat.translate.hyperv import Enlightenments, hyperv

XL = replace(HVM, dialect=Dialect.XL)
BASE = ("relaxed", "vapic", "spinlocks", "vpindex")
DEFAULTS = Enlightenments(names=(*BASE, "synic", "stimer", "frequencies"), clock_timer=True, panic=True)
NONE = Enlightenments()


def shown(guest: GuestConfig, viridian: Value, facts: HostFacts = HOST) -> Enlightenments:
    guest = replace(guest, options={"viridian": viridian})
    findings = Findings(guest)
    found = hyperv(guest, facts, findings)
    assert findings.notes == ()
    return found


def test_xms_number_is_what_xen_had_in_its_time() -> None:
    assert shown(HVM, 1) == Enlightenments(names=BASE, clock_timer=True)
    assert shown(replace(HVM, dialect=Dialect.SXP), "1") == shown(HVM, 1)
    assert shown(HVM, 0) == NONE


@pytest.mark.parametrize("value", [1, "1", ["defaults"]])
def test_xls_number_is_its_defaults(value: Value) -> None:
    assert shown(XL, value) == DEFAULTS


def test_nothing_unless_asked_for() -> None:
    assert shown(XL, 0) == shown(XL, []) == hyperv(HVM, HOST, Findings(HVM)) == NONE
    assert shown(PV, 1) == NONE


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (["base"], Enlightenments(names=BASE)),
        (["base", "freq"], Enlightenments(names=(*BASE, "frequencies"))),
        (["time_ref_count"], Enlightenments(clock_timer=True)),
        (["reference_tsc"], Enlightenments(clock_timer=True)),
        (["apic_assist"], Enlightenments(names=("vapic",))),
        (["crash_ctl"], Enlightenments(panic=True)),
        (["synic"], Enlightenments(names=("vpindex", "synic"))),
        (["stimer"], Enlightenments(names=("vpindex", "synic", "stimer"), clock_timer=True)),
        (["hcall_remote_tlb_flush"], Enlightenments(names=("vpindex", "tlbflush"))),
        (["hcall_ipi"], Enlightenments(names=("vpindex", "ipi"))),
        (["no_vp_limit", "ex_processor_masks", "cpu_hotplug"], NONE),
        (["all"], Enlightenments(names=(*DEFAULTS.names, "tlbflush", "ipi"), clock_timer=True, panic=True)),
        (["defaults", "!stimer", "!crash_ctl"], Enlightenments(names=(*BASE, "frequencies"), clock_timer=True)),
        (["!freq", "defaults"], replace(DEFAULTS, names=(*BASE, "synic", "stimer"))),
        (["base", "hcall_ipi", "!defaults"], Enlightenments(names=("vpindex", "ipi"))),
        (["all", "!all"], NONE),
    ],
)
def test_groups(groups: list[Value], expected: Enlightenments) -> None:
    assert shown(XL, groups) == expected


@given(st.lists(st.tuples(st.sampled_from(["", "!"]), st.sampled_from(VIRIDIAN)).map("".join)))
def test_each_has_what_it_needs(groups: list[str]) -> None:
    found = shown(XL, [*groups])
    names = set(found.names)
    assert not names & {"synic", "tlbflush", "ipi"} or "vpindex" in names
    assert "stimer" not in names or ("synic" in names and found.clock_timer)


def test_an_emulated_guest_has_none_of_it() -> None:
    guest = replace(HVM, options={"viridian": 1}, lines={"viridian": 4})
    findings = Findings(guest)
    assert hyperv(guest, HostFacts(accelerator=Accelerator.TCG), findings) == NONE
    (note,) = findings.notes
    assert (note.fate, note.line, note.harmless) == (Fate.NO_MEANING, 4, False)
