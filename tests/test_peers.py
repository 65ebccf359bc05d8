"""The way to another host: which transport is taken, what is refused, and what is said where nobody answers."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor
from xmcompat import peer_lines
from xmcompat.errors import OperationError, XmError
from xmcompat.migration import certificate_files, certificates
from xmcompat.migration.facts import Password, Wanted
from xmcompat.migration.wire import PeerLost
from xmcompat.peers import Begun, Way, open_way

WANTED = Wanted(
    name="web1", uuid="u1", memory=1, max_memory=1, vcpus=1, accelerator="kvm", passwords=(Password(vdev="xvda", value="eA=="),)
)
GREETING = '{"xmcompat": 1, "hostname": "web2", "uuid": "u2", "program": "1"}'
#: A destination that greets, and answers "hello" and "bye".
ANSWERS = f"""\
import json, sys
print({GREETING!r}, flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "ask" in asked:
        of = json.loads({GREETING!r}) if asked["ask"] == "hello" else {{}}
        print(json.dumps({{"answer": asked["number"], "of": of}}), flush=True)
"""
SSH = """\
#!/bin/sh
echo "$@" > {folder}/asked
while [ "$1" != -- ]; do shift; done
case $2 in
noisy) echo "Welcome"; exec {python} {folder}/answers.py;;
prompting) printf "Welcome> "; exec {python} {folder}/answers.py;;
web2) echo "Welcome" >&2; exec {python} {folder}/answers.py;;
broken) echo "bash: xmcompat: command not found" >&2; exit 127;;
*) echo "ssh: Could not resolve hostname $2: Name or service not known" >&2; exit 255;;
esac
"""


class Desk:
    """This host's settings, and its certificates, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {"XMCOMPAT_CONFIG": str(folder / "xmcompat.toml"), "XEND_CONFIG": str(folder / "xend-config.sxp")}
        (folder / "answers.py").write_text(ANSWERS)
        (folder / "ssh").write_text(SSH.format(folder=folder, python=sys.executable))
        (folder / "ssh").chmod(0o755)
        self.settings("")

    def settings(self, more: str, xend: str = "") -> None:
        (self.folder / "xmcompat.toml").write_text(
            f'[migration]\ncertificates = "{self.folder}/own"\npki = "{self.folder}/pki"\nssh = "{self.folder}/ssh"\n{more}\n'
        )
        (self.folder / "xend-config.sxp").write_text(xend)

    def encrypting(self) -> None:
        folder = self.folder / "pki/libvirt-migrate"
        folder.mkdir(parents=True)
        for name in ("ca-cert", "client-cert", "client-key"):
            (folder / f"{name}.pem").write_text("x")

    def certified(self, name: str = "localhost") -> None:
        own = self.folder / "own"
        own.mkdir(exist_ok=True)
        authority = certificates.Authority(f"{self.folder}/ca.key", f"{own}/cacert.pem")
        Path(authority.key).write_text(certificates.new_key())
        Path(authority.certificate).write_text(certificates.new_authority(authority.key, "lab"))
        key = certificates.new_key()
        certificate = certificates.signed(authority, certificates.public_of(key), [name], [])
        for role in ("client", "server"):
            (own / f"{role}key.pem").write_text(key)
            (own / f"{role}cert.pem").write_text(certificate)

    def way(self, host: str, **options: object) -> Way:
        return open_way(host, FakeHypervisor(), environ=self.environ, **options)  # type: ignore[arg-type]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(certificate_files.is_encrypting, "__defaults__", (str(tmp_path / "qemu.conf"),))
    return Desk(tmp_path)


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port at which each connection is given to ANSWER."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    answer(connection)
                except (OSError, ValueError):
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def converse(connection: socket.socket) -> None:
    """As ANSWERS does."""
    import json

    file = connection.makefile("rwb")
    file.write(GREETING.encode() + b"\n")
    file.flush()
    for line in file:
        asked = json.loads(line)
        if "ask" in asked:
            of = json.loads(GREETING) if asked["ask"] == "hello" else {}
            file.write(json.dumps({"answer": asked["number"], "of": of}).encode() + b"\n")
            file.flush()


# -- ssh


def test_without_certificates_of_its_own_a_host_is_reached_by_ssh(desk: Desk) -> None:
    desk.encrypting()
    with desk.way("web2") as way:
        assert (way.transport, way.tls, way.peer.greeting.hostname) == ("ssh", True, "web2") and way.private
        assert way.uri == f"qemu+ssh://web2/system?no_tty=1&command={desk.folder}/ssh"
        assert way.again().greeting.uuid == "u2"
    asked = (desk.folder / "asked").read_text()
    assert asked == "-o BatchMode=yes -o ConnectTimeout=15 -T -- web2 xmcompat migrate receive\n"


