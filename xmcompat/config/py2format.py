"""``template % values`` as Python 2 does it, with bounded widths. Pure."""

from __future__ import annotations

import re

from xmcompat.config.py2values import Budget, Raised, py2_repr, py2_str, text

WIDEST = 10_000
_SPEC = re.compile(
    r"%(?:\((?P<key>[^)]*)\))?[-+ #0]*(?P<width>\*|[0-9]*)(?:\.(?P<precision>\*|[0-9]*))?[hlL]?(?P<kind>.)?", re.DOTALL
)


def bounded(budget: Budget, value: object) -> int:
    """A width or count from the script. Raises ConfigLimit."""
    if not isinstance(value, int):
        raise Raised("TypeError", "an integer is required")
    if abs(value) > WIDEST:
        raise budget.over(f"a width of {value}")
    return int(value)


class _Arguments:
    """The values on the right of "%", taken one after another, or by name."""

    def __init__(self, arguments: object, budget: Budget) -> None:
        self.arguments = arguments
        self.budget = budget
        self.values = list(arguments) if isinstance(arguments, tuple) else [arguments]
        self.place = 0

    def following(self) -> object:
        if self.place >= len(self.values):
            raise Raised("TypeError", "not enough arguments for format string")
        self.place += 1
        return self.values[self.place - 1]

    def named(self, key: str) -> object:
        if not isinstance(self.arguments, dict):
            raise Raised("TypeError", "format requires a mapping")
        if key not in self.arguments:
            raise Raised("KeyError", repr(key))
        return self.arguments[key]

    def finish(self) -> None:
        left_over = self.place < len(self.values) and self.arguments != ()
        if left_over and not isinstance(self.arguments, dict):
            raise Raised("TypeError", "not all arguments converted during string formatting")


def format_percent(template: str, arguments: object, budget: Budget) -> str:
    """``template % arguments`` as Python 2 does it."""
    given = _Arguments(arguments, budget)
    parts, end = [], 0
    for match in _SPEC.finditer(template):
        budget.step()
        parts.append(template[end : match.start()])
        end = match.end()
        parts.append(_piece(match, given, budget))
        budget.room(len(parts[-1]))
    parts.append(template[end:])
    given.finish()
    result = "".join(parts)
    budget.room(len(result))
    return text(result, [template, *given.values])


def _piece(match: re.Match[str], given: _Arguments, budget: Budget) -> str:
    """What one "%..." becomes."""
    kind = match["kind"] or ""
    if not kind:
        raise Raised("ValueError", "incomplete format")
    if kind == "%":
        return "%"
    spec = match[0]
    for name in ("width", "precision"):
        if match[name] == "*":
            spec = spec.replace("*", str(bounded(budget, given.following())), 1)
        elif match[name]:
            bounded(budget, int(match[name][:9]))
    if match["key"] is None:
        value = given.following()
    else:
        value = given.named(match["key"])
        spec = spec.replace(f"({match['key']})", "", 1)
    return _formatted(re.sub(r"[hlL](?=.$)", "", spec), kind, value, budget)


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
