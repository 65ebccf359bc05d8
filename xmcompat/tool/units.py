"""``xmcompat units``: units of systemd for this host, with the paths of the programs that are installed here."""

from __future__ import annotations

import os
import sys

import click

from xmcompat.xend.units import UNITS, unit


@click.command("units")
@click.argument("name", type=click.Choice(tuple(UNITS)), metavar="|".join(UNITS))
def units(name: str) -> None:
    """Print the unit NAME: xmcompat units xend.service > /etc/systemd/system/xend.service"""
    click.echo(unit(name, programs_folder()), nl=False)


def programs_folder() -> str:
    """Where the programs are: beside this one, else beside the interpreter."""
    called = os.path.abspath(sys.argv[0])
    beside = os.path.dirname(called) if os.path.basename(called) == "xmcompat" else os.path.dirname(sys.executable)
    return beside
