"""xl's SPICE display. Its password goes into the machine alone, never into a note. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from xmcompat.backends.devices import Graphics, GuestChannel
from xmcompat.guest import GuestConfig, GuestKind
from xmcompat.translate.addresses import is_host
from xmcompat.translate.findings import Findings
from xmcompat.translate.options import flag, text

AGENT = GuestChannel(name="com.redhat.spice.0", type="spicevmc")
_ALL = "0.0.0.0"  # xl's own default
_COMPRESSIONS = ("auto_glz", "auto_lz", "quic", "glz", "lz", "off")
_STREAMINGS = ("filter", "all", "off")
#: xl takes no more.
_MOST_REDIRECTIONS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Spice:
    """``channels`` is that of the guest's agent, ``redirections`` the number of USB devices that may come over it."""

    graphics: tuple[Graphics, ...] = ()
    channels: tuple[GuestChannel, ...] = ()
    redirections: int = 0


def spice(guest: GuestConfig, findings: Findings, keymap: str) -> Spice:
    """The display, which is none where it is not asked for."""
    if guest.kind is not GuestKind.HVM or not flag(guest, "spice", False):
        return Spice()
    agent = flag(guest, "spicevdagent", False)
    clipboard = flag(guest, "spice_clipboard_sharing", False)
    if clipboard and not agent:
        findings.approximated("spice_clipboard_sharing", "the clipboard goes through the guest's agent, which is off",
                              suggestion="set spicevdagent = 1")  # fmt: skip
    port, tls = _port(guest, "spiceport", findings), _port(guest, "spicetls_port", findings)
    if tls is not None:
        findings.approximated("spicetls_port", "the host's libvirt must have TLS for SPICE on", value=str(tls),
                              suggestion="set spice_tls = 1 in its qemu.conf")  # fmt: skip
    if port is None and tls is None:
        findings.approximated("spice", "no port is given; a free one is taken",
                              suggestion="give one with spiceport")  # fmt: skip
    listen = text(guest, "spicehost").strip("[]") or _ALL
    if not is_host(listen):
        findings.refuse("spicehost", "that is no address; write one like 127.0.0.1", value=listen)
    graphics = Graphics(
        type="spice",
        listen=listen,
        port=port,
        tls_port=tls,
        password=_password(guest, findings),
        keymap=keymap,
        mouse="" if flag(guest, "spiceagent_mouse", True) else "server",
        clipboard=clipboard,
        image_compression=_word(guest, "spice_image_compression", _COMPRESSIONS, findings),
        streaming=_word(guest, "spice_streaming_video", _STREAMINGS, findings),
    )
    return Spice(
        graphics=(graphics,), channels=(AGENT,) if agent else (), redirections=_redirections(guest, findings)
    )


def _password(guest: GuestConfig, findings: Findings) -> str | None:
    if flag(guest, "spicedisable_ticketing", False):
        return None
    password = text(guest, "spicepasswd")
    if not password:
        findings.refuse(
            "spicepasswd", "there is no password; give one, or let everybody in with spicedisable_ticketing = 1"
        )
    return password or None


def _port(guest: GuestConfig, key: str, findings: Findings) -> int | None:
    word = text(guest, key)
    if word in ("", "0"):
        return None
    if not (word.isascii() and word.isdecimal() and len(word) < 6 and int(word) < 65536):
        findings.refuse(key, "that is no port; write one of 1 to 65535", value=word)
        return None
    return int(word)


def _word(guest: GuestConfig, key: str, words: tuple[str, ...], findings: Findings) -> str:
    word = text(guest, key)
    if word in ("", *words):
        return word
    findings.approximated(key, f"left out: it is none of {', '.join(words)}", value=word)
    return ""


def _redirections(guest: GuestConfig, findings: Findings) -> int:
    word = text(guest, "spiceusbredirection")
    wished = int(word) if word.isascii() and word.isdecimal() and len(word) < 10 else 0
    if wished > _MOST_REDIRECTIONS:
        findings.approximated("spiceusbredirection", f"{_MOST_REDIRECTIONS} at most, as with xl", value=word)
    return min(wished, _MOST_REDIRECTIONS)
