"""What Python 2 has, a script here has too, or it is refused: it cannot mistake it for something that is not there."""

from __future__ import annotations

import pytest

from tests.config.test_evaluator import failure, result, run, same
from xmcompat.errors import ConfigError, UnsafeConfig, UnsupportedConfig
from xmcompat.guest import Value

#: dir(__builtin__) of Python 2.7.18, without what begins with "_".
BUILTINS = (
    "ArithmeticError AssertionError AttributeError BaseException BufferError BytesWarning DeprecationWarning EOFError Ellipsis "
    "EnvironmentError Exception False FloatingPointError FutureWarning GeneratorExit IOError ImportError ImportWarning "
    "IndentationError IndexError KeyError KeyboardInterrupt LookupError MemoryError NameError None NotImplemented "
    "NotImplementedError OSError OverflowError PendingDeprecationWarning ReferenceError RuntimeError RuntimeWarning "
    "StandardError StopIteration SyntaxError SyntaxWarning SystemError SystemExit TabError True TypeError UnboundLocalError "
    "UnicodeDecodeError UnicodeEncodeError UnicodeError UnicodeTranslateError UnicodeWarning UserWarning ValueError Warning "
    "ZeroDivisionError abs all any apply basestring bin bool buffer bytearray bytes callable chr classmethod cmp coerce "
    "compile complex copyright credits delattr dict dir divmod enumerate eval execfile exit file filter float format "
    "frozenset getattr globals hasattr hash help hex id input int intern isinstance issubclass iter len license list locals "
    "long map max memoryview min next object oct open ord pow property quit range raw_input reduce reload repr "
    "reversed round set setattr slice sorted staticmethod str sum super tuple type unichr unicode vars xrange zip"
)
#: Those that xm's own helpers for addresses bring along.
BESIDES = "socket struct errno Vars os re sys inet_aton inet_ntoa add_offset_to_ip check_subnet get_current_ipaddr xm_vars"


@pytest.mark.parametrize("name", f"{BUILTINS} {BESIDES}".split())
def test_a_built_in_name_is_there_or_refused(name: str) -> None:
    try:
        run(f"try: {name}\nexcept: vcpus = 5")
    except UnsafeConfig as error:
        assert f"'{name}' is not permitted" in error.message and error.hint
    except UnsupportedConfig as error:
        assert error.message == f"web1.cfg:1: '{name}' is not supported" and error.hint
    else:
        assert "vcpus" not in run(f"try: {name}\nexcept: vcpus = 5").values


ATTRIBUTES = {
    "'x'": "capitalize center count decode encode endswith expandtabs find format index isalnum isalpha isdigit islower "
    "isspace istitle isupper join ljust lower lstrip partition replace rfind rindex rjust rpartition rsplit rstrip split "
    "splitlines startswith strip swapcase title translate upper zfill",
    "u'x'": "isdecimal isnumeric upper", "[]": "append count extend index insert pop remove reverse sort",
    "{}": "clear copy fromkeys get has_key items iteritems iterkeys itervalues keys pop popitem setdefault update values "
    "viewitems viewkeys viewvalues",
    "()": "count index", "5": "bit_length conjugate denominator imag numerator real", "5L": "bit_length", "True": "real",
    "1.5": "as_integer_ratio conjugate fromhex hex imag is_integer real", "(lambda: 1)": "func_name func_code func_defaults",
    "ValueError('x')": "args message", "IOError(2, 'x')": "errno filename strerror", "SystemExit(2)": "code",
    "str": "lower join fromkeys", "dict": "fromkeys", "float": "fromhex", "len": "func_name", "sys.stdout": "isatty",
    "re.compile('x')": "finditer", "re.search('', 'x')": "expand", "os": "system", "os.path": "getsize",
}  # fmt: skip


@pytest.mark.parametrize("value", ATTRIBUTES)
def test_an_attribute_is_there_or_refused(value: str) -> None:
    for name in ATTRIBUTES[value].split():
        try:
            evaluated = run(f"v = {value}\ntry: v.{name}\nexcept: vcpus = 5")
        except (UnsafeConfig, UnsupportedConfig) as error:
            assert f"{name}'" in error.message
        else:
            assert "vcpus" not in evaluated.values, name


@pytest.mark.parametrize(
    "script", ["nothing", "'x'.nothing", "[].nothing", "{}.nothing", "().nothing", "(5).nothing", "None.nothing", "len.nothing"]
)
def test_what_python_2_has_not_either_may_be_caught(script: str) -> None:
    assert result(f"try: {script}\nexcept (NameError, AttributeError): a = 1") == 1


