"""The xm program: the one place where errors become text and status. Little is imported here, for a quick start."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from xmcompat.errors import XmError

SIGINT, SIGPIPE = 2, 13  # the module signal takes as long to load as all that xm does of its own


def main(words: Sequence[str]) -> int:
    """Run one command line, without the program's name; returns the exit status.

    Every error is reported: one line on stderr, then usage on stdout where xm shows it. What is to end the process
    by a signal (KeyboardInterrupt, signals.Ended, BrokenPipeError of stdout) is raised.
    """
    from xmcompat.errors import XmError

    try:
        from xmcompat.xm.dispatch import dispatch

        status = dispatch(words)
        sys.stdout.flush()
        return status
    except XmError as error:
        return _report(error, words[0])
    except BrokenPipeError:
        raise
    except OSError as error:
        return _fail(f"{error.filename or 'standard output'}: {error.strerror or error}", error)
    except Exception as error:  # noqa: BLE001 - a fault of our own must not look like a traceback
        return _fail(f"internal error: {type(error).__name__}: {error}; please report", error)


def _report(error: XmError, typed: str) -> int:
    """The line, then what xm prints after it. The usage is of the verb as typed, unless the error knows better."""
    from xmcompat.errors import CountError, UsageError
    from xmcompat.xm.dispatch import UnknownVerb
    from xmcompat.xm.options import BadOption

    sys.stdout.write(error.printed)
    sys.stdout.flush()
    sys.stderr.write(error.complained)
    if error.verbatim is None:
        line, *hint = error.lines()
        _say(line)
        sys.stderr.writelines(f"{text}\n" for text in hint)
    else:
        sys.stderr.write(error.verbatim)
    if isinstance(error, CountError):
        sys.stderr.write("\n")
    sys.stderr.flush()
    if isinstance(error, UnknownVerb):
        from xmcompat.xm.help import short_help_text

        sys.stdout.write(short_help_text())
    elif error.shows_usage:
        from xmcompat.xm.help import usage_text

        usage_of = error.usage_of if isinstance(error, UsageError) else ""
        sys.stdout.write(usage_text(usage_of or typed))
        if isinstance(error, UsageError) and not isinstance(error, CountError | BadOption):
            sys.stdout.write(f"{error.after}\n")
    sys.stdout.flush()
    _explain(error)
    return error.exit_code


def _fail(line: str, error: Exception) -> int:
    _say(line)
    _explain(error)
    return 1


def _say(line: str) -> None:
    """The line on stderr; control characters, and characters that no bytes stand for, are shown as escapes."""
    if not line.isprintable():
        line = line.translate({code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))})
    try:
        sys.stderr.write(f"Error: {line}\n")
    except UnicodeEncodeError:
        sys.stderr.write(f"Error: {line.encode('utf-8', 'backslashreplace').decode()}\n")


def _explain(error: BaseException) -> None:
    """With XMCOMPAT_DEBUG set, the traceback as well."""
    if os.environ.get("XMCOMPAT_DEBUG"):
        import traceback

        traceback.print_exception(error)


def run(program: Callable[[Sequence[str]], int] | None = None) -> NoReturn:
    """The entry point of the ``xm`` command, and with a PROGRAM of others like it.

    Ends by the signal itself where a signal ended it, without a traceback. Differs from xm: a reader that closes the
    pipe (``xm list | head -1``) ends it silently by SIGPIPE, as it does other programs; xm blamed xend.
    """
    try:
        _catch_ctrl_c()
        _collect_seldom()
        _prepare_streams()
        status = (program or main)(sys.argv[1:])
    except KeyboardInterrupt:
        status = _die(SIGINT)
    except BrokenPipeError:
        status = _die(SIGPIPE)
    except BaseException as error:
        from xmcompat.xm.signals import Ended

        if not isinstance(error, Ended):
            raise
        status = _die(error.number)
    _leave(status)


def _catch_ctrl_c() -> None:
    """From now on Ctrl-C is an exception; the package had it end the program at once. Where it is ignored, it stays so."""
    import _signal

    if _signal.getsignal(SIGINT) == _signal.SIG_DFL:
        _signal.signal(SIGINT, _signal.default_int_handler)


def _collect_seldom() -> None:
    """What is loaded at the start is no garbage: looking for some among it took a twentieth of ``xm list``."""
    import gc

    gc.set_threshold(20_000)


def _prepare_streams() -> None:
    """Bytes of the command line and of names go out as they came in, whatever the locale; a stream may be closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - as long as the process
        else:
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")


def _die(number: int) -> int:
    import _signal

    _signal.signal(SIGINT, _signal.SIG_DFL)  # whoever presses it again need not wait
    from xmcompat.xm.signals import die_of

    _flush()
    die_of(number)
    return 128 + number  # where the signal is blocked


def _leave(status: int) -> NoReturn:
    """Exit at once: taking the interpreter apart would take a tenth of the time of ``xm list``."""
    _flush()
    os._exit(status & 0xFF)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            continue  # reported already, or nobody is there to read it
