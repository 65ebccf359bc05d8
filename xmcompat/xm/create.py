"""``xm create``: from the words of its command line to a running domain."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from xmcompat.errors import ConfigNotFound, DomainNotFound, XmError
from xmcompat.toolstack import Created, Toolstack
from xmcompat.xm.options import Words

if TYPE_CHECKING:
    from xmcompat.config.load import Loaded
    from xmcompat.console_session import ConsoleSession
    from xmcompat.notes import Note

Attend = Callable[[Created], None]

SEARCH_PATH = ".:/etc/xen"
DEFAULT_NAME = "xmdefconfig"


class Source(NamedTuple):
    """What is to be read: a script with ``name=value`` words, or else the SXP file ``sxp``."""

    name: str
    variables: tuple[str, ...]
    sxp: str


def create(words: Words) -> int:
    """``xm create [options] CONFIG [name=value ...]``: start a domain, or print what it would be (-n).

    Every error but a configuration that is not there is one line without usage.
    Source: xm of Xen 4.1. With -q the notes about settings are left out too; warnings about this host are not.
    """
    return make(words, "create")


def make(words: Words, verb: str) -> int:
    """What ``xm create`` and ``xm new`` have in common: VERB says what becomes of the configuration."""
    if words.has("help_config"):
        sys.stdout.write(_variables_text())
        return 0
    try:
        return _make(words, verb)
    except ConfigNotFound as error:
        from xmcompat.xm.dispatch import with_use

        raise with_use(error, verb) from None
    except XmError as error:
        error.shows_usage = False
        if isinstance(error, DomainNotFound):
            error.exit_code = 1
        raise


def _make(words: Words, verb: str) -> int:
    quiet = words.has("quiet")
    source = source_of(words)
    loaded = _load(source, words.value("path", SEARCH_PATH), quiet=quiet)
    if words.has("xmldryrun"):
        return 0
    if words.has("dryrun"):
        _say_notes(loaded.notes, quiet=quiet)
        sys.stdout.write(_dry_form(loaded))
        return 0
    from xmcompat import creation  # noqa: F401 - now: libraries in C swallow what a signal raises while they are loaded

    with Toolstack.open() as toolstack:

        def begin(attend: Attend | None) -> Created:
            return toolstack.create(
                loaded, paused=words.has("paused"), attend=attend, discard_saved=words.has("discard-saved")
            )  # fmt: skip

        if verb == "new":
            _say_known(toolstack.managed.new(loaded, discard_saved=words.has("discard-saved")), quiet=quiet)
        elif words.has("console_autoconnect"):
            on_console(toolstack, begin, quiet=quiet)
        else:
            from xmcompat.xm import signals

            with signals.raised():
                created = begin(None)
            say_started(created, quiet=quiet)
    return 0


def source_of(words: Words) -> Source:
    """The last file named wins, as operand or with -f; an operand with "=" is a variable."""
    name, variables = DEFAULT_NAME, []
    for option, value in words.events:
        if option == "" and "=" in value:
            variables.append(value)
        elif option in ("", "defconfig"):
            name = value
    return Source(name, tuple(variables), words.value("config"))


def _variables_text() -> str:
    """What --help_config prints: each variable with the kind of its value, its meaning, and its default."""
    from xmcompat.config.keys import KEYS, KeyType
    from xmcompat.guest import Dialect
    from xmcompat.render.help import own_options

    values = {KeyType.BOOL: "yes|no", KeyType.INT: "NUMBER", KeyType.LONG: "MASK", KeyType.LIST: "ITEM"}
    rows = []
    for key in KEYS.values():
        if Dialect.XM in key.dialects:
            default = ("no", "yes")[bool(key.xm_default)] if key.type is KeyType.BOOL else key.xm_default
            shown = "" if key.xm_default in (None, "", []) else f" (default {default})"
            rows.append((f"{key.name}={values.get(key.type, 'TEXT')}", key.meaning + shown))
    return own_options("Values", rows)


def _load(source: Source, search_path: str, *, quiet: bool) -> Loaded:
    """Read it, and say which file it was before anything in it can fail; bad words fail before that."""
    from xmcompat.config import load

    load.parse_words(source.variables)
    path = source.sxp or load.find_config(source.name, search_path=search_path)
    if not quiet:
        sys.stdout.write(f'Using config file "{path}".\n')
    loaded = load.load_sxp(path) if source.sxp else load.load(path, words=source.variables)
    sys.stdout.write(loaded.printed)
    sys.stdout.flush()
    sys.stderr.write(loaded.complained)
    return loaded


def _dry_form(loaded: Loaded) -> str:
    """What -n prints: the ``(vm ...)`` form, or with -F the file itself, laid out anew."""
    from xmcompat.config import sxp

    if loaded.form is not None:
        return sxp.pretty(loaded.form, 80)
    from xmcompat.config.dryrun import dry_run

    return sxp.pretty(dry_run(loaded.guest, environ=os.environ), 80)


def on_console(toolstack: Toolstack, begin: Callable[[Attend], Created], *, quiet: bool) -> None:
    """BEGIN a domain with this terminal on its console, which is opened before the guest says its first word.

    A domain without a console runs all the same.
    """
    from xmcompat.xm import signals
    from xmcompat.xm.console import STDIN, STDOUT, Attachment

    attachment = Attachment(STDIN, STDOUT)
    attempts: list[ConsoleSession | XmError] = []

    def attend(created: Created) -> None:
        try:
            attempts.append(toolstack.open_console(created.info.name, number=None, on_data=attachment.on_data))
        except XmError as error:
            attempts.append(error)
        say_started(created, quiet=quiet)

    try:
        with signals.raised():
            begin(attend)
    except DomainNotFound:
        if not attempts:
            raise
        sys.stdout.write("Domain has already finished\n")
        return
    (session,) = attempts
    if isinstance(session, XmError):
        sys.stderr.write(f"Warning: {session.line()}\n")
        sys.stdout.write("Could not start console\n\n")
        return
    with closing(session):
        attachment.run(session)


def say_started(created: Created, *, quiet: bool) -> None:
    """What there is to say of a domain that has been started."""
    _say_notes(created.notes, quiet=quiet)
    for warning in created.warnings:
        sys.stderr.write(f"Warning: {warning}\n")
    if not quiet:
        sys.stdout.write(f"Started domain {created.info.name} (id={created.info.domid})\n")
    sys.stdout.flush()


def _say_known(created: Created, *, quiet: bool) -> None:
    """``xm new`` says nothing of its own."""
    _say_notes(created.notes, quiet=quiet)


def _say_notes(notes: Iterable[Note], *, quiet: bool) -> None:
    """A line for each setting that the guest could miss."""
    from xmcompat.notes import Fate

    told = (Fate.APPROXIMATED, Fate.NO_MEANING, Fate.NOT_YET)
    if not quiet:
        for note in notes:
            if note.fate in told and not note.harmless:
                sys.stderr.write(f"Warning: {note.text()}\n")
