#!/usr/bin/env python3
"""Time xm save and xm restore beside virsh save and virsh restore of the same guest: whole programs, in turns, in one run.

    .venv/bin/python benchmarks/saving.py [--runs N] [--mib N]

Needs root, libvirtd, virsh and QEMU. The guest stands still, and its memory (huge pages) is filled with bytes that cannot
be made smaller. Both programs write files of one file system and read them: from its cache, as after a boot from its
disk, and at once after the save. xm also puts its header into the file, computes a checksum and makes sure of it.

The start of each program, its connection included, is measured and left out; the last column has it in. Of the runs that
counts which takes least, which makes a busy machine do; on a disk that is quick at some times only, as those of virtual
machines are, it takes many runs. Exit status 1 where the throughput of xm is less than virsh's.
"""

from __future__ import annotations

import argparse
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from huge_pages import backed, fill, positive, set_aside
from side_by_side import environment, milliseconds, record

from tests.lab.guests import tick_xml, write_roms
from xmcompat.backends.libvirt_kvm import connect
from xmcompat.backends.private_libvirtd import PrivateLibvirtd

MIB = 1 << 20
#: MiB of the guest besides what is filled, and in huge pages besides its memory.
OWN, MORE = 64, 16
NAME, HUGE = "bench", "huge"
LAUNCHER = "from xmcompat.xm.main import run; run()"
#: What virsh gives for 1; the least that xm may have of it.
BAR = 1.0
#: What an xm that saves or restores has done when it begins; virsh has loaded itself and is connected.
BEGIN = (
    "import os, xmcompat.xm.main, xmcompat.xm.saving, xmcompat.saving, xmcompat.backends.libvirt_kvm, xmcompat.backends."
    "libvirt_save_calls, xmcompat.backends.domain_xml_read, libvirt; libvirt.open(os.environ['XMCOMPAT_URI']).getURI()"
)
START = "start"
SAVE, AT_ONCE, WARM, COLD = "save", "restore, at once", "restore, cached", "restore, from disk"
#: In this order: a restore needs a save before it.
VERBS = (SAVE, COLD, SAVE, WARM, SAVE, AT_ONCE)


def memory_xml(directory: Path, mib: int) -> str:
    """The guest's XML: there is room for MIB of random bytes behind its first ones."""
    return backed(tick_xml(NAME, directory, kvm=False, idle=True, memory=(mib + OWN) * 1024, metadata=record(NAME)))


def main() -> int:
    parser = argparse.ArgumentParser(description="xm save and restore against virsh")
    parser.add_argument("--runs", type=positive, default=7, help="how often each program runs (default: 7)")
    parser.add_argument("--mib", type=positive, default=1024, help="the memory that is filled, in MiB (default: 1024)")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="xmsave-", dir="/tmp"))
    try:
        with set_aside(options.mib + OWN + MORE, directory / HUGE):
            return of_a_guest(directory, options.mib, options.runs)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def of_a_guest(directory: Path, mib: int, runs: int) -> int:
    node = PrivateLibvirtd(directory / "n", name="bench", own_network=True)
    try:
        node.start()
        write_roms(directory)
        hypervisor = connect(node.uri)
        hypervisor.create(memory_xml(directory, mib))
        hypervisor.close()
        fill(directory / HUGE, mib)
        return measure(node, directory, runs)
    finally:
        node.stop()


def measure(node: PrivateLibvirtd, directory: Path, runs: int) -> int:
    """Print the table; 1 where xm is behind."""
    file, environ = directory / "guest.save", environment(node.uri)
    starts = {"virsh": ["virsh", "-q", "-c", node.uri, "uri"], "xm": [sys.executable, "-c", BEGIN]}
    programs = {"virsh": ["virsh", "-q", "-c", node.uri], "xm": [sys.executable, "-c", LAUNCHER]}
    times: dict[tuple[str, str], list[float]] = {}
    size = 0
    for number in range(runs + 1):
        for name, program in programs.items():
            times.setdefault((START, name), []).append(milliseconds(starts[name], environ))
            for verb in VERBS:
                if verb == SAVE:
                    file.unlink(missing_ok=True)
                os.sync()  # what an earlier run has left to write is nobody's; the blocks of what has gone are free again
                if verb == COLD:
                    forget(file)
                elif verb == WARM:
                    read(file)
                have_memory(2 * size)
                words = ["save", NAME, str(file)] if verb == SAVE else ["restore", str(file)]
                took = milliseconds([*program, *words], environ)
                if number:
                    times.setdefault((verb, name), []).append(took)
                size = file.stat().st_size
            file.unlink()
    print(f"an image of {size / MIB:.0f} MiB on {filesystem(directory)}, the best of {runs}")
    print(f"{'':<18} {'virsh s':>8} {'MiB/s':>7} {'xm s':>8} {'MiB/s':>7} {'ratio':>6} {'all':>6}")
    behind = 0
    begun = {name: min(times[START, name]) for name in programs}
    print(f"{'start':<18} {begun['virsh'] / 1000:>8.2f} {'':>7} {begun['xm'] / 1000:>8.2f}   left out below")
    for verb in dict.fromkeys(VERBS):
        least = {name: min(times[verb, name]) for name in programs}
        theirs, ours = ((least[name] - begun[name]) / 1000 for name in programs)
        speeds = size / MIB / theirs, size / MIB / ours
        late = speeds[1] < speeds[0] * BAR
        behind += late
        print(
            f"{verb:<18} {theirs:>8.2f} {speeds[0]:>7.0f} {ours:>8.2f} {speeds[1]:>7.0f} {speeds[1] / speeds[0]:>6.2f} "
            f"{least['virsh'] / least['xm']:>6.2f}" + ("  MISSED" if late else "")
        )
    return 1 if behind else 0


def forget(file: Path) -> None:
    """Have none of FILE in the memory of this host, as after a boot."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def read(file: Path) -> None:
    """Have all of FILE in the memory of this host."""
    with open(file, "rb", buffering=0) as opened:
        while opened.read(MIB):
            continue


def have_memory(size: int) -> None:
    """Touch SIZE bytes and let go of them. Where this host is a guest itself, a page that was free for long takes time to
    come back; that would count for one program and not for the other."""
    if size:
        with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE):
            return


def filesystem(directory: Path) -> str:
    done = subprocess.run(["stat", "-f", "-c", "%T", str(directory)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
