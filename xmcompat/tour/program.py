"""The tour's program: prepares, walks, and removes what it made, whatever happens."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType

from xmcompat.deferred import undisturbed
from xmcompat.errors import XmError
from xmcompat.tour.guest import build_guest
from xmcompat.tour.packages import clear, default_cache
from xmcompat.tour.places import Place, PrivatePlace, SystemPlace, choose
from xmcompat.tour.prompt import Prompt
from xmcompat.tour.walk import NAME, configuration, walk

#: Everything the tour makes on this host lies here, and in the cache of packages.
DIRECTORY = Path("/var/lib/xmcompat/tour")

KEPT_LINES = 40
CONFIG, LOG, GUEST, LIBVIRTD = f"{NAME}.cfg", "tour.log", "guest", "libvirtd"


class Busy(XmError):
    """Another tour is under way."""


class Options(argparse.Namespace):
    """What the command line says."""

    keep: bool
    clean: bool
    directory: Path


def parse(words: Sequence[str]) -> Options:
    """Ends the program for words that are not understood, and for --help."""
    parser = argparse.ArgumentParser(prog="tour", description="Boot a Xen guest configuration on KVM or QEMU, under xm.")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--keep", action="store_true", help="leave the guest running, and say how to go on")
    what.add_argument("--clean", action="store_true", help="remove all that the tour has left, and the downloads")
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help=f"where its files are (default {DIRECTORY})")
    options = parser.parse_args(words, Options())
    options.directory = Path(os.path.abspath(options.directory))
    return options


def main(words: Sequence[str]) -> int:
    """Run the tour; returns the exit status. Errors are one line, with the log that tells more."""
    options = parse(words)
    try:
        if os.geteuid() != 0:
            raise XmError("guests, bridges and libvirt are root's", hint="run ./tour, which asks sudo")
        with _stoppable(), _alone(options.directory):
            status = _clean(options.directory) if options.clean else _tour(options)
            sys.stdout.flush()
            return status
    except XmError as error:
        log = options.directory / LOG
        more = f" (see {log})" if log.exists() and not isinstance(error, Busy) else ""
        print(f"tour: {error.line()}{more}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read it has read enough, as in ./tour | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        print(f"tour: {error.filename or 'this host'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ntour: stopped; what it had made is removed", file=sys.stderr)
        return 128 + signal.SIGINT


def _tour(options: Options) -> int:
    directory = options.directory
    remove_leftovers(directory)
    (directory / LOG).unlink(missing_ok=True)
    place = choose(directory / LIBVIRTD)
    kept = failed = False
    prompt = None
    try:
        prompt = Prompt(directory / LOG, program=xm_program(), environ={"XMCOMPAT_URI": place.uri})
        _go(prompt, place, options)
        kept = options.keep
    except (XmError, OSError):
        failed = True
        if prompt is not None:
            _keep_qemu_log(prompt, place.log(NAME))
        raise
    finally:
        with _unstoppable():
            if prompt is not None:
                prompt.close()
            if not kept:
                remove_leftovers(directory)
            if not kept and not failed:
                (directory / LOG).unlink(missing_ok=True)
    return 0


def xm_program() -> list[str]:
    """The xm that belongs to this very tour."""
    return [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "xmcompat.xm"]


def _go(prompt: Prompt, place: Place, options: Options) -> None:
    directory = options.directory
    prompt.say(place.describe())
    (directory / type(place).__name__).touch()
    place.start()
    files = build_guest(directory / GUEST, name=NAME, say=prompt.say)
    config = directory / CONFIG
    config.write_text(configuration(files, place.bridge))
    private = isinstance(place, PrivatePlace)
    if private:
        prompt.say("xm finds that libvirtd by this variable:")
        prompt.show(f"# export XMCOMPAT_URI='{place.uri}'\n")
    walk(prompt, config, files.kernel_version, keep=options.keep)
    prompt.say(f"That was the tour. {_farewell(place, config) if options.keep else 'It removes what it has made.'}")


def _farewell(place: Place, config: Path) -> str:
    program = Path(sys.executable).with_name("xm")
    command = str(program) if program.exists() else f"'{sys.executable} -m xmcompat.xm'"
    export = f"  export XMCOMPAT_URI='{place.uri}'\n" if isinstance(place, PrivatePlace) else ""
    return (
        "The guest runs on. As root, go on with:\n\n"
        f"{export}"
        f"  alias xm={command}\n"
        f"  xm list\n  xm console {NAME}        (root, no password; Ctrl-] leaves)\n"
        f"  xm shutdown -w {NAME}\n  xm create {config}\n\n"
        "./tour --clean removes it and all else that the tour has made."
    )


def _clean(directory: Path) -> int:
    remove_leftovers(directory)
    clear(default_cache())
    (directory / LOG).unlink(missing_ok=True)
    print("tour: all that it had made is removed; packages installed by apt, and .venv, stay")
    return 0


def remove_leftovers(directory: Path) -> None:
    """Remove guest, bridge, libvirtd and files that a tour has left in DIRECTORY; its log stays. May be repeated."""
    config = directory / CONFIG
    for place in (SystemPlace(), PrivatePlace(directory / LIBVIRTD)):
        mark = directory / type(place).__name__
        if mark.exists():
            place.remove(NAME, config)
            mark.unlink()
    shutil.rmtree(directory / GUEST, ignore_errors=True)
    config.unlink(missing_ok=True)


def _keep_qemu_log(prompt: Prompt, log: Path) -> None:
    """Put the end of QEMU's messages into our log, since they go with the private libvirtd."""
    with suppress(OSError):
        lines = log.read_text(errors="replace").splitlines()[-KEPT_LINES:]
        prompt.note("\n".join(["", f"{log}:", *lines, ""]))


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One tour at a time. The directory goes at the end if nothing is in it."""
    with ExitStack() as stack:
        with undisturbed():  # what is made is known, and goes, before anything is raised
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o755)  # QEMU's user must get at the images
            file = stack.enter_context(open(directory / "lock", "w"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Busy(f"another tour runs in {directory}") from None
            stack.callback(_leave, directory)
        yield


def _leave(directory: Path) -> None:
    with _unstoppable():
        if {path.name for path in directory.iterdir()} == {"lock"}:
            shutil.rmtree(directory, ignore_errors=True)
            with suppress(OSError):
                directory.parent.rmdir()


Handler = Callable[[int, FrameType | None], None]
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _handled(handler: Handler | signal.Handlers) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in _ENDING}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _stoppable() -> AbstractContextManager[None]:
    """Whatever would end the program ends the tour in order."""
    return _handled(_interrupt)


def _unstoppable() -> AbstractContextManager[None]:
    """Nothing interrupts tidying up."""
    return _handled(signal.SIG_IGN)
