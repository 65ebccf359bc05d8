"""GuestConfig to a JSON document and back. ``guest.schema.json`` beside this file says what such a document holds. Pure.

The members are the fields of GuestConfig and its parts, under their names; enumerations stand by their values. ``boot``
says in ``kind`` which of the three ways it is. Units are those of GuestConfig: memory in MiB.
"""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache

from xmcompat.disk_logins import without_password, without_passwords
from xmcompat.errors import ConfigError
from xmcompat.guest import FirmwareBoot, GuestConfig, KernelBoot, LoaderBoot, Value

#: Goes up when a document of the old form can no longer be read as one of the new.
VERSION = 1

_BOOTS: Mapping[str, type] = {"kernel": KernelBoot, "loader": LoaderBoot, "firmware": FirmwareBoot}
#: Least values of numbers that the schema bounds.
_LEAST = {"memory": 1, "maxmem": 1, "vcpus": 1, "vcpus_online": 1, "weight": 1, "cap": 0}
_DEEPEST = 100
_LONGEST_SHOWN = 60
#: Characters that no XML document, and so no guest of libvirt, can hold.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SECRET_NAME = re.compile("passw", re.IGNORECASE)
_SECRET_PIECE = re.compile(r"(^|,)\s*\w*passw(?:or)?d\s*=[^,]*", re.IGNORECASE)


def guest_document(guest: GuestConfig, *, secrets: bool = True) -> dict[str, object]:
    """GUEST as a value that JSON can hold, all of its fields. Without SECRETS, passwords are left out.

    Numbers that JSON lacks (infinities) become texts.
    """
    document: dict[str, object] = {"version": VERSION, **_members(guest)}
    document["boot"] = {"kind": _boot_kind(guest), **_members(guest.boot)}
    return document if secrets else _without_secrets(document)


def _boot_kind(guest: GuestConfig) -> str:
    return next(kind for kind, class_ in _BOOTS.items() if isinstance(guest.boot, class_))


