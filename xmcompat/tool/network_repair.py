"""``xmcompat network repair``: the interfaces of guests that run, where something else than xm has started them."""

from __future__ import annotations

import click

from xmcompat.tool.output import printable


@click.command("repair")
def repair() -> int:
    """Set up what is missing of the interfaces of guests that run: filters, limits, routes, names.

    Those that virsh has started have none of it; xend does this by itself. What guests that are gone have left is
    removed. Exits 1 where an interface could not be set up.
    """
    from xmcompat.connecting import is_ours
    from xmcompat.errors import OperationError
    from xmcompat.toolstack import Toolstack
    from xmcompat.vif_repair import repair_all

    with Toolstack.open() as toolstack:
        if not is_ours(toolstack.hypervisor):
            raise OperationError("interfaces can only be set up by root, on the host that runs the guests")
        repaired = repair_all(toolstack.hypervisor)
    for line in repaired.failed:
        click.echo(printable(line), err=True)
    for line in repaired.done:
        click.echo(printable(line))
    return 1 if repaired.failed else 0
