"""``xm sched-credit``, and the two verbs of schedulers that this host does not have."""

from __future__ import annotations

import sys

from xmcompat.errors import OperationError, XmError
from xmcompat.toolstack import Toolstack
from xmcompat.xm.numbers import integer
from xmcompat.xm.options import Words
from xmcompat.xm.output import warn

#: Weight and cap are the credit scheduler's words for the shares and quotas of control groups.
SCHEDULER = "credit"


class OtherScheduler(XmError):
    """The host has another scheduler than the one that the verb is for."""

    hint_apart = True

    def __init__(self) -> None:
        super().__init__(
            f"Xen is running with the {SCHEDULER} scheduler",
            hint="KVM's guests are scheduled by weight and cap, use 'xm sched-credit' to see and set them",
        )


def credit(words: Words) -> int:
    """``xm sched-credit [-d DOMAIN [-w WEIGHT] [-c CAP]]``: a table of weights and caps, or set one's.

    Source of the order in which things are looked at: xm of Xen 4.1.
    """
    numbers = {name: integer(value) for name, value in words.events if name in ("weight", "cap")}
    domain = words.value("domain") if words.has("domain") else None
    with Toolstack.open() as toolstack:
        tuning = toolstack.tuning
        if numbers:
            if domain is None:
                raise OperationError("No domain given.")
            warn(tuning.set_credit(domain, weight=numbers.get("weight"), cap=numbers.get("cap")))
            return 0
        from xmcompat.render.cpu_tables import credit_table

        rows = tuning.credits(domain)
        if not rows and domain is not None:
            raise OperationError(f"Domain '{domain}' does not exist.")
        if words.has("json"):
            from xmcompat.render import json_values

            sys.stdout.write(json_values.credits(rows))
        else:
            sys.stdout.write(credit_table(rows))
    return 0


def other(_words: Words) -> int:
    """``xm sched-credit2`` and ``xm sched-sedf``: whatever the words, the scheduler is another one."""
    with Toolstack.open() as toolstack:
        _ = toolstack.hypervisor  # whoever cannot reach it is told so first
    raise OtherScheduler
