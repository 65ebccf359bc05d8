"""Memory for the guests of benchmarks that is this host's from the first byte on.

Where this host is a guest itself, the host beneath takes back what was free for a while: a page of it comes back slowly,
and one program or the other pays for it. Huge pages that were set aside stay. Not a program.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NUMBER = Path("/proc/sys/vm/nr_hugepages")
_MIB_EACH = 2
#: Bytes at the start of a guest's memory that stay its own.
_FIRST = 32 << 20
#: Given to a guest's XML before its <os>.
BACKING = "<memoryBacking><hugepages/></memoryBacking>"


@contextmanager
def set_aside(mib: int, folder: Path) -> Iterator[None]:
    """MIB in huge pages, mounted at FOLDER, which is made: a libvirtd that is started inside finds it."""
    before = int(_NUMBER.read_text())
    folder.mkdir()
    subprocess.run(["mount", "-t", "hugetlbfs", "-o", "mode=0700", "none", str(folder)], check=True)
    try:
        _NUMBER.write_text(str(before + -(-mib // _MIB_EACH)))
        if int(_NUMBER.read_text()) < before + mib // _MIB_EACH:
            raise SystemExit(f"this host cannot set {mib} MiB in huge pages aside")
        yield
    finally:
        _NUMBER.write_text(str(before))
        subprocess.run(["umount", str(folder)], check=True)


def backed(xml: str) -> str:
    """A guest's XML with its memory in huge pages."""
    return xml.replace("<os>", f"{BACKING}<os>", 1)


def fill(name: str, mib: int) -> None:
    """Write MIB of random bytes into the memory of the guest NAME, which runs: no program can make them smaller.

    QEMU's own loader would do so at every start of it, also where a saved guest comes back: time that is nobody's.
    """
    pid = _pid_of(name)
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        start, end = (int(place, 16) for place in line.split()[0].split("-"))
        if "/huge/" in line and end - start >= (mib << 20) + _FIRST:
            break
    else:
        raise SystemExit(f"process {pid} has no {mib} MiB in huge pages")
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(start + _FIRST)
        for _ in range(mib):
            memory.write(os.urandom(1 << 20))


def _pid_of(name: str) -> int:
    """The process of the guest NAME."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        if b"-name" in words and f"guest={name},".encode() in words[words.index(b"-name") + 1]:
            return int(folder.name)
    raise SystemExit(f"no process runs the guest {name}")