#: As Python 2.7 answers.
ANSWERS: dict[str, Value] = {
    "cmp(1, 2)": -1, "cmp('b', 'a')": 1, "cmp([1], [1])": 0, "pow(2, 10)": 1024, "pow(2, -1)": 0.5, "pow(3, 4, 5)": 1,
    "pow(3, 4, -5)": -4, "divmod(-7, 2)": [-4, 1], "divmod(7.5, 2)": [3.0, 1.5], "reduce(lambda x, y: x * y, [1, 2, 3], 10)": 60,
    "reduce(lambda x, y: x, [], 'none')": "none", "intern('x')": "x", "bin(5)": "0b101", "str(unichr(65))": "A",
    "'a=b=c'.partition('=')": ["a", "=", "b=c"], "'a=b=c'.rpartition('=')": ["a=b", "=", "c"], "int(' \\t'.isspace())": 1,
    "int('AB'.isupper())": 1, "int('Ab Cd'.istitle())": 1, "'a\\tb'.expandtabs(4)": "a   b", "'abcb'.rindex('b')": 3,
    "'00:16:3e'.translate(None, ':')": "00163e", "'abc'.translate(string.maketrans('ab', 'xy'), 'c')": "xy",
    "filter(lambda c: c.isdigit(), 'a1b2')": "12", "map(None, [1, 2], [3, 4])": [[1, 3], [2, 4]],
    "map(lambda x, y: y is None, [1, 2], [3])": [0, 1], "map(str.strip, [' a '])": ["a"], "str.join('-', ['a', 'b'])": "a-b",
    "sorted([3, 1, 2], lambda a, b: cmp(b, a))": [3, 2, 1], "min([3, -4, 2], key=abs)": 2, "max('a', 'bb', key=len)": "bb",
    "int(isinstance(u'x', basestring))": 1, "int(isinstance(5, basestring))": 0, "int(isinstance('x', bytes))": 1,
    "(1, 2, 1).count(1)": 2, "[1, 2, 1].index(1, 1)": 2, "[v for k, v in {'a': 1}.iteritems()]": [1], "{'a': 1}.copy()['a']": 1,
    "math.floor(2.7)": 2.0, "math.ceil(2.1)": 3.0, "math.floor(3)": 3.0, "repr(math.ceil(-0.5))": "-0.0",
    "repr(math.floor(float('inf')))": "inf", "time.strftime('%Y-%m-%d', (2010, 1, 2, 3, 4, 5, 5, 2, 0))": "2010-01-02",
    "time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(0))": "1970-01-01 00:00:00", "time.gmtime(86400)[:3]": [1970, 1, 2],
    "len(time.localtime())": 9, "'a\\x0bb\\x1cc'.splitlines()": ["a\x0bb\x1cc"], "str(ValueError('a', 5))": "('a', 5)",
    "ValueError('a', 5).args": ["a", 5], "string.atoi('5')": 5,
}  # fmt: skip


@pytest.mark.parametrize("expression", ANSWERS)
def test_the_answers_are_those_of_python_2(expression: str) -> None:
    got = result(f"import string, math, time\na = {expression}\nif isinstance(a, tuple): a = list(a)")
    assert got == ANSWERS[expression] and type(got) is type(ANSWERS[expression])


CODECS: dict[str, Value] = {
    "'abc'.encode('hex')": "616263", "'616263'.decode('hex')": "abc", "'abc'.encode('base64')": "YWJj\n",
    "len(('x' * 100).encode('base64'))": 138, "'YWJj\\n'.decode('base64')": "abc", "'Hello'.encode('rot13')": "Uryyb",
    "'abc'.encode('UTF-8')": "abc", "'abc'.encode('latin1')": "abc", "str('abc'.decode('us-ascii'))": "abc",
    "'\\x00\\x16\\x3e\\xff'.encode('hex')": "00163eff", "'00163eff'.decode('hex').encode('hex')": "00163eff",
    "':'.join(['%02x' % ord(c) for c in '001afe'.decode('hex')])": "00:1a:fe",
    "u'\\xfc'.encode('utf-8').encode('hex')": "c3bc", "u'\\xfc'.encode('latin-1').encode('hex')": "fc",
    "u'a\\xfcb'.encode('ascii', 'ignore')": "ab", "u'\\xfc'.encode('ascii', 'replace')": "?",
    "'\\xc3\\xbc'.decode('utf-8').encode('latin-1').encode('hex')": "fc", "str(unicode('abc', 'utf-8'))": "abc",
    "u'Z\\xfcrich'.encode('utf-8')": "Zürich", "'Z\\xc3\\xbcrich'": "Zürich", "'z\\xfcri'.title().encode('hex')": "5afc5269",
}  # fmt: skip


@pytest.mark.parametrize("expression", CODECS)
def test_encodings_are_those_of_python_2(expression: str) -> None:
    assert same(result(f"a = {expression}"), CODECS[expression])


@pytest.mark.parametrize(
    "expression",
    ["'abc'.encode('zip')", "'abc'.encode('utf-16')", "'abc'.decode('string_escape')", "'abc'.encode('idna')", "unicode('a', 'uu')",
     "'abc'.encode('no such')", "u'abc'.encode('ascii', 'xmlcharrefreplace')"],
)  # fmt: skip
def test_another_encoding_is_not_supported_and_told_so(expression: str) -> None:
    error = failure(f"try: {expression}\nexcept: pass")
    assert type(error) is UnsupportedConfig
    assert error.hint == "write the value itself"


