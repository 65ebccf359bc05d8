"""The modules that a configuration may import: those parts of them that tell and compute, none that does anything."""

from __future__ import annotations

import math
import posixpath
import random
import string
import time
from collections.abc import Callable
from dataclasses import dataclass

from xmcompat.config.py2re import re_table
from xmcompat.config.py2values import Attributes, Budget, Raised, py2_repr
from xmcompat.errors import XmError


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptHost:
    """What a script may learn of the host; every answer is the caller's. ``uname`` as os.uname() gives it."""

    uname: tuple[str, str, str, str, str]
    exists: Callable[[str], bool]
    isfile: Callable[[str], bool]
    isdir: Callable[[str], bool]
    cwd: str
    now: float
    #: There is no host to ask: answers that depend on one are warned of.
    absent: bool = False


class ScriptExit(XmError):
    """The script has ended itself with sys.exit()."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message or f"the configuration has ended itself with status {status}")
        self.exit_code = status
        self.verbatim = f"{message}\n" if message else ""


class Module(Attributes):
    """What ``import`` gives."""


class Stream(Attributes):
    """sys.stdout or sys.stderr: what is written is kept, for the caller to show."""

    def __init__(self, name: str, budget: Budget) -> None:
        super().__init__(name, {"write": self.write, "flush": lambda: None})
        self.written: list[str] = []
        self._budget = budget

    def write(self, text: object) -> None:
        self._budget.room(len(_text(text)))
        self.written.append(_text(text))


class _Environ(Attributes):
    """An environment without variables: a configuration means the same for everyone."""

    def __init__(self) -> None:
        super().__init__("os.environ", {"get": lambda key, default=None: default, "has_key": lambda key: False})

    def item(self, key: object) -> object:
        raise Raised("KeyError", repr(key))


class Vars(Attributes):
    """``xm_vars``: the parameters of a script, such as vmid."""

    def __init__(self, check: Callable[[str, object], None]) -> None:
        super().__init__("xm_vars", {"var": self.declare, "check": self.check})
        self._declared: list[tuple[str, object]] = []
        self._check = check

    def declare(self, name: object, use: object = "", check: object = None) -> None:
        self._declared.append((str(name), check))

    def check(self) -> None:
        for name, function in self._declared:
            if function is not None:
                self._check(name, function)


#: Modules that are asked for and not given, with what to write instead.
ADVICE = {
    "commands": "write the value itself", "subprocess": "write the value itself", "popen2": "write the value itself",
    "socket": "write the address itself", "urllib": "write the value itself", "urllib2": "write the value itself",
}  # fmt: skip

_NO_PROGRAMS = "a configuration cannot run programs or change files; write the value itself"


#: The method of that name of a value of the script, or None.
MethodOf = Callable[[object, str], Callable[..., object] | None]


def modules(
    host: ScriptHost, budget: Budget, warn: Callable[[str], None], method: MethodOf
) -> dict[str, Module]:
    """The modules by name."""
    ask = _asking(host, warn)
    path = Module("os.path", _path(host, budget, ask), _NO_PROGRAMS)
    uname = Module("os", {
        "uname": lambda: host.uname, "getenv": lambda name, default=None: default, "environ": _Environ(),
        "getcwd": lambda: host.cwd, "path": path, "sep": "/", "linesep": "\n", "name": "posix",
    }, _NO_PROGRAMS)  # fmt: skip
    return {
        "os": uname,
        "os.path": path,
        "re": Module("re", re_table(budget)),
        "string": Module("string", _string(method)),
        "sys": Module("sys", {
            "argv": [""], "stdout": Stream("sys.stdout", budget), "stderr": Stream("sys.stderr", budget),
            "exit": _exit, "version": "2.7.18", "platform": "linux2", "maxint": 2**63 - 1,
        }),
        "math": Module("math", _math()),
        "time": Module("time", _time(budget, lambda: ask("the time", lambda: host.now))),
        "random": Module("random", _random(warn, budget)),
    }  # fmt: skip


def _exit(status: object = None) -> None:
    raise Raised("SystemExit", "", (status,))


def script_exit(error: Raised) -> ScriptExit:
    """What a SystemExit that nothing has caught does to the program."""
    status = error.arguments[0] if error.arguments else None
    if isinstance(status, str):
        return ScriptExit(1, status)
    return ScriptExit(int(status) & 0xFF if isinstance(status, int) else 0 if status is None else 1)


def _texts(function: Callable[..., object], budget: Budget) -> Callable[..., object]:
    """FUNCTION for texts only; what it makes is no larger than they are together."""

    def checked(*values: object) -> object:
        if not all(isinstance(value, str) for value in values):
            raise Raised("TypeError", "expected a string")
        budget.room(sum(len(value) + 1 for value in values if isinstance(value, str)))
        return function(*values)

    return checked


_PATH_FUNCTIONS = ("join", "basename", "dirname", "splitext", "normpath", "split", "isabs")


def _asking(host: ScriptHost, warn: Callable[[str], None]) -> Callable[[str, Callable[[], object]], object]:
    """What gives the answer of a question to the host, and warns where there is none to ask."""

    def ask(question: str, answer: Callable[[], object]) -> object:
        if host.absent:
            warn(f"it asks for {question}, which depends on the host")
        return answer()

    return ask


def _path(
    host: ScriptHost, budget: Budget, ask: Callable[[str, Callable[[], object]], object]
) -> dict[str, object]:
    def asking(question: Callable[[str], bool]) -> Callable[[str], object]:
        return lambda path: ask("files that are there", lambda: question(path))

    return {
        **{name: _texts(getattr(posixpath, name), budget) for name in _PATH_FUNCTIONS},
        "abspath": _texts(lambda path: posixpath.normpath(posixpath.join(host.cwd, path)), budget),
        "exists": _texts(asking(host.exists), budget), "isfile": _texts(asking(host.isfile), budget),
        "isdir": _texts(asking(host.isdir), budget), "sep": "/",
    }  # fmt: skip


_STRING_FUNCTIONS = (
    "split", "lower", "upper", "strip", "lstrip", "rstrip", "zfill", "replace", "find", "rfind", "count", "capitalize",
    "ljust", "rjust", "center",
)  # fmt: skip


def _string(method: MethodOf) -> dict[str, object]:
    constants = ("digits", "letters", "lowercase", "uppercase", "hexdigits", "octdigits", "punctuation", "whitespace")
    renamed = {"letters": "ascii_letters", "lowercase": "ascii_lowercase", "uppercase": "ascii_uppercase"}
    table: dict[str, object] = {name: getattr(string, renamed.get(name, name)) for name in constants}

    def atoi(value: object) -> int:
        try:
            return int(str(value)[:100])
        except ValueError:
            raise Raised("ValueError", f"invalid literal for int(): {str(value)[:100]}") from None

    def maketrans(old: object, new: object) -> str:
        if len(_text(old)) != len(_text(new)):
            raise Raised("ValueError", "maketrans arguments must have same length")
        changed = dict(zip(_text(old), _text(new), strict=True))
        return "".join(changed.get(chr(code), chr(code)) for code in range(256))

    def of_text(name: str) -> Callable[..., object]:
        return lambda value, *rest: _method(method, _text(value), name)(*rest)

    return {
        **table, "atoi": atoi, "maketrans": maketrans,
        "join": lambda values, by=" ": _method(method, _text(by), "join")(values),
        **{name: of_text(name) for name in _STRING_FUNCTIONS},
    }  # fmt: skip


def _method(method: MethodOf, value: str, name: str) -> Callable[..., object]:
    found = method(value, name)
    assert found is not None, name
    return found


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Raised("TypeError", "expected a string")
    return value


def _math() -> dict[str, object]:
    return {
        "floor": _float_of(math.floor), "ceil": _float_of(math.ceil),
        **{name: getattr(math, name) for name in ("sqrt", "log", "log10", "fabs", "fmod", "sin", "cos", "tan", "pi", "e")},
    }  # fmt: skip


def _float_of(function: Callable[[float], int]) -> Callable[[float], float]:
    """FUNCTION as it was: it gives a float, with the sign of what it was given."""

    def call(value: float) -> float:
        number = float(value)
        return math.copysign(float(function(number)), number) if math.isfinite(number) else number

    return call


def _time(budget: Budget, now: Callable[[], object]) -> dict[str, object]:
    def local(seconds: object = None) -> tuple[int, ...]:
        return _moment(time.localtime, now() if seconds is None else seconds)

    def utc(seconds: object = None) -> tuple[int, ...]:
        return _moment(time.gmtime, now() if seconds is None else seconds)

    def strftime(form: object, when: object = None) -> str:
        if len(_text(form)) > 200:
            raise budget.over("a form of the time that is too long")
        moment = local() if when is None else when
        if not isinstance(moment, tuple) or len(moment) != 9 or not all(isinstance(one, int) for one in moment):
            raise Raised("TypeError", "argument must be 9-item sequence")
        return time.strftime(_text(form), moment)

    return {"time": now, "localtime": local, "gmtime": utc, "strftime": strftime}


def _moment(function: Callable[[float], time.struct_time], seconds: object) -> tuple[int, ...]:
    if not isinstance(seconds, int | float):
        raise Raised("TypeError", "a float is required")
    return tuple(function(float(seconds)))


def _random(warn: Callable[[str], None], budget: Budget) -> dict[str, object]:
    source = random.Random()

    def told(function: Callable[..., object]) -> Callable[..., object]:
        def call(*values: object) -> object:
            warn("'random' gives another result each time the file is read")
            try:
                return function(*values)
            except (TypeError, ValueError, IndexError) as error:
                raise Raised("ValueError", f"{error} in {py2_repr(list(values), budget)[:200]}") from None

        return call

    return {name: told(getattr(source, name)) for name in ("randint", "choice", "random", "randrange", "uniform")}


_HOST_QUESTIONS = ("get_defaultroute", "get_current_ipaddr", "get_current_ipmask", "get_current_ipgw")


def ip_helpers(refuse: Callable[[str], XmError]) -> dict[str, object]:
    """Xen's own helpers for addresses. Those that ask the host for its addresses are refused."""

    def asks(name: str) -> Callable[..., object]:
        def refused(*_values: object) -> object:
            raise refuse(name)

        return refused

    def aton(text: object) -> int:
        import ipaddress

        try:
            return int(ipaddress.IPv4Address(_text(text)))
        except ValueError:
            raise Raised("ValueError", f"illegal IP address {str(text)[:100]}") from None

    def ntoa(number: object) -> str:
        import ipaddress

        if not isinstance(number, int):
            raise Raised("TypeError", "an integer is required")
        return str(ipaddress.IPv4Address(number & 0xFFFFFFFF))

    return {
        "inet_aton": aton, "inet_ntoa": ntoa,
        "add_offset_to_ip": lambda ip, offset: ntoa(aton(ip) + offset),
        "check_subnet": lambda ip, network, mask: int(aton(ip) & aton(mask) == aton(network) & aton(mask)),
        **{name: asks(name) for name in _HOST_QUESTIONS},
    }  # fmt: skip
