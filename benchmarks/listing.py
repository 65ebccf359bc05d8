#!/usr/bin/env python3
"""Time ``xm list`` against ``virsh list`` with 1, 20 and 100 running guests: whole processes, side by side.

    .venv/bin/python benchmarks/listing.py [--runs N] [--xm PROGRAM]

Needs root, libvirtd, virsh, QEMU and KVM. The guests run in a private libvirtd of their own and sleep, so that the
programs have the processors to themselves. The two programs take turns, so that what else happens on the machine
meets both. Exit status 1 when a bar is missed, by the medians.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))

from tests.lab.guests import tick_xml, write_roms  # noqa: E402
from xmcompat.backends.libvirt_kvm import connect  # noqa: E402
from xmcompat.backends.private_libvirtd import PrivateLibvirtd  # noqa: E402

#: How many guests, and how many times virsh's time xm may take.
BARS = {1: 3.0, 20: 3.0, 100: 1.0}
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


def milliseconds(argv: list[str], environ: dict[str, str]) -> float:
    """How long ARGV takes, its output thrown away. Raises CalledProcessError where it fails."""
    begun = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, cwd=CHECKOUT, env=environ, check=True)
    return (time.perf_counter() - begun) * 1000


def mebibytes(argv: list[str], environ: dict[str, str]) -> float:
    """The most memory that ARGV holds."""
    measure = [sys.executable, "-I", "-S", "-c", MEASURE_MEMORY, *argv]
    done = subprocess.run(measure, stdout=subprocess.PIPE, cwd=CHECKOUT, env=environ, check=True)
    return int(done.stdout) / 1024


def add_guests(uri: str, roms: Path, first: int, count: int) -> None:
    """Start COUNT sleeping guests, a few at a time."""

    def add(starter: int) -> None:
        hypervisor = connect(uri)
        for number in range(first + starter, first + count, STARTERS):
            hypervisor.create(tick_xml(f"guest{number}", roms, idle=True))
        hypervisor.close()

    with ThreadPoolExecutor(STARTERS) as pool:
        list(pool.map(add, range(STARTERS)))


def compare(virsh: list[str], xm: list[str], environ: dict[str, str], runs: int) -> tuple[Cost, Cost]:
    """The medians of RUNS runs of each, taken in turns after two that do not count."""
    times = [(milliseconds(virsh, environ), milliseconds(xm, environ)) for _ in range(runs + 2)][2:]
    theirs = Cost(median(pair[0] for pair in times), mebibytes(virsh, environ))
    return theirs, Cost(median(pair[1] for pair in times), mebibytes(xm, environ))


def main() -> int:
    parser = argparse.ArgumentParser(description="xm list against virsh list")
    parser.add_argument("--runs", type=int, default=31, help="how often each program runs (default: 31)")
    parser.add_argument("--xm", help="the xm program to time (default: this checkout's)")
    options = parser.parse_args()
    xm = [options.xm] if options.xm else [sys.executable, "-m", "xmcompat.xm"]
    directory = Path(tempfile.mkdtemp(prefix="xmbench-", dir="/tmp"))
    private = PrivateLibvirtd(directory / "n", name="bench", own_network=True)
    missed = 0
    try:
        private.start()
        write_roms(directory)
        environ = {**os.environ, "XMCOMPAT_URI": private.uri, "LC_ALL": "C.UTF-8"}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed xm is compiled
        virsh = ["virsh", "-c", private.uri, "list"]
        print("guests  virsh ms     xm ms   ratio     bar  virsh MiB  xm MiB")
        started = 0
        for guests, bar in BARS.items():
            add_guests(private.uri, directory, started, guests - started)
            started = guests
            theirs, ours = compare(virsh, [*xm, "list"], environ, options.runs)
            ratio = ours.milliseconds / theirs.milliseconds
            verdict = "" if ratio <= bar else "  MISSED"
            missed += bool(verdict)
            print(
                f"{guests:>6} {theirs.milliseconds:>9.1f} {ours.milliseconds:>9.1f} {ratio:>7.2f} {bar:>7.1f} "
                f"{theirs.mebibytes:>10.1f} {ours.mebibytes:>7.1f}{verdict}",
                flush=True,
            )
    finally:
        private.stop()
        shutil.rmtree(directory, ignore_errors=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
