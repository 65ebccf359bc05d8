"""The programs that change and show the host's network: ip, bridge, tc, nft and their like.

One place for all of them. A process of ``ip`` takes 3 to 8 ms, the import of a netlink library 360 ms: these commands are
short-lived.
"""

from __future__ import annotations

from collections.abc import Sequence

from xmcompat import programs
from xmcompat.errors import XmError
from xmcompat.programs import DEADLINE, is_there, package_hint

__all__ = ["DEADLINE", "INHERITED", "NetworkError", "ProgramFailed", "is_there", "package_hint", "run"]

#: Descriptors that each program has until it ends: the end of a pipe shows at the other when that is.
INHERITED: list[int] = []


class NetworkError(XmError):
    """Something about the host's networks that cannot be done, or was refused."""


class ProgramFailed(NetworkError):
    """A program ended with another status than 0. ``said`` is the last line on its stderr, "" for none."""

    def __init__(self, words: Sequence[str], status: int, said: str) -> None:
        hint = "only root may do that" if "Operation not permitted" in said else None
        super().__init__(f"'{' '.join(words)}' failed: {said or f'status {status}'}", hint=hint)
        self.status = status
        self.said = said


def run(words: Sequence[str], *, text: str = "", deadline: float = DEADLINE) -> str:
    """What the program prints, fed with TEXT. Ctrl-C at the terminal does not reach it.

    Raises ProgramFailed, and NetworkError where it is missing or takes longer than DEADLINE seconds.
    """
    try:
        ended = programs.run(words, text=text, deadline=deadline, inherited=INHERITED)
    except programs.CannotRun as error:
        raise NetworkError(error.message, hint=error.hint) from None
    if ended.status:
        raise ProgramFailed(words, ended.status, programs.last_line(ended.complaint))
    return ended.out
