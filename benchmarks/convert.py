#!/usr/bin/env python3
"""Time the conversion of guest configurations: 1,000 in one process, and one from the shell.

    .venv/bin/python benchmarks/convert.py [--count N] [--runs N]

Needs neither root nor libvirtd. The configurations are those of the corpus, over and over. virsh cannot be set beside
it: it converts Xen's files only on a Xen host. Exit status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))

#: Conversions a second, at least; seconds for one from the shell, and MiB that the second half may add, at most.
BAR_RATE = 200
BAR_SHELL = 0.25
BAR_GROWTH = 2.0

_CONFIG = """
kernel = '/boot/vmlinuz-2.6.32-5-xen-amd64'
ramdisk = '/boot/initrd.img-2.6.32-5-xen-amd64'
vcpus = '1'
memory = '256'
root = '/dev/xvda2 ro'
disk = ['phy:/dev/vg0/web1-disk,xvda2,w', 'phy:/dev/vg0/web1-swap,xvda1,w']
name = 'web1'
vif = ['ip=192.0.2.10,mac=00:16:3E:12:34:56']
on_poweroff = 'destroy'
on_reboot = 'restart'
on_crash = 'restart'
"""


def resident() -> float:
    """MiB that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def sources() -> list[tuple[str, bytes]]:
    """Every configuration of the corpus that can be converted."""
    from xmcompat.errors import XmError

    found = []
    for path in sorted((CHECKOUT / "tests" / "corpus").rglob("*")):
        if path.suffix in (".cfg", ".xl", ".sxp") and path.with_suffix(".xml").exists():
            try:
                convert(path.name, path.read_bytes())
            except XmError:
                continue  # it needs words of a command line
            found.append((path.name, path.read_bytes()))
    return found


def convert(name: str, data: bytes) -> str:
    """One file, to libvirt's XML."""
    from xmcompat.backends.domain_xml import render
    from xmcompat.backends.facts import HostFacts
    from xmcompat.backends.machine import Accelerator
    from xmcompat.config.read import offline_host, read
    from xmcompat.translate.machine import missing_macs, translate

    facts = HostFacts(accelerator=Accelerator.KVM, local=False)
    texts = []
    for document in read(data, name, host=offline_host()):
        macs = ["00:16:3e:00:00:01"] * missing_macs(document.guest)
        texts.append(render(translate(document.guest, facts, macs=macs).machine))
    return "".join(texts)


def many(count: int) -> tuple[float, float]:
    """(conversions a second, MiB added by the second half) of COUNT conversions in this process."""
    files = sources()
    begun = time.process_time()
    halfway = 0.0
    for number in range(count):
        if number == count // 2:
            gc.collect()
            halfway = resident()
        convert(*files[number % len(files)])
    spent = time.process_time() - begun
    gc.collect()
    return count / spent, resident() - halfway


def shell(runs: int) -> float:
    """Seconds that one conversion takes from the shell, the median of RUNS."""
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program is compiled
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as file:
        file.write(_CONFIG)
        file.flush()
        command = [sys.executable, "-m", "xmcompat.tool", "convert", file.name]
        times = []
        for _ in range(runs + 2):
            begun = time.perf_counter()
            subprocess.run(command, env=environ, capture_output=True, check=True)
            times.append(time.perf_counter() - begun)
    return median(times[2:])


def main() -> int:
    parser = argparse.ArgumentParser(description="conversion of guest configurations")
    parser.add_argument("--count", type=int, default=1000, help="conversions in one process (default: 1000)")
    parser.add_argument("--runs", type=int, default=11, help="runs from the shell (default: 11)")
    options = parser.parse_args()
    rate, growth = many(options.count)
    seconds = shell(options.runs)
    rows = (
        ("conversions a second, one process", f"{rate:.0f}", f"at least {BAR_RATE}", rate >= BAR_RATE),
        ("MiB added by the second half", f"{growth:.1f}", f"at most {BAR_GROWTH}", growth <= BAR_GROWTH),
        ("one from the shell, seconds", f"{seconds:.3f}", f"under {BAR_SHELL}", seconds < BAR_SHELL),
    )
    for what, figure, bar, met in rows:
        print(f"{what:<36} {figure:>8}   {bar}{'' if met else '  MISSED'}")
    return 0 if all(met for *_, met in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
