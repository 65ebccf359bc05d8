"""The texts of xl's disk option. Pure.

Source: the disk specification of xl, Xen 4.17, with the prefixes that it still takes from xm.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from xmcompat.errors import ConfigError, NotConvertible
from xmcompat.guest import Vbd, VbdMode
from xmcompat.vdev import index_letters, vdev_number

_MODES = {
    "r": VbdMode.READ_ONLY, "ro": VbdMode.READ_ONLY, "w": VbdMode.READ_WRITE, "rw": VbdMode.READ_WRITE,
    "": VbdMode.READ_WRITE,
}  # fmt: skip
_EMPTY = "empty"
#: "": what is not given; "empty": a drive without medium.
_FORMATS = {"raw": "raw", "qcow": "qcow", "qcow2": "qcow2", "vhd": "vhd", "qed": "qed", "": "raw", _EMPTY: _EMPTY}
_CHOICES = {
    "backendtype": ("phy", "tap", "qdisk", "standalone"),
    "specification": ("xen", "virtio"),
    "devtype": ("cdrom", "disk"),
}  # fmt: skip
_NAMED = ("format", "access", "vdev", "backend", "script", *_CHOICES)
_FLAGS = ("cdrom", "direct-io-safe", "discard", "no-discard", "trusted", "untrusted", "no-colo")
_COLO = re.compile(r"(?:colo|colo-[a-z]+|active-disk|hidden-disk)(?:=.*)?")
_ONCE = ("vdev", "script", "backend")

_PREFIX = re.compile(r"(raw|qcow2?|vhd|iscsi|e?nbd|drbd|tapdisk|tap2?|aio|ioemu|file|phy):")
_FORMAT_PREFIXES = ("raw", "qcow", "qcow2", "vhd")
_SCRIPT_PREFIXES = ("iscsi", "nbd", "enbd", "drbd")
_UNKNOWN_PREFIX = re.compile(r"[a-z][a-z0-9]*:(?![a-z0-9])")
_PARAMETER = re.compile(r"([a-z][-a-z0-9]*)=")
_OLD_DRIVE = re.compile(r"[^=,:/]+:cdrom")
_FLAT_NAME = re.compile(r"d([0-9]{1,3})(?:p([0-9]{1,2}))?")
_SCHEME = re.compile(r"([a-z][a-z0-9+]*):(.*)", re.DOTALL)
#: In characters, above the longest path with the longest parameters.
LONGEST = 8192


def parse_disk(text: str) -> Vbd:
    """``TARGET,FORMAT,VDEV,ACCESS`` and ``name=value`` parameters, in xl's order of precedence.

    A prefix of xm's in front ("phy:", "qcow2:") takes the place of FORMAT. A relative target lies below /dev.
    Raises ConfigError with xl's words, NotConvertible for a disk that a second host follows (COLO).
    Differs from xl: what has a scheme of QEMU's own ("rbd:pool/image") is no path below /dev.
    """
    if len(text) > LONGEST:
        raise ConfigError(f"a disk takes no more than {LONGEST} characters")
    spec = _Spec(text)
    rest = text.lstrip(" \t")
    while rest:
        rest = spec.take(rest).lstrip(" \t")
    return spec.vbd()


@dataclass(slots=True)
class _Access:
    """What the slots of a specification hold so far; None is not given."""

    target: str | None = None
    format: str | None = None
    access: VbdMode | None = None
    cdrom: bool = False


class _Spec:
    def __init__(self, text: str) -> None:
        self._text = text
        self._slots = _Access()
        self._named: dict[str, str] = {}
        self._flags: set[str] = set()
        self._prefixed = False
        self._discard: bool | None = None

    def take(self, rest: str) -> str:
        """Read one parameter, or one prefix, from the front of REST; returns what follows."""
        if rest.startswith("target="):
            self._target(rest.removeprefix("target="), rest)
            return ""
        prefix = _PREFIX.match(rest)
        if prefix and (self._slots.target is None or prefix[1] == "ioemu"):
            self._prefix(prefix[1])
            return rest[prefix.end():]
        field, _, following = rest.partition(",")
        if _COLO.fullmatch(field):
            raise NotConvertible(
                f"disk '{self._text}': COLO keeps a second host in step, which KVM cannot", hint="leave COLO out"
            )
        found = _PARAMETER.match(field)
        if found:
            self._parameter(found[1], field[found.end():], field)
        elif field in _FLAGS:
            self._flag(field)
        elif "=" in field:
            raise self._error("bad disk syntax", field)
        elif self._slots.target is None and _UNKNOWN_PREFIX.match(field):
            raise self._error("unknown deprecated disk prefix", field)
        else:
            self._positional(field)
        return following

    def _error(self, message: str, near: str = "") -> ConfigError:
        place = f"near `{near}' in `{self._text}'" if near else f"in `{self._text}'"
        return ConfigError(f"config parsing error in disk specification: {message}: {place}")

    def _prefix(self, word: str) -> None:
        if word == "ioemu" and self._slots.target is not None:
            return  # in front of the device's name, where xm had it
        self._prefixed = True
        if word in _FORMAT_PREFIXES:
            self._slots.format = word
        elif word in _SCRIPT_PREFIXES:
            self._once("script", f"block-{word}", f"{word}:")

    def _target(self, value: str, near: str) -> None:
        if self._slots.target:
            raise self._error("target respecified", near)
        self._slots.target = value

    def _once(self, name: str, value: str, near: str) -> None:
        if self._named.get(name):
            raise self._error(f"{name} respecified", near)
        self._named[name] = value

    def _flag(self, word: str) -> None:
        self._slots.cdrom |= word == "cdrom"
        self._discard = {"discard": True, "no-discard": False}.get(word, self._discard)
        self._flags.add(word)

    def _parameter(self, name: str, value: str, near: str) -> None:
        if name not in _NAMED:
            raise self._error("unknown parameter", near)
        if name == "format":
            self._set_format(value, near)
        elif name == "access":
            self._set_access(value, near)
        elif name == "vdev":
            self._once("vdev", self._without_type(value, near), near)
        elif name in _ONCE:
            self._once(name, value, near)
        elif value not in _CHOICES[name]:
            raise self._error(f"unknown value for {name}", near)
        elif name == "devtype":
            self._slots.cdrom = value == "cdrom"
        else:
            self._named[name] = value

    def _positional(self, field: str) -> None:
        """The next free of target, format, vdev and access; "hdc:cdrom" is a vdev wherever it stands."""
        slots = self._slots
        if _OLD_DRIVE.fullmatch(field) and "vdev" not in self._named:
            if slots.target is None:
                slots.target = ""
            self._named["vdev"] = self._without_type(field, field)
            self._prefixed = True  # no format can follow
        elif slots.target is None:
            slots.target = field
        elif slots.format is None and not self._prefixed:
            self._set_format(field, field)
        elif "vdev" not in self._named:
            self._named["vdev"] = self._without_type(field, field)
        elif slots.access is None:
            self._set_access(field, field)
        else:
            raise self._error("too many positional parameters", field)

    def _set_format(self, value: str, near: str) -> None:
        if value not in _FORMATS:
            raise self._error("unknown value for format", near)
        self._slots.format = value

    def _set_access(self, value: str, near: str) -> None:
        if value not in _MODES:
            raise self._error("unknown value for access", near)
        self._slots.access = _MODES[value]

    def _without_type(self, value: str, near: str) -> str:
        """The name in "hdc:cdrom", whose type is taken note of."""
        name, colon, kind = value.rpartition(":")
        if not colon:
            return value
        if kind not in _CHOICES["devtype"]:
            raise self._error("unknown value for devtype", near)
        self._slots.cdrom = kind == "cdrom"
        return name

    def vbd(self) -> Vbd:
        """The disk; raises ConfigError for what is missing."""
        slots = self._slots
        if not self._named.get("vdev"):
            raise self._error("no vdev specified")
        target = slots.target or ""
        image_format = _FORMATS[slots.format or ""]
        if not target and not slots.cdrom:
            raise self._error("no target specified")
        if image_format == _EMPTY:
            target, image_format = "", "raw"
        uname, protocol, path = _back_end(
            target, image_format, self._named.get("script", ""), on_device=self._named.get("backendtype") == "phy"
        )
        return Vbd(
            uname=uname, protocol=protocol, path=path, image_format=image_format, vdev=_vdev(self._named["vdev"]),
            mode=VbdMode.READ_ONLY if slots.cdrom else slots.access or VbdMode.READ_WRITE, cdrom=slots.cdrom,
            backend=self._named.get("backend", ""), script=self._named.get("script", ""), discard=self._discard,
            backendtype=self._named.get("backendtype", ""), specification=self._named.get("specification", ""),
            direct_io_safe="direct-io-safe" in self._flags,
        )  # fmt: skip


def _back_end(target: str, image_format: str, script: str, *, on_device: bool) -> tuple[str, str, str]:
    """(uname, protocol, path) in xm's words; a path is that of a device below /dev, or where ON_DEVICE says so."""
    if not target:
        return "", "", ""
    scheme = _SCHEME.fullmatch(target)
    if script not in ("", "block"):
        protocol, path = script.rpartition("/")[2].removeprefix("block-"), target
    elif scheme:
        protocol, path = scheme[1], scheme[2]
    else:
        path = target if target.startswith("/") else f"/dev/{target}"
        on_device |= path.startswith("/dev/") and not path.startswith("/dev/shm/")
        protocol = f"tap:{image_format}" if image_format != "raw" else "phy" if on_device else "file"
    return f"{protocol}:{path}", protocol, path


def _vdev(name: str) -> str:
    """The device's name; xl's own "d3p1" by the name of the same number, "xvdd1". Raises ConfigError."""
    flat = _FLAT_NAME.fullmatch(name)
    if flat:
        disk, part = int(flat[1]), int(flat[2] or 0)
        name = f"xvd{index_letters(disk)}{part or ''}"
    if vdev_number(name) is None:
        raise ConfigError(f"Invalid or unsupported virtual disk identifier {name}")
    return name.removeprefix("/dev/")
