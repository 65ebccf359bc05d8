"""``xmcompat man``: the manual pages, made from the tables that the programs themselves read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import click

from xmcompat import __version__
from xmcompat.tool.man_xend import xend

if TYPE_CHECKING:
    from xmcompat.render.man import Section


class Page(NamedTuple):
    """A manual page: its section of the manual, what ``whatis`` shows, and what makes its parts."""

    number: int
    tagline: str
    sections: Callable[[], Iterator[Section]]


_ENVIRONMENT = (
    ("XMCOMPAT_URI", "The hypervisor to talk to. Without it LIBVIRT_DEFAULT_URI, else qemu:///system."),
    ("XMCOMPAT_ACCELERATOR", "auto, kvm or tcg."),
    ("XMCOMPAT_CONFIG", "A file of settings in the place of /etc/xmcompat/xmcompat.toml."),
    ("XMCOMPAT_DEBUG", "With 1, a mistake in the program shows where it is."),
)


def _xm() -> Iterator[Section]:
    from xmcompat.render.man import Section
    from xmcompat.xm import helptexts
    from xmcompat.xm.verbs import GROUPS, HELP, HIDDEN, JSON

    yield Section(title="SYNOPSIS", paragraphs=["xm SUBCOMMAND [arguments]"])
    yield Section(title="DESCRIPTION", paragraphs=[
        helptexts.TAGLINE + " A domain is meant by its name, its id or its uuid.",
        "A beginning of a verb is enough where no other verb begins like it. Guests are ordinary domains of libvirt: "
        "virsh sees what xm starts, and the reverse.",
    ])  # fmt: skip
    verbs = [*(verb for group in GROUPS.values() for verb in group), *HIDDEN, HELP]
    yield Section(title="VERBS")
    for verb in verbs:
        texts = helptexts.OPTIONS.get(verb.name, {})
        yield Section(
            title=f"{verb.name} {verb.synopsis}".strip(), paragraphs=[helptexts.DESCRIPTIONS[verb.name]], sub=True,
            entries=[(option, texts[option]) for option in verb.options if option in texts],
        )  # fmt: skip
    yield Section(title="JSON", paragraphs=[
        f"With --json these verbs print one JSON document in the place of their own text: {', '.join(sorted(JSON))}. "
        "Only this very word is taken, before a --. Errors and the exit status stay as they are. The fields are listed in "
        "docs/reference-json.md.",
    ])  # fmt: skip
    yield Section(title="COMPLETION", paragraphs=[
        "xmcompat completion bash and xmcompat completion zsh print scripts that complete verbs, options, and names of "
        "domains and files.",
    ])  # fmt: skip
    yield Section(title="EXIT STATUS", entries=[
        ("0", "Done."), ("1", "Failed; one line on stderr says why."), ("3", "There is no such domain."),
    ])  # fmt: skip
    yield Section(title="ENVIRONMENT", entries=_ENVIRONMENT)
    yield Section(title="FILES", entries=[
        ("/etc/xen/NAME", "Configurations of guests, where they are not in the current folder."),
        ("/etc/xmcompat/xmcompat.toml", "Settings."),
    ])  # fmt: skip
    yield Section(title="SEE ALSO", paragraphs=["xend(1), xmdomain.cfg(5), xmcompat(1), virsh(1)"])


def _xmcompat() -> Iterator[Section]:
    from xmcompat.render.man import Section
    from xmcompat.tool.main import program

    yield Section(title="SYNOPSIS", paragraphs=["xmcompat COMMAND [arguments]"])
    yield Section(title="DESCRIPTION", paragraphs=[str(program.help)])
    yield Section(title="COMMANDS")
    for name, command in _commands(program):
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


def _commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Those of GROUP by their names, each group followed by what is in it."""
    for name, command in sorted(group.commands.items()):
        yield prefix + name, command
        if isinstance(command, click.Group):
            yield from _commands(command, f"{prefix}{name} ")


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


#: The pages by name.
PAGES = {
    "xend": Page(1, "the daemon that sees to guests that end", xend),
    "xm": Page(1, "run and look after guests, as Xen's xm did, on KVM", _xm),
    "xmcompat": Page(1, "configurations of Xen guests and this host", _xmcompat),
    "xmdomain.cfg": Page(5, "the configuration file of xm create", _xmdomain),
}


@click.command("man")
@click.argument("name", type=click.Choice(tuple(PAGES)), metavar="|".join(PAGES))
def man(name: str) -> None:
    """Print the manual page NAME: xmcompat man xm | man -l -"""
    click.echo(page(name), nl=False)


def page(name: str) -> str:
    """The page NAME, one of PAGES, as troff."""
    from xmcompat.render import man as troff

    return troff.page(name, PAGES[name].number, PAGES[name].tagline, __version__, PAGES[name].sections())
