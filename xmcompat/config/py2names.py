"""Names that Python 2.7 has and a configuration has not: a script is refused that uses one. Pure.

To the script they would else be unknown names, of which it could catch the NameError or AttributeError, and go on with
other settings than it had under xm.
"""

from __future__ import annotations

from xmcompat.config.py2values import ExceptionClass, Raised

#: Built-in functions that a configuration may not have, and what to write instead.
FORBIDDEN = {
    "eval": "write the value itself", "execfile": "copy the settings of that file into this one",
    "compile": "write the settings themselves", "__import__": "write the settings themselves",
    "input": "give name=value on the command line", "raw_input": "give name=value on the command line",
    "open": "write the settings themselves", "file": "write the settings themselves", "getattr": "name the attribute",
    "hasattr": "name the attribute", "setattr": "assign to a variable", "vars": "name the variables",
    "globals": "name the variables", "locals": "name the variables", "type": "use isinstance()",
    "dir": "name the variables", "reload": "", "apply": "call the function", "delattr": "", "object": "", "super": "",
    "buffer": "", "memoryview": "", "socket": "write the address itself",
}  # fmt: skip

#: What else is built in, or there without an import under xm, and what to write instead.
UNSUPPORTED = {
    **dict.fromkeys(
        "bytearray callable classmethod coerce complex copyright credits errno format hash help id issubclass iter license "
        "next print property slice staticmethod struct Ellipsis NotImplemented Vars".split(),
        "write the value itself",
    ),
    "exit": "use sys.exit()", "quit": "use sys.exit()", "set": "use a list", "frozenset": "use a tuple",
}  # fmt: skip

_TEXT = (
    "capitalize center count decode encode endswith expandtabs find format index isalnum isalpha isdigit islower isspace "
    "istitle isupper join ljust lower lstrip partition replace rfind rindex rjust rpartition rsplit rstrip split "
    "splitlines startswith strip swapcase title translate upper zfill isdecimal isnumeric"
)
_DICT = (
    "clear copy fromkeys get has_key items iteritems iterkeys itervalues keys pop popitem setdefault update values "
    "viewitems viewkeys viewvalues"
)
#: Those of functions, and of classes such as str.
_CALLABLE = "func_closure func_code func_defaults func_dict func_doc func_globals func_name mro fromhex"
_ATTRIBUTES: dict[type, frozenset[str]] = {
    str: frozenset(_TEXT.split()),
    list: frozenset("append count extend index insert pop remove reverse sort".split()),
    dict: frozenset(_DICT.split()),
    tuple: frozenset("count index tm_hour tm_isdst tm_mday tm_min tm_mon tm_sec tm_wday tm_yday tm_year".split()),
    int: frozenset("bit_length conjugate denominator imag numerator real".split()),
    float: frozenset("as_integer_ratio conjugate fromhex hex imag is_integer real".split()),
    Raised: frozenset(
        "args message errno filename strerror lineno msg offset print_file_and_line text code encoding end object reason "
        "start".split()
    ),
    ExceptionClass: frozenset(("args", "message", "mro")),
    type(None): frozenset(),
}  # fmt: skip
_OF_CALLABLES = frozenset((*_CALLABLE.split(), *_TEXT.split(), *_DICT.split(), *_ATTRIBUTES[list]))


def has_attribute(value: object, name: str) -> bool:
    """Whether VALUE has an attribute NAME in Python 2.7."""
    for kind, names in _ATTRIBUTES.items():
        if isinstance(value, kind):
            return name in names
    return name in _OF_CALLABLES


def _descendants() -> dict[str, str]:
    below = {
        "BaseException": "SystemExit KeyboardInterrupt GeneratorExit Exception",
        "Exception": "StandardError StopIteration Warning error Error",
        "StandardError": "ArithmeticError AssertionError AttributeError BufferError EOFError EnvironmentError ImportError "
        "LookupError MemoryError NameError ReferenceError RuntimeError SyntaxError SystemError TypeError ValueError",
        "ArithmeticError": "FloatingPointError OverflowError ZeroDivisionError",
        "EnvironmentError": "IOError OSError",
        "LookupError": "IndexError KeyError",
        "NameError": "UnboundLocalError",
        "RuntimeError": "NotImplementedError",
        "SyntaxError": "IndentationError",
        "IndentationError": "TabError",
        "ValueError": "UnicodeError",
        "UnicodeError": "UnicodeDecodeError UnicodeEncodeError UnicodeTranslateError",
        "Warning": "BytesWarning DeprecationWarning FutureWarning ImportWarning PendingDeprecationWarning RuntimeWarning "
        "SyntaxWarning UnicodeWarning UserWarning",
    }  # fmt: skip
    return {child: parent for parent, children in below.items() for child in children.split()}


#: The class above each class of exceptions. "error" and "Error" are those of re and binascii, which have no name here.
PARENTS = _descendants()
EXCEPTIONS = tuple(name for name in ("BaseException", *PARENTS) if name not in ("error", "Error"))


def is_a(kind: str, name: str) -> bool:
    """Whether an exception of the class KIND is one of the class NAME."""
    above: str | None = kind
    while above is not None:
        if above == name:
            return True
        above = PARENTS.get(above)
    return False
