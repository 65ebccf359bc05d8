"""The tables of ``xm``, byte for byte: columns are padded, never cut. Pure; loaded by ``xm list``."""

from __future__ import annotations

from xmcompat.render.state import letters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xmcompat.backends.hypervisor import DomainInfo

LIST_HEADER = f"{'Name':<40} {'ID':>5} {'Mem':>5} {'VCPUs':>5} {'State':>10} {'Time(s)':>9}"


def list_table(infos: Iterable[DomainInfo], labels: Sequence[str] | None = None) -> str:
    """``xm list``: header and rows. With LABELS, one for each domain, a column more.

    Mem is in MiB, Time(s) in seconds, one column left of its header as with xm. ID and State of a halted domain
    are blank.
    """
    lines = [LIST_HEADER if labels is None else f"{LIST_HEADER} {'Label':<10}"]
    for index, info in enumerate(infos):
        line = (
            f"{info.name:<40} {_shown(info.domid):>5} {info.memory // 1024:>5} {info.vcpus:>5} "
            f"{letters(info.state):>10} {info.cpu_time / 1e9:>8.1f}"
        )
        lines.append(line if labels is None else f"{line} {labels[index]:>10}")
    return "\n".join(lines) + "\n"


def uptime_table(rows: Iterable[tuple[DomainInfo, float]]) -> str:
    """``xm uptime``: domains with the seconds they have been up. The header ends in a blank."""
    lines = [f"{'Name':<33} {'ID':>4} Uptime "]
    for info, seconds in rows:
        days, hours, minutes, rest = _split(seconds)
        up = f"{_days(days)}{hours:>2}:{minutes:02}:{rest:02}"
        lines.append(f"{info.name:<32} {_shown(info.domid):>5} {up}")
    return "\n".join(lines) + "\n"


def uptime_lines(rows: Iterable[tuple[DomainInfo, float]], clock: str) -> str:
    """``xm uptime --short``: a line for each domain, with the time of day CLOCK ("HH:MM:SS")."""
    lines = []
    for info, seconds in rows:
        days, hours, minutes, _ = _split(seconds)
        up = f"{_days(days)}{hours:>2}:{minutes:02}"
        lines.append(f" {clock} up {up}, {info.name} ({_shown(info.domid)})\n")
    return "".join(lines)


def _shown(domid: int | None) -> str:
    return "" if domid is None else str(domid)


def _split(seconds: float) -> tuple[int, int, int, int]:
    """Days, hours, minutes, seconds; rounded to the nearest second, a half up."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return days, hours, minutes, rest


def _days(days: int) -> str:
    if not days:
        return ""
    return f"{days} day, " if days == 1 else f"{days} days, "
