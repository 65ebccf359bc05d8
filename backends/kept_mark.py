"""The mark of a domain that stays in the list after its end, or is just being started anew. Loaded by ``xm list``.

It is an element of its own in libvirt's metadata, so that what becomes of a domain is known to whoever asks libvirt,
whether a process of ours runs or not.
"""

from __future__ import annotations

from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.light import NamedTuple

#: Our element in a domain's metadata, and its prefix.
KEPT_URI, KEPT_PREFIX = "urn:xmcompat:kept:1", "xkept"

#: libvirt's numbers for why a domain is off.
_DESTROYED, _CRASHED, _MIGRATED, _SAVED, _FAILED = 2, 3, 4, 5, 6
_ENDED_BY_SOMEBODY = (_DESTROYED, _MIGRATED, _SAVED, _FAILED)


class Phase:
    """Where a marked domain is in its life (plain text: cheap to import and to compare)."""

    MAKING = "making"            # defined, not started yet
    RUNNING = "running"          # when it ends by itself, it stays in the list
    HALTED = "halted"            # it has ended and stays, whatever libvirt says
    CRASHED = "crashed"          # the same, after a crash
    DOOMED = "doomed"            # of one that runs: to be destroyed and built anew
    REBUILDING = "rebuilding"    # its definition is ready: to be started as soon as the old one is gone


class Mark(NamedTuple):
    """``domid`` is the id that it has, or had. ``managed``: it is known without the mark, too. ``keeps``: it is to
    stay after its end; ``crash_ends``: but not after a crash. ``cause`` is why it is to be destroyed ("reboot"),
    ``copy`` the uuid under which the old domain is to stay as well, "" for none. ``since`` is Unix time; ``boot`` tells
    which run of the host it is of, "" where that is not known."""

    phase: str
    domid: int | None = None
    managed: bool = False
    keeps: bool = True
    crash_ends: bool = False
    cause: str = ""
    copy: str = ""
    since: float = 0.0
    boot: str = ""


def write(mark: Mark) -> str:
    """As an element of no namespace, in the way in which libvirt takes it."""
    flags = (("managed", mark.managed), ("keeps", mark.keeps), ("crash_ends", mark.crash_ends))
    words = [("phase", mark.phase), *((name, "yes" if on else "no") for name, on in flags)]
    if mark.domid is not None:
        words.append(("domid", str(mark.domid)))
    words += [(name, value) for name, value in (("cause", mark.cause), ("copy", mark.copy), ("boot", mark.boot)) if value]
    words.append(("since", f"{mark.since:.3f}"))
    return f"<kept {' '.join(f'{name}={chr(34)}{value}{chr(34)}' for name, value in words)}/>"


def read(text: str) -> Mark | None:
    """From the element as libvirt gives it back; None where somebody has spoilt it."""
    domid, phase = _word(text, "domid"), _word(text, "phase")
    if not phase:
        return None
    try:
        since = float(_word(text, "since") or 0)
    except ValueError:
        since = 0.0
    is_id = domid.isascii() and domid.isdecimal() and len(domid) < 11
    return Mark(
        phase, int(domid) if is_id else None, _word(text, "managed") == "yes",
        _word(text, "keeps") != "no", _word(text, "crash_ends") == "yes", _word(text, "cause"), _word(text, "copy"), since,
        _word(text, "boot"),
    )  # fmt: skip


def _word(text: str, name: str) -> str:
    """The value of an attribute, whatever its quotes are."""
    found = text.partition(f" {name}=")[2]
    return found[1:].partition(found[0])[0] if found else ""


def shown(info: DomainInfo, mark: Mark, reason: int, boot: str = "") -> DomainInfo | None:
    """A marked domain that is off, as xm shows it; None for what is left of one that somebody has ended, or that was
    there before the host was started anew: Xen keeps no domain over that.

    REASON is libvirt's number for why it is off; it forgets that when it is started anew, and then it stays shown.
    BOOT tells which run of the host this is, "" where that is not known.
    """
    if mark.boot and boot and mark.boot != boot:
        return info if mark.managed else None
    phase = mark.phase
    if phase == Phase.RUNNING and reason not in _ENDED_BY_SOMEBODY:
        phase = Phase.HALTED if reason != _CRASHED else "" if mark.crash_ends else Phase.CRASHED
    state = {
        Phase.HALTED: DomainState.DEAD, Phase.CRASHED: DomainState.CRASHED, Phase.REBUILDING: DomainState.DYING,
    }.get(phase)  # fmt: skip
    if state is not None:
        return info._replace(domid=mark.domid, state=state)
    return info if mark.managed else None


def this_boot(path: str = "/proc/sys/kernel/random/boot_id") -> str:
    """What tells this run of the host from all others; "" where the kernel does not."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""
