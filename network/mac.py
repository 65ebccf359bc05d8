"""MAC addresses in Xen's range."""

from __future__ import annotations

import os


def generate() -> str:
    """Draw a MAC address as xend does: ``00:16:3e``, a byte below 0x80, two bytes.

    Source: the layout that xm-made guests carry; the range is registered to Xen.
    """
    drawn = os.urandom(3)
    return "00:16:3e:" + ":".join(f"{byte:02x}" for byte in (drawn[0] & 0x7F, drawn[1], drawn[2]))


def derived(name: str, index: int, attempt: int = 0) -> str:
    """The address of the interface INDEX of the guest NAME where nothing may be drawn: the same each time.

    ATTEMPT asks for another one.
    """
    import hashlib

    digest = hashlib.sha256(f"{name}\0{index}\0{attempt}".encode("utf-8", "surrogatepass")).digest()
    return "00:16:3e:" + ":".join(f"{byte:02x}" for byte in (digest[0] & 0x7F, digest[1], digest[2]))
