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


def fill(folder: Path, mib: int) -> None:
    """Write MIB of random bytes into the memory of the guest with huge pages of FOLDER: no program can make them smaller.

    QEMU's own loader would do so at every start of it, also where a saved guest comes back: time that is nobody's.
    """
    pid, start = _of(folder, (mib << 20) + _FIRST)
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(start + _FIRST)
        for _ in range(mib):
            memory.write(os.urandom(1 << 20))


def _of(folder: Path, size: int) -> tuple[int, int]:
    """The process that has SIZE bytes of FOLDER or more in one piece, and where they begin."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines = (process / "maps").read_text().splitlines()
        except OSError:
            continue  # it has ended
        for line in lines:
            start, end = (int(place, 16) for place in line.split()[0].split("-"))
            if f" {folder}/" in line and end - start >= size:
                return int(process.name), start
    raise SystemExit(f"no guest has {size} bytes in the huge pages at {folder}")


def positive(text: str) -> int:
    """TEXT as a number above 0, for argparse. Raises ValueError."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
