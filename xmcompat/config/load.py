"""Files to GuestConfig: where they are looked for, what they are, and the words of the command line that change them.

The only module of this package that reads files.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from xmcompat.config.account import SECRET, account
from xmcompat.config.build import boots_kernel, build
from xmcompat.config.from_sxp import values_of
from xmcompat.config.keys import KEYS, KeyType
from xmcompat.config.python import Evaluated, Ignored, ScriptHost, evaluate
from xmcompat.config.sxp import parse
from xmcompat.errors import ConfigError, ConfigNotFound, UnsupportedConfig, UsageError
from xmcompat.guest import Dialect, GuestConfig, Value
from xmcompat.notes import Fate, Note

DEFAULT_NAME = "xmdefconfig"
DEFAULT_PATH = ".:/etc/xen"

#: No honest configuration is larger, in bytes.
LARGEST = 1024 * 1024

#: What int() of Python 2 reads.
_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,30}\s*", re.ASCII)
_YES, _NO = ("yes", "y"), ("no", "n")
_BOOT_FILES = ("kernel", "ramdisk", "loader")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A configuration that has been read; ``path`` is the file as shown.

    ``printed`` and ``complained`` are what its script wrote on stdout and stderr.
    """

    guest: GuestConfig
    notes: tuple[Note, ...]
    printed: str
    path: str
    complained: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The name=value words of a command line: values of keys, and texts for the script."""

    values: dict[str, Value]
    variables: dict[str, str]


def find_config(name: str | None = None, *, search_path: str = DEFAULT_PATH, cwd: str | None = None) -> str:
    """The file that NAME means, as shown to the user: relative ones begin with "./".

    NAME as it is comes first, then NAME in each folder of SEARCH_PATH. Raises ConfigNotFound.
    """
    name = name or DEFAULT_NAME
    for candidate in (name, *(os.path.join(folder, name) for folder in search_path.split(":") if folder)):
        if os.path.exists(os.path.join(cwd or "", candidate)) and not os.path.isdir(os.path.join(cwd or "", candidate)):
            return candidate if os.path.isabs(candidate) or candidate.startswith("./") else os.path.join(".", candidate)
    raise ConfigNotFound(f"Unable to open config file: {name}")


def parse_words(words: Sequence[str]) -> Words:
    """Sort NAME=VALUE words. Values of known keys are converted, lists gather; other names are the script's.

    Raises ConfigError (``Invalid value: X``) for a number that is none.
    """
    values: dict[str, Value] = {}
    variables: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"'{word}' is no name=value")
        key = KEYS.get(name)
        if key is None or Dialect.XM not in key.dialects or name == "maxvcpus":
            variables[name.strip()] = text.strip()
        elif key.type is KeyType.LIST:
            gathered = values.setdefault(name, [])
            assert isinstance(gathered, list)
            gathered.append(text)
        else:
            values[name] = _converted(key.type, text)
    return Words(values=values, variables=variables)


def _converted(type_: KeyType, text: str) -> Value:
    if type_ is KeyType.BOOL:
        if text not in (*_YES, *_NO):
            raise ConfigError(f"Invalid value:{text}")
        return int(text in _YES)
    if type_ in (KeyType.INT, KeyType.LONG):
        if not _NUMBER.fullmatch(text):
            raise ConfigError(f"Invalid value: {text}")
        return int(text)
    return text


def load(path: str, *, words: Sequence[str] = ()) -> Loaded:
    """Read the file at PATH (from ``find_config``), changed by the NAME=VALUE words of a command line.

    Raises ConfigError in its kinds, before the file is read for words that are wrong. Nothing is executed, and no other
    file is read. May be repeated.
    Source: xm's create command, Xen 4.1. Differs from xm: what xm ignores in silence has a note.
    """
    given = parse_words(words)
    data = _read(path)
    _refuse_other_kinds(data, path)
    if _is_sxp(data):
        raise UnsupportedConfig("this is an SXP file", path=path, hint=f"use: xm create -F {path}")
    evaluated = evaluate(data, path=path, variables=given.variables, host=_script_host())
    values = {**given.variables, **evaluated.values, **given.values}
    values = _with_boot_files(values)
    lines = {name: line for name, line in evaluated.lines.items() if name not in given.values}
    guest = build(values, path=path, default_name=os.path.basename(path), lines=lines)
    return Loaded(
        guest=guest, notes=_notes(guest, evaluated, given), path=path,
        printed=evaluated.printed, complained=evaluated.complained,
    )  # fmt: skip


def load_sxp(path: str) -> Loaded:
    """Read a file of the form that ``xm create -n`` and ``xm list -l`` print. Raises ConfigError in its kinds."""
    if not os.path.exists(path):
        raise ConfigError(f"Cannot open file {path}")
    data = _read(path)
    _refuse_other_kinds(data, path)
    text = _decoded(data)
    forms = parse(text, path)
    if not forms or not isinstance(forms[0], list):
        raise ConfigError("there is no (vm ...) or (domain ...) form", path=path)
    if len(forms) > 1:
        raise UnsupportedConfig(f"there are {len(forms)} forms; give each guest a file of its own", path=path)
    values = _with_boot_files(values_of(forms[0], path))
    guest = replace(build(values, path=path, default_name="Domain-Unnamed", dialect=Dialect.SXP), source=path)
    return Loaded(guest=guest, notes=account(guest), printed="", path=path)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError("this is not a file", path=path)
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{error.strerror}", path=path) from None
    if len(data) > LARGEST:
        raise ConfigError(f"this is larger than {LARGEST // 1024} KiB: no guest configuration", path=path)
    return data


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _refuse_other_kinds(data: bytes, path: str) -> None:
    """Say what a file is that is no configuration."""
    head = data[:64].lstrip()
    if data.startswith((b"LinuxGuestRecord", b"Xen saved domain")):
        raise ConfigError("this is a saved guest of Xen; its memory cannot be used on KVM", path=path)
    if head.startswith(b"<"):
        kind = "libvirt's XML" if b"<domain" in data[:4096] else "XML"
        raise UnsupportedConfig(f"this is {kind}", path=path, hint="use virsh for libvirt's XML")
    if re.match(rb"\{|\[\s*\{", head):
        raise UnsupportedConfig("this is JSON, as xl prints it", path=path, hint="use the configuration file itself")
    if data.startswith(b"\x7fELF") or b"\0" in data[:4096]:
        raise ConfigError("this is no text", path=path)


def _is_sxp(data: bytes) -> bool:
    lines = (line.strip() for line in data.splitlines())
    first = next((line for line in lines if line and not line.startswith(b"#")), b"")
    return first.startswith((b"(vm", b"(domain"))


def _script_host() -> ScriptHost:
    """What scripts may learn: the names of this host, and whether files are there."""
    uname = os.uname()
    return ScriptHost(
        uname=(uname.sysname, uname.nodename, uname.release, uname.version, uname.machine),
        exists=os.path.exists, isfile=os.path.isfile, isdir=os.path.isdir, cwd=_cwd(), now=time.time(),
    )  # fmt: skip


def _cwd() -> str:
    """The current directory; "/" where it has been removed."""
    try:
        return os.getcwd()
    except OSError:
        return "/"


def _with_boot_files(values: dict[str, Value]) -> dict[str, Value]:
    """Kernel, ramdisk and loader by absolute paths. Raises ConfigError for one that is not there.

    Nothing is looked for where a boot loader is named. Differs from xm: Xen's firmware (hvmloader) need not be there.
    """
    if values.get("bootloader"):
        return values
    firmware = values.get("builder") == "hvm"
    needed = ("kernel", "ramdisk") if not firmware or boots_kernel(values) else ("ramdisk",)
    changed = dict(values)
    for key in _BOOT_FILES:
        name = values.get(key)
        if not isinstance(name, str) or not name or name == "hvmloader":
            continue
        path = os.path.normpath(os.path.join(_cwd(), name))
        changed[key] = path
        if key in needed and ("\0" in path or not os.path.exists(path) or os.path.isdir(path)):
            raise ConfigError(f'Cannot find {key} "{path}"')
    return changed


def _notes(guest: GuestConfig, evaluated: Evaluated, given: Words) -> tuple[Note, ...]:
    ignored = [_ignored(guest, item) for item in evaluated.ignored if item.name not in given.values]
    warned = [
        Note(key="(script)", fate=Fate.APPROXIMATED, reason=text, path=guest.source) for text in evaluated.warnings
    ]
    return (*account(guest), *ignored, *warned)


def _ignored(guest: GuestConfig, item: Ignored) -> Note:
    """A value of a type that xm passes over in silence; only for a key does it matter."""
    known = item.name in KEYS and Dialect.XM in KEYS[item.name].dialects
    return Note(
        key=item.name, fate=Fate.NO_MEANING, value="(not shown)" if item.name in SECRET else item.value,
        reason=item.reason, path=guest.source, line=item.line or None,
        suggestion=_instead(item.value) if known else "", harmless=not known,
    )  # fmt: skip


def _instead(value: str) -> str:
    """What to write for a value that xm ignores."""
    if value in ("True", "False"):
        return f"write {int(value == 'True')}"
    if value.startswith(("u'", 'u"')):
        return "leave out the u"
    if value.startswith("("):
        return "write a list, in brackets"
    if value.rstrip("L") != value:
        return "leave out the L"
    return "write a number, a text or a list"
