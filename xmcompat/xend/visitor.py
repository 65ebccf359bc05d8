"""A host that has connected to a port of xend's relocation: let in or not, and then served, in a process of its own.

It speaks with xmcompat (``receiving``), or with libvirtd, to which its words are passed on: the port is the only one that
has to be open besides those of QEMU. In TLS a host is known by the names in its certificate, in clear by those that its
address has and that have its address.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from xmcompat.backends.local_host import run_folder
from xmcompat.backends.settings import hypervisor_uri
from xmcompat.backends.settings import read as read_settings
from xmcompat.errors import OperationError, XmError
from xmcompat.migration import certificate_files, serving
from xmcompat.migration import settings as migration_settings
from xmcompat.migration.access import read_access
from xmcompat.migration.sockets import SocketStream
from xmcompat.peer_lines import HANDSHAKE, PREAMBLE, PROTOCOL
from xmcompat.xend.config import XendConfig
from xmcompat.xend.config_file import log_path, read_config_file
from xmcompat.xend.log import XendLog
from xmcompat.xend.relocation import TLS

#: How a Xen host begins.
_XEN = (b"receive\n", b"sslreceive\n")
#: What it is told, in the form that it reads.
_FOR_XEN = b"(err (type xen.xend.XendError.XendError) (value 'this host runs KVM: guests of Xen cannot move to it'))\n"
#: libvirt's own sockets, the first that is there.
_SOCKETS = ("libvirt-sock", "virtqemud-sock")
#: What libvirt says first in clear, and what its server says once a certificate is accepted.
_LIBVIRT, _ACCEPTED = b"\0", b"\1"
_CHUNK = 1 << 16
#: Milliseconds in which a host that has gone is noticed.
_GONE = 30_000


def main(argv: Sequence[str]) -> int:
    """Serve the connection that is descriptor 0; ARGV has its kind, the address of its other end, and the descriptor that
    is closed once that is let in."""
    kind, address, within = argv
    connection = socket.socket(fileno=os.dup(0))
    with suppress(OSError), open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    config = read_config_file()
    log = XendLog(log_path(config), config.value("loglevel"))
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _GONE)
        connection.settimeout(HANDSHAKE)
        signal.setitimer(signal.ITIMER_REAL, HANDSHAKE)  # ends this process: bytes may come one by one for ever
        _let_in(connection, kind, address, config, log, lambda: os.close(int(within)))
    except (XmError, OSError) as error:
        why = error.line() if isinstance(error, XmError) else str(error)
        log("WARNING", f"Connection from {address}: {why}")
        return 1
    finally:
        log.close()
    return 0


def _let_in(
    connection: socket.socket, kind: str, address: str, config: XendConfig, log: XendLog, is_within: Callable[[], None]
) -> None:
    path = os.environ.get("XMCOMPAT_CONFIG") or "xmcompat.toml"
    settings = migration_settings.read(read_settings().migration, path)
    access = read_access(config.value("xend-relocation-hosts-allow"))
    names: Sequence[str] = ()
    if kind == TLS:
        key, certificate = (config.value(f"xend-relocation-server-ssl-{word}-file") for word in ("key", "cert"))
        context = certificate_files.server_context(settings.certificates, certificate, key)
        context.set_alpn_protocols([PROTOCOL])
        connection = context.wrap_socket(connection, server_side=True)
        names = names_in(connection)
    elif access.asks_names:
        names = names_of(address)
    if access.unclear or not access.admits(address, names):
        told = f"Rejected connection from {address}{f' ({names[0]})' if names else ''}."
        log("WARNING", told)
        with suppress(OSError):
            connection.sendall(f"{told}\n".encode())
        connection.close()
        return
    first = b"" if isinstance(connection, ssl.SSLSocket) else _first(connection)
    if first in _XEN:
        connection.sendall(_FOR_XEN)
        raise OperationError("it is a host of Xen, whose guests cannot move to KVM as they run")
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    is_within()
    ours = connection.selected_alpn_protocol() == PROTOCOL if isinstance(connection, ssl.SSLSocket) else first == PREAMBLE
    log("INFO", f"{names[0] if names else address} speaks with {'xend' if ours else 'libvirt'}.")
    if ours:
        receive(SocketStream(connection), log)
    else:
        if isinstance(connection, ssl.SSLSocket):
            connection.sendall(_ACCEPTED)
        elif first[:1] != _LIBVIRT:
            raise OperationError("it does not speak as xmcompat does")
        forward(connection, first)


def names_in(connection: ssl.SSLSocket) -> list[str]:
    """The names in the certificate of the other end, which has been verified."""
    alternatives = (connection.getpeercert() or {}).get("subjectAltName", ())
    return [str(pair[1]) for pair in alternatives if pair[0] == "DNS"]


def names_of(address: str) -> list[str]:
    """The names that ADDRESS has, of those that have ADDRESS: anybody may call his own address as he likes."""
    with suppress(OSError, UnicodeError):
        name, others, _ = socket.gethostbyaddr(address)
        return [one for one in dict.fromkeys((name, *others)) if address in _addresses(one)]
    return []


def _addresses(name: str) -> set[str]:
    with suppress(OSError, UnicodeError):
        return {str(where[0]) for *_, where in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    return set()


def _first(connection: socket.socket) -> bytes:
    """The first line, or the first byte of what is libvirt's. Raises OSError where nothing comes."""
    found = b""
    while len(found) < len(PREAMBLE) and not found.endswith(b"\n") and not found.startswith(_LIBVIRT):
        data = connection.recv(1)
        if not data:
            raise OperationError("it has said nothing")
        found += data
    return found


