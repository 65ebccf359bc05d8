"""What xend opens for guests of other hosts, to whom, and how many may come at once."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.lab.fixtures import CHECKOUT
from xmcompat.migration import certificate_files, certificates
from xmcompat.migration.settings import MigrationSettings
from xmcompat.xend import relocation, visitor
from xmcompat.xend.config import read_xend_config
from xmcompat.xend.relocation import Listen, Relocation, opening

SECURE = "(xend-relocation-ssl-server yes)(xend-relocation-hosts-allow '^web1$')"
PLAIN = "(xend-relocation-server yes)(xend-relocation-hosts-allow '^web1$')"
CLEAR = MigrationSettings(allow_tcp=True)


def opened(text: str, settings: MigrationSettings = CLEAR, *, certified: bool = True) -> tuple[tuple[Listen, ...], str]:
    """The ports, and all that is said."""
    found = opening(read_xend_config(text), settings, certified=certified)
    return found.listens, " | ".join((*found.warnings, *found.notes))


def test_nothing_is_open_unless_it_is_asked_for() -> None:
    assert opened("") == ((), "")
    assert opened("(xend-relocation-hosts-allow '')") == ((), "")


def test_tls_is_opened_at_its_port_and_address() -> None:
    assert opened(SECURE) == ((Listen("tls", "", 8003),), "")
    listens, _ = opened(SECURE + "(xend-relocation-ssl-port 9003)(xend-relocation-address 192.0.2.1)")
    assert listens == (Listen("tls", "192.0.2.1", 9003),)


def test_tls_needs_certificates() -> None:
    listens, said = opened(SECURE, certified=False)
    assert listens == () and "type: xmcompat migrate setup HOST" in said


def test_everybody_with_a_certificate_is_told() -> None:
    listens, said = opened("(xend-relocation-ssl-server yes)")
    assert listens == (Listen("tls", "", 8003),)
    assert said == "xend-relocation-hosts-allow admits every host that 'xmcompat migrate setup' has given certificates"


def test_clear_words_need_leave_and_names() -> None:
    listens, said = opened(PLAIN, MigrationSettings())
    assert listens == () and "port 8002 stays closed: guests would come in clear" in said and "allow_tcp = true" in said
    listens, said = opened("(xend-relocation-server yes)")
    assert listens == () and "any host could send guests here" in said
    listens, said = opened(PLAIN)
    assert listens == (Listen("tcp", "", 8002),) and "nobody proves who he is" in said


def test_what_xen_shipped_opens_nothing_and_warns_of_nothing() -> None:
    text = r"(xend-relocation-server yes)(xend-relocation-hosts-allow '^localhost$ ^localhost\\.localdomain$')"
    found = opening(read_xend_config(text), CLEAR, certified=True)
    assert (found.listens, found.warnings) == ((), ())


def test_one_piece_that_is_not_guessed_at_closes_all() -> None:
    listens, said = opened("(xend-relocation-ssl-server yes)(xend-relocation-hosts-allow '^web1$ ^web[23]$')")
    assert listens == () and "'^web[23]$' is not guessed at" in said and "Until then no host can send guests here" in said


# -- the ports themselves


class Bench:
    """An open relocation, with what it has logged. Certificates are those of ``folder``."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.logged: list[str] = []
        self.environ = {
            "PATH": os.environ["PATH"], "XEND_CONFIG": str(folder / "xend-config.sxp"),
            "XMCOMPAT_CONFIG": str(folder / "xmcompat.toml"), "XMCOMPAT_URI": f"qemu+unix:///system?socket={folder}/libvirt",
        }  # fmt: skip
        for name, value in self.environ.items():
            monkeypatch.setenv(name, value)
        (folder / "xmcompat.toml").write_text(f'[migration]\nallow_tcp = true\ncertificates = "{folder}"\n')
        self.relocation = Relocation(lambda level, text: self.logged.append(text), self.environ)

    def certify(self) -> None:
        authority = certificates.Authority(f"{self.folder}/ca.key", f"{self.folder}/cacert.pem")
        Path(authority.key).write_text(certificates.new_key())
        Path(authority.certificate).write_text(certificates.new_authority(authority.key, "lab"))
        key = certificates.new_key()
        certificate = certificates.signed(authority, certificates.public_of(key), ["localhost"], ["127.0.0.1"])
        for role in ("client", "server"):
            (self.folder / f"{role}key.pem").write_text(key)
            (self.folder / f"{role}cert.pem").write_text(certificate)

    def open(self, text: str) -> tuple[str, ...]:
        for number in (8002, 8003):  # any free ones
            text = text.replace(str(number), str(free_port()))
        whole = f"(logfile {self.folder}/xend.log)(xend-relocation-address 127.0.0.1){text}"
        (self.folder / "xend-config.sxp").write_text(whole)
        return self.relocation.open(read_xend_config(whole))

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.relocation.ports[0]), timeout=20)

    def log(self) -> str:
        path = self.folder / "xend.log"
        return path.read_text() if path.exists() else ""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    bench.relocation.close()


