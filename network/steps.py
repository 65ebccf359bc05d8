"""Changes to the host's network as values: each step knows its way back before it is taken.

A plan is a tuple of steps; making it is pure, so that it can be shown before anything happens. ``take`` carries it out: all
of it, or nothing. Whatever fails in the middle, Ctrl-C and the hang-up of the terminal too, is followed by the undoing of
what was done, in reverse.
"""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from xmcompat.errors import XmError
from xmcompat.network import files, memberships, processes, programs, sysctl, tables
from xmcompat.network.programs import NetworkError, ProgramFailed


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its words, fed with TEXT."""

    words: tuple[str, ...]
    text: str = ""

    def __str__(self) -> str:
        shown = shlex.join(self.words)
        return f"{shown} <<'END'\n{self.text.rstrip()}\nEND" if self.text else shown


@dataclass(frozen=True, slots=True)
class Setting:
    """A sysctl: KEY as in "net.ipv4.ip_forward"; a dot within the name of a device is written "/"."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"sysctl -w {self.key}={self.value}"


@dataclass(frozen=True, slots=True)
class File:
    """A file that all may read, written at once; its directory must be there, or is made with FOLDER. TEXT None: it is to
    go."""

    path: str
    text: str | None
    folder: bool = False

    def __str__(self) -> str:
        if self.text is None:
            return f"rm -f {self.path}"
        made = f"mkdir -p {os.path.dirname(self.path)}\n" if self.folder else ""
        return f"{made}cat > {self.path} <<'END'\n{self.text.rstrip()}\nEND"


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal to every process of PROGRAM that was started with WORD, in this network namespace. None is fine."""

    name: str                            # "TERM", which waits for the end, "HUP"
    program: str
    word: str

    def __str__(self) -> str:
        return f"pkill -{self.name} -f -- '{self.word}'"


@dataclass(frozen=True, slots=True)
class Tidy:
    """Removes TABLE of nftables' family netdev, but only if nothing is in it."""

    table: str

    def __str__(self) -> str:
        return f"nft delete table netdev {self.table}"


Action = Command | Setting | File | Signal | Tidy


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """TEXT says in words what ``do`` does: "make the bridge xenbr0". ``undo`` takes it back, in this order; () where the
    undoing of an earlier step does that too, as with all that goes with a link. ``needs`` is the part of the kernel that is
    missing when the kernel does not know such a thing: "VLANs (8021q)"."""

    text: str
    do: Action
    undo: tuple[Action, ...] = ()
    needs: str = ""


Actor = Callable[[Action], object]


def act(action: Action) -> str:
    """Carry out one action now. Raises NetworkError."""
    if isinstance(action, Setting):
        sysctl.write(action.key, action.value)
        return ""
    if isinstance(action, File):
        files.write(action.path, action.text, folder=action.folder)
        return ""
    if isinstance(action, Signal):
        processes.send(action.name, action.program, action.word)
        return ""
    if isinstance(action, Tidy):
        tables.remove_empty(action.table)
        return ""
    if action.words[:3] == ("ip", "addr", "del"):
        memberships.await_joined(action.words[3], action.words[-1])
    return programs.run(action.words, text=action.text)


class Interrupted(NetworkError):
    """A signal has stopped the change; what was done is undone."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; nothing is changed")
        self.number = number
        self.exit_code = 128 + number


def take(steps: Sequence[Step], actor: Actor = act) -> None:
    """Take all steps, or none: when one fails, those before it are undone, and its own undoing is tried.

    Raises what the step raised; where something cannot be undone, NetworkError that says what remains to be done by
    hand. Interrupted after SIGINT, SIGTERM or SIGHUP.
    """
    done: list[Step] = []
    with _signals_later() as came:
        try:
            for step in steps:
                done.append(step)
                _take_one(step, actor)
                if came:
                    raise Interrupted(came[0])
        except BaseException as error:
            remains = undo(done, actor, failed=not isinstance(error, Interrupted))
            if remains:
                said = error.line() if isinstance(error, XmError) else str(error)
                raise NetworkError(f"{said}; and not all could be undone", hint="type " + ", ".join(remains)) from error
            raise


#: What programs say where the kernel does not know a kind of link, and so has not made it.
_UNKNOWN = ("not supported", "Unknown device type", "Cannot find device")


def _take_one(step: Step, actor: Actor) -> None:
    try:
        actor(step.do)
    except ProgramFailed as error:
        if step.needs and any(word in error.said for word in _UNKNOWN):
            raise NetworkError(
                f"cannot {step.text}: this kernel has no {step.needs}",
                hint="load the module, or start a kernel that has it",
            ) from None
        raise


def undo(steps: Sequence[Step], actor: Actor = act, *, failed: bool = False) -> list[str]:
    """Undo STEPS in reverse. Returns the commands that did not work. FAILED: the last step has not been taken, as far as is
    known, so that it does not matter if its undoing fails."""
    remains = []
    for number, step in enumerate(reversed(steps)):
        for action in step.undo:
            try:
                actor(action)
            except XmError:
                if number or not failed:
                    remains.append(f"'{action}'")
    return remains


@contextmanager
def _signals_later() -> Iterator[list[int]]:
    """Collect the signals that would end the program; a second Ctrl-C does not interrupt the undoing either."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    before = {number: signal.signal(number, note) for number in numbers if signal.getsignal(number) is not signal.SIG_IGN}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
