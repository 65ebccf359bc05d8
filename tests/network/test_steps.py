"""Steps: all of them are taken, or none."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from xmcompat.network.programs import NetworkError
from xmcompat.network.steps import Action, Command, Interrupted, Setting, Step, take


def command(name: str) -> Command:
    return Command((name,))


STEPS = [Step(text=name, do=command(f"do-{name}"), undo=(command(f"undo-{name}"),)) for name in "abcd"]


class Recorder:
    """Acts by writing down; fails at the actions in FAILING, after or before it has acted."""

    def __init__(self, *failing: str, acts: bool = False, then: Callable[[], None] | None = None) -> None:
        self.said: list[str] = []
        self.failing, self.acts, self.then = failing, acts, then

    def __call__(self, action: Action) -> None:
        fails = str(action) in self.failing
        if not fails or self.acts:
            self.said.append(str(action))
        if fails and self.then:
            self.then()
        elif fails:
            raise NetworkError(f"{action} failed")


def test_all_steps_are_taken_in_order() -> None:
    recorder = Recorder()
    take(STEPS, recorder)
    assert recorder.said == ["do-a", "do-b", "do-c", "do-d"]


def test_what_was_done_is_undone_in_reverse_when_a_step_fails() -> None:
    recorder = Recorder("do-c")
    with pytest.raises(NetworkError, match=r"^do-c failed$"):
        take(STEPS, recorder)
    assert recorder.said == ["do-a", "do-b", "undo-c", "undo-b", "undo-a"]


def test_the_undoing_of_a_step_that_was_not_taken_may_fail() -> None:
    recorder = Recorder("do-c", "undo-c")
    with pytest.raises(NetworkError, match=r"^do-c failed$"):
        take(STEPS, recorder)
    assert recorder.said == ["do-a", "do-b", "undo-b", "undo-a"]


def test_what_cannot_be_undone_is_named() -> None:
    recorder = Recorder("do-c", "undo-a")
    with pytest.raises(NetworkError) as caught:
        take(STEPS, recorder)
    assert caught.value.line() == "do-c failed; and not all could be undone; type 'undo-a'"
    assert recorder.said == ["do-a", "do-b", "undo-c", "undo-b"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_undoes_all(number: signal.Signals) -> None:
    recorder = Recorder("do-b", acts=True, then=lambda: os.kill(os.getpid(), number))
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught:
        take(STEPS, recorder)
    assert recorder.said == ["do-a", "do-b", "undo-b", "undo-a"]
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) is handler


def test_another_signal_does_not_stop_the_undoing() -> None:
    recorder = Recorder("do-b", "undo-a", acts=True, then=lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted):
        take(STEPS, recorder)
    assert recorder.said == ["do-a", "do-b", "undo-b", "undo-a"]


def test_actions_are_shown_as_one_would_type_them() -> None:
    assert str(Setting("net.ipv4.conf.eth0/100.proxy_arp", "1")) == "sysctl -w net.ipv4.conf.eth0/100.proxy_arp=1"
    assert str(Command(("ip", "link", "del", "xenbr0"))) == "ip link del xenbr0"
    assert str(Command(("nft", "-f", "-"), "add table inet t\n")) == "nft -f - <<'END'\nadd table inet t\nEND"
