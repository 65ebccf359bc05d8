"""The board: generation id, sleep states, firmware tables, watchdog, performance counters. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Accelerator
from xmcompat.guest import EventAction, GuestConfig, GuestKind
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import flag, text

_WATCHDOG_ACTIONS = {
    EventAction.DESTROY: "poweroff",
    EventAction.RESTART: "reset",
    EventAction.PRESERVE: "pause",
    EventAction.RENAME_RESTART: "reset",
    EventAction.COREDUMP_DESTROY: "dump",
    EventAction.COREDUMP_RESTART: "dump",
    EventAction.SOFT_RESET: "reset",
}
#: What of the action is lost.
_LOSSES = {
    EventAction.RENAME_RESTART: "; no copy of the guest is kept",
    EventAction.COREDUMP_DESTROY: "; the guest runs on after its core is dumped",
    EventAction.COREDUMP_RESTART: "; the guest runs on after its core is dumped",
    EventAction.SOFT_RESET: "; the machine is reset as a whole",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The fields of Machine of the same names."""

    genid: bool = False
    acpi_table: str = ""
    sleep_to_memory: bool | None = None
    sleep_to_disk: bool | None = None
    watchdog: str = ""
    pmu: bool | None = None


def platform(guest: GuestConfig, facts: HostFacts, findings: Findings) -> Platform:
    """What xl alone can ask for; most of it for a guest with a BIOS only."""
    watchdog, pmu = _watchdog(guest, findings), _pmu(guest, facts, findings)
    if guest.kind is not GuestKind.HVM:
        return Platform(watchdog=watchdog, pmu=pmu)
    return Platform(
        genid=text(guest, "ms_vm_genid") == "generate",
        acpi_table=_acpi_table(guest, findings),
        sleep_to_memory=_chosen(guest, "acpi_s3"),
        sleep_to_disk=_chosen(guest, "acpi_s4"),
        watchdog=watchdog,
        pmu=pmu,
    )


def _chosen(guest: GuestConfig, key: str) -> bool | None:
    return flag(guest, key, False) if text(guest, key) else None


def _watchdog(guest: GuestConfig, findings: Findings) -> str:
    """The action of an i6300esb in place of Xen's own watchdog, "" where the configuration names none."""
    word = text(guest, "on_watchdog")
    if word not in {action.value for action in EventAction}:
        return ""
    action = EventAction(word)
    findings.approximated(
        "on_watchdog", f"the watchdog is an i6300esb, and its action '{_WATCHDOG_ACTIONS[action]}'"
        f"{_LOSSES.get(action, '')}",
        value=word, suggestion="load the guest's driver i6300esb instead of xen_wdt",
    )  # fmt: skip
    return _WATCHDOG_ACTIONS[action]


def _pmu(guest: GuestConfig, facts: HostFacts, findings: Findings) -> bool | None:
    pmu = _chosen(guest, "vpmu")
    if pmu and facts.accelerator is not Accelerator.KVM:
        findings.no_meaning("vpmu", "an emulated processor has no performance counters", value="1")
        return None
    return pmu


def _acpi_table(guest: GuestConfig, findings: Findings) -> str:
    """The file of a licence (SLIC), the one kind of table that libvirt adds."""
    path = text(guest, "acpi_firmware")
    if not path:
        return ""
    if path.startswith("/") and "slic" in path.rpartition("/")[2].lower():
        findings.approximated(
            "acpi_firmware", "the file is added as one SLIC table", value=path, suggestion="it must hold no other table"
        )
        return path
    findings.no_meaning(
        "acpi_firmware", "libvirt adds a SLIC table alone, from a file that is named so", value=path,
        suggestion="the guest's own licence may need to be activated again",
    )  # fmt: skip
    return ""
