"""Changes of the host's networks, one at a time: what an earlier one has left is settled, then the plan is carried out.

A change that takes the device of the default route, or of the operator's ssh, is carried out on trial only: an operator has
to confirm it, or the host itself must find that its routers answer as before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from xmcompat.network import bridge, confirm, dhcp_clients, forwards, gateway, plans, trial
from xmcompat.network.confirm import Say
from xmcompat.network.host import Host, read
from xmcompat.network.lock import Lock, locked
from xmcompat.network.plans import Plan, name_of
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import take
from xmcompat.network.wanted import Bridge, Nat

#: How the plan is made from the host as it is then.
Planner = Callable[[Host], Plan]

#: Seconds after which a change that nobody watches is taken back, should its maker have died.
_UNATTENDED = 60.0
#: Seconds that routers have to answer before the change.
_BEFORE = 2.0
_ANCESTORS = 32


def attended(planner: Planner, say: Say, *, seconds: float | None, session: str = "", answers: int = 0) -> Plan:
    """Carry a plan out for an operator; returns it, without steps where nothing was to be done.

    With SECONDS he has that long to say yes on the descriptor ANSWERS, or elsewhere. SESSION is the address of the host
    that his ssh came to. Raises NetworkError, also where SECONDS are needed and not given.
    """
    with locked() as lock:
        host = settled(say)
        plan = planner(host)
        why = danger(plan, host, session)
        if why and seconds is None:
            raise NetworkError(
                f"{why}; a mistake there cuts this host off", hint="add --confirm: then all comes back unless you say yes"
            )
        if plan.steps and seconds is not None:
            first, marked = trial.noted(host, _new(plan, host))
            plan = planner(marked)
            confirm.take_on_trial((*first, *plan.steps), seconds, lock, confirm.Operator(say, answers))
        else:
            take(plan.steps)
        trial.tidy()
        return plan


def unattended(planner: Planner, say: Say) -> Plan:
    """Carry a plan out where nobody can answer; it is undone where the host has lost a router, address or default route.

    Raises NetworkError.
    """
    with locked() as lock:
        host = settled(say)
        plan = planner(host)
        if danger(plan, host):
            _checked(planner, plan, host, lock)
        else:
            take(plan.steps)
        trial.tidy()
        return plan


def _checked(planner: Planner, plan: Plan, host: Host, lock: Lock) -> None:
    answered = gateway.answering(host, gateway.gateways(host), _BEFORE)
    first, marked = trial.noted(host, _new(plan, host))
    missing = ""

    def good() -> bool:
        nonlocal missing
        missing = gateway.lost(host, read(), answered)
        return not missing

    try:
        confirm.take_on_trial((*first, *planner(marked).steps), _UNATTENDED, lock, good)
    except confirm.NotConfirmed as error:
        if missing and not error.hint:
            raise NetworkError(f"{missing} with the new networks; all is as it was before") from None
        raise


def settled(say: Say) -> Host:
    """The host, after what killed processes have left half done was taken away; SAY tells of it. Needs the lock."""
    host = read()
    trials = trial.names(host)
    plan = plans.settle(host, trials)
    if not plan.steps and not trials:
        return host
    take(plan.steps)
    trial.tidy()
    if names := ", ".join(name_of(part.network) for part in plan.parts):
        say(f"An earlier change had stopped in the middle, or was not confirmed: {names} is taken away again.")
    return read()


def danger(plan: Plan, host: Host, session: str = "") -> str:
    """Why a mistake in the plan could cut the host off; "" where it could not."""
    for device, what in _lifelines(host, session):
        if device in plan.taken:
            return f"the change takes {device}, which {what}"
    return ""


def cautions(plan: Plan) -> Iterator[str]:
    """What the plan's steps cannot do for networks that are to be made, or take from programs of the host."""
    for part in plan.parts:
        card = plan.before.link(getattr(part.network, "uplink", ""))
        if isinstance(part.network, Bridge) and part.steps and card:
            yield from bridge.cautions(part.network, plan.before, dhcp_clients.clients(card.name, card.index))
        elif isinstance(part.network, Nat) and part.steps:
            known = forwards.found(part.network.bridge, plan.before)
            yield from forwards.warnings(one for one in part.network.forwards if one not in known)


def _lifelines(host: Host, session: str) -> list[tuple[str, str]]:
    default = [route.device for route in host.routes if route.destination == "default" and route.table == "main"]
    found = [(device, "carries the default route") for device in default]
    address = session.partition("%")[0] or None
    return found + [(one.device, "carries your ssh session") for one in host.addresses if one.address == address]


def session_address(environ: Mapping[str, str]) -> str:
    """The host's address that the caller's ssh came to, "" for none. sudo hides it: the processes above are looked at."""
    words = environ.get("SSH_CONNECTION", "").split()
    pid = os.getppid()
    for _ in range(_ANCESTORS):
        if words or pid <= 1:
            break
        with suppress(OSError):
            for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if entry.startswith(b"SSH_CONNECTION="):
                    words = entry.partition(b"=")[2].decode(errors="replace").split()
        pid = _parent(pid)
    return words[2] if len(words) > 2 else ""


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _new(plan: Plan, host: Host) -> list[str]:
    """The networks that the plan makes and that are not there; () for one that takes away."""
    ours = {name_of(one.wanted) for one in plans.found(host)}
    return [name_of(part.network) for part in plan.parts if part.steps and name_of(part.network) not in ours]
