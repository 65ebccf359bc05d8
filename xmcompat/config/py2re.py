"""A script's module ``re``: the functions, patterns and matches that it may have."""

from __future__ import annotations

import re
from collections.abc import Callable

from xmcompat.config import patterns
from xmcompat.config.py2values import POINTER, Attributes, Budget, ExceptionClass, Raised, text

_FLAGS = {
    name: int(getattr(re, name))
    for name in ("I", "IGNORECASE", "M", "MULTILINE", "S", "DOTALL", "X", "VERBOSE")
}  # fmt: skip
_REPLACE_HINT = "give the text that is put in place"


class Pattern(Attributes):
    """What re.compile() gives."""

    def __init__(self, pattern: str, flags: int, budget: Budget) -> None:
        own = _Functions(budget)
        super().__init__("pattern", {
            "search": lambda string: own.search(pattern, string, flags),
            "match": lambda string: own.match(pattern, string, flags),
            "findall": lambda string: own.findall(pattern, string, flags),
            "sub": lambda repl, string, count=0: own.sub(pattern, repl, string, count, flags),
            "split": lambda string, maxsplit=0: own.split(pattern, string, maxsplit, flags),
            "pattern": pattern,
        })  # fmt: skip
        self.text = pattern
        self.chosen = flags


def re_table(budget: Budget) -> dict[str, object]:
    """What is in the module, by name."""
    own = _Functions(budget)
    names = ("search", "match", "findall", "sub", "split", "compile")
    return {**{name: getattr(own, name) for name in names}, **_FLAGS, "error": ExceptionClass("error")}


class _Functions:
    """Their arguments have Python 2's names."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    def _checked(self, pattern: object, subject: object, flags: object, *, anywhere: bool = True) -> re.Pattern[str]:
        if isinstance(pattern, Pattern):
            made = pattern
            return patterns.checked_pattern(made.text, subject, self.budget, made.chosen, anywhere=anywhere)
        return patterns.checked_pattern(pattern, subject, self.budget, flags, anywhere=anywhere)

    def search(self, pattern: object, string: object, flags: object = 0) -> object:
        return self._match(self._checked(pattern, string, flags).search, string)

    def match(self, pattern: object, string: object, flags: object = 0) -> object:
        return self._match(self._checked(pattern, string, flags, anywhere=False).match, string)

    def findall(self, pattern: object, string: object, flags: object = 0) -> object:
        compiled = self._checked(pattern, string, flags)
        assert isinstance(string, str)
        return patterns.found_all(compiled, string, self.budget)

    def sub(self, pattern: object, repl: object, string: object, count: object = 0, flags: object = 0) -> object:
        compiled = self._checked(pattern, string, flags)
        if not isinstance(repl, str):
            raise self.budget.unsupported("re.sub() with a function", _REPLACE_HINT)
        if not isinstance(string, str) or not isinstance(count, int):
            raise Raised("TypeError", "an integer is required")
        return patterns.substituted(compiled, repl, string, count, self.budget)

    def split(self, pattern: object, string: object, maxsplit: object = 0, flags: object = 0) -> object:
        compiled = self._checked(pattern, string, flags)
        if not isinstance(string, str) or not isinstance(maxsplit, int):
            raise Raised("TypeError", "an integer is required")
        return patterns.split(compiled, string, maxsplit, self.budget)

    def compile(self, pattern: object, flags: object = 0) -> object:
        if isinstance(pattern, Pattern):
            return pattern
        patterns.checked_pattern(pattern, "", self.budget, flags)
        assert isinstance(pattern, str) and isinstance(flags, int)
        return Pattern(pattern, flags, self.budget)

    def _match(self, look: Callable[[str], re.Match[str] | None], subject: object) -> object:
        found = look(str(subject))
        return None if found is None else Attributes("match", _match_table(found, subject, self.budget))


def _match_table(found: re.Match[str], subject: object, budget: Budget) -> dict[str, object]:
    def one(number: object) -> object:
        try:
            return like(found.group(number))  # type: ignore[call-overload]
        except (IndexError, TypeError):
            raise Raised("IndexError", "no such group") from None

    def like(part: str | None) -> str | None:
        return None if part is None else text(part, [subject])

    def group(*numbers: object) -> object:
        budget.room(len(numbers), POINTER)
        return tuple(map(one, numbers)) if len(numbers) > 1 else one(numbers[0] if numbers else 0)

    def groups(default: object = None) -> object:
        budget.room(found.re.groups, POINTER)
        return tuple(default if part is None else like(part) for part in found.groups())

    def groupdict() -> object:
        budget.room(len(found.re.groupindex), POINTER)
        return {name: like(part) for name, part in found.groupdict().items()}

    def place(name: str) -> Callable[..., object]:
        def call(group: object = 0) -> object:
            try:
                return getattr(found, name)(group)
            except (IndexError, TypeError):
                raise Raised("IndexError", "no such group") from None

        return call

    return {
        "group": group, "groups": groups, "groupdict": groupdict,
        **{name: place(name) for name in ("start", "end", "span")},
    }  # fmt: skip
