"""Does a transfer come to its end, and what is done where it does not? Judged from libvirt's figures alone. Pure.

A guest that changes its memory as fast as it can be copied is never over: each pass leaves as much as the one before.
Source: QEMU stops a guest for what remains once that takes no longer than the downtime that is allowed.

Differs from xm: Xen 4.1 gave each guest some thirty passes and stopped it then, however much remained ("stop" is nearest).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xmcompat.backends.migration import MigrationPhase, Progress

MIB = 1 << 20
#: Passes after the first by which it is judged.
PASSES = 4
#: Parts of what is copied that the guest changes, and of what remained two passes ago, from which on it is not getting on.
_CHANGED, _REMAINS = 0.8, 0.7
#: Seconds after the deadline in which memory begins to be copied: only then can what else is wanted than giving up be done.
_BEGINNING = 10.0


class Policy:
    """Words for what becomes of a guest whose transfer does not come to its end; those of the settings file."""

    AUTO_CONVERGE = "auto-converge"  # QEMU slows it down, as much as that takes
    POST_COPY = "post-copy"          # it runs there, and fetches what it lacks
    STOP = "stop"                    # it is paused here for the rest
    GIVE_UP = "give-up"              # it runs on here


class Act:
    """Words for what is to be done now."""

    KEEP = "keep"
    TO_POSTCOPY = "to post-copy"
    PAUSE = "pause"
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """``why`` is a sentence for the operator, "" where there is nothing to tell."""

    act: str = Act.KEEP
    why: str = ""


class Course:
    """The figures of one transfer as they come, one of each pass. What is not KEEP is decided once, and told once."""

    def __init__(self, policy: str, deadline: float) -> None:
        """DEADLINE is in seconds from the transfer's beginning."""
        self._policy = policy
        self._deadline = deadline
        self._passes: tuple[Progress, ...] = ()
        self._acted = False
        self._told = False

    def decided(self, progress: Progress) -> Decision:
        """What is to be done, PROGRESS being the latest."""
        self._passes = with_latest(self._passes, progress)
        if self._acted:
            return Decision()
        found = decision(self._passes, progress, self._policy, self._deadline)
        if found.act == Act.KEEP and found.why:
            told, self._told = self._told, True
            return Decision() if told else found
        self._acted = found.act != Act.KEEP
        return found


def with_latest(passes: tuple[Progress, ...], progress: Progress) -> tuple[Progress, ...]:
    """The last PASSES of the passes over memory, the first aside, each with the most that was seen to remain in it."""
    if progress.phase != MigrationPhase.MEMORY or progress.iteration < 2:
        return passes
    if passes and passes[-1].iteration == progress.iteration:
        most = max(passes[-1].remaining, progress.remaining)
        return (*passes[:-1], progress._replace(remaining=most))
    return (*passes[-PASSES:], progress)[-PASSES:]


def is_stuck(passes: Sequence[Progress]) -> bool:
    """Whether the PASSES show a guest that changes its memory faster than what remains of it becomes less."""
    if len(passes) < PASSES:
        return False
    changed = all(one.dirty_rate >= _CHANGED * one.memory_rate > 0 for one in passes)
    half = PASSES // 2
    before = max(one.remaining for one in passes[:half])
    return changed and max(one.remaining for one in passes[half:]) >= _REMAINS * before


def decision(passes: Sequence[Progress], progress: Progress, policy: str, deadline: float) -> Decision:
    """What is to be done of a transfer by POLICY; it is to be over DEADLINE seconds after its beginning."""
    if progress.phase not in (MigrationPhase.SETUP, MigrationPhase.DISKS, MigrationPhase.MEMORY):
        return Decision()
    late = progress.elapsed >= deadline
    stuck = is_stuck(passes)
    if not late and not stuck:
        return Decision()
    why = _why_stuck(passes[-1]) if stuck else f"it is not over after {deadline:.0f} s"
    if policy == Policy.POST_COPY and progress.phase == MigrationPhase.MEMORY and progress.processed > 0:
        return Decision(act=Act.TO_POSTCOPY, why=f"{why}: it goes on there, and fetches the rest")
    if policy == Policy.STOP and progress.phase != MigrationPhase.SETUP:
        return Decision(act=Act.PAUSE, why=f"{why}: it is paused for the rest")
    if policy in (Policy.POST_COPY, Policy.STOP) and _begins(progress) and progress.elapsed < deadline + _BEGINNING:
        return Decision()
    if late:
        return Decision(act=Act.GIVE_UP, why=f"{why}: it is given up")
    return Decision(why=f"{why}{': it is slowed down' if policy == Policy.AUTO_CONVERGE else ''}")


def _begins(progress: Progress) -> bool:
    """Whether nothing has been copied yet."""
    return progress.phase == MigrationPhase.SETUP or (progress.phase == MigrationPhase.MEMORY and progress.processed == 0)


def _why_stuck(one: Progress) -> str:
    return (
        f"the guest changes {one.dirty_rate / MIB:.1f} MiB of its memory a second, "
        f"and {one.memory_rate / MIB:.1f} MiB can be copied"
    )


def seconds_left(progress: Progress) -> float | None:
    """How long it takes yet if all stays as it is; None where that cannot be told, or it would not end."""
    memory = max(progress.remaining - progress.disk_remaining, 0)
    disks = _seconds(progress.disk_remaining, progress.disk_rate)
    changed = progress.dirty_rate if progress.iteration > 1 else 0
    copied = _seconds(memory, progress.memory_rate - changed)
    return None if disks is None or copied is None else disks + copied


def _seconds(size: int, rate: int) -> float | None:
    if size <= 0:
        return 0.0
    return size / rate if rate > 0 else None
