"""Will this kernel file boot on KVM? Told from its first bytes. Pure.

A kernel made for Xen alone (before Linux 2.6.24, and the vendors' "xen" kernels for some years more) is a packed ELF
image without the PC's boot header: QEMU cannot start it.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

_BOOT_SIGNATURE = 0x1FE
_HEADER = 0x202
_VERSION_POINTER = 0x20E
_PT_NOTE = 4
_PHYS32_ENTRY = 18
_PV_ONLY = re.compile(r"(el[45]xen|-xen0?|-xenU|-xen-(?:686|amd64|xen)|XEN[23]_DOM)", re.IGNORECASE)


class Verdict(NamedTuple):
    """``release`` is the kernel's own name for itself, "" where it does not say."""

    bootable: bool
    reason: str
    release: str = ""


def kernel_verdict(head: bytes, name: str) -> Verdict:
    """The verdict on a file of that name whose first 64 KiB (or all of it) are HEAD."""
    if head[_BOOT_SIGNATURE : _BOOT_SIGNATURE + 2] == b"\x55\xaa" and head[_HEADER : _HEADER + 4] == b"HdrS":
        return Verdict(True, "it has the PC's boot header", _release(head))
    if head[:4] == b"\x7fELF":
        if _has_pvh_entry(head):
            return Verdict(True, "it is an ELF image with a PVH entry")
        return Verdict(False, "it is an ELF image without a PVH entry, made for Xen alone; " + _advice(name))
    if head[:2] == b"\x1f\x8b":
        return Verdict(False, "it is packed, without the PC's boot header: made for Xen alone; " + _advice(name))
    if not head:
        return Verdict(False, "it is empty")
    return Verdict(False, "it is no Linux kernel that a PC can start")


def _advice(name: str) -> str:
    classic = "use the guest's own kernel that is not for Xen"
    return classic if not _PV_ONLY.search(name) else f"{classic} (its name says 'xen' as well)"


def _release(head: bytes) -> str:
    """The release of a bzImage: the first word of its version text."""
    (pointer,) = struct.unpack_from("<H", head.ljust(_VERSION_POINTER + 2, b"\0"), _VERSION_POINTER)
    text = head[0x200 + pointer :].split(b"\0", 1)[0] if pointer else b""
    words = text[:200].decode("ascii", "replace").split()
    return words[0] if words else ""


def _has_pvh_entry(head: bytes) -> bool:
    """Whether an ELF file has Xen's note 18 in a PT_NOTE segment that lies within HEAD."""
    try:
        wide = head[4] == 2
        offset = struct.unpack_from("<Q" if wide else "<I", head, 32 if wide else 28)[0]
        size, count = struct.unpack_from("<HH", head, 54 if wide else 42)
        for index in range(min(count, 64)):
            at = offset + index * size
            (kind,) = struct.unpack_from("<I", head, at)
            start, length = (
                (struct.unpack_from("<Q", head, at + 8)[0], struct.unpack_from("<Q", head, at + 32)[0])
                if wide
                else (struct.unpack_from("<I", head, at + 4)[0], struct.unpack_from("<I", head, at + 16)[0])
            )
            if kind == _PT_NOTE and _note_18(head[start : start + length]):
                return True
    except (struct.error, IndexError):
        return False
    return False


def _note_18(notes: bytes) -> bool:
    at = 0
    while at + 12 <= len(notes):
        name_size, value_size, kind = struct.unpack_from("<III", notes, at)
        if notes[at + 12 : at + 12 + name_size].rstrip(b"\0") == b"Xen" and kind == _PHYS32_ENTRY:
            return True
        at += 12 + -(-name_size // 4) * 4 + -(-value_size // 4) * 4
    return False
