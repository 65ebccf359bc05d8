#!/usr/bin/env python3
"""Time what guests read and write through each source of disks, against the same QEMU started by hand, in turns.

    sudo .venv/bin/python benchmarks/storage.py [--rounds N] [--only SOURCE] [--place DIR]

Four guests for each source, each with a disk of its own that was made in the same way: one that ``xm create`` has started,
and three of QEMU alone, with all the options that libvirt has given to the first one but those of its monitor. Two of the
three are in the control groups of the first one, and differ from each other as far as the same differs from itself in this
run; the last is in none, which shows what libvirt's groups cost. The guest does one request after the other, without a
driver, cache or scheduler of its own (``tests/lab/io_guest.py``), under TCG: what is measured is QEMU, the host, and what
was put between.

Exit status 1 when a bar is missed: 5% more time, beyond what the two of QEMU alone differ by; a second more for
``xm create`` than with a plain file. Each act is short and done often, and the tenth that took least counts.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

from side_by_side import CHECKOUT, environment

from tests.lab.io_guest import IoGuest, terminal, write_kernel
from xmcompat.backends.libvirt_kvm import connect
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.storage.composite import Composite, Part, assemble, release, socket_owner

BAR, ASSEMBLE = 1.05, 1.0
MIB = 1 << 20
SIZE = 96
#: What the guests do: their letter, how many requests, and where (a sector, or a mask of requests' numbers). Each takes
#: some milliseconds alone, in which most are left in peace by whatever else runs.
ACTS: dict[str, tuple[str, int, int]] = {
    "read 1 MiB": ("r", 64, 2048), "write 1 MiB": ("w", 64, 2048), "read 4 KiB": ("R", 300, 16383),
    "write 4 KiB": ("W", 300, 16383),
}  # fmt: skip
#: The guest of ``xm create``, the two of QEMU alone in its groups, and the one in none.
SIDES = ("xm", "alone", "again", "free")
IQN, PORT = "iqn.2010-01.com.example:", 13260
#: What libvirt alone needs: its monitor, the key of its secrets, and to say when the guest starts.
_LIBVIRTS = ("socket,id=charmonitor", "chardev=charmonitor", '{"qom-type":"secret"')


class Lab(NamedTuple):
    """Where everything happens."""

    node: PrivateLibvirtd
    place: Path
    kernel: Path
    stack: ExitStack

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A program in the node."""
        environ = environment(self.node.uri)
        shown = {name: environ[name] for name in ("XMCOMPAT_URI", "LC_ALL")} | {"XMCOMPAT_ACCELERATOR": "tcg"}
        command = self.node.enter(list(words), cwd=self.place, env={**shown, "PYTHONPATH": str(CHECKOUT)})
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if check and done.returncode:
            raise SystemExit(f"{' '.join(words)}: {done.stderr or done.stdout}")
        return done

    def xm(self, *words: str) -> float:
        """Seconds that ``xm WORDS`` takes."""
        begun = time.perf_counter()
        self.run(sys.executable, "-m", "xmcompat.xm", *words)
        return time.perf_counter() - begun

    def serve(self, *words: str) -> None:
        """Have a server run in the node until the end."""
        _started(self.node.enter(list(words)), self.stack)

    def until(self, *words: str) -> None:
        """Run a program again and again until it does not fail."""
        end = time.monotonic() + 20
        while self.run(*words, check=False).returncode:
            if time.monotonic() > end:
                self.run(*words)
            time.sleep(0.1)


def _started(words: list[str], stack: ExitStack) -> subprocess.Popen[str]:
    """A process that runs until STACK is left, with all that entered the node with it."""
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
    )  # fmt: skip
    stack.callback(process.wait)
    stack.callback(os.killpg, process.pid, signal.SIGKILL)
    return process


#: Of a source: makes the disk of a side, and returns what a configuration and QEMU's options call it.
Source = Callable[[Lab, str], tuple[list[str], list[str]]]


def image(driver: str, prefix: str) -> Source:
    """A file of the format DRIVER."""

    def made(lab: Lab, side: str) -> tuple[list[str], list[str]]:
        path = lab.place / f"{driver}-{side}.img"
        lab.run("qemu-img", "create", "-q", "-f", driver, str(path), f"{SIZE}M")
        return [f"{prefix}:{path},xvda,w"], [str(path)]

    return made


def loop(lab: Lab, side: str) -> tuple[list[str], list[str]]:
    """A block device."""
    path = lab.place / f"loop-{side}.img"
    with open(path, "wb") as file:
        file.truncate(SIZE * MIB)
    device = subprocess.run(["losetup", "--show", "-f", path], capture_output=True, text=True, check=True).stdout.strip()
    lab.stack.callback(subprocess.run, ["losetup", "-d", device], check=True)
    return [f"phy:{device},xvda,w"], [device]


