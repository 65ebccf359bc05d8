"""Changes that may cut the operator off: they come back by themselves unless he says that he is still there."""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress

from xmcompat.network import watchdog
from xmcompat.network.lock import TRIAL, Lock
from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Action, Step, act, take, undo
from xmcompat.network.watchdog import Ended, Watchdog

Say = Callable[[str], None]


class NotConfirmed(NetworkError):
    """The change has been taken back."""


class Operator:
    """Somebody who types on the descriptor ANSWERS, and reads what is said."""

    def __init__(self, say: Say, answers: int = 0) -> None:
        self.say = say
        self.answers = answers


#: Who decides on a change: an operator, or what finds out whether all is well.
Judge = Operator | Callable[[], bool]


def take_on_trial(steps: Sequence[Step], seconds: float, lock: Lock, judge: Judge) -> None:
    """Take STEPS, and undo them unless JUDGE is content within SECONDS; "xmcompat network confirm" can say so as well.

    Raises NotConfirmed where they were undone for want of it, and what ``take`` raises.
    """
    lock.say(TRIAL)
    dog = watchdog.start(steps, seconds)
    try:
        _apply(steps, dog)
        try:
            if isinstance(judge, Operator):
                _wait(dog, seconds, _whatever_comes(judge.say), judge.answers)
            else:
                dog.say(watchdog.YES if judge() else watchdog.NO)
                _conclude(dog.hear(), seconds)
        except Ended:
            _undo_alone(steps)
        except BaseException as error:  # noqa: BLE001 - it is raised again
            _give_up(steps, dog, error)
    finally:
        dog.leave()


def _whatever_comes(say: Say) -> Say:
    """SAY, which must not fail where the terminal is gone."""

    def said(text: str) -> None:
        with suppress(OSError):
            say(text)

    return said


def _apply(steps: Sequence[Step], dog: Watchdog) -> None:
    """Take them; the watchdog hears of each before it begins."""
    begun = 0

    def actor(action: Action) -> None:
        nonlocal begun
        if begun < len(steps) and action is steps[begun].do:
            begun += 1
            dog.say(watchdog.BEGIN, str(begun).encode())
        act(action)

    def finish(action: Action) -> None:
        actor(action)
        if begun == len(steps) and action is steps[-1].do:
            dog.say(watchdog.APPLIED)

    try:
        take(steps, finish)
    except Ended:
        raise NotConfirmed("the watchdog of the change has died; all is as it was before") from None
    except BaseException:
        with suppress(Ended):
            dog.say(watchdog.CANCEL)
        raise


def _wait(dog: Watchdog, seconds: float, say: Say, answers: int) -> None:
    """Until the watchdog says how it ended. Raises NotConfirmed, and Ended where it has died."""
    say(f"The networks are changed. Type yes within {seconds:.0f} s to keep that, or no; else all comes back as it was.")
    with selectors.DefaultSelector() as selector:
        selector.register(dog.connection, selectors.EVENT_READ)
        heard = _Lines(answers)
        with suppress(OSError, ValueError):
            selector.register(answers, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if dog.connection.fileno() in ready:
                _conclude(dog.hear(), seconds)
                return
            answered = [_pass_on(line, dog, say) for line in heard.lines()]
            if heard.closed or any(answered):
                selector.unregister(answers)
            if heard.closed and not any(answered):
                say("Nothing more can be typed here; 'xmcompat network confirm' from another login keeps the change.")


class _Lines:
    """What is typed, by lines; a closed input has none."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""
        self.closed = False

    def lines(self) -> list[bytes]:
        data = b""
        with suppress(OSError):
            data = os.read(self._fd, 4096)
        self.closed = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self.closed and self._rest:
            lines.append(self._rest)
        return lines


def _pass_on(line: bytes, dog: Watchdog, say: Say) -> bool:
    """Whether it is an answer."""
    word = line.strip().lower()
    if word in (watchdog.YES, watchdog.NO):
        dog.say(word)
        return True
    if word:
        say("Type yes to keep the change, no to take it back.")
    return False


def _conclude(said: list[bytes], seconds: float) -> None:
    """Raises NotConfirmed where the change was taken back."""
    remains = b", ".join(said[1:]).decode(errors="replace")
    if said[0] == watchdog.KEPT:
        if remains:
            raise NetworkError(f"the change is kept, but not all marks of the trial are gone: {remains}")
        return
    if remains:
        raise NotConfirmed("the change was not confirmed, and not all could be undone", hint=f"type {remains}")
    raise NotConfirmed(f"the change was not confirmed within {seconds:.0f} s, or refused; all is as it was before")


def _undo_alone(steps: Sequence[Step]) -> None:
    """The watchdog has died: without it nothing may stay. Raises NotConfirmed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    remains = undo(steps)
    if remains:
        commands = ", ".join(remains)
        raise NotConfirmed("the watchdog of the change has died, and not all could be undone", hint=f"type {commands}")
    raise NotConfirmed("the watchdog of the change has died; all is as it was before")


def _give_up(steps: Sequence[Step], dog: Watchdog, error: BaseException) -> None:
    """Ctrl-C, or a mistake of ours: have it taken back, wait for that, and raise ERROR."""
    if isinstance(error, NetworkError):
        raise error
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        dog.say(watchdog.NO)
        _conclude(dog.hear(), 0.0)
    except Ended:
        _undo_alone(steps)
    except NotConfirmed as undone:
        if undone.hint:
            raise undone from error
        if isinstance(error, KeyboardInterrupt):
            raise NotConfirmed("stopped by Ctrl-C; all is as it was before") from None
    raise error
