"""The tour: a Xen guest configuration from ``xm create`` to ``xm shutdown``, each command typed and checked."""

from __future__ import annotations

from pathlib import Path

from xmcompat.tour.guest import GuestFiles, xen_config
from xmcompat.tour.prompt import Prompt, StepFailed

NAME = "tour"
MAC = "00:16:3e:74:6f:75"

#: Seconds for a command that answers at once, for a guest that boots or ends without KVM on a busy machine.
ANSWER_SECONDS, START_SECONDS, BOOT_SECONDS, END_SECONDS = 60.0, 120.0, 240.0, 120.0

ESCAPE = "\x1d"


def configuration(files: GuestFiles, bridge: str) -> str:
    """The guest's configuration."""
    return xen_config(files, name=NAME, mac=MAC, bridge=bridge, extra="quiet")


def walk(prompt: Prompt, config: Path, kernel_version: str, *, keep: bool) -> None:
    """Go through the life of the guest that CONFIG describes; with KEEP it runs at the end.

    Raises StepFailed with the command that did not do what it should.
    """
    prompt.say("A guest configuration in the form that xen-tools gives it:")
    prompt.show(f"# cat {config}\n{config.read_text()}")
    _start(prompt, config)
    _log_in(prompt, kernel_version)
    _pause(prompt)
    _look(prompt)
    if not keep:
        _end(prompt)


def _start(prompt: Prompt, config: Path) -> None:
    prompt.say("Start it.")
    _check("Started domain tour" in prompt.xm("create", str(config), seconds=START_SECONDS), "xm create", "a domain")
    _check(row(prompt.xm("list", seconds=ANSWER_SECONDS)) is not None, "xm list", "the new domain")


def _log_in(prompt: Prompt, kernel_version: str) -> None:
    prompt.say("Log in on its console, as root without a password; Ctrl-] leaves the console.")
    answers = (
        (f"{NAME} login: ", "root\n"),
        ("# ", "uname -r\n"),
        ("# ", "cat /proc/cmdline\n"),
        ("# ", "df /\n"),
        ("# ", "exit\n"),
        ("login: ", ESCAPE),
    )
    said = prompt.console(NAME, answers, seconds=BOOT_SECONDS)
    _check(f"\n{kernel_version}\n" in said, "xm console", f"the guest's kernel {kernel_version}")


def _pause(prompt: Prompt) -> None:
    prompt.say("Pause it, and let it go on.")
    prompt.xm("pause", NAME, seconds=ANSWER_SECONDS)
    _check_state(prompt.xm("list", NAME, seconds=ANSWER_SECONDS), "--p---")
    prompt.xm("unpause", NAME, seconds=ANSWER_SECONDS)
    _check_state(prompt.xm("list", NAME, seconds=ANSWER_SECONDS), "r-----", "-b----")


def _look(prompt: Prompt) -> None:
    prompt.say("Its long listing is what Xen's tools print, and read again.")
    long = prompt.xm("list", "-l", NAME, seconds=ANSWER_SECONDS)
    _check(long.startswith("(domain\n") and f"(name {NAME})" in long, "xm list -l", "the domain")
    _check(row(prompt.xm("uptime", seconds=ANSWER_SECONDS)) is not None, "xm uptime", "the domain")


def _end(prompt: Prompt) -> None:
    prompt.say("Ask it to shut down, and wait until it has.")
    prompt.xm("shutdown", "-w", NAME, seconds=END_SECONDS)
    _check(row(prompt.xm("list", seconds=ANSWER_SECONDS)) is None, "xm list", "that the domain is gone")


def row(table: str) -> list[str] | None:
    """The words of the guest's line in a table of xm; None without one. Pure."""
    lines = (line.split() for line in table.splitlines())
    return next((words for words in lines if words[:1] == [NAME]), None)


def _check_state(table: str, *expected: str) -> None:
    words = row(table) or []
    _check(len(words) > 4 and words[4] in expected, f"xm list {NAME}", f"the state {' or '.join(expected)}")


def _check(shown: bool, command: str, what: str) -> None:
    if not shown:
        raise StepFailed(f"'{command}' has not shown {what}")
