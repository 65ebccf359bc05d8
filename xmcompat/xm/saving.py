"""``xm save``, ``restore``: a domain's memory into a file and back."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from xmcompat.errors import UsageError, XmError
from xmcompat.toolstack import Toolstack
from xmcompat.xm import signals
from xmcompat.xm.options import Words

if TYPE_CHECKING:
    from xmcompat.saving import Checkpoint


def save(words: Words) -> int:
    """``xm save [-c] DOMAIN FILE``. Ctrl-C lets the domain run on.

    Differs from xm: after a checkpoint, what the file is good for is said on standard error.
    """
    if len(words.operands) != 2:
        raise UsageError("Wrong number of parameters")
    designation, path = words.operands[0], os.path.abspath(words.operands[1])
    if not os.access(os.path.dirname(path), os.W_OK):
        raise XmError(f"xm save: Unable to create file {path}")
    with Toolstack.open() as toolstack, signals.raised():
        checkpoint = words.has("checkpoint")
        made = toolstack.saving.save(designation, path, checkpoint=checkpoint, copies=not words.has("memory-only"))
    if checkpoint:
        sys.stderr.write(f"{_good_for(made, path)}\n")
    return 0


def _good_for(made: Checkpoint, path: str) -> str:
    """A sentence on what a checkpoint can be used for."""
    if not made.folder and not made.uncopied:
        return f"{path} has the domain's memory, and it writes no disk: 'xm restore {path}' brings it back."
    back = f"'xm restore --disks {path}' brings both back, and loses what is written from now on."
    if not made.uncopied:
        return f"{path} has the domain's memory, {made.folder} its disks of the same moment: {back}"
    names = ", ".join(made.uncopied)
    return (
        f"{path} has the domain's memory, but not its disks of that moment ({names}): restore it only when "
        "somebody has put those back as they were."
    )


def restore(words: Words) -> int:
    """``xm restore [-p] [--force] [--disks] FILE``. The file stays; Ctrl-C leaves no domain."""
    if len(words.operands) != 1:
        raise UsageError("Wrong number of parameters")
    path = os.path.abspath(words.operands[0])
    if not os.access(path, os.R_OK):
        raise XmError(f"xm restore: Unable to read file {path}")
    with Toolstack.open() as toolstack, signals.raised():
        toolstack.saving.restore(
            path, paused=words.has("paused"), force=words.has("force"), disks=words.has("disks")
        )  # fmt: skip
    return 0
