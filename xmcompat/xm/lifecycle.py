"""``xm pause``, ``unpause``, ``destroy``, ``shutdown``, ``reboot``: verbs that change whether a domain runs."""

from __future__ import annotations

import sys

from xmcompat.backends.hypervisor import DomainInfo
from xmcompat.errors import XmError
from xmcompat.toolstack import Toolstack
from xmcompat.xm.options import Words


def pause(words: Words) -> int:
    """``xm pause DOMAIN``; silent for one that is paused already."""
    with Toolstack.open() as toolstack:
        toolstack.pause(words.operands[0])
    return 0


def unpause(words: Words) -> int:
    """``xm unpause DOMAIN``; silent for one that runs."""
    with Toolstack.open() as toolstack:
        toolstack.unpause(words.operands[0])
    return 0


def destroy(words: Words) -> int:
    """``xm destroy DOMAIN``: it is gone when this returns."""
    with Toolstack.open() as toolstack:
        toolstack.destroy(words.operands[0])
    return 0


def shutdown(words: Words) -> int:
    """``xm shutdown [-waRH] DOMAIN``: ask the guest to end; with -w, return when it has ended."""
    return _end(words, reboot=words.has("reboot"))


def reboot(words: Words) -> int:
    """``xm reboot [-wa] DOMAIN``: the same as ``xm shutdown -R``."""
    return _end(words, reboot=True)


def _end(words: Words, *, reboot: bool) -> int:
    if reboot and words.has("halt"):
        raise XmError("Can't specify halt and reboot")
    reason = "reboot" if reboot else "halt" if words.has("halt") else "poweroff"
    with Toolstack.open() as toolstack:
        if words.has("all"):
            asked = toolstack.shutdown_all(reason, on_wait=_say_waiting)
        else:
            asked = [toolstack.shutdown(_single(words.operands), reason=reason, on_wait=_say_waiting)]
        if words.has("wait"):
            _wait(toolstack, asked, reboot=reboot)
    return 0


def _single(operands: list[str]) -> str:
    if not operands:
        raise XmError("No domain parameter given")
    if len(operands) > 1:
        raise XmError("No multiple domain parameters allowed")
    return operands[0]


def _wait(toolstack: Toolstack, infos: list[DomainInfo], *, reboot: bool) -> None:
    if reboot:
        toolstack.wait_rebooted(infos, _say_rebooted)
    else:
        toolstack.wait_gone(infos, lambda info: _say(f"Domain {info.name} terminated"))
    _say("All domains rebooted" if reboot else "All domains terminated")


def _say_rebooted(info: DomainInfo, rebooted: bool) -> None:
    _say(f"Domain {info.name} {'rebooted' if rebooted else 'destroyed for failing to reboot'}")


def _say_waiting(info: DomainInfo) -> None:
    sys.stderr.write(f"'{info.name}' is being saved; it is asked when its disks are copied\n")


def _say(line: str) -> None:
    """At once: whoever waits for it may read a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
