"""``xm mem-set`` and ``xm mem-max``."""

from __future__ import annotations

from xmcompat.toolstack import Toolstack
from xmcompat.xm.numbers import mebibytes
from xmcompat.xm.options import Words
from xmcompat.xm.output import warn


def mem_set(words: Words) -> int:
    """``xm mem-set DOMAIN MEM``: ask the guest to keep so much; it follows at its own pace."""
    domain, amount = words.operands
    wanted = mebibytes(amount)
    with Toolstack.open() as toolstack:
        warn(toolstack.tuning.set_memory(domain, wanted))
    return 0


def mem_max(words: Words) -> int:
    """``xm mem-max DOMAIN MEM``: the most that mem-set may ask for."""
    domain, amount = words.operands
    wanted = mebibytes(amount)
    with Toolstack.open() as toolstack:
        warn(toolstack.tuning.set_max_memory(domain, wanted))
    return 0
