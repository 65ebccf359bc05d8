"""Files of xm and of xl to guests, each as its own tool reads it. Pure: nothing is read but the bytes."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from xmcompat.config import xl
from xmcompat.config.account import account
from xmcompat.config.build import build
from xmcompat.config.differences import differences, instead
from xmcompat.config.keys import KEYS
from xmcompat.config.python import Evaluated, Ignored, ScriptHost, evaluate
from xmcompat.config.specs_more import cpuid_leaves
from xmcompat.config.tolerance import Borne, bear
from xmcompat.config.words import Words, for_xl
from xmcompat.config.xl_build import build_xl
from xmcompat.errors import ConfigError, NotConvertible, XmError
from xmcompat.guest import Dialect, GuestConfig, Value
from xmcompat.notes import Fate, Note, is_secret
from xmcompat.vdev import vdev_number

_WARNING = re.compile(r"line ([0-9]+): (.*)", re.DOTALL)

#: In characters, of an error that a note tells of.
_LONGEST_REASON = 200

#: What makes of the values of a file those with the boot files of this host.
BootFiles = Callable[[dict[str, Value]], dict[str, Value]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One guest that has been read. ``printed`` and ``complained`` are what its script wrote on stdout and stderr."""

    guest: GuestConfig
    notes: tuple[Note, ...]
    printed: str = ""
    complained: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a file is read; what ``read`` of the module of that name takes."""

    path: str
    words: Words
    host: ScriptHost
    default_name: str | None
    boot_files: BootFiles | None
    tolerant: bool

    def by(self, dialect: Dialect, data: bytes) -> Document:
        """The guest as the tool of DIALECT reads it. Raises XmError."""
        if dialect is Dialect.XL:
            return self._by_xl(data)
        if self.words.wrong is not None:
            raise self.words.wrong
        return self._by_xm(data)

    def by_either(self, dialect: Dialect, data: bytes, *, known: bool = False) -> Document:
        """The guest of a file that no mark decides: as that of DIALECT, unless the other tool alone can read it.

        KNOWN: it is the tool of the file's host. What is never done on KVM is no reason to try the other, nor is a wrong
        word. Raises XmError, that of DIALECT.
        """
        if dialect is Dialect.XM and self.words.wrong is not None:
            raise self.words.wrong
        try:
            document = self.by(dialect, data)
        except NotConvertible:
            raise
        except ConfigError as error:
            document = self._by_other(dialect, data, error, known=known)
            reason = error.message.removeprefix(f"{self.path}: ")
            note = instead(document.guest, reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}...")
            return replace(document, notes=(*document.notes, note))
        return document if known else replace(document, notes=(*document.notes, *differences(document.guest)))

    def _by_other(self, dialect: Dialect, data: bytes, error: ConfigError, *, known: bool) -> Document:
        """The guest as the other tool than that of DIALECT reads it. Raises ERROR where it cannot, or where the file is
        well and a kernel is missing; or, with a hint, where xl would pass over some of it: it may be a mistake."""
        other = Dialect.XM if dialect is Dialect.XL else Dialect.XL
        try:
            document = self.by(other, data)
        except XmError:
            raise error from None
        if other is Dialect.XL and _is_doubtful(document):
            error.hint = error.hint or (None if known else "if it was xl's, read it with --dialect xl")
            raise error
        if self.boot_files is None:
            return document
        try:
            replace(self, boot_files=None).by(dialect, data)
        except XmError:
            return document
        raise error

    # -- xm

    def _by_xm(self, data: bytes) -> Document:
        path, words = self.path, self.words
        evaluated = evaluate(data, path=path, variables=words.variables, host=self.host)
        values = {**words.variables, **evaluated.values, **words.values}
        values = self.boot_files(values) if self.boot_files else values
        lines = {name: line for name, line in evaluated.lines.items() if name not in words.values}
        borne = bear(values, path=path, lines=lines) if self.tolerant else Borne(values, ())
        values = borne.values
        name = self.default_name or posixpath.basename(path)

        def attempt(values: Mapping[str, Value]) -> GuestConfig:
            return build(values, path=path, default_name=name, lines=lines)

        try:
            guest = attempt(values)
        except ConfigError as error:
            _place(error, path, values, lines, attempt)
            raise
        notes = (*_xm_notes(guest, evaluated, words), *borne.notes)
        return Document(guest=guest, notes=notes, printed=evaluated.printed, complained=evaluated.complained)

    # -- xl

    def _by_xl(self, data: bytes) -> Document:
        path = self.path
        parsed = xl.parse(decoded(data), path)
        given = for_xl(self.words)
        lines = {name: line for name, line in parsed.lines.items() if name not in given}
        guest, passed_over = build_xl({**parsed.values, **given}, path=path, lines=lines, default_name=self.default_name)
        notes = sorted((*account(guest), *passed_over), key=lambda note: note.line or 0)
        return Document(guest=guest, notes=(*notes, *(_warned(text, path) for text in parsed.warnings)))


def _is_doubtful(document: Document) -> bool:
    """Whether xl, too, would pass over some of a file that it reads, or end later: for what is twice, or wrong in cpuid."""
    if any(note.fate is Fate.NO_MEANING and not note.harmless for note in document.notes):
        return True
    guest = document.guest
    masks = guest.options.get("cpuid", [])
    try:
        cpuid_leaves([str(mask) for mask in masks] if isinstance(masks, list) else [])
    except ConfigError:
        return True
    return len({vdev_number(disk.vdev) for disk in guest.disks}) < len(guest.disks)


def decoded(data: bytes) -> str:
    """The text of a file: UTF-8, or else Latin-1."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


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
    return (*account(guest), *below_root(guest), *ignored, *warned)


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


def _warned(text: str, path: str) -> Note:
    found = _WARNING.fullmatch(text)
    line, reason = (int(found[1]), found[2]) if found else (None, text)
    return Note(key="(file)", fate=Fate.NO_MEANING, reason=reason, path=path, line=line)


def below_root(guest: GuestConfig) -> tuple[Note, ...]:
    """A note on each image without a whole path, which xend's back ends took for one below the root folder."""
    return tuple(
        Note(
            key=f"disk[{index}]", value=repr(disk.uname), fate=Fate.APPROXIMATED, path=guest.source or None,
            line=guest.lines.get("disk"), suggestion="write the whole path",
            reason=f"a path without / in front; to xend it is {disk.path}, wherever the configuration is",
        )
        for index, disk in enumerate(guest.disks)
        if disk.protocol not in ("", "phy") and disk.path.startswith("/") and not disk.uname.endswith(disk.path)
    )  # fmt: skip
