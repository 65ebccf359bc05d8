"""What follows the end of a domain, in the words that libvirt's QEMU driver takes. Pure.

It takes destroy and restart for every event, and preserve and the core dumps for a crash alone.
"""

from __future__ import annotations

from xmcompat.guest import EventAction, GuestConfig
from xmcompat.translate.findings import Findings

_TAKEN = (EventAction.DESTROY, EventAction.RESTART)
_TAKEN_FOR_CRASH = (*_TAKEN, EventAction.PRESERVE, EventAction.COREDUMP_DESTROY, EventAction.COREDUMP_RESTART)

#: What stands in for the others, and what is lost.
_INSTEAD = {
    EventAction.PRESERVE: (EventAction.DESTROY, "the domain goes; QEMU keeps nothing of it"),
    EventAction.RENAME_RESTART: (EventAction.DESTROY, "the domain goes and is not started again"),
    EventAction.COREDUMP_DESTROY: (EventAction.DESTROY, "no core is dumped"),
    EventAction.COREDUMP_RESTART: (EventAction.RESTART, "no core is dumped"),
    EventAction.SOFT_RESET: (EventAction.RESTART, "the machine is reset as a whole"),
}
_INSTEAD_FOR_CRASH = {
    EventAction.RENAME_RESTART: (EventAction.PRESERVE, "the crashed domain is kept, and none is started"),
    EventAction.SOFT_RESET: (EventAction.RESTART, "the machine is reset as a whole"),
}


def events(guest: GuestConfig, findings: Findings) -> tuple[str, str, str]:
    """libvirt's on_poweroff, on_reboot and on_crash."""
    poweroff = _ordinary("on_poweroff", guest.on_poweroff, findings)
    reboot = _ordinary("on_reboot", guest.on_reboot, findings)
    crash = guest.on_crash
    if crash not in _TAKEN_FOR_CRASH:
        crash, loss = _INSTEAD_FOR_CRASH[crash]
        _say("on_crash", guest.on_crash, crash, loss, findings)
    if (poweroff, reboot) == (EventAction.RESTART, EventAction.DESTROY):
        poweroff = EventAction.DESTROY
        findings.approximated(
            "on_poweroff",
            "libvirt cannot restart on power off and destroy on reboot; the domain is destroyed on both",
            value=guest.on_poweroff.value,
            suggestion="set on_reboot='restart' as well if it shall come back",
        )
    return poweroff.value, reboot.value, crash.value


def _ordinary(key: str, action: EventAction, findings: Findings) -> EventAction:
    if action in _TAKEN:
        return action
    instead, loss = _INSTEAD[action]
    _say(key, action, instead, loss, findings)
    return instead


def _say(key: str, action: EventAction, instead: EventAction, loss: str, findings: Findings) -> None:
    findings.approximated(key, f"'{instead.value}' stands in for it: {loss}", value=action.value)
