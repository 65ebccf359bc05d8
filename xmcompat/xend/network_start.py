"""The networks at the daemon's start: made where they are not there, before the first guest wants them.

Nobody can answer then. A change of the device that carries the default route is undone where an address, the default route
or a router is missing afterwards. What fails is logged and told, and keeps xend from nothing: it took no notice of how the
script ended. Networks stay when xend ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from xmcompat.errors import XmError
from xmcompat.xend.config import XendConfig
from xmcompat.xend.network_files import Files

Log = Callable[[str, str], None]


def bring_up(config: XendConfig, environ: Mapping[str, str], log: Log) -> tuple[str, ...]:
    """Make them; returns the warnings for the terminal. Where nothing is asked for, nothing is looked at."""
    from xmcompat.network import lock
    from xmcompat.network.steps import Interrupted

    try:
        files = Files(config, environ)
        if files.silent and not lock.was_used():
            return ()
        return _made(files, log)
    except Interrupted as error:
        os.kill(os.getpid(), error.number)  # it was meant for the daemon
        return ()
    except XmError as error:
        text = f"The networks are not all made: {error.line()}"
        log("ERROR", text)
        return (f"{text}; 'xmcompat network plan' shows more",)


def _made(files: Files, log: Log) -> tuple[str, ...]:
    """Raises NetworkError."""
    from xmcompat.network import rules_read
    from xmcompat.network.changes import cautions, unattended
    from xmcompat.network.host import Host
    from xmcompat.network.plans import Plan, name_of, plan_up

    told: set[str] = set()

    def tell(level: str, text: str) -> None:
        if text not in told:
            log(level, text)
            told.add(text)

    def planner(host: Host) -> Plan:
        topology = files.topology(host)
        for remark in topology.remarks:
            tell("WARNING" if remark.warns else "INFO", remark.text)
        rules = rules_read.read() if topology.wanted else None
        plan = plan_up(topology.wanted, host, ruleset=rules)
        for text in cautions(plan):
            tell("WARNING", text)
        return plan

    plan = unattended(planner, lambda text: log("WARNING", text))
    for part in plan.parts:
        name = name_of(part.network)
        log("INFO", f"The network {name} is made." if part.steps else f"The network {name} is there.")
        for step in part.steps:
            log("DEBUG", f"{name}: {step.text}")
    return ()
