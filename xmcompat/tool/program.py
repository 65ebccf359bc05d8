"""The entry of the ``xmcompat`` program: Ctrl-C ends it without a traceback while its commands are still being loaded."""

from __future__ import annotations

import os
import sys

SIGINT = 2


def run() -> None:
    """Load the program and run it; does not return."""
    try:
        if sys.argv[1:] == ["migrate", "receive"]:
            from xmcompat.tool.receive import run as run_loaded
        else:
            from xmcompat.tool.main import run as run_loaded
    except KeyboardInterrupt:
        os._exit(128 + SIGINT)
    run_loaded()
