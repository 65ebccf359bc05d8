"""How a transfer goes, in one line for a terminal. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xmcompat.backends.migration import Progress

_MIB = 1 << 20
_PHASES = {
    "setup": "making ready", "disks": "copying disks", "memory": "copying memory", "switch": "handing over",
    "postcopy": "runs there, fetching the rest", "completed": "moved", "failed": "failed", "cancelled": "given up",
}  # fmt: skip


def progress_line(name: str, host: str, progress: Progress, *, width: int = 0) -> str:
    """The line for the domain NAME that goes to HOST, cut to WIDTH characters (0: not at all).

    What libvirt does not know yet is left out.
    """
    words = [f"{name} -> {host}: {_PHASES.get(progress.phase, progress.phase)}"]
    if _sizes(progress)[0]:
        words.append(f"{percent(progress)} %, {mebibytes(_sizes(progress)[1])} left")
    if progress.iteration > 1:
        words.append(f"pass {progress.iteration}")
    rate = progress.memory_rate + progress.disk_rate
    words += [f"{mebibytes(rate)}/s"] if rate else []
    words += [f"guest changes {mebibytes(progress.dirty_rate)}/s"] if progress.dirty_rate else []
    words += [f"guest slowed by {progress.throttle} %"] if progress.throttle else []
    words += [f"expected downtime {progress.downtime} ms"] if progress.downtime >= 0 else []
    line = ", ".join(words)
    return line[:width] if width else line


def percent(progress: Progress) -> int:
    """How much of it is over there."""
    total, left = _sizes(progress)
    return max(0, min(100, (total - left) * 100 // total)) if total else 0


def _sizes(progress: Progress) -> tuple[int, int]:
    """Bytes of all, and of what is left."""
    return progress.total or progress.disk_total, progress.remaining or progress.disk_remaining


def mebibytes(size: int) -> str:
    """SIZE in bytes: "3.5 MiB" below ten of them, "350 MiB" above."""
    return f"{size / _MIB:.1f} MiB" if size < 10 * _MIB else f"{size // _MIB} MiB"
