"""``xm new``, ``start``, ``delete``, ``suspend``, ``resume``: domains that are known whether they run or not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from xmcompat.errors import DomainNotFound, HypervisorUnreachable, OperationError, UsageError, XmError
from xmcompat.toolstack import Toolstack
from xmcompat.xm.options import Words

if TYPE_CHECKING:
    from collections.abc import Callable

    from xmcompat.toolstack import Created


def new(words: Words) -> int:
    """``xm new [options] CONFIG [name=value ...]``: have a domain known, halted, or print what it would be (-n)."""
    from xmcompat.xm.create import make

    return make(words, "new")


def start(words: Words) -> int:
    """``xm start [-p] [-c] [--vncviewer] DOMAIN``: silent. With -c this terminal is on its console."""
    from xmcompat.xm import create, signals

    name, discard = _single(words), words.has("discard-saved")
    with Toolstack.open() as toolstack:
        managed = toolstack.managed

        def begin(attend: Callable[[Created], None] | None) -> Created:
            return managed.start(name, paused=words.has("paused"), attend=attend, discard_saved=discard)

        try:
            if words.has("console_autoconnect"):
                managed.refuse_start(name, discard_saved=discard)
                create.on_console(toolstack, begin, quiet=True)
            else:
                with signals.raised():
                    created = begin(None)
                create.say_started(created, quiet=True)
        except (DomainNotFound, HypervisorUnreachable):
            raise
        except XmError as error:
            error.shows_usage = True
            raise
        if words.has("vncviewer") or words.has("vncviewer-autopass"):
            _show(toolstack, name)
    return 0


def _show(toolstack: Toolstack, name: str) -> None:
    """A viewer of its screen; what is wrong with that is a warning, for the domain runs."""
    from xmcompat.xm.vncviewer import show

    try:
        show(toolstack, name)
    except XmError as error:
        sys.stderr.write(f"Warning: {error.line()}\n")


def delete(words: Words) -> int:
    """``xm delete DOMAIN``: forget a halted one."""
    designation = words.operands[0]
    with Toolstack.open() as toolstack:
        try:
            toolstack.managed.delete(designation)
        except DomainNotFound:
            raise OperationError(f"<Fault 3: '{designation}'>") from None
    return 0


def suspend(words: Words) -> int:
    """``xm suspend DOMAIN``: save its memory and end it. Ctrl-C lets it run on."""
    from xmcompat.xm import signals

    with Toolstack.open() as toolstack, signals.raised():
        toolstack.managed.suspend(words.operands[0])
    return 0


def resume(words: Words) -> int:
    """``xm resume [-p] DOMAIN``: start it from its saved memory."""
    from xmcompat.xm import signals

    with Toolstack.open() as toolstack, signals.raised():
        toolstack.managed.resume(_single(words), paused=words.has("paused"))
    return 0


def _single(words: Words) -> str:
    if len(words.operands) != 1:
        raise UsageError("Expects 1 argument")
    return words.operands[0]
