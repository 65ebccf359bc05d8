"""``xmcompat convert``: configurations of Xen guests into other forms. Offline: no hypervisor or host is asked."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import click

from xmcompat.errors import ConfigError, UsageError, XmError
from xmcompat.tool.output import mistake, printable

if TYPE_CHECKING:
    from xmcompat.config.read import Document
    from xmcompat.config.words import Words
    from xmcompat.guest import Dialect, GuestConfig
    from xmcompat.notes import Note
    from xmcompat.tool.convert_input import Input
    from xmcompat.tool.redaction import Redactor

DIALECTS = ("auto", "xm", "xl", "sxp")
#: The forms that a guest can be given, with the ends of their files' names.
SUFFIXES = {"xml": ".xml", "json": ".json", "sxp": ".sxp", "xl": ".cfg", "cfg": ".cfg"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asks for. ``dialect`` None: told from each file. ``facts`` are those of a file."""

    dialect: Dialect | None
    to: str
    words: Words
    facts: Mapping[str, object]
    output_dir: str | None
    strict: bool
    notes: str
    verbose: bool


@click.command("convert")
@click.argument("paths", nargs=-1, required=True, metavar="FILE|DIR...")
@click.option("--dialect", type=click.Choice(DIALECTS), default="auto", help="What the files are; auto tells it from each.")
@click.option("--to", type=click.Choice(tuple(SUFFIXES)), default="xml", show_default=True,
              help="libvirt's XML for KVM, JSON, xend's form, xl's or xm's file.")  # fmt: skip
@click.option("--var", "variables", multiple=True, metavar="NAME=VALUE",
              help="A variable or setting, as behind the file on xm's command line. May be repeated.")  # fmt: skip
@click.option("--output-dir", type=click.Path(file_okay=False), metavar="DIR",
              help="Write a file for each guest, NAME.xml or the like, instead of printing all.")  # fmt: skip
@click.option("--strict", is_flag=True, help="A guest with a setting that is not carried over cannot be converted.")
@click.option("--notes", type=click.Choice(("text", "json", "none")), default="text", show_default=True,
              help="What becomes of each setting, on stderr: lines, or one JSON object a line.")  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="Show the notes too that no guest can miss.")
@click.option("--host-facts", metavar="FILE",
              help="JSON with facts of the host, as in what xmcompat host --json prints.")  # fmt: skip
def convert(
    paths: tuple[str, ...],
    dialect: str,
    to: str,
    variables: tuple[str, ...],
    output_dir: str | None,
    strict: bool,
    notes: str,
    verbose: bool,
    host_facts: str | None,
) -> int:
    """Convert the guest configurations in FILEs, and in the files of DIRs: xm's, xl's, xend's forms.

    Any user can do it, anywhere: no hypervisor is asked, nothing in a file is executed, and no other file is read.
    FILE "-" is the standard input. Without --output-dir, guests are printed one after another.

    Exits 0 if all are converted, 1 if some are not (each has a line on stderr), 2 for a wrong command line.
    """
    wanted = Wanted(
        dialect=_dialect(dialect), to=to, words=_words(variables, dialect), facts=_facts(host_facts), output_dir=output_dir,
        strict=strict, notes=notes, verbose=verbose,
    )  # fmt: skip
    return Conversion(wanted).run(paths)


def _dialect(word: str) -> Dialect | None:
    from xmcompat.guest import Dialect

    return None if word == "auto" else Dialect(word)


def _words(variables: Sequence[str], dialect: str) -> Words:
    """Raises click.UsageError for a word that is no NAME=VALUE, or that xm would not take where all files are its."""
    from xmcompat.config.words import for_any_tool, parse_words

    if nameless := next((word for word in variables if "=" in word and not word.partition("=")[0].strip()), None):
        raise click.UsageError(f"--var: '{nameless}' has no name before its =")
    try:
        return parse_words(variables) if dialect == "xm" else for_any_tool(variables)
    except XmError as error:
        from xmcompat.tool.redaction import redactor

        raise click.UsageError(f"--var: {redactor(' '.join(variables)).error(error).line()}") from None


def _facts(path: str | None) -> Mapping[str, object]:
    from xmcompat.tool.convert_facts import read_facts

    try:
        return read_facts(path) if path is not None else {}
    except ConfigError as error:
        raise click.UsageError(f"--host-facts: {error.line()}") from None


