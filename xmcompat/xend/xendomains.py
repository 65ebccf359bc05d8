"""The program ``xendomains``: guests come with their host and go with it.

Source: words, files, texts and exit statuses of the init script of Xen 4.1. Differs from it: ``reload`` starts what is
missing of the auto directory and stops nothing; ``stop`` ends with 1 where a guest is left.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

from xmcompat.errors import HypervisorUnreachable, XmError
from xmcompat.toolstack import Toolstack
from xmcompat.xend import autostart
from xmcompat.xend.hoststop import HostStop
from xmcompat.xend.sysconfig import Settings, read
from xmcompat.xm import signals

USAGE = "Usage: xendomains {start|stop|restart|reload|status}\n"
#: For another settings file, and another lock file, than the host's.
CONFIG_VARIABLE, LOCK_VARIABLE = "XENDOMAINS_CONFIG", "XENDOMAINS_LOCKFILE"

#: Statuses of the Linux Standard Base.
FAILED, NOT_CONFIGURED, NOT_RUNNING, BAD_WORD = 1, 6, 3, 3


class Places(NamedTuple):
    """The settings file, and the file that says that ``start`` has been."""

    config: str
    lock: str


def places(environ: Mapping[str, str] = os.environ, root: str = "/") -> Places:
    """Where this host has them; ROOT stands for "/"."""
    sysconfig = "etc/sysconfig" if os.path.isdir(os.path.join(root, "etc/sysconfig")) else "etc/default"
    subsys = "var/lock/subsys" if os.path.isdir(os.path.join(root, "var/lock/subsys")) else "var/lock"
    return Places(
        environ.get(CONFIG_VARIABLE) or os.path.join(root, sysconfig, "xendomains"),
        environ.get(LOCK_VARIABLE) or os.path.join(root, subsys, "xendomains"),
    )


def main(words: Sequence[str], where: Places | None = None) -> int:
    """Run one command line, without the program's name; returns the exit status. Raises signals.Ended."""
    where = where or places()
    word = words[0] if len(words) == 1 else ""
    if word not in _VERBS:
        sys.stdout.write(USAGE)
        return BAD_WORD
    try:
        with open(where.config, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except FileNotFoundError:
        sys.stdout.write(f"{where.config} not existing\n")
        return 0 if word == "stop" else NOT_CONFIGURED
    except OSError as error:
        _fail(f"{where.config}: {error.strerror}")
        return NOT_CONFIGURED
    settings, complaints = read(text, where.config)
    for complaint in complaints:
        _fail(complaint, "Warning")
    return _run(word, settings, where.lock)


def _run(word: str, settings: Settings, lock: str) -> int:
    try:
        with Toolstack.open() as toolstack, signals.raised():
            try:
                toolstack.domains()
            except HypervisorUnreachable as error:
                _fail(f"nothing is done: {error.line()}", "Warning")
                return 0
            return _VERBS[word](toolstack, settings, lock)
    except XmError as error:
        _fail(error.line())
    except OSError as error:
        _fail(f"{error.filename or 'standard output'}: {error.strerror or error}")
    except Exception as error:  # noqa: BLE001 - a fault of our own must not look like a traceback
        _fail(f"internal error: {type(error).__name__}: {error}; please report")
    return FAILED


def start(toolstack: Toolstack, settings: Settings, lock: str) -> int:
    """Restore what was saved, start what is missing; nothing where that has been done since the last stop."""
    try:
        os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    except FileExistsError:
        _say("xendomains already running (lockfile exists)\n")
        return 0
    except OSError as error:
        _fail(f"{lock}: {error.strerror}; a second start would not be noticed", "Warning")
    return 0 if autostart.start(toolstack, settings, _report()) else FAILED


def stop(toolstack: Toolstack, settings: Settings, lock: str) -> int:
    """Save the guests, or shut them down."""
    left = HostStop(toolstack, settings, _report()).run()
    _unlock(lock)
    if left:
        _fail(f"these guests are still there: {' '.join(left)}")
    return FAILED if left else 0


def _unlock(lock: str) -> None:
    try:
        os.unlink(lock)
    except FileNotFoundError:
        return
    except OSError as error:
        _fail(f"{lock}: {error.strerror}", "Warning")


def restart(toolstack: Toolstack, settings: Settings, lock: str) -> int:
    return stop(toolstack, settings, lock) or start(toolstack, settings, lock)


def reload(toolstack: Toolstack, settings: Settings, lock: str) -> int:
    """Start what is missing of the auto directory."""
    saved = {os.path.basename(path) for path in autostart.saved_files(settings.save)} if settings.restore else set()
    return 0 if autostart.start_auto(toolstack, settings, _report(), saved) else FAILED


def status(toolstack: Toolstack, settings: Settings, lock: str) -> int:
    """Which guests of the auto directory run; 1 where one is missing, or a saved one is not restored."""
    if not os.path.exists(lock):
        return NOT_RUNNING
    there = {info.name for info in toolstack.domains() if info.started}
    guests = autostart.auto_guests(settings.auto)
    running = [guest.name for guest in guests if guest.name in there]
    missing = [guest.name or guest.base for guest in guests if guest.name not in there]
    saved = [os.path.basename(path) for path in autostart.saved_files(settings.save)]
    unrestored = [name for name in saved if name not in there]
    line = "Checking for xendomains:" + "".join(f" {name}" for name in running)
    line += f" MISS AUTO: {' '.join(missing)}" if missing else ""
    line += f" MISS SAVED: {' '.join(unrestored)}" if unrestored else ""
    _say(f"{line}\n")
    return FAILED if missing or unrestored else 0


_VERBS = {"start": start, "stop": stop, "restart": restart, "reload": reload, "status": status}


def _say(text: str) -> None:
    """At once: whoever looks at a host going down sees how far it is."""
    sys.stdout.write(text)
    sys.stdout.flush()


def _fail(line: str, kind: str = "Error") -> None:
    sys.stdout.flush()
    sys.stderr.write(f"{kind}: {line}\n")
    sys.stderr.flush()


class _Line:
    """The line that is being written; an error ends it."""

    def __init__(self) -> None:
        self._open = False

    def say(self, piece: str) -> None:
        self._open = not piece.endswith("\n")
        _say(piece)

    def fail(self, line: str) -> None:
        if self._open:
            self.say("\n")
        _fail(line)


def _report() -> autostart.Report:
    line = _Line()
    return autostart.Report(line.say, line.fail)


def run() -> NoReturn:
    """The entry point of the ``xendomains`` command; ends by the signal where a signal ended it."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
    try:
        code = main(sys.argv[1:])
    except signals.Ended as ended:
        signals.die_of(ended.number)
        code = 128 + ended.number
    except (KeyboardInterrupt, BrokenPipeError) as error:
        code = 130 if isinstance(error, KeyboardInterrupt) else 141
    sys.exit(code)


if __name__ == "__main__":
    run()
