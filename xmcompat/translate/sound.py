"""Sound cards. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from xmcompat.guest import GuestConfig, GuestKind, Value
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import given, pairs, texts

_MODELS = {
    "sb16": ("sb16",), "es1370": ("es1370",), "ac97": ("ac97",), "hda": ("ich6",),
    "all": ("sb16", "es1370"),
}  # fmt: skip
#: What stands in for a card of Xen's own kind.
_PARAVIRTUAL = "ich9"


def sounds(guest: GuestConfig, findings: Findings) -> tuple[str, ...]:
    """libvirt's models of the cards, each once."""
    found: list[str] = []
    words = texts(guest, "soundhw") if guest.kind is GuestKind.HVM else ()
    for word in (word.strip() for text in words for word in text.split(",")):
        if word in _MODELS:
            found += _MODELS[word]
        elif word == "pcspk":
            findings.approximated(
                "soundhw", "left out: the guest has its speaker, but libvirt makes it heard by an option that QEMU no "
                "longer has", value=word,
            )  # fmt: skip
        elif word:
            findings.approximated("soundhw", "left out: libvirt has no such card", value=word,
                                  suggestion="es1370, sb16, ac97 and hda are there")  # fmt: skip
    cards = given(guest, "vsnd")
    for part in _texts_in(cards):
        findings.back_end("vsnd", pairs(part).get("backend", ""), value=part)
    if cards:
        findings.approximated("vsnd", f"a sound card of Xen's kind is an emulated {_PARAVIRTUAL}")
        found.append(_PARAVIRTUAL)
    return tuple(dict.fromkeys(found))


def _texts_in(value: Value) -> Iterator[str]:
    """The texts of lists in lists."""
    if isinstance(value, list):
        for item in value:
            yield from _texts_in(item)
    else:
        yield str(value)