TCP = "(xend-relocation-server yes)(xend-relocation-port 8002)"
TLS = "(xend-relocation-ssl-server yes)(xend-relocation-ssl-port 8003)"
LOCAL = "(xend-relocation-hosts-allow '^127\\\\.0\\\\.0\\\\.1$ ^192\\\\.0\\\\.2\\\\.1$')"


def test_an_address_that_is_not_named_is_rejected_at_once(bench: Bench) -> None:
    bench.open(TCP + "(xend-relocation-hosts-allow '^192\\\\.0\\\\.2\\\\.1$')")
    with bench.connect() as connection:
        assert connection.recv(10) == b""
    assert bench.logged[-1] == "Rejected connection from 127.0.0.1."


def test_one_host_has_no_more_than_so_many_connections(bench: Bench) -> None:
    bench.open(TCP + LOCAL)
    connections = [bench.connect() for _ in range(relocation.MOST_OF_ONE + 1)]
    assert connections[-1].recv(10) == b""
    assert bench.logged[-1] == "Rejected connection from 127.0.0.1: too many at once."
    for connection in connections:
        connection.close()


@pytest.mark.usefixtures("libvirtd")
def test_a_place_is_free_again_as_soon_as_a_host_is_let_in(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An evacuation has two or three for each guest on its way."""
    monkeypatch.setattr(relocation, "MOST_OF_ONE", 1)
    bench.open(TCP + LOCAL)
    first = bench.connect()
    with bench.connect() as second:
        assert second.recv(10) == b""
    first.sendall(b"\0abc")
    first.settimeout(None)
    assert first.recv(4, socket.MSG_WAITALL) == b"\0abc"
    with bench.connect() as third, first:
        third.sendall(b"receive\n")
        assert third.recv(200).startswith(b"(err")


def test_more_than_are_looked_at_at_once_wait_their_turn(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An evacuation of many guests in parallel begins with all of them."""
    monkeypatch.setattr(relocation, "_OF_ONE_AT_ONCE", 1)
    bench.open(TCP + LOCAL)
    connections = [bench.connect() for _ in range(3)]
    for connection in connections:
        connection.sendall(b"receive\n")
    for connection in connections:
        assert connection.recv(200).startswith(b"(err")
        connection.close()


def test_one_that_nobody_looks_at_in_time_is_let_go(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relocation, "_OF_ONE_AT_ONCE", 0)
    monkeypatch.setattr(relocation, "_WAITING", 0.2)
    bench.open(TCP + LOCAL)
    with bench.connect() as connection:
        assert connection.recv(10) == b""
    assert bench.logged[-1] == "Rejected connection from 127.0.0.1: too many before it."


def test_a_source_is_told_why_it_cannot_be_received(bench: Bench) -> None:
    bench.open(TCP + LOCAL)
    with bench.connect() as connection:
        connection.sendall(b"xmcompat receive\n")
        connection.settimeout(None)
        assert b"libvirt" in connection.makefile("rb").read(300)


def test_a_host_of_xen_is_told_in_its_own_form(bench: Bench) -> None:
    bench.open(TCP + LOCAL)
    with bench.connect() as connection:
        connection.sendall(b"receive\n")
        assert connection.recv(200).startswith(b"(err (type xen.xend.XendError.XendError) (value 'this host runs KVM")


def test_what_speaks_in_no_known_way_is_let_go_and_logged(bench: Bench) -> None:
    bench.open(TCP + LOCAL)
    with bench.connect() as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with suppress(ConnectionResetError):
            assert connection.recv(200) == b""
    assert "it does not speak as xmcompat does" in bench.log()


def test_settings_that_are_read_anew_close_and_open(bench: Bench) -> None:
    bench.open(TCP + LOCAL)
    first = bench.relocation.ports
    bench.open("")
    assert bench.relocation.ports == ()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first[0]), timeout=5)
    bench.open(TCP + LOCAL)
    bench.connect().close()


