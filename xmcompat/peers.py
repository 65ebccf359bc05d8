"""The way to another host: TLS to its xend where certificates are set up, ssh, or plain TCP where that is allowed.

``Way`` has both halves of it: the conversation with xmcompat there (``migration.peer``), and the URI by which this host's
libvirtd reaches the other's. The port of xend's relocation serves both: xend gives what is not meant for it to libvirtd.
``Begun`` has the first steps made while this host is asked: ssh and TLS take their time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from xmcompat import __version__
from xmcompat.backends.settings import read as read_settings
from xmcompat.errors import ConfigError, OperationError
from xmcompat.migration import certificate_files
from xmcompat.migration import settings as migration_settings
from xmcompat.migration.peer import PeerClient
from xmcompat.migration.settings import MigrationSettings
from xmcompat.migration.wire import SILENCE, VERSION, Greeting, PeerLost
from xmcompat.peer_lines import SETUP, CannotConnect, Line, ssh_line, tcp_line, tls_line
from xmcompat.xend.config import YES
from xmcompat.xend.config_file import read_config_file

if TYPE_CHECKING:
    from xmcompat.backends.hypervisor import Hypervisor
    from xmcompat.migration.peer import Peer

TLS, SSH, TCP = "tls", "ssh", "tcp"


class Opened(NamedTuple):
    """A conversation that has begun, and what ends what it goes over."""

    peer: Peer
    close: Callable[[], None]


class Way:
    """The way to HOST. ``uri`` is its libvirtd as this host's libvirtd reaches it; ``tls``: QEMU encrypts what it sends;
    ``private``: nobody else can read the conversation.

    A context manager: closed at the end.
    """

    def __init__(self, route: Route, me: Greeting) -> None:
        """Goes by the line of ROUTE, as ME. Raises CannotConnect and what ``Peer`` raises."""
        self.host = route.host
        self.transport = route.transport
        self.uri = route.uri
        self.tls = route.encrypted
        self._me = me
        self._dial = route.dial
        self._silence = route.silence
        self.private = route.transport in (TLS, SSH)
        self._opened = self._conversation(route.line)
        if route.transport == SSH and self.peer.noise:
            self.close()
            raise _cannot_be_read(self.host, self.peer.noise)

    @property
    def peer(self) -> Peer:
        return self._opened.peer

    def again(self) -> Peer:
        """Another conversation, where the first one has broken. Raises CannotConnect and what ``Peer`` raises."""
        self._opened.close()
        self._opened = self._conversation(self._dial())
        return self._opened.peer

    def _conversation(self, line: Line) -> Opened:
        return _conversation(line, self.host, self._me, silence=self._silence, private=self.private)

    def close(self) -> None:
        """May be repeated."""
        self._opened.peer.close()
        self._opened.close()

    def __enter__(self) -> Way:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Route(NamedTuple):
    """How HOST is reached: a line to it, what makes another one, and what was in the way of a better transport."""

    host: str
    transport: str
    uri: str
    encrypted: bool
    dial: Callable[[], Line]
    line: Line
    better: CannotConnect | None = None
    silence: float = SILENCE


class _Place(NamedTuple):
    """What of this host matters to the way: its settings, and those of xend."""

    settings: MigrationSettings
    ssl_port: int
    port: int
    prefers_tls: bool

    @property
    def certified(self) -> bool:
        """Whether this host has certificates for other hosts."""
        return certificate_files.is_certified(self.settings.certificates)

    @property
    def encrypts(self) -> bool:
        """Whether QEMU can encrypt what it sends."""
        return certificate_files.is_encrypting(self.settings.pki)

    def transports(self, port: int | None, ssl: bool | None) -> tuple[str, ...]:
        """Those that are tried, the best one first."""
        wanted = TLS if ssl else self.settings.transport or (TLS if self.prefers_tls else "")
        if wanted:
            return (wanted,)
        if not self.certified:
            return (TCP if port and self.settings.allow_tcp else SSH,)
        return (TLS,) if port else (TLS, SSH)


class Begun:
    """The way to HOST, by PORT of its xend where one is given; SSL: by TLS and nothing else. A thread makes a line to it
    from now on. A context manager: what nobody has taken is closed at the end.
    """

    def __init__(
        self, host: str, *, port: int | None = None, ssl: bool | None = None, environ: Mapping[str, str] = os.environ
    ) -> None:
        """Raises nothing: ``way`` does."""
        self._asked = host, port, ssl, environ
        self._over = threading.Event()
        self._turn = threading.Lock()
        self._route: Route | None = None
        self._error: BaseException | None = None
        self._closed = False
        threading.Thread(target=self._make, name="migration-way", daemon=True).start()

    def _make(self) -> None:
        try:
            route = _route(*self._asked)
            with self._turn:
                self._route = route
                if self._closed:
                    self._drop()
        except BaseException as error:  # noqa: BLE001 - raised where the way is asked for
            self._error = error
        finally:
            self._over.set()

    def way(self, hypervisor: Hypervisor) -> Way:
        """The way, once; libvirt's HYPERVISOR says who this host is.

        Raises CannotConnect, WireError, PeerLost, ConfigError; OperationError where a guest's memory would go in clear and
        nobody has allowed that.
        """
        me = Greeting(
            xmcompat=VERSION, hostname=os.uname().nodename, uuid=hypervisor.migration_host().uuid, program=__version__
        )
        self._over.wait()
        if self._error is not None:
            raise self._error
        with self._turn:
            route, self._route = self._route, None
        assert route is not None
        try:
            return Way(route, me)
        except OperationError as error:
            if route.better is not None:
                raise _by_neither(route.host, route.better, error) from None
            raise

    def close(self) -> None:
        """May be repeated."""
        with self._turn:
            self._closed = True
            self._drop()

    def _drop(self) -> None:
        route, self._route = self._route, None
        if route is not None:
            route.line.close()

    def __enter__(self) -> Begun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_way(
    host: str, hypervisor: Hypervisor, *, port: int | None = None, ssl: bool | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Way:  # fmt: skip
    """The same at once. Raises as ``Begun.way``."""
    with Begun(host, port=port, ssl=ssl, environ=environ) as begun:
        return begun.way(hypervisor)


def _route(host: str, port: int | None, ssl: bool | None, environ: Mapping[str, str]) -> Route:
    _refuse_no_host(host)
    place = _place(environ)
    first, *others = place.transports(port, ssl)
    try:
        return _ROUTES[first](host, port, place)._replace(silence=place.settings.silence)
    except CannotConnect as error:
        if not others:
            raise
        try:
            return _ROUTES[others[0]](host, port, place)._replace(better=error, silence=place.settings.silence)
        except OperationError as second:
            raise _by_neither(host.rpartition("@")[2], error, second) from None


def _refuse_no_host(host: str) -> None:
    """Raise OperationError for what ssh or libvirt could take for something else than a host, or USER@HOST."""
    user, _, name = host.rpartition("@")
    wrong = not name or "-" in (name[0], host[0]) or not host.isprintable() or set(host) & set(" /?#\\'\"[]")
    if wrong or "@" in user or (":" in name and not _is_address(name)):
        raise OperationError(f"'{host}' is no name of a host")


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _by_neither(name: str, error: CannotConnect, second: OperationError) -> CannotConnect:
    return CannotConnect(error.message, hint=f"xend of {name} is not open for guests, and by ssh: {second.line()}")


def _cannot_be_read(host: str, noise: str) -> OperationError:
    """libvirt's own ssh gets the same in front of libvirt's words."""
    return OperationError(
        f"a login shell of {host} says '{noise}' on stdout to every command of ssh, which libvirt cannot read",
        hint="let ~/.bashrc there, or what else it reads, print nothing where there is no terminal",
    )


def _place(environ: Mapping[str, str]) -> _Place:
    """Raises ConfigError."""
    path = environ.get("XMCOMPAT_CONFIG") or "xmcompat.toml"
    settings = migration_settings.read(read_settings(environ).migration, path)
    try:
        xend = read_config_file(environ)
    except ConfigError:
        return _Place(settings, 8003, 8002, prefers_tls=False)  # xend itself tells what is wrong with its file
    ports = [int(xend.value(name)) for name in ("xend-relocation-ssl-port", "xend-relocation-port")]
    return _Place(settings, ports[0], ports[1], prefers_tls=xend.value("xend-relocation-ssl").lower() in YES)

#: Characters of a URI that mean nothing but themselves.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-~:")


def _bracketed(host: str) -> str:
    return f"[{_quoted(host)}]" if ":" in host else host


def _quoted(text: str) -> str:
    """TEXT as a word of a URI."""
    return "".join(letter if letter in _PLAIN else "".join(f"%{one:02X}" for one in os.fsencode(letter)) for letter in text)


# -- TLS


def _by_tls(host: str, port: int | None, place: _Place) -> Route:
    folder, name = place.settings.certificates, host.rpartition("@")[2]
    if not place.certified:
        raise OperationError(f"this host has no certificates for {name}", hint=f"type: {SETUP} {name}")
    at, encrypted = port or place.ssl_port, _memory_is_encrypted(name, place)

    def dial() -> Line:
        return tls_line(name, at, folder)

    return Route(name, TLS, f"qemu+tls://{_bracketed(name)}:{at}/system?pkipath={_quoted(folder)}", encrypted, dial, dial())


# -- plain TCP


def _by_tcp(host: str, port: int | None, place: _Place) -> Route:
    name, at = host.rpartition("@")[2], port or place.port
    if not place.settings.allow_tcp:
        raise OperationError(
            f"the memory of guests would go to {name} in clear",
            hint=f"type: {SETUP} {name}; or set allow_tcp = true below [migration] in xmcompat.toml of both hosts",
        )

    def dial() -> Line:
        return tcp_line(name, at)

    return Route(name, TCP, f"qemu+tcp://{_bracketed(name)}:{at}/system", place.encrypts, dial, dial())


# -- ssh


def _by_ssh(host: str, port: int | None, place: _Place) -> Route:
    name, program = host.rpartition("@")[2], place.settings.ssh
    if port:
        raise OperationError(
            f"port {port} of {name} could be reached in clear only",
            hint=f"type: {SETUP} {name}; or leave -p out, and ssh is used",
        )
    user, encrypted = host[: -len(name)], _memory_is_encrypted(name, place)
    command = "" if program == "ssh" else f"&command={_quoted(program)}"
    uri = f"qemu+ssh://{user}{_bracketed(name)}/system?no_tty=1{command}"

    def dial() -> Line:
        return ssh_line(host, program)

    return Route(name, SSH, uri, encrypted, dial, dial())


def _conversation(line: Line, host: str, me: Greeting, *, silence: float, private: bool) -> Opened:
    """Raises CannotConnect, WireError, PeerLost, FromPeer; then LINE is closed."""
    try:
        return Opened(PeerClient(line.stream, host, me, silence=silence, private=private), line.close)
    except PeerLost as error:
        if line.complaint is None:
            line.close()
            raise
        said = line.complaint()
        line.close()
        raise CannotConnect(f"can't connect: {said.message or error.message}", hint=said.hint or error.hint) from None
    except BaseException:
        line.close()
        raise


def _memory_is_encrypted(host: str, place: _Place) -> bool:
    """Raises OperationError where the guest's memory would go in clear, and that is not allowed."""
    if place.encrypts:
        return True
    if place.settings.allow_tcp:
        return False
    raise OperationError(
        f"QEMU has no certificates, so that the memory of guests would go to {host} in clear", hint=f"type: {SETUP} {host}"
    )


_ROUTES = {TLS: _by_tls, SSH: _by_ssh, TCP: _by_tcp}
