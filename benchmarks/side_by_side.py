"""What the benchmarks share: programs timed in turns, and guests that sleep while they are.

Not a program: ``listing.py`` and ``verbs.py`` import it, which run as scripts of this directory.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))

from tests.lab.guests import tick_xml  # noqa: E402
from xmcompat.backends.libvirt_kvm import connect  # noqa: E402

STARTERS = 2

#: Runs the program in its arguments and prints the most memory it held, in KiB. A process's account of that begins
#: with the memory of the one that started it, so that one has to be small.
MEASURE_MEMORY = """
import os, sys
null = os.open(os.devnull, os.O_WRONLY)
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)])
print(os.wait4(pid, 0)[2].ru_maxrss)
"""


class Cost(NamedTuple):
    """Of one process from its start to its end: milliseconds, and the most memory it held, in MiB."""

    milliseconds: float
    mebibytes: float


def environment(uri: str) -> dict[str, str]:
    """That of the programs which are timed."""
    environ = {**os.environ, "XMCOMPAT_URI": uri, "LC_ALL": "C.UTF-8"}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed xm is compiled
    return environ


def milliseconds(argv: Sequence[str], environ: dict[str, str]) -> float:
    """How long ARGV takes, its output thrown away. Raises CalledProcessError where it fails."""
    begun = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, cwd=CHECKOUT, env=environ, check=True)
    return (time.perf_counter() - begun) * 1000


def mebibytes(argv: Sequence[str], environ: dict[str, str]) -> float:
    """The most memory that ARGV holds."""
    measure = [sys.executable, "-I", "-S", "-c", MEASURE_MEMORY, *argv]
    done = subprocess.run(measure, stdout=subprocess.PIPE, cwd=CHECKOUT, env=environ, check=True)
    return int(done.stdout) / 1024


def in_turns(first: Callable[[], float], second: Callable[[], float], runs: int) -> tuple[float, float]:
    """The medians of RUNS runs of each, taken in turns after two that do not count."""
    times = [(first(), second()) for _ in range(runs + 2)][2:]
    return median(pair[0] for pair in times), median(pair[1] for pair in times)


def record(name: str) -> str:
    """The metadata of a guest NAME that xm has started."""
    form = f"(vm (name {name}) (memory 16) (vcpus 1) (on_reboot restart) (image (linux (kernel /boot/vmlinuz))))"
    started = f"source='/etc/xen/{name}' dialect='xm' started='1300000000.5'"
    return f"<x:guest xmlns:x='urn:xmcompat:guest:1' {started}>{form}</x:guest>"


def add_guests(uri: str, roms: Path, first: int, count: int) -> None:
    """Start COUNT sleeping guests, "guest0" and so on, a few at a time, with the metadata of xm's own."""

    def add(starter: int) -> None:
        hypervisor = connect(uri)
        for number in range(first + starter, first + count, STARTERS):
            name = f"guest{number}"
            hypervisor.create(tick_xml(name, roms, idle=True, metadata=record(name)))
        hypervisor.close()

    with ThreadPoolExecutor(STARTERS) as pool:
        list(pool.map(add, range(STARTERS)))
