"""What tells that a disk has been written since a guest was saved: its memory would no longer fit it.

Of a file, its size and the time of its last change. Of a block device the kernel counts what is written, from its coming
up until it goes: that tells as long as the device is the same, and no reboot lies between. A stamp is a text; "" is that
of what cannot be told.
"""

from __future__ import annotations

import os
import re
import stat

BOOT_ID = "/proc/sys/kernel/random/boot_id"
DEVICES = "/sys/dev/block"

#: The word of a device's ``stat`` that counts the sectors written to it, and the one that counts those discarded.
_WRITTEN, _DISCARDED = 6, 13

#: Size, seconds, and the fractions of a second.
_FILE = re.compile(r"file:([0-9]+):([0-9]+)([0-9]{9})")
_WHOLE = "0" * 9


def stamp(path: str, *, devices: str = DEVICES, boot_id: str = BOOT_ID) -> str:
    """Of the file or block device at PATH, as it is now."""
    try:
        found = os.stat(path)
        if stat.S_ISBLK(found.st_mode):
            return _of_device(f"{devices}/{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}", boot_id)
        return f"file:{found.st_size}:{found.st_mtime_ns}" if stat.S_ISREG(found.st_mode) else ""
    except OSError:
        return ""


def _of_device(folder: str, boot_id: str) -> str:
    """Raises OSError."""
    words = _text(f"{folder}/stat").split()
    whole = os.path.dirname(os.path.realpath(folder)) if os.path.exists(f"{folder}/partition") else folder
    written = [words[place] for place in (_WRITTEN, _DISCARDED) if place < len(words)]
    return f"block:{_text(boot_id)}:{_text(f'{whole}/diskseq')}:{'+'.join(written)}"


def _text(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def moved_on(then: str, now: str) -> bool | None:
    """Whether the disk of the stamp THEN has been written since; None where nobody can tell. Pure."""
    if not then or not now:
        return None
    if then == now:
        return False
    kind, _, rest = then.partition(":")
    if kind != now.partition(":")[0]:
        return True
    if kind == "block":
        return True if rest.rpartition(":")[0] == now.partition(":")[2].rpartition(":")[0] else None
    return not _same_file(then, now)


def written_after(then: str, nanoseconds: int) -> bool:
    """Whether the file of the stamp THEN was changed later than that; of devices nobody can tell. Pure."""
    found = _FILE.fullmatch(then)
    return found is not None and int(f"{found[2]}{found[3]}") > nanoseconds


def _same_file(then: str, now: str) -> bool:
    """A copy of a file may have lost the fractions of its second."""
    found, other = _FILE.fullmatch(then), _FILE.fullmatch(now)
    if found is None or other is None or (found[1], found[2]) != (other[1], other[2]):
        return False
    return _WHOLE in (found[3], other[3])
