"""The methods of texts, lists and dictionaries that a configuration script may call."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from xmcompat.config import py2codecs
from xmcompat.config.allowed import Builtins, Function, checked_key, sort_list, whole
from xmcompat.config.py2format import WIDEST, bounded
from xmcompat.config.py2values import OBJECT, POINTER, Raised, Unicode, equal, py2_repr, py2_str, text

_STR_METHODS = frozenset(
    "join split rsplit strip lstrip rstrip replace startswith endswith lower upper capitalize title find rfind index "
    "rindex count zfill ljust rjust center isdigit isalpha isalnum isspace isupper islower istitle splitlines encode "
    "decode format swapcase partition rpartition expandtabs translate".split()
)
#: To Python 2 the letters, digits and blanks of a text that is not unicode are those of ASCII.
_OF_ASCII = frozenset(
    "lower upper capitalize title swapcase isdigit isalpha isalnum isspace isupper islower istitle splitlines split rsplit "
    "strip lstrip rstrip".split()
)
#: Characters compared: a method that looks for a text may look for it at every place.
MOST_COMPARED = 100_000_000
_FIELD = re.compile(r"[A-Za-z0-9]{0,100}")
_FIELD_SPEC = re.compile(r"[<>^]?[0-9]{0,4}[sdxXo]?")
_LIST_METHODS = frozenset("append extend insert remove pop index count reverse sort".split())
_DICT_METHODS = frozenset(
    "get keys values items has_key update setdefault pop clear copy iterkeys itervalues iteritems".split()
)
#: Built-in functions that are classes, and what their methods are of.
_CLASSES = {"do_str": str, "do_unicode": Unicode, "do_list": list, "do_dict": dict}


def method(value: object, name: str, builtins: Builtins) -> Function | None:
    """The method NAME of a text, list or dictionary; None where there is none that may be called."""
    if isinstance(value, str) and name in _STR_METHODS:
        return _Text(value, builtins).bound(name)
    if isinstance(value, list) and name in _LIST_METHODS:
        return _List(value, builtins).bound(name)
    if isinstance(value, dict) and name in _DICT_METHODS:
        return _Dict(value, builtins).bound(name)
    if isinstance(value, tuple) and name in ("count", "index"):
        return _List(list(value), builtins).bound(name)
    return _unbound(value, name, builtins)


def _unbound(value: object, name: str, builtins: Builtins) -> Function | None:
    """``str.lower`` and the like: the method, whose first argument is the text."""
    kind = _CLASSES.get(getattr(value, "__name__", "")) if callable(value) else None
    if kind is None or method(kind(), name, builtins) is None:
        return None
    of_kind: type = kind

    def call(one: object, *arguments: object, **named: object) -> object:
        if not isinstance(one, of_kind):
            raise Raised("TypeError", f"descriptor '{name}' requires another object")
        return builtins.call(method(one, name, builtins), *arguments, **named)

    return call


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
        if len(self.value) * max((len(one) for one in arguments if isinstance(one, str)), default=1) > MOST_COMPARED:
            raise self.budget.over("texts that are too long to look for one in the other")
        texts = any(isinstance(one, str) for one in arguments)
        if name in _OF_ASCII and not texts and not isinstance(self.value, Unicode):
            result = _decoded(getattr(self.value.encode("utf-8", "surrogatepass"), name)(*arguments))
        else:
            result = getattr(str(self.value), name)(*arguments)
        if isinstance(result, str):
            return text(result, [self.value])
        if isinstance(result, list | tuple):
            self.budget.room(len(result), OBJECT)
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

    def do_expandtabs(self, size: object = 8) -> str:
        width = bounded(self.budget, size)
        self.budget.room(len(self.value) + self.value.count("\t") * max(width, 0))
        return text(self.value.expandtabs(width), [self.value])

    def do_translate(self, table: object, deletechars: object = "") -> str:
        """By a table of 256 characters, or None for the same ones."""
        if isinstance(self.value, Unicode) or not isinstance(table, str | None) or not isinstance(deletechars, str):
            raise self.budget.unsupported("translate() with these arguments", "use replace()")
        if table is not None and len(table) != 256:
            raise Raised("ValueError", "translation table must be 256 characters long")
        self.budget.room(len(self.value))
        without = {ord(char): None for char in deletechars}
        return str(self.value.translate({**(dict(enumerate(table)) if table else {}), **without}))

    def do_encode(self, encoding: object = "ascii", errors: object = "strict") -> str:
        return py2codecs.encode(self.value, encoding, errors, self.budget)

    def do_decode(self, encoding: object = "ascii", errors: object = "strict") -> str:
        return py2codecs.decode(self.value, encoding, errors, self.budget)

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
            if not _FIELD.fullmatch(field) or (spec and not _FIELD_SPEC.fullmatch(spec)):
                raise self.budget.unsupported(f"the format field '{field[:100]}:{(spec or '')[:100]}'", "use %")
            if field.isdigit() or field == "":
                index, place = (int(field), place) if field else (place, place + 1)
                if index >= len(arguments):
                    raise Raised("IndexError", "tuple index out of range")
                value = arguments[index]
            elif field in named:
                value = named[field]
            else:
                raise Raised("KeyError", repr(field))
            parts.append(self._field(value, spec or "", conversion))
            self.budget.room(len(parts[-1]))
        self.budget.room(sum(map(len, parts)))
        return "".join(parts)

    def _field(self, value: object, spec: str, conversion: str | None) -> str:
        if spec[-1:] in "dxXo" and spec and isinstance(value, int):
            return format(int(value), spec)
        shown = py2_repr(value, self.budget) if conversion == "r" else py2_str(value, self.budget)
        try:
            return format(shown, spec)
        except ValueError as error:
            raise Raised("ValueError", str(error)) from None


def _decoded(value: object) -> object:
    """The texts of what a method of bytes gives."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogatepass")
    return [_decoded(one) for one in value] if isinstance(value, list) else value


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
        self.value.insert(whole(place), item)

    def do_index(self, item: object, start: object = 0, stop: object = None) -> int:
        for index in range(len(self.value))[whole(start) : len(self.value) if stop is None else whole(stop)]:
            if equal(self.value[index], item, self.budget):
                return index
        raise Raised("ValueError", "x not in list")

    def do_remove(self, item: object) -> None:
        del self.value[self.do_index(item)]

    def do_count(self, item: object) -> int:
        return sum(equal(one, item, self.budget) for one in self.value)

    def do_pop(self, place: object = -1) -> object:
        try:
            return self.value.pop(whole(place))
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

    def _counted(self, each: int) -> None:
        """Ask before a list or dictionary of all items is made."""
        self.budget.step(len(self.value) // 10)
        self.budget.room(len(self.value), each)

    def do_keys(self) -> list[object]:
        self._counted(POINTER)
        return list(self.value)

    def do_values(self) -> list[object]:
        self._counted(POINTER)
        return list(self.value.values())

    def do_items(self) -> list[object]:
        self._counted(OBJECT)
        return list(self.value.items())

    do_iterkeys, do_itervalues, do_iteritems = do_keys, do_values, do_items

    def do_copy(self) -> dict[object, object]:
        self._counted(OBJECT)
        return dict(self.value)

    def do_clear(self) -> None:
        self.value.clear()

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
