"""Memory for the guests of benchmarks that is this host's from the first byte on.

Where this host is a guest itself, the host beneath takes back what was free for a while: a page of it comes back slowly,
and one program or the other pays for it. Huge pages that were set aside stay. Not a program.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NUMBER = Path("/proc/sys/vm/nr_hugepages")
_MIB_EACH = 2
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