def receive(stream: SocketStream, log: XendLog) -> None:
    """Speak with a source until it has gone. Raises XmError, of which a source that was not greeted yet is told."""
    try:
        _receive(stream, log)
    except XmError as error:
        with suppress(OSError):
            stream.send(f"{error.line()}\n".encode("utf-8", "replace"))
        stream.close()
        raise


def _receive(stream: SocketStream, log: XendLog) -> None:
    from xmcompat.backends.call_thread import Call
    from xmcompat.toolstack import Toolstack

    with Toolstack.open() as toolstack:
        known = Call(toolstack.hypervisor.migration_host)  # while the rest is loaded
        from xmcompat import arrival_sweep, receiving

        arrival_sweep.sweep(toolstack.hypervisor, log)
        known.ended(None)
        receiver = receiving.Receiving(toolstack, log=lambda level, text: log(level, text))
        serving.serve(stream, receiver, silence=receiving.silence())


def forward(connection: socket.socket, first: bytes = b"", path: str = "") -> None:
    """Pass on what is said to libvirtd, beginning with FIRST, and what it answers, until one of the two is through."""
    libvirtd = socket.socket(socket.AF_UNIX)
    libvirtd.connect(path or libvirt_socket())
    stream = SocketStream(connection)

    def back() -> None:
        with suppress(OSError):
            while data := libvirtd.recv(_CHUNK):
                stream.send(data)
        _hang_up(connection)

    answers = threading.Thread(target=back, daemon=True)
    answers.start()
    with suppress(OSError):
        if first:
            libvirtd.sendall(first)
        while (data := stream.receive(3600.0)) != b"":
            libvirtd.sendall(data or b"")
    _hang_up(libvirtd)
    answers.join()
    stream.close()
    libvirtd.close()


def _hang_up(connection: socket.socket) -> None:
    """Whoever waits at CONNECTION hears of the end."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def libvirt_socket() -> str:
    """Where this host's libvirtd listens. Raises OperationError."""
    uri = hypervisor_uri()
    named = uri.partition("socket=")[2].partition("&")[0]
    places = [named] if named else [f"{run_folder(uri)}/libvirt/{name}" for name in _SOCKETS]
    for place in places:
        if os.path.exists(place):
            return place
    raise OperationError(f"libvirtd does not listen at {places[0]}")


def run() -> None:
    """Serve it as a program; the log has what goes wrong."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
