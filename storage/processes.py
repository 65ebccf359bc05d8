"""Which process of this host has a file or a tap open, or holds a lock on one, and which guest it runs. Read from /proc."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

#: What libvirt tells QEMU of the guest's name, where a comma is doubled.
_GUEST = re.compile(r"(?:^|,)guest=((?:[^,]|,,)*)")
_MOST = 3


class Process(NamedTuple):
    """``guest`` is the name of the guest that it runs, "" for a program of another kind."""

    pid: int
    program: str
    guest: str = ""

    def __str__(self) -> str:
        return f"guest '{self.guest}'" if self.guest else f"'{self.program}' (process {self.pid})"


def below(folder: str) -> list[Process]:
    """Those that have a file below FOLDER open, or stand in it. Nothing there is looked at: its server may be gone."""

    def stands(pid: str) -> bool:
        places = [_link(f"/proc/{pid}/{name}") for name in ("cwd", "root")]
        return any(place == folder or place.startswith(f"{folder}/") for place in (*places, *map(_link, _files(pid))))

    return _processes(stands)


def locking(path: str) -> list[Process]:
    """Those that hold a lock on the file at PATH, QEMU's among them; locks of other hosts are not seen."""
    try:
        place = _place(os.stat(path))
    except (OSError, ValueError):
        return []
    return _processes(lambda pid: any(place in line.split() for line in _told(pid, "lock:")))


def handed_down(found: os.stat_result) -> bool:
    """Whether a process that this one descends from has the file FOUND alone, by flock, or has left it to this one so: in
    "flock /dev/vg0/web1 xm create web1.cfg" the lock is taken for the very program that asks. What this process has locked
    itself is closed at an exec, and does not count."""
    words = {"FLOCK", "WRITE", _place(found)}

    def has(file: str) -> bool:
        return any(words <= {*line.split()} for line in file.splitlines() if line.startswith("lock:"))

    left = (file for file in _infos("self") if not _flags(file) & os.O_CLOEXEC)
    return any(map(has, left)) or any(has(file) for pid in _ancestors() for file in _infos(pid))


def _place(found: os.stat_result) -> str:
    """As the kernel names a file of which it tells a lock."""
    return f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"


def _ancestors() -> Iterator[str]:
    """The processes that this one descends from, as far as they are seen from here."""
    pid = str(os.getppid())
    while pid != "0":
        yield pid
        pid = next((line.split()[1] for line in _text(f"/proc/{pid}/status").splitlines() if line.startswith("PPid:")), "0")


def having_open(device: int) -> list[Process]:
    """Those that have the block device with the number DEVICE open, by whatever name and in whatever namespace: the nodes
    that libvirt makes for a guest are others than the host's, and so are the locks on them."""

    def has(path: str) -> bool:
        if "/dev/" not in _link(path):
            return False  # not looked at: its server may be gone
        with suppress(OSError):
            found = os.stat(path)
            return stat.S_ISBLK(found.st_mode) and found.st_rdev == device
        return False

    return _processes(lambda pid: any(map(has, _files(pid))))


def running(uuid: str) -> list[Process]:
    """Those that run the guest with that UUID, as libvirt tells it QEMU. Names do not tell: another libvirt, in a
    container, may have a guest that is called the same."""
    wanted = f"\0-uuid\0{uuid}\0"
    return _processes(lambda pid: wanted in _text(f"/proc/{pid}/cmdline"))


def having_tap(name: str) -> list[Process]:
    """Those that hold the tap of that NAME, without which it would not be there; of this network namespace or another."""
    return _processes(lambda pid: any(line.split() == ["iff:", name] for line in _told(pid, "iff:")))


def named(processes: list[Process]) -> str:
    """A few of them in words: "guest 'web1', 'qemu-img' (process 812) and others"."""
    return ", ".join(map(str, processes[:_MOST])) + (" and others" if len(processes) > _MOST else "")


def _processes(chosen: Callable[[str], bool]) -> list[Process]:
    own = str(os.getpid())
    pids = sorted((name for name in os.listdir("/proc") if name.isdecimal() and name != own), key=int)
    return [_described(pid) for pid in pids if chosen(pid)]


def _described(pid: str) -> Process:
    words = _text(f"/proc/{pid}/cmdline").split("\0")
    told = _GUEST.search(words[words.index("-name") + 1]) if "-name" in words[:-1] else None
    name = _text(f"/proc/{pid}/comm").strip()
    return Process(int(pid), os.path.basename(words[0]) or name, told[1].replace(",,", ",") if told else "")


def _files(pid: str) -> Iterator[str]:
    with suppress(OSError):
        yield from (f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd"))


def _told(pid: str, what: str) -> Iterator[str]:
    """The lines that begin with WHAT in what the kernel says of its open files."""
    for file in _infos(pid):
        yield from (line for line in file.splitlines() if line.startswith(what))


def _infos(pid: str) -> Iterator[str]:
    """What the kernel says of each of its open files."""
    with suppress(OSError):
        yield from (_text(f"/proc/{pid}/fdinfo/{name}") for name in os.listdir(f"/proc/{pid}/fdinfo"))


def _flags(file: str) -> int:
    """Those that a file was opened with, in what the kernel says of it."""
    return next((int(line.split()[1], 8) for line in file.splitlines() if line.startswith("flags:")), 0)


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _text(path: str) -> str:
    with suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
    return ""
