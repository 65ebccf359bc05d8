"""What ``xendomains start`` does: guests that were saved are restored, then those of the auto directory are started."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from xmcompat.config import load
from xmcompat.errors import XmError
from xmcompat.migration import save_file
from xmcompat.toolstack import Toolstack
from xmcompat.xend.sysconfig import Settings


class Report(NamedTuple):
    """Where to say things: SAY puts a piece into the line that is being written, FAIL has a line of its own."""

    say: Callable[[str], None]
    fail: Callable[[str], None]


class AutoGuest(NamedTuple):
    """One file of the auto directory. ``name`` is that of its domain, "" where ``problem`` says why there is none."""

    path: str
    name: str
    problem: str = ""

    @property
    def base(self) -> str:
        return os.path.basename(self.path)


def start(
    toolstack: Toolstack, settings: Settings, report: Report, *, sleep: Callable[[float], None] = time.sleep
) -> bool:
    """Restore and start all that is not there yet; whether all went well. Each failure is told, and the rest goes on."""
    well = True
    waiting: set[str] = set()
    if settings.restore and settings.save:
        waiting = {os.path.basename(path) for path in saved_files(settings.save)}
        well = restore_saved(toolstack, settings, report, sleep=sleep)
    return start_auto(toolstack, settings, report, waiting, sleep=sleep) and well


def restore_saved(
    toolstack: Toolstack, settings: Settings, report: Report, *, sleep: Callable[[float], None] = time.sleep
) -> bool:
    """Restore each saved guest in the order of names. A file goes before its guest runs, so that it is never used twice."""
    well = True
    files = saved_files(settings.save)
    if files:
        report.say("Restoring Xen domains:")
    for number, path in enumerate(files):
        if number:
            sleep(settings.create_usleep)
        name = os.path.basename(path)
        report.say(f" {name}")
        try:
            toolstack.saving.restore(path, attend=lambda _info, path=path: os.unlink(path))  # type: ignore[misc]
        except XmError as error:
            well = _failed(report, f"{name} could not be restored from {path}: {error.line()}")
        except OSError as error:
            well = _failed(report, f"{name} is not restored, since {path} cannot be removed: {error.strerror}")
    if files:
        report.say("\n")
    for path in unfinished_files(settings.save):
        report.fail(f"{path} is what is left of a save that was broken off; try: xm restore {path}, then remove it")
    return well


def start_auto(
    toolstack: Toolstack, settings: Settings, report: Report, saved: set[str] = frozenset(), *,  # type: ignore[assignment]
    sleep: Callable[[float], None] = time.sleep,
) -> bool:  # fmt: skip
    """Start each guest of the auto directory, in the order of file names, but for those that are there.

    One with a file in SAVED is not started either: its state was saved, whether or not it could be restored.
    """
    guests = auto_guests(settings.auto)
    if not guests:
        return True
    well, begun = True, False
    report.say("Starting auto Xen domains:")
    for guest in guests:
        report.say(f" {guest.base}")
        if guest.base in saved or guest.name in saved or guest.name in _names_there(toolstack):
            report.say("(skip)")
            continue
        if begun:
            sleep(settings.create_usleep)
        begun = True
        well = _start(toolstack, guest, report) and well
    report.say("\n")
    return well


def _start(toolstack: Toolstack, guest: AutoGuest, report: Report) -> bool:
    if guest.problem:
        return _failed(report, guest.problem)
    try:
        created = toolstack.create(load.load(guest.path))
    except XmError as error:
        return _failed(report, f"{guest.path} could not be started: {error.line()}")
    for warning in created.warnings:
        report.fail(f"{guest.path}: {warning}")
    return True


def _failed(report: Report, line: str) -> bool:
    report.fail(line)
    return False


def _names_there(toolstack: Toolstack) -> set[str]:
    return {info.name for info in toolstack.domains() if info.domid is not None}


def auto_guests(directory: str) -> Sequence[AutoGuest]:
    """The configurations of the auto directory, by file name; hidden files and directories are none."""
    return [_auto_guest(path) for path in _files(directory)]


def _auto_guest(path: str) -> AutoGuest:
    try:
        return AutoGuest(path, load.load(path).guest.name)
    except XmError as error:
        return AutoGuest(path, "", error.line() if path in error.line() else f"{path}: {error.line()}")


def saved_files(directory: str) -> list[str]:
    """Files of ``xm save`` in DIRECTORY, by name; those that are not finished are none. A guest's name may begin with
    a dot."""
    return [path for path in _files(directory, hidden=True) if save_file.is_save_file(path) and not _is_unfinished(path)]


def unfinished_files(directory: str) -> list[str]:
    """What is left in DIRECTORY of saves that were broken off when the image was whole."""
    return [
        path for path in _files(directory, hidden=True)
        if path.endswith(save_file.UNFINISHED)
        and (save_file.is_whole_image(path) or (_is_unfinished(path) and _has_image(path)))
    ]  # fmt: skip


def _has_image(path: str) -> bool:
    return save_file.is_save_file(path) or save_file.lacks_header(path)


def _is_unfinished(path: str) -> bool:
    """Whether its name is one that saves give; a guest may be called ``web1.unfinished``."""
    return save_file.UNFINISHED_NAME.search(path) is not None


def _files(directory: str, *, hidden: bool = False) -> list[str]:
    found = _regular(directory) if directory else ()
    return [path for path in found if hidden or not os.path.basename(path).startswith(".")]


def _regular(directory: str) -> Iterator[str]:
    try:
        names = sorted(os.listdir(directory), key=os.fsencode)
    except OSError:
        return
    for name in names:
        path = os.path.join(directory, name)
        try:
            regular = stat.S_ISREG(os.stat(path).st_mode)
        except OSError:
            regular = True  # a link that leads nowhere is told when it is read
        if regular:
            yield path
