"""What a configuration script may call: built-in functions, methods and parts of modules. Nothing else exists for it.

Every function takes values of the script's world and gives one back; none reaches the host but through ScriptHost.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from xmcompat.config.py2format import bounded
from xmcompat.config.py2values import (
    OBJECT,
    Budget,
    Long,
    Raised,
    Unicode,
    compare,
    number,
    py2_repr,
    py2_str,
    sort_key,
)

Function = Callable[..., object]

EXCEPTIONS = (
    "Exception", "StandardError", "ValueError", "TypeError", "NameError", "KeyError", "IndexError", "ZeroDivisionError",
    "AttributeError", "RuntimeError", "OSError", "IOError", "ImportError", "AssertionError", "LookupError",
    "ArithmeticError", "OverflowError", "SyntaxError", "SystemExit",
)  # fmt: skip

#: What catches what, beyond Exception and StandardError, which catch all but SystemExit.
PARENTS = {"KeyError": "LookupError", "IndexError": "LookupError", "ZeroDivisionError": "ArithmeticError",
           "OverflowError": "ArithmeticError"}  # fmt: skip


class Builtins:
    """The functions that every script has."""

    def __init__(self, budget: Budget, iterate: Callable[[object], list[object]], call: Function) -> None:
        self.budget = budget
        self.iterate = iterate
        self.call = call

    def table(self) -> dict[str, Function]:
        names = (
            "str unicode repr int long float bool len range min max abs sum sorted list tuple dict hex oct chr ord zip "
            "map filter enumerate isinstance round reversed any all"
        ).split()
        table: dict[str, Function] = {name: getattr(self, f"do_{name}") for name in names}
        return {**table, "xrange": self.do_range, "_long_": Long, "_unicode_": Unicode}

    def do_str(self, value: object = "") -> str:
        return str(py2_str(value, self.budget))

    def do_unicode(self, value: object = "") -> str:
        return Unicode(py2_str(value, self.budget))

    def do_repr(self, value: object) -> str:
        return py2_repr(value, self.budget)

    def do_int(self, value: object = 0, base: object = None) -> int:
        if isinstance(value, str):
            if len(value) > 1000:
                raise self.budget.over("a number that is too large")
            digits = value.strip()
            try:
                chosen = 10 if base is None else int(base)  # type: ignore[call-overload]
                return number(int(digits.replace("_", "?"), chosen))
            except (TypeError, ValueError):
                shown = f"invalid literal for int() with base {base or 10}: {py2_repr(value, self.budget)}"
                raise Raised("ValueError", shown) from None
        if not isinstance(value, int | float) or base is not None:
            raise Raised("TypeError", "int() argument must be a string or a number")
        return number(int(value))

    def do_long(self, value: object = 0, base: object = None) -> int:
        return Long(self.do_int(value, base))

    def do_float(self, value: object = 0.0) -> float:
        if isinstance(value, str):
            try:
                return float(value[:400].replace("_", "?"))
            except ValueError:
                raise Raised("ValueError", f"could not convert string to float: {value[:100]}") from None
        if not isinstance(value, int | float):
            raise Raised("TypeError", "float() argument must be a string or a number")
        return float(value)

    def do_bool(self, value: object = False) -> bool:
        return bool(value)

    def do_len(self, value: object) -> int:
        if not isinstance(value, str | list | tuple | dict):
            raise Raised("TypeError", "object has no len()")
        return len(value)

    def do_range(self, *bounds: object) -> list[object]:
        if not 1 <= len(bounds) <= 3 or not all(isinstance(bound, int) for bound in bounds):
            raise Raised("TypeError", "range() takes one to three integers")
        if len(bounds) == 3 and bounds[2] == 0:
            raise Raised("ValueError", "range() arg 3 must not be zero")
        numbers = range(*(int(bound) for bound in bounds))  # type: ignore[call-overload]
        self.budget.room(len(numbers) if abs(int(numbers[-1] if numbers else 0)) < 2**62 else 2**62, OBJECT)
        return list(numbers)

    def _several(self, values: tuple[object, ...]) -> list[object]:
        return self.iterate(values[0]) if len(values) == 1 else list(values)

    def do_min(self, *values: object) -> object:
        return self._extreme(values, -1)

    def do_max(self, *values: object) -> object:
        return self._extreme(values, 1)

    def _extreme(self, values: tuple[object, ...], sign: int) -> object:
        several = self._several(values)
        if not several:
            raise Raised("ValueError", "arg is an empty sequence")
        best = several[0]
        for value in several[1:]:
            if compare(value, best, self.budget) == sign:
                best = value
        return best

    def do_abs(self, value: object) -> object:
        if not isinstance(value, int | float):
            raise Raised("TypeError", "bad operand type for abs()")
        return number(abs(value), [value]) if isinstance(value, int) else abs(value)

    def do_sum(self, values: object, start: object = 0) -> object:
        total = start
        for value in self.iterate(values):
            if not isinstance(value, int | float) or not isinstance(total, int | float):
                raise Raised("TypeError", "sum() takes numbers")
            total += value
        return number(total) if isinstance(total, int) else total

    def do_sorted(self, values: object, cmp: object = None, key: object = None, reverse: object = False) -> list[object]:
        result = list(self.iterate(values))
        sort_list(result, self.budget, self.call, cmp, key, reverse)
        return result

    def do_list(self, values: object = ()) -> list[object]:
        return list(self.iterate(values))

    def do_tuple(self, values: object = ()) -> tuple[object, ...]:
        return tuple(self.iterate(values))

    def do_dict(self, values: object = (), **named: object) -> dict[object, object]:
        if isinstance(values, dict):
            return dict(values) | dict(named.items())
        result: dict[object, object] = {}
        for pair in self.iterate(values):
            items = self.iterate(pair)
            if len(items) != 2:
                raise Raised("ValueError", "dictionary update sequence element has not 2 items")
            result[checked_key(items[0])] = items[1]
        return result | dict(named.items())

    def do_hex(self, value: object) -> str:
        return hex(whole(value)) + ("L" if isinstance(value, Long) else "")

    def do_oct(self, value: object) -> str:
        return re.sub("0o0?", "0", oct(whole(value))) + ("L" if isinstance(value, Long) else "")

    def do_chr(self, value: object) -> str:
        if not 0 <= whole(value) < 256:
            raise Raised("ValueError", "chr() arg not in range(256)")
        return chr(whole(value))

    def do_ord(self, value: object) -> int:
        if not isinstance(value, str) or len(value) != 1:
            raise Raised("TypeError", "ord() expected a character")
        return ord(value)

    def do_zip(self, *values: object) -> list[object]:
        return list(zip(*(self.iterate(one) for one in values), strict=False))

    def do_map(self, function: object, *values: object) -> list[object]:
        rows = zip(*(self.iterate(one) for one in values), strict=False)
        return [row[0] if function is None else self.call(function, *row) for row in rows]

    def do_filter(self, function: object, values: object) -> list[object]:
        return [one for one in self.iterate(values) if (one if function is None else self.call(function, one))]

    def do_enumerate(self, values: object, start: object = 0) -> list[object]:
        return [(whole(start) + index, value) for index, value in enumerate(self.iterate(values))]

    def do_isinstance(self, value: object, types: object) -> bool:
        names = {"do_str": str, "do_int": int, "do_long": Long, "do_float": float, "do_bool": bool, "do_list": list,
                 "do_tuple": tuple, "do_dict": dict, "do_unicode": Unicode}  # fmt: skip
        for one in types if isinstance(types, tuple) else (types,):
            kind = names.get(getattr(one, "__name__", ""))
            if kind is not None and isinstance(value, kind):
                return not (kind is int and isinstance(value, Long)) and not (kind is str and isinstance(value, Unicode))
        return False

    def do_round(self, value: object, digits: object = 0) -> float:
        if not isinstance(value, int | float):
            raise Raised("TypeError", "a float is required")
        places = bounded(self.budget, digits)
        if not -300 < places < 300:
            return float(value) if places > 0 else 0.0
        scaled = abs(value) * 10.0**places + 0.5
        rounded = float(int(scaled)) / 10.0**places if scaled < 2**52 else abs(value)
        return float(-rounded if value < 0 else rounded)

    def do_reversed(self, values: object) -> list[object]:
        return list(reversed(self.iterate(values)))

    def do_any(self, values: object) -> bool:
        return any(self.iterate(values))

    def do_all(self, values: object) -> bool:
        return all(self.iterate(values))


def whole(value: object) -> int:
    if not isinstance(value, int):
        raise Raised("TypeError", "an integer is required")
    return int(value)


def checked_key(key: object) -> object:
    """A key of a dictionary: a plain value, or a flat tuple of them."""
    plain = (str, int, float, type(None))
    if isinstance(key, plain) or (isinstance(key, tuple) and len(key) < 50 and all(isinstance(one, plain) for one in key)):
        return key
    raise Raised("TypeError", f"unhashable type: '{type(key).__name__}'")


def sort_list(values: list[object], budget: Budget, call: Function, cmp: object, key: object, reverse: object) -> None:
    budget.step(len(values))
    keyed = [(call(key, value) if key is not None else value, value) for value in values]
    compared = sort_key(budget)
    keyed.sort(key=lambda pair: compared(pair[0]), reverse=bool(reverse))
    if cmp is not None:
        raise Raised("TypeError", "sorting by a comparison is not supported; give key=")
    values[:] = [value for _, value in keyed]
