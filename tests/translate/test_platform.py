"""The board: generation id, sleep states, firmware tables, watchdog, performance counters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.translate.guests import HOST, HVM, PV
from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator
from xmcompat.guest import Dialect, EventAction, GuestConfig, Value
from xmcompat.notes import Fate, Note
from xmcompat.translate.findings import Findings
from xmcompat.translate.platform import Platform, platform

XL = replace(HVM, dialect=Dialect.XL)
XL_PV = replace(PV, dialect=Dialect.XL)
EMULATED = HostFacts(accelerator=Accelerator.TCG)


def made(guest: GuestConfig, facts: HostFacts = HOST, **options: Value) -> tuple[Platform, tuple[Note, ...]]:
    guest = replace(guest, options=options)
    findings = Findings(guest)
    return platform(guest, facts, findings), findings.notes


def test_nothing_unless_asked_for() -> None:
    assert made(PV) == made(HVM) == made(XL) == (Platform(), ())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"ms_vm_genid": "generate"}, Platform(genid=True)),
        ({"ms_vm_genid": "none"}, Platform()),
        ({"acpi_s3": 0, "acpi_s4": 1}, Platform(sleep_to_memory=False, sleep_to_disk=True)),
        ({"acpi_s4": "0"}, Platform(sleep_to_disk=False)),
        ({"vpmu": 1}, Platform(pmu=True)),
        ({"vpmu": 0}, Platform(pmu=False)),
    ],
)
def test_what_is_carried_over(options: dict[str, Value], expected: Platform) -> None:
    assert made(XL, **options) == (expected, ())


def test_xm_knows_none_of_it() -> None:
    options: dict[str, Value] = {
        "ms_vm_genid": "generate", "acpi_s3": 0, "acpi_firmware": "/a/slic.bin", "on_watchdog": "restart", "vpmu": 1,
    }  # fmt: skip
    assert made(HVM, **options) == (Platform(), ())


def test_a_guest_without_a_bios_has_the_watchdog_and_the_counters() -> None:
    options: dict[str, Value] = {"ms_vm_genid": "generate", "acpi_s3": 0, "acpi_firmware": "/a/b", "vpmu": 1}
    assert made(XL_PV, **options) == (Platform(pmu=True), ())
    assert made(XL_PV, on_watchdog="restart")[0] == Platform(watchdog="reset")


@pytest.mark.parametrize(
    ("word", "action", "loss"),
    [
        ("destroy", "poweroff", ""), ("restart", "reset", ""), ("preserve", "pause", ""),
        ("rename-restart", "reset", "; no copy of the guest is kept"),
        ("coredump-destroy", "dump", "; the guest runs on after its core is dumped"),
        ("coredump-restart", "dump", "; the guest runs on after its core is dumped"),
        ("soft-reset", "reset", "; the machine is reset as a whole"),
    ],
)  # fmt: skip
def test_the_watchdog(word: str, action: str, loss: str) -> None:
    found, (note,) = made(XL, on_watchdog=word)
    assert found.watchdog == action
    assert (note.fate, note.harmless) == (Fate.APPROXIMATED, False)
    assert note.reason == f"the watchdog is an i6300esb, and its action '{action}'{loss}"


def test_every_action_has_its_own() -> None:
    assert all(made(XL, on_watchdog=action.value)[0].watchdog for action in EventAction)
    assert made(XL, on_watchdog="bark") == (Platform(), ())


def test_an_emulated_processor_counts_nothing() -> None:
    found, (note,) = made(XL, EMULATED, vpmu=1)
    assert (found, note.key, note.fate) == (Platform(), "vpmu", Fate.NO_MEANING)


@pytest.mark.parametrize("path", ["/etc/xen/SLIC.bin", "/var/oem-slic.aml"])
def test_the_table_of_a_licence_is_added(path: str) -> None:
    found, (note,) = made(XL, acpi_firmware=path)
    assert (found, note.fate, note.value) == (Platform(acpi_table=path), Fate.APPROXIMATED, path)


@pytest.mark.parametrize("path", ["/etc/xen/ssdt.bin", "slic.bin", "/slic/dsdt.aml"])
def test_other_tables_are_not(path: str) -> None:
    found, (note,) = made(XL, acpi_firmware=path)
    assert (found, note.fate, note.harmless) == (Platform(), Fate.NO_MEANING, False)
