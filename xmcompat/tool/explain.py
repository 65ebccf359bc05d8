"""``xmcompat explain``: one guest configuration, and what becomes of every key in it. No hypervisor or host is asked."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import click

from xmcompat.errors import ConfigError, NotConvertible, UnsupportedConfig, XmError
from xmcompat.guest import Dialect, GuestConfig, KernelBoot
from xmcompat.notes import Fate, Note, joined
from xmcompat.tool.output import print_json, printable

if TYPE_CHECKING:
    from xmcompat.config.read import Document
    from xmcompat.config.words import Words


class Account(NamedTuple):
    """``refusal`` is why the guest cannot be started at all, None where it can."""

    name: str
    source: str
    notes: tuple[Note, ...]
    refusal: str | None


@click.command("explain")
@click.argument("file")
@click.argument("variables", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("-F", "--sxp", is_flag=True, help="FILE holds the (vm ...) form that xm create -n prints.")
@click.option("--dialect", type=click.Choice(("auto", "xm", "xl", "sxp")), default="auto", show_default=True,
              help="What FILE is; auto tells it from the text.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
def explain(file: str, variables: tuple[str, ...], sxp: bool, dialect: str, as_json: bool) -> int:
    """Read the guest configuration FILE, and show what becomes of every key in it on KVM. Nothing is started, or executed.

    A file of xl's is read as xl's, and so is one that xl can read and xm cannot. NAME=VALUE sets a variable as on xm's
    command line. FILE is looked for here and in /etc/xen; what it names need not be here. Exits 1 where the guest
    cannot be started on KVM.
    """
    wrong = [word for word in variables if not word.partition("=")[0].strip() or "=" not in word]
    if wrong:
        raise click.UsageError(f"'{wrong[0]}' is not NAME=VALUE")
    if sxp and dialect not in ("auto", "sxp"):
        raise click.UsageError(f"-F is for SXP files, and --dialect {dialect} for others")
    sxp = sxp or dialect == "sxp"
    if sxp and variables:
        raise click.UsageError("variables are for scripts; an SXP file has none")
    account = account_of(file, variables, dialect="sxp" if sxp else dialect)
    if as_json:
        print_json(_document(account))
    else:
        for note in account.notes:
            click.echo(printable(note.text()))
        click.echo(printable(_summary(account)))
    return 0 if account.refusal is None else 1


def account_of(file: str, variables: Sequence[str] = (), *, dialect: str = "auto") -> Account:
    """Read FILE and translate it. Raises ConfigError for what cannot be read at all; no password is in what it says.

    Every name that the file sets has a note from its reading; more of them tell what depends on its value.
    """
    from xmcompat.config.load import find_config, read_file
    from xmcompat.config.words import for_any_tool
    from xmcompat.tool.redaction import is_secret, redactor

    words = for_any_tool(variables)
    path = find_config(file)
    data = read_file(path)
    redact = redactor(data, [text for name, text in words.texts if is_secret(name)])
    try:
        document = _read(data, path, words, dialect)
    except XmError as error:
        raise _placed(redact.error(error)) from None
    guest = document.guest
    notes, refusal = _translated(guest)
    missing = _missing(guest)
    told = (_absent(note) if note.key in missing else note for note in joined(document.notes, notes))
    return Account(guest.name, guest.source, tuple(map(redact.note, told)), redact(refusal) if refusal else None)


def _placed(error: XmError) -> XmError:
    """ERROR with its file and line in what it says."""
    if isinstance(error, ConfigError) and error.path and error.path not in error.message:
        place = f"{error.path}:{error.line_number}" if error.line_number else error.path
        error.message = f"{place}: {error.message}"
    return error


def _read(data: bytes, path: str, words: Words, dialect: str) -> Document:
    """The one guest of a file. Raises ConfigError."""
    from xmcompat.config.detect import recognise
    from xmcompat.config.read import offline_host, read

    if not data.strip() and not words.texts:
        raise ConfigError("it is empty", path=path)
    asked = None if dialect == "auto" else Dialect(dialect)
    found = recognise(data)
    if words.texts and (asked or found.dialect) is Dialect.SXP:
        raise UnsupportedConfig("this is an SXP file, which has no variables", path=path)
    documents = read(data, path, dialect=asked, words=words, host=offline_host())
    if len(documents) > 1:
        raise UnsupportedConfig(f"there are {len(documents)} forms; give each guest a file of its own", path=path)
    if asked is Dialect.XM and found == (Dialect.XL, True):
        note = Note(
            key="(file)", fate=Fate.APPROXIMATED, reason="it looks like a file of xl, which reads it otherwise", path=path,
            suggestion="leave --dialect out",
        )  # fmt: skip
        return replace(documents[0], notes=(*documents[0].notes, note))
    return documents[0]


def _translated(guest: GuestConfig) -> tuple[tuple[Note, ...], str | None]:
    """The notes of the translation for a host with KVM and all the guest's bridges, or why there is none.

    What becomes of a key must not depend on where the question is asked.
    """
    from dataclasses import replace

    from xmcompat.errors import DeviceError
    from xmcompat.guest_kernels import FOLDER
    from xmcompat.tool.convert_facts import facts_for
    from xmcompat.tool.convert_write import derived_macs, with_whole_paths
    from xmcompat.translate.machine import translate

    whole, notes = with_whole_paths(guest)
    try:
        facts = replace(facts_for(whole, {}), boot_folder=FOLDER)
        return (*translate(whole, facts, macs=derived_macs(whole)[0]).notes, *notes), None
    except (NotConvertible, DeviceError) as error:
        return (), error.line()


def _missing(guest: GuestConfig) -> frozenset[str]:
    """The keys whose files to boot from are not on this host, which need not be the one for the guest."""
    boot = guest.boot
    paths = {"kernel": boot.kernel, "ramdisk": boot.ramdisk} if isinstance(boot, KernelBoot) else {}
    return frozenset(key for key, path in paths.items() if path and ("\0" in path or not os.path.isfile(path)))


def _absent(note: Note) -> Note:
    reason = "; ".join(filter(None, (note.reason, "there is no such file on this host")))
    return replace(note, reason=reason, suggestion=note.suggestion or "xm create needs it where the guest is to run")


def _summary(account: Account) -> str:
    counts = Counter(note.fate for note in account.notes)
    parts = [f"{counts[fate]} {fate.value}" for fate in Fate if counts[fate]]
    verdict = "can be started" if account.refusal is None else f"cannot be started: {account.refusal}"
    return f"{account.name}: {', '.join(parts) or 'nothing set'}; {verdict}"


def _document(account: Account) -> dict[str, object]:
    return {
        "name": account.name,
        "source": account.source,
        "startable": account.refusal is None,
        "refusal": account.refusal,
        "keys": [
            {
                "key": note.key, "value": note.value or None, "line": note.line, "fate": note.fate.value,
                "reason": note.reason or None, "suggestion": note.suggestion or None, "harmless": note.harmless,
            }
            for note in account.notes
        ],
    }
