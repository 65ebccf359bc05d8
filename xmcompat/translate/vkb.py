"""Keyboards and pointers of Xen's own kind (xl's vkb). Pure."""

from __future__ import annotations

from xmcompat.guest import GuestConfig
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import pairs, texts

_DEVICES = (("keyboard", "feature-disable-keyboard"), ("tablet", "feature-disable-pointer"))


def virtual_inputs(guest: GuestConfig, findings: Findings) -> tuple[tuple[str, str], ...]:
    """(type, bus) of virtio devices in their place, one of a kind."""
    found: list[tuple[str, str]] = []
    for index, device in enumerate(texts(guest, "vkb")):
        words, key = pairs(device), f"vkb[{index}]"
        findings.back_end(key, words.get("backend", ""), value=device)
        found += [(kind, "virtio") for kind, without in _DEVICES if words.get(without, "0") == "0"]
        findings.approximated(
            key, "keyboard and pointer are virtio devices", value=device,
            suggestion="the guest needs their driver (virtio_input)",
        )  # fmt: skip
    return tuple(dict.fromkeys(found))
