"""``xmcompat network``: the networks of this host, as xend-config.sxp and xmcompat.toml ask for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import click

from xmcompat.tool.network_persist import persist
from xmcompat.tool.network_repair import repair
from xmcompat.tool.output import print_json, printable

if TYPE_CHECKING:
    from xmcompat.network.host import Host
    from xmcompat.network.plans import Plan
    from xmcompat.render.network_values import Picture

    Remarks = tuple[tuple[str, bool], ...]

#: What ``status`` exits with where nothing is ours.
NOTHING = 3
_CONFIRM_SECONDS = 60

_json = click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
_html = click.option("--html", metavar="FILE", help="Write a page with a drawing to FILE, - for stdout.")
_confirm = click.option(
    "--confirm", metavar="SECONDS", is_flag=False, flag_value=str(_CONFIRM_SECONDS), type=click.IntRange(1, 86400),
    help=f"Take it back unless it is confirmed in so many seconds, {_CONFIRM_SECONDS} without a number.",
)  # fmt: skip


@click.group("network")
def network() -> None:
    """Make and show this host's networks: plan, up, down, status, check, show, confirm."""


network.add_command(persist)
network.add_command(repair)


@network.command("plan")
@click.option("--down", is_flag=True, help="What 'down' would do.")
@_json
@_html
def plan(down: bool, as_json: bool, html: str | None) -> None:
    """Show what 'up' would do, step by step, and what changes. Nothing is changed.

    Links, addresses, routes, settings and rules are shown with what goes (-) and what comes (+).
    """
    from xmcompat.network import listing
    from xmcompat.network.changes import danger, session_address
    from xmcompat.network.plans import plan_down
    from xmcompat.render.network_text import plan_document, plan_lines
    from xmcompat.tool.network_view import plan_view

    host = _read()
    remarks: Remarks = ()
    if down:
        made = plan_down(host)
    else:
        made, remarks = _planned(host)
    why = danger(made, host, session_address(os.environ))
    view = plan_view(made, remarks, why, rules=listing.read(), down=down)
    if html is not None:
        from xmcompat.render.network_html import page

        _write(html, page(_picture(made.after), view))
    elif as_json:
        print_json(plan_document(view))
    else:
        _print(plan_lines(view))


@network.command("up")
@_confirm
def up(confirm: int | None) -> None:
    """Make the networks that are not there yet: all, or none where one step fails.

    A change of the device that carries the default route, or your ssh session, needs --confirm: it comes back by itself
    unless you type yes in time, or 'xmcompat network confirm' elsewhere.
    """
    said: list[Remarks] = []

    def planner(host: Host) -> Plan:
        made, remarks = _planned(host)
        said.append(remarks)
        return made

    done = _carry_out(planner, confirm)
    for text, warns in said[0]:
        if warns:
            click.echo(printable(f"Warning: {text}"), err=True)
    if not done.steps:
        click.echo("Nothing is to be done." if done.parts else "No network is asked for.")
    _complain(done)


@network.command("down")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--force", is_flag=True, help="Also where guests are on them, who then are on no network.")
@_confirm
def down(names: tuple[str, ...], force: bool, confirm: int | None) -> None:
    """Take away the networks that xmcompat has made, or those of these NAMES, and nothing else.

    All is then as it was before they were made. The same changes need --confirm as with 'up'.
    """
    from xmcompat import vif_steps
    from xmcompat.network.plans import plan_down

    def planner(host: Host) -> Plan:
        if not force:
            _refuse_guests(host, names)
        return plan_down(host, names, force=force)

    done = _carry_out(planner, confirm)
    vif_steps.tidy()
    if not done.parts:
        click.echo("No network has been made here.")


@network.command("status")
@_json
def status(as_json: bool) -> int:
    """Show which networks xmcompat has made, their guests, and what is not as it was made.

    Exits 0 where all is well, 1 where something is not, 3 where there is none.
    """
    from xmcompat.network import lock, trial
    from xmcompat.network.plans import complaints, found
    from xmcompat.render.network_text import state_document, state_lines
    from xmcompat.tool.network_guests import guests
    from xmcompat.tool.network_view import states

    host = _read()
    ours = found(host)
    rows = states(ours, host, complaints(host), trial.names(host), guests() if ours else ())
    pid, word = lock.holder()
    busy = f"Process {pid} is changing the networks{', on trial' if word == lock.TRIAL else ''}." if pid else ""
    if as_json:
        print_json({"networks": state_document(rows), "changing": pid or None})
    else:
        _print(state_lines(rows, busy))
    well = all(row.state == "up" and not row.wrong for row in rows)
    return NOTHING if not rows else 0 if well else 1


