"""Files to GuestConfig, for ``xm create``: where they are looked for, and the kernels that must be there.

Only this module and ``source_file`` read files. What the bytes say is ``read``'s.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from xmcompat.config.build import boots_kernel
from xmcompat.config.detect import recognise
from xmcompat.config.python import ScriptHost
from xmcompat.config.read import LARGEST, Document, form_document, forms_of, read, refuse_other_kinds, refuse_saved
from xmcompat.config.source_file import read_source
from xmcompat.config.words import Words, parse_words
from xmcompat.errors import ConfigError, ConfigNotFound, UnsupportedConfig
from xmcompat.guest import Dialect, GuestConfig, Value, is_loader
from xmcompat.notes import Fate, Note

__all__ = [
    "LARGEST", "Loaded", "Words", "find_config", "load", "load_sxp", "parse_words", "read_file",
]  # fmt: skip

DEFAULT_NAME = "xmdefconfig"
DEFAULT_PATH = ".:/etc/xen"

_BOOT_FILES = ("kernel", "ramdisk", "loader")
_XLS_FILE = "it looks like a file of xl, which reads it otherwise"
_CONVERT = "xmcompat convert --to cfg gives one of xm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A configuration that has been read; ``path`` is the file as shown.

    ``printed`` and ``complained`` are what its script wrote on stdout and stderr. ``form`` is the (vm ...) or (domain
    ...) form that the file is, None for a script.
    """

    guest: GuestConfig
    notes: tuple[Note, ...]
    printed: str
    path: str
    complained: str = ""
    form: object = None


def find_config(name: str | None = None, *, search_path: str = DEFAULT_PATH, cwd: str | None = None) -> str:
    """The file that NAME means, as shown to the user: relative ones begin with "./".

    NAME as it is comes first, then NAME in each folder of SEARCH_PATH. Raises ConfigNotFound.
    """
    name = name or DEFAULT_NAME
    for candidate in (name, *(os.path.join(folder, name) for folder in search_path.split(":") if folder)):
        if os.path.exists(os.path.join(cwd or "", candidate)) and not os.path.isdir(os.path.join(cwd or "", candidate)):
            return candidate if os.path.isabs(candidate) or candidate.startswith("./") else os.path.join(".", candidate)
    shown = name.replace("\n", "\\n")  # one line, whatever the name is
    raise ConfigNotFound(f"Unable to open config file: {shown}")


def load(path: str, *, words: Sequence[str] = (), data: bytes | None = None) -> Loaded:
    """Read the file at PATH (from ``find_config``), changed by the NAME=VALUE words of a command line.

    DATA is what stands in it, where that has been read already: a pipe can be read just once.

    Raises ConfigError in its kinds, before the file is read for words that are wrong. Nothing is executed, and no other
    file is read. May be repeated.
    Source: xm's create command, Xen 4.1. Differs from xm: what xm ignores in silence has a note, and so has a file
    that is beyond doubt xl's.
    """
    given = parse_words(words)
    data = read_file(path) if data is None else data
    refuse_other_kinds(data, path)
    if _is_sxp(data):
        raise UnsupportedConfig("this is an SXP file", path=path, hint=f"use: xm create -F {path}")
    is_xls = recognise(data) == (Dialect.XL, True)
    try:
        (document,) = read(
            data, path, dialect=Dialect.XM, words=given, host=script_host(), boot_files=_with_boot_files
        )
    except ConfigError as error:
        if is_xls and error.hint is None:
            error.hint = f"{_XLS_FILE}; {_CONVERT}"
        raise
    return _loaded(document, path, _warning(path) if is_xls else ())


def _warning(path: str) -> tuple[Note, ...]:
    return (Note(key="(file)", fate=Fate.APPROXIMATED, reason=_XLS_FILE, suggestion=_CONVERT, path=path),)


def _loaded(document: Document, path: str, more: tuple[Note, ...] = ()) -> Loaded:
    return Loaded(
        guest=document.guest, notes=(*document.notes, *more), path=path, printed=document.printed,
        complained=document.complained,
    )  # fmt: skip


def load_sxp(path: str, *, data: bytes | None = None) -> Loaded:
    """Read a file of the form that ``xm create -n`` and ``xm list -l`` print. Raises ConfigError in its kinds."""
    if not os.path.exists(path):
        raise ConfigError(f"Cannot open file {path}")
    data = read_file(path) if data is None else data
    refuse_other_kinds(data, path)
    forms = forms_of(data, path)
    if not forms or not isinstance(forms[0], list):
        raise ConfigError("there is no (vm ...) or (domain ...) form", path=path)
    if len(forms) > 1:
        raise UnsupportedConfig(f"there are {len(forms)} forms; give each guest a file of its own", path=path)
    return replace(_loaded(form_document(forms[0], path, boot_files=_with_boot_files), path), form=forms[0])


def read_file(path: str) -> bytes:
    """What stands at PATH, which may be a pipe, if it is not too large. Raises ConfigError."""
    return read_source(path, LARGEST, refuse_saved)


def _is_sxp(data: bytes) -> bool:
    lines = (line.strip() for line in data.splitlines())
    first = next((line for line in lines if line and not line.startswith(b"#")), b"")
    return first.startswith((b"(vm", b"(domain"))


def script_host() -> ScriptHost:
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

    Nothing is looked for where a boot loader is named, pv-grub in the kernel's place too. Differs from xm: pv-grub and
    Xen's firmware (hvmloader) need not be there.
    """
    if values.get("bootloader"):
        return values
    firmware = values.get("builder") == "hvm"
    if not firmware and is_loader(str(values.get("kernel", ""))):
        return values
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
