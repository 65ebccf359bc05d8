"""Bytes to GuestConfig, whatever they were written for: xm, xl, or xend itself. Pure: nothing is read but the bytes.

``xmcompat convert`` stands on this, and so does ``load``, which reads the files of ``xm create``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace

from xmcompat.config.account import account
from xmcompat.config.detect import recognise
from xmcompat.config.form_guest import NAMELESS, form_of_record, guest_of_form
from xmcompat.config.python import LONGEST_MESSAGE, ScriptHost
from xmcompat.config.read_cfg import BootFiles, Document, Reading, below_root, decoded
from xmcompat.config.sxp import Tree, children, parse, value
from xmcompat.config.words import Words
from xmcompat.errors import ConfigError, ConfigLimit, UnsupportedConfig, XmError
from xmcompat.guest import Dialect
from xmcompat.notes import Fate, Note

__all__ = [
    "LARGEST", "OFFLINE_CWD", "SAVED", "BootFiles", "Document", "decoded", "form_document", "forms_of", "is_of_xm_save",
    "offline_host", "read", "read_each", "read_record_form", "refuse_other_kinds", "refuse_saved",
]  # fmt: skip

#: No honest configuration is larger, in bytes.
LARGEST = 1024 * 1024

#: How xend's saved guests begin: then a length in four bytes, the guest's form, and its memory.
SAVED = b"LinuxGuestRecord"
#: What ``migration.save_file`` writes behind the configuration.
_OWN_FORM = b"\n(image_file (size "
_SAVED_BY_XL = b"Xen saved domain"

#: The current directory of a script that is read away from its host.
OFFLINE_CWD = "/etc/xen"

_DOMAIN_0 = "Domain-0"
_ANNOUNCED = re.compile(r'^Using config file "[^"\n]*"\.[ \t\r]*$', re.MULTILINE)
_LISTED_BY_XL = re.compile(rb"\(domain\s+(?:\(domid [0-9-]+\)\s+)?\(create_info\)")


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
    tolerant: bool | None = None,
) -> tuple[Document, ...]:
    """The guests of a file: one, but for forms, of which there may be many. Raises XmError for the first that fails.

    PATH is for messages, and gives the name of a guest of xm that has none, unless DEFAULT_NAME does. DIALECT None:
    it is told from the text. WORDS change what xm's and xl's files say. BOOT_FILES may change the values of xm's and
    xend's before they are checked. TOLERANT: what xm refuses and is plain all the same is read, and errors are cut;
    so it is where there is no host, unless it says otherwise.
    """
    outcomes = read_each(
        data, path, dialect=dialect, words=words, host=host, default_name=default_name, boot_files=boot_files,
        tolerant=tolerant,
    )  # fmt: skip
    for outcome in outcomes:
        if isinstance(outcome, XmError):
            raise outcome
    return tuple(outcome for outcome in outcomes if isinstance(outcome, Document))


def read_each(
    data: bytes,
    path: str,
    *,
    dialect: Dialect | None = None,
    usual: Dialect | None = None,
    words: Words | None = None,
    host: ScriptHost,
    default_name: str | None = None,
    boot_files: BootFiles | None = None,
    tolerant: bool | None = None,
) -> tuple[Document | XmError, ...]:
    """As ``read``; a guest that fails is its error, beside the others of its file. Raises XmError for a whole file.

    USUAL is the tool whose a file is that no mark decides, if it can read it.
    """
    reading = Reading(
        path=path, words=words or Words(), host=host, default_name=default_name, boot_files=boot_files,
        tolerant=host.absent if tolerant is None else tolerant,
    )  # fmt: skip
    try:
        outcomes = _outcomes(data, dialect, usual, reading)
    except XmError as error:
        if reading.tolerant:
            _cut(error)
        raise
    for outcome in outcomes:
        if isinstance(outcome, XmError) and reading.tolerant:
            _cut(outcome)
    return outcomes


def _outcomes(
    data: bytes, dialect: Dialect | None, usual: Dialect | None, reading: Reading
) -> tuple[Document | XmError, ...]:
    path = reading.path
    saved = dialect in (None, Dialect.SXP) and data.startswith(SAVED)
    is_ours = saved and is_of_xm_save(data)
    if saved:
        data = _of_saved(data, path)
        dialect = Dialect.SXP
    if len(data) > LARGEST:
        raise ConfigLimit(f"this is larger than {LARGEST // 1024} KiB: no guest configuration", path=path)
    refuse_other_kinds(data, path)
    certain = True
    if dialect is None:
        dialect, certain = recognise(data)
        dialect = dialect if certain else usual or dialect
    if dialect is Dialect.SXP:
        return _forms(data, reading, [_no_memory(path, is_ours)] if saved else [])
    return (reading.by(dialect, data) if certain else reading.by_either(dialect, data, known=usual is not None),)


def _cut(error: XmError) -> None:
    """Leave out most of a very long value: nobody reads a whole one."""
    if len(error.message) > LONGEST_MESSAGE:
        error.message = f"{error.message[:LONGEST_MESSAGE]}..."


def refuse_other_kinds(data: bytes, path: str) -> None:
    """Say what a file is that is no configuration. Raises ConfigError."""
    head = data[:64].lstrip()
    refuse_saved(data, path)
    if head.startswith(b"<"):
        kind = "libvirt's XML" if b"<domain" in data[:4096] else "XML"
        raise UnsupportedConfig(f"this is {kind}", path=path, hint="use virsh for libvirt's XML")
    if re.match(rb"\{|\[\s*\{", head):
        raise UnsupportedConfig("this is JSON, as xl prints it", path=path, hint="use the configuration file itself")
    if data.startswith(b"\x7fELF") or b"\0" in data[:4096]:
        raise ConfigError("this is no text", path=path)


def refuse_saved(data: bytes, path: str) -> None:
    """Say so where a file is a saved guest, of which DATA is the beginning. Raises ConfigError."""
    if is_of_xm_save(data):
        raise ConfigError("this is a saved guest", path=path, hint=f"'xm restore {path}' starts it")
    if data.startswith((SAVED, _SAVED_BY_XL)):
        raise ConfigError("this is a saved guest of Xen; its memory cannot be used on KVM", path=path)


# -- forms of xend


def _of_saved(data: bytes, path: str) -> bytes:
    """The form in front of a saved guest's memory."""
    start = len(SAVED) + 4
    (length,) = struct.unpack(">I", data[len(SAVED) : start].rjust(4, b"\0"))
    if not 0 < length <= min(LARGEST, len(data) - start):
        raise ConfigError("this is a saved guest of Xen without its configuration", path=path)
    return data[start : start + length]


