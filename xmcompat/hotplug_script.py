"""Scripts of Xen's users for the host's ends of devices: started as Xen starts them.

A script that root trusts, from the one folder for them, with Xen's words and environment, a deadline, and answers for the
tools with which it asks XenStore (see ``script_store``). What is particular to interfaces and to disks is said by
``network.script`` and ``storage.block_script``. Source: xend 4.1 and its hotplug agents.
"""

from __future__ import annotations

import os
import signal
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from xmcompat.errors import XmError
from xmcompat.script_store import lock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import IO

    from xmcompat.script_store import Store

FOLDER = "/etc/xen/scripts"
#: What the scripts write, as under Xen.
LOG = "/var/log/xen/xen-hotplug.log"
#: Seconds, where xend's settings say nothing else.
DEADLINE = 100.0

#: Bytes of what a script writes that are looked at and logged.
_MOST_OUTPUT = 64 * 1024
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class ScriptFailed(XmError):
    """What xm says behind "Device N (vif) could not be connected. "."""


class Call(NamedTuple):
    """A script for one device. ``file`` is its path, ``words`` are all its arguments; ``path`` is the device's in XenStore
    ("backend/vif/3/0"), ``shown`` what the log says of it. ``more`` is of its environment."""

    file: str
    words: tuple[str, ...]
    path: str
    shown: str
    more: Mapping[str, str]


class Ended(NamedTuple):
    """``status`` is None where it was killed at the deadline; ``said`` is the last line that it wrote."""

    status: int | None
    said: str


def find(name: str, folder: str = FOLDER) -> str:
    """The path of the script NAME, which is a file of FOLDER, with or without its path. Changes nothing.

    Raises ScriptFailed for one outside the folder, and for one that others than root could have written.
    """
    wanted = name if name.startswith("/") else os.path.join(folder, name)
    real, inside = os.path.realpath(wanted), os.path.realpath(folder)
    if not real.startswith(f"{inside}/"):
        raise ScriptFailed(f"The script {name} is not run: only those in {folder} are", hint=f"put it into {folder}")
    try:
        found = os.stat(real)
    except OSError as error:
        raise ScriptFailed(f"The script {wanted} cannot be run: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode) or not found.st_mode & stat.S_IXUSR:
        raise ScriptFailed(f"The script {wanted} cannot be run: it is no program", hint=f"try: chmod 755 {wanted}")
    place = real
    while True:
        _refuse_untrusted(place)
        if place == inside:
            return real
        place = os.path.dirname(place)


def _refuse_untrusted(place: str) -> None:
    found = os.stat(place)
    if found.st_uid != 0 or found.st_mode & _OTHERS:
        raise ScriptFailed(
            f"{place} is not trusted: others than root may write it", hint=f"try: chown root {place}; chmod go-w {place}"
        )


def programs_in(folder: str = FOLDER) -> tuple[str, ...]:
    """The names of what can be started in FOLDER; whether it is trusted is looked at when it is."""
    try:
        with os.scandir(folder) as entries:
            return tuple(sorted(one.name for one in entries if one.is_file() and one.stat().st_mode & stat.S_IXUSR))
    except OSError:
        return ()


def run(call: Call, store: Store, *, deadline: float = DEADLINE, log: str = LOG, bound: bool = False) -> Ended:
    """Run the script to its end, with what it tells STORE. With BOUND it does not outlive this process.

    Raises ScriptFailed where it cannot be started.
    """
    argv = (call.file, *call.words)
    tied = ("setpriv", "--pdeathsig", "KILL", "--") if bound else ()
    try:
        with open(store.output(), "w+b") as file:
            lock(file.fileno())  # which the script inherits: it may outlive this process
            status = _ended((*tied, *argv), _environment(call, store), file, deadline)
            file.seek(max(file.seek(0, os.SEEK_END) - _MOST_OUTPUT, 0))
            text = file.read(_MOST_OUTPUT).decode("utf-8", "replace")
    except OSError as error:
        raise ScriptFailed(f"The script {call.file} cannot be run: {error.strerror}") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    _note(log, argv, call, "no end" if status is None else f"status {status}", lines)
    return Ended(status, lines[-1] if lines else "")


def refuse_failed(call: Call, ended: Ended, store: Store, *, deadline: float = DEADLINE, log: str = LOG) -> None:
    """Raise ScriptFailed where the script has not connected the device, by its status or by what it told XenStore.

    Differs from Xen: one that ends well and tells XenStore nothing has connected it.
    """
    status = ended.status
    told, why = store.told(f"{call.path}/hotplug-status"), store.told(f"{call.path}/hotplug-error")
    if status is None:
        raise ScriptFailed(
            "Hotplug scripts not working.", hint=f"{call.file} did not end within {deadline:g} s; see {log}"
        )
    if told in ("error", "busy") or status:
        how = f"{call.file} ended with status {status}" if status > 0 else f"{call.file} was ended by signal {-status}"
        raise ScriptFailed(why or ended.said or "Backend device not found.", hint=how if status else f"see {log}")


def _ended(argv: Sequence[str], environment: Mapping[str, str], output: IO[bytes], deadline: float) -> int | None:
    """A process, and all that it starts: killed at the DEADLINE, and where this program is broken off."""
    import subprocess

    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, cwd="/", start_new_session=True
    )
    try:
        return process.wait(deadline)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _environment(call: Call, store: Store) -> dict[str, str]:
    return {
        "PATH": f"{store.programs}:{_PATH}", "LC_ALL": "C", "LANG": "POSIX", "HOME": "/", "TERM": "dumb",
        "XENBUS_BASE_PATH": "backend", "XENBUS_PATH": call.path, "script": call.file, "XENSTORE_VALUES": store.values,
        **call.more,
    }  # fmt: skip


def _note(log: str, argv: Sequence[str], call: Call, end: str, lines: Sequence[str]) -> None:
    """One entry in the log; silent where it cannot be written."""
    head = f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {call.path} ({call.shown}): {' '.join(argv)}: {end}"
    try:
        os.makedirs(os.path.dirname(log), 0o755, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(descriptor, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write("\n".join((head, *(f"    {line}" for line in lines))) + "\n")
    except OSError:
        return
