"""Regular expressions of a script: none takes long or much memory, and the answers are Python 2's."""

from __future__ import annotations

import resource
import time

import pytest

from tests.config.test_evaluator import failure, host, result, same
from xmcompat.config.python import Limits, evaluate
from xmcompat.errors import ConfigError, ConfigLimit, UnsupportedConfig
from xmcompat.guest import Value

BOMBS = {
    "zero-width repeats": "re.match('(?:(?:^){65535}){65535}', '')",
    "empty groups": "re.match('(?:(?:(?:(){999}){999}){999}){999}', '')",
    "word boundaries": r"re.match(r'(?:(?:(?:\b){9999}){9999}){9999}', '')",
    "few empty repeats, often nested": f"re.match({'(?:' * 40 + '^' + '){50}' * 40!r}, '')",
    "empty repeats at every place": "re.search('(?:(?:^){50}){50}x', 'a' * 90000)",
    "repeats that are remembered": "re.match('(?:()()()()ab)*$', 'ab' * 49000)",
    "empty repeats of empty repeats": r"re.search('(?:(?:\B)+){50}c', 'ab' * 200)",
    "lazy ones": "re.sub('(?:(?:^)+?){50}c', '-', 'b' * 20)", "ranges of them": "re.match('(?:(?:()){1,50}){50}c', 'a')",
    "empty repeats of few": "re.findall('(?:(?:(?:^){3,7})+)+?c', 'a' * 100)",
    "nested repetition": "re.search('(a+)+$', 'a' * 40 + 'b')",
    "nested repetition of blanks": r"re.search('(\w+\s?)+$', 'a' * 40)",
    "repeated alternatives": "re.search('(?:a|a|aa){40}b', 'a' * 40)",
    "optional characters": "re.search('a?' * 30 + 'a' * 30, 'a' * 30)",
    "stars in a row": "re.search('.*.*.*.*=', 'x' * 2000)",
    "look-ahead": "re.search('(?=(a+))a*b', 'a' * 100)", "look-behind": "re.search('(?<=a)b', 'ab')",
    "back reference": r"re.search(r'(a*)\1b', 'a' * 100)",
    "a long pattern": "re.search('a' * 501, '')", "a long text": "re.search('a', 'a' * 100001)",
    "wide ranges without case": "re.search(u'(?i)[' + u'\\x00-\\uffff' * 100 + u']', 'a')",
    "groups of every match": "a = re.findall('()' * 240, 'x' * 70000)",
    "groups of a replacement": r"re.sub('(.+)', '\\1' * 2000, 'a' * 2000)",
    "patterns without end": "[re.compile('(?:a|b){9}%d' % n) for n in range(100000)]",
    "groups() without end": "[re.match('()' * 200, '').groups() for n in range(100000)]",
    "a search without end": "[re.search('a+b', 'a' * 3000) for n in range(100000)]",
}  # fmt: skip


@pytest.mark.parametrize("what", BOMBS)
def test_a_pattern_takes_neither_long_nor_much_memory(what: str) -> None:
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigLimit):
        evaluate(BOMBS[what], path="web1.cfg", variables={}, host=host(), limits=Limits(seconds=1))
    assert time.monotonic() - begun < 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10  # KiB


HONEST: dict[str, Value] = {
    r"re.match(r'(\d{1,3}\.){3}\d{1,3}$', '192.168.10.25').group(0)": "192.168.10.25",
    r"re.match('([0-9a-f]{2}:){5}[0-9a-f]{2}$', '00:16:3e:00:00:01').group(0)[:2]": "00",
    r"re.search('^[a-z0-9.-]+$', 'a' * 3000).end()": 3000,
    r"re.match('[a-z]+@?', 'a' * 4000).end()": 4000,
    r"re.search('64', 'x' * 90000 + '64').start()": 90000,
    r"re.sub('[^a-z]', '-', 'a1' * 400)[:4]": "a-a-",
    r"len(re.split('\s*,\s*', 'a , ' * 100))": 101,
    "re.search('(?:' * 120 + ')' * 120, 'a').end()": 0,
    r"re.search('(?:(?:^){50}){50}', '').end()": 0,
}  # fmt: skip


@pytest.mark.parametrize("expression", HONEST)
def test_an_honest_pattern_is_not_refused(expression: str) -> None:
    assert same(result(f"a = {expression}"), HONEST[expression])


#: As Python 2.7 answers.
ANSWERS: dict[str, Value] = {
    "re.sub('x*', '-', 'abxd')": "-a-b-d-", "re.sub('b*', '-', 'abc')": "-a-c-", "re.sub('', '-', 'abc')": "-a-b-c-",
    "re.sub('$', '!', 'a\\n')": "a!\n!", "re.sub('a', 'b', 'aaa', 2)": "bba", "re.sub('a', 'b', 'aaa', -1)": "aaa",
    r"re.sub('(?P<n>a)', '<\\g<n>>', 'a')": "<a>", "re.split('x*', 'axbc')": ["a", "bc"], "re.split('(,)', 'a,b')": ["a", ",", "b"],
    "re.split(',', 'a,b,c', 1)": ["a", "b,c"], "re.split(',', 'a,b', -1)": ["a,b"], "re.findall('|a', 'aa')": ["", "", ""],
    "re.findall('a|', 'aba')": ["a", "", "a", ""], "re.findall('(a)(b)?', 'aab')": [["a", ""], ["a", "b"]],
    r"len(re.findall('\\w', 'z\xfc1'))": 2, "re.sub('A', 'b', 'aA', 0, re.I)": "bb", "re.sub('(?i)A', 'b', 'aA')": "bb",
    "re.compile('A', re.IGNORECASE).sub('b', 'aA', count=1)": "bA", "re.match(re.compile('(a)(b)'), 'ab').group(2)": "b",
    "list(re.search('b', 'abc').span())": [1, 2], "re.search('(a)(b)', 'ab').end(1)": 1, "re.compile('x').pattern": "x",
}  # fmt: skip


@pytest.mark.parametrize("expression", ANSWERS)
def test_the_answers_are_those_of_python_2(expression: str) -> None:
    assert same(result(f"a = {expression}"), ANSWERS[expression])


MISTAKES = {
    r"re.sub('a', '\\9', 'a')": "invalid group reference 9 at position 1", r"re.sub('a', '\\g<x>', 'a')": "unknown group name 'x'",
    "re.search('(', 'x')": "missing ), unterminated subpattern at position 0", "re.search('a**', 'x')": "multiple repeat at position 2",
}  # fmt: skip


@pytest.mark.parametrize("expression", MISTAKES)
def test_a_bad_pattern_or_template_is_the_scripts_own_mistake(expression: str) -> None:
    error = failure(expression)
    assert (type(error), error.message, error.hint) == (ConfigError, MISTAKES[expression], "see web1.cfg:1")
    assert result(f"try: {expression}\nexcept re.error, e: a = str(e)") == MISTAKES[expression]
    assert result(f"try: {expression}\nexcept ValueError: a = 1\nexcept Exception: a = 2") == 2


@pytest.mark.parametrize(
    "expression",
    [r"re.search('\\q', 'q')", "re.search('a(?i)b', 'aB')", "re.search('(?L)a', 'a')", "re.search('(?u)a', 'a')",
     r"re.sub('a', '\\q', 'a')", "re.sub('a', lambda m: 'b', 'a')", "re.compile('a').search('ba', 1)"],
)  # fmt: skip
def test_what_only_python_2_takes_is_not_supported_and_no_mistake(expression: str) -> None:
    assert type(failure(f"try: {expression}\nexcept: pass")) is UnsupportedConfig
