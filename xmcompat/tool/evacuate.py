"""``xmcompat evacuate``: all guests of a host to other hosts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from xmcompat.errors import OperationError
from xmcompat.tool.output import print_json, printable

if TYPE_CHECKING:
    from xmcompat.backends.migration import Progress
    from xmcompat.evacuation import Evacuating
    from xmcompat.moving_many import Arrival, Trip


@click.command("evacuate")
@click.argument("host", metavar="HOST")
@click.option("--to", "targets", multiple=True, metavar="HOST", help="Where they may go; may be given again.")
@click.option("--plan", "only_plan", is_flag=True, help="Show where each goes, and move none.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--parallel", type=click.IntRange(1, 64), default=2, metavar="N", help="How many move at a time (2).")
@click.option("--bandwidth", type=click.IntRange(1), metavar="MIB", help="The most that all of them take, in MiB/s.")
@click.option("--cold", is_flag=True, help="Stop each guest while it is moved.")
@click.option("--tied", is_flag=True, help="Say on both streams that it begins, and give up once stdin ends.")
@click.pass_context
def evacuate(
    context: click.Context, host: str, targets: tuple[str, ...], only_plan: bool, as_json: bool, parallel: int,
    bandwidth: int | None, cold: bool, tied: bool,
) -> None:  # fmt: skip
    """Move every guest of HOST to other hosts, a few at a time, within their memory and the bandwidth that is given.

    HOST may be this one, "localhost", or one that ssh reaches. Started again, it goes on with those that are left.
    """
    from xmcompat.backends.settings import read as read_settings
    from xmcompat.migration import settings
    from xmcompat.moving import is_this_host
    from xmcompat.tool import evacuate_far
    from xmcompat.xm.signals import Ended

    if tied:
        evacuate_far.tie()
    chosen = settings.read(read_settings().migration, "xmcompat.toml")
    try:
        if is_this_host(host):
            hosts, most = targets or chosen.hosts, bandwidth or chosen.bandwidth
            status = _evacuated(hosts, only_plan, as_json, parallel, most, live=not cold)
        else:
            options = _options(targets, only_plan, as_json, parallel, bandwidth, cold)
            status = evacuate_far.evacuate_on(host, options, chosen.ssh, chosen.silence)
    except Ended as ended:
        raise SystemExit(128 + ended.number) from None
    context.exit(status)


def _options(
    targets: tuple[str, ...], only_plan: bool, as_json: bool, parallel: int, bandwidth: int | None, cold: bool
) -> list[str]:
    flags = (("--plan", only_plan), ("--json", as_json), ("--cold", cold))
    words = [word for word, given in flags if given]
    words += ["--parallel", str(parallel), *(("--bandwidth", str(bandwidth)) if bandwidth else ())]
    return words + [word for target in targets for word in ("--to", target)]


def _evacuated(
    targets: tuple[str, ...], only_plan: bool, as_json: bool, parallel: int, bandwidth: int | None, *, live: bool
) -> int:
    from xmcompat.evacuation import Evacuation
    from xmcompat.migrating import Request
    from xmcompat.migration.fleet import Budget
    from xmcompat.toolstack import Toolstack
    from xmcompat.xm import signals

    if not targets:
        raise OperationError(
            "no host is given to which guests could go", hint='give --to HOST, or write hosts = ["..."] below [migration]'
        )
    arrivals: list[Arrival] = []
    with Toolstack.open() as toolstack, signals.raised():
        budget = Budget(parallel=parallel, bandwidth=bandwidth)
        evacuation = Evacuation(toolstack, targets, Request(host="", live=live), budget)
        evacuating = evacuation.plan()
        if not as_json:
            _show(evacuating)
        if not only_plan:
            lines = _Lines(len(evacuating.plan.moves), quiet=as_json)

            def done(arrival: Arrival) -> None:
                arrivals.append(arrival)
                lines.done(arrival)

            try:
                evacuation.run(evacuating, done, lines.look)
            finally:
                lines.clear()
    if as_json:
        print_json(_document(evacuating, arrivals, only_plan=only_plan))
    return 1 if evacuating.plan.stays or any(one.error for one in arrivals) else 0


def _show(evacuating: Evacuating) -> None:
    for move in evacuating.plan.moves:
        click.echo(printable(f"{move.guest.name} -> {move.host}"))
    for stay in evacuating.plan.stays:
        click.echo(printable(f"{stay.guest.name} stays: {stay.why}"))
    for name in evacuating.off:
        click.echo(printable(f"{name} is off, and stays known here"))


def _document(evacuating: Evacuating, arrivals: list[Arrival], *, only_plan: bool) -> dict[str, object]:
    document: dict[str, object] = {
        "moves": [
            {"name": one.guest.name, "uuid": one.guest.uuid, "memory": one.guest.memory, "host": one.host}
            for one in evacuating.plan.moves
        ],
        "stays": [{"name": one.guest.name, "uuid": one.guest.uuid, "why": one.why} for one in evacuating.plan.stays],
        "off": list(evacuating.off),
    }
    if not only_plan:
        document["moved"] = [
            {"name": one.trip.info.name, "host": one.trip.request.host, "seconds": round(one.seconds, 3),
             "error": one.error or None, "notes": list(one.notes)}
            for one in arrivals
        ]  # fmt: skip
    return document


class _Lines:
    """A line for each guest that has arrived or not; on a terminal one more, written over, of those that are under way."""

    def __init__(self, number: int, *, quiet: bool) -> None:
        self._number = number
        self._quiet = quiet
        self._over = 0
        self._shown = 0

    def done(self, arrival: Arrival) -> None:
        self._over += 1
        self.clear()
        if self._quiet:
            return
        name, host = arrival.trip.info.name, arrival.trip.request.host
        for note in arrival.notes:
            click.echo(printable(f"Warning: {name}: {note}"), err=True)
        if arrival.error:
            click.echo(printable(f"Error: {name}: {arrival.error}"), err=True)
        else:
            click.echo(printable(f"{name} is on {host}, after {arrival.seconds:.1f} s"))

    def look(self, under_way: list[tuple[Trip, Progress | None]]) -> None:
        if self._quiet or not sys.stderr.isatty():
            return
        from xmcompat.render.migration import percent

        parts = [f"{trip.info.name} {percent(progress)} %" for trip, progress in under_way if progress is not None]
        text = printable(f"{self._over} of {self._number} over; {', '.join(parts)}")[:78]
        click.echo(f"\r{text}{' ' * (self._shown - len(text))}", nl=False, err=True)
        self._shown = len(text)

    def clear(self) -> None:
        """May be repeated."""
        if self._shown:
            click.echo(f"\r{' ' * self._shown}\r", nl=False, err=True)
            self._shown = 0

