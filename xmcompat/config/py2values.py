"""Values of Python 2, and what they cost: a script may not take more steps or memory than any honest one. Pure."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from xmcompat.errors import ConfigLimit, UnsupportedConfig

#: The largest number, in bits: larger ones come from bombs.
MOST_BITS = 4096
#: Bytes of an item in a list, and of one that is made with it.
POINTER, OBJECT = 8, 64
WORD = 2**63


class Long(int):
    """A number that Python 2 called long."""


class Unicode(str):
    """A text that Python 2 kept apart from its byte strings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one script may take: steps, characters or items in one value, bytes in all, depth, seconds."""

    steps: int = 1_000_000
    size: int = 1_000_000
    total: int = 50_000_000
    calls: int = 50
    depth: int = 90
    seconds: float = 5.0


class Raised(Exception):
    """An exception of the script's own world: the name of its class, its text, and what it was made with."""

    def __init__(self, kind: str, text: str = "", arguments: tuple[object, ...] | None = None) -> None:
        super().__init__(kind, text)
        self.kind = kind
        self.text = text
        self.arguments = (text,) if arguments is None else arguments


class ExceptionClass:
    """A class of exceptions in the script's world; calling it makes one."""

    def __init__(self, name: str) -> None:
        self.name = name


class Attributes:
    """A thing with attributes: only those in its table exist."""

    def __init__(self, name: str, table: dict[str, object], advice: str = "") -> None:
        self.name = name
        self.table = table
        self.advice = advice

    def attribute(self, name: str) -> object:
        return self.table.get(name)

    def item(self, key: object) -> object:
        raise Raised("TypeError", "object is unsubscriptable")


class Budget:
    """Counts what a script takes. Raises ConfigLimit when it is too much; ``line`` is where it is now.

    ``encoding`` is that of the file: "ascii", "utf-8" or "latin-1".
    """

    def __init__(self, limits: Limits, path: str, encoding: str = "ascii") -> None:
        self.limits = limits
        self.path = path
        self.encoding = encoding
        self.line = 1
        self.steps = 0
        self.total = 0
        self.until = time.monotonic() + limits.seconds

    def over(self, what: str) -> ConfigLimit:
        return ConfigLimit(what, path=self.path, line=self.line, hint="a configuration does not need that")

    def unsupported(self, what: str, hint: str = "write the value itself") -> UnsupportedConfig:
        """For what Python 2 has and scripts here have not: they cannot catch it, and so not mistake its absence."""
        return UnsupportedConfig(f"{what} is not supported", path=self.path, line=self.line, hint=hint)

    def step(self, count: int = 1) -> None:
        self.steps += count
        if self.steps > self.limits.steps:
            raise self.over(f"the script takes more than {self.limits.steps} steps")
        if self.steps % 1024 < count:
            self.clock()

    def clock(self) -> None:
        """Look at the clock; steps do so now and then, what may take long must."""
        if time.monotonic() > self.until:
            raise self.over(f"the script takes longer than {self.limits.seconds:g} s")

    def room(self, size: int, each: int = 1) -> None:
        """Ask before a value of SIZE characters or items is made, EACH of so many bytes."""
        self.total += size * each
        if size > self.limits.size or self.total > self.limits.total:
            raise self.over("the script makes a value that is too large")

    def number(self, value: int) -> int:
        if value.bit_length() > MOST_BITS:
            raise self.over("the script makes a number that is too large")
        return value


def type_name(value: object) -> str:
    """Python 2's name of a value's type."""
    if isinstance(value, Long):
        return "long"
    if isinstance(value, Unicode):
        return "unicode"
    if value is None:
        return "NoneType"
    plain = type(value).__name__
    return plain if plain in ("str", "int", "float", "bool", "list", "tuple", "dict") else "object"


def number(value: int, like: Iterable[object] = ()) -> int:
    """An integer that came out of arithmetic: a long if it left the machine word, or an operand was one."""
    if not -WORD <= value < WORD or any(isinstance(one, Long) for one in like):
        return Long(value)
    return int(value)


def text(value: str, like: Iterable[object] = ()) -> str:
    """A text that came out of others: unicode if one of them was."""
    return Unicode(value) if any(isinstance(one, Unicode) for one in like) else str(value)


def py2_repr(value: object, budget: Budget) -> str:
    """As Python 2 shows a value."""
    budget.step()
    if isinstance(value, str):
        budget.room(len(value))
        return ("u" if isinstance(value, Unicode) else "") + _quoted(value)
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return f"{int(value)}L" if isinstance(value, Long) else str(int(value))
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list):
        return "[" + _joined(value, budget) + "]"
    if isinstance(value, tuple):
        return "(" + _joined(value, budget) + (",)" if len(value) == 1 else ")")
    if isinstance(value, dict):
        items = [f"{py2_repr(key, budget)}: {py2_repr(item, budget)}" for key, item in value.items()]
        return "{" + ", ".join(items) + "}"
    return f"<{type_name(value)}>"


def _joined(values: Iterable[object], budget: Budget) -> str:
    joined = ", ".join(py2_repr(value, budget) for value in values)
    budget.room(len(joined))
    return joined


def _quoted(value: str) -> str:
    quote = '"' if "'" in value and '"' not in value else "'"
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", quote: "\\" + quote}
    return quote + "".join(named.get(char) or (char if char >= " " else f"\\x{ord(char):02x}") for char in value) + quote


def py2_str(value: object, budget: Budget) -> str:
    """As Python 2 prints a value."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        if isinstance(value, float):
            return _float(value)
        if isinstance(value, Raised):
            return value.text
        return py2_repr(value, budget)
    return str(int(value))


def _float(value: float) -> str:
    """str() of a float has 12 digits in Python 2."""
    shown = f"{value:.12g}"
    return shown if any(char in shown for char in ".einf") else shown + ".0"


_ORDER = {"NoneType": 0, "bool": 1, "int": 1, "long": 1, "float": 1, "dict": 2, "list": 3, "object": 4, "str": 5,
          "tuple": 6, "unicode": 5}  # fmt: skip


def compare(left: object, right: object, budget: Budget) -> int:
    """-1, 0 or 1. Values of different types have an order in Python 2: numbers before texts."""
    budget.step()
    if isinstance(left, list | tuple) and type(left) is type(right):
        assert isinstance(right, list | tuple)
        for one, other in zip(left, right, strict=False):
            order = compare(one, other, budget)
            if order:
                return order
        return (len(left) > len(right)) - (len(left) < len(right))
    if isinstance(left, dict) and isinstance(right, dict):
        ordered = sort_key(budget)
        mine: list[object] = sorted(left.items(), key=lambda item: ordered(item))
        others: list[object] = sorted(right.items(), key=lambda item: ordered(item))
        return compare(mine, others, budget)
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if numbers or (isinstance(left, str) and isinstance(right, str)):
        return int(left > right) - int(left < right)  # type: ignore[operator]
    one, other = _ORDER.get(type_name(left), 4), _ORDER.get(type_name(right), 4)
    if one == other:
        return 0 if left is right else (id(left) > id(right)) - (id(left) < id(right))
    return (one > other) - (one < other)


def sort_key(budget: Budget) -> Callable[[object], Any]:
    return functools.cmp_to_key(lambda left, right: compare(left, right, budget))


def equal(left: object, right: object, budget: Budget) -> bool:
    return compare(left, right, budget) == 0