def test_a_port_that_somebody_has_is_told(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = bench.open(f"(xend-relocation-server yes)(xend-relocation-port {port})" + LOCAL)
    assert said[-1] == f"port {port} is not open for guests of other hosts: Address already in use"


def test_who_says_little_for_long_is_let_go(bench: Bench) -> None:
    """Each byte by itself comes in time."""
    bench.open(TCP + LOCAL)
    code = "import sys; from xmcompat.xend import visitor; visitor.HANDSHAKE = 1.0; visitor.main(['tcp', '127.0.0.1', '9'])"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = socket.create_connection(listener.getsockname())
        there, _ = listener.accept()
    with here, there:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=there, env={**bench.environ, "PYTHONPATH": str(CHECKOUT)}
        )
        there.close()
        with suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(100):
                here.sendall(b"x")
                time.sleep(0.1)
                if process.poll() is not None:
                    break
        assert process.wait(20) == -signal.SIGALRM


@pytest.fixture
def libvirtd(bench: Bench) -> Iterator[None]:
    """What stands in for libvirtd: it says what it hears."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(bench.folder / "libvirt"))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


@pytest.mark.usefixtures("libvirtd")
def test_words_of_libvirt_reach_libvirtd_in_clear(bench: Bench) -> None:
    bench.open(TCP + LOCAL)
    with bench.connect() as connection:
        connection.sendall(b"\0\0\0\x1c")
        connection.settimeout(None)  # else what is there is all that is waited for
        assert connection.recv(4, socket.MSG_WAITALL) == b"\0\0\0\x1c"


@pytest.mark.usefixtures("libvirtd")
def test_words_of_libvirt_reach_libvirtd_over_tls_after_its_own_sign(bench: Bench) -> None:
    bench.certify()
    bench.open(TLS + LOCAL)
    context = certificate_files.client_context(str(bench.folder))
    with context.wrap_socket(bench.connect(), server_hostname="localhost") as connection:
        assert connection.recv(1) == b"\1"  # and nothing before it, such as tickets of TLS
        words = bytes(range(200)) * 1000
        threading.Thread(target=connection.sendall, args=(words,)).start()
        received = b""
        while len(received) < len(words):
            received += connection.recv(65536)
        assert received == words


def test_who_has_no_certificate_does_not_come_in(bench: Bench) -> None:
    bench.certify()
    bench.open(TLS + LOCAL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(bench.folder / "cacert.pem")
    with pytest.raises((ssl.SSLError, ConnectionError)), context.wrap_socket(bench.connect(), server_hostname="localhost") as one:
        assert one.recv(1) == b"", "let in"
        raise ConnectionError
    end = time.monotonic() + 10
    while "Connection from 127.0.0.1" not in bench.log():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_names_of_an_address_are_those_that_lead_back_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostbyaddr", lambda address: ("web1", ["trusted.example.org"], [address]))
    there = {"web1": "192.0.2.1", "trusted.example.org": "198.51.100.9"}
    monkeypatch.setattr(socket, "getaddrinfo", lambda name, *_words, **_more: [(0, 0, 0, "", (there[name], 0))])
    assert visitor.names_of("192.0.2.1") == ["web1"]
