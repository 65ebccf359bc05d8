"""The state of a domain in Xen's words: six letters, and a number. Pure; loaded by ``xm list``."""

from __future__ import annotations

from xmcompat.backends.hypervisor import DomainState

#: Positions: running, blocked, paused, shut down, crashed, dying. A domain that is off has no letters.
LETTERS = {
    DomainState.RUNNING: "r-----",
    DomainState.BLOCKED: "-b----",
    DomainState.PAUSED: "--p---",
    DomainState.SHUTDOWN: "r-----",  # still ending; Xen's "s" is for one that has ended
    DomainState.CRASHED: "----c-",
    DomainState.DYING: "-----d",
    DomainState.DEAD: "---s--",
    DomainState.SHUTOFF: "",
    DomainState.SUSPENDED: "",
}

#: The word for ``xm list --state`` and the number of ``(status N)``.
HALTED, PAUSED, RUNNING, SUSPENDED, CRASHED = ("halted", 0), ("paused", 1), ("running", 2), ("suspended", 3), ("crashed", 5)
_POWER = {
    DomainState.RUNNING: RUNNING,
    DomainState.BLOCKED: RUNNING,
    DomainState.PAUSED: PAUSED,
    DomainState.SHUTDOWN: RUNNING,
    DomainState.CRASHED: CRASHED,
    DomainState.DYING: RUNNING,
    DomainState.DEAD: HALTED,
    DomainState.SHUTOFF: HALTED,
    DomainState.SUSPENDED: SUSPENDED,
}


def letters(state: str) -> str:
    """The six letters; "" for a domain that is off, "------" for a state that has no word."""
    return LETTERS.get(state, "------")


def power_word(state: str) -> str:
    return _POWER.get(state, RUNNING)[0]


def power_number(state: str) -> int:
    return _POWER.get(state, RUNNING)[1]


def state_word(state: str, *, by_admin: bool) -> str:
    """The word of ``xm domstate``; "" for a domain that runs, for which xm prints nothing at all."""
    shown = letters(state)
    words = {"s": "shutoff", "b": "idle", "d": "shutdown", "c": "crashed", "p": "paused by admin" if by_admin else "paused"}
    return next((words[letter] for letter in words if letter in shown), "") if shown else "shutoff"
