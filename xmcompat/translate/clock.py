"""The guest's clock and timers. Pure."""

from __future__ import annotations

from xmcompat.backends.machine import Clock, Timer
from xmcompat.guest import Dialect, GuestConfig, GuestKind
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import flag, text

#: xl's names of the timer modes; xm counts them.
_TIMER_MODES = {
    "delay_for_missed_ticks": "0", "no_delay_for_missed_ticks": "1", "no_missed_ticks_pending": "2",
    "one_missed_tick_pending": "3",
}  # fmt: skip
_CATCH_UP = (Timer(name="rtc", tickpolicy="catchup"), Timer(name="pit", tickpolicy="delay"))
_TIMERS = {"2": (Timer(name="pit", tickpolicy="discard"),), "3": (Timer(name="pit", tickpolicy="delay"),)}


def clock(guest: GuestConfig, findings: Findings, *, hyperv: bool = False) -> Clock:
    """UTC or local time, shifted by rtc_timeoffset seconds; ticks that are caught up; no HPET unless asked for.

    HYPERV adds the clock that Windows reads from Hyper-V.
    """
    hvm = guest.kind is GuestKind.HVM
    mode = text(guest, "timer_mode") if hvm else ""
    timers = _TIMERS.get(_TIMER_MODES.get(mode, mode), _CATCH_UP)
    hpet = hvm and flag(guest, "hpet", guest.dialect is Dialect.XL)
    timers = (*timers, Timer(name="hpet", present=hpet))
    if hyperv:
        timers = (*timers, Timer(name="hypervclock", present=True))
    basis = "localtime" if guest.localtime else "utc"
    if not hvm and (guest.localtime or guest.rtc_timeoffset):
        findings.approximated(
            "localtime" if guest.localtime else "rtc_timeoffset",
            "the guest reads its time from an emulated clock chip once, when it boots",
            suggestion="run NTP in the guest",
        )
    if guest.rtc_timeoffset:
        return Clock(offset="variable", adjustment=guest.rtc_timeoffset, basis=basis, timers=timers)
    return Clock(offset=basis, timers=timers)
