"""Displays and graphics cards. Passwords go into the machine alone, never into a note. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from xmcompat.backends.devices import Graphics, GuestChannel, Video
from xmcompat.backends.facts import HostFacts
from xmcompat.guest import Dialect, GuestConfig, GuestKind, Vfb
from xmcompat.translate.addresses import is_host
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import flag, given, pairs, text, texts
from xmcompat.translate.pci import is_intels_card, wants_card_of_host
from xmcompat.translate.spice import spice

_FIRST_PORT, _LAST_PORT = 5900, 65535
_LONGEST_PASSWORD = 8
#: The least, in KiB, and the most, in MiB.
_VGA_MEMORY, _MOST_MEMORY = 16384, 512
#: MiB; half of it is the card's RAM, half its VRAM, as with xl.
_QXL_LEAST = 128
_KEYMAPS = (
    "ar", "bepo", "cz", "da", "de", "de-ch", "en-gb", "en-us", "es", "et", "fi", "fo", "fr", "fr-be", "fr-ca", "fr-ch",
    "hr", "hu", "is", "it", "ja", "lt", "lv", "mk", "nl", "no", "pl", "pt", "pt-br", "ru", "sl", "sv", "th", "tr",
)  # fmt: skip
_VGA = {"none": "none", "stdvga": "vga", "cirrus": "cirrus", "qxl": "qxl"}
_MOST_HEADS = 16  # of QEMU's virtio card


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """What a guest shows. ``pointer``: it needs one that knows where it is, as Xen's frame buffer brings it.

    ``channels`` and ``redirections`` (of USB devices) are those of a SPICE display.
    """

    graphics: tuple[Graphics, ...] = ()
    video: Video = Video()  # noqa: RUF009 - a value that cannot change
    pointer: bool = False
    channels: tuple[GuestChannel, ...] = ()
    redirections: int = 0


def screen(guest: GuestConfig, facts: HostFacts, findings: Findings) -> Screen:
    hvm = guest.kind is GuestKind.HVM
    if hvm and flag(guest, "nographic", False):
        if flag(guest, "spice", False):
            findings.approximated("spice", "left out: nographic asks for no display", value="1")
        return Screen()
    if hvm and wants_card_of_host(guest) and not guest.pci:
        findings.approximated(
            "gfx_passthru", "no device of the host is given; the emulated card stays", value=text(guest, "gfx_passthru"),
            suggestion="give the card in pci",
        )  # fmt: skip
    elif hvm and wants_card_of_host(guest):
        findings.approximated(
            "gfx_passthru", "the guest shows itself on the host's card alone, and on no display here",
            value=text(guest, "gfx_passthru"),
            suggestion="the host must not use that card",
        )  # fmt: skip
        if text(guest, "gfx_passthru").lower() == "igd" or any(map(is_intels_card, guest.pci)):
            findings.approximated(
                "gfx_passthru", "an Intel card needs settings of QEMU (x-igd-opregion, x-igd-gms) that libvirt has no "
                "words for; its screen may stay dark", value=text(guest, "gfx_passthru"),
                suggestion="give the guest another card, or leave gfx_passthru out",
            )  # fmt: skip
        return Screen()
    shown, key = _shown(guest, findings)
    vnc = () if shown is None else (_graphics(shown, key, facts, findings),)
    spiced = spice(guest, findings, vnc[0].keymap if vnc else _keymap(text(guest, "keymap"), "keymap", findings))
    # xend has no card where it has no display; xl takes it away by nographic alone, which is told apart above
    carded = hvm and guest.dialect is Dialect.XL
    video = _video(guest, shown, findings) if vnc or spiced.graphics or carded else Video()
    return Screen(
        graphics=(*spiced.graphics, *vnc),
        video=_paravirtual_video(guest, findings) or video,
        pointer=not hvm and shown is not None,
        channels=spiced.channels,
        redirections=spiced.redirections,
    )


def _shown(guest: GuestConfig, findings: Findings) -> tuple[Vfb | None, str]:
    """The display to show, the first that is enabled, and the key that asks for it. libvirt has one of a kind."""
    enabled = [(key, vfb) for key, vfb in zip(_keys(guest), guest.vfbs, strict=True) if vfb.vnc or vfb.sdl]
    for key, _ in enabled[1:]:
        if key != "vnc" or given(guest, "vnc"):  # xl's default is nobody's wish
            findings.approximated(key, "left out: a guest has one VNC display on KVM")
    return (enabled[0][1], enabled[0][0]) if enabled else (None, "")


def _keys(guest: GuestConfig) -> list[str]:
    """The keys that ask for the displays: xl puts that of its single keys before or behind the frame buffers."""
    buffers = given(guest, "vfb")
    count = min(len(buffers), len(guest.vfbs)) if isinstance(buffers, list) else 0
    names = [f"vfb[{index}]" for index in range(count)]
    single = "sdl" if flag(guest, "sdl", False) and not flag(guest, "vnc", False) else "vnc"
    rest = [single] * (len(guest.vfbs) - count)
    asked = given(guest, "vnc") != "" or given(guest, "sdl") != ""
    return [*rest, *names] if asked else [*names, *rest]


def _graphics(vfb: Vfb, key: str, facts: HostFacts, findings: Findings) -> Graphics:
    listen = (vfb.listen or facts.vnc_listen).strip("[]")
    if not is_host(listen):
        findings.refuse(key, "that is no address; write one like 127.0.0.1", value=f"vnclisten={listen}")
    if vfb.sdl:
        what = "no SDL window opens; the VNC display alone is there" if vfb.vnc else "an SDL window is a VNC display here"
        single = not key.startswith("vfb")
        findings.approximated("sdl" if single else key, f"{what}, on {listen}", value="1" if single else "sdl=1")
    return Graphics(
        type="vnc",
        listen=listen,
        port=_port(vfb, key, findings),
        password=_password(vfb, key, facts, findings),
        keymap=_keymap(vfb.keymap or facts.keymap, key, findings),
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


def _keymap(name: str, key: str, findings: Findings) -> str:
    if not name or name in _KEYMAPS:
        return name
    findings.approximated(key, "left out: QEMU has no such keymap", value=f"keymap={name}")
    return ""


# -- graphics cards


def _video(guest: GuestConfig, shown: Vfb | None, findings: Findings) -> Video:
    if guest.kind is not GuestKind.HVM:
        return Video(model="vga", vram=_memory(shown.videoram or 0 if shown else 0, findings))
    model = _VGA.get(text(guest, "vga")) or ("vga" if flag(guest, "stdvga", False) else "cirrus")
    if model == "none":
        return Video()
    word = text(guest, "videoram")
    size = int(word) if word.isascii() and word.isdecimal() and len(word) < 10 else 0
    if model == "qxl":
        half = _memory(max(size, _QXL_LEAST) // 2, findings)
        return Video(model="qxl", ram=half, vram=half, vgamem=_VGA_MEMORY)
    return Video(model=model, vram=_memory(size, findings))


def _memory(megabytes: int, findings: Findings) -> int:
    """KiB: a power of two that QEMU's cards take, and enough for a large screen."""
    if megabytes > _MOST_MEMORY:
        findings.approximated("videoram", f"QEMU's cards have {_MOST_MEMORY} MiB at most", value=str(megabytes))
    size = min(max(megabytes, 1), _MOST_MEMORY) * 1024
    return max(_VGA_MEMORY, 1 << (size - 1).bit_length())


def _paravirtual_video(guest: GuestConfig, findings: Findings) -> Video | None:
    """QEMU's card of virtio in the place of displays of Xen's kind (vdispl), with a head for each connector."""
    displays = texts(guest, "vdispl")
    if not displays:
        return None
    heads = 0
    for index, display in enumerate(displays):
        words = pairs(display)
        findings.back_end(f"vdispl[{index}]", words.get("backend", ""), value=display)
        heads += len([connector for connector in words.get("connectors", "").split(";") if connector.strip()])
    findings.approximated(
        "vdispl", "displays of Xen's kind are one virtio graphics card, of whatever size its viewer has",
        suggestion="the guest needs its driver (virtio_gpu); set vnc = 1 to see it",
    )  # fmt: skip
    return Video(model="virtio", heads=min(max(heads, 1), _MOST_HEADS))
