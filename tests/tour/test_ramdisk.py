"""The initial RAM disk, byte by byte; that a kernel reads it is shown by the guest that boots."""

from __future__ import annotations

import stat

from hypothesis import given
from hypothesis import strategies as st

from xmcompat.tour.cpio import Entry, archive, file, folder, link
from xmcompat.tour.ramdisk import APPLETS, INIT, ramdisk


def unpack(data: bytes) -> list[Entry]:
    """A reader of the format, written from its description."""
    entries, place = [], 0
    while True:
        assert data[place : place + 6] == b"070701"
        numbers = [int(data[place + 6 + 8 * index : place + 14 + 8 * index], 16) for index in range(13)]
        name = data[place + 110 : place + 110 + numbers[11] - 1].decode()
        start = (place + 110 + numbers[11] + 3) & ~3
        end = start + numbers[6]
        if name == "TRAILER!!!":
            return entries
        entries.append(Entry(name, numbers[1], data[start:end]))
        place = (end + 3) & ~3


def test_folders_files_and_links_are_as_they_were() -> None:
    entries = [folder("bin"), file("bin/tool", b"\x7fELF", 0o755), link("bin/sh", "tool"), file("empty", b"")]
    assert [entry.mode for entry in entries] == [
        stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755, stat.S_IFLNK | 0o777, stat.S_IFREG | 0o644,
    ]  # fmt: skip
    assert unpack(archive(entries)) == entries


@given(st.lists(st.builds(file, st.text("abc/é", min_size=1, max_size=9), st.binary(max_size=9))))
def test_any_names_and_sizes_survive(entries: list[Entry]) -> None:
    data = archive(entries)
    assert unpack(data) == entries
    assert len(data) % 512 == 0


def test_the_ram_disk_holds_busybox_and_the_modules_in_their_order() -> None:
    entries = {entry.name: entry for entry in unpack(ramdisk(b"BUSYBOX", [("b.ko", b"B"), ("a.ko", b"A")]))}
    assert entries["init"] == file("init", INIT.encode(), 0o755)
    assert entries["bin/busybox"] == file("bin/busybox", b"BUSYBOX", 0o755)
    assert entries["modules/order"].data == b"b.ko\na.ko\n"
    assert entries["modules/b.ko"].data == b"B"
    assert {entries[f"bin/{applet}"].data for applet in APPLETS} == {b"busybox"}
