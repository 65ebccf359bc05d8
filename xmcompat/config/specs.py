"""The strings of list options: disk, vif and vfb, as xm reads them. Pure.

Errors are xm's, word for word, since scripts match them. Source: xm's create command and xend, Xen 4.1.
"""

from __future__ import annotations

import re

from xmcompat.errors import ConfigError
from xmcompat.guest import Vbd, VbdMode, Vfb, Vif
from xmcompat.vdev import vdev_number

#: What int() of Python 2 takes; longer ones are no amounts of anything.
_DIGITS = re.compile(r"[+-]?[0-9]{1,30}")
_MODES = {"r": VbdMode.READ_ONLY, "w": VbdMode.READ_WRITE, "w!": VbdMode.SHARED}

#: Types that blktap knew; others are refused.
TAP_TYPES = ("aio", "sync", "vmdk", "ram", "qcow", "qcow2", "ioemu", "vhd", "remus")
_RAW_TAP = ("aio", "sync", "ioemu")
#: Words that could belong to a script block-X of the host's.
_SCRIPT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,60}")

VIF_KEYS = ("backend", "bridge", "ip", "mac", "script", "type", "vifname", "rate", "model", "accel", "policy", "label")
VFB_KEYS = (
    "vnc", "sdl", "vncunused", "vncdisplay", "vnclisten", "vncpasswd", "display", "videoram", "xauthority", "opengl",
    "keymap", "serial", "monitor",
)  # fmt: skip


def parse_disk(text: str) -> Vbd:
    """``UNAME,VDEV,MODE[,BACKEND[,PROTOCOL]]``. Raises ConfigError.

    Blanks belong to the fields, as with xm. Differs from xm: a comma missing between two disks is named as such;
    xm passed on what came of it.
    """
    fields = text.split(",")
    if _lacks_comma(fields):
        raise ConfigError(f"Invalid disk specifier: {text}", hint="a comma is missing between two disks of the list")
    if not 3 <= len(fields) <= 5:
        raise ConfigError(f"Invalid disk specifier: {text}")
    return vbd_of(*fields)


def vbd_of(uname: str, vdev: str, mode: str, backend: str = "", abi: str = "") -> Vbd:
    """The disk that these words name. Raises ConfigError."""
    if mode not in _MODES:
        raise ConfigError("Invalid mode")
    name, cdrom, ioemu = _front_end(vdev)
    protocol, path, image_format = _back_end(uname, cdrom=cdrom)
    return Vbd(
        uname=uname, protocol=protocol, path=path, image_format=image_format, vdev=name, mode=_MODES[mode],
        cdrom=cdrom, ioemu=ioemu, backend=backend, abi=abi,
    )  # fmt: skip


def _lacks_comma(fields: list[str]) -> bool:
    """Whether two disks have run together: 'a,xvda,w' 'b,xvdb,w' is one text, with the mode "wb".

    Told by a device name where a back end's domain, or the next disk, stands.
    """
    if len(fields) < 5 or len(fields) % 2 == 0:
        return False
    names = fields[1::2]
    return all(vdev_number(name.removeprefix("ioemu:").partition(":")[0]) is not None for name in names) and all(
        not name.isdecimal() for name in names[1:]
    )


def _front_end(text: str) -> tuple[str, bool, bool]:
    """(name, is a CD-ROM, had ioemu:) of "ioemu:hdc:cdrom"."""
    ioemu = text.startswith("ioemu:")
    name, _, kind = text.removeprefix("ioemu:").partition(":")
    if vdev_number(name) is None or kind not in ("", "cdrom", "disk"):
        raise ConfigError(f"Unable to find number for device ({text})")
    return name.removeprefix("/dev/"), kind == "cdrom", ioemu


