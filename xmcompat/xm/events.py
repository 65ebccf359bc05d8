"""``xm reset``, ``rename``, ``sysrq``, ``trigger``, ``dump-core``: verbs that make something happen to a domain."""

from __future__ import annotations

import os
import sys

from xmcompat import events
from xmcompat.errors import InvalidArgument, UsageError
from xmcompat.toolstack import Toolstack
from xmcompat.xm.options import Words


def reset(words: Words) -> int:
    """``xm reset DOMAIN``."""
    with Toolstack.open() as toolstack:
        events.reset(toolstack, words.operands[0])
    return 0


def rename(words: Words) -> int:
    """``xm rename DOMAIN NAME``."""
    with Toolstack.open() as toolstack:
        events.rename(toolstack, words.operands[0], words.operands[1])
    return 0


def sysrq(words: Words) -> int:
    """``xm sysrq DOMAIN LETTER``."""
    with Toolstack.open() as toolstack:
        events.sysrq(toolstack, words.operands[0], words.operands[1])
    return 0


def trigger(words: Words) -> int:
    """``xm trigger DOMAIN EVENT [VCPU]``."""
    designation, name, *rest = words.operands
    try:
        vcpu = int(rest[0]) if rest else 0
    except ValueError:
        raise InvalidArgument from None
    with Toolstack.open() as toolstack:
        events.trigger(toolstack, designation, name, vcpu)
    return 0


def dump_core(words: Words) -> int:
    """``xm dump-core [-L] [-C] [-R] DOMAIN [FILE]``: the line about it comes before anything is asked."""
    crash, then_reset = words.has("crash"), words.has("reset")
    if crash and then_reset:
        raise UsageError("You may not specify more than one '-CR' option")
    if len(words.operands) not in (1, 2):
        raise UsageError("Expects 1 or 2 argument(s)")
    designation, *rest = words.operands
    sys.stdout.write(f"Dumping core of domain: {designation} ...\n")
    sys.stdout.flush()
    path = os.path.abspath(rest[0]) if rest else None
    with Toolstack.open() as toolstack:
        events.dump_core(toolstack, designation, path, live=words.has("live"), crash=crash, then_reset=then_reset)
    return 0