def _members(part: object) -> dict[str, object]:
    return {field.name: _plain(getattr(part, field.name)) for field in fields(part)}  # type: ignore[arg-type]


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return _members(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _without_secrets(document: dict[str, object]) -> dict[str, object]:
    return {name: _public(value) for name, value in document.items() if not _SECRET_NAME.search(name)}


def _disk_without_password(disk: dict[str, object]) -> dict[str, object]:
    """A disk less the password in its words."""
    protocol = str(disk.get("protocol", ""))
    path = without_password(f"{protocol}:{disk.get('path', '')}").removeprefix(f"{protocol}:")
    return {**disk, "uname": without_password(str(disk["uname"])), "path": path}


def _public(value: object) -> object:
    """VALUE less the members named for passwords, and the ``...passwd=...`` pieces of its texts."""
    if isinstance(value, dict):
        return _without_secrets(_disk_without_password(value) if "uname" in value else value)
    if isinstance(value, str):
        value = without_passwords(value)
    if isinstance(value, list):
        return [_public(item) for item in value]
    if isinstance(value, str) and _SECRET_NAME.search(value):
        return _SECRET_PIECE.sub("", value).removeprefix(",")
    return value


# -- the way back


def guest_from(document: object) -> GuestConfig:
    """The guest of a document. What is missing has the default of its field; only version, name and boot must be there.

    Raises ConfigError that names the member which is wrong.
    """
    if not isinstance(document, dict):
        raise ConfigError("this is no guest: a JSON object is wanted")
    version = document.get("version")
    if version != VERSION or isinstance(version, bool):
        raise ConfigError(f"version: {_shown(version)} is not {VERSION}", hint="convert the guest's own file anew")
    members = {name: value for name, value in document.items() if name != "version"}
    guest = _part(GuestConfig, members, "")
    assert isinstance(guest, GuestConfig)
    if not guest.name:
        raise ConfigError("name: it is empty")
    return guest


@cache
def _hints(class_: type) -> dict[str, object]:
    return typing.get_type_hints(class_)


def _part(class_: type, value: object, place: str) -> object:
    """The dataclass CLASS_ of an object's members. Raises ConfigError."""
    if not isinstance(value, dict):
        raise _wrong(place, value, "an object")
    known = {field.name: field for field in fields(class_)}
    for name in value:
        if name not in known:
            raise ConfigError(f"{_at(place, str(name))}: there is no such member")
    found = {name: _field(class_, name, item, _at(place, name)) for name, item in value.items()}
    for name, field in known.items():
        if name not in found and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{_at(place, name)}: it is missing")
    return class_(**found)


def _field(class_: type, name: str, value: object, place: str) -> object:
    if class_ is GuestConfig and name == "boot":
        return _boot(value, place)
    if class_ is GuestConfig and name in ("options", "unknown", "lines"):
        return _mapping(value, place, fit=name == "options", numbers=name == "lines")
    if class_ is GuestConfig and name == "source" and isinstance(value, str):
        return value  # names of files may hold anything
    found = _typed(_hints(class_)[name], value, place)
    if class_ is GuestConfig and isinstance(found, int) and found < _LEAST.get(name, found):
        raise ConfigError(f"{place}: {found} is less than {_LEAST[name]}")
    return found


def _boot(value: object, place: str) -> object:
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(kind, str) or kind not in _BOOTS:
        raise _wrong(f"{place}.kind", kind, f"one of {', '.join(_BOOTS)}")
    return _part(_BOOTS[kind], {name: item for name, item in value.items() if name != "kind"}, place)


def _mapping(value: object, place: str, *, fit: bool, numbers: bool) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _wrong(place, value, "an object")
    return {
        str(name): _typed(int, item, _at(place, str(name))) if numbers else _setting(item, _at(place, str(name)), fit, 0)
        for name, item in value.items()
    }


def _setting(value: object, place: str, fit: bool, depth: int) -> Value:
    """A text, number or list of these."""
    if isinstance(value, list):
        if depth >= _DEEPEST:
            raise ConfigError(f"{place}: lists are nested more than {_DEEPEST} deep")
        return [_setting(item, place, fit, depth + 1) for item in value]
    if isinstance(value, str):
        return _text(value, place) if fit else value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise _wrong(place, value, "a text, a number or a list")


def _typed(hint: object, value: object, place: str) -> object:
    """VALUE, once it is of the type HINT."""
    arguments = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _typed(inner, value, place)
    if typing.get_origin(hint) is tuple:
        return _items(arguments, value, place)
    if isinstance(hint, type) and issubclass(hint, Enum):
        words = [member.value for member in hint]
        if not isinstance(value, str) or value not in words:
            raise _wrong(place, value, f"one of {', '.join(words)}")
        return hint(value)
    if isinstance(hint, type) and is_dataclass(hint):
        return _part(hint, value, place)
    return _single(hint, value, place)


def _items(arguments: tuple[object, ...], value: object, place: str) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise _wrong(place, value, "a list")
    if arguments[-1] is Ellipsis:
        return tuple(_typed(arguments[0], item, f"{place}[{index}]") for index, item in enumerate(value))
    if len(value) != len(arguments):
        raise _wrong(place, value, f"a list of {len(arguments)}")
    return tuple(_typed(hint, item, f"{place}[{index}]") for index, (hint, item) in enumerate(zip(
        arguments, value, strict=True)))  # fmt: skip


def _single(hint: object, value: object, place: str) -> object:
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)  # to JSON, 1.0 is 1
    if hint is str and isinstance(value, str):
        return _text(value, place)
    raise _wrong(place, value, {bool: "true or false", int: "a whole number"}.get(hint, "a text"))  # type: ignore[call-overload]


def _text(value: str, place: str) -> str:
    if _UNFIT.search(value):
        raise ConfigError(f"{place}: it has a character that no setting can have")
    return value


def _at(place: str, name: str) -> str:
    name = _cut(name if name.isprintable() else ascii(name))
    return f"{place}.{name}" if place else name


def _wrong(place: str, value: object, wanted: str) -> ConfigError:
    return ConfigError(f"{place}: {_shown(value, place)} is not {wanted}")


def _shown(value: object, place: str = "") -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return "the value" if _SECRET_NAME.search(place) else "nothing" if value is None else _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
