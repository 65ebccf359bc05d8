"""Changes to the files of a Linux guest: what becomes of each text. Pure."""

from __future__ import annotations

import re

from xmcompat.storage.image_programs import ImageError

CONSOLES = ("hvc0", "ttyS0")

#: Devices that a console of a Xen guest can have been.
_XEN_CONSOLES = ("hvc0", "xvc0", "ttyS0")

_KEY = re.compile(r"(?:ssh-(?:rsa|ed25519|dss)|ecdsa-sha2-nistp\d+|sk-[\w.@-]+) [A-Za-z0-9+/]+=*(?: [^\n]*)?")


def checked_hostname(name: str) -> str:
    """NAME, where it can be one. Raises ImageError."""
    labels = name.split(".")
    if len(name) > 64 or not all(re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", one) for one in labels):
        raise ImageError(f"'{name}' is no host name", hint="use letters, digits and '-', at most 64 characters")
    return name


def renamed_hosts(text: str, old: str, new: str) -> str:
    """/etc/hosts with NEW in the place of OLD."""
    return re.sub(rf"(?m)(?<=[ \t]){re.escape(old)}(?=[ \t.]|$)", lambda _: new, text) if old else text


def vda_for_xvda(text: str) -> str:
    """/etc/fstab with /dev/vdX in the place of /dev/xvdX; comments stay as they are."""
    return re.sub(r"(?m)^(\s*)/dev/xvd(?=[a-z]+\d*\s)", r"\1/dev/vd", text)


def inittab_console(text: str, console: str) -> str:
    """/etc/inittab with a getty on CONSOLE, in the place of one on another console of Xen's."""
    pattern = re.compile(rf"^([^#:\n]+):([^:\n]*):respawn:(.*)\b({'|'.join(_XEN_CONSOLES)})\b(.*)$", re.MULTILINE)
    if pattern.search(text):
        return pattern.sub(lambda found: f"{found[1]}:{found[2]}:respawn:{found[3]}{console}{found[5]}", text)
    ident = "h0" if console == "hvc0" else "T0"
    return f"{text.rstrip()}\n{ident}:2345:respawn:/sbin/getty -L {console} 115200 vt100\n"


def upstart_console(console: str) -> str:
    """A job of upstart with a getty on CONSOLE."""
    return (
        f"start on stopped rc RUNLEVEL=[2345]\nstop on runlevel [!2345]\nrespawn\n"
        f"exec /sbin/getty -L {console} 115200 vt100\n"
    )


def with_terminal(text: str, console: str) -> str:
    """/etc/securetty with CONSOLE in it."""
    return text if console in text.split() else f"{text.rstrip()}\n{console}\n"


def checked_keys(text: str, path: str) -> list[str]:
    """The public keys of a file. Raises ImageError for a line that is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if "PRIVATE KEY" in text:
        raise ImageError(f"{path} is a private key", hint=f"give the public one: {path}.pub")
    for number, line in enumerate(lines, 1):
        if not _KEY.fullmatch(line):
            raise ImageError(f"{path}:{number}: this is no public key of ssh")
    if not lines:
        raise ImageError(f"{path} has no key in it")
    return lines


def with_keys(text: str, keys: list[str]) -> str:
    """authorized_keys with KEYS that are not in it yet."""
    present = set(text.splitlines())
    return (
        text
        + ("\n" if text and not text.endswith("\n") else "")
        + "".join(key + "\n" for key in keys if key not in present)
    )


def locked_root(text: str) -> str:
    """/etc/shadow with root's password locked, as passwd -l does it. Raises ImageError where root is not in it."""
    changed, count = re.subn(r"(?m)^root:(?![!*])", "root:!", text)
    if not count and not re.search(r"(?m)^root:[!*]", text):
        raise ImageError("/etc/shadow in the image has no root", hint="its root file system may be another partition")
    return changed
