"""The libvirt of the system: whether it answers, and how it is started where nothing else does it.

A service manager that knows libvirt's service is asked to start it. Where there is none, libvirt's programs are started
in the background, with the system's own directories and sockets; that is remembered in a file, so that whoever stops
them later stops nothing else. Guests outlive their libvirtd.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

from xmcompat.backends.private_init import process_start
from xmcompat.backends.private_libvirtd import SBIN
from xmcompat.backends.settings import DEFAULT_URI
from xmcompat.errors import HypervisorUnreachable, XmError

#: Seconds until a started libvirt must answer, until one that is stopped must be gone, and for the service manager.
START_DEADLINE, STOP_DEADLINE, SERVICE_DEADLINE = 30.0, 10.0, 60.0
#: Seconds for which somebody else's libvirt may still come, when the one that was started has ended.
LAST_PATIENCE = 2.0

SYSTEMD = "/run/systemd/system"
#: In the order in which they are looked for.
SERVICES = ("virtqemud.service", "libvirtd.service")
#: The daemon that keeps guests' logs open: it must be there first, and is never stopped, for guests would lose them.
LOG_DAEMON = "virtlogd"
#: What is started where there is no libvirtd: libvirt's daemons one by one.
MODULAR = ("virtqemud", "virtnetworkd", "virtsecretd", "virtstoraged", "virtnodedevd", "virtnwfilterd", "virtinterfaced")

Say = Callable[[str, str], None]


class Host(NamedTuple):
    """Where things are on this host, and how it is asked whether libvirt answers (which raises what ``connect`` does)."""

    ask: Callable[[], None]
    path: tuple[str, ...]
    systemctl: str = "systemctl"
    systemd: str = SYSTEMD


def this_host(uri: str) -> Host:
    def ask() -> None:
        from xmcompat.backends.libvirt_kvm import connect

        hypervisor = connect(uri)
        try:
            hypervisor.domains()
        finally:
            hypervisor.close()

    words = [word for word in os.environ.get("PATH", os.defpath).split(":") if word.startswith("/")]
    return Host(ask, (*words, *(folder for folder in SBIN if folder not in words)))


class SystemLibvirtd:
    """The libvirt at URI. DIRECTORY is where it is remembered what was started; SAY takes a level ("INFO") and a text."""

    def __init__(self, uri: str, directory: str, say: Say, host: Host | None = None) -> None:
        self._uri = uri
        self._directory = directory
        self._say = say
        self._host = host or this_host(uri)
        self._children: list[subprocess.Popen[bytes]] = []

    def ensure(self) -> None:
        """Have it answer. Raises HypervisorUnreachable, and XmError where there is no libvirt to start."""
        try:
            self._host.ask()
            return
        except HypervisorUnreachable as error:
            if self._uri != DEFAULT_URI:  # it is not ours to start
                raise HypervisorUnreachable(f"libvirt does not answer at {self._uri}: {_reason(error)}") from None
        service = self._service()
        if service:
            self._say("INFO", f"libvirt does not answer; the service manager is asked to start {service}.")
            self._start_service(service)
        elif not self.ours():
            self._start_programs()
        self._await_answer()

    def again(self) -> None:
        """Have it answer after it was lost: what was started here is started again, the system's own is waited for."""
        self._reap()
        if self._started_here() and not self.ours():
            self.ensure()
        else:
            self._host.ask()

    def stop(self) -> None:
        """End what was started here, if it runs, but for the log daemon."""
        for name, pid in self.ours():
            self._say("INFO", f"{name} ({pid}), which was started by xend, is stopped; guests go on.")
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_DEADLINE
        while self.ours() and time.monotonic() < deadline:
            time.sleep(0.05)
        self._reap()
        for name, pid in self.ours():
            self._say("WARNING", f"{name} ({pid}) does not end.")
        if not self.ours() and self._started_here():
            os.unlink(self._record)

    def ours(self) -> list[tuple[str, int]]:
        """Name and number of each daemon that was started here and runs."""
        found = []
        for name, pid, start in self._recorded():
            try:
                if process_start(pid) == start and not _is_dead(pid):
                    found.append((name, pid))
            except OSError:
                continue  # it has ended
        return found

    def _reap(self) -> None:
        """Let those that have ended go."""
        for child in self._children:
            child.poll()

    @property
    def _record(self) -> str:
        return os.path.join(self._directory, "libvirtd")

    def _started_here(self) -> bool:
        return os.path.exists(self._record)

    def _recorded(self) -> list[tuple[str, int, str]]:
        try:
            with open(self._record, encoding="ascii", errors="replace") as file:
                found = re.findall(r"^(\S+) ([0-9]{1,9}) ([0-9]+)$", file.read(), re.MULTILINE)
        except OSError:
            return []
        return [(name, int(pid), start) for name, pid, start in found]

    # -- by the service manager

    def _service(self) -> str:
        """The service that is libvirt's here, an enabled one before others; "" without a service manager or service."""
        if not os.path.isdir(self._host.systemd):
            return ""
        listed = self._systemctl("list-unit-files", "--no-legend", "--no-pager", *SERVICES).stdout
        states = dict(re.findall(r"^(\S+)\s+(\S+)", listed, re.MULTILINE))
        known = [name for name in SERVICES if states.get(name, "bad") not in ("masked", "masked-runtime", "bad")]
        if not known and (masked := [name for name in states if name in SERVICES]):
            raise XmError(f"{masked[0]} is masked", hint=f"allow it with systemctl unmask {masked[0]}")
        return next((name for name in known if states[name] == "enabled"), known[0] if known else "")

    def _start_service(self, service: str) -> None:
        done = self._systemctl("start", service)
        if done.returncode:
            told = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[0]
            raise HypervisorUnreachable(f"{service} cannot be started: {told}", hint=f"see systemctl status {service}")

    def _systemctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                (self._host.systemctl, *words), capture_output=True, text=True, errors="replace", check=False,
                timeout=SERVICE_DEADLINE, stdin=subprocess.DEVNULL, env=self._environment(),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise HypervisorUnreachable(f"systemctl {words[0]} takes more than {SERVICE_DEADLINE:.0f} s") from None
        except OSError as error:
            raise HypervisorUnreachable(f"systemctl cannot be run: {error.strerror}") from None

    # -- by itself

    def _start_programs(self) -> None:
        names = ("libvirtd",) if self._program("libvirtd") else tuple(filter(self._program, MODULAR))
        if "libvirtd" not in names and "virtqemud" not in names:
            raise XmError("libvirt does not answer, and libvirtd is not installed", hint="install libvirt-daemon-system")
        self._children.clear()
        if self._program(LOG_DAEMON):
            self._start(LOG_DAEMON)  # one that runs already has locked its pid file: this one ends again
        started = {name: self._start(name).pid for name in names}
        lines = "".join(f"{name} {pid} {process_start(pid)}\n" for name, pid in started.items())
        with open(self._record, "w", encoding="ascii") as file:
            file.write(lines)
        told = ", ".join(f"{name} ({pid})" for name, pid in started.items())
        self._say("INFO", f"libvirt does not answer; started {told}.")

    def _program(self, name: str) -> str:
        """Its path, "" where it is not installed."""
        paths = (os.path.join(folder, name) for folder in self._host.path)
        return next((path for path in paths if os.access(path, os.X_OK)), "")

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        try:
            child = subprocess.Popen(
                (self._program(name),), stdin=subprocess.DEVNULL, start_new_session=True, cwd="/", env=self._environment(),
            )  # fmt: skip
        except OSError as error:
            raise XmError(f"{name} cannot be started: {error.strerror}") from None
        self._children.append(child)
        return child

    def _environment(self) -> dict[str, str]:
        return {"PATH": ":".join(self._host.path), "LC_ALL": "C", "HOME": "/root"}

    def _await_answer(self) -> None:
        """Raises what the question raises at last; an XmError where what was started has ended, and nobody else answers."""
        deadline, ended = time.monotonic() + START_DEADLINE, ""
        while True:
            try:
                self._host.ask()
                return
            except HypervisorUnreachable:
                if time.monotonic() > deadline:
                    if not ended:
                        raise HypervisorUnreachable("libvirt was started, and does not answer") from None
                    raise XmError(f"{ended} ended when it was started", hint="xend-debug.log says why") from None
            if not ended and (ended := self._ended()):
                deadline = min(deadline, time.monotonic() + LAST_PATIENCE)
            time.sleep(0.1)

    def _ended(self) -> str:
        """The name of one of those that were started here and have ended, "" where there is none."""
        gone = {child.pid for child in self._children if child.poll() is not None}
        return next((name for name, pid, _ in self._recorded() if pid in gone), "")


def _reason(error: HypervisorUnreachable) -> str:
    """The part of xm's own sentence that says why."""
    return error.message.removeprefix("Unable to connect to xend: ").removesuffix(" Is xend running?").removesuffix(".")


def _is_dead(pid: int) -> bool:
    """Whether it has ended, and its parent has not asked for that yet."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0] in "ZX"
