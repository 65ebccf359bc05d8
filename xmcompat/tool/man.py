"""``xmcompat man``: the manual pages, made from the tables that the programs themselves read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from xmcompat import __version__

if TYPE_CHECKING:
    from xmcompat.render.man import Section

PAGES = ("xm", "xmcompat", "xmdomain.cfg")

_ENVIRONMENT = (
    ("XMCOMPAT_URI", "The hypervisor to talk to. Without it LIBVIRT_DEFAULT_URI, else qemu:///system."),
    ("XMCOMPAT_ACCELERATOR", "auto, kvm or tcg."),
    ("XMCOMPAT_CONFIG", "A file of settings in the place of /etc/xmcompat/xmcompat.toml."),
    ("XMCOMPAT_DEBUG", "With 1, a mistake in the program shows where it is."),
)


@click.command("man")
@click.argument("name", type=click.Choice(PAGES), metavar="|".join(PAGES))
def man(name: str) -> None:
    """Print the manual page NAME: xmcompat man xm | man -l -"""
    click.echo(page(name), nl=False)


def page(name: str) -> str:
    """The page NAME, one of PAGES, as troff."""
    from xmcompat.render import man as troff

    if name == "xm":
        return troff.page("xm", 1, "run and look after guests, as Xen's xm did, on KVM", __version__, _xm())
    if name == "xmcompat":
        return troff.page("xmcompat", 1, "configurations of Xen guests and this host", __version__, _xmcompat())
    return troff.page("xmdomain.cfg", 5, "the configuration file of xm create", __version__, _xmdomain())


def _xm() -> Iterator[Section]:
    from xmcompat.render.man import Section
    from xmcompat.xm import helptexts
    from xmcompat.xm.verbs import GROUPS, HELP

    yield Section(title="SYNOPSIS", paragraphs=["xm SUBCOMMAND [arguments]"])
    yield Section(title="DESCRIPTION", paragraphs=[
        helptexts.TAGLINE + " A domain is meant by its name, its id or its uuid.",
        "A beginning of a verb is enough where no other verb begins like it. Guests are ordinary domains of libvirt: "
        "virsh sees what xm starts, and the reverse.",
    ])  # fmt: skip
    verbs = [*(verb for group in GROUPS.values() for verb in group), HELP]
    yield Section(title="VERBS")
    for verb in (verb for verb in verbs if verb.run):
        texts = helptexts.OPTIONS.get(verb.name, {})
        yield Section(
            title=f"{verb.name} {verb.synopsis}".strip(), paragraphs=[helptexts.DESCRIPTIONS[verb.name]], sub=True,
            entries=[(option, texts[option]) for option in verb.options if option in texts],
        )  # fmt: skip
    waiting = [
        (verb.name, f"{helptexts.DESCRIPTIONS[verb.name]} Until then: {verb.instead}.") for verb in verbs if not verb.run
    ]
    if waiting:
        yield Section(title="VERBS THAT COME LATER", paragraphs=["Each says so, and exits with 1."], entries=waiting)
    yield Section(title="EXIT STATUS", entries=[
        ("0", "Done."), ("1", "Failed; one line on stderr says why."), ("3", "There is no such domain."),
    ])  # fmt: skip
    yield Section(title="ENVIRONMENT", entries=_ENVIRONMENT)
    yield Section(title="FILES", entries=[
        ("/etc/xen/NAME", "Configurations of guests, where they are not in the current folder."),
        ("/etc/xmcompat/xmcompat.toml", "Settings."),
    ])  # fmt: skip
    yield Section(title="SEE ALSO", paragraphs=["xmdomain.cfg(5), xmcompat(1), virsh(1)"])


def _xmcompat() -> Iterator[Section]:
    from xmcompat.render.man import Section
    from xmcompat.tool.main import program

    yield Section(title="SYNOPSIS", paragraphs=["xmcompat COMMAND [arguments]"])
    yield Section(title="DESCRIPTION", paragraphs=[str(program.help)])
    yield Section(title="COMMANDS")
    for name, command in sorted(program.commands.items()):
        with click.Context(command, info_name=name) as context:
            usage = " ".join(command.collect_usage_pieces(context))
            entries = [row for param in command.params if (row := param.get_help_record(context))]
        text = (command.help or "").split("\n\n")
        yield Section(title=f"{name} {usage}", paragraphs=text, entries=entries, sub=True)
    yield Section(title="EXIT STATUS", entries=[
        ("0", "Done."), ("1", "Failed, wholly or in part; each failure has one line on stderr."),
        ("2", "The command line was not understood."),
    ])  # fmt: skip
    yield Section(title="ENVIRONMENT", entries=_ENVIRONMENT)
    yield Section(title="SEE ALSO", paragraphs=["xm(1), xmdomain.cfg(5)"])


def _xmdomain() -> Iterator[Section]:
    from xmcompat.config.keys import KEYS
    from xmcompat.guest import Dialect
    from xmcompat.render.man import Section

    yield Section(title="DESCRIPTION", paragraphs=[
        "A configuration in xm's form is a script in a part of the language Python 2. It is evaluated within bounds and "
        "never executed. What it assigns to the names below counts; other names are the script's own.",
        "Each key ends in one of: carried over; approximated; no meaning on KVM; not supported yet; refused. "
        "xmcompat explain FILE tells which, for each line of a file.",
    ])  # fmt: skip
    for dialect, title in ((Dialect.XM, "KEYS OF XM"), (Dialect.XL, "KEYS OF XL ALONE")):
        keys = [key for key in KEYS.values() if dialect in key.dialects and (
            dialect is Dialect.XM or Dialect.XM not in key.dialects)]  # fmt: skip
        yield Section(title=title, entries=[
            (f"{key.name} ({key.type.value})",
             "; ".join(filter(None, (f"{key.meaning}: {key.fate.value}", key.reason, key.suggestion))) + ".")
            for key in sorted(keys, key=lambda key: key.name)
        ])  # fmt: skip
    yield Section(title="SEE ALSO", paragraphs=["xm(1), xmcompat(1)"])
