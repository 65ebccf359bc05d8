"""The daemon's first process: away from whoever started it, with the one wish that the daemon runs.

It starts the daemon as its child and starts it again when a signal has killed it, within bounds. It holds what
``RunFiles`` shows of the daemon, and passes on the signals that it gets. The child dies with it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import NoReturn

from xmcompat.errors import XmError
from xmcompat.xend.run_files import READY, STARTING, STOPPING, RunFiles, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: The pauses before the daemon is started again: as many times as there are, within so many seconds.
PAUSES, RESTART_WINDOW = (0.0, 0.25, 0.5, 1.0, 2.0), 60.0
#: Seconds that `xend start` waits for a daemon.
START_PATIENCE = 120.0
#: Seconds that it waits for the end of one that has failed.
END_PATIENCE = 3.0

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_SET_PDEATHSIG = 1


def launch(files: RunFiles, lock: int, debug_log: str, *, everything: bool) -> tuple[str, ...]:
    """Leave a daemon behind that has the LOCK; returns warnings when it is ready. Raises XmError where it fails.

    DEBUG_LOG is where it writes what it has to say besides its log.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    first = os.fork()
    if not first:
        _leave(lambda: _become_supervisor(files, (lock, writer), debug_log, everything))
    os.close(writer)
    os.close(lock)
    os.waitpid(first, 0)
    try:
        return _answer(_read_all(reader), debug_log)
    except XmError:
        _await_end(files)
        raise
    finally:
        os.close(reader)


def _await_end(files: RunFiles) -> None:
    """Who is told that xend has failed may start it again at once: what has failed has gone then, with its files. One that
    does not end in END_PATIENCE is left alone."""
    deadline = time.monotonic() + END_PATIENCE
    while files.state() is not None and time.monotonic() < deadline:
        time.sleep(0.02)


def _read_all(reader: int) -> str:
    """What the daemon says until it has said all. Raises XmError after START_PATIENCE."""
    import select

    said, deadline = b"", time.monotonic() + START_PATIENCE
    while True:
        ready, _, _ = select.select([reader], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            raise XmError(f"xend is not ready after {START_PATIENCE:.0f} s", hint="its log says what it waits for")
        data = os.read(reader, 65536)
        if not data:
            return said.decode(errors="replace")
        said += data


def _answer(said: str, debug_log: str) -> tuple[str, ...]:
    words = [line.partition(" ") for line in said.splitlines()]
    if any(word == "ready" for word, _, _ in words):
        return tuple(text for word, _, text in words if word == "warning")
    failures = [text for word, _, text in words if word == "failed"]
    raise XmError(failures[-1] if failures else f"xend has ended while it started; see {debug_log}")


def _leave(act: Callable[[], int]) -> NoReturn:
    """ACT, and end this process with its status; what calls us must never go on in a copy of itself."""
    status = 1
    try:
        status = act()
    except BaseException as error:  # noqa: BLE001 - the last boundary of a process without a terminal
        with suppress(OSError, ValueError):
            sys.stderr.write(f"xend: {type(error).__name__}: {error}\n")
    finally:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(status)


def _become_supervisor(files: RunFiles, kept: tuple[int, int], debug_log: str, everything: bool) -> int:
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, _SIGNALS)
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}:
        signal.signal(number, signal.SIG_DFL)
    os.chdir("/")
    os.umask(0o022)
    _redirect(debug_log)
    _close_all_but(kept)
    _note(f"Xend started at {time.asctime()}.")
    return Supervisor(files, Starter(kept[1]), everything=everything).run()


