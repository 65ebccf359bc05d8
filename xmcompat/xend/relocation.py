"""The ports at which other hosts send guests here: what xend's settings open, and who may come in.

Nothing is open unless settings say so, hosts are named in a way that means one thing, and words and memory are encrypted;
or xmcompat.toml allows for the other. Each connection is served by a process of its own (``visitor``), which outlives xend:
a guest on its way does not depend on it. Source: xend 4.1 had 8002 in clear and 8003 for SSL.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, NamedTuple

from xmcompat.backends.settings import read as read_settings
from xmcompat.errors import XmError
from xmcompat.migration import certificate_files
from xmcompat.migration import settings as migration_settings
from xmcompat.migration.access import Access, read_access
from xmcompat.migration.settings import MigrationSettings
from xmcompat.xend.config import YES, XendConfig

TLS, TCP = "tls", "tcp"
#: Connections at once of hosts that have not been let in yet: of all, and of one; and of those that have been. A guest on
#: its way takes two or three.
MOST, MOST_OF_ONE, MOST_WITHIN = 256, 64, 256
#: How many of the former are looked at at once, of all and of one; the others wait so many seconds, looking this often.
_AT_ONCE, _OF_ONE_AT_ONCE, _WAITING, _TURN = 32, 8, 30.0, 0.05
#: Seconds between two looks at visitors that have ended, and after which a connection is taken where files have run out.
_REAPING, _FILES = 5.0, 0.2
_FREEBIND = 15

Log = Callable[[str, str], None]


class Listen(NamedTuple):
    """A port to be opened: TLS or TCP, at an address or at that of a link, "" for all."""

    kind: str
    address: str
    port: int


class Opening(NamedTuple):
    """What is to be opened, to whom; ``warnings`` say what is not, or beware of, ``notes`` what needs nobody."""

    listens: tuple[Listen, ...] = ()
    access: Access = Access()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def opening(config: XendConfig, settings: MigrationSettings, *, certified: bool) -> Opening:
    """By xend's CONFIG and the SETTINGS of xmcompat; CERTIFIED: this host has certificates. Pure."""
    plain, secure = (config.value(f"xend-relocation-{word}").lower() in YES for word in ("server", "ssl-server"))
    if not plain and not secure:
        return Opening()
    access = read_access(config.value("xend-relocation-hosts-allow"))
    if access.unclear:
        closed = "no host can send guests here"
        return Opening(warnings=tuple(f"xend-relocation-hosts-allow: {one}. Until then {closed}" for one in access.unclear))
    if access.is_local:
        return Opening(notes=("xend-relocation-hosts-allow names this host alone: no port is opened for guests",))
    listens, warnings = [], [f"xend-relocation-hosts-allow: {one}" for one in access.told]
    address = config.value("xend-relocation-address").strip()
    if secure:
        if certified:
            listens.append(Listen(TLS, address, int(config.value("xend-relocation-ssl-port"))))
        else:
            warnings.append("xend-relocation-ssl-server: this host has no certificates; type: xmcompat migrate setup HOST")
        if access.everybody:
            warnings.append(
                "xend-relocation-hosts-allow admits every host that 'xmcompat migrate setup' has given certificates"
            )
    if plain and (why := _why_not_plain(access, settings)):
        warnings.append(f"xend-relocation-server: port {config.value('xend-relocation-port').strip()} stays closed: {why}")
    elif plain:
        listens.append(Listen(TCP, address, int(config.value("xend-relocation-port"))))
        warnings.append("xend-relocation-server: guests come in clear, and nobody proves who he is, as allow_tcp allows")
    return Opening(tuple(listens), access, tuple(warnings))


def _why_not_plain(access: Access, settings: MigrationSettings) -> str:
    if not settings.allow_tcp:
        return (
            "guests would come in clear; set xend-relocation-ssl-server, "
            "or allow_tcp = true below [migration] in xmcompat.toml"
        )
    if access.everybody:
        return "any host could send guests here; name those that may in xend-relocation-hosts-allow"
    return ""


class Relocation:
    """The open ports. ``open`` them, again when settings have changed, and ``close`` them in the end."""

    def __init__(self, log: Log, environ: Mapping[str, str] = os.environ) -> None:
        self._log = log
        self._environ = environ
        self._server: _Server | None = None

    def open(self, config: XendConfig) -> tuple[str, ...]:
        """Open what CONFIG says, and nothing else; returns what somebody has to know. Raises ConfigError."""
        self.close()
        path = self._environ.get("XMCOMPAT_CONFIG") or "xmcompat.toml"
        settings = migration_settings.read(read_settings(self._environ).migration, path)
        wanted = opening(config, settings, certified=certificate_files.is_certified(settings.certificates))
        warnings = list(wanted.warnings)
        sockets: list[tuple[Listen, socket.socket]] = []
        for listen in wanted.listens:
            try:
                sockets.append((listen, _bound(listen)))
            except (OSError, XmError) as error:
                why = error.line() if isinstance(error, XmError) else error.strerror or str(error)
                warnings.append(f"port {listen.port} is not open for guests of other hosts: {why}")
        for listen, _ in sockets:
            at = listen.address or "all addresses"
            self._log("INFO", f"Guests of other hosts may come by {listen.kind} at port {listen.port} of {at}.")
        for note in wanted.notes:
            self._log("INFO", note)
        for warning in warnings:
            self._log("WARNING", warning)
        if sockets:
            self._server = _Server(sockets, wanted.access, self._log, self._environ)
        return tuple(warnings)

    @property
    def ports(self) -> tuple[int, ...]:
        """Those that are open."""
        return self._server.ports if self._server is not None else ()

    def close(self) -> None:
        """Visitors that are there stay. May be repeated."""
        server, self._server = self._server, None
        if server is not None:
            server.close()


