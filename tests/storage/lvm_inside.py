"""The part of ``test_lvm`` that needs device-mapper: a program for the kernel of ``tests.lab.uml``.

It prints what each of its parts has found, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.lab import disk_guest, lvm_library
from tests.lab.storage_uml import URI, eventually, libvirtd, sh, volume_group
from xmcompat import disk_needs
from xmcompat.errors import XmError
from xmcompat.storage import check, holds, lvm, lvm_read, waiting
from xmcompat.storage.needs import Need
from xmcompat.storage.programs import StorageError

Report = dict[str, Any]

#: All that the machine's own lvm.conf says counts as well; this is written over it.
LOCAL = Path("/etc/lvm/lvmlocal.conf")
DEVICES = Path("/etc/lvm/devices/system.devices")

CONFIG = """\
name = 'web7'
builder = 'hvm'
memory = 32
boot = 'c'
serial = 'file:/run/web7.console'
disk = ['phy:/dev/mapper/vg0-thinsnap,hdb,w', 'phy:vg0/web7,hda,w']
"""


def need(path: str) -> Need:
    found = lvm.need_of(path)
    assert found, path
    return found


def active() -> list[str]:
    """What device-mapper has, by its names."""
    return sorted(path.read_text().strip() for path in Path("/sys/block").glob("dm-*/dm/name"))


@contextmanager
def held(path: str) -> Iterator[None]:
    holds.take(need(path), "look")
    try:
        yield
    finally:
        holds.give(need(path), "look")


def refused(path: str, holder: str = "web1") -> str:
    try:
        holds.take(need(path), holder)
        return "was taken"
    except StorageError as error:
        return error.line()


def volumes() -> None:
    """One of each kind, none of them active."""
    volume_group()
    sh("lvcreate", "-y", "-an", "-Zn", "-L", "8M", "-n", "web-1", "vg0")
    sh("lvcreate", "-y", "-L", "32M", "--thinpool", "pool", "vg0")
    sh("lvcreate", "-y", "-V", "16M", "--thin", "-n", "thin", "vg0/pool")
    disk_guest.make("/dev/vg0/thin", "from the thin origin", batches=8)
    sh("lvcreate", "-y", "-s", "-n", "thinsnap", "vg0/thin")
    sh("lvcreate", "-y", "-L", "8M", "-n", "origin", "vg0")
    sh("lvcreate", "-y", "-s", "-L", "4M", "-n", "snap", "vg0/origin")
    sh("vgchange", "-an", "vg0")


@lvm_library.as_programs()
def comes_up() -> Report:
    """Two holders one after the other, of each kind and by both of its names."""
    report: Report = {"before": active()}
    started: list[object] = []
    sys.addaudithook(lambda event, words: started.append(words) if event == "subprocess.Popen" else None)
    for path in ("/dev/mapper/vg0-web--1", "/dev/vg0/thin", "/dev/vg0/thinsnap", "/dev/vg0/origin"):
        started.clear()
        said = holds.take(need(path), "web1")
        programs = len(started)
        there = waiting.is_device(path)
        started.clear()
        holds.take(need(path), "web2")
        again = len(started)
        holds.give(need(path), "web1")
        one_left = active()
        holds.give(need(path), "web2")
        report[path] = {
            "said": said, "there": there, "one left": one_left, "none left": active(), "programs": programs, "again": again,
        }  # fmt: skip
    return report


def was_up() -> Report:
    sh("lvchange", "-ay", "vg0/web-1")
    holds.take(need("/dev/vg0/web-1"), "web1")
    holds.give(need("/dev/vg0/web-1"), "web1")
    left = active()
    sh("lvchange", "-an", "vg0/web-1")
    return {"left": left}


def together() -> Report:
    """A snapshot comes with its origin, and is held when the origin is given back."""
    origin, snapshot = need("/dev/vg0/origin"), need("/dev/vg0/snap")
    holds.take(origin, "web1")
    holds.take(snapshot, "backup")
    said = ""
    try:
        holds.give(origin, "web1")
    except StorageError as error:
        said = error.line()
    kept = active()
    holds.give(snapshot, "backup")
    holds.sweep(())
    return {"said": said, "kept": kept, "swept": active(), "held": len(holds.held())}


def mistakes() -> Report:
    paths = (
        "/dev/vg0/web1", "/dev/vg0/zz", "/dev/vg1/web-1", "/dev/vg0/pool", "/dev/vg0/pool_tdata", "/dev/mapper/mpatha-part1",
    )  # fmt: skip
    report = {path: refused(path) for path in paths}
    sh("lvcreate", "-y", "-an", "-Zn", "-L", "4M", "-n", "web1", "vg0")
    report["second try"] = refused("/dev/vg0/web1")
    holds.give(need("/dev/vg0/web1"), "web1")
    return {**report, "left": active(), "held": len(holds.held())}


def hidden() -> Report:
    """What the administrator's settings keep from this host, one after the other."""
    path = "/dev/vg0/web-1"
    before = LOCAL.read_text()
    report: Report = {}
    for name, settings in (
        ("global_filter", 'devices { global_filter=["r|/dev/ubd|"] }'), ("filter", 'devices { filter=["r|/dev/ubd|"] }'),
        ("devices file", "devices { use_devicesfile=1 }"), ("volume_list", 'activation { volume_list=["vg7"] }'),
        ("two", 'devices { filter=["r|/dev/ubd|"] global_filter=["r|/dev/ubd|"] }'),
    ):  # fmt: skip
        DEVICES.parent.mkdir(exist_ok=True)
        if "devicesfile" in settings:
            DEVICES.touch()
        LOCAL.write_text(settings)
        report[name] = refused(path)
    LOCAL.write_text(before)
    DEVICES.unlink()
    sh("vgexport", "vg0")
    report["exported"] = refused(path)
    sh("vgimport", "vg0")
    report["second try"] = refused(path)
    holds.give(need(path), "web1")
    return {**report, "left": active(), "held": len(holds.held())}


