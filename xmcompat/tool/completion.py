"""``xmcompat completion``: scripts by which bash and zsh complete command lines of xm and xmcompat."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from xmcompat.render.completion import Row

SHELLS = ("bash", "zsh")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS), metavar="|".join(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of a SHELL: source <(xmcompat completion bash)"""
    click.echo(script(shell), nl=False)


def script(shell: str) -> str:
    """The script of the SHELL, one of SHELLS."""
    from xmcompat.render import completion as scripts
    from xmcompat.xm import wanted

    rows = [*wanted.rows(), *_rows()]
    return scripts.bash(rows) if shell == "bash" else scripts.zsh(rows)


def _rows() -> Iterator[Row]:
    """What each command of xmcompat takes."""
    from xmcompat.render.completion import Row
    from xmcompat.tool.main import program

    for name, command in sorted(program.commands.items()):
        flags, valued = ["-h", "--help"], []
        places, repeats = [], False
        params = list(command.params)
        if isinstance(command, click.Group):  # the options of all that is in it
            places.append("|".join(sorted(command.commands)))
            params += [param for inner in command.commands.values() for param in inner.params]
        for param in params:
            if isinstance(param, click.Argument):
                places.append(_kind(param))
                repeats = repeats or param.nargs == -1
                continue
            flags += [*param.opts, *param.secondary_opts]
            if isinstance(param, click.Option) and not param.is_flag and not param.count:
                valued += [(flag, _kind(param)) for flag in param.opts]
        yield Row(
            program="xmcompat", name=name, flags=tuple(dict.fromkeys(flags)), valued=tuple(dict.fromkeys(valued)),
            places=tuple(places), repeats=repeats,
        )  # fmt: skip


def _kind(param: click.Parameter) -> str:
    """A file where its name or type says so, one of some words, or nothing that is known."""
    from xmcompat.render.completion import ANY, FILE

    if isinstance(param.type, click.Choice):
        return "|".join(param.type.choices)
    named = re.search(r"FILE|PATH|FOLDER|DIR", f"{param.metavar or ''} {param.name or ''}".upper())
    return FILE if named or isinstance(param.type, click.Path | click.File) else ANY
