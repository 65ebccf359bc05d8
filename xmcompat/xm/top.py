"""``xm top``, and the program ``xentop``: what all domains use, again and again.

At a terminal it is a screen that keys change; anywhere else the lines of ``xentop -b``, until nobody reads them.
Source of options and keys: xentop of Xen 4.1.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from xmcompat.errors import UsageError, XmError
from xmcompat.render import top as render
from xmcompat.render.node import VERSION
from xmcompat.toolstack import Toolstack
from xmcompat.xm.options import Words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from xmcompat.statistics import Statistics

USAGE = """Usage: xentop [OPTION]
Shows what all domains use of this host.

  -h, --help                  show this and end
  -V, --version               show the version and end
  -d, --delay=SECONDS         seconds from one look to the next (3)
  -n, --networks              show each network interface
  -x, --vbds                  show each disk
  -r, --repeat-header         show the titles above each domain
  -v, --vcpus                 show each vcpu
  -b, --batch                 print lines instead of a screen
  -i, --iterations=NUMBER     end after so many looks
  -f, --full-name             show names as long as they are

On the screen: D sets the delay, N X V R show or hide what -n -x -v -r name, S sorts by
the next column, arrows scroll, Q ends.
"""
_LETTERS = "hVd:nxrvbi:f"
_LONGS = (
    "help", "version", "delay=", "networks", "vbds", "repeat-header", "vcpus", "batch", "iterations=", "full-name",
)  # fmt: skip
_LONGEST_DELAY = 86400.0


class Wish(NamedTuple):
    """What the words of ``xentop`` ask for. ``iterations`` None: until it is ended."""

    form: render.Form = render.Form()
    delay: float = 3.0
    batch: bool = False
    iterations: int | None = None
    text: str = ""


def top(_words: Words) -> int:
    """``xm top``: the screen of ``xentop``. Its status is 0 whatever happens, as with xm."""
    try:
        return _show(Wish())
    except XmError as error:
        sys.stderr.writelines(f"{'Error: ' if not index else ''}{line}\n" for index, line in enumerate(error.lines()))
        return 0


def run() -> NoReturn:
    """The entry point of the ``xentop`` command."""
    from xmcompat.xm import main

    main.run(xentop)


def xentop(words: Sequence[str]) -> int:
    """Run ``xentop WORDS``; returns its status. An error is one line."""
    try:
        wish = wished(words)
        if wish.text:
            sys.stdout.write(wish.text)
            return 0
        return _show(wish)
    except XmError as error:
        sys.stderr.writelines(f"{'xentop: ' if not index else ''}{line}\n" for index, line in enumerate(error.lines()))
        if isinstance(error, UsageError):
            sys.stderr.write(USAGE)
        return error.exit_code
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk
        sys.stderr.write(f"xentop: cannot go on: {error.strerror or error}\n")
        return 1
    except Exception as error:  # noqa: BLE001 - a fault of our own must not look like a traceback
        sys.stderr.write(f"xentop: internal error: {type(error).__name__}: {error}; please report\n")
        return 1


def wished(words: Sequence[str]) -> Wish:
    """Raises UsageError. Differs from xentop: what is no number is an error, and so is an operand."""
    import getopt

    try:
        pairs, operands = getopt.gnu_getopt(list(words), _LETTERS, _LONGS)
    except getopt.GetoptError as error:
        raise UsageError(error.msg) from None
    if operands:
        raise UsageError(f"there is nothing to be done with '{operands[0]}'")
    form, wish = render.Form(), Wish()
    for flag, value in pairs:
        if flag in ("-h", "--help"):
            return wish._replace(text=USAGE)
        if flag in ("-V", "--version"):
            return wish._replace(text=f"xentop {_version()}\n")
        if flag in ("-d", "--delay"):
            wish = wish._replace(delay=delay_of(value))
        elif flag in ("-i", "--iterations"):
            wish = wish._replace(iterations=_iterations_of(value))
        elif flag in ("-b", "--batch"):
            wish = wish._replace(batch=True)
        else:
            form = form._replace(**{_FIELDS[flag.lstrip("-")]: True})
    return wish._replace(form=form)


_FIELDS = {
    "n": "networks", "networks": "networks", "x": "disks", "vbds": "disks", "v": "vcpus", "vcpus": "vcpus",
    "r": "repeat_header", "repeat-header": "repeat_header", "f": "full_names", "full-name": "full_names",
}  # fmt: skip


def _version() -> str:
    from xmcompat import __version__

    return f"{'.'.join(VERSION[:2])} (xmcompat {__version__})"


def delay_of(text: str) -> float:
    """Seconds, above 0 and up to a day. Raises UsageError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_DELAY:
        raise UsageError(f"'{text}' is no delay; write seconds, as in 3 or 0.5")
    return seconds


def _iterations_of(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 0 < len(text) < 10 or int(text) == 0:
        raise UsageError(f"'{text}' is no number of looks; write 1 or more")
    return int(text)


def _show(wish: Wish) -> int:
    """Show it until the user, the number of looks or the reader ends it. Raises what the looks raise."""
    with Toolstack.open() as toolstack:
        if not wish.batch and sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
            from xmcompat.xm.top_screen import can_show, show

            if can_show():
                show(toolstack.statistics, wish)
                return 0
        try:
            _print(toolstack.statistics, wish)
        except BrokenPipeError:  # nobody reads on
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 1)
        except KeyboardInterrupt:
            return 0
    return 0


def _print(statistics: Statistics, wish: Wish) -> None:
    left = wish.iterations
    while left is None or left > 0:
        sys.stdout.write(render.batch(statistics.picture(), wish.form))
        sys.stdout.flush()
        left = None if left is None else left - 1
        if left != 0:
            time.sleep(wish.delay)