def of_others() -> Report:
    """A group of another host, and one whose disk is missing."""
    for number in (0, 1, 2):
        sh("truncate", "-s", "16M", f"/dev/shm/pv{number}")
        sh("losetup", f"/dev/loop{number}", f"/dev/shm/pv{number}")
    volume_group("vgx", "/dev/loop0")
    sh("lvcreate", "-y", "-an", "-Zn", "-L", "4M", "-n", "web", "vgx")
    sh("vgchange", "-y", "--systemid", "xen2", "vgx")
    foreign = refused("/dev/vgx/web")
    sh("pvcreate", "/dev/loop1", "/dev/loop2")
    sh("vgcreate", "vgy", "/dev/loop1", "/dev/loop2")
    sh("lvcreate", "-y", "-an", "-Zn", "-l", "100%FREE", "-n", "web", "vgy")
    missing = sh("pvs", "--noheadings", "-o", "pv_uuid", "/dev/loop2").strip()
    sh("losetup", "-d", "/dev/loop2")
    partial = refused("/dev/vgy/web")
    sh("losetup", "/dev/loop2", "/dev/shm/pv2")
    again = refused("/dev/vgy/web")
    holds.give(need("/dev/vgy/web"), "web1")
    return {"foreign": foreign, "partial": partial, "missing": missing, "again": again, "left": active()}


def in_use() -> Report:
    """What cannot be taken down says why, and is swept once it can."""
    taken = need("/dev/vg0/web-1")
    report: Report = {}

    def given() -> str:
        try:
            holds.give(taken, "web1")
            return "was given"
        except StorageError as error:
            return error.line()

    holds.take(taken, "web1")
    with open("/dev/vg0/web-1", "rb"):
        report["open"] = given()
    holds.take(taken, "web1")
    sh("dmsetup", "create", "over", "--table", "0 8 linear /dev/vg0/web-1 0")
    report["under"] = given()
    sh("dmsetup", "remove", "over")
    holds.sweep(())
    return {**report, "left": active(), "held": len(holds.held())}


def read_only() -> Report:
    sh("lvchange", "-pr", "vg0/web-1")
    path = "/dev/vg0/web-1"
    holds.take(need(path), "web1")
    said = {}
    for writable in (True, False):
        source = check.Source(kind="block", path=path, writable=writable, shareable=False, device_number=51712)
        try:
            check.assemble([source], others=(), mountinfo="")
            said[str(writable)] = "is free"
        except XmError as error:
            said[str(writable)] = error.line()
    holds.give(need(path), "web1")
    sh("lvchange", "-prw", "vg0/web-1")
    return said


def broken() -> Report:
    """A snapshot that has run full, and a thin pool whose metadata are damaged."""
    sh("lvcreate", "-y", "-L", "4M", "-n", "small", "vg0")
    sh("lvcreate", "-y", "-s", "-l", "1", "-n", "full", "vg0/small")
    with open("/dev/vg0/small", "wb") as file, suppress(OSError):
        file.write(os.urandom(4 << 20))
        file.flush()
        os.fsync(file.fileno())
    sh("lvchange", "-an", "vg0/small")
    overflowed = refused("/dev/vg0/full")
    sh("lvcreate", "-y", "-L", "8M", "--thinpool", "bad", "vg0")
    sh("lvcreate", "-y", "-V", "8M", "--thin", "-n", "lost", "vg0/bad")
    sh("vgchange", "-an", "vg0")
    words = ["lvs", "-a", "--noheadings", "--units", "b", "--nosuffix", "-o", "seg_start_pe,seg_pe_ranges", "vg0/bad_tmeta"]
    first = int(sh(*words).split(":")[1].split("-")[0])
    start = float(sh("pvs", "--noheadings", "--units", "b", "--nosuffix", "-o", "pe_start", "/dev/ubda"))
    with open("/dev/ubda", "r+b") as disk:
        disk.seek(int(start) + first * (4 << 20))
        disk.write(b"\xa5" * 4096)
        os.fsync(disk.fileno())
    return {"overflowed": overflowed, "damaged": refused("/dev/vg0/lost"), "left": active(), "held": len(holds.held())}


