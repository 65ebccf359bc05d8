"""The daemon's mark on the host: its pid file, and a locked file that tells truly whether it runs and in which state.

The lock is held by the daemon's processes, and ends with them however they end. So a pid file that was left behind,
or whose number belongs to another program by now, misleads nobody; it is there for scripts.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple

PID_FILE = "/var/run/xend.pid"
DIRECTORY = "/var/run/xend"
#: A folder in the place of /var/run, for both.
VARIABLE = "XEND_RUN"

STARTING, READY, STOPPING = "starting", "ready", "stopping"
_WIDTH = 64


class State(NamedTuple):
    """The daemon's first process, 0 where it is not known yet, and what the daemon is doing."""

    pid: int
    phase: str


class RunFiles:
    """The files of one daemon."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        place = os.path.abspath(environ[VARIABLE]) if environ.get(VARIABLE) else ""
        self.pid_file = os.path.join(place, "xend.pid") if place else PID_FILE
        self.directory = os.path.join(place, "xend") if place else DIRECTORY
        self._lock_file = os.path.join(self.directory, "lock")

    def lock(self) -> int | None:
        """A descriptor that holds the lock, for a daemon that is to start; None where another one has it.

        The lock lasts as long as a process has a copy of the descriptor. Raises OSError.
        """
        os.makedirs(self.directory, 0o700, exist_ok=True)
        fd = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        try:
            self._write(fd, State(0, STARTING))
        except BaseException:
            os.close(fd)
            raise
        return fd

    @contextmanager
    def restarting(self) -> Iterator[None]:
        """Inside, no other process restarts the daemon; it waits. The lock is not handed on to the daemon."""
        os.makedirs(self.directory, 0o700, exist_ok=True)
        with open(f"{self._lock_file}.restart", "w", encoding="ascii") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            yield

    def state(self) -> State | None:
        """What the daemon that has the lock last said; None where there is none."""
        try:
            fd = os.open(self._lock_file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                pid, phase = os.pread(fd, _WIDTH, 0).decode("ascii").split()
                return State(int(pid), phase)
            return None
        except ValueError:
            return State(0, STARTING)  # it has the lock, and has written nothing yet
        finally:
            os.close(fd)

    def tell(self, state: State) -> None:
        """Say what the daemon is doing. Raises OSError."""
        fd = os.open(self._lock_file, os.O_WRONLY | os.O_CLOEXEC)
        try:
            self._write(fd, state)
        finally:
            os.close(fd)

    def _write(self, fd: int, state: State) -> None:
        """Raises OSError with the file's name."""
        try:
            os.pwrite(fd, f"{state.pid} {state.phase}".ljust(_WIDTH - 1).encode() + b"\n", 0)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._lock_file) from None

    def write_pid(self, pid: int) -> None:
        """Raises OSError."""
        fresh = f"{self.pid_file}.{os.getpid()}"
        try:
            with open(fresh, "w", encoding="ascii") as file:
                file.write(f"{pid}\n")
            os.replace(fresh, self.pid_file)
        except BaseException:
            with suppress(OSError):
                os.unlink(fresh)
            raise

    def remove_pid(self, pid: int | None = None) -> None:
        """Take the pid file away; with PID only where it is that one's."""
        try:
            with open(self.pid_file, encoding="ascii", errors="replace") as file:
                if pid is None or file.read().strip() == str(pid):
                    os.unlink(self.pid_file)
        except FileNotFoundError:
            return
