"""Frozen dataclasses as JSON and back, strictly: what is not of its field's type is refused, and so is what no field has.

Fields are texts, numbers, yes and no, None beside one of them, tuples of one type or of a fixed number of them, and other
such dataclasses. Pure.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from xmcompat.errors import XmError

T = TypeVar("T")

#: Characters of a value that are shown.
_SHOWN = 60
#: Numbers beyond this are no sizes, ports or times of anything.
_MOST = 1 << 64


class NotOfForm(XmError):
    """A value is not what it should be: the place in the document, and what stands there."""


def to_json(value: object) -> Any:  # noqa: ANN401 - what json.dumps takes
    """What ``json.dumps`` takes of a dataclass, or of what stands in one. Fields that are as their default are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {field.name: to_json(found) for field, found in fields if not _is(found, field.default)}
    if isinstance(value, tuple):
        return [to_json(one) for one in value]
    return value


def _is(value: object, default: object) -> bool:
    return type(value) is type(default) and value == default


def from_json(kind: type[T], data: object, place: str = "") -> T:
    """DATA, as ``json.loads`` gives it, as a value of KIND, a dataclass. Raises NotOfForm."""
    return typing.cast(T, _read(kind, data, place or kind.__name__))


@cache
def _hints(kind: type) -> Mapping[str, object]:
    return typing.get_type_hints(kind)


def _read(kind: object, data: object, place: str) -> object:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _read_fields(kind, data, place)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return _read_tuple(parts, data, place)
    if origin is types.UnionType:
        if data is None and type(None) in parts:
            return None
        (kind,) = (one for one in parts if one is not type(None))
    if kind is float and type(data) is int:
        data = float(data) if abs(data) < _MOST else data
    if type(data) is not kind or (isinstance(data, int | float) and not abs(data) < _MOST):
        raise _wrong(place, data, f"no {_word(kind)}")
    return data


def _word(kind: object) -> str:
    words: dict[object, str] = {str: "text", int: "whole number", float: "number", bool: "yes or no"}
    return words[kind]


def _wrong(place: str, data: object, why: str) -> NotOfForm:
    text = repr(data) if isinstance(data, str | int | float | None) else type(data).__name__
    return NotOfForm(f"{place} is {text[:_SHOWN]}{'...' if len(text) > _SHOWN else ''}, which is {why}")


def _read_fields(kind: type, data: object, place: str) -> object:
    if not isinstance(data, dict):
        raise _wrong(place, data, "no object")
    hints = _hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in data:
        if name not in fields:
            raise NotOfForm(f"{place} has no {repr(name)[:_SHOWN]}", hint="install the same xmcompat on both hosts")
    for name, field in fields.items():
        if name not in data and field.default is dataclasses.MISSING:
            raise NotOfForm(f"{place} lacks '{name}'")
    return kind(**{name: _read_field(fields[name], hints[name], found, f"{place}.{name}") for name, found in data.items()})


def _read_field(field: dataclasses.Field[Any], kind: object, data: object, place: str) -> object:
    """What stands in a field that no repr shows is shown in no error either."""
    try:
        return _read(kind, data, place)
    except NotOfForm:
        if field.repr:
            raise
    raise NotOfForm(f"{place} is not what it should be")


def _read_tuple(parts: tuple[object, ...], data: object, place: str) -> tuple[object, ...]:
    if not isinstance(data, list):
        raise _wrong(place, data, "no list")
    if len(parts) == 2 and parts[1] is Ellipsis:
        parts = (parts[0],) * len(data)
    if len(data) != len(parts):
        raise _wrong(place, data, f"no list of {len(parts)}")
    return tuple(_read(part, one, f"{place}[{index}]") for index, (part, one) in enumerate(zip(parts, data, strict=True)))
