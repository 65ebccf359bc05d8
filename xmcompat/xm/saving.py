"""``xm save``, ``restore``: a domain's memory into a file and back."""

from __future__ import annotations

import os

from xmcompat.errors import UsageError, XmError
from xmcompat.toolstack import Toolstack
from xmcompat.xm import signals
from xmcompat.xm.options import Words


def save(words: Words) -> int:
    """``xm save [-c] DOMAIN FILE``. Ctrl-C lets the domain run on."""
    if len(words.operands) != 2:
        raise UsageError("Wrong number of parameters")
    designation, path = words.operands[0], os.path.abspath(words.operands[1])
    if not os.access(os.path.dirname(path), os.W_OK):
        raise XmError(f"xm save: Unable to create file {path}")
    with Toolstack.open() as toolstack, signals.raised():
        toolstack.saving.save(designation, path, checkpoint=words.has("checkpoint"))
    return 0


def restore(words: Words) -> int:
    """``xm restore [-p] FILE``. The file stays; Ctrl-C leaves no domain."""
    if len(words.operands) != 1:
        raise UsageError("Wrong number of parameters")
    path = os.path.abspath(words.operands[0])
    if not os.access(path, os.R_OK):
        raise XmError(f"xm restore: Unable to read file {path}")
    with Toolstack.open() as toolstack, signals.raised():
        toolstack.saving.restore(path, paused=words.has("paused"))
    return 0
