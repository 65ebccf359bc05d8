"""The xend program: starts, stops and asks after the daemon. The one place where its errors become text and status.

Source: the program of xend 4.1. Differs from xend: restart waits until the old daemon has ended, start waits for one
that ends or starts just now, and --foreground keeps the daemon in this very process, for service managers.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from xmcompat.errors import XmError
from xmcompat.xend.run_files import READY, STARTING, STOPPING, RunFiles, State

FOREGROUND = "--foreground"
BOX = "*" * 70
RUNNING, NOT_RUNNING = 0, 3

#: Seconds for which a daemon that ends is waited for: it may have guests to suspend.
END_PATIENCE = 900.0
#: Seconds in which the daemon that somebody starts just now must have a number.
NUMBER_PATIENCE = 5.0
_POLL = 0.05


def main(words: Sequence[str], program: str = "xend") -> int:
    """Run one command line, without the PROGRAM's name; returns the exit status."""
    if os.geteuid() != 0:
        sys.stderr.write(f"{BOX}\n*** Xend must be run as root.\n{BOX}\n")
        return 1
    options = [word for word in words[1:] if word.startswith("-")]
    if not words:
        sys.stdout.write(f"usage: {program} {{start|stop|reload|restart}}\n")
        return 1
    unknown = [word for word in options if word != FOREGROUND or words[0] not in _STARTS]
    if words[0] not in _VERBS or unknown:
        sys.stdout.write(f"not an option: {words[0] if words[0] not in _VERBS else unknown[0]}\n")
        return 1
    try:
        if FOREGROUND in options:
            return _in_foreground(RunFiles(), everything=words[0] == "trace_start")
        return _VERBS[words[0]](RunFiles())
    except XmError as error:
        sys.stderr.write(f"Error: {error.line()}\n")
    except OSError as error:
        harmless = words[0] in _ALWAYS_0
        sys.stderr.write(f"{'Warning' if harmless else 'Error'}: {error.filename or 'system'}: {error.strerror or error}\n")
        return 0 if harmless else 1
    except Exception as error:
        sys.stderr.write(f"Error: internal error: {type(error).__name__}: {error}; please report\n")
        if os.environ.get("XMCOMPAT_DEBUG"):
            raise
    return 1


def _start(files: RunFiles) -> int:
    return _started(files, everything=False)


def _trace_start(files: RunFiles) -> int:
    """With a log of everything, whatever the settings say."""
    return _started(files, everything=True)


def _started(files: RunFiles, *, everything: bool) -> int:
    """Silent where it runs already; where somebody else starts it just now, that is waited for."""
    debug_log = _debug_log()
    lock = _lock_or_running(files)
    if lock is not None:
        from xmcompat.xend.supervisor import environment, launch

        kept = environment(os.environ)
        os.environ.clear()
        os.environ.update(kept)
        for warning in launch(files, lock, debug_log, everything=everything):
            sys.stderr.write(f"Warning: {warning}\n")
    return 0


def _debug_log() -> str:
    """Raises ConfigError: settings that cannot be read are told before anything is started."""
    from xmcompat.xend.config_file import debug_log_path, read_config_file

    return debug_log_path(read_config_file())


def _lock_or_running(files: RunFiles) -> int | None:
    """The lock for a daemon that is to be started; None when there is one that is ready. Raises XmError."""
    deadline = time.monotonic() + END_PATIENCE
    while (lock := files.lock()) is None:
        state = files.state()
        if state is not None and state.phase == READY:
            files.write_pid(state.pid)  # should somebody have removed it
            return None
        if time.monotonic() > deadline:
            what = "ended" if state is not None and state.phase == STOPPING else "started"
            raise XmError(f"the xend that is being {what} takes too long", hint="see its log")
        time.sleep(_POLL)
    return lock


def _in_foreground(files: RunFiles, *, everything: bool) -> int:
    """Be the daemon until a signal ends it. Raises XmError where one runs already."""
    _debug_log()
    lock = _lock_or_running(files)
    if lock is None:
        raise XmError("xend runs already", hint="xend stop ends it")
    from xmcompat.xend.notify import notify
    from xmcompat.xend.signals import noted

    own = os.getpid()
    tell = notify(os.environ)

    def ready(warnings: tuple[str, ...]) -> None:
        for warning in warnings:
            sys.stderr.write(f"Warning: {warning}\n")
        sys.stderr.flush()
        files.tell(State(own, READY))
        tell("READY=1")

    with noted() as signals:
        files.tell(State(own, STARTING))
        files.write_pid(own)
        try:
            from xmcompat.xend.daemon import Daemon

            Daemon(signals, files.directory, ready, everything=everything).run()
        finally:
            files.remove_pid(own)
    return 0


def _stop(files: RunFiles) -> int:
    """Ask it to end, and do not wait; 0 in any case."""
    state, deadline = files.state(), time.monotonic() + NUMBER_PATIENCE
    while state is not None and not state.pid and time.monotonic() < deadline:
        time.sleep(_POLL)
        state = files.state()
    if state is not None and state.pid and state.phase != STOPPING:
        files.tell(State(state.pid, STOPPING))
        _signal(state.pid, signal.SIGTERM)
    files.remove_pid()
    return 0


def _restart(files: RunFiles) -> int:
    with files.restarting():  # else one would stop what the other has just begun to start
        _stop(files)
        return _start(files)


def _reload(files: RunFiles) -> int:
    """Have it read its settings anew; 0 in any case."""
    state = files.state()
    if state is not None and state.pid:
        _signal(state.pid, signal.SIGHUP)
    return 0


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has just ended


def _status(files: RunFiles) -> int:
    state = files.state()
    return NOT_RUNNING if state is None or state.phase == STOPPING else RUNNING


_VERBS = {
    "start": _start, "trace_start": _trace_start, "stop": _stop, "restart": _restart, "reload": _reload,
    "status": _status,
}  # fmt: skip
_STARTS = ("start", "trace_start")
_ALWAYS_0 = ("stop", "reload")


def run() -> NoReturn:
    """The entry point of the ``xend`` command."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - as long as the process
    try:
        sys.exit(main(sys.argv[1:], sys.argv[0]))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
