"""``xm vncviewer``: the screen of a domain in a viewer."""

from __future__ import annotations

import os
import shutil
import sys

from xmcompat.display import Display, vnc_display
from xmcompat.errors import UsageError, XmError
from xmcompat.toolstack import Toolstack
from xmcompat.xm.options import Words

VIEWER = "vncviewer"
STDIN = 0


class NoViewer(XmError):
    """There is no viewer on this host: what xm says then, and what to type where there is one."""

    exit_code = 255

    def __init__(self, display: Display) -> None:
        super().__init__("external vncviewer missing or not in the path")
        from_afar = "" if display.host != "localhost" else "through a tunnel (ssh -L), "
        self.verbatim = (
            f"Error: {self.message}\nExiting\n"
            f"Hint: install a VNC viewer here, or {from_afar}type where there is one: "
            f"vncviewer {display.host}:{display.number}\n"
        )


def vncviewer(words: Words) -> int:
    """``xm vncviewer [--autopass] DOMAIN``: becomes the viewer; with --autopass it reads the password from its input.

    Raises NoViewer, after the line that says what would be run.
    """
    if len(words.operands) != 1:
        raise UsageError("No domain given (or several parameters specified)")
    autopass = words.has("autopass") or words.has("vncviewer-autopass")
    with Toolstack.open() as toolstack:
        display = vnc_display(toolstack, words.operands[0], secret=autopass)
    path, argv = _announced(display, autopass=autopass)
    if autopass:
        _give(display.password or "")
    os.execv(path, argv)


def show(toolstack: Toolstack, designation: str) -> None:
    """A viewer of the domain's screen beside this program, which goes on: it reads the password from its input.

    Where none can be started, that is said on stderr. Raises what ``vnc_display`` raises.
    """
    display = vnc_display(toolstack, designation, secret=True)
    try:
        path, argv = _announced(display, autopass=True)
    except NoViewer as error:
        sys.stderr.write(error.verbatim or "")
        return
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            _give(display.password or "")
            os.execv(path, argv)
        finally:
            os._exit(127)


def _announced(display: Display, *, autopass: bool) -> tuple[str, list[str]]:
    """The viewer's path and words, which are said. Raises NoViewer."""
    argv = [VIEWER, *(["-autopass"] if autopass else []), f"{display.host}:{display.number}"]
    sys.stdout.write(f"invoking  {' '.join(argv)}\n")
    sys.stdout.flush()
    path = shutil.which(VIEWER)
    if path is None:
        raise NoViewer(display)
    return path, argv


def _give(password: str) -> None:
    """PASSWORD becomes standard input; a pipe holds far more than any."""
    reading, writing = os.pipe()
    os.write(writing, password.encode())
    os.close(writing)
    os.dup2(reading, STDIN)
    os.close(reading)