def _back_end(uname: str, *, cdrom: bool) -> tuple[str, str, str]:
    """(protocol, path, format) of a back end: "tap:qcow2:/x" is ("tap:qcow2", "/x", "qcow2")."""
    if not uname and cdrom:
        return "", "", "raw"
    protocol, colon, rest = uname.partition(":")
    if not colon:
        raise ConfigError("Block device must have physical details specified")
    if not rest and not cdrom:
        raise ConfigError("Block device must have physical details specified")
    if protocol == "phy":
        return "phy", rest if rest.startswith("/") or not rest else f"/dev/{rest}", "raw"
    if protocol == "file":
        return "file", _below_root(rest), "raw"
    if protocol in ("tap", "tap2"):
        return _tap(protocol, rest)
    if protocol == "vhd":
        return "vhd", _below_root(rest), "vhd"
    if protocol in ("drbd", "iscsi", "nbd", "enbd", "nfs", "npiv", "rbd"):
        return protocol, rest, "raw"
    if _SCRIPT.fullmatch(protocol):
        return protocol, rest, "raw"
    raise ConfigError(f'Block device type "{protocol}" is invalid.')


def _tap(protocol: str, rest: str) -> tuple[str, str, str]:
    words = rest.split(":")
    if words[0] == "tapdisk":
        protocol, words = f"{protocol}:tapdisk", words[1:]
    kind = words[0]
    if kind == "ioemu" and len(words) > 2 and words[1] in TAP_TYPES:
        protocol, words = f"{protocol}:ioemu", words[1:]
        kind = words[0]
    if len(words) < 2 or kind not in TAP_TYPES:
        raise ConfigError(f"tap:{kind} not a valid disk type")
    path = ":".join(words[1:])
    if kind not in ("ram", "remus"):
        path = _below_root(path)
    return f"{protocol}:{kind}", path, "raw" if kind in _RAW_TAP else kind


def _below_root(path: str) -> str:
    """An image's path as xend's back ends take it: they run in the root folder."""
    return path if path.startswith("/") or not path else f"/{path}"


def pairs(text: str) -> list[tuple[str, str]]:
    """The key=value pieces, blanks around both taken off; none for a blank text. Raises ConfigError."""
    if not text.strip():
        return []
    found = []
    for piece in text.split(","):
        key, equals, value = piece.partition("=")
        if not equals:
            raise ConfigError(f"{piece} should be a pair, separated by an equals sign.")
        found.append((key.strip(), value.strip()))
    return found


def parse_vif(text: str) -> Vif:
    """``key=value,...``; an empty text is an interface with all defaults. Raises ConfigError."""
    values: dict[str, str] = {}
    for key, value in pairs(text):
        if key not in VIF_KEYS:
            raise ConfigError(f"Invalid vif option: {key}")
        values[key] = value
    return Vif(**values)  # type: ignore[arg-type]  # its keys are those of texts


def vfb_values(text: str) -> dict[str, str]:
    """The keys of one frame buffer, ``type=vnc`` as ``vnc=1``. Raises ConfigError."""
    values: dict[str, str] = {}
    for key, value in pairs(text):
        # the old form: type=vnc is vnc=1
        key, value = (value, "1") if key == "type" else (key, value)
        if key not in VFB_KEYS:
            raise ConfigError(f"configuration option {key} unknown to vfbs")
        values[key] = value
    return values


def vfb_from(values: dict[str, str]) -> Vfb:
    """A frame buffer of xm's words. Raises ConfigError for a number that is none."""
    return Vfb(
        vnc=is_on(values.get("vnc")),
        sdl=is_on(values.get("sdl")),
        listen=values.get("vnclisten", ""),
        display=integer(values["vncdisplay"], "vncdisplay") if values.get("vncdisplay") else None,
        unused=is_on(values.get("vncunused", "1")),
        password=values.get("vncpasswd"),
        keymap=values.get("keymap", ""),
        x_display=values.get("display", ""),
        xauthority=values.get("xauthority", ""),
        opengl=is_on(values["opengl"]) if values.get("opengl") else None,
        videoram=integer(values["videoram"], "videoram") if values.get("videoram") else None,
    )


def is_on(value: object) -> bool:
    """A flag of a file or of a device string: 0, "0", "" and nothing are off."""
    return str(value).strip().lower() not in ("", "0", "none", "no", "n", "false")


def integer(value: object, key: str) -> int:
    """A number as xend takes it: an int, a float without a fraction, or a text of digits. Raises ConfigError."""
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        return int(value)
    raise ConfigError(f"{key} = {value!r} is not a whole number")