def _bound(listen: Listen) -> socket.socket:
    """The socket, which listens. Raises OSError, XmError."""
    address = _address_of(listen.address) if listen.address else ""
    if not address and socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", listen.port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_IP, _FREEBIND, 1)  # its link may come later
        made.bind((address, listen.port))
        made.listen()
    except BaseException:
        made.close()
        raise
    return made


_NO_IPV6 = (97, 99)  # EAFNOSUPPORT, EADDRNOTAVAIL


def _address_of(word: str) -> str:
    """WORD, or the address of the link of that name. Raises XmError."""
    if not os.path.exists(f"/sys/class/net/{word}") or "/" in word:
        return socket.gethostbyname(word) if ":" not in word else word
    from xmcompat.network import host

    found = host.read(tables=False).addresses_of(word, 4) or host.read(tables=False).addresses_of(word)
    if not found:
        raise XmError(f"'{word}' (xend-relocation-address) has no address")
    return found[0].address


class _Visitor(NamedTuple):
    """The process that serves a connection of HOST; what is read from ``within`` ends when the host has been let in."""

    host: str
    process: subprocess.Popen[bytes]
    within: IO[bytes]

    @property
    def waits(self) -> bool:
        """Whether it has not been let in yet."""
        return self.within.read(1) is None

    @property
    def is_there(self) -> bool:
        if self.process.poll() is None:
            return True
        self.within.close()
        return False


class _Waiting(NamedTuple):
    """A connection that nobody looks at yet, and until when it may wait."""

    listen: Listen
    host: str
    connection: socket.socket
    end: float


class _Server(threading.Thread):
    """Takes connections, and starts a visitor for each that may be one."""

    def __init__(
        self, sockets: list[tuple[Listen, socket.socket]], access: Access, log: Log, environ: Mapping[str, str]
    ) -> None:
        super().__init__(name="relocation", daemon=True)
        self._sockets = {one.fileno(): (listen, one) for listen, one in sockets}
        self._access = access
        self._log = log
        self._environ = environ
        self._visitors: list[_Visitor] = []
        self._waiting: list[_Waiting] = []
        self._wake, self._woken = os.pipe2(os.O_CLOEXEC)
        self.ports = tuple(int(one.getsockname()[1]) for _, one in sockets)
        for _, one in sockets:
            one.setblocking(False)
        self.start()

    def close(self) -> None:
        os.write(self._woken, b"x")
        self.join()
        os.close(self._wake)
        os.close(self._woken)

    def run(self) -> None:
        poll = select.poll()
        for fd in (*self._sockets, self._wake):
            poll.register(fd, select.POLLIN)
        try:
            while self._wake not in (ready := [fd for fd, _ in poll.poll((_TURN if self._waiting else _REAPING) * 1000)]):
                self._visitors = [one for one in self._visitors if one.is_there]
                for fd in ready:
                    self._take(*self._sockets[fd])
                self._waiting = [one for one in self._waiting if not self._looked_at(one)]
        finally:
            for one in self._waiting:
                one.connection.close()
            for _, listener in self._sockets.values():
                listener.close()
            for visitor in self._visitors:
                visitor.within.close()

    def _take(self, listen: Listen, listener: socket.socket) -> None:
        try:
            connection, peer = listener.accept()
        except OSError:  # it has gone, or no more files can be open
            time.sleep(_FILES)
            return
        address = str(peer[0]).removeprefix("::ffff:")
        if not self._access.asks_names and not self._access.admits(address):
            self._log("WARNING", f"Rejected connection from {address}.")
            connection.close()
        elif self._is_full(address):
            self._log("WARNING", f"Rejected connection from {address}: too many at once.")
            connection.close()
        else:
            self._waiting.append(_Waiting(listen, address, connection, time.monotonic() + _WAITING))

    def _is_full(self, address: str) -> bool:
        looked_at = self._at_work()
        outside = [*looked_at, *(one.host for one in self._waiting)]
        within = len(self._visitors) - len(looked_at)
        return len(outside) >= MOST or outside.count(address) >= MOST_OF_ONE or within >= MOST_WITHIN

    def _at_work(self) -> list[str]:
        """The hosts that are just being looked at."""
        return [one.host for one in self._visitors if one.waits]

    def _looked_at(self, one: _Waiting) -> bool:
        """Whether it waits no more: somebody looks at it now, or nobody has in time."""
        at_work = self._at_work()
        if len(at_work) < _AT_ONCE and at_work.count(one.host) < _OF_ONE_AT_ONCE:
            try:
                self._visitors.append(self._visitor(one.listen, one.host, one.connection))
            except OSError as error:
                self._log("ERROR", f"Connection from {one.host} cannot be served: {error.strerror}.")
        elif time.monotonic() < one.end:
            return False
        else:
            self._log("WARNING", f"Rejected connection from {one.host}: too many before it.")
        one.connection.close()
        return True

    def _visitor(self, listen: Listen, address: str, connection: socket.socket) -> _Visitor:
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        within = open(read, "rb", buffering=0)  # noqa: SIM115 - closed with the visitor
        try:
            return _Visitor(address, self._process(listen, address, connection, write), within)
        except BaseException:
            within.close()
            raise
        finally:
            os.close(write)

    def _process(self, listen: Listen, address: str, connection: socket.socket, within: int) -> subprocess.Popen[bytes]:
        above = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        argv = [sys.executable or "python3", "-P", "-m", "xmcompat.xend.visitor", listen.kind, address, str(within)]
        return subprocess.Popen(
            argv, stdin=connection.fileno(), stdout=subprocess.DEVNULL, start_new_session=True, cwd="/",
            pass_fds=(within,), env={**self._environ, "PYTHONPATH": above, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
