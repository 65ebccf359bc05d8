"""What follows the end of a domain, in the words that libvirt's QEMU driver takes. Pure.

It takes destroy and restart for every event, and preserve and the core dumps for a crash alone; and it cannot restart on
power off where it destroys on reboot. What it does by itself loses no guest; xend, while it runs, does the rest.
"""

from __future__ import annotations

from xmcompat.guest import EventAction, GuestConfig
from xmcompat.translate.findings import Findings

DESTROY, RESTART, PRESERVE = EventAction.DESTROY, EventAction.RESTART, EventAction.PRESERVE
_TAKEN = (DESTROY, RESTART)

#: Where the core of a crashed guest is written.
DUMPS = "libvirt's auto_dump_path (/var/lib/libvirt/qemu/dump, where qemu.conf says nothing else)"

_STAYS = "the domain stays in the list until xm destroy, its memory does not"
_WHILE_XEND_RUNS = "the domain is reset in place; while xend runs, it gets a new id, and the old one is kept beside it"

#: What stands in for the others, and what is different then.
_INSTEAD = {
    EventAction.PRESERVE: (DESTROY, _STAYS),
    EventAction.RENAME_RESTART: (RESTART, _WHILE_XEND_RUNS),
    EventAction.COREDUMP_DESTROY: (DESTROY, "no core is dumped, as with xend"),
    EventAction.COREDUMP_RESTART: (RESTART, "no core is dumped, as with xend"),
    EventAction.SOFT_RESET: (RESTART, "the machine is reset as a whole"),
}
_INSTEAD_FOR_CRASH = {action: _INSTEAD[action] for action in (EventAction.RENAME_RESTART, EventAction.SOFT_RESET)}

#: With xend's enable-dump.
_DUMPED = {DESTROY: EventAction.COREDUMP_DESTROY, RESTART: EventAction.COREDUMP_RESTART}


def is_kept(guest: GuestConfig) -> bool:
    """Whether the domain stays in the list when it goes off by itself."""
    return PRESERVE in (guest.on_poweroff, guest.on_reboot)


def events(guest: GuestConfig, findings: Findings, *, dump_crashes: bool = False) -> tuple[str, str, str]:
    """libvirt's on_poweroff, on_reboot and on_crash."""
    poweroff = _ordinary("on_poweroff", guest.on_poweroff, findings)
    reboot = _ordinary("on_reboot", guest.on_reboot, findings)
    if (poweroff, reboot) == (RESTART, DESTROY):
        reboot = RESTART
        findings.approximated(
            "on_reboot",
            "libvirt cannot restart on power off and end on reboot; 'restart' stands in for it, and only while xend runs "
            "is the domain ended",
            value=guest.on_reboot.value,
            suggestion="set on_poweroff='destroy' as well if it shall end in any case",
        )
    elif (poweroff, reboot) == (DESTROY, DESTROY) and is_kept(guest) and guest.on_poweroff is not guest.on_reboot:
        key, other = ("on_reboot", guest.on_reboot) if guest.on_poweroff is PRESERVE else ("on_poweroff", guest.on_poweroff)
        findings.approximated(
            key, "libvirt does not tell a power off from a reboot then: the domain stays in the list after both",
            value=other.value, suggestion="xm destroy removes it",
        )  # fmt: skip
    return poweroff.value, reboot.value, _crash(guest, findings, dump_crashes).value


def _crash(guest: GuestConfig, findings: Findings, dump: bool) -> EventAction:
    wish = guest.on_crash
    crash, change = _INSTEAD_FOR_CRASH.get(wish, (wish, ""))
    if dump and crash in _DUMPED:
        crash = _DUMPED[crash]
        findings.approximated(
            "on_crash", f"'{crash.value}' stands in for it, for xend's enable-dump is set; the core goes to {DUMPS}"
            + (f"; {change}" if change else ""), value=wish.value, harmless=not change,
        )  # fmt: skip
    elif change:
        _say("on_crash", wish, crash, change, findings)
    elif crash in _DUMPED.values():
        findings.carried("on_crash", f"the core goes to {DUMPS}", value=wish.value)
    elif dump and crash is PRESERVE:
        findings.carried("on_crash", "xend's enable-dump adds nothing: xm dump-core writes its memory", value=wish.value)
    return crash


def _ordinary(key: str, action: EventAction, findings: Findings) -> EventAction:
    if action in _TAKEN:
        return action
    instead, change = _INSTEAD[action]
    _say(key, action, instead, change, findings)
    return instead


def _say(key: str, action: EventAction, instead: EventAction, change: str, findings: Findings) -> None:
    findings.approximated(key, f"'{instead.value}' stands in for it: {change}", value=action.value)
