"""Will this kernel file boot on KVM? Told from its first bytes. Pure.

A kernel built for Xen alone (the vendors' "-xen" kernels up to 2.6.18 and some after) is a packed ELF image without
the PC's boot header: QEMU cannot start it. Every kernel since Linux 3.0 serves both.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from xmcompat.translate.kernel_names import is_loader

_PT_NOTE = 4
_PHYS32_ENTRY = 18
_PACKED = {
    b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x5d\x00\x00": "lzma", b"\x89LZO": "lzo",
    b"\x02\x21\x4c\x18": "lz4", b"\x28\xb5\x2f\xfd": "zstd",
}  # fmt: skip
_ADVICE = "install a kernel in the guest that is not for Xen alone, and give that one"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``reason`` is a clause that fits behind "cannot boot on KVM: ". ``release`` is "" where nothing tells."""

    bootable: bool
    reason: str
    release: str = ""


def kernel_verdict(head: bytes, name: str) -> Verdict:
    """The verdict on the kernel file NAME, of which HEAD is the first 64 KiB (or all, where it is shorter).

    An ELF image whose notes lie behind HEAD is believed unless its name says "xen". Never raises.
    Source: the boot protocol of Linux for the PC; Xen's ELF notes.
    """
    base = name.rpartition("/")[2]
    if head[0x1FE:0x200] == b"\x55\xaa" and head[0x202:0x206] == b"HdrS":
        return Verdict(True, "it has the PC's boot header", _release(head) or _release_of(base))
    release = _release_of(base)
    if not head:
        return Verdict(False, "the file is empty", release)
    if is_loader(base):
        return Verdict(False, "it is a boot loader for Xen alone; give the guest's own kernel and ramdisk instead")
    if head[:4] == b"\x7fELF":
        return _elf_verdict(head, base, release)
    for magic, packer in _PACKED.items():
        if head.startswith(magic):
            what = f"it is a {packer}-packed image without the PC's boot header, as kernels for Xen alone are"
            return Verdict(False, f"{what}; {_ADVICE}", release)
    return Verdict(False, "it is no Linux kernel for the PC (no boot header, no ELF image)", release)


def _release_of(base: str) -> str:
    """"2.6.18-8.el5xen" of "vmlinuz-2.6.18-8.el5xen"."""
    found = re.search(r"(?:^|-)([0-9]+\.[0-9]+[^/]*)$", base)
    return found[1].removesuffix(".gz") if found else ""


def _release(head: bytes) -> str:
    """The first word of a bzImage's version text."""
    (pointer,) = struct.unpack_from("<H", head.ljust(0x210, b"\0"), 0x20E)
    words = head[0x200 + pointer :].split(b"\0", 1)[0][:256].decode("ascii", "replace").split() if pointer else []
    return words[0] if words else ""


def _elf_verdict(head: bytes, base: str, release: str) -> Verdict:
    beyond = False
    try:
        for start, length in _note_segments(head):
            if _PHYS32_ENTRY in _xen_notes(head[start : start + length]):
                return Verdict(True, "it is an ELF image with a PVH entry", release)
            beyond = beyond or start + length > len(head)
    except (struct.error, IndexError):
        return Verdict(False, f"it is a damaged ELF image; {_ADVICE}", release)
    if beyond and "xen" not in base.lower():
        return Verdict(True, "it is an ELF image whose notes lie too far in to be seen", release)
    return Verdict(False, f"it is an ELF image without a PVH entry, as kernels for Xen alone are; {_ADVICE}", release)


def _note_segments(head: bytes) -> Iterator[tuple[int, int]]:
    """(offset, length) of the note segments of an ELF file, of 32 or 64 bits."""
    wide = head[4] == 2
    (table,) = struct.unpack_from("<Q", head, 32) if wide else struct.unpack_from("<I", head, 28)
    size, count = struct.unpack_from("<HH", head, 54 if wide else 42)
    for index in range(count):
        at = table + index * size
        (kind,) = struct.unpack_from("<I", head, at)
        if kind == _PT_NOTE:
            words, places = ("<Q", (8, 32)) if wide else ("<I", (4, 16))
            start, length = (struct.unpack_from(words, head, at + place)[0] for place in places)
            yield start, length


def _xen_notes(notes: bytes) -> set[int]:
    """The types of the notes whose owner is Xen."""
    found = set()
    at = 0
    while at + 12 <= len(notes):
        name_size, value_size, kind = struct.unpack_from("<III", notes, at)
        if notes[at + 12 : at + 12 + name_size].rstrip(b"\0") == b"Xen":
            found.add(kind)
        at += 12 + (name_size + 3) // 4 * 4 + (value_size + 3) // 4 * 4
    return found
