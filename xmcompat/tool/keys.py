"""``xmcompat keys``: the table of every key of Xen's guest configurations, and what becomes of each."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import click

from xmcompat.errors import XmError
from xmcompat.tool.output import print_json, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xmcompat.config.keys import Key


@click.command("keys")
@click.argument("names", nargs=-1, metavar="[KEY]...")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
def keys(names: tuple[str, ...], as_json: bool) -> None:
    """Show what becomes of each KEY of a guest configuration; of all of them if none is named."""
    from xmcompat.config.keys import KEYS

    rows = named(KEYS, names)
    if as_json:
        print_json([_document(key) for key in rows])
        return
    width = max(len(key.name) for key in rows)
    for key in rows:
        click.echo(printable(f"{key.name:<{width}}  {key.type.value:<12}  {_dialects(key):<5}  {_account(key)}"))


def _account(key: Key) -> str:
    """Its meaning, what becomes of it, and why."""
    return "; ".join(filter(None, (f"{key.meaning}: {key.fate.value}", key.reason, key.suggestion)))


def _dialects(key: Key) -> str:
    return ",".join(sorted(dialect.value for dialect in key.dialects))


def _document(key: Key) -> dict[str, object]:
    return {
        "name": key.name,
        "type": key.type.value,
        "dialects": sorted(dialect.value for dialect in key.dialects),
        "meaning": key.meaning,
        "fate": key.fate.value,
        "reason": key.reason or None,
        "suggestion": key.suggestion or None,
        "harmless": key.harmless,
        "defaults": {"xm": key.xm_default, "xl": key.xl_default},
    }


def named(table: Mapping[str, Key], names: Sequence[str]) -> list[Key]:
    """The keys of these NAMES in their order, all by name if there are none. Raises XmError for an unknown one."""
    for name in names:
        if name not in table:
            raise XmError(f"no Xen tool knows the key '{name}'", hint=similar(table, name))
    return [table[name] for name in names or sorted(table)]


def similar(table: Mapping[str, Key], name: str) -> str | None:
    """A hint with the names most like NAME."""
    close = difflib.get_close_matches(name.lower(), table, n=3, cutoff=0.6)
    return f"similar: {', '.join(close)}" if close else "xmcompat keys lists all"