@dataclass(slots=True)
class Conversion:
    """One run of the command."""

    wanted: Wanted
    failed: bool = False
    #: The names of the files written, each with the input that it came from.
    written: dict[str, str] = field(default_factory=dict)
    #: The guests that have been converted, by name, each with its input.
    done: dict[str, list[tuple[GuestConfig, str]]] = field(default_factory=dict)
    #: The inputs' real paths: none of them is ever written to.
    read: set[str] = field(default_factory=set)

    def run(self, paths: Sequence[str]) -> int:
        from xmcompat.tool.convert_input import OWN_WORK, places

        if self.wanted.output_dir is not None:
            try:
                os.makedirs(self.wanted.output_dir, exist_ok=True)
            except OSError as error:
                raise UsageError(f"--output-dir: {self.wanted.output_dir}: {error.strerror}") from None
        found = list(places(paths, written=self.wanted.output_dir))
        self.read = {os.path.realpath(place.path) for place in found if place.skipped != OWN_WORK}
        for place in found:
            source = place.input()
            try:
                self._one(source)
            except (XmError, OSError, click.ClickException):
                raise
            except Exception as error:  # noqa: BLE001 - a mistake of ours in one file, and the others wait
                self._fail(place.path, ConfigError(mistake(error)), self._redactor(source))
        return 1 if self.failed else 0

    def _one(self, source: Input) -> None:
        from xmcompat.tool.no_guest import NoGuest, called

        if source.skipped:
            self._skip(source.path, source.skipped)
            return
        redact = self._redactor(source)
        try:
            outcomes = self._documents(source, redact)
        except NoGuest as error:
            self._skip(source.path, called(os.path.basename(source.path)) or str(error))
            return
        for outcome in outcomes:
            if isinstance(outcome, XmError):
                self._fail(source.path, outcome, redact)
                continue
            self._say_printed(source.path, outcome, redact)
            try:
                self._document(source, outcome, redact)
            except XmError as error:
                self._fail(source.path, error, redact, outcome.guest)
            except (BrokenPipeError, KeyboardInterrupt):
                raise
            except OSError as error:
                if self.wanted.output_dir is None:
                    raise
                reason = ConfigError(f"{self.wanted.output_dir}: {error.strerror}")
                self._fail(source.path, reason, redact, outcome.guest)

    def _redactor(self, source: Input) -> Redactor:
        """What keeps passwords out of all that is said of a file: its own, the host's, and those of the command line."""
        from xmcompat.tool.redaction import is_secret, redactor

        given = [text for name, text in self.wanted.words.texts if is_secret(name)]
        return redactor(source.data, [*given, str(self.wanted.facts.get("vnc_password") or "")])

    def _documents(self, source: Input, redact: Redactor) -> Sequence[Document | XmError]:
        """The guests of a file, and the errors of those that cannot be read. Raises NoGuest for a file of a folder that
        is none's."""
        from xmcompat.config.read import offline_host, read_each
        from xmcompat.tool.convert_input import STDIN_NAME, STDIN_PATH
        from xmcompat.tool.no_guest import NoGuest, is_guest, refuse_others, refuse_unreadable

        if source.error is not None:
            return (source.error,)
        wanted = self.wanted
        name = STDIN_NAME if source.path == STDIN_PATH else None
        try:
            recorded = self._recorded(source)
            if recorded is not None:
                return (recorded,)
            if source.in_folder:
                refuse_others(source.data)
            elif not source.data.strip() and not wanted.words.texts:
                raise ConfigError("it is empty", path=source.path)
            outcomes = read_each(
                source.data, source.path, dialect=wanted.dialect, words=wanted.words, host=offline_host(),
                default_name=name,
            )  # fmt: skip
        except XmError as error:
            if source.in_folder:
                _, reason = _reason(source.path, redact.error(error))
                refuse_unreadable(os.path.basename(source.path), source.data, reason)
            return (error,)
        if source.in_folder:
            outcomes = tuple(item for item in outcomes if isinstance(item, XmError) or is_guest(item.guest))
            if not outcomes:
                raise NoGuest("it sets nothing that makes a guest")
        return outcomes

    def _recorded(self, source: Input) -> Document | None:
        """The guest whose configuration travels in the metadata of libvirt's XML; None for any other file."""
        if self.wanted.dialect is not None or not source.data[:64].lstrip().startswith(b"<"):
            return None
        from xmcompat.backends.domain_xml import read_record
        from xmcompat.config.read import decoded, read_record_form

        try:
            record = read_record(decoded(source.data))
        except (XmError, ValueError):
            return None
        return read_record_form(record.sxp, source.path) if record is not None else None

    def _document(self, source: Input, document: Document, redact: Redactor) -> None:
        """Convert one guest. Raises XmError, and OSError where it cannot be written."""
        from xmcompat.tool.convert_write import converted, file_name, holds_password, write_file

        wanted, guest = self.wanted, document.guest
        if again := self._again(guest):
            self._skip(source.path, again, guest)
            return
        try:
            text, notes = converted(document, wanted.to, wanted.facts)
        except XmError:
            self._say_notes(guest, document.notes, redact)
            raise
        self._say_notes(guest, notes, redact)
        if wanted.strict:
            _refuse_lost(notes, source.path)
        if wanted.output_dir is None:
            click.echo(text.encode("utf-8", "surrogateescape"), nl=False)
            self.done.setdefault(guest.name, []).append((guest, source.path))
            return
        name = file_name(guest.name, wanted.to)
        self._refuse_place(name, guest)
        private = source.private or holds_password(guest, wanted.facts)
        path = write_file(wanted.output_dir, name, text, private=private)
        self.written[name] = source.path
        self.done.setdefault(guest.name, []).append((guest, source.path))
        if name != guest.name + SUFFIXES[wanted.to]:
            self._say({"path": source.path, "guest": guest.name, "written": path}, f"{source.path}: written to {path}")

    def _again(self, guest: GuestConfig) -> str:
        """Why a guest is passed over that has been converted already; "" for any other, even one of the same name."""
        for other, path in self.done.get(guest.name, ()):
            if replace(other, source="", lines={}) == replace(guest, source="", lines={}):
                return f"the same guest '{guest.name}' as in {path}"
            if guest.uuid and str(guest.uuid).lower() == str(other.uuid).lower():
                return f"by name and uuid the guest '{guest.name}' of {path}; what differs in this file is left out"
        return ""

    def _refuse_place(self, name: str, guest: GuestConfig) -> None:
        assert self.wanted.output_dir is not None
        if name in self.written:
            raise ConfigError(f"there is another guest '{guest.name}', of {self.written[name]}, which has been written")
        path = os.path.join(self.wanted.output_dir, name)
        places = {os.path.realpath(path), os.path.join(os.path.realpath(self.wanted.output_dir), name)}
        if places & self.read:
            raise ConfigError(f"{path} would be written, and is an input", hint="give another --output-dir")

    # -- what is said on stderr

    def _skip(self, path: str, reason: str, guest: GuestConfig | None = None) -> None:
        name = {"guest": guest.name} if guest is not None else {}
        self._say({"path": path, **name, "skipped": reason}, f"{path}: skipped: {reason}")

    def _say_notes(self, guest: GuestConfig, notes: Sequence[Note], redact: Redactor) -> None:
        for note in map(redact.note, notes):
            if self.wanted.notes == "json" or self.wanted.verbose or not note.harmless:
                self._say(_as_document(guest, note), note.text())

    def _say_printed(self, path: str, document: Document, redact: Redactor) -> None:
        for line in map(redact, (document.printed + document.complained).splitlines()):
            self._say({"path": path, "printed": line}, f"{path}: the script printed: {line}")

    def _say(self, document: Mapping[str, object], text: str) -> None:
        if self.wanted.notes == "json":
            click.echo(json.dumps(document), err=True)
        elif self.wanted.notes == "text":
            click.echo(printable(text), err=True)

    def _fail(self, path: str, error: XmError, redact: Redactor, guest: GuestConfig | None = None) -> None:
        """One line: the file, the line where it is known, and the reason. It is said whatever notes are wanted."""
        self.failed = True
        line, reason = _reason(path, redact.error(error))
        if self.wanted.notes == "json":
            name = {"guest": guest.name} if guest is not None else {}
            click.echo(json.dumps({"path": path, **name, "line": line, "error": reason}), err=True)
        else:
            place = f"{path}:{line}" if line else path
            click.echo(printable(f"Error: {place}: {reason}"), err=True)


