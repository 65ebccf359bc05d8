"""Bytes to GuestConfig, whatever they were written for: xm, xl, or xend itself. Pure: nothing is read but the bytes.

``xmcompat convert`` stands on this, and so does ``load``, which reads the files of ``xm create``.
"""

from __future__ import annotations

import posixpath
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from xmcompat.config import xl
from xmcompat.config.account import account
from xmcompat.config.build import build
from xmcompat.config.detect import recognise
from xmcompat.config.from_sxp import read_form
from xmcompat.config.keys import KEYS
from xmcompat.config.python import Evaluated, Ignored, ScriptHost, evaluate
from xmcompat.config.sxp import Tree, children, parse, value
from xmcompat.config.words import Words, for_xl
from xmcompat.config.xl_build import build_xl
from xmcompat.errors import ConfigError, ConfigLimit, UnsupportedConfig, XmError
from xmcompat.guest import Dialect, GuestConfig, GuestKind, Value
from xmcompat.notes import Fate, Note, is_secret

#: No honest configuration is larger, in bytes.
LARGEST = 1024 * 1024

#: How xend's saved guests begin: then a length in four bytes, the guest's form, and its memory.
SAVED = b"LinuxGuestRecord"
_SAVED_BY_XL = b"Xen saved domain"

#: The current directory of a script that is read away from its host.
OFFLINE_CWD = "/etc/xen"

_NAMELESS = "Domain-Unnamed"
_DOMAIN_0 = "Domain-0"
_ANNOUNCED = re.compile(r'^Using config file "[^"\n]*"\.[ \t\r]*$', re.MULTILINE)
_LISTED_BY_XL = re.compile(rb"\(domain\s+(?:\(domid [0-9-]+\)\s+)?\(create_info\)")
_RATE = re.compile(r"[0-9]+[GMK]?[Bb]/s(?:@[0-9]+[mu]?s?)?")
_WARNING = re.compile(r"line ([0-9]+): (.*)", re.DOTALL)