def _note(line: str) -> None:
    """One LINE in the log of stderr; nothing where its disk is full."""
    with suppress(OSError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _redirect(debug_log: str) -> None:
    """Nothing to read, and DEBUG_LOG to write to; nothing where that cannot be opened."""
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        os.makedirs(os.path.dirname(debug_log), 0o755, exist_ok=True)
        output = os.open(debug_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY, 0o600)
    except OSError:
        output = nothing
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for number, mode in enumerate(("r", "w", "w")):
        stream = open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 - for ever
        setattr(sys, ("stdin", "stdout", "stderr")[number], stream)


def _close_all_but(kept: tuple[int, ...]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with suppress(OSError):
                os.close(int(name))


class Starter:
    """Whoever has started the daemon, and waits at the other end of the pipe FD until it is closed in all processes."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    @property
    def waits(self) -> bool:
        return self._fd is not None

    def tell(self, text: str) -> None:
        """Say TEXT, the last word; nothing where it has been said."""
        if self._fd is not None:
            with suppress(OSError):  # it did not wait
                os.write(self._fd, text.encode(errors="backslashreplace"))
            self.leave()

    def leave(self) -> None:
        """Leave it to the other processes."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class Supervisor:
    """Runs in the daemon's first process, with _SIGNALS blocked. STARTER is told how the start went."""

    def __init__(self, files: RunFiles, starter: Starter, *, everything: bool = False) -> None:
        self._files = files
        self._starter = starter
        self._everything = everything
        self._stopping = False
        self._child = 0
        self._restarts: list[float] = []

    def run(self) -> int:
        """Raises OSError where the daemon's files cannot be written, which is told as well."""
        own = os.getpid()
        try:
            self._files.tell(State(own, STARTING))
            self._files.write_pid(own)
            self._start_child()
            while self._child:
                self._act_on(signal.sigwait(_SIGNALS))
        except OSError as error:
            self._starter.tell(f"failed {error.filename or 'system'}: {error.strerror}\n")
            raise
        finally:
            self._files.remove_pid(own)
        return 0

    def _act_on(self, number: int) -> None:
        if number == signal.SIGCHLD:
            pid, status = os.waitpid(-1, os.WNOHANG)
            while pid:
                if pid == self._child:
                    self._child = 0
                    self._ended(status)
                pid, status = os.waitpid(-1, os.WNOHANG) if self._child else (0, 0)
            return
        if number != signal.SIGHUP:
            self._stopping = True
            self._files.tell(State(os.getpid(), STOPPING))
        os.kill(self._child, number)

    def _ended(self, status: int) -> None:
        """Start it again, where that is wanted and there is hope."""
        was_ready = (self._files.state() or State(0, "")).phase == READY
        ended_well = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
        if self._stopping or ended_well or not was_ready:
            return
        why = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {os.WEXITSTATUS(status)}"
        now = time.monotonic()
        self._restarts = [moment for moment in self._restarts if now - moment < RESTART_WINDOW]
        if len(self._restarts) >= len(PAUSES):
            _log("CRITICAL", f"Xend died due to {why}! It has died too often, and is not restarted.")
            return
        _log("ERROR", f"Xend died due to {why}! Restarting it.")
        time.sleep(PAUSES[len(self._restarts)])
        self._restarts.append(now)
        self._start_child()

    def _start_child(self) -> None:
        """Signals that come meanwhile wait until the child can take them."""
        supervisor = os.getpid()
        first = self._starter.waits
        child = os.fork()
        if not child:
            _leave(lambda: _daemon(self._files, supervisor, self._starter, first=first, everything=self._everything))
        self._child = child
        self._starter.leave()


def _daemon(files: RunFiles, supervisor: int, starter: Starter, *, first: bool, everything: bool) -> int:
    """The child: run the daemon, and tell STARTER how its start went."""
    import ctypes
    import faulthandler

    ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        return 1
    faulthandler.enable()

    def ready(warnings: tuple[str, ...]) -> None:
        mark_ready(files, supervisor)
        starter.tell("".join(f"warning {text}\n" for text in warnings) + "ready\n")

    from xmcompat.xend.signals import noted

    with noted() as signals:
        try:
            from xmcompat.xend.daemon import Daemon

            Daemon(signals, files.directory, ready, first=first, everything=everything).run()
        except XmError as error:
            _note(f"Error: {error.line()}")
            starter.tell(f"failed {error.line()}\n")
            return 1
        except Exception as error:
            starter.tell(f"failed internal error: {type(error).__name__}: {error}; please report\n")
            raise
    return 0


def mark_ready(files: RunFiles, pid: int) -> None:
    """Say that the daemon of first process PID is ready, unless it has been told to end."""
    state = files.state()
    if state is not None and state.phase == STARTING:
        files.tell(State(pid, READY))


def _log(level: str, text: str) -> None:
    """One line in xend's log, while no daemon writes to it."""
    from xmcompat.xend.config_file import log_path, read_config_file
    from xmcompat.xend.log import XendLog

    try:
        log = XendLog(log_path(read_config_file()))
    except XmError:
        return
    log(level, text)
    log.close()


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What of a caller's variables the daemon keeps: those that name programs, files and the hypervisor."""
    kept = {name: environ[name] for name in ("PATH", "HOME", "LIBVIRT_DEFAULT_URI", "TZ") if name in environ}
    kept |= {name: value for name, value in environ.items() if name.startswith(("XMCOMPAT_", "XEND_"))}
    for name in ("XEND_CONFIG", "XEND_RUN", "XMCOMPAT_CONFIG"):
        if kept.get(name):
            kept[name] = os.path.abspath(kept[name])
    return {**kept, "LC_ALL": "C.UTF-8"}
