"""The laws of undoing, tried at every action of a change in a real network: what fails leaves the host as it was.

An action fails before or after it has acted, or the process ends after it: then the way back must bring what was, and the
same change again must finish it. One process inside a host of the lab tries it all, and forks another for each try.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.lab.snapshot import SETTLE, Snapshot, taken
from xmcompat.network import host as hosts
from xmcompat.network import steps
from xmcompat.network.found import MAKING, UP
from xmcompat.network.host import Host
from xmcompat.network.plans import Mode, modes
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Action, Step
from xmcompat.network.wanted import Network

if TYPE_CHECKING:
    from tests.lab.lan import Place  # another kernel's Python is slow: it loads what it needs

#: What happens at an action: it fails before or after it has acted, or the process is killed after it, and what was begun
#: is undone by the way back, or finished by the same change once more.
WAYS = BEFORE, AFTER, UNDONE, FINISHED = ("before", "after", "undone", "finished")

BACK = {"up": "down", "down": "up"}


class Change:
    """Something that is taken up and down, from the host as it is at that moment."""

    #: What of a host is not compared: the beginnings of lines of a snapshot.
    unseen: tuple[str, ...] = ()

    def up(self) -> Sequence[Step]:
        raise NotImplementedError

    def down(self) -> Sequence[Step]:
        raise NotImplementedError

    def wrong(self) -> list[str]:
        """What is not as it must be, once it is up."""
        return []

    def lost(self) -> list[str]:
        """What is not as it must be, once a process has died on the way up."""
        return []

    def forget(self) -> None:
        """The host is another than it was."""

    def mend(self) -> None:
        """What others do after a change that was killed, and do again after the next: they put ports into a bridge."""

    def take(self, verb: str) -> None:
        steps.take(self.plan(verb))

    def plan(self, verb: str) -> Sequence[Step]:
        return self.up() if verb == "up" else self.down()


@dataclass
class Made(Change):
    """The network WANTED; it goes with all others of its kind."""

    wanted: Network
    mode: Mode = field(init=False)
    _host: Host | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.mode = modes()[type(self.wanted)]

    def host(self) -> Host:
        """As it is; it is read once until it changes."""
        self._host = self._host or hosts.read()
        return self._host

    def forget(self) -> None:
        self._host = None

    def take(self, verb: str) -> None:
        super().take(verb)
        self.forget()

    def up(self) -> Sequence[Step]:
        return self.mode.up(self.wanted, self.host())

    def down(self) -> Sequence[Step]:
        now = self.host()
        return [step for one in self.mode.found(now) for step in self.mode.down(one.wanted, now)]

    def wrong(self) -> list[str]:
        now = self.host()
        wrong = self.mode.verify(self.wanted, now)
        if [one.state for one in self.mode.found(now)] != [UP] or self.mode.up(self.wanted, now) != ():
            wrong.append(f"not up: {self.mode.found(now)}, still to do {self.mode.up(self.wanted, now)}")
        return wrong

    def lost(self) -> list[str]:
        states = [one.state for one in self.mode.found(self.host())]
        return [] if states in ([MAKING], [UP]) else [f"found {states}"]


class Injected:
    """Acts; at the action NUMBER, from 0, it fails or ends the process."""

    def __init__(self, way: str, number: int) -> None:
        self.way, self.number, self.count = way, number, 0

    def __call__(self, action: Action) -> None:
        hit = self.count == self.number
        self.count += 1
        if hit and self.way == BEFORE:
            raise NetworkError("injected")
        steps.act(action)
        if hit and self.way == AFTER:
            raise NetworkError("injected")
        if hit:
            os._exit(9)


class Try(NamedTuple):
    """At the action NUMBER of PLAN, which takes the change VERB, it goes as in WAY. The host is as when the plan was made."""

    verb: str
    plan: Sequence[Step]
    number: int
    way: str


class Laws:
    """Of one change. ``breaches`` are collected, a line each."""

    def __init__(self, change: Change) -> None:
        self.change = change
        self.breaches: list[str] = []

    def of(self, verb: str, ways: Sequence[str] = WAYS) -> int:
        """Try every action of VERB, up or down, in all WAYS. Returns how many actions there are."""
        empty = steadily_seen()
        if verb == "down":
            self.again("up")
        start, plan = steadily_seen(), self.change.plan(verb)
        self.again(verb)
        end = steadily_seen()
        self.again(BACK[verb])
        self.compare(start, BACK[verb])
        for number in range(len(plan)):
            for way in ways:
                self.once(Try(verb, plan, number, way), start, end)
        if verb == "down":
            self.again("down")
            self.compare(empty, "down")
        return len(plan)

    def once(self, one: Try, start: Snapshot, end: Snapshot) -> None:
        """The host is as at the START again when this returns."""
        verb, _, number, way = one
        place = f"{verb}, action {number} {way}"
        said = self.injected(one)
        killed = way in (UNDONE, FINISHED)
        if said != ("killed" if killed else "injected"):
            self.breaches.append(f"{place}: said {said}")
        if killed and verb == "up":
            self.breaches += [f"{place}: {line}" for line in self.change.lost()]
        if way == FINISHED:
            self.again(verb, place)
            self.compare(end, f"{place}, as it is then")
        if killed:
            self.again(BACK[verb], place)
        self.compare(start, place)

    def injected(self, one: Try) -> str:
        """What a process of its own says that takes the steps; "killed" where it was."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            said = "nothing failed"
            try:
                steps.take(one.plan, Injected(one.way, one.number))
            except Exception as error:  # noqa: BLE001 - it is told to the parent
                said = error.line() if isinstance(error, NetworkError) else repr(error)
            os.write(writing, said.encode())
            os._exit(0)
        os.close(writing)
        self.change.forget()
        with os.fdopen(reading) as stream:
            said = stream.read()
        _, status = os.waitpid(child, 0)
        return "killed" if os.waitstatus_to_exitcode(status) == 9 else said

    def killed(self, verb: str, number: int) -> None:
        """Take it VERB in a process that dies after the action NUMBER."""
        assert self.injected(Try(verb, self.change.plan(verb), number, UNDONE)) == "killed"

    def again(self, verb: str, place: str = "") -> None:
        """Take it VERB, with nothing in the way."""
        self.change.take(verb)
        self.change.mend()
        self.change.forget()
        if verb == "up":
            self.breaches += [f"{place or verb}: {line}" for line in self.change.wrong()]

    def compare(self, before: Snapshot, place: str) -> None:
        """What lasts is compared: a program that was ended takes its time, and the kernel does some things later."""
        before = before.without(*self.change.unseen)
        deadline = time.monotonic() + SETTLE
        while (told := before.difference(seen().without(*self.change.unseen))) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.breaches += [f"{place}: {line}" for line in told.splitlines()]


