"""Consoles and serial ports. Pure.

A paravirtual guest had one console, hvc0. On KVM hvc0 is a virtio console, whose driver is loaded late; the kernel's
first words go to a serial port. Both are there. A guest that boots by BIOS has the ports that it asks for.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from xmcompat.backends.machine import CharDevice
from xmcompat.guest import GuestConfig, GuestKind
from xmcompat.notes import Fate, Note
from xmcompat.translate.cmdline import VIRTIO


class Consoles(NamedTuple):
    """``order`` are libvirt's names of those that can be attached to, the primary one first."""

    devices: tuple[CharDevice, ...]
    order: tuple[str, ...]
    notes: tuple[Note, ...]


def translate_consoles(guest: GuestConfig, primary: str) -> Consoles:
    """The character devices. PRIMARY is the paravirtual guest's own console, "hvc0" or "ttyS0"."""
    if guest.kind is not GuestKind.HVM:
        devices = (CharDevice(kind="serial"), CharDevice(kind="virtio"))
        pair = ("console1", "serial0") if primary == VIRTIO else ("serial0", "console1")
        return Consoles(devices, pair, ())
    notes: list[Note] = []
    found = [_port("serial", text, f"serial[{index}]", notes) for index, text in enumerate(guest.serials)]
    serials = [device for device in found if device is not None]
    if not guest.serials:
        serials = [CharDevice(kind="serial")]  # none was asked for; one that nobody uses does no harm
    parallel = _port("parallel", str(guest.options.get("parallel", "") or ""), "parallel", notes)
    order = tuple(f"serial{index}" for index, device in enumerate(serials) if device.type == "pty")
    return Consoles((*serials, *([parallel] if parallel else [])), order, tuple(notes))


def _port(kind: str, text: str, key: str, notes: list[Note]) -> CharDevice | None:
    """The device of QEMU's old words for a serial port; None for "none"."""
    if text in ("", "none"):
        return None
    if text == "pty":
        return CharDevice(kind=kind)
    if text == "null":
        return CharDevice(kind=kind, type="null")
    for prefix, type_ in (("file:", "file"), ("pipe:", "pipe")):
        if text.startswith(prefix):
            return CharDevice(kind=kind, type=type_, path=text.removeprefix(prefix))
    if text.startswith("/dev/"):
        return CharDevice(kind=kind, type="dev", path=text)
    device = _socket(kind, text)
    if device is not None:
        return device
    notes.append(
        Note(key=key, value=text, fate=Fate.APPROXIMATED, reason="there is no such back end; it is a pty", harmless=False)
    )
    return CharDevice(kind=kind)


def _socket(kind: str, text: str) -> CharDevice | None:
    """tcp:HOST:PORT[,server], telnet:HOST:PORT,server, unix:PATH[,server], udp:[HOST]:PORT[@[HOST]:PORT]."""
    head, *options = text.split(",")
    mode = "bind" if "server" in options else "connect"
    found = re.fullmatch(r"(tcp|telnet):([^:]*):([0-9]+)", head)
    if found:
        protocol = "telnet" if found[1] == "telnet" else "raw"
        host = found[2] or ("127.0.0.1" if mode == "connect" else "0.0.0.0")
        return CharDevice(kind=kind, type="tcp", mode=mode, host=host, service=found[3], protocol=protocol)
    found = re.fullmatch(r"unix:(.+)", head)
    if found:
        return CharDevice(kind=kind, type="unix", mode=mode, path=found[1])
    found = re.fullmatch(r"udp:([^:]*):([0-9]+)(?:@([^:]*):([0-9]+))?", head)
    if found:
        return CharDevice(
            kind=kind, type="udp", mode="connect", host=found[1] or "127.0.0.1", service=found[2],
            bind_host=(found[3] or "0.0.0.0") if found[4] else "", bind_service=found[4] or "",
        )  # fmt: skip
    return None
