"""What a configuration script may call: built-in functions, methods and parts of modules. Nothing else exists for it.

Every function takes values of the script's world and gives one back; none reaches the host but through ScriptHost.
"""

from __future__ import annotations

import ast
import functools
import itertools
import re
from collections.abc import Callable

from xmcompat.config.arithmetic import arithmetic, power_modulo
from xmcompat.config.py2codecs import decode
from xmcompat.config.py2format import bounded
from xmcompat.config.py2names import is_a
from xmcompat.config.py2values import (
    OBJECT,
    Budget,
    ExceptionClass,
    Long,
    Raised,
    Unicode,
    compare,
    number,
    py2_repr,
    py2_str,
    sort_key,
    text,
)

Function = Callable[..., object]

_TYPES: dict[str, type] = {
    "do_str": str, "do_int": int, "do_long": Long, "do_float": float, "do_bool": bool, "do_list": list,
    "do_tuple": tuple, "do_dict": dict, "do_unicode": Unicode, "do_basestring": str,
}  # fmt: skip


class Builtins:
    """The functions that every script has."""

    def __init__(self, budget: Budget, iterate: Callable[[object], list[object]], call: Function) -> None:
        self.budget = budget
        self.iterate = iterate
        self.call = call

    def table(self) -> dict[str, Function]:
        names = (
            "str unicode repr int long float bool len range min max abs sum sorted list tuple dict hex oct chr ord zip "
            "map filter enumerate isinstance round reversed any all basestring cmp pow divmod reduce unichr intern bin"
        ).split()
        table: dict[str, Function] = {name: getattr(self, f"do_{name}") for name in names}
        return {**table, "xrange": self.do_range, "bytes": self.do_str, "_long_": Long, "_unicode_": Unicode}

    def do_str(self, value: object = "") -> str:
        return str(py2_str(value, self.budget))

    def do_unicode(self, value: object = "", encoding: object = None, errors: object = "strict") -> str:
        if encoding is None or not isinstance(value, str):
            return Unicode(py2_str(value, self.budget))
        return decode(value, encoding, errors, self.budget)

    def do_basestring(self, *_values: object) -> str:
        raise Raised("TypeError", "The basestring type cannot be instantiated")

    def do_intern(self, value: object) -> str:
        if not isinstance(value, str) or isinstance(value, Unicode):
            raise Raised("TypeError", "intern() argument 1 must be string")
        return value

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

    def do_min(self, *values: object, key: object = None) -> object:
        return self._extreme(values, -1, key)

    def do_max(self, *values: object, key: object = None) -> object:
        return self._extreme(values, 1, key)

    def _extreme(self, values: tuple[object, ...], sign: int, key: object) -> object:
        several = self._several(values)
        if not several:
            raise Raised("ValueError", "arg is an empty sequence")
        keys = several if key is None else [self.call(key, value) for value in several]
        best = 0
        for place, value in enumerate(keys):
            if compare(value, keys[best], self.budget) == sign:
                best = place
        return several[best]

    def do_cmp(self, left: object, right: object) -> int:
        return compare(left, right, self.budget)

    def do_pow(self, base: object, exponent: object, modulus: object = None) -> object:
        if modulus is not None:
            return power_modulo(base, exponent, modulus)
        return self._combined(ast.Pow(), base, exponent)

    def do_divmod(self, left: object, right: object) -> object:
        return self._combined(ast.FloorDiv(), left, right), self._combined(ast.Mod(), left, right)

    def _combined(self, operation: ast.operator, left: object, right: object) -> object:
        if not isinstance(left, int | float) or not isinstance(right, int | float):
            raise Raised("TypeError", "unsupported operand type(s): numbers are required")
        return arithmetic(operation, left, right, self.budget)

    def do_reduce(self, function: object, values: object, *start: object) -> object:
        several = [*start[:1], *self.iterate(values)]
        if not several:
            raise Raised("TypeError", "reduce() of empty sequence with no initial value")
        return functools.reduce(lambda left, right: self.call(function, left, right), several)

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
            self.budget.step(len(values))
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

    def do_unichr(self, value: object) -> str:
        if not 0 <= whole(value) < 0x110000:
            raise Raised("ValueError", "unichr() arg not in range(0x110000) (wide Python build)")
        return Unicode(chr(whole(value)).encode("utf-8", "replace").decode())

    def do_bin(self, value: object) -> str:
        return bin(whole(value))

    def do_ord(self, value: object) -> int:
        if not isinstance(value, str) or len(value) != 1:
            raise Raised("TypeError", "ord() expected a character")
        return ord(value)

    def do_zip(self, *values: object) -> list[object]:
        return list(zip(*(self.iterate(one) for one in values), strict=False))

    def do_map(self, function: object, values: object, *more: object) -> list[object]:
        """Shorter ones are filled with None."""
        rows = list(itertools.zip_longest(*(self.iterate(one) for one in (values, *more))))
        if function is None:
            return list(rows) if more else [row[0] for row in rows]
        return [self.call(function, *row) for row in rows]

    def do_filter(self, function: object, values: object) -> object:
        """A text or tuple of a text or tuple, else a list."""
        kept = [one for one in self.iterate(values) if (one if function is None else self.call(function, one))]
        if isinstance(values, str):
            return text("".join(map(str, kept)), [values])
        return tuple(kept) if isinstance(values, tuple) else kept

    def do_enumerate(self, values: object, start: object = 0) -> list[object]:
        return [(whole(start) + index, value) for index, value in enumerate(self.iterate(values))]

    def do_isinstance(self, value: object, types: object) -> bool:
        if isinstance(types, tuple):
            return any([self.do_isinstance(value, one) for one in types])
        if isinstance(types, ExceptionClass):
            return isinstance(value, Raised) and is_a(value.kind, types.name)
        kinds = _TYPES.get(getattr(types, "__name__", ""))
        if kinds is None or not callable(types):
            raise Raised("TypeError", "isinstance() arg 2 must be a class, type, or tuple of classes and types")
        narrower = (kinds is int and isinstance(value, Long)) or (kinds is str and isinstance(value, Unicode))
        return isinstance(value, kinds) and (not narrower or types == self.do_basestring)

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
    compared = sort_key(budget) if cmp is None else functools.cmp_to_key(lambda left, right: _order(call(cmp, left, right)))
    keyed.sort(key=lambda pair: compared(pair[0]), reverse=bool(reverse))
    values[:] = [value for _, value in keyed]


def _order(answer: object) -> int:
    if not isinstance(answer, int):
        raise Raised("TypeError", "comparison function must return int")
    return max(-1, min(1, int(answer)))
