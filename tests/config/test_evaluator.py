"""What a configuration script may say, and the values that it then has: Python 2's, not Python 3's."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent

import pytest

from xmcompat.config.py2tokens import rewrite
from xmcompat.config.python import Evaluated, ScriptExit, ScriptHost, evaluate
from xmcompat.errors import ConfigError, ConfigSyntax, PythonSyntax, XmError
from xmcompat.guest import Value

FILES = ("/boot/vmlinuz-xen", "/etc/xen")


def host(machine: str = "x86_64") -> ScriptHost:
    return ScriptHost(
        uname=("Linux", "dom0", "2.6.32-5-xen-amd64", "#1 SMP", machine), exists=FILES.__contains__,
        isfile=FILES[:1].__contains__, isdir=FILES[1:].__contains__, cwd="/root/guests", now=1262304000.0,
    )  # fmt: skip


def run(script: str | bytes, *, machine: str = "x86_64", **variables: str) -> Evaluated:
    return evaluate(script, path="web1.cfg", variables=variables, host=host(machine))


def result(script: str | bytes, *, machine: str = "x86_64", **variables: str) -> Value:
    """The value of ``a`` at the end of a script."""
    return run(script, machine=machine, **variables).values["a"]


def value_of(expression: str) -> Value:
    """What an expression is in a list, where values of every type are kept."""
    values = run(f"a = [{expression}]").values["a"]
    assert isinstance(values, list) and len(values) == 1
    return values[0]


def failure(script: str | bytes, **variables: str) -> XmError:
    with pytest.raises(XmError) as caught:
        run(script, **variables)
    return caught.value


def same(actual: object, expected: object) -> bool:
    """Equal, and of the same type: 1 is not 1.0, nor True."""
    if isinstance(expected, list) and isinstance(actual, list):
        return len(actual) == len(expected) and all(map(same, actual, expected))
    return type(actual) is type(expected) and actual == expected


# -- numbers

NUMBERS: dict[str, Value] = {
    "0755": 493, "00": 0, "0": 0, "0xff": 255, "0XfF": 255, "0b101": 5, "0o17": 15, "1.5": 1.5, "1e3": 1000.0, ".5": 0.5,
    "5.": 5.0, "07.5": 7.5,
    "1024/3": 341, "-7/2": -4, "7/-2": -4, "7//2": 3, "7.0/2": 3.5, "7.0//2": 3.0, "-7%3": 2, "7 % -3": -2, "2**10": 1024,
    "2**-1": 0.5, "1<<10": 1024, "1024>>3": 128, "6&3": 2, "6|3": 7, "6^3": 5, "~5": -6, "-(-3)": 3, "+4": 4,
    "True+1": 2, "1 - 2 - 3": -4, "2*(3+4)": 14, "2 + 3 * 4": 14, "-2**2": -4,
    "abs(-3)": 3, "abs(-2.5)": 2.5, "int('42')": 42, "int(' 42\\n')": 42, "int('-7')": -7, "int('ff', 16)": 255,
    "int('0755', 8)": 493, "int('0755')": 755, "int(3.9)": 3, "int(-3.9)": -3, "int()": 0, "int(True)": 1, "int(5L)": 5,
    "float('1.5')": 1.5, "float(2)": 2.0, "round(2.5)": 3.0, "round(-2.5)": -3.0, "round(0.5)": 1.0,
    "round(2.345, 1)": 2.3, "round(3)": 3.0, "ord('A')": 65, "len('abc')": 3, "len([1, 2])": 2, "len({})": 0, "len(())": 0,
    "min(3, 1, 2)": 1, "max([3, 1, 2])": 3, "min('b', 'a')": "a", "max(1, '0')": "0", "sum([1, 2, 3])": 6,
    "sum([1, 2], 10)": 13, "sum([0.5, 1])": 1.5, "sum(range(10))": 45,
}  # fmt: skip


@pytest.mark.parametrize("expression", NUMBERS)
def test_numbers(expression: str) -> None:
    assert same(result(f"a = {expression}"), NUMBERS[expression])


# -- texts

TEXTS: dict[str, Value] = {
    "'a' 'b'": "ab", "'a' \"b\" 'c'": "abc", '"it\'s"': "it's", "'''a\nb'''": "a\nb", '"""x"""': "x", "r'a\\nb'": "a\\nb",
    "R'\\d'": "\\d", "'a\\tb'": "a\tb", "'\\x41'": "A", "'\\101'": "A", "'\\u0041'": "\\u0041", "'\\N{DASH}'": "\\N{DASH}",
    "'\\\\u'": "\\u", "b'x'": "x", "'\\q'": "\\q", "'a\\\nb'": "ab", "'#no comment'": "#no comment",
    "'<>'": "<>", "'`'": "`", "'print x'": "print x", "'0755 10L'": "0755 10L",
    "`5`": "5", "`'x'`": "'x'", "`5L`": "5L", "`[1, 'a', (2,)]`": "[1, 'a', (2,)]", "'n' + `1 + 1`": "n2",
    "'ab' * 3": "ababab", "2 * 'x'": "xx", "'x' * 0": "", "'x' * -1": "",
    "str(1)": "1", "str(1.0)": "1.0", "str(0.1)": "0.1", "str(1.0/3)": "0.333333333333", "str(1e16)": "1e+16",
    "str(5L)": "5", "str(None)": "None", "str(True)": "True", "str([1, 'a'])": "[1, 'a']", "str('x')": "x", "str()": "",
    "repr(1.0)": "1.0", "repr('a')": "'a'", "repr(\"it's\")": '"it\'s"', "repr('a\\n')": "'a\\n'", "repr(u'x')": "u'x'",
    "repr(None)": "None", "repr({'a': 1})": "{'a': 1}", "repr(())": "()", "hex(255)": "0xff", "oct(8)": "010",
    "oct(0)": "0", "chr(65)": "A", "hex(255L)": "0xffL",
}  # fmt: skip

PERCENT: dict[str, Value] = {
    "'node%02d' % 7": "node07", "'%s' % 'x'": "x", "'%s/%s' % ('a', 'b')": "a/b", "'%d%%' % 50": "50%", "'%%' % ()": "%",
    "'%5d|' % 42": "   42|", "'%-5d|' % 42": "42   |", "'%05d' % 42": "00042", "'%+d' % 42": "+42", "'%x' % 255": "ff",
    "'%X' % 255": "FF", "'%02x' % 10": "0a", "'%o' % 8": "10", "'%.2f' % 1.005": "1.00", "'%8.3f|' % 3.14159": "   3.142|",
    "'%e' % 12345.678": "1.234568e+04", "'%g' % 0.0001": "0.0001", "'%s' % 1.0": "1.0", "'%r' % 'x'": "'x'", "'%c' % 65": "A",
    "'%c' % 'A'": "A", "'%s' % [1, 2]": "[1, 2]", "'%s' % None": "None", "'%d' % 3.9": "3", "'%i' % 3": "3",
    "'%u' % 3": "3", "'%s' % (1,)": "1", "'%(a)s-%(b)03d' % {'a': 'x', 'b': 5}": "x-005", "'%*d' % (5, 42)": "   42",
    "'%.*f' % (1, 2.25)": "2.2", "'%10s|' % 'ab'": "        ab|", "'%-4s|' % 'ab'": "ab  |", "'%.2s' % 'abc'": "ab",
    "'%ld' % 5": "5", "'%s' % True": "True", "'%d' % True": "1", "'%s' % (('a', 1),)": "('a', 1)", "'%d' % 10L": "10",
    "'phy:vg0/n%d,xvda1,w' % (3 + 1)": "phy:vg0/n4,xvda1,w",
}  # fmt: skip

FORMAT: dict[str, Value] = {
    "'{0}-{1}'.format('a', 2)": "a-2", "'{}{}'.format('a', 'b')": "ab", "'{n}'.format(n=5)": "5", "'{0:03d}'.format(7)": "007",
    "'{{}}'.format()": "{}", "'{0!r}'.format('x')": "'x'", "'{0:>4}|'.format('a')": "   a|", "'{0:x}'.format(255)": "ff",
}  # fmt: skip

TEXT_METHODS: dict[str, Value] = {
    "'a,b,c'.split(',')": ["a", "b", "c"], "'a,b,c'.split(',', 1)": ["a", "b,c"], "' a  b '.split()": ["a", "b"],
    "'a.b.c'.rsplit('.', 1)": ["a.b", "c"], "' x '.strip()": "x", "'xxaxx'.strip('x')": "a", "' x'.lstrip()": "x",
    "'x '.rstrip()": "x", "'aba'.replace('a', 'c')": "cbc", "'aba'.replace('a', 'c', 1)": "cba",
    "'AbC'.lower()": "abc", "'AbC'.upper()": "ABC", "'web one'.title()": "Web One", "'web'.capitalize()": "Web",
    "'AbC'.swapcase()": "aBc", "'abcb'.find('b')": 1, "'abc'.find('z')": -1, "'abcb'.rfind('b')": 3, "'abcb'.find('b', 2)": 3,
    "'abc'.index('c')": 2, "'abab'.count('ab')": 2, "'7'.zfill(3)": "007", "'-7'.zfill(4)": "-007", "'a'.ljust(3)": "a  ",
    "'a'.rjust(3)": "  a", "'a'.rjust(3, '0')": "00a", "'a'.center(3)": " a ", "'a'.center(3, '-')": "-a-",
    "'a\\nb\\n'.splitlines()": ["a", "b"], "', '.join(['a', 'b'])": "a, b", "''.join([])": "", "'-'.join('abc')": "a-b-c",
    "','.join(('a', 'b'))": "a,b", "'abc'.encode('ascii')": "abc",
}  # fmt: skip

SLICES: dict[str, Value] = {
    "'abc'[0]": "a", "'abc'[-1]": "c", "'abc'[1:]": "bc", "'abc'[:-1]": "ab", "'abc'[::-1]": "cba", "'abcdef'[1:5:2]": "bd",
    "'abc'[5:]": "", "'abc'[:]": "abc", "[1, 2, 3][1]": 2, "[1, 2, 3][-2:]": [2, 3], "[1, 2, 3][::2]": [1, 3],
    "(1, 2, 3)[1]": 2, "{'a': 1}['a']": 1, "{1: 'x'}[1]": "x", "{(1, 2): 'x'}[1, 2]": "x", "[[1, 2], [3]][0][1]": 2,
    "('a', 'b')[True]": "b", "'%s' % 'abc'[0]": "a", "('lib', 'lib64')[0 < 1]": "lib64",
}  # fmt: skip

LISTS: dict[str, Value] = {
    "[]": [], "[1, 'a', 2.5]": [1, "a", 2.5], "[1,]": [1], "[1] + [2, 3]": [1, 2, 3], "[0] * 3": [0, 0, 0], "[[1], [2]]": [[1], [2]],
    "range(3)": [0, 1, 2], "range(1, 4)": [1, 2, 3], "range(6, 0, -2)": [6, 4, 2], "range(0)": [], "xrange(2)": [0, 1],
    "list('ab')": ["a", "b"], "list((1, 2))": [1, 2], "sorted([3, 1, 2])": [1, 2, 3], "sorted('cab')": ["a", "b", "c"],
    "sorted([1, 'a', 0])": [0, 1, "a"], "sorted([1, 3, 2], reverse=True)": [3, 2, 1], "list(reversed([1, 2]))": [2, 1],
    "sorted(['b', 'A'], key=lambda x: x.lower())": ["A", "b"], "map(str, [1, 2])": ["1", "2"],
    "map(lambda x: x * 2, [1, 2])": [2, 4], "map(lambda x, y: x + y, [1, 2], [3, 4])": [4, 6], "map(int, '123')": [1, 2, 3],
    "filter(lambda x: x > 1, [1, 2, 3])": [2, 3], "filter(None, ['a', '', 'b'])": ["a", "b"],
    "zip([1, 2], ['a', 'b'])": [[1, "a"], [2, "b"]], "zip([1, 2], [3])": [[1, 3]],
    "enumerate(['a', 'b'])": [[0, "a"], [1, "b"]], "{'k': 1}.keys()": ["k"], "{'k': 1}.values()": [1],
    "{'k': 1}.items()": [["k", 1]], "[x * x for x in range(4)]": [0, 1, 4, 9], "[x for x in range(6) if x % 2]": [1, 3, 5],
    "[x + y for x in 'ab' for y in '12']": ["a1", "a2", "b1", "b2"], "[a for a, b in [(1, 2), (3, 4)]]": [1, 3],
    "['phy:vg/d%d,xvd%s,w' % (n, 'abc'[n]) for n in range(2)]": ["phy:vg/d0,xvda,w", "phy:vg/d1,xvdb,w"],
    "[str(x) for x in (1, 2)]": ["1", "2"], "list(x for x in [1, 2])": [1, 2], "sorted({'b': 1, 'a': 2})": ["a", "b"],
}  # fmt: skip


@pytest.mark.parametrize("expression", [*TEXTS, *PERCENT, *FORMAT, *TEXT_METHODS, *SLICES, *LISTS])
def test_texts_and_lists(expression: str) -> None:
    expected = {**TEXTS, **PERCENT, **FORMAT, **TEXT_METHODS, **SLICES, **LISTS}[expression]
    assert same(result(f"a = {expression}"), expected)


# -- truth: a bool is no setting, so it is turned into a number

TRUTHS = {
    "1 <> 2": 1, "1 != 1": 0, "1 == 1.0": 1, "'a' == 'b'": 0, "'3' > 2": 1, "2 < '1'": 1, "None < 0": 1, "[] < 'a'": 1,
    "'a' < (1,)": 1, "{} < []": 1, "1 < 2 < 3": 1, "1 < 2 > 3": 0, "[1, 2] < [1, 3]": 1, "(1,) < (1, 0)": 1, "u'a' == 'a'": 1,
    "5L == 5": 1, "'a' in 'abc'": 1, "'z' not in 'abc'": 1, "1 in [1, 2]": 1, "3 in (1, 2)": 0, "'k' in {'k': 1}": 1,
    "None is None": 1, "1 is not None": 1, "not 1": 0, "not ''": 1, "not 1 == 2": 1, "bool('0')": 1, "bool([])": 0,
    "any([0, 1])": 1, "all([0, 1])": 0, "any([])": 0, "all([])": 1, "isinstance(1, int)": 1, "isinstance(1L, long)": 1,
    "isinstance('a', str)": 1, "isinstance('a', (int, str))": 1, "isinstance([], list)": 1, "isinstance(1.0, float)": 1,
    "isinstance(u'a', unicode)": 1, "isinstance(u'a', str)": 0, "isinstance({}, dict)": 1, "isinstance((), tuple)": 1,
    "{'k': 1}.has_key('k')": 1, "{'k': 1}.has_key('j')": 0, "'abc'.startswith('ab')": 1, "'abc'.endswith(('x', 'c'))": 1,
    "'12'.isdigit()": 1, "''.isdigit()": 0, "'ab'.isalpha()": 1, "'a1'.isalnum()": 1, "{'a': 1} == {'a': 1}": 1,
    "[1, [2]] == [1, [2]]": 1, "(1, 2) == [1, 2]": 0, "True == 1": 1,
}  # fmt: skip


@pytest.mark.parametrize("expression", TRUTHS)
def test_comparisons(expression: str) -> None:
    assert result(f"a = int({expression})") == TRUTHS[expression]


CHOICES: dict[str, Value] = {
    "'' or 'b'": "b", "'a' and 'b'": "b", "0 and 1/0": 0, "1 or 1/0": 1, "'x' if 1 > 0 else 'y'": "x", "None or 5": 5,
    "(lambda x, y=2: x + y)(1)": 3, "(lambda: 7)()": 7, "(lambda x: x)(x=4)": 4, "{'a': 1}.get('b', 9)": 9,
    "1 and [] or 'c'": "c", "not 0 and 'x'": "x",
}  # fmt: skip


@pytest.mark.parametrize("expression", CHOICES)
def test_choices_and_lambdas(expression: str) -> None:
    assert same(result(f"a = {expression}"), CHOICES[expression])


# -- statements

SCRIPTS: dict[str, tuple[str, Value]] = {
    "several targets": ("a = b = 3", 3),
    "tuple targets": ("b, a = 1, 2", 2),
    "nested targets": ("(b, [c, a]) = 1, (2, 3)", 3),
    "swapping": ("a, b = 1, 2\na, b = b, a", 2),
    "semicolons": ("a = 1; b = 2; a = a + b;", 3),
    "augmented": ("a = 5\na += 2\na *= 3\na -= 1\na /= 3\na %= 4", 2),
    "augmented text": ("a = 'x'\na += 'y'\na *= 2", "xyxy"),
    "augmented item": ("l = [1, 2]\nl[0] += 5\na = l", [6, 2]),
    "augmented list is the same list": ("a = b = [1]\nb += [2]", [1, 2]),
    "if": ("if 1:\n a = 1\nelse:\n a = 2", 1),
    "elif": ("x = 3\nif x == 1: a = 1\nelif x == 3: a = 'three'\nelse: a = 2", "three"),
    "else": ("if 0:\n  a = 1\nelif '':\n  a = 2\nelse:\n  a = 3", 3),
    "for": ("a = []\nfor i in range(3): a.append(i)", [0, 1, 2]),
    "for over a text": ("a = ''\nfor c in 'abc':\n a = c + a", "cba"),
    "for over a dictionary": ("a = []\nfor k in {'x': 1}: a.append(k)", ["x"]),
    "for with tuples": ("a = []\nfor i, n in enumerate(['x', 'y']):\n  a += ['%s%d' % (n, i)]", ["x0", "y1"]),
    "for leaves its variable": ("for a in range(3): pass", 2),
    "break": ("for a in range(9):\n  if a == 4: break", 4),
    "continue": ("a = []\nfor i in range(4):\n  if i % 2: continue\n  a.append(i)", [0, 2]),
    "for else": ("for i in []: pass\nelse: a = 'ran'", "ran"),
    "for else after break": ("a = 0\nfor i in [1]: break\nelse: a = 'ran'", 0),
    "while": ("a = 0\nwhile a < 5: a += 1", 5),
    "while break": ("a = 0\nwhile 1:\n  a += 1\n  if a > 2: break", 3),
    "while else": ("a = 0\nwhile a < 2: a += 1\nelse: a = 'done'", "done"),
    "the variable of a list leaks": ("b = [a for a in range(5)]", 4),
    "del name": ("a = 1\nb = 2\ndel b\ntry: b\nexcept NameError: a = 'gone'", "gone"),
    "del item": ("a = [1, 2, 3]\ndel a[1]", [1, 3]),
    "del slice": ("a = [1, 2, 3, 4]\ndel a[1:3]", [1, 4]),
    "del key": ("d = {'a': 1, 'b': 2}\ndel d['a']\na = d.keys()", ["b"]),
    "item": ("a = [1, 2]\na[1] = 'x'", [1, "x"]),
    "slice": ("a = [1, 2, 3]\na[0:2] = ['x']", ["x", 3]),
    "key": ("d = {}\nd['k'] = 5\na = d['k']", 5),
    "append": ("a = [1]\na.append(2)", [1, 2]),
    "extend": ("a = [1]\na.extend((2, 3))", [1, 2, 3]),
    "insert": ("a = [1, 3]\na.insert(1, 2)", [1, 2, 3]),
    "remove": ("a = [1, 2, 1]\na.remove(1)", [2, 1]),
    "pop": ("a = [1, 2, 3]\na.append(a.pop(0))", [2, 3, 1]),
    "sort": ("a = [3, 'b', 1, 'a']\na.sort()", [1, 3, "a", "b"]),
    "sort backwards": ("a = [3, 1, 2]\na.sort(reverse=True)", [3, 2, 1]),
    "reverse": ("a = [1, 2]\na.reverse()", [2, 1]),
    "list index and count": ("b = ['x', 'y', 'x']\na = [b.index('y'), b.count('x')]", [1, 2]),
    "dict update": ("d = {'a': 1}\nd.update({'a': 2})\na = d['a']", 2),
    "dict setdefault": ("d = {}\nd.setdefault('x', []).append(1)\na = d['x']", [1]),
    "dict pop": ("d = {'x': 1}\na = [d.pop('x'), d.pop('x', 'none')]", [1, "none"]),
    "dict()": ("d = dict(x=1)\na = d['x']", 1),
    "def": ("def f(x):\n  return x + 1\na = f(1)", 2),
    "def with defaults": ("def f(x, y=10, z='s'):\n  return '%s%s%s' % (x, y, z)\na = f(1, z='t')", "110t"),
    "def sees the file's names": ("base = 5\ndef f(): return base * 2\na = f()", 10),
    "def has names of its own": ("a = 1\ndef f():\n  a = 2\nf()", 1),
    "def without return": ("def f(): pass\na = str(f())", "None"),
    "def in a def": ("def f():\n  def g(): return 3\n  return g()\na = f()", 3),
    "return in a loop": ("def f():\n  for i in range(9):\n    if i == 3: return i\na = f()", 3),
    "recursion": ("def f(n):\n  if n < 2: return 1\n  return n * f(n - 1)\na = f(5)", 120),
    "global names of the file are read": ("x = 1\ndef f():\n  global x\n  return x\na = f()", 1),
    "pass": ("pass\na = 1", 1),
    "an expression": ("'a text'\n5\na = 1", 1),
    "assert": ("assert 1 == 1, 'no'\na = 1", 1),
    "try": ("try:\n  a = int('x')\nexcept ValueError:\n  a = 'none'", "none"),
    "except with a name": ("try: int('x')\nexcept ValueError, e: a = str(e)", "invalid literal for int() with base 10: 'x'"),
    "except several": ("try: [][0]\nexcept (ValueError, IndexError), e: a = `e.args`", "('list index out of range',)"),
    "except as": ("try: raise ValueError('x')\nexcept ValueError as e: a = e.message", "x"),
    "except anything": ("try: 1/0\nexcept: a = 'caught'", "caught"),
    "except Exception": ("try: [][1]\nexcept Exception: a = 'caught'", "caught"),
    "except StandardError": ("try: nothing\nexcept StandardError, e: a = str(e)", "name 'nothing' is not defined"),
    "except a parent": ("try: {}[1]\nexcept LookupError: a = 1", 1),
    "the second handler": ("try: 1/0\nexcept KeyError: a = 1\nexcept ZeroDivisionError: a = 2", 2),
    "try else": ("try: pass\nexcept: a = 1\nelse: a = 2", 2),
    "try finally": ("try:\n  a = 1\nfinally:\n  a = 2", 2),
    "finally after return": ("l = []\ndef f():\n  try: return 1\n  finally: l.append(2)\nf()\na = l", [2]),
    "raise with a text": ("try: raise ValueError, 'bad %s' % 1\nexcept ValueError, e: a = str(e)", "bad 1"),
    "raise a class": ("try: raise KeyError\nexcept KeyError: a = 1", 1),
    "raise again": ("try:\n  try: 1/0\n  except: raise\nexcept ZeroDivisionError, e: a = str(e)",
                    "integer division or modulo by zero"),
    "an optional parameter": ("try: vmid\nexcept NameError: vmid = 1\na = int(vmid)", 1),
    "continued lines": ("a = 1 + \\\n  2\n", 3),
    "lines in brackets": ("a = [1,  # one\n  2,\n\n  # three\n  3]\n", [1, 2, 3]),
    "texts on lines of brackets": ("a = ('phy:a,'   # disk\n     'xvda,'\n     'w')", "phy:a,xvda,w"),
    "a file-long comment": ("#!/usr/bin/env python\n#  -*- mode: python; -*-\n# a = 2\na = 1 # a = 3", 1),
    "blanks at the end": ("a = 1   \n   \n\t\n", 1),
    "a form feed": ("\fa = 1\n\f\n", 1),
    "tabs are eight columns": ("if 1:\n\ta = 1\n        b = 2\n\ta = a + b\n", 3),
    "blanks and tabs": ("for i in [1]:\n    if i:\n\ta = 5\n", 5),
    "no newline at the end": ("a = 1", 1),
    "a docstring": ('"""What this is.\n\nname = "other"\n"""\na = 1', 1),
    "an unused lambda with a colon": ("f = lambda x: {'k': x}; a = f(3)['k']", 3),
    "print beside others": ("if 1: print 'x'; a = 1", 1),
    "octal in a call": ("a = int(str(0755))", 493),
}  # fmt: skip


@pytest.mark.parametrize("what", SCRIPTS)
def test_statements(what: str) -> None:
    script, expected = SCRIPTS[what]
    assert same(result(script), expected)


# -- output

PRINTS = {
    "print 'x'": "x\n", "print": "\n", "print 1, 'a', 2.0": "1 a 2.0\n", "print('x')": "x\n", "print ('a', 'b')": "('a', 'b')\n",
    "print ('a'), 'b'": "a b\n", "print 'a' 'b'": "ab\n", "print 'n%d' % 5": "n5\n", "print 'x' # a comment": "x\n",
    "print `5L`": "5L\n", "print 5L": "5\n", "print u'x'": "x\n", "print [1, 'a']": "[1, 'a']\n", "print None, True": "None True\n",
    "print 1; print 2": "1\n2\n", "if 1: print 'x'": "x\n", "if 0: pass\nelse: print 'y'": "y\n", "print 0755": "493\n",
    "for i in range(2): print i": "0\n1\n", "print 1 <> 2": "True\n", "print \\\n 'x'": "x\n", "print lambda: 1 and 'x'": "<object>\n",
    "def f():\n\tprint 'in f'\nf()": "in f\n", "print 'a;b'; print 'c:d'": "a;b\nc:d\n", "print {'k': 1}['k']": "1\n",
    "import sys\nsys.stdout.write('x')": "x", "print >>sys.stdout, 'x'": "x\n", "try: 1/0\nexcept Exception, e: print e":
    "integer division or modulo by zero\n",
}  # fmt: skip


@pytest.mark.parametrize("script", PRINTS)
def test_what_is_printed(script: str) -> None:
    evaluated = run(script)
    assert (evaluated.printed, evaluated.complained) == (PRINTS[script], "")


@pytest.mark.parametrize(
    ("script", "written"),
    [
        ("import sys\nprint >>sys.stderr, 'warning:', 5", "warning: 5\n"),
        ("import sys\nprint >> sys.stderr", "\n"),
        ("import sys\nprint>>sys.stderr,'x'  # comment", "x\n"),
        ("sys.stderr.write('no newline')", "no newline"),
        ("from sys import stderr\nstderr.write('x\\n'); stderr.flush()", "x\n"),
    ],
)
def test_what_is_complained_of(script: str, written: str) -> None:
    evaluated = run(script)
    assert (evaluated.printed, evaluated.complained) == ("", written)


def test_what_was_printed_before_an_error_is_kept() -> None:
    error = failure("print 'begun'\nsys.stderr.write('hm')\nraise ValueError, 'no'")
    assert (error.message, error.printed, error.complained) == ("no", "begun\n", "hm")


# -- modules

MODULES: dict[str, tuple[str, Value]] = {
    "os.uname": ("import os\na = list(os.uname())", ["Linux", "dom0", "2.6.32-5-xen-amd64", "#1 SMP", "x86_64"]),
    "os without import": ("a = os.uname()[1]", "dom0"),
    "os as": ("import os as o\na = o.uname()[4]", "x86_64"),
    "from os": ("from os import uname\na = uname()[4]", "x86_64"),
    "os.path": ("import os.path\na = os.path.join('/a', 'b')", "/a/b"),
    "from os import path": ("from os import path\na = path.basename('/a/b.cfg')", "b.cfg"),
    "os.path functions": (
        "p = os.path\na = [p.dirname('/a/b'), p.abspath('x'), p.normpath('/a/../b'), p.splitext('a.img')[1]]",
        ["/a", "/root/guests/x", "/b", ".img"],
    ),
    "os.path.exists": ("a = map(int, [os.path.exists('/boot/vmlinuz-xen'), os.path.exists('/no')])", [1, 0]),
    "os.path.isfile": ("a = map(int, [os.path.isfile('/boot/vmlinuz-xen'), os.path.isdir('/etc/xen')])", [1, 1]),
    "os.getcwd": ("a = os.getcwd()", "/root/guests"),
    "the environment is empty": ("a = [os.environ.get('HOME', 'none'), os.getenv('HOME', 'x')]", ["none", "x"]),
    "os.environ[]": ("try: os.environ['HOME']\nexcept KeyError: a = 'none'", "none"),
    "re.search": ("import re\na = re.search('64', 'x86_64').group()", "64"),
    "re.search finds nothing": ("a = str(re.search('z', 'abc'))", "None"),
    "re.match": ("m = re.match(r'(\\w+?)(\\d+)$', 'web12')\na = [m.group(1), int(m.group(2))]", ["web", 12]),
    "re.match groups": ("a = list(re.match('(a)(b)?', 'a').groups())", ["a", "None"]),
    "re.sub": ("a = re.sub('[^a-z]+', '-', 'a1b22c')", "a-b-c"),
    "re.sub with a group": ("a = re.sub(r'(\\d+)', r'<\\1>', 'a1')", "a<1>"),
    "re.split": ("a = re.split(', *', 'a, b,c')", ["a", "b", "c"]),
    "re.findall": ("a = re.findall('[0-9]+', 'a1b22')", ["1", "22"]),
    "re.compile": ("a = re.compile('b(.)').search('abc').group(1)", "c"),
    "an address": ("a = re.match(r'(\\d{1,3}\\.){3}\\d{1,3}', '192.168.10.25').group(0)", "192.168.10.25"),
    "string functions": (
        "import string\na = [string.join(['a', 'b'], '/'), string.lower('A'), string.replace('aa', 'a', 'b')]",
        ["a/b", "a", "bb"],
    ),
    "string.split": ("import string\na = string.split('a b') + string.split('c,d', ',')", ["a", "b", "c", "d"]),
    "string.join by blanks": ("from string import *\na = join(['a', 'b'])", "a b"),
    "string.atoi": ("import string\na = string.atoi('08')", 8),
    "string.zfill": ("import string\na = string.zfill('7', 3)", "007"),
    "string constants": ("import string\na = string.digits + string.lowercase[:3] + string.letters[-1]", "0123456789abcZ"),
    "sys": ("import sys\na = [sys.platform, sys.argv[0], sys.version[:2]]", ["linux2", "", "2."]),
    "sys.maxint": ("import sys\na = sys.maxint", 2**63 - 1),
    "time.time": ("import time\na = time.time()", 1262304000.0),
    "time.strftime": ("import time\na = time.strftime('%%') + `len(time.strftime('%Y%m%d'))`", "%8"),
    "math": ("import math\na = [math.sqrt(9), math.fabs(-2), math.pi]", [3.0, 2.0, 3.141592653589793]),
    "random": ("import random\na = random.randint(3, 3)", 3),
    "random.choice": ("import random\na = random.choice(['x'])", "x"),
    "inet_aton": ("a = inet_ntoa(inet_aton('10.0.0.1') + 5)", "10.0.0.6"),
    "add_offset_to_ip": ("a = add_offset_to_ip('192.168.0.250', 10)", "192.168.1.4"),
    "check_subnet": ("a = check_subnet('10.1.2.3', '10.1.0.0', '255.255.0.0')", 1),
    "xm_file": ("a = xm_file", "web1.cfg"),
    "xm_help": ("a = xm_help", 0),
}  # fmt: skip


@pytest.mark.parametrize("what", MODULES)
def test_modules(what: str) -> None:
    script, expected = MODULES[what]
    assert same(result(script), expected)


def test_random_is_warned_of_once() -> None:
    evaluated = run("import random\na = [random.randint(1, 9) for i in range(5)]")
    assert evaluated.warnings == ("'random' gives another result each time the file is read",)


@pytest.mark.parametrize(("machine", "folder"), [("x86_64", "lib64"), ("i686", "lib"), ("ia64", "lib64")])
def test_a_condition_on_the_architecture(machine: str, folder: str) -> None:
    script = dedent("""\
        import os, re
        arch = os.uname()[4]
        if re.search('64', arch):
            arch_libdir = 'lib64'
        else:
            arch_libdir = 'lib'
        a = '/usr/' + arch_libdir + '/xen/bin/qemu-dm'
        """)
    assert result(script, machine=machine) == f"/usr/{folder}/xen/bin/qemu-dm"


# -- xm_vars, and words of the command line

VMID = """\
def vmid_check(var, val):
    if val is None: raise ValueError, 'give a number'
    val = int(val)
    if val <= 0:
        raise ValueError
    return val
