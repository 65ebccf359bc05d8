"""The guest's processor: mode, features, nested virtualization, and what keeps it on its host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.translate.guests import HOST, HVM, PV
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator
from xmcompat.guest import Dialect, GuestConfig, Value
from xmcompat.notes import Fate
from xmcompat.translate.findings import Findings
from xmcompat.translate.processor import Processor, processor

XL = replace(HVM, dialect=Dialect.XL)
INTEL, AMD = replace(HOST, cpu_vendor="Intel"), replace(HOST, cpu_vendor="AMD")
EMULATED = HostFacts(accelerator=Accelerator.TCG, cpu_vendor="Intel")
NO_VMX = ["1:ecx=" + "x" * 26 + "0" + "x" * 5]
VMX = [NO_VMX[0].replace("0", "1")]


def made(guest: GuestConfig, facts: HostFacts = HOST, **options: Value) -> tuple[Processor, list[tuple[Fate, str, str]]]:
    """The processor, and (fate, key, reason) of each loud note."""
    guest = replace(guest, options=options)
    findings = Findings(guest)
    found = processor(guest, facts, findings)
    return found, [(note.fate, note.key, note.reason) for note in findings.notes if not note.harmless]


def test_a_guest_has_what_its_host_has() -> None:
    assert made(HVM) == made(PV) == (Processor(mode="host-model"), [])
    assert made(PV, EMULATED) == (Processor(mode="maximum"), [])


def test_an_amd_processor_has_no_register_of_intels() -> None:
    """Some kernels and QEMUs offer it all the same, and then cannot set it."""
    assert made(PV, AMD)[0] == Processor(mode="host-model", features=(("arch-capabilities", "disable"),))
    assert made(PV, INTEL)[0].features == ()
    assert made(PV, replace(AMD, accelerator=Accelerator.TCG))[0].features == ()


def test_what_is_switched_off() -> None:
    assert made(HVM, pae=0)[0].features == (("pae", "disable"),)
    assert made(XL, nx=0, pae="0")[0].features == (("nx", "disable"), ("pae", "disable"))
    assert made(XL, nx=1, pae=1)[0].features == ()


def test_xm_does_not_know_nx_and_a_paravirtual_guest_neither() -> None:
    assert made(HVM, nx=0)[0].features == made(PV, nx=0, pae=0)[0].features == ()


def test_masks_go_before_other_keys() -> None:
    pae = ["1:edx=" + "x" * 25 + "1" + "x" * 6]
    assert made(HVM, pae=0, cpuid=pae)[0].features == (("pae", "force"),)


# -- guests in the guest


@pytest.mark.parametrize(("facts", "name"), [(INTEL, "vmx"), (AMD, "svm")])
def test_nested_virtualization_by_the_hosts_maker(facts: HostFacts, name: str) -> None:
    found, notes = made(XL, facts, nestedhvm=1)
    assert found.mode == "host-model"
    assert dict(found.features)[name] == "require"
    assert notes == [
        (Fate.APPROXIMATED, "nestedhvm", f"the guest has its host's {name}, where the host's kvm module allows it")
    ]
    found, notes = made(XL, facts, nestedhvm=0)
    assert (dict(found.features)[name], notes) == ("disable", [])


def test_where_the_maker_is_not_known() -> None:
    assert made(XL, nestedhvm=1)[0] == Processor(mode="host-passthrough")
    assert made(XL, nestedhvm=0)[0].features == (("vmx", "disable"), ("svm", "disable"))


def test_an_emulated_processor_nests_in_its_own_way() -> None:
    found, notes = made(XL, EMULATED, nestedhvm=1)
    assert found == Processor(mode="maximum")
    assert notes == [(Fate.APPROXIMATED, "nestedhvm", "the emulated processor has AMD's svm alone")]


def test_what_is_not_said_of_nesting_is_left_to_the_host() -> None:
    assert made(XL, INTEL)[0] == made(HVM, INTEL, nestedhvm=1)[0] == Processor(mode="host-model")
    assert made(replace(PV, dialect=Dialect.XL), INTEL, nestedhvm=1) == (Processor(mode="host-model"), [])


# -- to stay on its host


@pytest.mark.parametrize("guest", [PV, HVM])
def test_a_guest_that_is_not_to_be_moved(guest: GuestConfig) -> None:
    found, notes = made(guest, nomigrate=1)
    assert found == Processor(mode="host-passthrough", migratable=False)
    assert [note[:2] for note in notes] == [(Fate.APPROXIMATED, "nomigrate")]
    assert made(guest, nomigrate=0) == made(guest)


def test_an_emulated_guest_can_always_be_moved() -> None:
    found, notes = made(PV, EMULATED, nomigrate=1)
    assert found == Processor(mode="maximum")
    assert notes == [(Fate.NO_MEANING, "nomigrate", "an emulated processor is the same on every host")]


def test_a_nested_guest_that_is_not_to_be_moved() -> None:
    found, _ = made(XL, INTEL, nomigrate=1, nestedhvm=1)
    assert found == Processor(mode="host-passthrough", features=(("vmx", "require"),), migratable=False)


def test_an_emulated_processor_has_no_invariant_clock() -> None:
    invtsc = ["0x80000007:edx=" + "x" * 23 + "1" + "x" * 8]
    assert made(PV, cpuid=invtsc)[0].features == (("invtsc", "force"),)
    assert made(PV, EMULATED, cpuid=invtsc) == (
        Processor(mode="maximum"), [(Fate.NO_MEANING, "cpuid", "an emulated processor does not have it")],
    )  # fmt: skip


# -- checks of the host


def test_a_check_of_the_host() -> None:
    assert made(PV, cpuid_check=VMX) == (Processor(mode="host-model", features=(("vmx", "require"),)), [])
    assert made(PV, cpuid=NO_VMX, cpuid_check=NO_VMX)[0].features == (("vmx", "forbid"),)


@pytest.mark.parametrize(
    ("facts", "options", "reason"),
    [
        (EMULATED, {}, "the processor is emulated: nothing is asked of the host"),
        (HOST, {"nomigrate": 1}, "the processor is the host's as it is: nothing is checked"),
    ],
)
def test_where_nothing_is_checked(facts: HostFacts, options: dict[str, Value], reason: str) -> None:
    found, notes = made(PV, facts, cpuid=NO_VMX, cpuid_check=VMX, **options)
    assert found.features == (("vmx", "disable"),)
    assert (Fate.NO_MEANING, "cpuid_check", reason) in notes


def test_no_feature_is_named_twice() -> None:
    found, _ = made(XL, nestedhvm=0, cpuid=VMX, pae=0, nx=0)
    assert found.features == (("nx", "disable"), ("pae", "disable"), ("vmx", "force"), ("svm", "disable"))
    found, _ = made(HVM, pae=0, cpuid=VMX, cpuid_check=VMX)
    assert found.features == (("pae", "disable"), ("vmx", "require"))
