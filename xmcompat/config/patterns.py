"""Regular expressions of a script: only those that cannot take long. Pure.

A pattern is parsed first, and the ways in which it can match a text are counted; a matcher that goes back on its steps
tries them all. Where they are too many, or cannot be counted (look-around, back references), the pattern is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from xmcompat.config.py2values import Budget, Raised

#: Of Python's own: its pattern parser, and the names of what it finds.
_PARSER: Any = re._parser  # type: ignore[attr-defined]
rc: Any = re._constants  # type: ignore[attr-defined]

LONGEST_PATTERN, LONGEST_TEXT = 500, 100_000

#: Ways that are tried within a second.
MOST_WAYS = 20_000_000

#: As often as this, what can itself match in several ways may be repeated.
FEW = 50


def checked_pattern(pattern: object, subject: object, budget: Budget) -> re.Pattern[str]:
    """A regular expression that cannot take long on SUBJECT. Raises ConfigLimit."""
    if not isinstance(pattern, str) or not isinstance(subject, str):
        raise Raised("TypeError", "expected string or buffer")
    if len(pattern) > LONGEST_PATTERN or len(subject) > LONGEST_TEXT:
        raise budget.over("a regular expression or text that is too long")
    try:
        ways = _ways(_PARSER.parse(pattern), len(subject) + 1, budget)
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise Raised("ValueError", str(error)) from None
    if ways * (len(subject) + 1) > MOST_WAYS:  # from every place of the text
        raise budget.over("a regular expression that may take too long")
    budget.step(10)
    return compiled


def _ways(tree: Iterable[tuple[Any, Any]], length: int, budget: Budget) -> int:
    """In how many ways a parsed pattern can match a text of LENGTH characters; at most MOST_WAYS + 1 is answered."""
    ways = 1
    for operation, argument in tree:
        if operation in (rc.MAX_REPEAT, rc.MIN_REPEAT, rc.POSSESSIVE_REPEAT):
            least, most, inner = int(argument[0]), int(argument[1]), _ways(argument[2], length, budget)
            if inner > 1 and most > FEW:
                raise budget.over("a regular expression with a repetition inside another")
            ways *= max(1, min(most, length) - least + 1) * (inner**most if inner > 1 else 1)
        elif operation is rc.SUBPATTERN:
            ways *= _ways(argument[3], length, budget)
        elif operation is rc.BRANCH:
            ways *= sum(_ways(branch, length, budget) for branch in argument[1])
        elif operation in (rc.GROUPREF, rc.GROUPREF_EXISTS, rc.ASSERT, rc.ASSERT_NOT, rc.ATOMIC_GROUP):
            raise budget.over("a regular expression with look-around or back references")
        ways = min(ways, MOST_WAYS + 1)
    return ways
