#!/usr/bin/env python3
"""Time the host's end of interfaces: 200 on one bridge, with a filter and a limit, beside libvirt's own.

    .venv/bin/python benchmarks/vifs.py [--vifs N]

Needs root, libvirtd, virsh, QEMU and KVM. Everything is in the network namespace of a private libvirtd. The taps are there
before ours are timed; libvirt makes its own, at the plugging of an interface into a running guest.
Exit status 1 when the last 20 take more than 1.5 times as long as the first 20, each way, or ours longer than libvirt's
with a filter.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from side_by_side import environment, milliseconds

from tests.lab.guests import tick_xml, write_roms
from tests.lab.inside import inside
from xmcompat.backends.libvirt_kvm import connect
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.network import port, sweep
from xmcompat.network.steps import take
from xmcompat.network.wanted import Port, Rate

BRIDGE, GUEST = "xenbr0", "guest0"
EDGE, GROWTH = 20, 1.5
#: How many libvirt plugs in before its guest is full, at most.
THEIRS = 6


def wanted(number: int) -> Port:
    """With everything that a port can have: 10 Mbit/s each way."""
    rate = Rate(speed=1_250_000, burst=62_500)
    return Port(
        device=f"vif{number}.0", mac=mac(number), bridge=BRIDGE, isolated=True, altnames=(f"guest{number}.0",),
        addresses=(f"10.0.{number // 256}.{number % 256}", f"2001:db8::{number:x}"), sending=rate, receiving=rate,
    )  # fmt: skip


def mac(number: int) -> str:
    return f"00:16:3e:00:{number >> 8:02x}:{number & 0xFF:02x}"


def make_taps(count: int) -> None:
    lines = "".join(
        f"tuntap add dev vif{n}.0 mode tap\nlink set vif{n}.0 address fe{mac(n)[2:]} master {BRIDGE} up\n"
        for n in range(1, count + 1)
    )
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


def ours(count: int) -> tuple[list[float], list[float], float]:
    """Milliseconds of each coming, each going (the tap goes before), and of a look for debris among all."""
    make_taps(count)
    comings = [timed(lambda n=n: take(port.up(wanted(n)))) for n in range(1, count + 1)]  # type: ignore[misc]
    looking = timed(sweep.debris)
    goings = []
    for number in range(1, count + 1):
        subprocess.run(["ip", "tuntap", "del", "dev", f"vif{number}.0", "mode", "tap"], check=True)
        goings.append(timed(lambda n=number: take(port.down(wanted(n)))))  # type: ignore[misc]
    return comings, goings, looking


def theirs(private: PrivateLibvirtd, directory: Path, filtered: bool) -> list[float]:
    """Milliseconds of each interface that virsh plugs into the guest."""
    rule = "<filterref filter='clean-traffic'><parameter name='IP' value='10.0.0.1'/></filterref>" if filtered else ""
    found = []
    for number in range(THEIRS):
        xml = directory / "nic.xml"
        xml.write_text(
            f"<interface type='bridge'><source bridge='{BRIDGE}'/><mac address='{mac(1000 + number + THEIRS * filtered)}'/>"
            f"<target dev='lv{number + THEIRS * filtered}'/><model type='virtio'/>{rule}</interface>"
        )
        argv = ["virsh", "-q", "-c", private.uri, "attach-device", GUEST, str(xml), "--live"]
        found.append(milliseconds(argv, environment(private.uri)))
    return found


def show(what: str, times: list[float]) -> None:
    middle = f"{times[len(times) // 2 - 1]:8.1f}"
    numbers = f"{times[0]:8.1f} {middle} {times[-1]:8.1f} {median(times):8.1f} {sum(times):9.0f}"
    print(f"{what:<34} {len(times):>5} {numbers}", flush=True)


def growth(what: str, times: list[float]) -> int:
    """1 where the last take too much longer than the first."""
    ratio = median(times[-EDGE:]) / median(times[:EDGE])
    missed = ratio > GROWTH
    late = "  MISSED" if missed else ""
    print(f"{what}: the last {EDGE} take {ratio:.2f} times as long as the first {EDGE} (bar {GROWTH}){late}")
    return int(missed)


def main() -> int:
    parser = argparse.ArgumentParser(description="the host's end of interfaces")
    parser.add_argument("--vifs", type=int, default=200, help="how many there are in the end (default: 200)")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="xmbench-", dir="/tmp"))
    private = PrivateLibvirtd(directory / "n", name="bench", own_network=True, bridges=[BRIDGE])
    try:
        private.start()
        write_roms(directory)
        hypervisor = connect(private.uri)
        hypervisor.create(tick_xml(GUEST, directory, idle=True))
        hypervisor.close()
        pid = private.pid
        assert pid is not None
        plain, filtered = theirs(private, directory, False), theirs(private, directory, True)
        gc.disable()
        comings, goings, looking = inside(pid, lambda: ours(options.vifs))
    finally:
        private.stop()
        shutil.rmtree(directory, ignore_errors=True)
    print(f"{'ms for each':<34} {'vifs':>5} {'first':>8} {'middle':>8} {'last':>8} {'median':>8} {'total':>9}")
    show("virsh attach-device", plain)
    show("virsh attach-device, clean-traffic", filtered)
    show("ours: filter, limits, names", comings)
    show("ours: back", goings)
    print(f"a look for debris among {options.vifs}: {looking:.1f} ms")
    missed = growth("coming", comings) + growth("going", goings)
    if median(comings) > median(filtered):
        missed += 1
        print("ours take longer than libvirt's with a filter  MISSED")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
