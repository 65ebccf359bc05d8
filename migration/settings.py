"""The table [migration] of the settings file: how guests are moved from this host, and how they may come. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from xmcompat.errors import ConfigError

TRANSPORTS = ("tls", "ssh", "tcp")
#: What becomes of a guest that changes its memory faster than it can be copied.
POLICIES = ("auto-converge", "post-copy", "stop", "give-up")
_EXAMPLE = 'write [migration], and below it lines like deadline = 600'


class MigrationSettings(NamedTuple):
    """``transport`` "" is the best that is set up with the other host: tls, else ssh. ``allow_tcp``: a guest's memory and
    the words about it may go in clear where both hosts say so.

    ``bandwidth`` is the most that moves take together, in MiB/s, None for no limit. ``policy`` is what happens to a guest
    that is not over after ``deadline`` seconds. ``ports`` are those for memory on this host, both ends among them.
    ``address`` is where it is expected, "" for the one by which the other host is spoken to. ``certificates`` is the folder
    of those that "xmcompat migrate setup" makes, ``pki`` that of libvirt's and QEMU's; ``ssh`` the program that reaches
    other hosts, of which one that says nothing for ``silence`` seconds is taken for lost. ``hosts`` are those to which
    guests go when this one is evacuated.
    """

    transport: str = ""
    allow_tcp: bool = False
    bandwidth: int | None = None
    deadline: float = 600.0
    policy: str = "auto-converge"
    ports: tuple[int, int] = (49152, 49215)
    address: str = ""
    certificates: str = "/etc/xmcompat/migration"
    pki: str = "/etc/pki"
    ssh: str = "ssh"
    silence: float = 30.0
    hosts: tuple[str, ...] = ()


def read(table: Mapping[str, object], path: str) -> MigrationSettings:
    """The settings in TABLE of the file PATH. Raises ConfigError for what cannot be meant."""
    unknown = next((key for key in table if key not in MigrationSettings._fields), None)
    if unknown is not None:
        raise _error(path, f"unknown setting '{unknown}'", f"known: {', '.join(MigrationSettings._fields)}")
    values = {key: _READERS[key](key, value, path) for key, value in table.items()}
    return MigrationSettings(**values)  # type: ignore[arg-type]


def _error(path: str, told: str, hint: str = _EXAMPLE) -> ConfigError:
    return ConfigError(f"[migration] {told}", path=path, hint=hint)


def _choice(words: tuple[str, ...], key: str, value: object, path: str) -> str:
    if not isinstance(value, str) or value not in words:
        raise _error(path, f"{key} = {value!r} is unknown", f"known: {', '.join(words)}")
    return value


def _truth(key: str, value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise _error(path, f"{key} = {value!r} is neither true nor false")
    return value


def _number(key: str, value: object, path: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise _error(path, f"{key} = {value!r} is no whole number from 1 to {most}")
    return value


def _ports(key: str, value: object, path: str) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise _error(path, f"{key} = {value!r} is no pair of ports", "write ports = [49152, 49215]")
    first, last = (_number(key, one, path, 65535) for one in value)
    if first > last:
        raise _error(path, f"{key} = {value!r} ends before it begins", "write ports = [49152, 49215]")
    return first, last


def _text(key: str, value: object, path: str) -> str:
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        raise _error(path, f"{key} = {value!r} is no address or name in quotes")
    return value


def _folder(key: str, value: object, path: str) -> str:
    if not isinstance(value, str) or not value.startswith("/") or not value.isprintable():
        raise _error(path, f"{key} = {value!r} is no absolute path of a folder")
    return value.rstrip("/") or "/"


def _names(key: str, value: object, path: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _error(path, f"{key} = {value!r} is no list of names", 'write hosts = ["node2", "node3"]')
    return tuple(_text(key, one, path) for one in value)


_READERS = {
    "transport": lambda key, value, path: _choice(TRANSPORTS, key, value, path),
    "allow_tcp": _truth,
    "bandwidth": lambda key, value, path: _number(key, value, path, 1 << 20),
    "deadline": lambda key, value, path: float(_number(key, value, path, 30 * 86400)),
    "policy": lambda key, value, path: _choice(POLICIES, key, value, path),
    "ports": _ports,
    "address": _text,
    "certificates": _folder,
    "pki": _folder,
    "ssh": _text,
    "silence": lambda key, value, path: float(_number(key, value, path, 3600)),
    "hosts": _names,
}
