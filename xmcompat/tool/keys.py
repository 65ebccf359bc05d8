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
@click.option("--markdown", is_flag=True, help="Print a table for a document.")
def keys(names: tuple[str, ...], as_json: bool, markdown: bool) -> None:
    """Show what becomes of each KEY of a guest configuration; of all of them if none is named."""
    from xmcompat.config.keys import KEYS

    if as_json and markdown:
        raise click.UsageError("--json and --markdown are two forms; choose one")
    rows = named(KEYS, names)
    if as_json:
        print_json([_document(key) for key in rows])
        return
    if markdown:
        click.echo(markdown_table(rows))
        return
    width = max(len(key.name) for key in rows)
    for key in rows:
        click.echo(printable(f"{key.name:<{width}}  {key.type.value:<12}  {_dialects(key):<5}  {_account(key)}"))


def markdown_table(rows: Sequence[Key]) -> str:
    """A line for each key: name, tools, type, defaults, meaning, what becomes of it."""
    lines = ["| key | tools | type | default | meaning | on KVM |", "| --- | --- | --- | --- | --- | --- |"]
    for key in rows:
        fate = "; ".join(filter(None, (key.fate.value, key.reason, key.suggestion)))
        cells = (f"`{key.name}`", _dialects(key), key.type.value, _defaults(key), key.meaning, fate)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _defaults(key: Key) -> str:
    """The tools' defaults; one where both have the same, none where the tool leaves the key unset."""
    given = {name: value for name, value in (("xm", key.xm_default), ("xl", key.xl_default)) if value is not None}
    if len(key.dialects) == len(given) and len(set(map(repr, given.values()))) == 1:
        return f"`{next(iter(given.values()))!r}`"
    return ", ".join(f"{name}: `{value!r}`" for name, value in given.items())


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
