"""Lines to another host, on which nobody has spoken yet: over TLS and plain TCP to its xend, and through ssh."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from xmcompat.errors import OperationError
from xmcompat.migration.streams import PipeStream
from xmcompat.ssh_complaints import Complaint, meant

if TYPE_CHECKING:
    import socket
    import subprocess
    from collections.abc import Callable
    from typing import IO

    from xmcompat.migration.wire import Stream

#: What the name of the protocol is in TLS; who does not name it wants libvirt.
PROTOCOL = "xmcompat"
#: What is said first over plain TCP; libvirt's own words begin with a NUL.
PREAMBLE = b"xmcompat receive\n"
#: Seconds for connecting and for TLS's handshake; xend's own.
HANDSHAKE = 30.0
#: Seconds that ssh may take to connect, and what runs through it to end.
_SSH_SECONDS, _ENDING = 15, 5.0
#: Bytes of what it complains of that are looked at.
_MOST_COMPLAINTS = 65536
SETUP = "xmcompat migrate setup"


class CannotConnect(OperationError):
    """Nobody answers there, in xm's words."""


class Line(NamedTuple):
    """A stream, what ends it (may be repeated), and what was complained of beside it; None where nothing ever is."""

    stream: Stream
    close: Callable[[], None]
    complaint: Callable[[], Complaint] | None = None


# -- TLS, and plain TCP


def tls_line(host: str, port: int, folder: str) -> Line:
    """With the certificates in FOLDER. Raises CannotConnect, OperationError."""
    return _over(_tls_to(host, port, folder))


def tcp_line(host: str, port: int) -> Line:
    """Raises CannotConnect."""
    connection = _connected(host, port)
    with suppress(OSError):
        connection.sendall(PREAMBLE)
    return _over(connection)


def _over(connection: socket.socket) -> Line:
    from xmcompat.migration.sockets import SocketStream

    stream = SocketStream(connection)
    return Line(stream, stream.close)


def _tls_to(host: str, port: int, folder: str) -> socket.socket:
    import ssl as tls

    from xmcompat.migration import certificate_files

    context = certificate_files.client_context(folder)
    context.set_alpn_protocols([PROTOCOL])
    plain = _connected(host, port)
    try:
        secure = context.wrap_socket(plain, server_hostname=host)
    except (tls.SSLError, OSError) as error:
        plain.close()
        raise OperationError(f"SSL error: {_of_tls(error)}", hint=f"{SETUP} {host} makes certificates for both") from None
    if secure.selected_alpn_protocol() != PROTOCOL:
        secure.close()
        raise OperationError(f"SSL error: port {port} of {host} is not that of xend", hint="name its port with -p")
    return secure


def _of_tls(error: OSError) -> str:
    import ssl as tls

    if isinstance(error, tls.SSLCertVerificationError):
        return f"the certificate of the other host is not accepted: {error.verify_message}"
    return str(getattr(error, "reason", None) or error.strerror or error)


def _connected(host: str, port: int) -> socket.socket:
    import socket

    try:
        return socket.create_connection((host, port), timeout=HANDSHAKE)
    except OSError as error:
        raise CannotConnect(f"can't connect: {error}", hint=f"is xend of {host} open for guests, at port {port}?") from None


# -- ssh


def ssh_words(program: str, host: str, *words: str, options: tuple[str, ...] = ()) -> list[str]:
    """The command that runs WORDS at HOST, without asking anybody anything, with more OPTIONS of ssh."""
    usual = ("-o", "BatchMode=yes", "-o", f"ConnectTimeout={_SSH_SECONDS}", "-T")
    return [program, *usual, *options, "--", host, *words]


def ssh_line(host: str, program: str) -> Line:
    """To the receiving end there. Raises CannotConnect."""
    import subprocess

    complaints = open(os.memfd_create("complaints"), "w+b")  # noqa: SIM115 - closed with the line
    try:
        process = subprocess.Popen(
            ssh_words(program, host, "xmcompat", "migrate", "receive"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=complaints, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        complaints.close()
        raise CannotConnect(f"can't connect: {program}: {error.strerror}") from None
    assert process.stdin is not None and process.stdout is not None
    stream = PipeStream(os.dup(process.stdout.fileno()), os.dup(process.stdin.fileno()))
    process.stdin.close()
    process.stdout.close()

    def close() -> None:
        stream.close()
        process.terminate()  # all is said: what is there hears of the end of its stream
        _end(process)
        complaints.close()

    def complaint() -> Complaint:
        stream.close()
        _end(process)
        return meant(_all_of(complaints), host, program=program, status=process.returncode)

    return Line(stream, close, complaint)


def _all_of(complaints: IO[bytes]) -> str:
    """What ssh, and the other host, have said; of a lot the end."""
    size = os.fstat(complaints.fileno()).st_size
    complaints.seek(max(size - _MOST_COMPLAINTS, 0))
    return complaints.read(_MOST_COMPLAINTS).decode("utf-8", "replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """It ends by itself, or is ended."""
    import subprocess

    try:
        process.wait(_ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