@network.command("check")
@_json
def check(as_json: bool) -> int:
    """Say what on this host drops guests' packets or bends their way, whoever made it, and what helps.

    Exits 1 where packets are dropped, or may be.
    """
    from xmcompat.network.check import ODD, lines, look
    from xmcompat.tool.network_guests import ports

    _be_root()
    findings = look(ports())
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        _print(lines(findings))
        if not findings:
            click.echo("Nothing is in the way of guests' packets.")
    return 1 if any(finding.severity != ODD for finding in findings) else 0


@network.command("show")
@_json
@_html
def show(as_json: bool, html: str | None) -> None:
    """Show all bridges with their cards, addresses and guests; with --html as a drawing for a browser."""
    from xmcompat.render.network_text import picture_document, picture_lines

    picture = _picture(_read())
    if html is not None:
        from xmcompat.render.network_html import page

        _write(html, page(picture))
    elif as_json:
        print_json(picture_document(picture))
    else:
        _print(picture_lines(picture))


@network.command("confirm")
@click.option("--no", "refuse", is_flag=True, help="Take the change back now.")
def confirm(refuse: bool) -> None:
    """Keep the change that waits for a confirmation, in this or another login."""
    from xmcompat.network import watchdog
    from xmcompat.network.programs import NetworkError

    _be_root()
    if left := watchdog.answer(watchdog.NO if refuse else watchdog.YES):
        raise NetworkError("not all could be done", hint=f"type {left}" if refuse else left)
    click.echo("The change is taken back." if refuse else "The change is kept.")


# -- what the commands share


def _read() -> Host:
    """The host as it is. Raises NetworkError."""
    from xmcompat.network.host import read

    _be_root()
    return read()


def _be_root() -> None:
    """Raises NetworkError for an ordinary user, whom nft tells nothing."""
    from xmcompat.network.programs import NetworkError

    if os.geteuid() != 0:
        raise NetworkError("the host's networks are root's to see and to change", hint="run this as root")


def _planned(host: Host) -> tuple[Plan, Remarks]:
    """What the files ask of HOST. Raises ConfigError and NetworkError."""
    from xmcompat.network import rules_read
    from xmcompat.network.changes import cautions
    from xmcompat.network.plans import plan_up
    from xmcompat.xend.config_file import read_config_file
    from xmcompat.xend.network_files import Files

    topology = Files(read_config_file()).topology(host)
    rules = rules_read.read() if topology.wanted else None
    made = plan_up(topology.wanted, host, ruleset=rules)
    return made, (*topology.remarks, *((text, True) for text in cautions(made)))


def _carry_out(planner: Callable[[Host], Plan], seconds: int | None) -> Plan:
    from xmcompat.network.changes import attended, session_address

    def say(text: str) -> None:
        click.echo(printable(text), err=True)

    _be_root()
    return attended(planner, say, seconds=seconds, session=session_address(os.environ))


def _refuse_guests(host: Host, names: Sequence[str]) -> None:
    """Raises NetworkError where guests are on a network that is to go, with their names."""
    from xmcompat.network.plans import found, name_of, visitors
    from xmcompat.network.programs import NetworkError
    from xmcompat.tool.network_guests import guests

    for one in found(host):
        ports = visitors(one.wanted, host) if not names or name_of(one.wanted) in names else ()
        if ports:
            known = {guest.device: guest.name for guest in guests()}
            who = ", ".join(dict.fromkeys(known.get(port.name, port.name) for port in ports))
            raise NetworkError(
                f"guests are on '{name_of(one.wanted)}': {who}", hint="shut them down; --force takes it from them"
            )


def _complain(done: Plan) -> None:
    """Read back what was made; what is not as wanted goes to stderr."""
    from xmcompat.network.host import read
    from xmcompat.network.plans import modes

    if done.steps:
        host, table = read(), modes()
        for part in done.parts:
            for text in table[type(part.network)].verify(part.network, host):
                click.echo(printable(f"Warning: {text}"), err=True)


def _picture(host: Host) -> Picture:
    import socket

    from xmcompat.network.plans import found
    from xmcompat.tool.network_guests import guests
    from xmcompat.tool.network_view import picture

    return picture(socket.gethostname(), host, found(host), guests())


def _write(path: str, text: str) -> None:
    if path == "-":
        click.echo(text, nl=False)
        return
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(printable(line))
