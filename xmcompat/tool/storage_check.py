"""``xmcompat storage check``: what guests of two hosts could write to at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xmcompat.tool.output import print_json, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xmcompat.storage.lockspace import Finding, Manager

_NAMES = {"": "off", "lockd": "lockd", "sanlock": "sanlock"}


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
def check(as_json: bool) -> int:
    """Say which disks of this host's guests a guest of another host could write to at the same time, and what to set.

    Exits 1 where there are any, and where what is set is not in force.
    """
    from xmcompat.storage import lockspace
    from xmcompat.tool.storage_words import uses

    manager = lockspace.manager()
    disks = [lockspace.Disk(one.domain, one.path, one.readonly, one.shareable, one.direct) for one in uses()]
    findings, deaf = lockspace.look(disks, manager), lockspace.is_deaf(manager)
    unread = lockspace.is_unread()
    if as_json:
        answers = None if manager.kind != "lockd" else not deaf
        told: dict[str, object] = {**manager._asdict(), "answers": answers, "read": not unread}
        print_json({"lock_manager": told, "disks": [one._asdict() for one in findings]})
    else:
        _print(manager, findings, deaf=deaf, unread=unread)
    return 1 if findings or deaf or unread else 0


def _print(manager: Manager, findings: Sequence[Finding], *, deaf: bool, unread: bool) -> None:
    from xmcompat.storage.lockspace import SOCKET

    click.echo(f"libvirt's lock manager: {_NAMES.get(manager.kind, printable(manager.kind))}")
    if deaf:
        click.echo(f"virtlockd does not listen at {SOCKET}, and no guest starts without it\n  start virtlockd.socket")
    if unread:
        click.echo("libvirt was started before its settings were changed, and has not read them\n  restart libvirtd")
    for one in findings:
        click.echo(printable(f"{one.domain}: {one.path}: {one.why}"))
        click.echo(f"  {one.hint}")
    if not findings:
        click.echo("No disk of a guest could be written to by a guest of another host at the same time.")
