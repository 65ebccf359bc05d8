"""What ``xm top`` shows, line by line. Pure.

Source: columns, their widths and order, and the lines of details are those of xentop, Xen 4.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from xmcompat.backends.counters import DiskCounters, NicCounters, Picture, Usage
from xmcompat.render.node import VERSION
from xmcompat.render.state import letters
from xmcompat.vdev import vdev_number

NAME_WIDTH = 10
SECTOR = 512
#: Places of ``letters`` in the order in which xentop has them: dying, shut down, blocked, crashed, paused, running.
_LETTERS = (5, 3, 1, 4, 2, 0)
_VCPUS_A_LINE = 5
#: A number from here on has a major of its own scheme, which says nothing.
_EXTENDED = 1 << 28


class Form(NamedTuple):
    """What is shown, and how. ``column`` is the one that rows are sorted by, None: by id."""

    full_names: bool = False
    networks: bool = False
    disks: bool = False
    vcpus: bool = False
    repeat_header: bool = False
    column: int | None = None


class Column(NamedTuple):
    """``text`` is what stands in it; rows are sorted by ``rank``, smallest first."""

    title: str
    width: int
    text: Callable[[Usage, int], str]
    rank: Callable[[Usage], object]


def _total(of_nics: Callable[[NicCounters], int]) -> Callable[[Usage], int]:
    return lambda usage: sum(map(of_nics, usage.nics)) // 1024


def _of_disks(of_disk: Callable[[DiskCounters], int]) -> Callable[[Usage], int]:
    return lambda usage: sum(map(of_disk, usage.disks))


def _number(title: str, width: int, value: Callable[[Usage], int]) -> Column:
    return Column(title, width, lambda usage, _memory: str(value(usage)), lambda usage: -value(usage))


def _share(kibibytes: int, memory: int) -> str:
    return f"{100 * kibibytes / memory:.1f}" if memory else "0.0"


def _limit(usage: Usage) -> int:
    """KiB, and more than any for a domain without a limit."""
    return -1 if usage.max_memory is None else usage.max_memory


def _limited(text: Callable[[int, int], str], otherwise: str) -> Callable[[Usage, int], str]:
    return lambda usage, memory: otherwise if usage.max_memory is None else text(usage.max_memory, memory)


COLUMNS: tuple[Column, ...] = (
    Column("NAME", NAME_WIDTH, lambda usage, _memory: usage.info.name, lambda usage: usage.info.name),
    Column("STATE", 6, lambda usage, _memory: state(usage), lambda usage: [char == "-" for char in state(usage)]),
    _number("CPU(sec)", 10, lambda usage: usage.info.cpu_time // 10**9),
    Column("CPU(%)", 6, lambda usage, _memory: f"{usage.cpu_percent:.1f}", lambda usage: -usage.cpu_percent),
    _number("MEM(k)", 10, lambda usage: usage.info.memory),
    Column("MEM(%)", 6, lambda usage, memory: _share(usage.info.memory, memory), lambda usage: -usage.info.memory),
    Column("MAXMEM(k)", 10, _limited(lambda most, _memory: str(most), "no limit"), lambda usage: -_limit(usage)),
    Column("MAXMEM(%)", 9, _limited(_share, "n/a"), lambda usage: -_limit(usage)),
    _number("VCPUS", 5, lambda usage: usage.info.vcpus),
    _number("NETS", 4, lambda usage: len(usage.nics)),
    _number("NETTX(k)", 8, _total(lambda nic: nic.tx_bytes)),
    _number("NETRX(k)", 8, _total(lambda nic: nic.rx_bytes)),
    _number("VBDS", 4, lambda usage: len(usage.disks)),
    _number("VBD_OO", 8, lambda _usage: 0),  # QEMU is never out of requests
    _number("VBD_RD", 8, _of_disks(lambda disk: disk.reads)),
    _number("VBD_WR", 8, _of_disks(lambda disk: disk.writes)),
    _number("VBD_RSECT", 10, _of_disks(lambda disk: disk.read_bytes // SECTOR)),
    _number("VBD_WSECT", 10, _of_disks(lambda disk: disk.written_bytes // SECTOR)),
    _number("SSID", 4, lambda _usage: 0),
)  # fmt: skip


def next_column(column: int | None) -> int | None:
    """The one to sort by after COLUMN; behind the last comes the id again."""
    following = 0 if column is None else column + 1
    return following if following < len(COLUMNS) else None


def state(usage: Usage) -> str:
    """Six letters in xentop's order."""
    known = letters(usage.info.state) or "------"
    return "".join(known[place] for place in _LETTERS)


def name_width(usages: Iterable[Usage], form: Form) -> int:
    """Of the column of names, which only full names make wider."""
    longest = max((len(usage.info.name) for usage in usages), default=0) if form.full_names else 0
    return max(NAME_WIDTH, longest)