def is_of_xm_save(data: bytes) -> bool:
    """Whether DATA is the beginning, with the configuration, of a file of our ``xm save``: no memory of Xen's."""
    start = len(SAVED) + 4
    end = start + int.from_bytes(data[len(SAVED) : start], "big")
    return data.startswith(SAVED) and _OWN_FORM in data[start:end]


def _no_memory(path: str, is_ours: bool) -> Note:
    memory = "'xm restore' starts it from its memory" if is_ours else "its memory cannot be used on KVM"
    return Note(
        key="(file)", fate=Fate.NO_MEANING, path=path, harmless=is_ours,
        reason=f"this is a saved guest; {memory}, only its configuration is read",
    )  # fmt: skip


def _forms(data: bytes, reading: Reading, first: Sequence[Note]) -> tuple[Document | XmError, ...]:
    """A guest for each form; what stands between them, and Domain-0, has a note at the first."""
    path = reading.path
    notes = [*first, *_unused(reading.words, path)]
    outcomes: list[Document | XmError] = []
    forms = [form for form in forms_of(data, path) if not (first and _is_of_image(form))]
    for form in forms:
        if not isinstance(form, list) or not form:
            notes.append(Note(key="(file)", fate=Fate.NO_MEANING, path=path, reason="a word outside of all forms"))
        elif _is_domain_0(form):
            notes.append(Note(
                key="(file)", fate=Fate.NO_MEANING, value=_DOMAIN_0, path=path, harmless=True,
                reason="it is Xen's own domain, and no guest",
            ))  # fmt: skip
        else:
            outcomes.append(_guarded(form, reading, alone=len(forms) == 1))
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


def _is_of_image(form: object) -> bool:
    """Whether it is what our ``xm save`` notes of the guest's memory behind its configuration."""
    return isinstance(form, list) and form[:1] == ["image_file"]


def _is_guest(form: object) -> bool:
    return isinstance(form, list) and form[:1] in (["vm"], ["domain"])


def _is_domain_0(form: Tree) -> bool:
    return value(form, "name") == _DOMAIN_0 and (
        value(form, "domid") == "0" or str(value(form, "uuid")).strip("0-") == "" or not children(form, "device")
    )


def _guarded(form: Tree, reading: Reading, *, alone: bool) -> Document | XmError:
    """The guest of one form, or why there is none: with its name, where it is not ALONE in its file."""
    path, default_name = reading.path, reading.default_name or NAMELESS
    try:
        return form_document(form, path, default_name=default_name, boot_files=reading.boot_files)
    except ConfigError as error:
        reason = error.message.removeprefix(f"{path}: ")
        if not alone:
            error.message = f"domain '{value(form, 'name', default_name)}': {reason}"
            error.path = None
        error.path = error.path or path
        return error


def form_document(
    form: Tree, path: str, *, default_name: str = NAMELESS, boot_files: BootFiles | None = None
) -> Document:
    """The guest of one form. Raises XmError."""
    guest, notes = guest_of_form(form, path, default_name=default_name, boot_files=boot_files)
    return Document(guest=guest, notes=(*account(guest), *below_root(guest), *notes))


def read_record_form(text: str, path: str) -> Document:
    """The guest of the form in the metadata of libvirt's XML at PATH. Raises XmError."""
    document = form_document(form_of_record(text, path), path)
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
