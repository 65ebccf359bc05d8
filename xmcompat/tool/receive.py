"""``xmcompat migrate receive``: the other end of ``xm migrate`` over ssh. The source waits for it: it loads little."""

from __future__ import annotations

import os
import sys

from xmcompat.backends.call_thread import Call
from xmcompat.migration.streams import PipeStream
from xmcompat.toolstack import Toolstack


def receive() -> None:
    """Speak over stdin and stdout with a source until it has gone. Raises XmError."""
    stream = PipeStream(os.dup(0), os.dup(1))
    os.dup2(2, 1)  # what anybody prints is no part of the conversation
    with Toolstack.open() as toolstack:
        known = Call(toolstack.hypervisor.migration_host)  # while the rest is loaded
        from xmcompat import arrival_sweep, receiving
        from xmcompat.migration import serving
        from xmcompat.xend.config_file import log_path, read_config_file
        from xmcompat.xend.log import XendLog

        config = read_config_file()
        path = log_path(config)
        kept = XendLog(path, config.value("loglevel")) if os.path.exists(path) else None  # where xend is used at all

        def log(level: str, text: str) -> None:
            if kept is not None:
                kept(level, text)

        arrival_sweep.sweep(toolstack.hypervisor, log)
        known.ended(None)
        serving.serve(stream, receiving.Receiving(toolstack, log=log), silence=receiving.silence())


def run() -> None:
    """Do it as a program; does not return."""
    try:
        receive()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - told as by every other command
        from xmcompat.tool.main import status_of

        sys.exit(status_of(error))
    sys.exit(0)
