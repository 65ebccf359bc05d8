"""What is shown of the host's networks: a plan with its steps, the state, and the picture's boxes. Values only."""

from __future__ import annotations

from typing import NamedTuple


class Action(NamedTuple):
    """A step: what it does, in words, and the commands that do it."""

    text: str
    command: str


class Network(NamedTuple):
    """One network of a plan; without ACTIONS it is there as it should be."""

    name: str
    what: str
    actions: tuple[Action, ...] = ()


class Change(NamedTuple):
    """A table of the host, as its rows are before and after."""

    title: str
    before: tuple[str, ...]
    after: tuple[str, ...]


class Plan(NamedTuple):
    """``remarks`` are what the files' words leave to be said, each with whether it warns. ``confirm`` says why the change
    has to be confirmed, "" where it need not be. ``down``: it takes networks away."""

    networks: tuple[Network, ...] = ()
    changes: tuple[Change, ...] = ()
    remarks: tuple[tuple[str, bool], ...] = ()
    confirm: str = ""
    down: bool = False

    @property
    def empty(self) -> bool:
        return not any(network.actions for network in self.networks)


class State(NamedTuple):
    """One of our networks as it is. ``state`` is "up", "trial" or "half made"; ``wrong`` are sentences."""

    name: str
    what: str
    state: str
    guests: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


class Box(NamedTuple):
    """A thing of the picture. ``kind`` is card, bridge, guest, overlay or peer; ``lines`` are the small print."""

    kind: str
    title: str
    lines: tuple[str, ...] = ()


class Group(NamedTuple):
    """A bridge, or the host's routing, with what hangs on it: cards and overlays to the left, guests to the right."""

    centre: Box
    left: tuple[Box, ...] = ()
    right: tuple[Box, ...] = ()
    ours: bool = False


class Picture(NamedTuple):
    host: str
    groups: tuple[Group, ...] = ()
    notes: tuple[str, ...] = ()
