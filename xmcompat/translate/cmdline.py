"""The kernel command line of a paravirtual guest: what must be said differently on KVM. Pure.

Device names change, the console changes, and a few words speak to Xen alone. Whatever is changed is told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from xmcompat.notes import Fate, Note
from xmcompat.vdev import vdev_name

#: Words whose value names a block device.
DEVICE_WORDS = ("root", "resume", "real_root", "rootdev", "real_resume", "swap")

#: Words that speak to Xen alone; prefixes end in "." or "=".
XEN_WORDS = ("xencons=", "clocksource=xen", "independent_wallclock=", "xen-blkfront.", "xen-netfront.",
             "xen_netfront.", "xen_blkfront.", "xenfb.")  # fmt: skip

SERIAL, VIRTIO = "ttyS0", "hvc0"


class Translated(NamedTuple):
    """``primary`` is the console that is /dev/console in the guest: "hvc0" or "ttyS0"."""

    text: str
    primary: str
    notes: tuple[Note, ...]


def translate_cmdline(cmdline: str, devices: Mapping[str, str]) -> Translated:
    """The command line for KVM. DEVICES maps the guest's device names to new ones: {"xvda2": "vda"}."""
    notes: list[Note] = []
    words, consoles = [], []
    for word in cmdline.split():
        key, equals, value = word.partition("=")
        if key == "console" and equals:
            consoles.append(_console(value, notes))
        elif any(word == xen or (xen[-1] in ".=" and word.startswith(xen)) for xen in XEN_WORDS):
            notes.append(Note(key="extra", value=word, fate=Fate.NO_MEANING, reason="it speaks to Xen", harmless=True))
        elif key in DEVICE_WORDS and equals:
            words.append(f"{key}={_device(key, value, devices, notes)}")
        else:
            words.append(word)
    given = list(dict.fromkeys(consoles))
    others = [name for name in given if _name(name) not in (SERIAL, VIRTIO)]
    serial = next((name for name in given if _name(name) == SERIAL), SERIAL)
    virtio = next((name for name in given if _name(name) == VIRTIO), VIRTIO)
    serial_last = bool(given) and _name(given[-1]) == SERIAL
    pair = (virtio, serial) if serial_last else (serial, virtio)
    words += [f"console={name}" for name in (*others, *pair)]
    return Translated(" ".join(words), SERIAL if serial_last else VIRTIO, tuple(notes))


def _name(console: str) -> str:
    """"ttyS0" of "ttyS0,115200n8"."""
    return console.partition(",")[0]


def _console(value: str, notes: list[Note]) -> str:
    if _name(value) != "xvc0":
        return value
    notes.append(
        Note(
            key="extra", value=f"console={value}", fate=Fate.APPROXIMATED,
            reason="xvc0 is Xen's; the console is hvc0 here",
            suggestion="a getty on xvc0 in the guest must be moved to hvc0",
        )
    )  # fmt: skip
    return VIRTIO


def _device(key: str, value: str, devices: Mapping[str, str], notes: list[Note]) -> str:
    """The value of a word that names a device; LABEL=, UUID=, LVM paths and the like stay as they are."""
    old = _named_device(value)
    new = devices.get(old)
    if new is None or new == old:
        return value
    if re.fullmatch(r"/dev/[a-z]+[0-9]*", value):
        result = f"/dev/{new}"
    elif value == old:
        result = new
    else:
        result = f"/dev/{new}"  # it was a number
    notes.append(
        Note(
            key="root" if key == "root" else "extra", value=f"{key}={value}", fate=Fate.CARRIED,
            reason=f"the device is called {new} in the guest: {key}={result}", harmless=True,
        )
    )  # fmt: skip
    return result


def _named_device(value: str) -> str:
    """The Xen name of the device that VALUE means: "/dev/xvda2", "xvda2", "0xca02", "ca02", "202:2"."""
    name = value.removeprefix("/dev/")
    if re.fullmatch(r"(xvd|sd|hd)[a-z]+[0-9]*", name):
        return name
    pair = re.fullmatch(r"([0-9]+):([0-9]+)", value)
    if pair:
        return vdev_name(int(pair[1]) << 8 | int(pair[2])) or ""
    number = re.fullmatch(r"0x([0-9a-fA-F]{3,8})|([0-9a-fA-F]{3,4})", value)
    return (vdev_name(int(number[1] or number[2], 16)) or "") if number else ""
