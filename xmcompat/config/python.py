"""xm's configuration language: Python 2, evaluated within bounds. Nothing of it is executed by Python itself.

The text is put into Python 3's spelling (``py2tokens``), parsed, and its tree walked (``interpret``): what is not on
the list of what configurations need does not exist for them.
Differs from xm: functions of the file see its names (they could not run under xm otherwise).
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from xmcompat.config.functions import Break, Continue, Return
from xmcompat.config.interpret import Interpreter
from xmcompat.config.modules import ScriptExit, ScriptHost, script_exit
from xmcompat.config.py2codecs import restored
from xmcompat.config.py2tokens import rewrite, syntax_error
from xmcompat.config.py2values import Attributes, Budget, Limits, Long, Raised, Unicode, py2_repr, type_name
from xmcompat.errors import ConfigError, ConfigLimit, XmError
from xmcompat.guest import Value

__all__ = ["Evaluated", "Ignored", "Limits", "ScriptExit", "ScriptHost", "evaluate"]

#: Lists within lists: deeper ones are no option values.
DEEPEST_LIST = 20

#: Characters of a message: a value or name of a script may be very long.
LONGEST_MESSAGE = 1000

#: Python's own calls for those of the script: each has a few within it, and each of these some of ours.
STACK = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A name whose value has a type that xm passes over in silence."""

    name: str
    line: int
    value: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What a script has defined: the names with values that are settings, and those that xm would pass over.

    ``lines`` gives the line of the last assignment; ``printed`` and ``complained`` are what it
    wrote on stdout and stderr.
    """

    values: dict[str, Value]
    ignored: tuple[Ignored, ...]
    lines: dict[str, int]
    printed: str
    complained: str
    warnings: tuple[str, ...]


def evaluate(
    text: str | bytes, *, path: str, variables: Mapping[str, str], host: ScriptHost, limits: Limits | None = None
) -> Evaluated:
    """Evaluate the configuration TEXT of the file PATH; VARIABLES of the command line are there from the start.

    Raises ConfigSyntax, UnsafeConfig, UnsupportedConfig, ConfigLimit, ConfigError for what the script itself raises,
    ScriptExit for sys.exit(). May be repeated.
    """
    source, encoding = _decoded(text)
    if not all(value.isascii() for value in variables.values()):
        encoding = "utf-8"
    budget = Budget(limits or Limits(), path, encoding)
    interpreter = Interpreter(budget, host, dict(variables))
    try:
        tree = _parse(source, path, budget)
        with _stack(STACK):
            return _run(tree, interpreter, variables, source)
    except XmError as error:
        error.printed, error.complained = interpreter.written()
        if len(error.message) > LONGEST_MESSAGE:
            error.message = f"{error.message[:LONGEST_MESSAGE]}..."
        raise


def _run(tree: ast.Module, interpreter: Interpreter, variables: Mapping[str, str], text: str) -> Evaluated:
    budget = interpreter.budget
    try:
        interpreter.run(tree.body)
        return _result(interpreter, variables)
    except Raised as error:
        raise _told(error, budget) from None
    except (Break, Continue, Return):
        raise syntax_error(budget.path, budget.line, _lines(text)) from None
    except RecursionError:
        raise budget.over("the script is nested too deeply") from None
    except MemoryError:
        raise budget.over("the script makes a value that is too large") from None
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        # an operation on values for which it was never meant
        raise ConfigError(f"{error}", hint=f"see {budget.path}:{budget.line}") from None


@contextmanager
def _stack(calls: int) -> Iterator[None]:
    """Let Python have as many CALLS within one another as a script may need."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + calls)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _decoded(text: str | bytes) -> tuple[str, str]:
    """(text, its encoding)"""
    if isinstance(text, str):
        return text, "ascii" if text.isascii() else "utf-8"
    try:
        return text.decode("utf-8"), "ascii" if text.removeprefix(b"\xef\xbb\xbf").isascii() else "utf-8"
    except UnicodeDecodeError:
        return text.decode("latin-1"), "latin-1"


def _parse(text: str, path: str, budget: Budget) -> ast.Module:
    lines = _lines(text)
    if "\0" in text:
        raise syntax_error(path, text[: text.index("\0")].count("\n") + 1, lines)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes that Python 3 frowns upon
            return ast.parse(rewrite(text, path))
    except SyntaxError as error:
        raise syntax_error(path, error.lineno or len(lines), lines) from None
    except (RecursionError, MemoryError):
        raise budget.over("the script is nested too deeply") from None
    except (ValueError, OverflowError) as error:
        raise ConfigLimit(str(error), path=path) from None


def _told(error: Raised, budget: Budget) -> XmError:
    """The script's own error: xm's text, and where it was; or its end."""
    if error.kind == "SystemExit":
        return script_exit(error)
    message = error.text or error.kind
    return ConfigError(message, hint=f"see {budget.path}:{budget.line}")


def _result(interpreter: Interpreter, variables: Mapping[str, str]) -> Evaluated:
    values: dict[str, Value] = {}
    ignored: list[Ignored] = []
    for name, value in interpreter.names.items():
        if name in variables and name not in interpreter.lines:
            continue
        line = interpreter.lines.get(name, 0)
        setting = _setting(value, interpreter.budget)
        if setting is not None:
            values[name] = setting
        elif isinstance(value, bool | tuple | dict | Long | Unicode) or value is None:
            shown = py2_repr(value, interpreter.budget)[:60]
            reason = f"xm ignores a value of the type {type_name(value)}"
            ignored.append(Ignored(name=name, line=line, value=shown, reason=reason))
    for name, value in interpreter.globals.items():
        if _setting(value, interpreter.budget) is not None:
            shown = py2_repr(value, interpreter.budget)[:60]
            reason = "xm ignores what a 'global' statement has set apart"
            ignored.append(Ignored(name=name, line=interpreter.lines.get(name, 0), value=shown, reason=reason))
    printed, complained = interpreter.written()
    return Evaluated(
        values=values, ignored=tuple(ignored), lines={name: line for name, line in interpreter.lines.items() if line},
        printed=printed, complained=complained, warnings=tuple(interpreter.warnings),
    )  # fmt: skip


def _setting(value: object, budget: Budget) -> Value | None:
    """VALUE if xm takes it as an option: exactly a str, int, float or list."""
    if type(value) is str:
        return restored(value, budget)
    if type(value) in (int, float):
        return value  # type: ignore[return-value]
    if type(value) is list:
        return _plain_list(value, budget, 0)
    return None


def _plain_list(items: list[object], budget: Budget, depth: int) -> list[Value]:
    """A list of plain values; what else stands in it becomes its text."""
    if depth > DEEPEST_LIST:
        raise budget.over("lists are nested too deeply")
    found: list[Value] = []
    for item in items:
        budget.step()
        if isinstance(item, list | tuple):
            found.append(_plain_list(list(item), budget, depth + 1))
        elif isinstance(item, str):
            found.append(str(restored(item, budget)))
        elif isinstance(item, int | float):
            found.append(item if isinstance(item, float) else int(item))
        elif not isinstance(item, Attributes):
            found.append(py2_repr(item, budget))
    return found
