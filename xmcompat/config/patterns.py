"""Regular expressions of a script: only those that cannot take long, and with Python 2's answers. Pure.

A pattern is parsed first, and what a matcher may have to do is counted: the ways in which it can match a text (one that
goes back on its steps tries them all), the steps of each, and the repeats that it has to remember at once. Where these
are too many, or cannot be counted (look-around, back references), the pattern is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from xmcompat.config.py2values import OBJECT, Budget, Raised, text

#: Of Python's own: its pattern parser, and the names of what it finds.
_PARSER: Any = re._parser  # type: ignore[attr-defined]
rc: Any = re._constants  # type: ignore[attr-defined]

LONGEST_PATTERN, LONGEST_TEXT = 500, 100_000

#: Steps that are made within a few seconds, were all of them made.
MOST_STEPS = 300_000_000
#: Repeats that are within others or follow them, with all their groups: as many are remembered at once, 0.2 KiB each.
DEEPEST = 200_000
#: As often as this, what can itself match in several ways, or match nothing, may be repeated.
FEW = 50
#: Characters from the first to the last of a range: each is looked at when the pattern is made.
WIDEST_RANGE = 4096

_UNCOUNTABLE = (
    rc.GROUPREF, rc.GROUPREF_EXISTS, rc.ASSERT, rc.ASSERT_NOT, rc.ATOMIC_GROUP, rc.POSSESSIVE_REPEAT,
)  # fmt: skip
_ONE_CHARACTER = (rc.LITERAL, rc.NOT_LITERAL, rc.ANY, rc.IN)
#: What Python 2 took and Python 3 does not: as the latter begins to say so.
_ONCE_ALLOWED = (
    "bad escape", "bad inline flags", "global flags not at the start", "cannot use LOCALE", "ASCII and UNICODE",
)  # fmt: skip


class _Effort(NamedTuple):
    """What a part of a pattern can take: ends that it can find, steps to find them all, repeats within one another."""

    ways: int
    steps: int
    depth: int


def checked_pattern(
    pattern: object, subject: object, budget: Budget, flags: object = 0, *, anywhere: bool = True
) -> re.Pattern[str]:
    """A regular expression that cannot take long on SUBJECT, be it at its beginning only or ANYWHERE.

    Raises ConfigLimit, UnsupportedConfig, Raised.
    """
    if not isinstance(pattern, str) or not isinstance(subject, str) or not isinstance(flags, int):
        raise Raised("TypeError", "expected string or buffer")
    if len(pattern) > LONGEST_PATTERN or len(subject) > LONGEST_TEXT:
        raise budget.over("a regular expression or text that is too long")
    budget.step(10)
    chosen = int(flags) | re.ASCII
    try:
        tree = _PARSER.parse(str(pattern), chosen)
        effort = _effort(tree, len(subject), budget)
        if effort.steps * (len(subject) + 1 if anywhere and not _at_beginning(tree) else 1) > MOST_STEPS:
            raise budget.over("a regular expression that may take too long")
        if effort.depth * tree.state.groups > DEEPEST:
            raise budget.over("a regular expression that repeats too much")
        return re.compile(str(pattern), chosen)
    except RecursionError:
        raise budget.over("a regular expression that is nested too deeply") from None
    except (re.error, OverflowError, ValueError) as error:
        raise _refused(error, budget, f"the regular expression {pattern[:100]!r}") from None


def _at_beginning(tree: Any) -> bool:  # noqa: ANN401
    return bool(tree) and tree[0] == (rc.AT, rc.AT_BEGINNING) and not tree.state.flags & re.MULTILINE


def _refused(error: Exception, budget: Budget, what: str) -> Exception:
    """A mistake of the script, unless Python 2 took what Python 3 does not take."""
    if str(error).startswith(_ONCE_ALLOWED):
        return budget.unsupported(f"{what} ({error})")
    return Raised("error", str(error))


def _effort(tree: Iterable[tuple[Any, Any]], length: int, budget: Budget) -> _Effort:
    """What a parsed pattern can take at one place of a text of LENGTH characters; numbers have an end."""
    ways, steps, depth = 1, 1, 0
    for operation, argument in tree:
        part = _part(operation, argument, length, budget)
        steps = min(steps + ways * part.steps, MOST_STEPS + 1)
        ways = min(ways * part.ways, MOST_STEPS + 1)
        depth = min(depth + part.depth, DEEPEST + 1)
    return _Effort(ways, steps, depth)


def _part(operation: object, argument: Any, length: int, budget: Budget) -> _Effort:  # noqa: ANN401
    if operation in (rc.MAX_REPEAT, rc.MIN_REPEAT):
        return _repeated(int(argument[0]), int(argument[1]), argument[2], length, budget)
    if operation is rc.SUBPATTERN:
        return _effort(argument[3], length, budget)
    if operation is rc.BRANCH:
        branches = [_effort(branch, length, budget) for branch in argument[1]]
        ways, steps = sum(branch.ways for branch in branches), sum(branch.steps for branch in branches)
        return _Effort(ways, steps, max(branch.depth for branch in branches))
    if operation in _UNCOUNTABLE:
        raise budget.over("a regular expression with look-around or back references")
    if operation is rc.IN:
        for kind, item in argument:
            if kind is rc.RANGE and item[1] - item[0] > WIDEST_RANGE:
                raise budget.over("a regular expression with a range that is too wide")
        return _Effort(1, 1 + len(argument) // 8, 0)
    return _Effort(1, 1, 0)


def _repeated(least: int, most: int, body: Any, length: int, budget: Budget) -> _Effort:  # noqa: ANN401
    inner = _effort(body, length, budget)
    narrowest = int(body.getwidth()[0])
    if inner.ways > 1 and most > FEW:
        raise budget.over("a regular expression with a repetition inside another")
    if narrowest == 0 and most > FEW:
        raise budget.over("a regular expression that repeats nothing")
    times = min(most, length // narrowest + 1 if narrowest else most)
    choices = max(1, times - least + 1)
    if len(body) == 1 and body[0][0] in _ONE_CHARACTER:
        return _Effort(choices, 1 + times * inner.steps, 1)
    return _Effort(choices * inner.ways**times, 1 + times * inner.ways**times * inner.steps, times * (1 + inner.depth))


# -- what Python 2 makes of what is found: an empty match is not looked at twice


def _matches(compiled: re.Pattern[str], subject: str, budget: Budget) -> Iterator[re.Match[str]]:
    start = 0
    while start <= len(subject):
        found = compiled.search(subject, start)
        if found is None:
            return
        budget.step()
        yield found
        start = found.end() + (found.start() == found.end())


def substituted(compiled: re.Pattern[str], new: str, subject: str, count: int, budget: Budget) -> str:
    """re.sub(): SUBJECT with NEW in place of what is found. Raises Raised for a template that is none."""
    budget.room((len(subject) + 1) * (len(new) + 1))
    pieces, place, made = [], 0, 0
    for found in _matches(compiled, subject, budget):
        if count and made >= count:
            break
        begin, end = found.span()
        if made and place == begin == end:
            continue  # an empty one where the last has ended
        try:
            pieces += [subject[place:begin], found.expand(new)]
        except (re.error, IndexError) as error:
            raise _refused(error, budget, f"the replacement {new[:100]!r}") from None
        place = end
        made += 1
    return text("".join(pieces) + subject[place:], [subject, new])


def split(compiled: re.Pattern[str], subject: str, most: int, budget: Budget) -> list[str | None]:
    """re.split(): what lies between the matches, and their groups; empty ones do not count."""
    pieces: list[str | None] = []
    place, made = 0, 0
    for found in _matches(compiled, subject, budget):
        if most and made >= most:
            break
        if found.start() == found.end():
            continue
        budget.room(1 + compiled.groups, OBJECT)
        pieces += [subject[place : found.start()], *found.groups()]
        place = found.end()
        made += 1
    return [None if one is None else text(one, [subject]) for one in (*pieces, subject[place:])]


def found_all(compiled: re.Pattern[str], subject: str, budget: Budget) -> list[object]:
    """re.findall(): the matches; their groups where there are any."""
    results: list[object] = []
    for found in _matches(compiled, subject, budget):
        budget.room(1 + compiled.groups, OBJECT)
        groups = [text(one, [subject]) for one in found.groups("")]
        results.append(tuple(groups) if len(groups) > 1 else groups[0] if groups else text(found[0], [subject]))
    return results