def test_a_user_is_named_to_ssh_alone(desk: Desk) -> None:
    desk.encrypting()
    with pytest.raises(OperationError):
        desk.way("me@web3")
    assert (desk.folder / "asked").read_text().endswith("-- me@web3 xmcompat migrate receive\n")


def test_memory_does_not_go_in_clear_unless_that_is_allowed(desk: Desk) -> None:
    with pytest.raises(OperationError, match="QEMU has no certificates, .* would go to web2 in clear") as told:
        desk.way("web2")
    assert told.value.hint == "type: xmcompat migrate setup web2"
    assert not (desk.folder / "asked").exists()
    desk.settings("allow_tcp = true")
    with desk.way("web2") as way:
        assert (way.transport, way.tls) == ("ssh", False)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("web3", "can't connect: ssh: Could not resolve hostname web3: Name or service not known; "
                 "give its address to this host's /etc/hosts, or to its name server"),
        ("broken", "can't connect: xmcompat cannot be started on broken: bash: xmcompat: command not found; "
                   "install it there, where '{ssh} broken xmcompat --version' finds it"),
    ],
)  # fmt: skip
def test_what_ssh_says_is_told(desk: Desk, host: str, said: str) -> None:
    desk.encrypting()
    with pytest.raises(OperationError) as told:
        desk.way(host)
    assert told.value.line() == said.format(ssh=desk.folder / "ssh")


@pytest.mark.parametrize(("host", "said"), [("noisy", "Welcome"), ("prompting", "Welcome>")])
def test_a_login_shell_that_speaks_before_libvirt_can_is_refused(desk: Desk, host: str, said: str) -> None:
    desk.encrypting()
    with pytest.raises(OperationError) as told:
        desk.way(host)
    assert told.value.line() == (
        f"a login shell of {host} says '{said}' on stdout to every command of ssh, which libvirt cannot read; "
        "let ~/.bashrc there, or what else it reads, print nothing where there is no terminal"
    )


def test_a_port_of_xend_is_no_port_of_ssh(desk: Desk) -> None:
    desk.encrypting()
    with pytest.raises(OperationError, match="port 8002 of web2 could be reached in clear only"):
        desk.way("web2", port=8002)


@pytest.mark.parametrize("host", [
    "-oProxyCommand=x", "", "a b", "a/../b", "a?x=1", "a@", "a/b@web2", "-oProxyCommand=x@web2", "a\nb@web2", "a@b@web2",
    "web2:22", "[::1]",
])
def test_what_is_no_host(desk: Desk, host: str) -> None:
    with pytest.raises(OperationError, match="is no name of a host"):
        desk.way(host)


def test_a_folder_of_an_odd_name_is_one_word_of_the_uri(desk: Desk) -> None:
    """libvirt would else read the rest of it as another word, and look for certificates elsewhere."""
    desk.encrypting()
    odd = desk.folder / "ssh&command=x;y%41"
    (desk.folder / "ssh").rename(odd)
    text = (desk.folder / "xmcompat.toml").read_text()
    (desk.folder / "xmcompat.toml").write_text(text.replace(f"{desk.folder}/ssh", str(odd)))
    with desk.way("web2") as way:
        assert way.uri == f"qemu+ssh://web2/system?no_tty=1&command={desk.folder}/ssh%26command%3Dx%3By%2541"


# -- TLS


