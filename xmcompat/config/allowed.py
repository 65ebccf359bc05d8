"""What a configuration script may call: built-in functions, methods and parts of modules. Nothing else exists for it.

Every function takes values of the script's world and gives one back; none reaches the host but through ScriptHost.
"""

from __future__ import annotations

import re
import re._constants as rc  # type: ignore[import-untyped]
import re._parser as rp  # type: ignore[import-untyped]
import string
from collections.abc import Callable, Sequence

from xmcompat.config.py2values import (
    Budget,
    Long,
    Raised,
    Unicode,
    compare,
    equal,
    number,
    py2_repr,
    py2_str,
    sort_key,
    text,
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

WIDEST = 10_000
_SPEC = re.compile(r"%(?:\((?P<key>[^)]*)\))?[-+ #0]*(?P<width>\*|[0-9]*)(?:\.(?P<precision>\*|[0-9]*))?[hlL]?(?P<kind>.)?", re.DOTALL)


def bounded(budget: Budget, value: object) -> int:
    """A width or count from the script. Raises ConfigLimit."""
    if not isinstance(value, int):
        raise Raised("TypeError", "an integer is required")
    if abs(value) > WIDEST:
        raise budget.over(f"a width of {value}")
    return int(value)


def format_percent(template: str, arguments: object, budget: Budget) -> str:
    """``template % arguments`` as Python 2 does it."""
    values = list(arguments) if isinstance(arguments, tuple) else [arguments]
    named = isinstance(arguments, dict)
    place, parts, end = 0, [], 0
    for match in _SPEC.finditer(template):
        budget.step()
        parts.append(template[end : match.start()])
        end = match.end()
        kind = match["kind"] or ""
        if not kind:
            raise Raised("ValueError", "incomplete format")
        if kind == "%":
            parts.append("%")
            continue
        spec = match[0]
        for name in ("width", "precision"):
            if match[name] == "*":
                if place >= len(values):
                    raise Raised("TypeError", "not enough arguments for format string")
                spec = spec.replace("*", str(bounded(budget, values[place])), 1)
                place += 1
            elif match[name]:
                bounded(budget, int(match[name][:9]))
        if match["key"] is not None:
            if not isinstance(arguments, dict):
                raise Raised("TypeError", "format requires a mapping")
            if match["key"] not in arguments:
                raise Raised("KeyError", repr(match["key"]))
            value: object = arguments[match["key"]]
            spec = spec.replace(f"({match['key']})", "", 1)
        else:
            if place >= len(values):
                raise Raised("TypeError", "not enough arguments for format string")
            value = values[place]
            place += 1
        parts.append(_formatted(re.sub(r"[hlL](?=.$)", "", spec), kind, value, budget))
    parts.append(template[end:])
    if place < len(values) and not named and arguments != ():
        raise Raised("TypeError", "not all arguments converted during string formatting")
    result = "".join(parts)
    budget.room(len(result))
    return text(result, [template, *values])


def _formatted(spec: str, kind: str, value: object, budget: Budget) -> str:
    if kind in "sr":
        shown = py2_str(value, budget) if kind == "s" else py2_repr(value, budget)
        return (spec[:-1] + "s") % shown
    if kind not in "diouxXeEfFgGc":
        raise Raised("ValueError", f"unsupported format character '{kind}'")
    if kind == "c" and isinstance(value, str) and len(value) == 1:
        return spec % value
    if not isinstance(value, int | float):
        wanted = "float" if kind in "eEfFgG" else "number"
        raise Raised("TypeError", f"%{kind} format: a {wanted} is required, not {type(value).__name__}")
    if kind in "diuoxXc":
        return (spec[:-1] + ("d" if kind == "u" else kind)) % int(value)
    return spec % value


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
        self.budget.room(len(numbers) if abs(int(numbers[-1] if numbers else 0)) < 2**62 else 2**62)
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
            return {**values, **named}
        result: dict[object, object] = {}
        for pair in self.iterate(values):
            items = self.iterate(pair)
            if len(items) != 2:
                raise Raised("ValueError", "dictionary update sequence element has not 2 items")
            result[checked_key(items[0])] = items[1]
        return {**result, **named}

    def do_hex(self, value: object) -> str:
        return hex(_whole(value)) + ("L" if isinstance(value, Long) else "")

    def do_oct(self, value: object) -> str:
        return re.sub("0o0?", "0", oct(_whole(value))) + ("L" if isinstance(value, Long) else "")

    def do_chr(self, value: object) -> str:
        if not 0 <= _whole(value) < 256:
            raise Raised("ValueError", "chr() arg not in range(256)")
        return chr(_whole(value))

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
        return [(_whole(start) + index, value) for index, value in enumerate(self.iterate(values))]

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


def _whole(value: object) -> int:
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
    keyed.sort(key=lambda pair: compared(pair[0]), reverse=bool(reverse))  # type: ignore[arg-type, return-value]
    if cmp is not None:
        raise Raised("TypeError", "sorting by a comparison is not supported; give key=")
    values[:] = [value for _, value in keyed]


_STR_METHODS = frozenset(
    "join split rsplit strip lstrip rstrip replace startswith endswith lower upper capitalize title find rfind index "
    "count zfill ljust rjust center isdigit isalpha isalnum splitlines encode decode format swapcase partition".split()
)
_LIST_METHODS = frozenset("append extend insert remove pop index count reverse sort".split())
_DICT_METHODS = frozenset("get keys values items has_key update setdefault pop".split())


def method(value: object, name: str, builtins: Builtins) -> Function | None:
    """The method NAME of a text, list or dictionary; None where there is none that may be called."""
    for kind, names, owner in ((str, _STR_METHODS, _Text), (list, _LIST_METHODS, _List), (dict, _DICT_METHODS, _Dict)):
        if isinstance(value, kind) and name in names:
            return owner(value, builtins).bound(name)  # type: ignore[operator, no-any-return]
    return None


class _Text:
    def __init__(self, value: str, builtins: Builtins) -> None:
        self.value = value
        self.budget = builtins.budget
        self.builtins = builtins

    def bound(self, name: str) -> Function:
        own = getattr(self, f"do_{name}", None)
        return own if own is not None else lambda *arguments: self.plain(name, arguments)

    def plain(self, name: str, arguments: Sequence[object]) -> object:
        """A method that makes nothing larger than its text, with plain arguments."""
        if not all(isinstance(one, str | int | tuple | type(None)) for one in arguments):
            raise Raised("TypeError", f"{name}() takes texts and numbers")
        self.budget.room(len(self.value))
        result = getattr(str(self.value), name)(*arguments)
        if isinstance(result, str):
            return text(result, [self.value])
        if isinstance(result, list | tuple):
            self.budget.room(len(result))
            return type(result)(text(one, [self.value]) for one in result)
        return result

    def do_join(self, values: object) -> str:
        pieces = self.builtins.iterate(values)
        for index, piece in enumerate(pieces):
            if not isinstance(piece, str):
                raise Raised("TypeError", f"sequence item {index}: expected string, {type(piece).__name__} found")
        self.budget.room(sum(len(piece) for piece in pieces if isinstance(piece, str)) + len(self.value) * len(pieces))
        return text(self.value.join(str(piece) for piece in pieces), [self.value, *pieces])

    def do_replace(self, old: object, new: object, count: object = -1) -> str:
        if not isinstance(old, str) or not isinstance(new, str) or not isinstance(count, int):
            raise Raised("TypeError", "replace() takes texts")
        places = self.value.count(old) if old else len(self.value) + 1
        self.budget.room(len(self.value) + places * len(new))
        return text(self.value.replace(old, new, count), [self.value, old, new])

    def _wide(self, name: str, width: object, fill: object = " ") -> str:
        arguments = (bounded(self.budget, width),) if name == "zfill" else (bounded(self.budget, width), fill)
        self.budget.room(WIDEST)
        if not isinstance(fill, str) or len(fill) != 1:
            raise Raised("TypeError", "the fill character must be one character")
        return text(getattr(str(self.value), name)(*arguments), [self.value])

    def do_zfill(self, width: object) -> str:
        return self._wide("zfill", width)

    def do_ljust(self, width: object, fill: object = " ") -> str:
        return self._wide("ljust", width, fill)

    def do_rjust(self, width: object, fill: object = " ") -> str:
        return self._wide("rjust", width, fill)

    def do_center(self, width: object, fill: object = " ") -> str:
        return self._wide("center", width, fill)

    def do_encode(self, encoding: object = "ascii", errors: object = "strict") -> str:
        return str(self.value)

    def do_decode(self, encoding: object = "ascii", errors: object = "strict") -> str:
        return Unicode(self.value)

    def do_format(self, *arguments: object, **named: object) -> str:
        """Fields by number or name, without attributes or indexes, with a plain width."""
        place = 0
        parts: list[str] = []
        try:
            fields = list(string.Formatter().parse(str(self.value)))
        except ValueError as error:
            raise Raised("ValueError", str(error)) from None
        for literal, field, spec, conversion in fields:
            parts.append(literal)
            if field is None:
                continue
            if not re.fullmatch(r"[A-Za-z0-9]*", field) or (spec and not re.fullmatch(r"[<>^]?[0-9]{0,4}[sdxXo]?", spec)):
                raise Raised("ValueError", f"format field '{field}:{spec}' is not supported")
            if field.isdigit() or field == "":
                index, place = (int(field), place) if field else (place, place + 1)
                if index >= len(arguments):
                    raise Raised("IndexError", "tuple index out of range")
                value = arguments[index]
            elif field in named:
                value = named[field]
            else:
                raise Raised("KeyError", repr(field))
            whole = spec and spec[-1] in "dxXo" and isinstance(value, int)
            shown: object = int(value) if whole else py2_repr(value, self.budget) if conversion == "r" else py2_str(value, self.budget)  # type: ignore[call-overload]
            try:
                parts.append(format(shown, spec or ""))
            except ValueError as error:
                raise Raised("ValueError", str(error)) from None
        self.budget.room(sum(map(len, parts)))
        return "".join(parts)


class _List:
    def __init__(self, value: list[object], builtins: Builtins) -> None:
        self.value = value
        self.builtins = builtins
        self.budget = builtins.budget

    def bound(self, name: str) -> Function:
        return getattr(self, f"do_{name}")  # type: ignore[no-any-return]

    def do_append(self, item: object) -> None:
        self.budget.room(1)
        self.value.append(item)
        if len(self.value) > self.budget.limits.size:
            raise self.budget.over("a list that is too large")

    def do_extend(self, items: object) -> None:
        more = self.builtins.iterate(items)
        self.budget.room(len(self.value) + len(more))
        self.value.extend(more)

    def do_insert(self, place: object, item: object) -> None:
        self.budget.room(len(self.value) + 1)
        self.value.insert(_whole(place), item)

    def _where(self, item: object) -> int:
        for index, one in enumerate(self.value):
            if equal(one, item, self.budget):
                return index
        raise Raised("ValueError", "x not in list")

    def do_remove(self, item: object) -> None:
        del self.value[self._where(item)]

    def do_index(self, item: object) -> int:
        return self._where(item)

    def do_count(self, item: object) -> int:
        return sum(equal(one, item, self.budget) for one in self.value)

    def do_pop(self, place: object = -1) -> object:
        try:
            return self.value.pop(_whole(place))
        except IndexError:
            raise Raised("IndexError", "pop index out of range") from None

    def do_reverse(self) -> None:
        self.value.reverse()

    def do_sort(self, cmp: object = None, key: object = None, reverse: object = False) -> None:
        sort_list(self.value, self.budget, self.builtins.call, cmp, key, reverse)


class _Dict:
    def __init__(self, value: dict[object, object], builtins: Builtins) -> None:
        self.value = value
        self.builtins = builtins
        self.budget = builtins.budget

    def bound(self, name: str) -> Function:
        return getattr(self, f"do_{name}")  # type: ignore[no-any-return]

    def do_get(self, key: object, default: object = None) -> object:
        return self.value.get(checked_key(key), default)

    def do_keys(self) -> list[object]:
        return list(self.value)

    def do_values(self) -> list[object]:
        return list(self.value.values())

    def do_items(self) -> list[object]:
        return list(self.value.items())

    def do_has_key(self, key: object) -> bool:
        return checked_key(key) in self.value

    def do_update(self, other: object = (), **named: object) -> None:
        more = self.builtins.do_dict(other, **named)
        self.budget.room(len(more))
        self.value.update(more)

    def do_setdefault(self, key: object, default: object = None) -> object:
        self.budget.room(1)
        return self.value.setdefault(checked_key(key), default)

    def do_pop(self, key: object, *default: object) -> object:
        if checked_key(key) not in self.value and not default:
            raise Raised("KeyError", py2_repr(key, self.budget))
        return self.value.pop(key, *default)


def checked_pattern(pattern: object, subject: object, budget: Budget) -> re.Pattern[str]:
    """A regular expression that cannot take long on SUBJECT. Raises ConfigLimit."""
    if not isinstance(pattern, str) or not isinstance(subject, str):
        raise Raised("TypeError", "expected string or buffer")
    if len(pattern) > 500 or len(subject) > 100_000:
        raise budget.over("a regular expression or text that is too long")
    try:
        loops = _loops(rp.parse(pattern), budget)
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise Raised("ValueError", str(error)) from None
    if (len(subject) + 1) ** max(loops, 1) > 20_000_000:
        raise budget.over("a regular expression that may take too long")
    budget.step(10)
    return compiled


def _loops(tree: object, budget: Budget, inside: bool = False) -> int:
    """How many open-ended repetitions a parsed pattern has; one inside another is refused."""
    loops = 0
    for operation, argument in tree:  # type: ignore[attr-defined]
        if operation in (rc.MAX_REPEAT, rc.MIN_REPEAT, rc.POSSESSIVE_REPEAT):
            _, most, body = argument
            if most > 1000 or most is rc.MAXREPEAT or most > 10:
                if inside:
                    raise budget.over("a regular expression with a repetition inside another")
                loops += 1 + _loops(body, budget, inside=True)
            else:
                loops += _loops(body, budget, inside)
        elif operation is rc.SUBPATTERN:
            loops += _loops(argument[3], budget, inside)
        elif operation is rc.BRANCH:
            if inside:
                raise budget.over("a regular expression with alternatives inside a repetition")
            loops += sum(_loops(branch, budget, inside) for branch in argument[1])
        elif operation in (rc.GROUPREF, rc.GROUPREF_EXISTS, rc.ASSERT, rc.ASSERT_NOT, rc.ATOMIC_GROUP):
            raise budget.over("a regular expression with look-around or back references")
    return loops