#: What makes of the values of a file those with the boot files of this host.
BootFiles = Callable[[dict[str, Value]], dict[str, Value]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One guest that has been read. ``printed`` and ``complained`` are what its script wrote on stdout and stderr."""

    guest: GuestConfig
    notes: tuple[Note, ...]
    printed: str = ""
    complained: str = ""


def offline_host() -> ScriptHost:
    """What scripts learn where there is no host: an x86_64 machine called localhost, without files, in 1970.

    An answer that depends on the host has a note.
    """
    nowhere: Callable[[str], bool] = lambda path: False  # noqa: E731
    return ScriptHost(
        uname=("Linux", "localhost", "", "", "x86_64"), exists=nowhere, isfile=nowhere, isdir=nowhere, cwd=OFFLINE_CWD,
        now=0.0, absent=True,
    )  # fmt: skip


def read(
    data: bytes,
    path: str,
    *,
    dialect: Dialect | None = None,
    words: Words | None = None,
    host: ScriptHost,
    default_name: str | None = None,
    boot_files: BootFiles | None = None,
) -> tuple[Document, ...]:
    """The guests of a file: one, but for forms, of which there may be many. Raises XmError for the first that fails.

    PATH is for messages, and gives the name of a guest of xm that has none, unless DEFAULT_NAME does. DIALECT None:
    it is told from the text. WORDS change what xm's and xl's files say. BOOT_FILES may change the values of xm's and
    xend's before they are checked.
    """
    outcomes = read_each(
        data, path, dialect=dialect, words=words, host=host, default_name=default_name, boot_files=boot_files
    )
    for outcome in outcomes:
        if isinstance(outcome, XmError):
            raise outcome
    return tuple(outcome for outcome in outcomes if isinstance(outcome, Document))


def read_each(
    data: bytes,
    path: str,
    *,
    dialect: Dialect | None = None,
    words: Words | None = None,
    host: ScriptHost,
    default_name: str | None = None,
    boot_files: BootFiles | None = None,
) -> tuple[Document | XmError, ...]:
    """As ``read``; a guest that fails is its error, beside the others of its file. Raises XmError for a whole file."""
    saved = dialect in (None, Dialect.SXP) and data.startswith(SAVED)
    if saved:
        data = _of_saved(data, path)
        dialect = Dialect.SXP
    if len(data) > LARGEST:
        raise ConfigLimit(f"this is larger than {LARGEST // 1024} KiB: no guest configuration", path=path)
    refuse_other_kinds(data, path)
    words = words or Words()
    certain = True
    if dialect is None:
        dialect, certain = recognise(data)
    if dialect is Dialect.SXP:
        first = [_no_memory(path)] if saved else []
        return _forms(data, path, words, first, default_name or _NAMELESS, boot_files)
    if dialect is Dialect.XL:
        return (_xl(data, path, words, default_name),)
    if words.wrong is not None:
        raise words.wrong
    document = _xm(data, path, words, host, default_name, boot_files)
    unsure = () if certain else _differences(document.guest)
    return (replace(document, notes=(*document.notes, *unsure)),)


def refuse_other_kinds(data: bytes, path: str) -> None:
    """Say what a file is that is no configuration. Raises ConfigError."""
    head = data[:64].lstrip()
    if data.startswith((SAVED, _SAVED_BY_XL)):
        raise ConfigError("this is a saved guest of Xen; its memory cannot be used on KVM", path=path)
    if head.startswith(b"<"):
        kind = "libvirt's XML" if b"<domain" in data[:4096] else "XML"
        raise UnsupportedConfig(f"this is {kind}", path=path, hint="use virsh for libvirt's XML")
    if re.match(rb"\{|\[\s*\{", head):
        raise UnsupportedConfig("this is JSON, as xl prints it", path=path, hint="use the configuration file itself")
    if data.startswith(b"\x7fELF") or b"\0" in data[:4096]:
        raise ConfigError("this is no text", path=path)


def decoded(data: bytes) -> str:
    """The text of a file: UTF-8, or else Latin-1."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


# -- xm


def _xm(
    data: bytes, path: str, words: Words, host: ScriptHost, default_name: str | None, boot_files: BootFiles | None
) -> Document:
    evaluated = evaluate(data, path=path, variables=words.variables, host=host)
    values = {**words.variables, **evaluated.values, **words.values}
    values = boot_files(values) if boot_files else values
    lines = {name: line for name, line in evaluated.lines.items() if name not in words.values}
    name = default_name or posixpath.basename(path)

    def attempt(values: Mapping[str, Value]) -> GuestConfig:
        return build(values, path=path, default_name=name, lines=lines)

    try:
        guest = attempt(values)
    except ConfigError as error:
        _place(error, path, values, lines, attempt)
        raise
    notes = _xm_notes(guest, evaluated, words)
    return Document(guest=guest, notes=notes, printed=evaluated.printed, complained=evaluated.complained)


def _place(
    error: ConfigError,
    path: str,
    values: Mapping[str, Value],
    lines: Mapping[str, int],
    attempt: Callable[[Mapping[str, Value]], object],
) -> None:
    """Say which line an error comes from, beside its message, which is xm's: without that setting there is another."""
    if error.path is not None:
        return
    error.path = path
    for key in sorted((name for name in lines if name in values and name in KEYS), key=lambda name: -lines[name]):
        try:
            attempt({name: value for name, value in values.items() if name != key})
        except XmError as other:
            if other.message == error.message:
                continue
        error.line_number = lines[key]
        return


def _xm_notes(guest: GuestConfig, evaluated: Evaluated, words: Words) -> tuple[Note, ...]:
    ignored = [_ignored(guest, item) for item in evaluated.ignored if item.name not in words.values]
    warned = [
        Note(key="(script)", fate=Fate.APPROXIMATED, reason=text, path=guest.source) for text in evaluated.warnings
    ]
    return (*account(guest), *ignored, *warned)


def _ignored(guest: GuestConfig, item: Ignored) -> Note:
    """A value of a type that xm passes over in silence; only for a key does it matter."""
    known = item.name in KEYS and Dialect.XM in KEYS[item.name].dialects
    return Note(
        key=item.name, fate=Fate.NO_MEANING, value="(not shown)" if is_secret(item.name, item.value) else item.value,
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


def _differences(guest: GuestConfig) -> tuple[Note, ...]:
    """What xl would make of a file that both tools read, where it is not what xm makes of it."""
    options = guest.options
    found = [
        sentence
        for key, sentence in (
            ("name", "the name is that of the file (xl: an error)"),
            ("memory", "memory is 128 MiB (xl: 32)"),
            ("on_crash", "on_crash is restart (xl: destroy)"),
        )
        if key not in options
    ]
    if guest.kind is GuestKind.HVM:
        found += ["hpet is off (xl: on)"] if "hpet" not in options else []
        found += ["boot is c (xl: cda)"] if "boot" not in options and "kernel" not in options else []
        if not {"vnc", "sdl", "nographic", "vfb"} & set(options):
            found.append("there is no display (xl: VNC)")
        if options.get("vncpasswd") == "":
            found.append("the password of VNC is the host's (xl: there is none)")
    if "root=" in str(options.get("extra", "")) and options.get("root"):
        found.append("root is left out beside extra (xl: both count)")
    for vif in guest.vifs:
        found += ["type=ioemu is an emulated interface (xl: and one of Xen's)"] if vif.type == "ioemu" else []
        found += ["a rate that is not understood is none (xl: an error)"] if vif.rate and not _RATE.fullmatch(
            vif.rate
        ) else []
    if not found:
        return ()
    return (Note(
        key="(dialect)", fate=Fate.APPROXIMATED, value="xm", path=guest.source or None,
        reason=f"xm and xl both read this file; as xm's, {', '.join(dict.fromkeys(found))}",
        suggestion="if it was xl's, read it with --dialect xl",
    ),)  # fmt: skip


# -- xl


def _xl(data: bytes, path: str, words: Words, default_name: str | None) -> Document:
    parsed = xl.parse(decoded(data), path)
    given = for_xl(words)
    lines = {name: line for name, line in parsed.lines.items() if name not in given}
    guest, passed_over = build_xl({**parsed.values, **given}, path=path, lines=lines, default_name=default_name)
    notes = sorted((*account(guest), *passed_over), key=lambda note: note.line or 0)
    return Document(guest=guest, notes=(*notes, *(_warned(text, path) for text in parsed.warnings)))


def _warned(text: str, path: str) -> Note:
    found = _WARNING.fullmatch(text)
    line, reason = (int(found[1]), found[2]) if found else (None, text)
    return Note(key="(file)", fate=Fate.NO_MEANING, reason=reason, path=path, line=line)


# -- forms of xend


def _of_saved(data: bytes, path: str) -> bytes:
    """The form in front of a saved guest's memory."""
    start = len(SAVED) + 4
    (length,) = struct.unpack(">I", data[len(SAVED) : start].rjust(4, b"\0"))
    if not 0 < length <= min(LARGEST, len(data) - start):
        raise ConfigError("this is a saved guest of Xen without its configuration", path=path)
    return data[start : start + length]


def _no_memory(path: str) -> Note:
    return Note(
        key="(file)", fate=Fate.NO_MEANING, path=path,
        reason="this is a saved guest; its memory cannot be used on KVM, only its configuration is read",
    )  # fmt: skip


def _forms(
    data: bytes, path: str, words: Words, first: Sequence[Note], default_name: str, boot_files: BootFiles | None
) -> tuple[Document | XmError, ...]:
    """A guest for each form; what stands between them, and Domain-0, has a note at the first."""
    notes = [*first, *_unused(words, path)]
    outcomes: list[Document | XmError] = []
    forms = forms_of(data, path)
    for form in forms:
        if not isinstance(form, list) or not form:
            notes.append(Note(key="(file)", fate=Fate.NO_MEANING, path=path, reason="a word outside of all forms"))
        elif _is_domain_0(form):
            notes.append(Note(
                key="(file)", fate=Fate.NO_MEANING, value=_DOMAIN_0, path=path, harmless=True,
                reason="it is Xen's own domain, and no guest",
            ))  # fmt: skip
        else:
            outcomes.append(_guarded(form, path, default_name, boot_files, alone=len(forms) == 1))
    if not outcomes:
        raise ConfigError("there is no (vm ...) or (domain ...) form of a guest", path=path)
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Document):
            outcomes[index] = replace(outcome, notes=(*notes, *outcome.notes))
            break
    return tuple(outcomes)


def forms_of(data: bytes, path: str) -> Tree:
    """The elements of a document of xend's. Raises ConfigError for one that is not a guest's."""
    if _LISTED_BY_XL.match(data.lstrip()):
        raise UnsupportedConfig("xl list has printed this, and nothing reads it", path=path, hint="use the file itself")
    forms = parse(_ANNOUNCED.sub("", decoded(data)), path)
    if len(forms) > 1 and not any(_is_guest(form) for form in forms):
        raise UnsupportedConfig("there is no guest in it; it may be the configuration of xend itself", path=path)
    return forms


def _is_guest(form: object) -> bool:
    return isinstance(form, list) and form[:1] in (["vm"], ["domain"])


def _is_domain_0(form: Tree) -> bool:
    return value(form, "name") == _DOMAIN_0 and (
        value(form, "domid") == "0" or str(value(form, "uuid")).strip("0-") == "" or not children(form, "device")
    )


def _guarded(
    form: Tree, path: str, default_name: str, boot_files: BootFiles | None, *, alone: bool
) -> Document | XmError:
    """The guest of one form, or why there is none: with its name, where it is not ALONE in its file."""
    try:
        return form_document(form, path, default_name=default_name, boot_files=boot_files)
    except ConfigError as error:
        reason = error.message.removeprefix(f"{path}: ")
        if not alone:
            error.message = f"domain '{value(form, 'name', default_name)}': {reason}"
            error.path = None
        error.path = error.path or path
        return error


def form_document(
    form: Tree, path: str, *, default_name: str = _NAMELESS, boot_files: BootFiles | None = None
) -> Document:
    """The guest of one form. Raises XmError."""
    values, notes = read_form(form, path)
    values = boot_files(values) if boot_files else values
    guest = replace(build(values, path=path, default_name=default_name, dialect=Dialect.SXP), source=path)
    return Document(guest=guest, notes=(*account(guest), *notes))


def read_record_form(text: str, path: str) -> Document:
    """The guest of the form in the metadata of libvirt's XML at PATH. Raises XmError."""
    forms = parse(text, path)
    if len(forms) != 1 or not isinstance(forms[0], list):
        raise ConfigError("the record of its configuration in it is no form", path=path)
    document = form_document(forms[0], path)
    note = Note(
        key="(file)", fate=Fate.APPROXIMATED, path=path,
        reason="this is libvirt's XML; what Xen's configuration of the guest was is read from its metadata",
        suggestion="passwords are not in it",
    )  # fmt: skip
    return replace(document, notes=(note, *document.notes))


def _unused(words: Words, path: str) -> list[Note]:
    return [
        Note(key=name, fate=Fate.NO_MEANING, path=path, reason="given on the command line; forms have no variables")
        for name in dict.fromkeys(name.strip() for name, _ in words.texts)
    ]
