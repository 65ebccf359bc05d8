"""Can a BIOS start this disk? Told from its first sector, which is read and never interpreted any further."""

from __future__ import annotations

SECTOR = 512

#: Where the program of a boot sector ends, and the table of partitions begins.
_CODE = 440
_SIGNATURE = b"\x55\xaa"


def can_start(sector: bytes) -> bool:
    """Whether SECTOR, the first of a disk, holds a program that a BIOS would start.

    A table of partitions alone has none; what the program does, the sector does not tell.
    """
    return len(sector) >= SECTOR and sector[510:512] == _SIGNATURE and any(sector[:_CODE])


def first_sector(path: str) -> bytes | None:
    """The first 512 bytes of a raw image or volume; fewer where it is smaller, None where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(SECTOR)
    except OSError:
        return None
