#!/usr/bin/env python3
"""Time the verbs of xm against virsh doing the same: whole processes, in turns, beside 20 guests that sleep.

    .venv/bin/python benchmarks/verbs.py [--runs N] [--xm PROGRAM]

Needs root, libvirtd, virsh, QEMU and KVM. The guests run in a private libvirtd of their own. Where xm tells of all
guests at once and virsh of one, virsh runs once with a command for each guest, which is the least it can cost.
Exit status 1 when a bar is missed, by the medians: 3 times virsh for each verb, its own time for those that tell of
all guests.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from side_by_side import add_guests, environment, in_turns, milliseconds

from tests.lab.guests import write_roms
from xmcompat.backends.private_libvirtd import PrivateLibvirtd

GUESTS = 20
ONE, BULK = 3.0, 1.0
#: What ``create`` and ``destroy`` are timed with.
NEW = "newcomer"


class Pair(NamedTuple):
    """A verb, the commands of virsh that do the same, and how many times their time it may take."""

    xm: tuple[str, ...]
    virsh: tuple[str, ...]
    bar: float


#: What an installed xm is.
LAUNCHER = "from xmcompat.xm.main import run; run()"

def for_each(command: str) -> tuple[str, ...]:
    """COMMAND of virsh for every guest, in one process."""
    return tuple(f"{command} guest{number};" for number in range(GUESTS))


def pairs() -> list[Pair]:
    one = "guest7"
    return [
        Pair(("list",), ("list", "--all"), ONE),
        Pair(("list", one), ("dominfo", one), ONE),
        Pair(("domid", one), ("domid", one), ONE),
        Pair(("domname", "8"), ("domname", "8"), ONE),
        Pair(("domstate", one), ("domstate", one), ONE),
        Pair(("uptime", one), ("dominfo", one), ONE),
        Pair(("info",), ("nodeinfo",), ONE),
        Pair(("vcpu-list", one), ("vcpuinfo", one), ONE),
        Pair(("sched-credit", "-d", one), ("schedinfo", one), ONE),
        Pair(("block-list", one), ("domblklist", one), ONE),
        Pair(("network-list", one), ("domiflist", one), ONE),
        Pair(("vtpm-list", one), ("dumpxml", one), ONE),
        Pair(("pci-list", one), ("dumpxml", one), ONE),
        Pair(("list", "--long", one), ("dumpxml", one), ONE),
        Pair(("list", "--long"), for_each("dumpxml"), BULK),
        Pair(("vcpu-list",), for_each("vcpuinfo"), BULK),
        Pair(("sched-credit",), for_each("schedinfo"), BULK),
        Pair(("uptime",), for_each("dominfo"), BULK),
    ]


class Programs(NamedTuple):
    """How xm and virsh are run."""

    xm: list[str]
    virsh: list[str]
    environ: dict[str, str]

    def time(self, pair: Pair, runs: int) -> tuple[float, float]:
        """Milliseconds of virsh and of xm."""
        virsh = [*self.virsh, " ".join(pair.virsh)] if pair.bar == BULK else [*self.virsh, *pair.virsh]
        return in_turns(
            lambda: milliseconds(virsh, self.environ), lambda: milliseconds([*self.xm, *pair.xm], self.environ), runs
        )


def there_and_back(programs: Programs, there: Pair, back: Pair, runs: int) -> Iterator[tuple[Pair, float, float]]:
    """A change and the one that undoes it, by both programs: each finds the host as the other has left it."""

    def xm(pair: Pair) -> float:
        return milliseconds([*programs.xm, *pair.xm], programs.environ)

    def virsh(pair: Pair) -> float:
        return milliseconds([*programs.virsh, *pair.virsh], programs.environ)

    times = [(virsh(there), virsh(back), xm(there), xm(back)) for _ in range(runs + 2)][2:]
    their_there, their_back, our_there, our_back = (median(column) for column in zip(*times, strict=True))
    yield there, their_there, our_there
    yield back, their_back, our_back


def creation(programs: Programs, directory: Path) -> tuple[Pair, Pair]:
    """``create`` and ``destroy`` of one guest: xm reads its configuration, and virsh the XML that xm made of it."""
    config, xml = directory / "newcomer.cfg", directory / "newcomer.xml"
    kernel = directory / "vmlinuz"
    kernel.write_bytes(bytes(0x1FE) + b"\x55\xaa\xeb\x62HdrS\x0d\x02" + bytes(0x211 - 0x208) + b"\x01" + bytes(65536))
    disk = directory / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    config.write_text(f"kernel = {str(kernel)!r}\nmemory = 32\nname = {NEW!r}\ndisk = ['file:{disk},xvda1,w']\nvif = []\n")
    create = Pair(("create", "-q", str(config)), ("create", str(xml)), ONE)
    destroy = Pair(("destroy", NEW), ("destroy", NEW), ONE)
    milliseconds([*programs.xm, *create.xm], programs.environ)
    dumped = subprocess.run(
        [*programs.virsh, "dumpxml", "--security-info", "--inactive", NEW], stdout=subprocess.PIPE, check=True
    )
    xml.write_bytes(dumped.stdout)
    milliseconds([*programs.xm, *destroy.xm], programs.environ)
    return create, destroy


def imports(environ: dict[str, str], runs: int) -> Iterator[str]:
    """What a start costs before anything is asked of the host, and what the modules of some verbs add."""
    bare = [sys.executable, "-c", "pass"]
    yield f"python alone {median(milliseconds(bare, environ) for _ in range(runs)):.1f} ms"
    for name, modules in (
        ("xm", "xmcompat.xm.main"),
        ("a listing", "xmcompat.xm.main, xmcompat.xm.listing, xmcompat.backends.libvirt_kvm"),
        ("creating", "xmcompat.xm.main, xmcompat.xm.create, xmcompat.creation, xmcompat.config.load, libvirt"),
    ):
        argv = [sys.executable, "-c", f"import {modules}"]
        yield f"with the modules of {name} {median(milliseconds(argv, environ) for _ in range(runs)):.1f} ms"


def main() -> int:
    parser = argparse.ArgumentParser(description="the verbs of xm against virsh")
    parser.add_argument("--runs", type=int, default=11, help="how often each program runs (default: 11)")
    parser.add_argument("--xm", help="the xm program to time (default: this checkout's)")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="xmbench-", dir="/tmp"))
    private = PrivateLibvirtd(directory / "n", name="bench", own_network=True)
    missed = 0

    def show(pair: Pair, theirs: float, ours: float) -> None:
        nonlocal missed
        late = ours > theirs * pair.bar
        missed += late
        words = " ".join(word.rpartition("/")[2] for word in pair.xm)
        against = f"virsh {pair.virsh[0].split()[0]}" + (" for each" if pair.bar == BULK else "")
        print(
            f"xm {words:<26} {against:<22} {theirs:>8.1f} {ours:>8.1f} {ours / theirs:>6.2f} {pair.bar:>4.1f}"
            + ("  MISSED" if late else ""), flush=True,
        )  # fmt: skip

    try:
        private.start()
        write_roms(directory)
        xm = [options.xm] if options.xm else [sys.executable, "-c", LAUNCHER]
        programs = Programs(xm, ["virsh", "-q", "-c", private.uri], environment(private.uri))
        add_guests(private.uri, directory, 0, GUESTS)
        print(f"{'verb':<29} {'against':<22} {'virsh ms':>8} {'xm ms':>8} {'ratio':>6} {'bar':>4}")
        for pair in pairs():
            show(pair, *programs.time(pair, options.runs))
        pause = Pair(("pause", "guest7"), ("suspend", "guest7"), ONE)
        unpause = Pair(("unpause", "guest7"), ("resume", "guest7"), ONE)
        for there, back in ((pause, unpause), creation(programs, directory)):
            for row in there_and_back(programs, there, back, options.runs):
                show(*row)
        for line in imports(programs.environ, options.runs):
            print(line)
    finally:
        private.stop()
        shutil.rmtree(directory, ignore_errors=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
