#!/usr/bin/env python3
"""Time xm migrate --live beside virsh migrate --live of the same guest, and emptying a host: whole programs, in one run.

    .venv/bin/python benchmarks/migration.py [--runs N] [--mib N] [--rate RATE] [--guests N] [--clear]

Needs root, libvirtd, virsh and QEMU. Two hosts in namespaces, a link of RATE (1gbit) between them; both programs encrypt
the guest's memory (not so with --clear) and go by the same stand-in for ssh, so that both pay for reaching the other
host, xm once more for its own words. The guest has MIB (1024) of bytes that cannot be made smaller, in huge pages, and
says on its console ten times a second that it runs: the longest silence, less the usual one, is what it stood still. It
goes there and back, by each program in turns. xm asks both hosts first, sets up the guest's interfaces there, and asks
both again. Exit status 1 where xm takes more than 1.05 of virsh's time, by the medians, or its guest stands still for
more than 0.05 s longer.

Then GUESTS (8) small ones go by xmcompat evacuate, one after the other and four at a time.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from huge_pages import backed, fill, positive, set_aside
from side_by_side import CHECKOUT

from tests.e2e.moving_hosts import MIGRATION, settle
from tests.lab.far_shell import far_shell
from tests.lab.guests import tick_xml
from tests.lab.hosts import Hosts, MovingHost, eventually

#: MiB of the guest besides what is filled, and in huge pages besides its memory here and there.
OWN, MORE = 64, 16
NAME = "bench"
#: What virsh gives for 1, and seconds by which the guest may stand still for longer.
BAR, STILL = 1.05, 0.05
#: Has xm know of no certificates for QEMU.
NO_PKI = 'pki = "/nowhere"\n'


class Run(NamedTuple):
    """Seconds: of the program, and of the guest's longest silence, less the usual one."""

    took: float
    still: float


class Ear(threading.Thread):
    """Listens to a guest's console: when its log grew."""

    def __init__(self, log: Path) -> None:
        super().__init__(daemon=True)
        self._log = log
        self._over = threading.Event()
        self.grew: list[float] = []
        self.start()

    def run(self) -> None:
        size = -1
        while not self._over.is_set():
            now = self._log.stat().st_size
            if now != size:
                self.grew.append(time.monotonic())
                size = now
            time.sleep(0.002)

    def silence(self) -> float:
        """The longest one, less the usual one, in seconds."""
        time.sleep(0.5)
        self._over.set()
        self.join()
        gaps = [after - before for before, after in zip(self.grew, self.grew[1:], strict=False)]
        return max(gaps) - median(gaps)


def main() -> int:
    parser = argparse.ArgumentParser(description="xm migrate --live against virsh")
    parser.add_argument("--runs", type=positive, default=3, help="how often it goes there and back by each (default: 3)")
    parser.add_argument("--mib", type=positive, default=1024, help="the memory that is filled, in MiB (default: 1024)")
    parser.add_argument("--rate", default="1gbit", help="the link between the hosts (default: 1gbit)")
    parser.add_argument("--clear", action="store_true", help="the guest's memory is not encrypted")
    parser.add_argument("--guests", type=positive, default=8, help="guests of the host that is emptied (default: 8)")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="xmmove-", dir="/tmp"))
    huge = directory / "huge"
    try:
        with set_aside(2 * (options.mib + OWN) + MORE, huge):
            return between_hosts(Hosts(directory / "m", 2), huge, options)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def between_hosts(hosts: Hosts, huge: Path, options: argparse.Namespace) -> int:
    try:
        with far_shell(hosts) as shell:
            for host in hosts.nodes:
                settle(host, MIGRATION.format(program=shell.program) + (NO_PKI if options.clear else ""))
            behind = one_guest(hosts, huge, str(shell.program), options)
            many_guests(hosts, options.guests)
            return behind
    finally:
        hosts.close()


def memory_xml(hosts: Hosts, mib: int, log: Path) -> str:
    """The guest's XML: there is room for MIB of random bytes behind its first ones."""
    return backed(tick_xml(NAME, hosts.shared, kvm=False, memory=(mib + OWN) * 1024, log=log, bridges=["xenbr0"]))


def one_guest(hosts: Hosts, huge: Path, shell: str, options: argparse.Namespace) -> int:
    runs, mib, rate = options.runs, options.mib, options.rate
    log = hosts.shared / "bench.log"
    hosts.nodes[0].hypervisor.create(memory_xml(hosts, mib, log))
    fill(huge, mib)
    hosts.slow(rate)
    eventually(lambda: log.exists() and log.read_bytes().count(b"TICK ") > 5, 30.0, what="the guest counts")
    found: dict[str, list[Run]] = {"virsh": [], "xm": []}
    one, two = hosts.nodes
    for number in range(runs + 1):
        for program in found:
            for source, target in ((one, two), (two, one)):
                run = timed(log, source, words(program, target, shell, clear=options.clear))
                found[program] += [run] if number else []
    hosts.clear()
    took = {program: median(run.took for run in runs_of) for program, runs_of in found.items()}
    still = {program: median(run.still for run in runs_of) for program, runs_of in found.items()}
    print(f"{mib} MiB over {rate}, medians of {2 * runs}")
    print(f"{'':<6} {'s':>7} {'stood still s':>14}")
    for program in found:
        print(f"{program:<6} {took[program]:>7.2f} {still[program]:>14.3f}")
    late = took["xm"] > BAR * took["virsh"] or still["xm"] > still["virsh"] + STILL
    print(f"ratio  {took['xm'] / took['virsh']:>7.3f}{'  MISSED' if late else ''}")
    return 1 if late else 0


def words(program: str, target: MovingHost, shell: str, *, clear: bool) -> Sequence[str]:
    """The command by which PROGRAM moves the guest; its memory is encrypted, unless it goes in CLEAR."""
    if program == "xm":
        return [sys.executable, "-c", "from xmcompat.xm.main import run; run()", "migrate", "--live", NAME, target.name]
    uri = f"qemu+ssh://{target.name}/system?no_tty=1&command={shell}"
    encrypted = [] if clear else ["--tls"]
    return [
        "virsh", "-q", "migrate", "--live", "--p2p", "--unsafe", *encrypted, NAME, uri, "--migrateuri", target.migrate_uri,
    ]  # fmt: skip


def timed(log: Path, source: MovingHost, argv: Sequence[str]) -> Run:
    ear = Ear(log)
    begun = time.monotonic()
    done = run(source, argv)
    took = time.monotonic() - begun
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}: {done.stdout}{done.stderr}")
    return Run(took, ear.silence())


def run(source: MovingHost, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """ARGV on the host SOURCE, compiled as an installed program is."""
    return subprocess.run(
        source.enter(argv, env=source.program_env(), cwd=CHECKOUT), capture_output=True, text=True, check=False
    )  # fmt: skip


def many_guests(hosts: Hosts, number: int) -> None:
    one, two = hosts.nodes
    for index in range(number):
        one.hypervisor.create(tick_xml(f"web{index}", hosts.shared, kvm=False, idle=True))
    for source, target, parallel in ((one, two, "1"), (two, one, "4")):
        argv = [sys.executable, "-m", "xmcompat.tool", "evacuate", "localhost", "--to", target.name, "--parallel", parallel]
        begun = time.monotonic()
        done = run(source, argv)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        print(f"evacuating {number} guests, {parallel} at a time: {time.monotonic() - begun:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
