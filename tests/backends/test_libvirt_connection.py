"""What is said where nothing answers, where it may not be used, and where it goes away in the middle."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.fixtures import Starter
from tests.lab.nobody import Nobody
from xmcompat.backends.libvirt_kvm import LibvirtKvm, connect
from xmcompat.backends.private_libvirtd import PrivateLibvirtd
from xmcompat.errors import ConnectionLost, HypervisorUnreachable, XmError

pytestmark = pytest.mark.libvirt

HINT = "; start libvirtd (systemctl start libvirtd), or set XMCOMPAT_URI"


def at(path: Path) -> str:
    return f"qemu+unix:///system?socket={path}"


def complaint(uri: str) -> str:
    with pytest.raises(HypervisorUnreachable) as raised:
        connect(uri)
    assert not raised.value.shows_usage
    assert raised.value.exit_code == 1
    assert "\n" not in raised.value.line()
    return raised.value.line()


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    line = complaint(at(tmp_path / "none"))
    assert line == f"Unable to connect to xend: No such file or directory. Is xend running?{HINT}"


def test_a_socket_that_nobody_listens_at(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    line = complaint(at(tmp_path / "dead"))
    assert line == f"Unable to connect to xend: Connection refused. Is xend running?{HINT}"


@pytest.mark.parametrize("mode", [0o700, 0o777], ids=["may not use it", "nobody listens"])
def test_an_ordinary_user_is_told_to_be_root(node: PrivateLibvirtd, nobody: Nobody, mode: int) -> None:
    uri = node.uri
    if mode == 0o777:
        path = nobody.directory / "dead"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        path.chmod(mode)
        uri = at(path)
    code = (
        "from xmcompat.backends.libvirt_kvm import connect\n"
        "from xmcompat.errors import XmError\n"
        "try: connect()\n"
        "except XmError as error: print(error.message)\n"
    )
    done = nobody.python(["-c", code], env={"XMCOMPAT_URI": uri})
    if mode == 0o777:
        path.unlink()
    assert done == ("Most commands need root access. Please try again as root.\n", "", 0)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("qemu+tcp://127.0.0.1:1/system", "unable to connect to server at '127.0.0.1:1': Connection refused"),
        ("qemu+ssh://127.0.0.1:1/system", "Connection refused"),
        ("qemu+tls://localhost/system?pkipath=/nowhere", "/nowhere/cacert.pem"),
        ("qemu+tcp://nohost.invalid/system", "nohost.invalid"),
        ("nonsense", "does not include a driver name"),
    ],
)
def test_other_hosts_that_cannot_be_reached(uri: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    line = complaint(uri)
    assert line.startswith("Unable to connect to xend: ")
    assert told in line


class FakeDaemon:
    """Listens at a Unix socket and lets TALK do with each client what it wants."""

    def __init__(self, path: Path, talk: Callable[[socket.socket], None]) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()
        self.talk = talk
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            with client:
                self.talk(client)


@pytest.mark.parametrize("said", [b"", b"\0\0\0\0", b"\0\0\0\x04", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_something_that_is_no_libvirtd_is_an_error_in_one_line(tmp_path: Path, said: bytes) -> None:
    def talk(client: socket.socket) -> None:
        client.recv(1000)
        client.sendall(said)

    daemon = FakeDaemon(tmp_path / "fake", talk)
    assert complaint(at(tmp_path / "fake")).startswith("Unable to connect to xend: ")
    daemon.socket.close()


def kill_libvirtd(node: PrivateLibvirtd) -> None:
    pid = node.daemon_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def killed_later(node: PrivateLibvirtd) -> Iterator[PrivateLibvirtd]:
    """The node; the test may kill its libvirtd, which process 1 starts again."""
    yield node
    deadline = time.monotonic() + 20
    while True:
        try:
            connect(node.uri).close()
            return
        except HypervisorUnreachable:
            assert time.monotonic() < deadline
            time.sleep(0.1)


CALLS: dict[str, Callable[[LibvirtKvm, str], object]] = {
    "domains": lambda hypervisor, uuid: hypervisor.domains(),
    "find": lambda hypervisor, uuid: hypervisor.find("victim"),
    "create": lambda hypervisor, uuid: hypervisor.create("<domain/>"),
    "pause": lambda hypervisor, uuid: hypervisor.pause(uuid),
    "metadata": lambda hypervisor, uuid: hypervisor.metadata(uuid),
    "disk_uses": lambda hypervisor, uuid: hypervisor.disk_uses(),
    "bridges": lambda hypervisor, uuid: hypervisor.bridges(),
    "supports_kvm": lambda hypervisor, uuid: hypervisor.supports_kvm(),
}


def test_a_libvirtd_that_dies_is_a_lost_connection_to_every_call(
    hypervisor: LibvirtKvm, killed_later: PrivateLibvirtd, start: Starter
) -> None:
    info = start("victim", paused=True)
    connections = {}
    for name in CALLS:
        connections[name] = connect(killed_later.uri)
        connections[name].find("victim")
        assert connections[name]._connection
    kill_libvirtd(killed_later)
    for name, connection in connections.items():
        with pytest.raises(ConnectionLost) as raised:
            CALLS[name](connection, info.uuid)
        assert raised.value.line().startswith("Xend has probably crashed!  ")
        assert "\n" not in raised.value.line()
        connection.close()


def test_a_guest_outlives_its_libvirtd(
    hypervisor: LibvirtKvm, killed_later: PrivateLibvirtd, start: Starter
) -> None:
    info = start("survivor", paused=True)
    kill_libvirtd(killed_later)
    deadline = time.monotonic() + 20
    while True:
        try:
            again = connect(killed_later.uri)
            found = again.find("survivor")
            break
        except XmError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert (found.uuid, found.domid) == (info.uuid, info.domid)
    again.close()


def test_a_libvirtd_that_dies_under_an_open_console_ends_it(
    hypervisor: LibvirtKvm, killed_later: PrivateLibvirtd, start: Starter
) -> None:
    info = start("victim")
    ends: list[str | None] = []
    hypervisor.open_console(info.uuid, "serial0", lambda data: None, ends.append)
    kill_libvirtd(killed_later)
    deadline = time.monotonic() + 60
    with pytest.raises(ConnectionLost):
        while time.monotonic() < deadline:
            hypervisor.wait_event(1.0)
    assert len(ends) == 1
    assert ends[0]


def test_libvirtd_does_not_note_our_goodbye_as_an_error(node: PrivateLibvirtd) -> None:
    before = node.log.read_text().count("End of file")
    for _ in range(5):
        hypervisor = connect(node.uri)
        hypervisor.domains()
        hypervisor.close()
        hypervisor.close()
    time.sleep(0.3)
    assert node.log.read_text().count("End of file") == before
