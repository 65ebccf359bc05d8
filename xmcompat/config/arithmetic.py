"""Arithmetic of Python 2: whole numbers stay whole, and none may grow without end. Pure."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import cast

from xmcompat.config.py2values import Budget, Raised, number

_MATH: dict[type[ast.operator], Callable[[object, object], object]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Mod: operator.mod,
    ast.FloorDiv: operator.floordiv, ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
}  # fmt: skip


def arithmetic(operation: ast.operator, left: int | float, right: int | float, budget: Budget) -> object:
    """LEFT OPERATION RIGHT. Raises Raised for the script's own mistakes, ConfigLimit for a number that is too large."""
    try:
        if isinstance(operation, ast.Pow | ast.LShift | ast.RShift):
            value: int | float = _power(operation, left, right, budget)
        elif isinstance(operation, ast.Div):
            whole = isinstance(left, int) and isinstance(right, int)
            value = left // right if whole else left / right
        else:
            value = cast("int | float", _MATH[type(operation)](left, right))
    except ZeroDivisionError:
        raise Raised("ZeroDivisionError", "integer division or modulo by zero") from None
    except OverflowError as error:
        raise Raised("OverflowError", str(error)) from None
    except (TypeError, KeyError) as error:
        raise Raised("TypeError", f"these numbers cannot be combined: {error}") from None
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    return number(budget.number(value), (left, right))


def _power(operation: ast.operator, left: int | float, right: int | float, budget: Budget) -> int | float:
    if isinstance(operation, ast.Pow):
        if isinstance(left, int) and isinstance(right, int) and right > 0:
            budget.number(1 << min(left.bit_length() * right, 10_000))
        if right < 0 or isinstance(left, float) or isinstance(right, float):
            result: float | complex = pow(float(left), float(right))
            if isinstance(result, complex):
                raise Raised("ValueError", "negative number cannot be raised to a fractional power")
            return result
        return int(pow(int(left), int(right)))
    if not isinstance(left, int) or not isinstance(right, int) or right < 0:
        raise Raised("TypeError", "shifts take whole numbers")
    if isinstance(operation, ast.LShift):
        budget.number(1 << min(left.bit_length() + right, 10_000))
        return left << right
    return left >> min(right, 10_000)


def power_modulo(base: object, exponent: object, modulus: object) -> int:
    """pow() with three arguments."""
    if not isinstance(base, int) or not isinstance(exponent, int) or not isinstance(modulus, int):
        raise Raised("TypeError", "pow() 3rd argument not allowed unless all arguments are integers")
    if exponent < 0:
        raise Raised("TypeError", "pow() 2nd argument cannot be negative when 3rd argument specified")
    if modulus == 0:
        raise Raised("ValueError", "pow() 3rd argument cannot be 0")
    return number(pow(int(base), int(exponent), int(modulus)), (base, exponent, modulus))
