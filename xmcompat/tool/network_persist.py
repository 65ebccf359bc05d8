"""``xmcompat network persist``: the host's own configuration, so that a reboot brings the networks that are up now."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from xmcompat.tool.output import printable

if TYPE_CHECKING:
    from xmcompat.network.configured import Facts
    from xmcompat.network.host import Host
    from xmcompat.network.persist import Change
    from xmcompat.network.wanted import Network

_SYSTEMS = ("systemd-networkd", "ifupdown", "NetworkManager")

#: Values that nobody may read over an operator's shoulder: keys of wireless networks and their like.
_SECRET = re.compile(r"((?:psk|pass\w*|secret|wep\S*key\d*|private-key\S*)[\s=]+)\S.*", re.IGNORECASE)


@click.command("persist")
@click.option("--dry-run", is_flag=True, help="Show the files and what changes in them; change nothing.")
@click.option("--forget", is_flag=True, help="Take away what persist has written.")
@click.option("--system", type=click.Choice(_SYSTEMS), help="What configures this host, where it cannot be told.")
def persist(dry_run: bool, forget: bool, system: str | None) -> None:
    """Write the host's own configuration, so that a reboot brings the networks that are up now.

    For systemd-networkd, ifupdown or NetworkManager, whichever configures the cards. The networks of now do not change.
    All files are written, or none.
    """
    from xmcompat.network.lock import locked
    from xmcompat.network.persist import changed_since, forgotten
    from xmcompat.network.persist_files import apply, read_facts
    from xmcompat.network.programs import NetworkError

    if os.geteuid() != 0:
        raise NetworkError("the host's networks are root's to see and to change", hint="run this as root")
    if forget and system:
        raise click.UsageError("--forget takes away all that was written: it needs no --system")
    with locked():
        facts = read_facts()
        changes: Sequence[Change]
        notes: Sequence[str]
        if forget:
            changes, notes = forgotten(facts), ()
            for path, (before, after) in changed_since(facts).items():
                click.echo(printable(f"{path} has been changed since by others; that is kept:"))
                _print(_diff(path, before, after))
        else:
            changes, notes = _written(facts, system)
        for change in changes:
            _print(_shown(change))
        for note in notes if changes else ():
            click.echo(printable(f"Note: {note}."), err=True)
        if not dry_run:
            apply(changes)
    click.echo(_said(changes, dry_run=dry_run, forget=forget))


def _written(facts: Facts, asked: str | None) -> tuple[Sequence[Change], Sequence[str]]:
    from xmcompat.network.host import read
    from xmcompat.network.persist import System, changes, system_of, writing

    host = read()
    wanted = _up(host)
    made = writing(wanted, host, facts, system_of(wanted, host, facts, System(asked) if asked else None))
    return changes(made, facts), made.notes


def _up(host: Host) -> list[Network]:
    """The networks that are ours, all of them whole. Raises NetworkError."""
    from xmcompat.network import trial
    from xmcompat.network.found import UP
    from xmcompat.network.plans import found, name_of
    from xmcompat.network.programs import NetworkError

    ours = found(host)
    if not ours:
        raise NetworkError("no network has been made here", hint="'xmcompat network up' makes them; --forget forgets them")
    if tried := trial.names(host):
        raise NetworkError(f"nobody has confirmed {', '.join(tried)} yet", hint="type 'xmcompat network confirm' first")
    if halves := [name_of(one.wanted) for one in ours if one.state != UP]:
        raise NetworkError(f"{', '.join(halves)} is half made", hint="'xmcompat network up' mends it")
    return [one.wanted for one in ours]


def _said(changes: Sequence[Change], *, dry_run: bool, forget: bool) -> str:
    if not changes:
        return "Nothing is to be done."
    if dry_run:
        return "Nothing is changed."
    return "A reboot brings the host as it was." if forget else "A reboot brings the networks of now."


def _shown(change: Change) -> Iterator[str]:
    """What becomes of a file, and the difference where it says anything new."""
    from xmcompat.network.configured import KEPT

    verb = "write" if change.before is None else "remove" if change.after is None else "change"
    yield f"{verb} {change.path}"
    if change.after is not None and not change.path.startswith(f"{KEPT}/"):
        yield from _diff(change.path, change.before or "", change.after)


def _diff(path: str, before: str, after: str) -> Iterator[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), path, path, lineterm="", n=2)
    for number, line in enumerate(lines):
        if number > 1:                   # behind the two lines with the path
            yield "  " + _SECRET.sub(r"\1...", line)


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(printable(line))
