"""Serial ports, parallel ports and consoles. Pure."""

from __future__ import annotations

import re

from xmcompat.backends.machine import CharDevice
from xmcompat.guest import GuestConfig
from xmcompat.translate.cmdline import VIRTIO
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import texts

_MOST_SERIALS = 4
_MOST_PARALLELS = 3
_NET = re.compile(r"(?P<kind>tcp|telnet):(?P<host>\[[^\]]*\]|[^:,]*):(?P<port>[0-9]+)(?P<options>(?:,[^,]*)*)")
_UDP = re.compile(
    r"udp:(?P<host>\[[^\]]*\]|[^:@,]*):(?P<port>[0-9]+)"
    r"(?:@(?P<near>\[[^\]]*\]|[^:@,]*):(?P<near_port>[0-9]+))?"
)
_UNIX = re.compile(r"unix:(?P<path>[^,]+)(?P<options>(?:,[^,]*)*)")


def pv_consoles() -> tuple[CharDevice, ...]:
    """The serial port, which shows the kernel from its first message, and the virtio console, which is hvc0."""
    return CharDevice(kind="serial"), CharDevice(kind="virtio")


def pv_console_names(primary: str) -> tuple[str, ...]:
    """libvirt's names of the two, the main one first: it is number 0 of ``xm console -n``."""
    return ("console1", "serial0") if primary == VIRTIO else ("serial0", "console1")


def hvm_consoles(guest: GuestConfig, findings: Findings) -> tuple[CharDevice, ...]:
    """Serial ports as configured (one with a pty where there is none), and parallel ports."""
    serials = _devices("serial", guest.serials, _MOST_SERIALS, findings)
    if not serials:
        serials = [CharDevice(kind="serial")]
    return (*serials, *_devices("parallel", texts(guest, "parallel"), _MOST_PARALLELS, findings))


def hvm_console_names(consoles: tuple[CharDevice, ...]) -> tuple[str, ...]:
    """libvirt's names of the serial ports that can be opened."""
    serials = [device for device in consoles if device.kind == "serial"]
    return tuple(f"serial{index}" for index, device in enumerate(serials) if device.type == "pty")


def _devices(kind: str, sources: tuple[str, ...], most: int, findings: Findings) -> list[CharDevice]:
    found: list[CharDevice] = []
    for index, source in enumerate(sources):
        key = f"{kind}[{index}]" if len(sources) > 1 else kind
        device = _device(kind, source, key, findings)
        if device is None:
            continue
        if len(found) == most:
            findings.approximated(key, f"left out: a PC has no more than {most} {kind} ports", value=source)
            continue
        found.append(device)
    return found


def _device(kind: str, source: str, key: str, findings: Findings) -> CharDevice | None:
    """The device that QEMU's own words SOURCE mean; None for none."""
    word, _, rest = source.partition(":")
    if word == "mon":
        findings.approximated(key, "QEMU's monitor is not mixed into it", value=source)
        return _device(kind, rest, key, findings)
    if source in ("", "none"):
        return None
    if source in ("pty", "null"):
        return CharDevice(kind=kind, type=source)
    if word in ("stdio", "vc"):
        findings.approximated(key, "it is a pty; 'xm console' shows it", value=source)
        return CharDevice(kind=kind)
    if word in ("file", "pipe") and rest:
        return CharDevice(kind=kind, type=word, path=rest)
    if source.startswith("/dev/"):
        return CharDevice(kind=kind, type="dev", path=source)
    device = _network_device(kind, source)
    if device is None:
        findings.approximated(key, "left out: KVM has no such device", value=source, suggestion="write 'pty'")
    return device


def _network_device(kind: str, source: str) -> CharDevice | None:
    if net := _NET.fullmatch(source):
        server = "server" in _words(net["options"]) or "server=on" in _words(net["options"])
        return CharDevice(
            kind=kind, type="tcp", mode="bind" if server else "connect", host=_host(net["host"], server=server),
            service=net["port"], protocol="telnet" if net["kind"] == "telnet" else "raw",
        )  # fmt: skip
    if udp := _UDP.fullmatch(source):
        near = udp["near_port"] or ""
        return CharDevice(
            kind=kind, type="udp", mode="connect", host=_host(udp["host"], server=False), service=udp["port"],
            bind_host=(udp["near"] or "").strip("[]"), bind_service=near,
        )  # fmt: skip
    if unix := _UNIX.fullmatch(source):
        server = "server" in _words(unix["options"]) or "server=on" in _words(unix["options"])
        return CharDevice(kind=kind, type="unix", path=unix["path"], mode="bind" if server else "connect")
    return None


def _words(options: str) -> list[str]:
    return options.strip(",").split(",")


def _host(text: str, *, server: bool) -> str:
    """Without brackets. No host: all addresses for one that listens, this host for one that connects."""
    return text.strip("[]") or ("0.0.0.0" if server else "127.0.0.1")