def test_the_bytes_of_a_text_in_another_encoding_are_not_guessed() -> None:
    assert type(failure("a = 'Zürich'.encode('hex')".encode())) is UnsupportedConfig
    assert type(failure("a = 'c3bc'.decode('hex') + 'ü'".encode())) is UnsupportedConfig
    assert run("a = 'Zürich'.decode('utf-8').encode('utf-8')".encode()).values == {"a": "Zürich"}


CODEC_MISTAKES = {
    "'\\xff'.encode('utf-8')": ("UnicodeDecodeError", "'ascii' codec can't decode byte 0xff in position 0: ordinal not in range(128)"),
    "u'\\xfc'.encode('ascii')": ("UnicodeEncodeError", "'ascii' codec can't encode character u'\\xfc' in position 0: ordinal not in range(128)"),
    "'\\xff'.decode('utf-8')": ("UnicodeDecodeError", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    "'xx'.decode('hex')": ("TypeError", "Non-hexadecimal digit found"), "'x'.decode('hex')": ("TypeError", "Odd-length string"),
    "'abc'.decode('base64')": ("Exception", "Incorrect padding"),
}  # fmt: skip


@pytest.mark.parametrize("expression", CODEC_MISTAKES)
def test_a_text_that_cannot_be_encoded_is_the_scripts_own_mistake(expression: str) -> None:
    kind, message = CODEC_MISTAKES[expression]
    assert failure(expression).message == message
    assert result(f"try: {expression}\nexcept {kind}, e: a = str(e)") == message


# -- what a script cannot catch


@pytest.mark.parametrize(
    "script",
    ["try: hash('x')\nexcept NameError: vcpus = 1", "try: 'x'.isdecimal()\nexcept AttributeError: vcpus = 1",
     "try: int('5', 10, 3)\nexcept TypeError: vcpus = 1", "try: '{0.x}'.format(5)\nexcept ValueError: vcpus = 1",
     "try:\n  try: hash('x')\n  finally: 1/0\nexcept ZeroDivisionError: vcpus = 1",
     "def f():\n  try: hash('x')\n  finally: return 1\nvcpus = f()", "for i in [1]:\n  try: hash('x')\n  finally: break",
     "def f():\n  try: open('x')\n  except: return 1\nvcpus = f()", "try:\n  while 1: pass\nexcept: vcpus = 1"],
)  # fmt: skip
def test_a_refusal_is_not_caught_by_the_script(script: str) -> None:
    assert type(failure(script)) is not ConfigError
    assert isinstance(failure(script), ConfigError)


CATCHING = {
    "int('x')": "ValueError", "{}['k']": "LookupError", "unichr(-1)": "ValueError", "1/0": "ArithmeticError", "raise IOError(2, 'x')":
    "EnvironmentError", "raise NotImplementedError": "RuntimeError", "raise UnicodeDecodeError": "ValueError", "sys.exit(3)": "SystemExit",
    "raise KeyboardInterrupt": "BaseException", "raise StopIteration": "Exception", "2.0 ** 5000": "OverflowError",
}  # fmt: skip


@pytest.mark.parametrize("statement", CATCHING)
def test_an_exception_is_caught_by_the_classes_above_it(statement: str) -> None:
    assert result(f"try: {statement}\nexcept ImportError: a = 1\nexcept {CATCHING[statement]}: a = 2") == 2
    assert result(f"try: {statement}\nexcept: a = 3") == 3


@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt"])
def test_what_is_no_exception_passes_by(kind: str) -> None:
    assert result(f"try:\n  try: raise {kind}\n  except Exception: a = 1\nexcept {kind}: a = 2") == 2


# -- global


def test_a_global_of_a_function_is_seen_by_the_file() -> None:
    assert result("def f():\n  global x\n  x = 5\nf()\na = x") == 5


def test_a_global_of_a_function_is_seen_by_another() -> None:
    assert result("def f():\n  global x\n  x = 5\ndef g(): return x + 1\nf()\na = g()") == 6


def test_a_global_counts() -> None:
    assert result("n = 0\ndef f():\n  global n\n  n += 1\n  return n\na = [f(), f()]") == [1, 2]


def test_a_name_of_the_file_hides_a_global_as_under_xm() -> None:
    assert result("x = 1\ndef f():\n  global x\n  x = 2\nf()\na = x") == 1


def test_a_global_is_no_setting_and_told_of() -> None:
    """xm takes the names of the file only, and says nothing."""
    evaluated = run("def f():\n  global memory\n  memory = 512\nf()")
    assert evaluated.values == {}
    assert [(item.name, item.line, item.value) for item in evaluated.ignored] == [("memory", 3, "512")]
    assert evaluated.ignored[0].reason == "xm ignores what a 'global' statement has set apart"


def test_a_function_sees_the_names_of_the_one_around_it() -> None:
    assert result("def f(n):\n  def g(x): return x + n\n  return map(g, [1]) + map(lambda y: y * n, [3])\na = f(5)") == [6, 15]
