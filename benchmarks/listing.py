#!/usr/bin/env python3
"""Time ``xm list`` against ``virsh list`` with 1, 20 and 100 running guests: whole processes, side by side.

    .venv/bin/python benchmarks/listing.py [--runs N] [--xm PROGRAM]

Needs root, libvirtd, virsh, QEMU and KVM. The guests run in a private libvirtd of their own and sleep, so that the
programs have the processors to themselves. The two programs take turns, so that what else happens on the machine
meets both. Exit status 1 when a bar is missed, by the medians.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from side_by_side import Cost, add_guests, environment, in_turns, mebibytes, milliseconds

from tests.lab.guests import write_roms
from xmcompat.backends.private_libvirtd import PrivateLibvirtd

#: How many guests, and how many times virsh's time xm may take.
BARS = {1: 3.0, 20: 3.0, 100: 1.0}


def compare(virsh: list[str], xm: list[str], environ: dict[str, str], runs: int) -> tuple[Cost, Cost]:
    """What virsh costs, and what xm costs."""
    theirs, ours = in_turns(lambda: milliseconds(virsh, environ), lambda: milliseconds(xm, environ), runs)
    return Cost(theirs, mebibytes(virsh, environ)), Cost(ours, mebibytes(xm, environ))


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
        environ = environment(private.uri)
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
