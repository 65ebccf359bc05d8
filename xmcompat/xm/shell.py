"""``xm shell``: verbs from a prompt, or from a pipe.

Each verb runs in a process of its own, as if it had been typed in a shell: its errors, Ctrl-C, and a verb that becomes
another program do not end this one.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from xmcompat.errors import XmError
from xmcompat.xm.dispatch import known
from xmcompat.xm.options import Words

Handler = Callable[[int, FrameType | None], object] | int | None

BANNER = 'The Xen Master. Type "help" for a list of functions.'
PROMPT = "xm> "
STDIN, STDOUT = 0, 1
#: Bytes of a line that is not typed: as long as a word of a program's can be.
LONGEST = 131072


def shell(_words: Words) -> int:
    """``xm shell``: until the end of the input; returns 0.

    Ctrl-C at the prompt takes the line away; without a terminal it ends the shell.
    """
    at_terminal = os.isatty(STDIN) and os.isatty(STDOUT)
    if at_terminal:
        from xmcompat.xm import line_editor

        line_editor.prepare()
    _say(f"{BANNER}\n")
    while True:
        try:
            line = input(PROMPT) if at_terminal else _read_line()
        except EOFError:
            _say("\n")
            return 0
        except KeyboardInterrupt:
            if not at_terminal:
                raise
            _say("\n")
            continue
        if len(line) > LONGEST:
            _say(f"*** A line of more than {LONGEST} bytes\n")
        else:
            _run(line, at_terminal)


def _read_line() -> str:
    """A line of what is not typed. What follows it is left for the verb, as a shell leaves it for its programs.

    Of one that is too long, just so much comes that this can be seen. Raises EOFError, and XmError where it cannot be read.
    """
    _say(PROMPT)
    if sys.stdin is None:  # it was closed when the program began
        raise EOFError
    line = bytearray()
    try:
        while (byte := os.read(STDIN, 1)) not in (b"", b"\n"):
            if len(line) <= LONGEST:
                line += byte
    except OSError as error:
        raise XmError(f"standard input: {error.strerror}") from None
    if not byte and not line:
        raise EOFError
    return line.decode("utf-8", "surrogateescape")


def _run(line: str, at_terminal: bool) -> None:
    try:
        words = shlex.split(line)
    except ValueError as error:
        _say(f"*** {error}: {line.strip()}\n")
        return
    if words[:1] == ["xm"]:
        del words[0]
    if not words:
        return
    verb = known(words[0])
    if verb is None:
        _say(f"*** Unknown command: {words[0]}\n")
    elif verb.name == "help" and words[1:] and known(words[1]):
        _as_a_program([words[1], "--help"], at_terminal)
    else:
        _as_a_program(words, at_terminal)


def _as_a_program(words: list[str], at_terminal: bool) -> None:
    """Run ``xm WORDS`` and wait for its end; a Ctrl-C meanwhile is its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        child = os.fork()
        if child == 0:
            _become(words, before)
        _, status = os.waitpid(child, 0)
    except OSError as error:
        _say(f"*** {error.strerror}\n")
        return
    finally:
        signal.signal(signal.SIGINT, before)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT:
        if not at_terminal:
            raise KeyboardInterrupt
        _say("\n")


def _become(words: list[str], on_interrupt: Handler) -> NoReturn:
    """In the child: the program xm with these WORDS. Where Ctrl-C is ignored, it stays so."""
    try:
        from xmcompat.xm.main import run

        signal.signal(signal.SIGINT, on_interrupt)
        sys.argv = ["xm", *words]
        run()
    finally:
        os._exit(1)  # whatever has happened, the child is not the shell


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
