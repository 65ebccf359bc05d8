"""The process that takes a change back when nobody confirms it, whatever becomes of the command that has made it.

It is forked before the first step and holds the way back in its memory; it has a session of its own and no terminal.
It hears from the command which step begins, that all are taken, and what the operator says; and on a socket what
``xmcompat network confirm`` says from another login. When the command dies in the middle of the steps it takes them back at
once; when it dies later, or the terminal is gone, there is still time to confirm until the deadline.
"""

from __future__ import annotations

import os
import select
import selectors
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

from xmcompat.network import lock as locks
from xmcompat.network import programs, trial
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Step, undo

SOCKET = "network.confirm"
YES, NO, KEPT, UNDONE, BEGIN, APPLIED, CANCEL = b"yes", b"no", b"kept", b"undone", b"begin", b"applied", b"cancel"

_LONGEST = 4096


class Ended(NetworkError):
    """The watchdog is not there any more."""

    def __init__(self) -> None:
        super().__init__("the watchdog of the change has died")


class Watchdog:
    """The command's end of it."""

    def __init__(self, connection: socket.socket, pid: int, held: int) -> None:
        """HELD is what it waits for the end of: this process and the programs that it starts have it."""
        self.connection = connection
        self.pid = pid
        self._held = held
        programs.INHERITED.append(held)

    def say(self, *words: bytes) -> None:
        """Raises Ended."""
        try:
            self.connection.send(b" ".join(words))
        except OSError:
            raise Ended from None

    def hear(self) -> list[bytes]:
        """Its next message, in lines. Raises Ended."""
        with suppress(OSError):
            if message := self.connection.recv(_LONGEST):
                return message.split(b"\n")
        raise Ended

    def leave(self) -> None:
        self.connection.close()
        programs.INHERITED.remove(self._held)
        os.close(self._held)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def start(steps: Sequence[Step], seconds: float) -> Watchdog:
    """Fork one for STEPS. Its deadline is SECONDS after the last step. It inherits the lock of the change."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    users, held = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            ours.close()
            os.close(held)
            _detach()
            its.send(b"ready")
            _Guard(steps, seconds, its, users).run()
            status = 0
        finally:
            os._exit(status)
    its.close()
    os.close(users)
    watchdog = Watchdog(ours, pid, held)
    if watchdog.hear() != [b"ready"]:
        raise Ended
    return watchdog


def answer(word: bytes) -> str:
    """Tell the watchdog of the change that waits YES or NO; returns what is left undone, "" for nothing.

    Raises NetworkError where nothing waits.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        try:
            connection.connect(str(locks.FOLDER / SOCKET))
            connection.send(word)
            said = connection.recv(_LONGEST).split(b"\n")
        except PermissionError:
            raise NetworkError("only root may answer for a change of the networks") from None
        except OSError:
            said = []
    if not said or said == [b""]:
        raise NetworkError("no change of the networks waits for a confirmation")
    return b", ".join(said[1:]).decode(errors="replace")


def _detach() -> None:
    os.setsid()
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(ignored, signal.SIG_IGN)


class _Guard:
    """Runs in the watchdog's process."""

    def __init__(self, steps: Sequence[Step], seconds: float, connection: socket.socket, users: int) -> None:
        """USERS ends when the command and all its programs have."""
        self._users = users
        self._steps = steps
        self._seconds = seconds
        self._begun = 0
        self._deadline: float | None = None
        self._peers: list[socket.socket] = [connection]
        self._command = connection
        self._selector = selectors.DefaultSelector()
        self._selector.register(connection, selectors.EVENT_READ, self._hear_command)
        self._terminated, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGTERM, lambda _number, _frame: None)
        signal.set_wakeup_fd(writer)
        self._selector.register(self._terminated, selectors.EVENT_READ, self._hear_signal)
        self._ended = False

    def run(self) -> None:
        with suppress(OSError):
            self._listen()
        try:
            while not self._ended:
                left = None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)
                ready = self._selector.select(left)
                if not ready and left is not None:
                    self._undo()
                for key, _ in ready:
                    if not self._ended:
                        key.data()
        finally:
            with suppress(OSError):
                os.unlink(locks.FOLDER / SOCKET)

    def _listen(self) -> None:
        """Raises OSError; then only the command can answer."""
        path = locks.FOLDER / SOCKET
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        old = os.umask(0o177)
        try:
            self._listener.bind(str(path))
        finally:
            os.umask(old)
        self._listener.listen(4)
        self._selector.register(self._listener, selectors.EVENT_READ, self._hear_other)

    def _hear_signal(self) -> None:
        if signal.SIGTERM in os.read(self._terminated, _LONGEST):
            self._undo()

    def _hear_command(self) -> None:
        message = b""
        with suppress(OSError):
            message = self._command.recv(_LONGEST)
        word, _, rest = message.partition(b" ")
        if word == BEGIN:
            self._begun = int(rest)
        elif word == APPLIED:
            self._deadline = time.monotonic() + self._seconds
        elif word == CANCEL:
            self._ended = True
        elif word == YES:
            self._keep()
        elif word == NO:
            self._undo()
        else:
            self._lose_command()

    def _lose_command(self) -> None:
        self._selector.unregister(self._command)
        self._peers.remove(self._command)
        self._command.close()
        if self._deadline is None:
            self._await_programs()
            self._undo()

    def _await_programs(self) -> None:
        """One that a killed command has started goes on, and would act after the undoing. No longer than it may take."""
        ended = select.poll()
        ended.register(self._users, select.POLLIN)
        ended.poll(programs.DEADLINE * 1000)

    def _hear_other(self) -> None:
        peer, _ = self._listener.accept()
        peer.settimeout(2.0)
        word = b""
        with suppress(OSError):
            word = peer.recv(_LONGEST)
        if self._deadline is None or word not in (YES, NO):
            peer.close()
            return
        self._peers.append(peer)
        if word == YES:
            self._keep()
        else:
            self._undo()

    def _keep(self) -> None:
        remains = trial.tidied()
        self._end(KEPT, [remains] if remains else [])

    def _undo(self) -> None:
        self._end(UNDONE, undo(self._steps[: self._begun], failed=True))

    def _end(self, word: bytes, remains: Sequence[str]) -> None:
        self._ended = True
        message = b"\n".join([word, *(one.replace("\n", " ").encode(errors="replace") for one in remains)])
        for peer in self._peers:
            with suppress(OSError):
                peer.send(message[:_LONGEST])
