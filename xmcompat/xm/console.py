"""``xm console``: this terminal, or whatever standard input and output are, joined to a domain's consoles."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress

from xmcompat.console_session import ConsoleSession
from xmcompat.errors import ConsoleBusy, DomainNotFound, InvalidArgument, OperationError, UsageError, XmError
from xmcompat.toolstack import Toolstack
from xmcompat.xm import signals
from xmcompat.xm.options import Words

#: Ctrl-], which ends the session.
ESCAPE = b"\x1d"
#: Seconds without output after the end of a piped input, until the session ends.
QUIET_TIME = 2.0
CHUNK = 4096
#: Seconds after which a wait is begun anew; anything that happens ends it sooner.
WAIT = 60.0
STDIN, STDOUT = 0, 1


class ConsoleMixer:
    """Which of several consoles is shown, and which one is typed into. Pure.

    Console 0 is the primary one (hvc0). The others are shown until it speaks: early messages of a kernel go to the
    serial port. From then on it has the word alone, and a console before it in the order would take it in turn.
    """

    def __init__(self) -> None:
        self._speaker: int | None = None

    def show(self, index: int, data: bytes) -> bytes:
        """What of DATA, which console INDEX has just said, is to be shown: all or nothing."""
        if data and (self._speaker is None or index < self._speaker):
            self._speaker = index
        return data if index == self._speaker else b""

    def targets(self, data: bytes, consoles: int) -> Sequence[int]:
        """Which of so many CONSOLES the input DATA goes to: the one shown, and the primary one until one has spoken.

        Until then, Enter alone goes to all of them: it wakes the one at which somebody listens and hurts none.
        """
        if self._speaker is not None:
            return (self._speaker,)
        return range(consoles) if not data.strip(b"\r\n") else (0,)


class Attachment:
    """A session between two file descriptors and the consoles of a domain, until something ends it.

    Callbacks only collect; reading, writing and errors happen in ``run``.
    """

    def __init__(self, input_fd: int, output_fd: int) -> None:
        """Read from INPUT_FD, write to OUTPUT_FD."""
        self._input_fd = input_fd
        self._output_fd = output_fd
        self._mixer = ConsoleMixer()
        self._shown = bytearray()
        self._typed = bytearray()
        self._readable = False

    def on_data(self, index: int, data: bytes) -> None:
        """To be given to ``Toolstack.open_console``."""
        self._shown += self._mixer.show(index, data)

    def _on_input(self) -> None:
        self._readable = True

    def run(self, session: ConsoleSession) -> None:
        """Pass bytes both ways until Ctrl-], the end of the domain, or the end of an input that is no terminal.

        The terminal is raw meanwhile and as before afterwards, whatever happens. Raises signals.Ended for a signal,
        and XmError where the console was taken away.
        Differs from xm: after the end of a piped input it stays while the guest speaks, and for two seconds of
        silence more; xenconsole left at once, before the answer came.
        """
        with signals.noted() as (wakeup, came), raw_terminal(self._input_fd):
            stop_input = session.watch_input(self._input_fd, self._on_input)
            stop_wakeup = session.watch_input(wakeup, _nothing)
            try:
                self._pass_bytes(session, came, stop_input)
                self._write_shown()
            finally:
                stop_input()
                stop_wakeup()
        if os.isatty(self._output_fd):
            _write(self._output_fd, b"\n")  # the prompt is not to follow the guest's half line
        if came:
            raise signals.Ended(came[0])
        if session.end_reason is not None:
            raise XmError(session.end_reason)

    def _pass_bytes(self, session: ConsoleSession, came: list[int], stop_input: Callable[[], None]) -> None:
        leave_at: float | None = None  # set once the input has ended
        while not came and not session.ended:
            session.wait(WAIT if leave_at is None else max(leave_at - time.monotonic(), 0.0))
            spoke = self._write_shown()
            if self._readable:
                self._readable = False
                data = self._read()
                before, escape, _ = data.partition(ESCAPE)
                for index in self._mixer.targets(before, len(session.names)) if before else ():
                    session.send(index, before)
                if escape:
                    return
                if not data:
                    stop_input()
                    leave_at = time.monotonic() + QUIET_TIME
            elif leave_at is not None:
                now = time.monotonic()
                leave_at = now + QUIET_TIME if spoke else leave_at
                if now >= leave_at:
                    return

    def _read(self) -> bytes:
        """What was typed; empty at the end of the input, and when its terminal has hung up."""
        try:
            return os.read(self._input_fd, CHUNK)
        except OSError:
            return b""

    def _write_shown(self) -> bool:
        """Whether there was something to write."""
        data, self._shown = bytes(self._shown), bytearray()
        _write(self._output_fd, data)
        return bool(data)


def _nothing() -> None:
    """A signal has come; who waits looks for it next."""


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


@contextmanager
def raw_terminal(fd: int) -> Iterator[None]:
    """Keys of the terminal FD go to the guest as they are, Ctrl-C among them. Nothing to do where FD is none."""
    if not os.isatty(fd):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSANOW)  # what was typed ahead is kept
        yield
    finally:
        with suppress(termios.error):  # it has hung up
            termios.tcsetattr(fd, termios.TCSANOW, before)


def console(words: Words) -> int:
    """``xm console [-q] [-n NUMBER] DOMAIN``: all its consoles, or the NUMBERth alone.

    With -q, a domain that is not there or off is no more than the status 1. Raises ConsoleBusy where somebody has it.
    """
    number = _number(words.value("n")) if words.has("n") else None
    if len(words.operands) != 1:
        raise UsageError("No domain given")
    attachment = Attachment(STDIN, STDOUT)
    with Toolstack.open() as toolstack:
        try:
            session = toolstack.open_console(words.operands[0], number=number, on_data=attachment.on_data)
        except (DomainNotFound, OperationError) as error:
            if words.has("quiet") and not isinstance(error, ConsoleBusy):
                return 1
            raise
        with closing(session):
            attachment.run(session)
    return 0


def _number(text: str) -> int:
    """Only the first character counts, as with xm."""
    if not text[:1].isdecimal():
        raise InvalidArgument
    return int(text[0])
