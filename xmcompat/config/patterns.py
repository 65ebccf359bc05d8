"""Regular expressions of a script: only those that cannot take long. Pure.

A pattern is parsed first. A repetition inside another, alternatives inside a repetition, look-around and back references
are refused; what is left takes at most LENGTH to the power of the number of its open-ended repetitions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from xmcompat.config.py2values import Budget, Raised

#: Of Python's own: its pattern parser, and the names of what it finds.
_PARSER: Any = re._parser  # type: ignore[attr-defined]
rc: Any = re._constants  # type: ignore[attr-defined]


def checked_pattern(pattern: object, subject: object, budget: Budget) -> re.Pattern[str]:
    """A regular expression that cannot take long on SUBJECT. Raises ConfigLimit."""
    if not isinstance(pattern, str) or not isinstance(subject, str):
        raise Raised("TypeError", "expected string or buffer")
    if len(pattern) > 500 or len(subject) > 100_000:
        raise budget.over("a regular expression or text that is too long")
    try:
        loops = _loops(_PARSER.parse(pattern), budget)
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise Raised("ValueError", str(error)) from None
    if (len(subject) + 1) ** max(loops, 1) > 20_000_000:
        raise budget.over("a regular expression that may take too long")
    budget.step(10)
    return compiled


def _loops(tree: Iterable[tuple[Any, Any]], budget: Budget, inside: bool = False) -> int:
    """How many open-ended repetitions a parsed pattern has; one inside another is refused."""
    loops = 0
    for operation, argument in tree:
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