def tls(desk: Desk, *, protocol: str = peer_lines.PROTOCOL) -> Callable[[socket.socket], None]:
    context = certificate_files.server_context(f"{desk.folder}/own")
    context.set_alpn_protocols([protocol])

    def answer(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            converse(secure)

    return answer


def test_with_certificates_tls_is_taken(desk: Desk) -> None:
    desk.certified()
    desk.encrypting()
    with listening(tls(desk)) as port:
        desk.settings("", f"(xend-relocation-ssl-port {port})")
        with desk.way("localhost") as way:
            assert (way.transport, way.tls, way.peer.greeting.hostname) == ("tls", True, "web2") and way.private
            assert way.uri == f"qemu+tls://localhost:{port}/system?pkipath={desk.folder}/own"


def test_a_host_by_another_name_than_in_its_certificate_is_refused(desk: Desk) -> None:
    desk.certified("web9")
    desk.encrypting()
    with listening(tls(desk)) as port, pytest.raises(OperationError, match="SSL error: .*not accepted: Hostname mismatch"):
        desk.way("localhost", port=port)


def test_a_server_that_is_not_xends_is_told(desk: Desk) -> None:
    desk.certified()
    desk.encrypting()
    with listening(tls(desk, protocol="h2")) as port, pytest.raises(OperationError, match=f"port {port} of localhost is not that"):
        desk.way("localhost", port=port)


def test_what_is_no_tls_is_told(desk: Desk) -> None:
    desk.certified()
    desk.encrypting()
    with listening(converse) as port, pytest.raises(OperationError, match="^SSL error: "):
        desk.way("localhost", port=port)


def test_where_xend_is_closed_ssh_is_tried(desk: Desk) -> None:
    desk.certified()
    desk.encrypting()
    desk.settings("", f"(xend-relocation-ssl-port {closed_port()})")
    with pytest.raises(OperationError) as told:
        desk.way("localhost")
    assert told.value.message == "can't connect: [Errno 111] Connection refused"
    assert told.value.hint is not None and "by ssh: can't connect: ssh: Could not resolve" in told.value.hint


def test_who_asks_for_tls_gets_nothing_else(desk: Desk) -> None:
    desk.encrypting()
    with pytest.raises(OperationError, match="this host has no certificates for web2"):
        desk.way("web2", ssl=True)
    desk.settings("", "(xend-relocation-ssl yes)")
    with pytest.raises(OperationError, match="this host has no certificates for web2"):
        desk.way("web2")
    desk.certified()
    with pytest.raises(OperationError, match="^can't connect: "):
        desk.way("localhost", ssl=True, port=closed_port())
    assert not (desk.folder / "asked").exists()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def test_a_way_that_nobody_goes_is_closed(desk: Desk) -> None:
    desk.encrypting()
    with Begun("web2", environ=desk.environ) as begun:
        eventually(lambda: (desk.folder / "asked").exists(), "ssh is asked before anybody knows for what")
        with begun.way(FakeHypervisor()) as way:
            assert way.peer.greeting.hostname == "web2"
    before = children()
    with Begun("web2", environ=desk.environ):
        eventually(lambda: children() != before, "ssh is started")
    eventually(lambda: children() == before, "ssh has ended")
    with Begun("a b", environ=desk.environ), Begun("web2", environ={"XMCOMPAT_CONFIG": "/dev/full/no"}):
        pass  # what is wrong with them is told where the way is asked for


def children() -> set[str]:
    """The processes that any thread of this one has started."""
    found: set[str] = set()
    for path in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        with suppress(OSError):
            found |= set(path.read_text().split())
    return found


def eventually(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.01)


# -- plain TCP


def test_plain_tcp_is_taken_where_it_is_allowed_and_asked_for(desk: Desk) -> None:
    heard: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        heard.append(connection.recv(len(peer_lines.PREAMBLE), socket.MSG_WAITALL))
        converse(connection)

    with listening(answer) as port:
        desk.settings('transport = "tcp"')
        with pytest.raises(OperationError, match="would go to localhost in clear"):
            desk.way("localhost", port=port)
        desk.settings('transport = "tcp"\nallow_tcp = true')
        with desk.way("localhost", port=port) as way:
            assert (way.transport, way.tls, way.uri) == ("tcp", False, f"qemu+tcp://localhost:{port}/system")
            assert not way.private
            for peer in (way.peer, way.again()):
                with pytest.raises(OperationError, match="passwords would go to localhost in clear"):
                    peer.prepare(WANTED)
        desk.settings("allow_tcp = true")
        with desk.way("localhost", port=port) as way:
            assert way.transport == "tcp"
    assert heard == [peer_lines.PREAMBLE] * 3


def test_what_the_other_host_says_as_it_closes_is_told(desk: Desk) -> None:
    def reject(connection: socket.socket) -> None:
        connection.recv(len(peer_lines.PREAMBLE), socket.MSG_WAITALL)
        connection.sendall(b"Rejected connection from 192.0.2.1 (web1).\n")

    desk.settings('transport = "tcp"\nallow_tcp = true')
    with listening(reject) as port, pytest.raises(PeerLost, match=r"it said: Rejected connection from 192.0.2.1 \(web1\)."):
        desk.way("localhost", port=port)


def test_settings_that_cannot_be_read_are_told(desk: Desk) -> None:
    desk.settings('transport = "pigeon"')
    with pytest.raises(XmError, match="transport = 'pigeon' is unknown"):
        desk.way("web2")
