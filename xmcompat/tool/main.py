"""The xmcompat program: the commands, and the one place where errors become text and status."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import NoReturn, TextIO

import click

from xmcompat import __version__
from xmcompat.errors import UsageError, XmError
from xmcompat.tool.output import mistake, printable

#: Each is in the module of its name.
_COMMANDS = (
    "completion", "host", "keys", "man", "explain", "convert", "evacuate", "image", "migrate", "network", "report",
    "storage", "units",
)  # fmt: skip

_OF_WRITING = (errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT, errno.EAGAIN)


class _Commands(MutableMapping[str, click.Command]):
    """The commands by name, each loaded when it is first asked for: all of them take longer than most do of their own."""

    def __init__(self) -> None:
        self._loaded: dict[str, click.Command | None] = dict.fromkeys(_COMMANDS)

    def __getitem__(self, name: str) -> click.Command:
        command = self._loaded[name]
        if command is None:
            command = self._loaded[name] = getattr(import_module(f"xmcompat.tool.{name}"), name)
        return command

    def __contains__(self, name: object) -> bool:
        return name in self._loaded

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)


@click.group(commands=_Commands(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="xmcompat")
def program() -> None:
    """What xm has no verb for: this host, the keys of guest configurations, and what becomes of a file."""


def main(arguments: Sequence[str]) -> int:
    """Run a command; returns the exit status: 0 done, 1 failed (one line on stderr), 2 not understood."""
    if sys.stdout is None:
        sys.stdout = _in_place_of(1, os.O_RDONLY)
    if sys.stderr is None:
        sys.stderr = _in_place_of(2, os.O_WRONLY)
    try:
        status = program.main(list(arguments), prog_name="xmcompat", standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the outermost boundary
        return status_of(error)
    return status if isinstance(status, int) else 0


def status_of(ended: BaseException) -> int:
    """The exit status of a command that ENDED so, which is told on stderr."""
    try:
        raise ended
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except XmError as error:
        lines = [printable(line) for line in error.line().split("\n")]  # some sentences of xm have two
        click.echo("Error: " + "\n".join(lines), err=True)
        if isinstance(error, UsageError):
            return 2
        return error.exit_code if error.exit_code > 128 else 1  # above 128 a signal has stopped it
    except BrokenPipeError:
        _give_up_stdout()
        return 1
    except OSError as error:
        _give_up_stdout()
        click.echo(printable(f"Error: {_failed(error)}"), err=True)
        return 1
    except (KeyboardInterrupt, click.Abort):
        return 128 + signal.SIGINT
    except Exception as error:  # noqa: BLE001 - a mistake of ours is one line as well
        click.echo(printable(f"Error: {mistake(error)}"), err=True)
        return 1


def _in_place_of(closed: int, flags: int) -> TextIO:
    """A stream for the descriptor that is CLOSED: no file that is opened later may take its number.

    Opened for reading, it fails where something is printed; nobody misses what goes to stderr.
    """
    nothing = os.open(os.devnull, flags)
    if nothing != closed:
        os.dup2(nothing, closed)
        os.close(nothing)
    return open(closed, "w", encoding="utf-8", errors="surrogateescape", closefd=False)


def _failed(error: OSError) -> str:
    """What an error of the system is about: stdout where no file is named, for nothing else is written to."""
    if error.filename:
        return f"{error.filename}: {error.strerror}"
    if error.errno == errno.EBADF:
        return "stdout: it is closed"
    return f"{'stdout' if error.errno in _OF_WRITING else 'system'}: {error.strerror}"


def _give_up_stdout() -> None:
    """Let what is left to print go nowhere: else Python complains when it flushes at exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def run() -> NoReturn:
    """The entry point of the ``xmcompat`` command. Exits at once: taking the interpreter apart would take as long as the
    work of a small command."""
    status = main(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
