"""``xm list``, ``uptime``, ``domid``, ``domname``, ``domstate``: verbs that only ask."""

from __future__ import annotations

import sys

from xmcompat.errors import UsageError
from xmcompat.toolstack import Toolstack
from xmcompat.xm.options import Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import DomainInfo


def domains(words: Words) -> int:
    """``xm list [-l] [--label] [--state=STATE] [--pool=NAME] [Domain ...]``: a table, or SXP.

    Those named in their order; else all, by name in byte order. Raises DomainNotFound before anything is printed.
    """
    if words.has("vcpus"):
        from xmcompat.xm.vcpus import vcpu_list

        sys.stderr.write("xm list -v is deprecated.  Please use xm vcpu-list.\n")
        return vcpu_list(words)
    state, named = words.value("state", "all").lower(), words.operands
    if state != "all" and named:
        raise UsageError("You may specify either a state or a particular VM, but not both")
    if words.has("pool") and named:
        raise UsageError("You may specify either a pool or a particular VM, but not both")
    with Toolstack.open() as toolstack:
        if words.has("long") and not named:
            infos, records = toolstack.domains_with_records(_load_long_form)
        else:
            infos, records = toolstack.domains(named), None
            infos = infos if words.has("json") else toolstack.shown(infos)
        if state != "all" or words.has("json"):
            infos = toolstack.told_suspended(infos)
        if state != "all":
            from xmcompat.render.state import power_word

            infos = [info for info in infos if power_word(info.state) == state]
        if words.has("pool"):
            names = toolstack.pools.names_of(infos)
            infos = [info for info in infos if names[info.uuid] == words.value("pool")]
        if words.has("json"):
            from xmcompat.render import json_values

            text = json_values.domains(infos)
        elif words.has("long"):
            from xmcompat.config.sxp import pretty

            text = "".join(pretty(tree, 80) for tree in toolstack.describe(infos, named, records))
        else:
            from xmcompat.render.tables import list_table

            text = list_table(infos, labels=[""] * len(infos) if words.has("label") else None)
    sys.stdout.write(text)
    return 0


def _load_long_form() -> None:
    import xmcompat.describe
    import xmcompat.render.domain_sxp  # noqa: F401 - only loaded, while libvirtd looks for its answers


def uptime(words: Words) -> int:
    """``xm uptime [-s] [Domain ...]``: how long they have been up; 0 for a halted one."""
    import time

    from xmcompat.render import tables

    with Toolstack.open() as toolstack:
        known = [(info, toolstack.uptime(info)) for info in toolstack.domains(words.operands)]
    rows = [(info, seconds or 0.0) for info, seconds in known]
    if words.has("json"):
        from xmcompat.render import json_values

        sys.stdout.write(json_values.uptimes(known))
    elif words.has("short"):
        sys.stdout.write(tables.uptime_lines(rows, time.strftime("%H:%M:%S")))
    else:
        sys.stdout.write(tables.uptime_table(rows))
    return 0


def domid(words: Words) -> int:
    """``xm domid DOMAIN``: its id, or ``None`` for a halted one."""
    with Toolstack.open() as toolstack:
        info = toolstack.find(words.operands[0])
    sys.stdout.write(_json_of(info) if words.has("json") else f"{info.domid}\n")
    return 0


def domname(words: Words) -> int:
    """``xm domname DOMAIN``: its name."""
    with Toolstack.open() as toolstack:
        info = toolstack.find(words.operands[0])
    sys.stdout.write(_json_of(info) if words.has("json") else f"{info.name}\n")
    return 0


def _json_of(info: DomainInfo) -> str:
    from xmcompat.render import json_values

    return json_values.domain(info)


def domstate(words: Words) -> int:
    """``xm domstate DOMAIN``: a word for its state; nothing at all for one that runs, as with xm."""
    from xmcompat.render.state import state_word

    with Toolstack.open() as toolstack:
        info = toolstack.find(words.operands[0])
        by_admin = toolstack.paused_by_admin(info)
        if words.has("json"):
            (info,) = toolstack.told_suspended([info])
    if words.has("json"):
        from xmcompat.render import json_values

        sys.stdout.write(json_values.state(info, by_admin=by_admin))
        return 0
    word = state_word(info.state, by_admin=by_admin)
    sys.stdout.write(f"{word}\n" if word else "")
    return 0
