"""The law of undoing, in a real network: what fails leaves the host as it was, whatever fails and whenever.

Run inside a host of the lab: ``python -m tests.network.laws DIRECTION WAY NUMBER``, with the network pickled on its standard
input. DIRECTION is up, down, downall, verify or missed.
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from xmcompat.network import host as hosts
from xmcompat.network import steps
from xmcompat.network.plans import Mode
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Action
from xmcompat.network.wanted import Nat, Network, Routing

if TYPE_CHECKING:
    from tests.lab.lan import Place  # a process for each failure: it loads what it needs and no more

CHECKOUT = Path(__file__).resolve().parents[2]

#: What happens at the action NUMBER: it fails before or after it has acted, or the process is killed after it.
BEFORE, AFTER, KILL, NEVER = "before", "after", "kill", "never"


def mode_of(network: Network) -> Mode:
    from xmcompat.network import nat, route

    return {Routing: route, Nat: nat}[type(network)]


class Injected:
    """Acts; at the action NUMBER it does what WAY says."""

    def __init__(self, way: str, number: int) -> None:
        self.way, self.number, self.count = way, number, 0

    def __call__(self, action: Action) -> None:
        self.count += 1
        hit = self.count == self.number
        if hit and self.way == BEFORE:
            raise NetworkError("injected")
        steps.act(action)
        if hit and self.way == AFTER:
            raise NetworkError("injected")
        if hit and self.way == KILL:
            os._exit(9)


def change(direction: str, network: Network, way: str, number: int) -> None:
    """UP or DOWN with a failure; exits with the status 3 where the plan has fewer steps than NUMBER."""
    now = hosts.read()
    mode = mode_of(network)
    plan = mode.up(network, now) if direction == "up" else mode.down(network, now)
    if way != NEVER and number > len(plan):
        sys.exit(3)
    try:
        steps.take(plan, Injected(way, number))
    except NetworkError as error:
        if error.line() != "injected":
            raise


def down_all(network: Network) -> None:
    """All of NETWORK's kind that is found goes; then nothing may be found any more."""
    mode = mode_of(network)
    for one in mode.found(hosts.read()):
        steps.take(mode.down(one.wanted, hosts.read()))
    assert mode.found(hosts.read()) == ()


def inside(place: Place, direction: str, network: Network, way: str = NEVER, number: int = 0) -> int:
    """Do it in PLACE; the status of the process."""
    words = ("-m", "tests.network.laws", direction, way, str(number))
    stdout, stderr, status = place.outcome(
        sys.executable, *words, input=pickle.dumps(network, 0).decode("ascii"),
        env={"PYTHONPATH": str(CHECKOUT)}, cwd=CHECKOUT,
    )  # fmt: skip
    assert status in (0, 3, 9), f"{direction} {way} {number} in {place.name} gave {status}: {stdout}{stderr}"
    return status


if __name__ == "__main__":
    direction, way, number = sys.argv[1:]
    network = pickle.loads(sys.stdin.read().encode("ascii"))
    if direction == "downall":
        down_all(network)
    elif direction in ("verify", "missed"):  # all is right, or something is wrong
        wrong = mode_of(network).verify(network, hosts.read())
        print(wrong)
        sys.exit(bool(wrong) == (direction == "verify"))
    else:
        change(direction, network, way, int(number))