def killed() -> Report:
    """Whoever takes and gives is killed before each of its steps, which is after the last one; then a sweep, and another try."""
    taken = need("/dev/vg0/web-1")
    faults: list[str] = []
    point = 0
    while True:
        child = os.fork()
        if child == 0:
            _die_at(point)
            holds.take(taken, "web1")
            holds.give(taken, "web1")
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        holds.sweep(())
        if active() or holds.held():
            faults.append(f"{point}: {active()} {holds.held()}")
            break
        if status == 0:
            break
        if os.WTERMSIG(status) != signal.SIGKILL:
            faults.append(f"{point}: status {status}")
            break
        point += 1
    again = refused("/dev/vg0/web-1")
    holds.give(taken, "web1")
    return {"faults": faults, "points": point, "again": again, "left": active()}


def _die_at(point: int) -> None:
    """Be killed before the POINTth step: a program, or a file of the record."""
    count = 0

    def dying(step: Callable[..., object]) -> Callable[..., object]:
        def counted(*words: object, **more: object) -> object:
            nonlocal count
            if count == point:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            return step(*words, **more)

        return counted

    for module in (lvm, lvm_read):
        module.run = dying(module.run)  # type: ignore[attr-defined]
    holds._write = dying(holds._write)  # type: ignore[assignment]
    os.unlink = dying(os.unlink)  # type: ignore[assignment]


#: As LVM's own lock would have it, one runs after the other.
_SLOW = """\
#!/bin/sh
exec flock /run/slow/lock sh -c 'touch /run/slow/began; sleep 0.5; exec /usr/sbin/lvchange "$@"' - "$@"
"""


@lvm_library.as_programs()
def half_way() -> Report:
    """Killed while LVM's program runs on: a sweep that comes at once ends after that program."""
    taken = need("/dev/vg0/web-1")
    slow = Path("/run/slow/lvchange")
    slow.parent.mkdir()
    slow.write_text(_SLOW)
    slow.chmod(0o755)
    path = os.environ["PATH"]
    child = os.fork()
    if child == 0:
        os.environ["PATH"] = f"{slow.parent}:{path}"
        holds.take(taken, "web1")
        os._exit(0)
    while not (slow.parent / "began").exists():
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.environ["PATH"] = f"{slow.parent}:{path}"
    holds.sweep(())
    os.environ["PATH"] = path
    time.sleep(0.8)
    return {"left": active(), "held": len(holds.held())}


def xm(*words: str) -> list[str | int]:
    """What xm says on its two streams, and its status."""
    done = subprocess.run(
        [sys.executable, "-m", "xmcompat.xm", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100,
        env={**os.environ, "XMCOMPAT_URI": URI}, check=False,
    )  # fmt: skip
    return [done.stdout, done.stderr, done.returncode]


def guests() -> Report:
    """xm starts a guest from volumes that are down; it writes onto both, which are verified when they were down again."""
    config, console = Path("/run/web7.cfg"), Path("/run/web7.console")
    config.write_text(CONFIG)
    report: Report = {}
    with libvirtd() as hypervisor:
        report["missing"] = xm("create", str(config))
        report["down at first"] = active()
        sh("lvcreate", "-y", "-an", "-Zn", "-L", "8M", "-n", "web7", "vg0")
        with held("/dev/vg0/web7"), held("/dev/vg0/thinsnap"):
            disk_guest.make("/dev/vg0/web7", "from the linear volume", drives=2)
            report["blank"] = [disk_guest.written(f"/dev/vg0/{name}") for name in ("web7", "thinsnap")]
        report["created"] = xm("create", str(config))
        report["up"] = active()
        eventually(lambda: not hypervisor.domains(), 60, "web7 goes on")
        report["said"] = console.read_text()
        disk_needs.sweep(hypervisor)
    report["down"] = active()
    for name in ("web7", "thinsnap", "thin"):
        with held(f"/dev/vg0/{name}"):
            report[name] = disk_guest.written(f"/dev/vg0/{name}")
    return {**report, "left": active(), "held": len(holds.held())}


PARTS = (comes_up, was_up, together, mistakes, hidden, of_others, in_use, read_only, killed, half_way, guests, broken)


def main() -> None:
    volumes()
    print(json.dumps({part.__name__: part() for part in PARTS}))


if __name__ == "__main__":
    main()
