"""Which disks a BIOS can start."""

from __future__ import annotations

from pathlib import Path

import pytest

from xmcompat.storage.boot_sector import can_start, first_sector

PROGRAM = b"\xfa\x31\xc0\x8e\xd8".ljust(510, b"\0") + b"\x55\xaa"
TABLE_ALONE = bytes(446) + b"\x80".ljust(64, b"\x01") + b"\x55\xaa"


@pytest.mark.parametrize(
    ("sector", "starts"),
    [
        (PROGRAM, True), (PROGRAM + bytes(512), True),
        (TABLE_ALONE, False), (bytes(512), False), (b"", False), (PROGRAM[:511], False),
        (PROGRAM[:510] + b"\0\0", False),
    ],
)  # fmt: skip
def test_a_sector_starts_where_it_has_a_program_and_the_mark(sector: bytes, starts: bool) -> None:
    assert can_start(sector) is starts


def test_no_more_than_a_sector_is_read(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(PROGRAM + b"x" * 4096)
    assert first_sector(str(tmp_path / "disk")) == PROGRAM


def test_a_disk_that_cannot_be_read_tells_nothing(tmp_path: Path) -> None:
    assert first_sector(str(tmp_path / "none")) is None
    assert first_sector(str(tmp_path)) is None
