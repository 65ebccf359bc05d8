"""``xm vnet-*``: segments of guests that reach over several hosts."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from xmcompat.xm.options import Words
from xmcompat.xm.output import warn

if TYPE_CHECKING:
    from xmcompat.render.json_values import VnetRow
    from xmcompat.vnets import VnetInfo


def create(words: Words) -> int:
    """``xm vnet-create FILE``. That there is no such file is said on stdout, as with xm."""
    path = words.operands[0]  # there may be more: "--" is not counted
    if not os.path.isfile(path):
        sys.stdout.write(f"File not found: {path}\n")
        return 1
    from xmcompat import vnets
    from xmcompat.config import load, vnet

    warn(vnets.create(vnet.read(load.read_file(path).decode("utf-8", "surrogateescape"), path)))
    return 0


def show(words: Words) -> int:
    """``xm vnet-list [-l] [ID ...]``: the id of each vnet, or all of it as SXP, which vnet-create takes."""
    from xmcompat import vnets
    from xmcompat.config import vnet

    found = vnets.overview(words.operands)
    if words.has("json"):
        from xmcompat.render import json_values

        sys.stdout.write(json_values.vnets(map(_row, found)))
        return 0
    if words.has("long"):
        from xmcompat.config.sxp import pretty

        sys.stdout.write("".join(pretty(vnet.form(one.vnet), 80) for one in found))
    else:
        sys.stdout.write("".join(f"{one.vnet.id}\n" for one in found))
    warn(
        f"the vnet {one.vnet.id} is not whole; 'xm vnet-create' of its file mends it, 'xm vnet-delete' removes it"
        for one in found if not one.whole
    )  # fmt: skip
    return 0


def _row(info: VnetInfo) -> VnetRow:
    from xmcompat.render.json_values import VnetRow

    vnet = info.vnet
    return VnetRow(
        str(vnet.id), info.vni, vnet.bridge, vnet.vnetif, vnet.security, vnet.underlay, vnet.local, vnet.group,
        list(vnet.peers), info.port, info.whole,
    )  # fmt: skip


def delete(words: Words) -> int:
    """``xm vnet-delete ID``."""
    from xmcompat import vnets

    vnets.delete(words.operands[0])
    return 0
