"""Displays, video, pointers and USB. Passwords go into the machine alone, never into a note. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Graphics, Video
from xmcompat.guest import GuestConfig, GuestKind, Vfb
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import flag, text, texts

_FIRST_PORT, _LAST_PORT = 5900, 65535
_LONGEST_PASSWORD = 8
_VGA_MEMORY = 16384  # KiB
_KEYMAPS = (
    "ar", "bepo", "cz", "da", "de", "de-ch", "en-gb", "en-us", "es", "et", "fi", "fo", "fr", "fr-be", "fr-ca", "fr-ch",
    "hr", "hu", "is", "it", "ja", "lt", "lv", "mk", "nl", "no", "pl", "pt", "pt-br", "ru", "sl", "sv", "th", "tr",
)  # fmt: skip
_USB_VERSIONS = {"1": "piix3-uhci", "2": "ich9-ehci1", "3": "qemu-xhci"}
_VGA = {"none": "none", "stdvga": "vga", "cirrus": "cirrus", "qxl": "qxl"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """What a guest shows and is pointed at. ``usb`` is the model of the controller, "none" for no USB."""

    graphics: tuple[Graphics, ...]
    video: Video
    inputs: tuple[tuple[str, str], ...]
    usb: str


def screen(guest: GuestConfig, facts: HostFacts, findings: Findings) -> Screen:
    hvm = guest.kind is GuestKind.HVM
    inputs, usb = _usb(guest, findings) if hvm else ((), "none")
    shown = None if hvm and flag(guest, "nographic", False) else _shown(guest, findings)
    if shown is None:
        return Screen(graphics=(), video=Video(), inputs=inputs, usb=usb)
    graphics = _graphics(guest, shown, facts, findings)
    if hvm:
        return Screen(graphics=(graphics,), video=_video(guest), inputs=inputs, usb=usb)
    # Xen's frame buffer comes with a pointer that knows where it is
    vram = max(_VGA_MEMORY, _power_of_two((shown.videoram or 0) * 1024))
    return Screen(
        graphics=(graphics,), video=Video(model="vga", vram=vram), inputs=(("tablet", "usb"),), usb="piix3-uhci"
    )


def _shown(guest: GuestConfig, findings: Findings) -> Vfb | None:
    """The display to show: the first that is enabled. libvirt has one of a kind."""
    enabled = [(index, vfb) for index, vfb in enumerate(guest.vfbs) if vfb.vnc or vfb.sdl]
    for index, _ in enabled[1:]:
        findings.approximated(f"vfb[{index}]", "left out: a guest has one display on KVM")
    return enabled[0][1] if enabled else None


def _graphics(guest: GuestConfig, vfb: Vfb, facts: HostFacts, findings: Findings) -> Graphics:
    key = "vfb" if "vfb" in guest.options else "sdl" if vfb.sdl and not vfb.vnc else "vnc"
    listen = (vfb.listen or facts.vnc_listen).strip("[]")
    if not vfb.vnc:
        findings.approximated(key, f"an SDL window is a VNC display here, on {listen}", value="sdl")
    return Graphics(
        type="vnc",
        listen=listen,
        port=_port(vfb, key, findings),
        password=_password(vfb, key, facts, findings),
        keymap=_keymap(vfb, key, findings),
    )


def _port(vfb: Vfb, key: str, findings: Findings) -> int | None:
    display = vfb.display or 0
    if vfb.unused or not vfb.vnc:
        if display:
            findings.approximated(
                key, "any free display is taken, from 0 on", value=f"vncdisplay={display}", harmless=True
            )
        return None
    port = _FIRST_PORT + display
    if not _FIRST_PORT <= port <= _LAST_PORT:
        findings.refuse(
            key, f"no such display; write one of 0 to {_LAST_PORT - _FIRST_PORT}", value=f"vncdisplay={display}"
        )
        return None
    return port


def _password(vfb: Vfb, key: str, facts: HostFacts, findings: Findings) -> str | None:
    """None is no password asked: an empty one would keep everybody out."""
    password = facts.vnc_password if vfb.password is None else vfb.password
    if len(password.encode()) > _LONGEST_PASSWORD:
        findings.approximated(key, f"VNC knows the first {_LONGEST_PASSWORD} characters of a password, as on Xen")
        password = password.encode()[:_LONGEST_PASSWORD].decode(errors="ignore")
    return password or None


def _keymap(vfb: Vfb, key: str, findings: Findings) -> str:
    if not vfb.keymap or vfb.keymap in _KEYMAPS:
        return vfb.keymap
    findings.approximated(key, "left out: QEMU has no such keymap", value=f"keymap={vfb.keymap}")
    return ""


def _video(guest: GuestConfig) -> Video:
    model = _VGA.get(text(guest, "vga")) or ("vga" if flag(guest, "stdvga", False) else "cirrus")
    if model == "none":
        return Video()
    megabytes = text(guest, "videoram")
    wished = int(megabytes) * 1024 if megabytes.isascii() and megabytes.isdecimal() else 0
    return Video(model=model, vram=max(_VGA_MEMORY, _power_of_two(wished)))


def _power_of_two(size: int) -> int:
    return 1 << max(size - 1, 0).bit_length()


def _usb(guest: GuestConfig, findings: Findings) -> tuple[tuple[tuple[str, str], ...], str]:
    """Pointers and keyboards, and the controller that they need."""
    inputs = []
    for device in texts(guest, "usbdevice"):
        if device in ("tablet", "mouse", "keyboard"):
            inputs.append((device, "usb"))
        else:
            findings.not_yet("usbdevice", "left out", value=device, suggestion="attach it with virsh attach-device")
    controller = _USB_VERSIONS.get(text(guest, "usbversion"), "")
    if not controller:
        wanted = inputs or texts(guest, "usbdevice") or flag(guest, "usb", False)
        controller = "piix3-uhci" if wanted else "none"
    return tuple(dict.fromkeys(inputs)), controller
