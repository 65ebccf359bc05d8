"""Expressions of a configuration script, walked node by node. Nothing is compiled or executed by Python itself."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from types import FunctionType, MethodType

from xmcompat.config import allowed, methods, py2format, py2names
from xmcompat.config.arithmetic import arithmetic
from xmcompat.config.modules import Module
from xmcompat.config.py2values import (
    POINTER,
    Attributes,
    Budget,
    ExceptionClass,
    Long,
    Raised,
    Unicode,
    compare,
    equal,
    number,
    py2_repr,
    py2_str,
    text,
)
from xmcompat.errors import UnsafeConfig, XmError

_SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Mod: "%", ast.FloorDiv: "//", ast.Pow: "**"}
_ORDERS: dict[type[ast.cmpop], Callable[[int], bool]] = {
    ast.Eq: lambda order: order == 0, ast.NotEq: lambda order: order != 0, ast.Lt: lambda order: order < 0,
    ast.LtE: lambda order: order <= 0, ast.Gt: lambda order: order > 0, ast.GtE: lambda order: order >= 0,
}  # fmt: skip


class Expressions:
    """Evaluates expression nodes. ``Statements`` gives it names and functions."""

    def __init__(self, budget: Budget, modules: Mapping[str, Module]) -> None:
        self.budget = budget
        self.modules = modules
        self.builtins = allowed.Builtins(budget, self.iterate, self.call)
        self.predefined: dict[str, object] = {
            **self.builtins.table(), **{name: ExceptionClass(name) for name in py2names.EXCEPTIONS},
            "True": True, "False": False, "None": None,
        }  # fmt: skip
        self.depth = 0

    # what Statements provides

    def lookup(self, name: str) -> object:
        raise Raised("NameError", f"name '{name}' is not defined")

    def assign(self, target: ast.expr, value: object) -> None:
        raise NotImplementedError

    def call_script_function(self, function: object, arguments: list[object], named: dict[str, object]) -> object:
        raise Raised("TypeError", "object is not callable")

    def make_lambda(self, node: ast.Lambda) -> object:
        raise NotImplementedError

    # -- evaluation

    def evaluate(self, node: ast.expr) -> object:
        """The value of NODE. Raises Raised for the script's own errors, ConfigError for what is not permitted."""
        self.budget.line = getattr(node, "lineno", self.budget.line)
        self.budget.step()
        visit = getattr(self, f"on_{type(node).__name__}", None)
        if visit is None:
            raise self.unsupported(node, _construct(node))
        self.depth += 1
        if self.depth > self.budget.limits.depth:
            raise self.budget.over("expressions are nested too deeply")
        try:
            return visit(node)
        finally:
            self.depth -= 1

    def unsupported(self, node: ast.AST, construct: str) -> XmError:
        self.budget.line = getattr(node, "lineno", self.budget.line)
        return self.budget.unsupported(construct, "write the settings themselves")

    def unsafe(self, name: str, hint: str) -> XmError:
        return UnsafeConfig(
            f"'{name}' is not permitted in a restricted configuration", path=self.budget.path, line=self.budget.line,
            hint=hint or "write the settings themselves",
        )  # fmt: skip

    def iterate(self, value: object) -> list[object]:
        """The items of a list, tuple, text or the keys of a dictionary."""
        if not isinstance(value, list | tuple | str | dict):
            raise Raised("TypeError", "object is not iterable")
        self.budget.step(len(value))
        return list(value)

    def call(self, function: object, /, *arguments: object, **named: object) -> object:
        """Call a value of the script's world."""
        self.budget.step()
        self.budget.clock()
        if isinstance(function, ExceptionClass):
            return self._exception(function.name, arguments)
        if callable(function):
            try:
                return function(*arguments, **named)
            except (Raised, XmError):
                raise
            except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, OSError) as error:
                if isinstance(error, TypeError) and _is_about_the_call(error, function):
                    raise self.budget.unsupported("a function or method with these arguments") from None
                kind = type(error).__name__
                raise Raised(kind if kind in py2names.EXCEPTIONS else "ValueError", str(error)) from None
        return self.call_script_function(function, list(arguments), dict(named))

    def _exception(self, kind: str, arguments: tuple[object, ...]) -> Raised:
        shown = arguments[0] if len(arguments) == 1 else arguments
        return Raised(kind, py2_str(shown, self.budget) if arguments else "", arguments)

    # -- leaves

    def on_Constant(self, node: ast.Constant) -> object:
        value = node.value
        if isinstance(value, complex | bytes) or value is Ellipsis:
            raise self.unsupported(node, f"the value {value!r}")
        if isinstance(value, str):
            self.budget.room(len(value))
            return value.encode("utf-8", "replace").decode()  # half a character cannot be shown to anyone
        if isinstance(value, int) and not isinstance(value, bool):
            return number(self.budget.number(value))
        return value

    def on_Name(self, node: ast.Name) -> object:
        try:
            return self.lookup(node.id)
        except Raised:
            if node.id in self.predefined:
                return self.predefined[node.id]
            if node.id in py2names.FORBIDDEN:
                raise self.unsafe(node.id, py2names.FORBIDDEN[node.id]) from None
            if node.id in py2names.UNSUPPORTED:
                raise self.budget.unsupported(f"'{node.id}'", py2names.UNSUPPORTED[node.id]) from None
            raise

    def on_List(self, node: ast.List) -> object:
        self.budget.room(len(node.elts))
        return [self.evaluate(item) for item in node.elts]

    def on_Tuple(self, node: ast.Tuple) -> object:
        self.budget.room(len(node.elts))
        return tuple(self.evaluate(item) for item in node.elts)

    def on_Dict(self, node: ast.Dict) -> object:
        result: dict[object, object] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                raise self.unsupported(node, "'**' in a dictionary")
            result[allowed.checked_key(self.evaluate(key))] = self.evaluate(value)
        return result

    def on_Lambda(self, node: ast.Lambda) -> object:
        return self.make_lambda(node)

    # -- operators

    def on_BinOp(self, node: ast.BinOp) -> object:
        """A chain of operators (a + b + c ...) is walked, not nested."""
        chain: list[tuple[ast.operator, ast.expr]] = []
        left: ast.expr = node
        while isinstance(left, ast.BinOp):
            chain.append((left.op, left.right))
            left = left.left
        value = self.evaluate(left)
        for operation, right in reversed(chain):
            value = self.binary(operation, value, self.evaluate(right))
        return value

    def binary(self, operation: ast.operator, left: object, right: object) -> object:
        self.budget.step()
        if isinstance(operation, ast.Mod) and isinstance(left, str):
            return py2format.format_percent(left, right, self.budget)
        if isinstance(left, int | float) and isinstance(right, int | float):
            return arithmetic(operation, left, right, self.budget)
        if isinstance(operation, ast.Add):
            if isinstance(left, str) and isinstance(right, str):
                self.budget.room(len(left) + len(right))
                return text(str(left) + str(right), (left, right))
            if isinstance(left, list | tuple) and type(left) is type(right):
                self.budget.room(len(left) + len(right), POINTER)
                return left + right  # type: ignore[operator]
        if isinstance(operation, ast.Mult):
            many, times = (left, right) if isinstance(left, str | list | tuple) else (right, left)
            if isinstance(many, str | list | tuple) and isinstance(times, int):
                self.budget.room(len(many) * max(int(times), 0), 1 if isinstance(many, str) else POINTER)
                result = many * (int(times) if many else 0)
                return text(result, (many,)) if isinstance(result, str) else result
        sign = _SIGNS.get(type(operation), "this operator")
        raise Raised("TypeError", f"unsupported operand type(s) for {sign}: {_type(left)} and {_type(right)}")

    def on_UnaryOp(self, node: ast.UnaryOp) -> object:
        value = self.evaluate(node.operand)
        if isinstance(node.op, ast.Not):
            return not value
        if not isinstance(value, int | float):
            raise Raised("TypeError", f"bad operand type for unary operator: {_type(value)}")
        if isinstance(node.op, ast.Invert):
            if not isinstance(value, int):
                raise Raised("TypeError", "bad operand type for unary ~: 'float'")
            return number(~int(value), (value,))
        result = -value if isinstance(node.op, ast.USub) else +value
        return number(result, (value,)) if isinstance(result, int) else result

    def on_BoolOp(self, node: ast.BoolOp) -> object:
        value: object = None
        for operand in node.values:
            value = self.evaluate(operand)
            if bool(value) is isinstance(node.op, ast.Or):
                break
        return value

    def on_IfExp(self, node: ast.IfExp) -> object:
        return self.evaluate(node.body if self.evaluate(node.test) else node.orelse)

    def on_Compare(self, node: ast.Compare) -> object:
        left = self.evaluate(node.left)
        for operation, operand in zip(node.ops, node.comparators, strict=True):
            right = self.evaluate(operand)
            if not self._compared(operation, left, right):
                return False
            left = right
        return True

    def _compared(self, operation: ast.cmpop, left: object, right: object) -> bool:
        if isinstance(operation, ast.In | ast.NotIn):
            return self._contains(right, left) is isinstance(operation, ast.In)
        if isinstance(operation, ast.Is | ast.IsNot):
            same = left is right or (isinstance(left, int | str) and equal(left, right, self.budget))
            return same is isinstance(operation, ast.Is)
        return _ORDERS[type(operation)](compare(left, right, self.budget))

    def _contains(self, container: object, item: object) -> bool:
        if isinstance(container, str):
            if not isinstance(item, str):
                raise Raised("TypeError", "'in <string>' requires string as left operand")
            self.budget.step(len(container) // 100)
            return item in container
        if isinstance(container, dict):
            return allowed.checked_key(item) in container
        return any(equal(one, item, self.budget) for one in self.iterate(container))

    # -- parts of values

    def on_Subscript(self, node: ast.Subscript) -> object:
        value = self.evaluate(node.value)
        if isinstance(node.slice, ast.Slice):
            return self._slice(value, node.slice)
        index = self.evaluate(node.slice)
        if isinstance(value, dict):
            if allowed.checked_key(index) not in value:
                raise Raised("KeyError", py2_repr(index, self.budget))
            return value[index]
        if isinstance(value, str | list | tuple):
            if not isinstance(index, int):
                raise Raised("TypeError", f"{_type(value).strip(chr(39))} indices must be integers")
            try:
                item = value[index]
            except IndexError:
                raise Raised("IndexError", f"{_type(value).strip(chr(39))} index out of range") from None
            return text(item, (value,)) if isinstance(value, str) else item
        if isinstance(value, Attributes):
            return value.item(index)
        raise Raised("TypeError", f"{_type(value)} object is unsubscriptable")

    def _slice(self, value: object, node: ast.Slice) -> object:
        if not isinstance(value, str | list | tuple):
            raise Raised("TypeError", f"{_type(value)} object is unsubscriptable")
        found = value[self.slice_of(node)]
        self.budget.room(len(found), 1 if isinstance(found, str) else POINTER)
        return text(found, (value,)) if isinstance(found, str) else found

    def slice_of(self, node: ast.Slice) -> slice:
        bounds = [None if part is None else self.evaluate(part) for part in (node.lower, node.upper, node.step)]
        if not all(bound is None or isinstance(bound, int) for bound in bounds):
            raise Raised("TypeError", "slice indices must be integers or None")
        if bounds[2] == 0:
            raise Raised("ValueError", "slice step cannot be zero")
        return slice(*bounds)

    def on_Attribute(self, node: ast.Attribute) -> object:
        if node.attr.startswith("_"):
            raise self.unsafe(node.attr, "names may not begin with '_'")
        value = self.evaluate(node.value)
        if isinstance(value, Attributes):
            found = value.attribute(node.attr)
            if found is not None:
                return found
            raise self.unsafe(f"{value.name}.{node.attr}", value.advice)
        if isinstance(value, Raised) and node.attr in ("message", "args"):
            one = value.arguments[0] if len(value.arguments) == 1 else ""
            return one if node.attr == "message" else value.arguments
        method = methods.method(value, node.attr, self.builtins)
        if method is not None:
            return method
        if py2names.has_attribute(value, node.attr):
            raise self.budget.unsupported(f"the attribute '{node.attr}' of this value")
        raise Raised("AttributeError", f"{_type(value)} object has no attribute '{node.attr}'")

    def on_Call(self, node: ast.Call) -> object:
        starred = any(isinstance(argument, ast.Starred) for argument in node.args)
        if starred or any(one.arg is None for one in node.keywords):
            raise self.unsupported(node, "a call with '*' or '**'")
        function = self.evaluate(node.func)
        arguments = [self.evaluate(argument) for argument in node.args]
        named = {str(one.arg): self.evaluate(one.value) for one in node.keywords}
        self.budget.line = node.lineno
        return self.call(function, *arguments, **named)

    # -- comprehensions

    def on_ListComp(self, node: ast.ListComp) -> object:
        """The variable stays defined afterwards, as in Python 2."""
        found: list[object] = []
        self._generate(node.generators, lambda: self._collect(found, self.evaluate(node.elt)))
        return found

    on_GeneratorExp = on_ListComp

    def _collect(self, found: list[object], value: object) -> None:
        self.budget.room(1)
        found.append(value)

    def _generate(self, generators: list[ast.comprehension], body: Callable[[], None]) -> None:
        first, rest = generators[0], generators[1:]
        if first.is_async:
            raise self.unsupported(first.target, "'async'")
        for item in self.iterate(self.evaluate(first.iter)):
            self.assign(first.target, item)
            if all(self.evaluate(test) for test in first.ifs):
                if rest:
                    self._generate(rest, body)
                else:
                    body()


def _is_about_the_call(error: TypeError, function: object) -> bool:
    """Whether FUNCTION does not take the arguments: Python 2's may, so that the script may not catch it."""
    entered = error.__traceback__ is not None and error.__traceback__.tb_next is not None
    return not entered and isinstance(function, FunctionType | MethodType)


def _type(value: object) -> str:
    kind = "long" if isinstance(value, Long) else "unicode" if isinstance(value, Unicode) else type(value).__name__
    return f"'{kind}'"


def _construct(node: ast.expr) -> str:
    names = {"Yield": "'yield'", "YieldFrom": "'yield'", "Await": "'await'", "JoinedStr": "an f-string",
             "NamedExpr": "':='", "Set": "a set", "SetComp": "a set", "DictComp": "a dictionary comprehension",
             "Starred": "'*'"}  # fmt: skip
    return names.get(type(node).__name__, type(node).__name__)
