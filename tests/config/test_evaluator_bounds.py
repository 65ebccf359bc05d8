"""What a script may not take: depth, memory, and the room of an error message."""

from __future__ import annotations

import resource
import time

import pytest

from tests.config.test_evaluator import failure, result, run
from xmcompat.errors import ConfigError, ConfigLimit, PythonSyntax, UnsafeConfig, UnsupportedConfig

RECURSIONS = {
    "a sum": "def f(n):\n  if n == 0: return 0\n  return 1 + f(n - 1)\n",
    "within calls": "def f(n):\n  if n:\n    for i in [1]:\n      return max([int(str(1 + f(n - 1)))])\n  else:\n    return 0\n",
    "a lambda": "f = lambda n: n and 1 + f(n - 1)\n",
}  # fmt: skip


@pytest.mark.parametrize("what", RECURSIONS)
def test_fifty_calls_within_one_another_are_allowed_and_more_are_not(what: str) -> None:
    assert result(f"{RECURSIONS[what]}a = f(50)") == 50
    assert type(failure(f"{RECURSIONS[what]}a = f(60)")) is ConfigLimit


def test_calls_of_deep_expressions_end_in_one_line() -> None:
    deep = "(" * 80 + "f(n - 1)," + ")," * 79 + ")"
    assert type(failure(f"def f(n):\n  if n == 0: return 0\n  x = {deep}\n  return 5\na = f(50)")) is ConfigLimit


BOMBS = {
    "keys() of keys()": "d = dict(zip(range(20000), range(20000)))\nl = []\nfor i in range(90000): l.append(d.keys())",
    "copies of a dictionary": "d = dict(zip(range(20000), range(20000)))\nl = []\nwhile 1: l.append(d.copy())",
    "dict() of one": "d = dict(zip(range(20000), range(20000)))\nl = []\nwhile 1: l.append(dict(d))",
    "wide fields": "a = '%9999d' * 90000 % tuple(range(90000))", "wide format fields": "a = ('{0:9999}' * 90000).format(1)",
    "a long print": "x = 'x' * 900000\nprint " + ", ".join("x" * 900), "tabs": "a = ('\\t' * 100000).expandtabs(9999)",
    "stripping": "a = ('a' * 500000).strip('b' * 400000 + 'a')", "rfind": "a = ('a' * 500000).rfind('b' + 'a' * 200000)",
    "pow": "a = pow(10, 10 ** 6)", "pow of pow": "a = pow(pow(3, 2000), 2000)", "reduce": "a = reduce(lambda x, y: x * y, range(1, 2000))",
    "doubling": "a = [0]\nwhile 1: a = a + a", "endless": "while 1: pass",
}  # fmt: skip


@pytest.mark.parametrize("what", BOMBS)
def test_a_bomb_takes_neither_long_nor_much_memory(what: str) -> None:
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert type(failure(BOMBS[what])) is ConfigLimit
    assert time.monotonic() - begun < 8
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10  # KiB


LONG = "x" * 1_000_000
LONG_LINES = {
    f"a = = {LONG}": PythonSyntax, f"_{LONG} = 1": UnsafeConfig, f"{LONG}": ConfigError, f"a = {{}}['{LONG}']": ConfigError,
    f"a = 'x'.{LONG}": ConfigError, f"raise ValueError('{LONG}')": ConfigError, f"import {LONG}": UnsafeConfig,
    f"a = int('{LONG[:900]}')": ConfigError, f"a = inet_aton('{LONG}')": ConfigError, f"a = 'a'.encode('{LONG}')": UnsupportedConfig,
    f"a = os.{LONG}": UnsafeConfig,
}  # fmt: skip


@pytest.mark.parametrize("script", LONG_LINES, ids=lambda script: script[:20])
def test_a_long_line_is_not_shown_whole(script: str) -> None:
    error = failure(script)
    assert type(error) is LONG_LINES[script]
    assert len(error.line()) < 1200


IN_BRACKETS = (
    "def f((a, b)): pass", "def f(x, (a, b)=(1, 2)): pass", "def f(x,\n  (a, b)): pass", "a = map(lambda (x, y): x, [(1, 2)])",
    "a = sorted([1], key=lambda x, (y, z)=1: x)", "if 1: a = lambda (k): k",
    "try: 1/0\nexcept ZeroDivisionError, (a, b): pass",
)  # fmt: skip


@pytest.mark.parametrize("script", IN_BRACKETS)
def test_parameters_in_brackets_are_not_supported_and_no_syntax_error(script: str) -> None:
    error = failure(script)
    assert type(error) is UnsupportedConfig
    assert error.line().endswith("a parameter in brackets is not supported; give each a name of its own")


def test_other_brackets_are_no_parameters() -> None:
    assert run("def f(x=(1, 2), y=(3)): return (x, y)[0]\na = list(f())").values == {"a": [1, 2]}
    assert run("a = [lambda x: x, (1, 2)][1][0]\nb = {'k': (lambda x: x), 'l': (1,)}['k'](3)").values == {"a": 1, "b": 3}
    assert run("try: 1/0\nexcept (ValueError, ZeroDivisionError), e: a = 1").values == {"a": 1}


def test_what_a_form_of_the_time_cannot_show_is_refused() -> None:
    assert type(failure("import time\na = time.strftime('%Y' * 200)")) is ConfigLimit
    assert type(failure("import time\na = time.strftime('%Y', (1, 2))")) is ConfigError
    assert type(failure("import time\na = time.gmtime(1e30)")) is ConfigError
