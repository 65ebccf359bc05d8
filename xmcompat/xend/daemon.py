"""The daemon itself: makes the host ready, starts the domains that want it, and then sees to those that end.

libvirt owns the state of guests; the daemon may die at any moment and nothing is lost but what it would do next.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager

from xmcompat.backends import settings
from xmcompat.backends.hypervisor import DomainInfo
from xmcompat.backends.system_libvirtd import SystemLibvirtd
from xmcompat.errors import HypervisorUnreachable, XmError
from xmcompat.managed import Managed
from xmcompat.toolstack import Toolstack
from xmcompat.xend.announce import announced
from xmcompat.xend.config import XendConfig
from xmcompat.xend.config_file import config_path, log_path, read_config_file
from xmcompat.xend.domains import Domains
from xmcompat.xend.interfaces import Interfaces
from xmcompat.xend.keeper import Keeper
from xmcompat.xend.log import DEFAULT_LEVEL, XendLog
from xmcompat.xend.network_start import bring_up
from xmcompat.xend.relocation import Relocation
from xmcompat.xend.signals import Signals

#: Seconds between two looks at what may have been missed, and the pauses between attempts to reach libvirt.
IDLE = 60.0
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)

Ready = Callable[[tuple[str, ...]], None]


class Daemon:
    """One run of it. READY is called, with warnings, when all servers answer. FIRST is False where it starts anew.

    EVERYTHING logs all, whatever the settings say.
    """

    def __init__(
        self, signals: Signals, directory: str, ready: Ready, *, first: bool = True, everything: bool = False,
        environ: Mapping[str, str] = os.environ,
    ) -> None:  # fmt: skip
        """Raises ConfigError for settings that cannot be read."""
        self._signals = signals
        self._ready = ready
        self._is_ready = False
        self._warnings: tuple[str, ...] = ()
        self._first = first
        self._everything = everything
        self._environ = environ
        self._config = read_config_file(environ)
        self._log = XendLog(log_path(self._config), self._level(self._config))
        self._uri = settings.hypervisor_uri(environ=environ)
        self._libvirtd = SystemLibvirtd(self._uri, directory, self._log)
        self._relocation = Relocation(self._log, environ)
        self._queue: list[DomainInfo] = []

    def run(self) -> None:
        """Until a signal asks for the end. Raises XmError where the start fails; what happens later is logged."""
        with closing(self._log), closing(self._relocation):
            self._log("INFO", "Xend Daemon started" if self._first else "Xend Daemon started again")
            try:
                self._libvirtd.ensure()
                self._warnings = bring_up(self._config, self._environ, self._log)
                if self._first:
                    self._announce()
                self._serve_until_stopped()
                self._libvirtd.stop()
            except XmError as error:
                self._log("CRITICAL", f"Xend ends: {error.line()}")
                raise
            self._log("INFO", "Xend Daemon ends")

    def _level(self, config: XendConfig) -> str:
        return DEFAULT_LEVEL if self._everything else config.value("loglevel")

    def _announce(self) -> None:
        """Log what each setting becomes here."""
        bridges = self._bridges()
        aliases = dict(settings.read(self._environ).bridge_aliases)
        for level, text in announced(self._config, config_path(self._environ), bridges, aliases):
            self._log(level, text)

    def _bridges(self) -> list[str] | None:
        try:
            with Toolstack.open(self._uri) as toolstack:
                return toolstack.hypervisor.bridges()
        except XmError as error:
            self._log("ERROR", f"The host's bridges are not known: {error.line()}")
            return None

    # -- the connection

    def _serve_until_stopped(self) -> None:
        while not self._signals.stop:
            try:
                with Toolstack.open(self._uri) as toolstack:
                    self._serve(toolstack)
                return
            except HypervisorUnreachable:
                if not self._is_ready:
                    raise
                self._log("ERROR", f"The connection to libvirt ({self._uri}) was lost.")
                self._reconnect()
        self._log("WARNING", "libvirt does not answer: no domain is treated as its on_xend_stop says.")

    def _reconnect(self) -> None:
        """Wait until libvirt answers again, or the end is asked for."""
        lost = time.monotonic()
        for pause in _pauses():
            self._signals.wait(pause)
            with self._surviving():
                self._reload_if_asked()
            if self._signals.stop:
                return
            try:
                self._libvirtd.again()
            except XmError:
                self._log("DEBUG" if pause < PAUSES[-1] else "WARNING", "libvirt does not answer yet.")
            else:
                self._log("INFO", f"libvirt answers again after {time.monotonic() - lost:.1f} s.")
                return

    def _serve(self, toolstack: Toolstack) -> None:
        """Serve over one connection until the end is asked for. Raises HypervisorUnreachable when it is lost."""
        hypervisor = toolstack.hypervisor
        stop_watching = hypervisor.watch_input(self._signals.fd, self._signals.drain)
        try:
            interfaces = Interfaces(toolstack, self._log)
            keeper = Keeper(toolstack, self._log, on_change=interfaces.on_event)
            domains = Domains(toolstack, Managed(toolstack), self._log)
            keeper.watch()
            keeper.catch_up()
            with self._surviving():
                interfaces.catch_up()
            if not self._is_ready:
                self._start_pools(toolstack)
                self._become_ready()
                self._queue = domains.wanted() if self._first else []
            while not self._signals.stop:
                with self._surviving():
                    self._reload_if_asked()
                    if self._queue:
                        domains.start(self._queue.pop(0))
                    hypervisor.wait_event(0.01 if self._queue else IDLE)
                    keeper.tend()
            keeper.finish()
            domains.stop()
        finally:
            stop_watching()

    def _start_pools(self, toolstack: Toolstack) -> None:
        """CPU pools come before the domains that want to be in them."""
        with self._surviving():
            for sentence in toolstack.pools.start_marked() if self._first else ():
                self._log("ERROR", sentence)

    def _become_ready(self) -> None:
        self._is_ready = True
        with self._surviving():
            self._warnings += self._relocation.open(self._config)
        problem = self._log.problem
        self._ready((*((f"xend's log cannot be written: {problem}",) if problem else ()), *self._warnings))

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """One event that goes wrong is logged, and does not keep the daemon from the next."""
        try:
            yield
        except HypervisorUnreachable:
            raise
        except XmError as error:
            self._log("ERROR", error.line())
        except Exception as error:  # noqa: BLE001 - a fault of our own must not end the care for all guests
            self._log("CRITICAL", f"internal error: {type(error).__name__}: {error} ({_place(error)}); please report")
            self._signals.wait(0.1)

    # -- the settings

    def _reload_if_asked(self) -> None:
        if not self._signals.reload():
            return
        try:
            config = read_config_file(self._environ)
        except XmError as error:
            self._log("ERROR", f"The settings stay as they were: {error.line()}")
            return
        self._config = config
        self._log("INFO", "Xend reads its settings anew")
        self._log.move(log_path(config), self._level(config))
        if self._log.problem:
            sys.stderr.write(f"xend's log cannot be written: {self._log.problem}\n")
            sys.stderr.flush()
        self._announce()
        self._relocation.open(config)


def _pauses() -> Iterator[float]:
    yield from PAUSES
    while True:
        yield PAUSES[-1]


def _place(error: BaseException) -> str:
    """Where in the program it happened."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else "?"
