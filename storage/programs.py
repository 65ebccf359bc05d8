"""The programs that bring the host's disks up and change them: lvm, iscsiadm, mount and their like.

One place for all of them. What reads bytes of strangers runs confined, by ``image_programs``.
"""

from __future__ import annotations

from collections.abc import Sequence

from xmcompat import programs
from xmcompat.errors import XmError
from xmcompat.programs import DEADLINE, is_there, package_hint

__all__ = ["DEADLINE", "ProgramFailed", "StorageError", "is_there", "package_hint", "run"]


class StorageError(XmError):
    """Something about the host's disks that cannot be done, or was refused."""


class ProgramFailed(StorageError):
    """A program ended with another status than 0. ``said`` is the last line on its stderr, ``complaint`` all of it."""

    def __init__(self, words: Sequence[str], status: int, complaint: str) -> None:
        said = programs.last_line(complaint)
        denied = "Operation not permitted" in said or "must be run as root" in said or "only root" in said
        super().__init__(
            f"'{' '.join(words)}' failed: {said or f'status {status}'}", hint="only root may do that" if denied else None
        )
        self.status = status
        self.said = said
        self.complaint = complaint


def run(words: Sequence[str], *, text: str = "", deadline: float = DEADLINE) -> str:
    """What the program prints, fed with TEXT: what is secret goes this way, never in WORDS, which everybody can read.

    Ctrl-C at the terminal does not reach it. Raises ProgramFailed, and StorageError where the program is missing or takes
    longer than DEADLINE seconds.
    """
    try:
        ended = programs.run(words, text=text, deadline=deadline)
    except programs.CannotRun as error:
        raise StorageError(error.message, hint=error.hint) from None
    if ended.status:
        raise ProgramFailed(words, ended.status, ended.complaint)
    return ended.out
