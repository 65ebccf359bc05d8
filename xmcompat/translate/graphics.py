"""Frame buffers and displays. Pure. Passwords never come into a note."""

from __future__ import annotations

from typing import NamedTuple

from xmcompat.backends.facts import HostFacts
from xmcompat.backends.machine import Graphics, Video
from xmcompat.guest import GuestConfig, GuestKind, Vfb
from xmcompat.notes import Fate, Note

LONGEST_PASSWORD = 8
FIRST_PORT = 5900
LEAST_VGA = 16384  # KiB


class Displays(NamedTuple):
    graphics: tuple[Graphics, ...]
    video: Video
    inputs: tuple[tuple[str, str], ...]
    notes: tuple[Note, ...]


def translate_displays(guest: GuestConfig, facts: HostFacts) -> Displays:
    """The display of the first frame buffer that is on; libvirt's guests have one VNC server."""
    notes: list[Note] = []
    on = [(index, vfb) for index, vfb in enumerate(guest.vfbs) if vfb.vnc or vfb.sdl]
    for index, _ in on[1:]:
        notes.append(
            Note(key=f"vfb[{index}]", fate=Fate.NOT_YET, reason="a guest has one display here: the first frame buffer")
        )
    if not on:
        return Displays((), Video(), (), tuple(notes))
    index, vfb = on[0]
    key = f"vfb[{index}]" if "vfb" in guest.options else "vnc"
    if vfb.sdl and not vfb.vnc:
        notes.append(
            Note(key=key, value="sdl=1", fate=Fate.APPROXIMATED, reason="there is no SDL window; it is a VNC display")
        )
    hvm = guest.kind is GuestKind.HVM
    inputs = () if hvm else (("tablet", "usb"),)
    return Displays((_vnc(vfb, key, facts, notes),), _video(guest, vfb, hvm=hvm), inputs, tuple(notes))


def _vnc(vfb: Vfb, key: str, facts: HostFacts, notes: list[Note]) -> Graphics:
    password = facts.vnc_password if vfb.password is None else vfb.password
    if len(password) > LONGEST_PASSWORD:
        notes.append(
            Note(
                key=f"{key}.vncpasswd", fate=Fate.APPROXIMATED,
                reason=f"VNC passwords have {LONGEST_PASSWORD} characters at most; the rest is cut off",
            )
        )  # fmt: skip
    port = FIRST_PORT + (vfb.display or 0) if not vfb.unused else None
    if port is None and vfb.display:
        notes.append(
            Note(
                key=f"{key}.vncdisplay", value=str(vfb.display), fate=Fate.APPROXIMATED, harmless=True,
                reason="with vncunused, libvirt takes the first free display",
            )
        )  # fmt: skip
    return Graphics(
        listen=vfb.listen or facts.vnc_listen,
        port=port,
        password=password[:LONGEST_PASSWORD] or None,  # libvirt: an empty password would close the display
        keymap=vfb.keymap,
    )


def _video(guest: GuestConfig, vfb: Vfb, *, hvm: bool) -> Video:
    wanted = (vfb.videoram or 0) * 1024
    if hvm and not guest.options.get("stdvga"):
        return Video(model="cirrus", vram=LEAST_VGA)
    vram = LEAST_VGA
    while vram < wanted:
        vram *= 2  # libvirt rounds up to a power of two
    return Video(model="vga", vram=vram)
