"""What follows the end of a domain, in the words that libvirt's QEMU driver takes. Pure."""

from __future__ import annotations

from typing import NamedTuple

from xmcompat.guest import EventAction, GuestConfig
from xmcompat.notes import Fate, Note

A = EventAction

#: What libvirt 9.0 takes for on_poweroff and on_reboot; the others have the nearest that leaves nothing running.
_ENDS = {A.DESTROY: "destroy", A.RESTART: "restart"}
_NEAREST_END = {
    A.PRESERVE: "destroy", A.RENAME_RESTART: "restart", A.COREDUMP_DESTROY: "destroy", A.COREDUMP_RESTART: "restart",
    A.SOFT_RESET: "restart",
}  # fmt: skip
_CRASHES = {
    A.DESTROY: "destroy", A.RESTART: "restart", A.PRESERVE: "preserve", A.COREDUMP_DESTROY: "coredump-destroy",
    A.COREDUMP_RESTART: "coredump-restart",
}  # fmt: skip
_NEAREST_CRASH = {A.RENAME_RESTART: "preserve", A.SOFT_RESET: "restart"}


class Events(NamedTuple):
    on_poweroff: str
    on_reboot: str
    on_crash: str
    notes: tuple[Note, ...]


def translate_events(guest: GuestConfig) -> Events:
    """The three actions. Those that libvirt refuses become the nearest one, with a note."""
    notes: list[Note] = []

    def choose(key: str, exact: dict[EventAction, str], nearest: dict[EventAction, str]) -> str:
        action: EventAction = getattr(guest, key)
        if action in exact:
            return exact[action]
        notes.append(_note(guest, key, f"'{action.value}' cannot be had on KVM yet; it is '{nearest[action]}'"))
        return nearest[action]

    poweroff = choose("on_poweroff", _ENDS, _NEAREST_END)
    reboot = choose("on_reboot", _ENDS, _NEAREST_END)
    crash = choose("on_crash", _CRASHES, _NEAREST_CRASH)
    if (poweroff, reboot) == ("restart", "destroy"):
        notes.append(_note(guest, "on_poweroff", "'restart' does not go with on_reboot 'destroy'; it is 'destroy'"))
        poweroff = "destroy"
    return Events(poweroff, reboot, crash, tuple(notes))


def _note(guest: GuestConfig, key: str, reason: str) -> Note:
    return Note(
        key=key, fate=Fate.APPROXIMATED, reason=reason, value=getattr(guest, key).value, path=guest.source or None,
        line=guest.lines.get(key),
    )  # fmt: skip
