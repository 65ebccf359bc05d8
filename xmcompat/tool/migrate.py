"""``xmcompat migrate``: certificates for hosts between which guests move, the receiving end over ssh, and a look before."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from xmcompat.tool.output import print_json, printable

if TYPE_CHECKING:
    from xmcompat.enrolment import Done
    from xmcompat.migration.certificate_files import Places
    from xmcompat.migration.settings import MigrationSettings


@click.group("migrate")
def migrate() -> None:
    """Moving guests to other hosts: setup, check. 'xm migrate' and 'xmcompat evacuate' move them."""


@migrate.command("setup")
@click.argument("hosts", nargs=-1, metavar="HOST...")
@click.option("--renew", is_flag=True, help="Make a new authority; hosts that are not named are left out.")
@click.option("--undo", is_flag=True, help="Take it all away on these hosts, or on this one where none is named.")
def setup(hosts: tuple[str, ...], renew: bool, undo: bool) -> None:
    """Have this host and HOSTs believe each other: certificates for both ends, over ssh.

    Type it on one host for all of them. Private keys are made where they stay. May be repeated.
    """
    from xmcompat import enrolment

    if undo and renew:
        raise click.UsageError("--undo and --renew do not go together.")
    if not hosts and not undo:
        raise click.UsageError("Name at least one other host.")
    settings = _settings(os.environ)
    places = _places(settings)
    if undo:
        done = enrolment.undo(hosts, places, settings.ssh)
    else:
        done = enrolment.setup(hosts, places, settings.ssh, expects=settings.address, renew=renew)
    for one in done:
        _tell(one, undo=undo)
    if not undo:
        click.echo("To let guests come by TLS, have xend-config.sxp of each host say (xend-relocation-ssl-server yes), and")
        click.echo(f"(xend-relocation-hosts-allow '{_pattern(done)}'); then type 'xend reload' there.")


def _tell(done: Done, *, undo: bool) -> None:
    """What was done to one host."""
    host = printable(done.host or "this host")
    outcome = done.outcome
    if undo:
        click.echo(f"{host}: {len(outcome.written)} files are removed")
    elif outcome.written:
        click.echo(f"{host}: has certificates for {printable(', '.join(done.names))}")
    else:
        click.echo(f"{host}: has what it needs")
    for path in outcome.left:
        click.echo(f"Warning: {host}: {printable(path)} is somebody else's, and stays as it is", err=True)
    if outcome.restart and not undo:
        click.echo(f"Warning: {host}: restart libvirtd there, so that QEMU finds its certificates; guests run on", err=True)


def _pattern(done: tuple[Done, ...]) -> str:
    """These hosts, as xend-relocation-hosts-allow names them."""
    names = [one.names[0] for one in done if one.names]
    return " ".join(f"^{printable(name).replace('.', '[.]')}$" for name in names)


@migrate.command("enrol", hidden=True)
def enrol() -> None:
    """The other end of 'setup'."""
    from xmcompat import enrolled

    settings = _settings(os.environ)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with out:
        enrolled.answer(sys.stdin.buffer, out, _places(settings), settings.address)


@migrate.command("receive", hidden=True)
def receive() -> None:
    """The other end of 'xm migrate' over ssh."""
    from xmcompat.tool.receive import receive as received

    received()


@migrate.command("check")
@click.argument("domain", metavar="DOMAIN")
@click.argument("host", metavar="HOST")
@click.option("-p", "--port", type=click.IntRange(1, 65535), metavar="PORT", help="The port of the other host's xend.")
@click.option("--with-disks", is_flag=True, help="As if disks that HOST does not see were to be copied.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
def check(domain: str, host: str, port: int | None, with_disks: bool, as_json: bool) -> int:
    """Say all that stands in the way of moving DOMAIN to HOST, and what to do. Nothing is changed.

    Exits with 1 where something does.
    """
    from xmcompat.migrating import Request
    from xmcompat.migration.json_form import to_json
    from xmcompat.toolstack import Toolstack

    with Toolstack.open() as toolstack:
        found = toolstack.migrating.check(domain, Request(host=host, live=True, port=port, with_disks=with_disks))
    stops = any(one.stops for one in found)
    if as_json:
        documents = [_document(to_json(one)) for one in found]
        print_json({"domain": domain, "host": host, "moves": not stops, "findings": documents})
        return int(stops)
    for one in found:
        click.echo(printable(f"{'stops' if one.stops else 'note '}  {one.line()}"))
    if not stops:
        click.echo(printable(f"'{domain}' can move to {host}."))
    return int(stops)


def _document(finding: Mapping[str, object]) -> dict[str, object]:
    return {"stops": False, "what": "", "do": "", **finding}


def _settings(environ: Mapping[str, str]) -> MigrationSettings:
    """Raises ConfigError."""
    from xmcompat.backends.settings import read
    from xmcompat.migration import settings

    return settings.read(read(environ).migration, environ.get("XMCOMPAT_CONFIG") or "xmcompat.toml")


def _places(settings: MigrationSettings) -> Places:
    from xmcompat.migration.certificate_files import Places

    return Places(settings.certificates, settings.pki)