class Tried(NamedTuple):
    """The number of actions that a change has, and where it has broken the law, a line each."""

    actions: int
    breaches: list[str]


def tried(place: Place, change: Change, verb: str, ways: Sequence[str] = WAYS) -> Tried:
    """Try CHANGE in PLACE, where it has not been made. A test that does so may take 300 s."""

    def go() -> Tried:
        laws = Laws(change)
        return Tried(laws.of(verb, ways), laws.breaches)

    return place.call(go, timeout=280)


def steadily_seen() -> Snapshot:
    """What is seen twice in a row."""
    deadline, before, now = time.monotonic() + SETTLE, seen(), seen()
    while before != now and time.monotonic() < deadline:
        time.sleep(0.1)
        before, now = now, seen()
    return now


def seen() -> Snapshot:
    """The network, the programs that run, and the files of /run."""
    return Snapshot((*steady(taken()).lines, *_programs(), *_files()))


#: New for a link or a port that was made again.
DRAWN = (" ifindex = ", "_data.designated_port = ", "_data.id = 0x", "_data.no = ")


def steady(found: Snapshot) -> Snapshot:
    """Without what is drawn, and the rules chain by chain; Open vSwitch keeps a device of its own for a while."""
    kept = [line for line in found.lines if not any(word in line for word in (*DRAWN, "ovs-netdev"))]
    return Snapshot(tuple(sorted(kept, key=_chain)))


def _chain(line: str) -> tuple[str, ...]:
    """The section, and of nftables the chain or what else the line is about: rules keep their order within it."""
    section, _, rest = line.partition(" ")
    if section != "nft":
        return (section,)
    ((kind, value),) = json.loads(rest).items()
    return (section, value["family"], value.get("table", ""), value.get("chain") or value["name"], str(kind == "rule"))


def _programs() -> Iterator[str]:
    """How many of each there are, but for the first process and the test's own."""
    own, names = os.getsid(0), Counter[str]()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and entry.name != "1" and os.getsid(int(entry.name)) != own:
                names[(entry / "comm").read_text().strip()] += 1
        except OSError:
            continue  # it has ended
    yield from (f"programs {name} = {count}" for name, count in sorted(names.items()))


def _files() -> Iterator[str]:
    yield from (f"file {path}" for path in sorted(Path("/run").rglob("*")) if path.is_file())


# -- networks that tests want for something else


def bring_up(place: Place, *networks: Network) -> None:
    """Make them in PLACE, one after the other."""
    place.call(lambda: [Made(one).take("up") for one in networks])


def take_down(place: Place, network: Network) -> None:
    """NETWORK goes."""
    place.call(lambda: steps.take(modes()[type(network)].down(network, hosts.read())))


def take_all_down(place: Place, network: Network) -> None:
    """All of NETWORK's kind go; then nothing of it may be found any more."""

    def go() -> Any:
        change = Made(network)
        for one in change.mode.found(hosts.read()):
            steps.take(change.mode.down(one.wanted, hosts.read()))
        return change.mode.found(hosts.read())

    assert place.call(go) == ()


def wrong_of(place: Place, network: Network) -> list[str]:
    """What is not as wanted of NETWORK."""
    return place.call(lambda: modes()[type(network)].verify(network, hosts.read()))
