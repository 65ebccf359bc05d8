"""``xmcompat explain``: one guest configuration, and what becomes of every key in it. No hypervisor is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from xmcompat.errors import NotConvertible
from xmcompat.notes import Fate, Note, joined
from xmcompat.tool.output import print_json, printable

if TYPE_CHECKING:
    from xmcompat.config.load import Loaded
    from xmcompat.guest import GuestConfig


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
    """Read the guest configuration FILE as xm create would, and show what becomes of every key in it.

    A file that is beyond doubt xl's is read as xl's. NAME=VALUE sets a variable as on xm's command line. FILE is looked
    for here and in /etc/xen. Exits 1 where the guest cannot be started on KVM.
    """
    wrong = [word for word in variables if "=" not in word]
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
    """Read FILE and translate it. Raises ConfigError for what cannot be read at all.

    Every name that the file sets has a note from its reading; more of them tell what depends on its value.
    """
    loaded = _load(file, variables, dialect)
    guest = loaded.guest
    notes, refusal = _translated(guest)
    return Account(guest.name, guest.source, joined(loaded.notes, notes), refusal)


def _load(file: str, variables: Sequence[str], dialect: str) -> Loaded:
    from xmcompat.config import load
    from xmcompat.config.detect import recognise
    from xmcompat.guest import Dialect

    if dialect == "sxp":
        return load.load_sxp(file)
    path, data = load.find_config(file), None
    if dialect == "auto":
        data = load.read_file(path)
        found = recognise(data).dialect
        if found is Dialect.SXP and not variables:
            return load.load_sxp(path, data=data)
        dialect = found.value
    reader = load.load_xl if dialect == "xl" else load.load
    return reader(path, words=variables, data=data)


def _translated(guest: GuestConfig) -> tuple[tuple[Note, ...], str | None]:
    """The notes of the translation for a host with KVM and all the guest's bridges, or why there is none.

    What becomes of a key must not depend on where the question is asked.
    """
    from xmcompat.errors import DeviceError
    from xmcompat.tool.convert_facts import facts_for
    from xmcompat.tool.convert_write import derived_macs
    from xmcompat.translate.machine import translate

    try:
        return translate(guest, facts_for(guest, {}), macs=derived_macs(guest)[0]).notes, None
    except (NotConvertible, DeviceError) as error:
        return (), error.line()


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