def ordered(usages: Iterable[Usage], form: Form) -> list[Usage]:
    """By the column of FORM: names upwards, numbers downwards. Equal ones are by id."""
    by_id = sorted(usages, key=lambda usage: usage.info.domid or 0)
    if form.column is None:
        return by_id
    rank = COLUMNS[form.column].rank
    return sorted(by_id, key=lambda usage: rank(usage))  # type: ignore[arg-type,return-value]


# -- lines


def header(width: int) -> str:
    """The titles, where names have WIDTH columns."""
    return " ".join(f"{column.title:>{_width(column, width)}}" for column in COLUMNS)


def header_place(column: int, width: int) -> tuple[int, int]:
    """Where the title of a COLUMN begins, and how many places it has."""
    widths = [_width(one, width) for one in COLUMNS]
    return sum(widths[:column]) + column, widths[column]


def _width(column: Column, names: int) -> int:
    return names if column.title == "NAME" else column.width


def row(usage: Usage, memory: int, width: int) -> str:
    """One domain, of a host with MEMORY KiB. A name is cut to WIDTH columns; no number is."""
    cells = []
    for column in COLUMNS:
        text, places = column.text(usage, memory), _width(column, width)
        cells.append(f"{text[:places] if column.title == 'NAME' else text:>{places}}")
    return " ".join(cells)


def block(usage: Usage, memory: int, width: int, form: Form) -> list[str]:
    """The row of a domain, and the details that FORM asks for beneath it."""
    lines = [row(usage, memory, width)]
    if form.vcpus:
        lines += _vcpus(usage.vcpus)
    if form.networks:
        lines += [_nic(number, nic) for number, nic in enumerate(usage.nics)]
    if form.disks:
        lines += [_disk(disk) for disk in usage.disks]
    return lines


def _vcpus(vcpus: Sequence[tuple[int, int]]) -> list[str]:
    cells = [f" {number:>2}: {time_spent // 10**9:>10}s" for number, time_spent in vcpus]
    pieces = ["".join(cells[first : first + _VCPUS_A_LINE]) for first in range(0, len(cells), _VCPUS_A_LINE)] or [""]
    return [f"VCPUs(sec): {pieces[0]}", *(f"        {piece}" for piece in pieces[1:])]


def _nic(number: int, nic: NicCounters) -> str:
    rx = f"{nic.rx_bytes:>8}bytes {nic.rx_packets:>8}pkts {nic.rx_errors:>8}err {nic.rx_drops:>8}drop"
    tx = f"{nic.tx_bytes:>8}bytes {nic.tx_packets:>8}pkts {nic.tx_errors:>8}err {nic.tx_drops:>8}drop"
    return f"Net{number} RX: {rx}  TX: {tx}"


def _disk(disk: DiskCounters) -> str:
    """Its number is that of the Xen device whose place it has: vda's is that of xvda."""
    target = disk.target
    number = vdev_number(f"x{target}" if target.startswith("vd") else target) or 0
    major, minor = (number >> 8, number & 255) if number < _EXTENDED else (0, 0)
    return (
        f"VBD BlkBack {number:>4} [{major:>2x}:{minor:>2x}]  OO: {0:>8}   RD: {disk.reads:>8}   WR: {disk.writes:>8}"
        f"  RSECT: {disk.read_bytes // SECTOR:>10}  WSECT: {disk.written_bytes // SECTOR:>10}"
    )


def batch(picture: Picture, form: Form) -> str:
    """One look as ``xentop -b`` prints it: titles and rows."""
    usages = ordered(picture.usages, form)
    width = name_width(usages, form)
    titles = header(width)
    lines = [] if form.repeat_header and usages else [titles]
    for usage in usages:
        lines += [titles] if form.repeat_header else []
        lines += block(usage, picture.memory, width, form)
    return "\n".join(lines) + "\n"


def summary(picture: Picture, clock: str) -> list[str]:
    """The three lines above the table: the CLOCK's time, how many domains there are in which state, and the host."""
    shown = [state(usage) for usage in picture.usages]
    words = {"running": "r", "blocked": "b", "paused": "p", "crashed": "c", "dying": "d", "shutdown": "s"}
    counts = ", ".join(f"{sum(letter in text for text in shown)} {word}" for word, letter in words.items())
    version = ".".join(VERSION[:2]) + VERSION[2]
    return [
        f"xentop - {clock}   Xen {version}",
        f"{len(shown)} domains: {counts}",
        f"Mem: {picture.memory}k total, {picture.memory - picture.free}k used, {picture.free}k free    "
        f"CPUs: {picture.cpus} @ {picture.mhz}MHz",
    ]
