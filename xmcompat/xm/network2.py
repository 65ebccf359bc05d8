"""``xm network2-attach``, ``network2-detach``, ``network2-list``: interfaces of Xen's second kind, which no guest here has.

Their words are looked at as xm did, and so is the domain.
"""

from __future__ import annotations

import sys

from xmcompat.errors import OperationError, UsageError, XmError
from xmcompat.toolstack import Toolstack
from xmcompat.xm.options import Words

KEYS = frozenset((
    "front_mac", "back_mac", "backend", "trusted", "back_trusted", "front_filter_mac", "filter_mac", "bridge", "pdev",
    "max_bypasses",
))  # fmt: skip


def attach(words: Words) -> int:
    """``xm network2-attach DOMAIN [KEY=VALUE ...]``. Raises XmError, if nothing is wrong with the words."""
    designation, *pairs = words.operands
    for pair in pairs:
        key, _, value = pair.partition("=")
        if pair.count("=") != 1 or key not in KEYS or not value:
            raise UsageError(f"Invalid argument: {pair}")
    _find(designation)
    raise XmError(
        f"Domain '{designation}' can have no network interface of Xen's second kind: KVM has no such driver",
        hint="'xm network-attach' adds one of the first",
    )


def detach(words: Words) -> int:
    """``xm network2-detach DOMAIN ID [-f]``: no such device is connected."""
    designation, number, *_ = words.operands
    _find(designation)
    raise OperationError(f"Device {number} not connected")


def show(words: Words) -> int:
    """``xm network2-list [-l] DOMAIN``: nothing, as for every domain without such devices."""
    from xmcompat.xm.devices import one_domain

    with Toolstack.open() as toolstack:
        info = toolstack.find(one_domain(words, "network2-list"))
    if words.has("json"):
        from xmcompat.render import json_values

        sys.stdout.write(json_values.devices(info, ()))
    return 0


def _find(designation: str) -> None:
    with Toolstack.open() as toolstack:
        toolstack.find(designation)
