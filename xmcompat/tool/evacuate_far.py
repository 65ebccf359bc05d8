"""``xmcompat evacuate HOST`` of another host: the same program there, by ssh, tied to the one here.

The far one says MARK on both of its streams once it runs: what came before is of ssh, and of login shells. It reads its
stdin meanwhile, and gives up when that ends, as after Ctrl-C: when the program here ends, in whatever way, it does.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import threading
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING

import click

from xmcompat.errors import OperationError
from xmcompat.peer_lines import ssh_words
from xmcompat.ssh_complaints import meant
from xmcompat.tool.output import printable
from xmcompat.xm import signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: The option that makes a program the far one.
TIED = "--tied"
MARK = b"xmcompat evacuate: begins\n"
#: What ssh ends with where it is ssh that failed, and where no xmcompat could be started.
_OF_SSH, _NO_XMCOMPAT = 255, (255, 126, 127)
#: Bytes that are kept of what was said before the mark.
_MOST_HELD = 65536
#: How often ssh asks whether the other end is there, within the silence that is taken for its loss.
_ASKED = 3
#: Seconds for what is under way there to be given up, after a signal.
_GIVING_UP = 60.0
#: Seconds without a word after which a process that has ended says no more: somebody else may have its streams.
_ENDING = 5.0
#: Seconds after a signal for a mark that is on its way; where none has come by then, ssh is still connecting, and is ended.
_BEGINNING = 1.0


def evacuate_on(host: str, options: Sequence[str], program: str, silence: float) -> int:
    """Evacuate HOST by PROGRAM, ssh; the exit status of it there. What is said there is said here.

    SILENCE are the seconds after which the other host is lost. Raises OperationError where ssh cannot be used, or breaks;
    OSError where its words cannot be said here; and ``signals.Ended`` after a signal, once what was under way there is
    given up, or does not come to be, which is told. A second Ctrl-C does not wait for that.
    """
    words = map(shlex.quote, ("xmcompat", "evacuate", "localhost", TIED, *options))
    alive = ("-o", f"ServerAliveInterval={max(int(silence / _ASKED), 1)}", "-o", f"ServerAliveCountMax={_ASKED}")
    argv = ssh_words(program, host, *words, options=alive)
    with signals.noted() as (came, numbers):
        try:
            far = _Far(argv)
        except OSError as error:
            raise OperationError(f"can't connect: {program}: {error.strerror}") from None
        far.wait(came, numbers)
    if numbers:
        if far.leaves_open:
            with suppress(OSError):
                text = f"Error: {host} has not said that it gave up what was under way; {_see(host)}"
                click.echo(printable(text), err=True)
        raise signals.Ended(numbers[0])
    return far.outcome(host, program)


def _see(host: str) -> str:
    return f"see with 'xmcompat evacuate {host} --plan' what is left"


class _Far:
    """The process of ssh, which no signal of the terminal reaches, and what it says."""

    def __init__(self, argv: Sequence[str]) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        assert self._process.stdout is not None and self._process.stderr is not None
        self._out = _Said(self._process.stdout, 1, self._untie)
        self._err = _Said(self._process.stderr, 2, self._untie)

    @property
    def leaves_open(self) -> bool:
        """Whether it has ended without having said what became of all that was under way."""
        return self._err.begun and (self._process.returncode == _OF_SSH or self._process.returncode < 0)

    def wait(self, came: int, numbers: Sequence[int]) -> None:
        """Until it has ended, and all that it said is said here. Once CAME, a descriptor, can be read, it is to give up;
        NUMBERS are the signals so far."""
        ended = os.pidfd_open(self._process.pid)
        if came in select.select([came, ended], [], [])[0]:
            self._untie()
            self._give_up(ended, numbers)
        os.close(ended)
        self._process.wait()
        over = time.monotonic()
        while any(said.goes_on(over, numbers) for said in (self._out, self._err)):
            time.sleep(0.02)
        self._untie()

    def _give_up(self, ended: int, numbers: Sequence[int]) -> None:
        """Until ENDED can be read; ssh that has not connected does not listen, and one that takes too long is killed."""
        begun = time.monotonic()
        while not select.select([ended], [], [], 0.1)[0]:
            elapsed = time.monotonic() - begun
            if elapsed > _BEGINNING and not self._err.begun:
                self._process.terminate()
            if list(numbers).count(signal.SIGINT) > 1 or elapsed > _GIVING_UP:
                self._process.kill()

    def _untie(self) -> None:
        """The far program is to give up. May be repeated."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def outcome(self, host: str, program: str) -> int:
        """The status there. Raises OSError where its words could not be said here, and OperationError."""
        status = self._process.returncode
        if self._out.error is not None:
            raise self._out.error
        if not self._err.begun:
            raise self._not_begun(host, program, status)
        if status == _OF_SSH or status < 0:
            text = f"the connection to {host}, or xmcompat there, has ended; what is under way is given up once it notices"
            raise OperationError(text, hint=_see(host))
        return status

    def _not_begun(self, host: str, program: str, status: int) -> OperationError:
        found = meant(self._err.held.decode("utf-8", "replace"), host, program=program, status=status)
        where = "can't connect" if status in _NO_XMCOMPAT or status < 0 else host
        end = f"status {status}" if status >= 0 else f"signal {-status}"
        hint = f"install this version of xmcompat on {host}" if TIED in found.message else found.hint
        return OperationError(f"{where}: {found.message or f'{program} ended with {end}'}", hint=hint)


class _Said:
    """What comes from SOURCE goes to the descriptor TARGET from MARK on. UNTIE is called where nobody reads it there."""

    def __init__(self, source: IO[bytes], target: int, untie: Callable[[], None]) -> None:
        self.held = b""
        self.begun = False
        self.error: OSError | None = None
        self._source, self._target, self._untie = source, target, untie
        self._writes, self._last = False, time.monotonic()
        self._thread = threading.Thread(target=self._pass_on, name="far-words", daemon=True)
        self._thread.start()

    def goes_on(self, over: float, numbers: Sequence[int]) -> bool:
        """Whether there may be more to say, of a process that has ended at OVER. Who reads slowly here is waited for,
        unless there are NUMBERS of signals."""
        if not self._thread.is_alive():
            return False
        return (self._writes and not numbers) or time.monotonic() - max(self._last, over) < _ENDING

    def _pass_on(self) -> None:
        with self._source:
            for piece in self._pieces():
                if self.error is not None:
                    continue
                self._writes = True
                try:
                    self._write(piece)
                except OSError as error:
                    self.error = error
                    self._untie()
                self._writes, self._last = False, time.monotonic()

    def _write(self, piece: bytes) -> None:
        while piece:
            try:
                piece = piece[os.write(self._target, piece):]
            except BlockingIOError:  # another program with the same terminal wants it so
                select.select([], [self._target], [])

    def _pieces(self) -> Iterator[bytes]:
        while data := os.read(self._source.fileno(), 65536):
            if self.begun:
                yield data
                continue
            before, mark, after = (self.held + data).partition(MARK)
            self.begun, self.held = bool(mark), before[-_MOST_HELD:]
            yield after


def tie() -> None:
    """This is the far one: say that it has begun, and be ended by SIGTERM once stdin ends."""
    for descriptor in (1, 2):
        os.write(descriptor, MARK)

    def await_end() -> None:
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=await_end, name="tie", daemon=True).start()