def _reason(path: str, error: XmError) -> tuple[int | None, str]:
    """(line, reason) of an error, whose place may stand in its text in several ways."""
    line = error.line_number if isinstance(error, ConfigError) else None
    text = re.sub(r"\s*[\r\n]\s*", " ", error.line() or (error.verbatim or "").strip())
    if found := re.fullmatch(rf"(.*); see {re.escape(path)}:([0-9]+)", text):
        return int(found[2]), found[1]
    if found := re.fullmatch(r"Errors were found at line ([0-9]+) while processing .*?: (.*)", text):
        return int(found[1]), f"this is no Python: {found[2]}"
    place = f"{path}:{line}: " if line else f"{path}: "
    return line, text.removeprefix(place)


def _refuse_lost(notes: Sequence[Note], path: str) -> None:
    """Raise ConfigError for settings that are not carried over.

    That disks and interfaces have other names and drivers is so for every guest on KVM, and is no loss of a setting; nor
    is it that two tools can read the file.
    """
    from xmcompat.notes import Fate

    def renamed(note: Note) -> bool:
        return note.fate is Fate.APPROXIMATED and note.key.startswith(("disk[", "vif["))

    lost = [
        note for note in notes
        if note.fate is not Fate.CARRIED and not note.harmless and note.key != "(dialect)" and not renamed(note)
    ]  # fmt: skip
    if lost:
        keys = ", ".join(dict.fromkeys(note.key for note in lost))
        raise ConfigError(f"not carried over: {keys}", path=path, line=lost[0].line)


def _as_document(guest: GuestConfig, note: Note) -> dict[str, object]:
    return {
        "path": note.path, "guest": guest.name, "key": note.key, "value": note.value or None, "line": note.line,
        "fate": note.fate.value, "reason": note.reason or None, "suggestion": note.suggestion or None,
        "harmless": note.harmless,
    }  # fmt: skip