def nbd(lab: Lab, side: str) -> tuple[list[str], list[str]]:
    """A server of NBD for each."""
    path, port = lab.place / f"nbd-{side}.img", str(PORT + 1 + SIDES.index(side))
    with open(path, "wb") as file:
        file.truncate(SIZE * MIB)
    lab.serve("qemu-nbd", "-t", "-f", "raw", "-x", f"disk-{side}", "-b", "127.0.0.1", "-p", port, str(path))
    lab.until("qemu-img", "info", f"nbd://127.0.0.1:{port}/disk-{side}")
    return [f"nbd:127.0.0.1:{port}:exportname=disk-{side},xvda,w"], [port, f"disk-{side}"]


def iscsi(lab: Lab, side: str) -> tuple[list[str], list[str]]:
    """A target for each, at one tgtd."""
    number, control, name = str(SIDES.index(side) + 1), str(os.getpid() % 30000), IQN + side
    tell = ("tgtadm", "-C", control, "--lld", "iscsi")
    if number == "1":
        lab.serve("tgtd", "-f", "-C", control, "--iscsi", f"portal=127.0.0.1:{PORT}")
        lab.until(*tell, "--mode", "sys", "--op", "show")
    path = lab.place / f"iscsi-{side}.img"
    with open(path, "wb") as file:
        file.truncate(SIZE * MIB)
    lab.run(*tell, "--mode", "target", "--op", "new", "--tid", number, "-T", name)
    lab.run(*tell, "--mode", "logicalunit", "--op", "new", "--tid", number, "--lun", "1", "-b", str(path))
    lab.run(*tell, "--mode", "target", "--op", "bind", "--tid", number, "-I", "ALL")
    return [f"iscsi://127.0.0.1:{PORT}/{name}/1,xvda,w"], [name]


