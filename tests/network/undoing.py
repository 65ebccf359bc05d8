"""The laws of undoing, tried at every action of a change in the network that this program runs in.

Run inside a host that has no network of ours: ``python -m tests.network.undoing VERB WAY...``, with a mode's module and the
network wanted on its standard input. Prints what is not as it must be, a line each, and then how many actions there were.
An action fails before or after it has acted, or the process ends after it: then "down" must bring back what was, and "up"
must finish it.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from tests.lab import snapshot
from tests.lab.fixtures import CHECKOUT
from tests.lab.lan import Place
from tests.lab.snapshot import Snapshot, snapshot_of
from xmcompat.network import host as hosts
from xmcompat.network import steps
from xmcompat.network.found import MAKING, UP
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Action

WAYS = ("before", "after", "killed", "finished")


class Injected:
    """Acts; at the action NUMBER it fails or ends the process."""

    def __init__(self, way: str, number: int) -> None:
        self.way, self.number, self.count = way, number, 0

    def __call__(self, action: Action) -> None:
        hit = self.count == self.number
        self.count += 1
        if hit and self.way == "before":
            raise NetworkError("injected")
        steps.act(action)
        if hit and self.way == "after":
            raise NetworkError("injected")
        if hit:
            os._exit(9)


class Laws:
    """Of one network and its mode. ``wrong`` are the breaches."""

    def __init__(self, mode: Any, wanted: Any) -> None:
        self.mode, self.wanted = mode, wanted
        self.wrong: list[str] = []

    def plan(self, verb: str) -> Any:
        now = hosts.read()
        if verb == "up":
            return self.mode.up(self.wanted, now)
        return [step for one in self.mode.found(now) for step in self.mode.down(one.wanted, now)]

    def take(self, verb: str) -> None:
        steps.take(self.plan(verb))

    def injected(self, verb: str, way: str, number: int) -> str:
        """What a process of its own says that takes the steps; "killed" where it was."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            said = "nothing failed"
            try:
                steps.take(self.plan(verb), Injected(way, number))
            except Exception as error:  # noqa: BLE001 - it is told to the parent
                said = error.line() if isinstance(error, NetworkError) else repr(error)
            os.write(writing, said.encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as stream:
            said = stream.read()
        _, status = os.waitpid(child, 0)
        return "killed" if os.waitstatus_to_exitcode(status) == 9 else said

    def compare(self, before: Snapshot, place: str) -> None:
        if difference := before.difference(snap()):
            self.wrong += [f"{place}: {line}" for line in difference.splitlines()]

    def of_up(self, ways: Sequence[str]) -> int:
        empty = snap()
        count = len(self.plan("up"))
        for number in range(count):
            for way in ways:
                place = f"up, action {number} {way}"
                said = self.injected("up", way, number)
                if said != ("injected" if way in ("before", "after") else "killed"):
                    self.wrong.append(f"{place}: said {said}")
                if said == "killed":
                    states = [one.state for one in self.mode.found(hosts.read())]
                    if states not in ([MAKING], [UP]):
                        self.wrong.append(f"{place}: found {states}")
                if way == "finished":
                    self.take("up")
                    self.whole(place)
                if way in ("killed", "finished"):
                    self.take("down")
                self.compare(empty, place)
        return count

    def of_down(self, ways: Sequence[str]) -> int:
        empty = snap()
        self.take("up")
        self.whole("up")
        full = snap()
        count = len(self.plan("down"))
        for number in range(count):
            for way in [way for way in ways if way != "finished"]:
                place = f"down, action {number} {way}"
                said = self.injected("down", way, number)
                if said != ("injected" if way in ("before", "after") else "killed"):
                    self.wrong.append(f"{place}: said {said}")
                if way == "killed":
                    self.take("down")
                    self.compare(empty, place)
                    self.take("up")
                self.compare(full, place)
        self.take("down")
        self.compare(empty, "down")
        return count

    def whole(self, place: str) -> None:
        now = hosts.read()
        if complaints := self.mode.verify(self.wanted, now):
            self.wrong.append(f"{place}: {complaints}")
        if [one.state for one in self.mode.found(now)] != [UP] or self.mode.up(self.wanted, now) != ():
            self.wrong.append(f"{place}: not up: {self.mode.found(now)}, still to do {self.mode.up(self.wanted, now)}")


def steady(found: Snapshot) -> Snapshot:
    """A link that was made again has another number; Open vSwitch keeps a device of its own for a while."""
    return Snapshot(tuple(line for line in found.lines if " ifindex = " not in line and "ovs-netdev" not in line))


def snap() -> Snapshot:
    """The host as it is."""
    done = subprocess.run([sys.executable, "-I", "-S", snapshot.__file__], capture_output=True, text=True, check=True)
    return steady(snapshot_of(done.stdout))


def breaches(
    place: Place, mode: str, wanted: object, verb: str, *, needed: int, ways: Sequence[str] = WAYS
) -> list[str]:
    """Those of the network WANTED of the module MODE in PLACE, whose change must have at least NEEDED actions."""
    text = json.dumps([mode, pickle.dumps(wanted, 0).decode("latin-1")])
    argv = (sys.executable, "-m", "tests.network.undoing", verb, *ways)
    said = place.outcome(*argv, input=text, timeout=110, cwd=CHECKOUT, env={"PYTHONPATH": str(CHECKOUT)})
    assert said[2] == 0, said
    *lines, count = said[0].splitlines()
    assert int(count) >= needed
    return lines


def main() -> None:
    name, wanted = json.load(sys.stdin)
    laws = Laws(import_module(f"xmcompat.network.{name}"), pickle.loads(wanted.encode("latin-1")))
    verb, *ways = sys.argv[1:]
    count = laws.of_up(ways) if verb == "up" else laws.of_down(ways)
    print(*laws.wrong, count, sep="\n")


if __name__ == "__main__":
    main()