xm_vars.var('vmid',
            use="Virtual machine id. Integer greater than 0.",
            check=vmid_check)
xm_vars.check()
a = 'VM%d' % vmid
"""


def test_a_parameter_is_checked_and_converted() -> None:
    evaluated = run(VMID, vmid="7")
    assert evaluated.values == {"vmid": 7, "a": "VM7"}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "vmid - give a number"),
        ({"vmid": "x"}, "vmid - invalid literal for int() with base 10: 'x'"),
        ({"vmid": "0"}, "vmid - "),
    ],
)
def test_a_parameter_that_fails_its_check(variables: Mapping[str, str], message: str) -> None:
    error = failure(VMID, **variables)
    assert (type(error), error.message) == (ConfigError, message)
    assert error.hint is not None and error.hint.startswith("see web1.cfg:")


def test_a_parameter_without_a_check_stays_a_text() -> None:
    script = "xm_vars.var('vmid', use='a number')\nxm_vars.check()\na = vmid * 2"
    assert result(script, vmid="4") == "44"


def test_a_word_of_the_command_line_is_a_text_that_the_script_sees() -> None:
    assert result("a = 'node' + n", n="3") == "node3"


def test_a_word_that_the_script_only_reads_is_no_result() -> None:
    assert run("a = n", n="3").values == {"a": "3"}


def test_a_word_that_the_script_assigns_is_a_result() -> None:
    assert run("n = int(n) + 1", n="3").values == {"n": 4}


# -- which values count

IGNORED = {
    "True": ("True", "bool"), "None": ("None", "NoneType"), "('a', 1)": ("('a', 1)", "tuple"), "{'a': 1}": ("{'a': 1}", "dict"),
    "256L": ("256L", "long"), "u'x'": ("u'x'", "unicode"), "ur'\\d'": ("u'\\\\d'", "unicode"), "0xFFl": ("255L", "long"),
    "010L": ("8L", "long"), "2**63": ("9223372036854775808L", "long"), "9223372036854775808": ("9223372036854775808L", "long"),
    "sys.maxint + 1": ("9223372036854775808L", "long"), "1 + 1L": ("2L", "long"), "u'a' + 'b'": ("u'ab'", "unicode"),
    "'a' u'b'": ("u'ab'", "unicode"), "'%s' % u'x'": ("u'x'", "unicode"), "1 == 1": ("True", "bool"), "1,": ("(1,)", "tuple"),
    "u'a'.upper()": ("u'A'", "unicode"), "u'ab'[0]": ("u'a'", "unicode"), "unicode('x')": ("u'x'", "unicode"),
    "long(5)": ("5L", "long"), "-5L": ("-5L", "long"), "'x'.decode('ascii')": ("u'x'", "unicode"), "dict(b=2)": ("{'b': 2}", "dict"),
}  # fmt: skip


@pytest.mark.parametrize("expression", IGNORED)
def test_values_that_xm_ignores(expression: str) -> None:
    evaluated = run(f"\nmemory = {expression}\n")
    (item,) = evaluated.ignored
    shown, kind = IGNORED[expression]
    assert evaluated.values == {}
    assert (item.name, item.line, item.value) == ("memory", 2, shown)
    assert item.reason == f"xm ignores a value of the type {kind}"


def test_a_value_that_xm_ignores_may_be_followed_by_one_that_counts() -> None:
    evaluated = run("a = True\na = int(a)")
    assert (evaluated.values, evaluated.ignored) == ({"a": 1}, ())


@pytest.mark.parametrize("script", ["import os", "def a(): pass", "a = lambda: 1", "a = len", "from os import path", ""])
def test_functions_and_modules_are_no_settings(script: str) -> None:
    evaluated = run(script)
    assert (evaluated.values, evaluated.ignored) == ({}, ())


@pytest.mark.parametrize(("expression", "item"), [("True", 1), ("2L", 2), ("u'x'", "x"), ("(1, 'a')", [1, "a"]), ("None", "None")])
def test_items_of_a_list_are_plain_values(expression: str, item: Value) -> None:
    value = value_of(expression)
    assert value == item and type(value) in (int, str, list)


def test_the_line_is_that_of_the_last_assignment() -> None:
    script = "memory = 1\nname = 'x'\nmemory = 2\ndisk = []\ndisk += ['a']\nif 1:\n  vcpus = 1\nvif = [\n  'a',\n  'b']\n"
    assert run(script).lines == {"memory": 3, "name": 2, "disk": 5, "vcpus": 7, "vif": 8}


def test_the_line_of_a_loops_variable_and_a_function() -> None:
    assert run("\nfor i in [1]: pass\ndef f(): pass\n[j for j in [1]]\n").lines == {"i": 2, "f": 3, "j": 4}


def test_a_name_that_is_deleted_is_no_setting() -> None:
    assert run("a = b = 1\ndel b").values == {"a": 1}


def test_every_name_is_kept_known_or_not() -> None:
    assert run("memory = 5\nmy_own = 'x'\nmaxvcpus = 2").values == {"memory": 5, "my_own": "x", "maxvcpus": 2}


# -- bytes

BYTES = {
    "crlf": (b"a = 1\r\nif a:\r\n  a = 'x'\r\n", "x"), "cr": (b"b = 1\ra = 2\r", 2), "bom": (b"\xef\xbb\xbfa = 5\n", 5),
    "crlf in a text": (b"a = '''x\r\ny'''\r\n", "x\ny"), "utf-8": ("a = 'Zürich'".encode(), "Zürich"),
    "latin-1": ("a = 'Zürich'".encode("latin-1"), "Zürich"), "utf-8 comment": ("# für\na = 1".encode(), 1),
    "latin-1 comment": ("# für\na = 1".encode("latin-1"), 1), "cookie": (b"# -*- coding: klingon -*-\na = 1", 1),
    "crlf after a backslash": (b"a = 1 + \\\r\n 2\r\n", 3), "bom and crlf": (b"\xef\xbb\xbfa = 5\r\n", 5),
}  # fmt: skip


@pytest.mark.parametrize("what", BYTES)
def test_bytes_of_a_file(what: str) -> None:
    data, expected = BYTES[what]
    assert same(result(data), expected)


# -- the end of a script

EXITS = {
    "sys.exit()": (0, "the configuration has ended itself with status 0", ""),
    "sys.exit(0)": (0, "the configuration has ended itself with status 0", ""),
    "sys.exit(3)": (3, "the configuration has ended itself with status 3", ""),
    "sys.exit(256 + 7)": (7, "the configuration has ended itself with status 7", ""),
    "sys.exit(-1)": (255, "the configuration has ended itself with status 255", ""),
    "sys.exit(None)": (0, "the configuration has ended itself with status 0", ""),
    "sys.exit('no such node')": (1, "no such node", "no such node\n"),
}


@pytest.mark.parametrize("call", EXITS)
def test_a_script_that_ends_itself(call: str) -> None:
    error = failure(f"import sys\nprint 'so far'\n{call}\nnever = reached")
    assert isinstance(error, ScriptExit)
    assert (error.exit_code, error.message, error.verbatim) == EXITS[call]
    assert error.printed == "so far\n"


def test_an_exit_is_no_exception() -> None:
    with pytest.raises(ScriptExit):
        run("import sys\ntry: sys.exit(2)\nexcept Exception: a = 1")


# -- the script's own errors

ERRORS = {
    "a = 1/0": "integer division or modulo by zero", "a = 1 % 0": "integer division or modulo by zero",
    "a = nothing": "name 'nothing' is not defined", "a = 1 - 'x'": "unsupported operand type(s) for -: 'int' and 'str'",
    "a = [][1]": "list index out of range", "a = {}['k']": "'k'", "a = {}[5]": "5",
    "a = int('x')": "invalid literal for int() with base 10: 'x'", "a = '%d' % 'x'": "%d format: a number is required, not str",
    "a = '%s %s' % 'x'": "not enough arguments for format string",
    "a = '%s' % (1, 2)": "not all arguments converted during string formatting", "raise ValueError, 'bad id'": "bad id",
    "raise ValueError('bad id')": "bad id", "assert 0, 'why'": "why", "a = 'x'.nothing()": "'str' object has no attribute 'nothing'",
    "a = 'abc'.index('z')": "substring not found", "del a": "name 'a' is not defined", "a = {[]: 1}": "unhashable type: 'list'",
    "a = ','.join([1])": "sequence item 0: expected string, int found", "a = [1].pop(3)": "pop index out of range",
    "a = [1][0:1:0]": "slice step cannot be zero",
    "a = chr(256)": "chr() arg not in range(256)", "a = '%(x)s' % 5": "format requires a mapping",
}  # fmt: skip


@pytest.mark.parametrize("script", ERRORS)
def test_an_error_of_the_script_is_told_in_its_own_words_with_its_place(script: str) -> None:
    error = failure(f"# a comment\n{script}\n")
    assert (type(error), error.message, error.hint) == (ConfigError, ERRORS[script], "see web1.cfg:2")


@pytest.mark.parametrize(
    "script",
    [
        "a = 'x' + 1", "a = 'abc'[5]", "a = len(5)", "a = 5()", "for i in 5: pass", "a, b = 1, 2, 3", "a, b = 1", "[].remove(1)",
        "a = -'x'", "a = 'x' in 5", "a = 1 in 'x'", "raise KeyError", "assert 0", "a = (lambda x: x)()", "a = (lambda: 1)(2)",
        "a = (lambda x: x)(y=1)", "a = [1]['x']", "a = 'abc'['x']", "a = (1,)[0][0]", "a = range(1, 2, 0)", "'abc'[0] = 'x'", "a = {1: 2}[1:2]",
        "a = sum(['a'])", "a = min([])", "a = ord('ab')", "a = int([])", "a = float('x')", "a = 1 << -1", "a = 1.5 & 1",
        "a = (-8) ** 0.5", "a = [1, 2] * 'x'", "a = {} + {}", "a = None + 1", "a = 'x' * 1.5", "raise 5", "raise", "a = 'x'.split('')",
        "import math; a = math.sqrt(-1)", "import re; a = re.search('(', 'x')", "a = re.search('a', 5)", "a = os.path.join(1)",
        "a = inet_aton('300.1.1.1')", "a = '{0}'.format()", "a = '{x}'.format(y=1)", "a = '{'.format()", "a = 'abc'.zfill('x')",
        "a = range(1.5)", "a = range()", "a = zip(1)", "a = dict([1])", "a = dict([(1, 2, 3)])", "a = sorted(5)", "a = {}.pop('x')",
    ],
)  # fmt: skip
def test_other_errors_of_the_script(script: str) -> None:
    error = failure(f"# a comment\n{script}\n")
    assert (type(error), error.hint) == (ConfigError, "see web1.cfg:2")
    assert error.message


SYNTAX = {
    "a = 1\nb = = 2\n": (2, "b = = 2"), "a = (1\n": (1, "a = (1"), "a = 1)\n": (1, "a = 1)"), "a = 'x\n": (1, "a = 'x"),
    "if 1:\na = 2\n": (2, "a = 2"), "a = 08\n": (1, "a = 08"), "a = 1 2\n": (1, "a = 1 2"), "x = `1\n": (1, "x = `1"),
    '\na = """x\n': (2, 'a = """x'), "a = 1\n  b = 2\n": (2, "b = 2"), "break\n": (1, "break"), "\nreturn 5\n": (2, "return 5"),
    "disk = [ 'a'\nvif = [ 'b' ]\n": (2, "vif = [ 'b' ]"), "name 'x'\n": (1, "name 'x'"), "a = 1\n\x00\n": (2, "\x00"),
}  # fmt: skip


@pytest.mark.parametrize("script", SYNTAX)
def test_a_syntax_error_names_the_line_and_shows_it(script: str) -> None:
    line, offending = SYNTAX[script]
    error = failure(script)
    assert isinstance(error, ConfigSyntax) and type(error) is PythonSyntax
    assert error.line() == f"Errors were found at line {line} while processing web1.cfg:\n\t{offending}"


# -- the spelling

REWRITTEN = {
    "print a, b": "_print_(a, b)", "print": "_print_()", "print >>f, a": "_print_to_(f, a)", "`e`": "repr((e))", "0755": "0o0755",
    "0": "0", "10L": "_long_(10)", "0xFFl": "_long_(0xFF)", "a <> b": "a != b", "except A, b:": "except A as b:",
    "raise A, b": "raise A(b)", "ur'x'": "_unicode_(r'x')", "u'x'": "_unicode_('x')", "b'x'": "'x'", "'\\u'": "'\\\\u'",
    "a = 'print x, 0755'": "a = 'print x, 0755'", "# print 0755": "# print 0755", "if a: print b": "if a: _print_(b)",
}  # fmt: skip


@pytest.mark.parametrize("old", REWRITTEN)
def test_the_new_spelling(old: str) -> None:
    assert rewrite(old, "web1.cfg") == REWRITTEN[old]