def joined(lab: Lab, side: str) -> tuple[list[str], list[str]]:
    """Two files as partitions of one disk, which a process of xmcompat's serves to each of them."""
    paths = [lab.place / f"part{number}-{side}.img" for number in (1, 3)]
    for path in paths:
        with open(path, "wb") as file:
            file.truncate(SIZE * MIB // 2)
    words = [f"file:{path},xvda{number},w" for number, path in zip((1, 3), paths, strict=True)]
    if side == "xm":
        return words, []  # its socket has the number of its domain
    composite = Composite(f"{lab.place}/joined/{side}", side, (Part(1, str(paths[0])), Part(3, str(paths[1]))))
    assemble(composite, socket_owner())
    lab.stack.callback(release, composite)
    return words, [composite.socket]


SOURCES: dict[str, Source] = {
    "raw file": image("raw", "file"), "qcow2": image("qcow2", "tap:qcow2"), "vpc (vhd)": image("vpc", "tap:vhd"),
    "vmdk": image("vmdk", "tap:vmdk"), "block device": loop, "NBD": nbd, "iSCSI": iscsi, "joined": joined,
}  # fmt: skip


def qemu_of(name: str) -> tuple[int, list[str]]:
    """The process of a domain, and its words."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue  # it has ended
        if any(word.startswith(f"guest={name},") for word in words):
            return int(path.parent.name), words[:-1]
    raise SystemExit(f"there is no QEMU of {name}")


def join_groups(theirs: int, ours: int) -> None:
    """Put the threads of the process OURS into the control groups that the like of them have in the process THEIRS."""
    threads = os.listdir(f"/proc/{theirs}/task")
    groups = {_name(theirs, thread): f"/proc/{theirs}/task/{thread}/cgroup" for thread in threads}
    mounts = [line.split()[1:4] for line in Path("/proc/self/mounts").read_text().splitlines() if " cgroup" in line]
    places = {option: place for place, kind, options in mounts if kind == "cgroup" for option in options.split(",")}
    whole = next((place for place, kind, _ in mounts if kind == "cgroup2"), "")
    for thread in os.listdir(f"/proc/{ours}/task"):
        file = Path(groups.get(_name(ours, thread), f"/proc/{theirs}/cgroup"))
        for _, controllers, path in (line.split(":", 2) for line in file.read_text().splitlines()):
            place = places.get(controllers.split(",")[0]) if controllers else None
            if place:
                Path(f"{place}{path}/tasks").write_text(thread)
            elif not controllers and whole and not places:
                Path(f"{whole}{path}/../cgroup.procs").write_text(str(ours))
                Path(f"{whole}{path}/cgroup.threads").write_text(thread)


def _name(process: int, thread: str) -> str:
    """That of the thread of a vcpu is "CPU 0/TCG"."""
    return Path(f"/proc/{process}/task/{thread}/comm").read_text().strip()


def by_hand(words: list[str], old: list[str], new: list[str]) -> list[str]:
    """QEMU for the disk that NEW tells, with the options of the one whose words are WORDS, for a disk that OLD tells."""
    kept = [words[0]]
    for option, value in pairwise([*words[1:], ""]):
        option = option.replace("guest=io,", "guest=alone,")
        if option == "-S" or option.startswith(_LIBVIRTS) or value.startswith(_LIBVIRTS):
            continue
        for mine, yours in zip(old, new, strict=True):
            option = option.replace(mine, yours)
        kept.append(option)
    return kept


def told_by(words: list[str]) -> list[str]:
    """The socket of a disk that is served."""
    found = [re.search(r'"path":"([^"]+)"', word) for word in words if '"nbd"' in word]
    return [one[1] for one in found if one]


def _child(process: int) -> int:
    """The process of QEMU, which is what entered the node, or a child of it."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return _child(int(children[0])) if children else process


@contextmanager
def guests(lab: Lab, source: Source) -> Iterator[dict[str, IoGuest]]:
    """They have written their disks once."""
    with ExitStack() as stack:
        disk, old = source(lab, "xm")
        lab.place.joinpath("xm.cfg").write_text(
            f"name = 'io'\nkernel = {str(lab.kernel)!r}\nmemory = 32\nvif = []\ndisk = {disk!r}\n"
        )
        lab.xm("create", "-q", "xm.cfg")
        stack.callback(lab.xm, "destroy", "io")
        first, words = qemu_of("io")
        hypervisor = connect(lab.node.uri)
        xml = hypervisor.domain_xml(hypervisor.find("io").uuid)
        hypervisor.close()
        found = {"xm": IoGuest(terminal(xml))}
        stack.callback(found["xm"].close)
        found["xm"].await_start()
        for side in SIDES[1:]:
            command = by_hand(words, old or told_by(words), source(lab, side)[1])
            process = _started(lab.node.enter(command), stack)
            assert process.stdout
            found[side] = IoGuest(terminal(next(line for line in process.stdout if "charserial0" in line)))
            stack.callback(found[side].close)
            found[side].await_start()
            if side != "free":
                join_groups(first, _child(process.pid))
        for guest in found.values():
            assert guest.run("w", SIZE - 1).done and guest.run("f").done
        yield found


def measured(found: dict[str, IoGuest], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of each act of each side, in turns."""
    times: dict[str, dict[str, list[float]]] = {act: {side: [] for side in SIDES} for act in ACTS}
    for number in range(rounds):
        order = [SIDES[(number + place) % len(SIDES)] for place in range(len(SIDES))]
        for act, words in ACTS.items():
            for side in order if number % 2 else order[::-1]:
                answer = found[side].run(*words)
                assert answer.done, f"{act}: the disk refused"
                times[act][side].append(answer.seconds)
        if number % 10 == 9:
            for guest in found.values():
                guest.run("f")
    return times


def usual(times: list[float]) -> float:
    """What it takes where nothing else is in the way: a tenth of TIMES is less. Other load only ever adds."""
    return sorted(times)[len(times) // 10]


def creation(lab: Lab, runs: int) -> float:
    """Seconds that ``xm create`` takes for the configuration that was last written."""
    taken = []
    for _ in range(runs):
        taken.append(lab.xm("create", "-q", "xm.cfg"))
        lab.xm("destroy", "io")
    return median(taken)


def main() -> int:
    parser = argparse.ArgumentParser(description="reading and writing through each source")
    parser.add_argument("--rounds", type=int, default=101, help="of each act (default: 101)")
    parser.add_argument("--only", choices=SOURCES, help="one source alone")
    parser.add_argument("--json", type=Path, help="write what was measured to this file as well")
    parser.add_argument("--place", default="/tmp", help="where the disks lie (default: /tmp)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xmbench-", dir=options.place) as folder, ExitStack() as stack:
        place = Path(folder)
        node = PrivateLibvirtd(place / "n", name="bench", own_network=True)
        stack.callback(node.stop)
        node.start()
        lab = Lab(node, place, write_kernel(place), stack)
        return report(lab, options.rounds, [options.only] if options.only else list(SOURCES), options.json)


def report(lab: Lab, rounds: int, names: list[str], file: Path | None) -> int:
    """Measure and print; 1 where a bar is missed."""
    missed, creations, every = False, {}, {}
    print(f"{'source':<13} {'act':<12} {'xm':>9} {'alone':>9} {'ratio':>6} {'noise':>6} {'in no groups':>13}")
    for name in names:
        with guests(lab, SOURCES[name]) as found:
            every[name] = times = measured(found, rounds)
        for act in ACTS:
            each = {side: usual(times[act][side]) / ACTS[act][1] * 1e6 for side in SIDES}
            ours, noise, free = (each[side] / each["alone"] for side in ("xm", "again", "free"))
            late = ours > BAR + abs(noise - 1)
            missed = missed or late
            told = f"{each['xm']:>6.0f} us {each['alone']:>6.0f} us {ours:>6.2f} {abs(noise - 1):>6.2f} {free:>13.2f}"
            print(f"{name:<13} {act:<12} {told}{'  MISSED' if late else ''}", flush=True)
        creations[name] = creation(lab, 5)
    plain = creations.get("raw file", min(creations.values()))
    for name, seconds in creations.items():
        late = seconds - plain > ASSEMBLE
        missed = missed or late
        print(f"xm create, {name:<13} {seconds:.2f} s{'  MISSED' if late else ''}")
    if {"raw file", "joined"} <= every.keys():
        for act in ACTS:
            cost = usual(every["joined"][act]["xm"]) / usual(every["raw file"][act]["xm"])
            print(f"joined against a raw file, {act}: {cost:.1f} times as long")
    if file:
        file.write_text(json.dumps({"times": every, "creations": creations}))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
