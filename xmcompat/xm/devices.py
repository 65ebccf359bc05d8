"""``xm block-list``, ``network-list``, ``vtpm-list``: the devices of one domain."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from xmcompat import frontends
from xmcompat.render import device_tables
from xmcompat.toolstack import Toolstack
from xmcompat.xm.options import BadOption, Words


class OperandError(BadOption):
    """Not one domain. xm says so on stdout, and nothing on stderr."""

    verbatim = ""

    def __init__(self, message: str, verb: str) -> None:
        super().__init__(message)
        self.printed = f"{message}\n"
        self.usage_of = verb


def block_list(words: Words) -> int:
    """``xm block-list [-l] DOMAIN``."""
    return _list(words, "block-list", frontends.DISKS, device_tables.block_table)


def network_list(words: Words) -> int:
    """``xm network-list [-l] DOMAIN``."""
    return _list(words, "network-list", frontends.NICS, device_tables.network_table)


def vtpm_list(words: Words) -> int:
    """``xm vtpm-list [-l] DOMAIN``."""
    return _list(words, "vtpm-list", frontends.TPMS, device_tables.tpm_table)


def _list(
    words: Words, verb: str, kinds: tuple[str, ...],
    table: Callable[[Sequence[device_tables.FrontEnd], int | None], str],
) -> int:  # fmt: skip
    """The table, or SXP with --long; nothing at all where there is no such device."""
    with Toolstack.open() as toolstack:
        info, devices = frontends.front_ends(toolstack, one_domain(words, verb), kinds)
    if words.has("json"):
        from xmcompat.render import json_values

        text = json_values.devices(info, devices)
    elif words.has("long"):
        from xmcompat.config.sxp import pretty

        text = "".join(pretty(device_tables.device_tree(device, info.domid), 80) for device in devices)
    else:
        text = table(devices, info.domid)
    sys.stdout.write(text)
    return 0


def one_domain(words: Words, verb: str) -> str:
    """The one operand of the VERB. Raises OperandError."""
    if len(words.operands) != 1:
        lacking = "No domain parameter given" if not words.operands else "No multiple domain parameters allowed"
        raise OperandError(lacking, verb)
    return words.operands[0]
