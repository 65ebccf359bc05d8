"""Clocks and timers. Pure."""

from __future__ import annotations

from xmcompat.backends.machine import Clock, Timer
from xmcompat.guest import Dialect, GuestConfig, GuestKind


def translate_clock(guest: GuestConfig) -> Clock:
    """The real-time clock as the guest saw it, and the timers of a PC that serve old guests best.

    xm gives no HPET unless asked; xl gives one to guests that boot by BIOS.
    """
    hvm = guest.kind is GuestKind.HVM
    default = 1 if hvm and guest.dialect is Dialect.XL else 0
    hpet = bool(guest.options.get("hpet", default)) and hvm
    timers = (
        Timer(name="rtc", tickpolicy="catchup"),
        Timer(name="pit", tickpolicy="delay"),
        Timer(name="hpet", present=hpet),
    )
    basis = "localtime" if guest.localtime else "utc"
    if guest.rtc_timeoffset:
        return Clock(offset="variable", adjustment=guest.rtc_timeoffset, basis=basis, timers=timers)
    return Clock(offset=basis, timers=timers)
