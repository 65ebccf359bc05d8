"""``xm vcpu-list``, ``vcpu-set`` and ``vcpu-pin``."""

from __future__ import annotations

import sys

from xmcompat.toolstack import Toolstack
from xmcompat.xm.numbers import cpu_list, integer
from xmcompat.xm.options import Words
from xmcompat.xm.output import warn


def vcpu_list(words: Words) -> int:
    """``xm vcpu-list [Domain ...]``: where each vcpu runs. Raises DomainNotFound before anything is printed."""
    from xmcompat.render.cpu_tables import vcpu_table

    with Toolstack.open() as toolstack:
        tuning = toolstack.tuning
        rows, host_cpus = tuning.vcpus(words.operands), tuning.host_cpus()
    if words.has("json"):
        from xmcompat.render import json_values

        sys.stdout.write(json_values.vcpus(rows, host_cpus))
    else:
        sys.stdout.write(vcpu_table(rows, host_cpus))
    return 0


def vcpu_set(words: Words) -> int:
    """``xm vcpu-set DOMAIN VCPUS``: how many are online; of a halted domain, how many it has."""
    domain, count = words.operands
    wanted = integer(count)
    with Toolstack.open() as toolstack:
        warn(toolstack.tuning.set_vcpus(domain, wanted))
    return 0


def vcpu_pin(words: Words) -> int:
    """``xm vcpu-pin DOMAIN VCPU|all CPUS|all``: keep a vcpu to some CPUs."""
    domain, vcpu, cpus = words.operands
    wanted = None if cpus == "all" else cpu_list(cpus)
    with Toolstack.open() as toolstack:
        warn(toolstack.tuning.pin(domain, vcpu, wanted))
    return 0
