"""``xmcompat migrate setup``: certificates for several hosts, which are folders here; ssh is a script that changes over to
one of them. Everything that goes over it is noted."""

from __future__ import annotations

import json
import os
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.fixtures import CHECKOUT, Outcome
from xmcompat import enrolled, enrolment
from xmcompat.errors import OperationError, XmError
from xmcompat.migration import certificate_files, certificates
from xmcompat.migration.certificate_files import Bundle, Places

SSH = """\
#!/bin/sh
# -o ... -T -- HOST xmcompat migrate enrol
while [ "$1" != -T ]; do shift; done
export XMCOMPAT_CONFIG={root}/$3/xmcompat.toml HOSTNAME_OF=$3
test -d {root}/$3 || {{ echo "ssh: no such host" >&2; exit 255; }}
echo "Welcome to $3"
tee -a {root}/$3.said | {python} {root}/host.py $3 | tee -a {root}/$3.answered
"""
HOST = """\
import os, sys
sys.path.insert(0, {checkout!r})
name = sys.argv[1]
real = os.uname()
os.uname = lambda: os.uname_result((real.sysname, open({root!r} + "/" + name + "/name").read(), *real[2:]))
import socket
socket.getfqdn = lambda word="": word + ".example.org"
from xmcompat.tool.main import main
sys.exit(main(["migrate", "enrol"]))
"""


@dataclass
class Folders:
    """Hosts as folders in ``root``; ``here`` is this one."""

    root: Path
    done: tuple[enrolment.Done, ...] = ()

    def places(self, name: str) -> Places:
        return Places(str(self.root / name / "own"), str(self.root / name / "pki"), "/nowhere/qemu.conf")

    def add(self, name: str, *, called: str = "") -> None:
        folder = self.root / name
        folder.mkdir()
        (folder / "name").write_text(called or name)
        (folder / "xmcompat.toml").write_text(
            f'[migration]\ncertificates = "{folder}/own"\npki = "{folder}/pki"\n'
        )

    def setup(self, *names: str, renew: bool = False) -> tuple[enrolment.Done, ...]:
        return enrolment.setup(names, self.places("here"), str(self.root / "ssh"), renew=renew)

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    def all_said(self) -> str:
        return "".join(path.read_text() for path in self.root.glob("*.said")) + "".join(
            path.read_text() for path in self.root.glob("*.answered")
        )


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.setattr(certificate_files, "qemu_group", lambda conf="": 0)
    return made_in(tmp_path)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The same with all of them set up, for tests that change nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificate_files, "qemu_group", lambda conf="": 0)
        folders = made_in(tmp_path_factory.mktemp("ready"))
        (folders.root / "web2/xmcompat.toml").write_text(folders.text("web2/xmcompat.toml") + 'address = "203.0.113.2"\n')
        folders.done = folders.setup("web1", "web2")
        return folders


def made_in(tmp_path: Path) -> Folders:
    (tmp_path / "ssh").write_text(SSH.format(root=tmp_path, python=sys.executable))
    (tmp_path / "ssh").chmod(0o755)
    (tmp_path / "host.py").write_text(HOST.format(checkout=str(CHECKOUT), root=str(tmp_path)))
    folders = Folders(tmp_path)
    folders.add("here")
    for name in ("web1", "web2"):
        folders.add(name)
    return folders


def shaken(folders: Folders, client: str, server: str, name: str) -> str:
    """How a handshake between two of the hosts ends: the names that the server sees in the client's certificate."""
    from xmcompat.xend.visitor import names_in

    one, other = __import__("socket").socketpair()
    seen: list[str] = []

    def serve() -> None:
        context = certificate_files.server_context(folders.places(server).folder)
        try:
            with context.wrap_socket(other, server_side=True) as secure:
                seen.extend(names_in(secure))
                secure.sendall(b"x")
        except ssl.SSLError as error:
            seen.append(f"refused: {error.reason}")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        context = certificate_files.client_context(folders.places(client).folder)
        with context.wrap_socket(one, server_hostname=name) as secure:
            secure.recv(1)
    except ssl.SSLError as error:
        one.close()
        thread.join(10)
        return str(getattr(error, "verify_message", "") or error.reason)
    thread.join(10)
    return " ".join(seen)


def test_all_hosts_believe_each_other_by_their_names(ready: Folders) -> None:
    done = ready.done
    assert [one.host for one in done] == ["web1", "web2", ""]
    assert done[0].names[:2] == ("web1", "web1.example.org")
    assert shaken(ready, "web1", "web2", "web2") == "web1 web1.example.org"
    assert shaken(ready, "web2", "here", done[2].names[0]).startswith("web2 ")
    assert "Hostname mismatch" in shaken(ready, "web1", "web2", "web1")


def test_where_a_host_expects_guests_is_in_its_certificate(ready: Folders) -> None:
    assert "203.0.113.2" in ready.done[1].names
    assert shaken(ready, "web1", "web2", "203.0.113.2") == "web1 web1.example.org"


def test_no_private_key_is_ever_said(ready: Folders) -> None:
    said = ready.all_said()
    assert "BEGIN PUBLIC KEY" in said and "BEGIN CERTIFICATE" in said
    assert "PRIVATE" not in said
    for path in (*ready.root.glob("*/own/**/*key.pem"), *ready.root.glob("*/pki/**/*key.pem")):
        for_qemu = path.parent.name == "libvirt-migrate"
        assert stat.S_IMODE(path.stat().st_mode) in ((0o600, 0o640) if for_qemu else (0o600,)), path
        middle = path.read_text().split("\n")[1]
        assert middle not in said


def test_the_authority_stays_here_where_nobody_else_reads_it(ready: Folders) -> None:
    assert stat.S_IMODE((ready.root / "here/own/ca").stat().st_mode) == 0o700
    assert not (ready.root / "web1/own/ca").exists()


def test_qemu_has_an_authority_of_its_own(ready: Folders) -> None:
    control, data = ready.text("web1/own/cacert.pem"), ready.text("web1/pki/libvirt-migrate/ca-cert.pem")
    assert certificates.fingerprint(control) != certificates.fingerprint(data)
    key, certificate = (ready.text(f"web1/pki/libvirt-migrate/server-{word}.pem") for word in ("key", "cert"))
    assert certificates.belongs(certificate, key, data)
    assert not certificates.belongs(certificate, key, control)


def test_qemus_group_may_read_qemus_key_and_no_other(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate_files, "qemu_group", lambda conf="": 1)
    folders.setup("web1")
    found = {
        path.name: (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid)
        for path in (folders.root / "here/pki").rglob("*key.pem")
    }
    assert found == {
        "server-key.pem": (0o640, 1), "client-key.pem": (0o640, 1), "serverkey.pem": (0o600, 0), "clientkey.pem": (0o600, 0)
    }  # fmt: skip


def test_it_may_be_repeated_and_hosts_may_be_added(folders: Folders) -> None:
    folders.setup("web1")
    before = folders.text("web1/own/servercert.pem")
    again = folders.setup("web1")
    assert [one.outcome.written for one in again] == [(), ()]
    folders.setup("web2")
    assert folders.text("web1/own/servercert.pem") == before
    assert shaken(folders, "web1", "web2", "web2") == "web1 web1.example.org"


def test_what_was_lost_is_put_back(folders: Folders) -> None:
    folders.setup("web1")
    (folders.root / "web1/pki/libvirt/clientcert.pem").unlink()
    done = folders.setup("web1")
    assert done[0].outcome.written == (str(folders.root / "web1/pki/libvirt/clientcert.pem"),)
    (folders.root / "web1/own/serverkey.pem").unlink()
    folders.setup("web1")
    assert shaken(folders, "here", "web1", "web1").strip()


def test_files_of_others_are_left_and_told(folders: Folders) -> None:
    foreign = folders.root / "web1/pki/CA/cacert.pem"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("the company's\n")
    done = folders.setup("web1")
    assert done[0].outcome.left == (str(foreign),)
    assert foreign.read_text() == "the company's\n"
    assert not (folders.root / "web1/pki/libvirt").exists()
    assert shaken(folders, "here", "web1", "web1").strip()


def test_undo_takes_away_what_was_written_and_nothing_else(folders: Folders) -> None:
    folders.setup("web1", "web2")
    changed = folders.root / "web1/pki/libvirt/servercert.pem"
    changed.write_text("somebody's own\n")
    done = enrolment.undo(["web1"], folders.places("here"), str(folders.root / "ssh"))
    assert done[0].outcome.left == (str(changed),)
    assert [path for path in (folders.root / "web1").rglob("*.pem")] == [changed]
    enrolment.undo([], folders.places("here"), str(folders.root / "ssh"))
    assert list((folders.root / "here").rglob("*.pem")) == []
    assert not (folders.root / "here/own").exists() and not (folders.root / "here/pki").exists()
    enrolment.undo([], folders.places("here"), str(folders.root / "ssh"))


def test_a_host_of_another_authority_is_refused_before_anything_is_changed(folders: Folders) -> None:
    folders.add("other")
    enrolment.setup(["web1"], folders.places("other"), str(folders.root / "ssh"))
    before = folders.text("web1/own/servercert.pem")
    with pytest.raises(OperationError, match="web1 has certificates that were made on another host"):
        folders.setup("web2", "web1")
    assert folders.text("web1/own/servercert.pem") == before
    assert not (folders.root / "web2/own/cacert.pem").exists()
    folders.setup("web2", "web1", renew=True)
    assert shaken(folders, "web1", "web2", "web2") == "web1 web1.example.org"


def test_a_host_that_belongs_to_another_one_is_no_authority_itself(folders: Folders) -> None:
    folders.setup("web1")
    with pytest.raises(OperationError, match="the certificates of this host were made on another one"):
        enrolment.setup(["web2"], folders.places("web1"), str(folders.root / "ssh"))


def test_renew_leaves_out_who_is_not_named(folders: Folders) -> None:
    folders.setup("web1", "web2")
    folders.setup("web1", renew=True)
    assert shaken(folders, "here", "web1", "web1").strip()
    assert "certificate" in shaken(folders, "web2", "web1", "web1")


def test_a_host_that_takes_anothers_name_is_refused(folders: Folders) -> None:
    folders.add("thief", called="web1")
    folders.setup("web1")
    with pytest.raises(OperationError, match="thief and web1 both are 'web1'"):
        folders.setup("thief")
    assert not (folders.root / "thief/own/cacert.pem").exists()


def test_this_very_host_is_refused(folders: Folders) -> None:
    with pytest.raises(OperationError, match="'here' is this host itself"):
        folders.setup("here")


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "", "a b"])
def test_what_is_no_host_is_never_given_to_ssh(folders: Folders, host: str) -> None:
    with pytest.raises(OperationError, match="is no name of a host"):
        folders.setup(host)


def test_nothing_is_renewed_where_a_host_is_not_there(folders: Folders) -> None:
    folders.setup("web1")
    with pytest.raises(OperationError, match="web9 does not answer"):
        folders.setup("web1", "web9", renew=True)
    assert [one.outcome.written for one in folders.setup("web1")] == [(), ()]
    folders.setup("web2")
    assert shaken(folders, "web1", "web2", "web2") == "web1 web1.example.org"


def test_a_host_may_be_called_by_another_name_later(folders: Folders) -> None:
    folders.setup("web1")
    (folders.root / "root@web1").symlink_to("web1")
    done = folders.setup("root@web1", "web2")
    assert done[0].names == ("web1", "web1.example.org")
    assert shaken(folders, "web1", "web2", "web2") == "web1 web1.example.org"


def test_hosts_that_call_themselves_localhost_are_no_twins(folders: Folders) -> None:
    program = folders.root / "host.py"
    program.write_text(program.read_text().replace('word + ".example.org"', '"localhost.localdomain"'))
    done = folders.setup("web1", "web2")
    assert [one.names for one in done[:2]] == [("web1",), ("web2",)]


@pytest.mark.parametrize("step", range(1, 40, 3))
def test_a_setup_that_is_killed_is_taken_up_by_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """What it had written is not taken for somebody else's, also where other certificates come now."""
    places = Places(str(tmp_path / "own"), str(tmp_path / "pki"), "/nowhere/qemu.conf")
    monkeypatch.setattr(certificate_files, "qemu_group", lambda conf="": 0)
    before, after = ({purpose: Bundle("key", text, text) for purpose in certificates.PURPOSES} for text in ("one", "two"))
    certificate_files.install(places, before)
    real, count = certificate_files.write, iter(range(1, 100))

    def write(*words: object, **more: object) -> bool:
        if next(count) == step:
            raise KeyboardInterrupt
        return real(*words, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(certificate_files, "write", write)
        certificate_files.install(places, after)
    outcome = certificate_files.install(places, {purpose: Bundle("key", "3", "3") for purpose in certificates.PURPOSES})
    assert outcome.left == ()
    assert certificate_files.remove(places).left == () and list(tmp_path.rglob("*.pem")) == []


def test_no_key_is_left_of_a_setup_that_was_killed_as_it_wrote_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places(str(tmp_path / "own"), str(tmp_path / "pki"), "/nowhere/qemu.conf")
    real = os.rename

    def rename(fresh: str, path: str) -> None:
        if path.endswith("private/serverkey.pem"):
            raise KeyboardInterrupt
        real(fresh, path)

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(certificate_files.os, "rename", rename)
        certificate_files.install(places, {purpose: Bundle("key", "1", "1") for purpose in certificates.PURPOSES})
    assert [path for path in tmp_path.rglob("*") if path.name.startswith(".serverkey")]
    certificate_files.remove(places)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_files_of_others_beside_ours_are_left(tmp_path: Path) -> None:
    path = tmp_path / "cacert.pem.new"
    path.write_text("the company's next one")
    certificate_files.write(str(tmp_path / "cacert.pem"), "ours", 0o600)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["cacert.pem", "cacert.pem.new"]


def test_an_ssh_that_has_ended_before_it_was_asked_is_told_in_words(tmp_path: Path) -> None:
    """What it did not read is written again when its stream is closed."""
    program = tmp_path / "ssh"
    program.write_text("#!/bin/sh\nexit 255\n")
    program.chmod(0o755)
    with pytest.raises(OperationError, match="web9 does not answer"), enrolled.OverSsh("web9", str(program)) as remote:
        remote._process.wait(20)
        remote.introduce()


def test_a_host_that_is_not_there(folders: Folders) -> None:
    with pytest.raises(OperationError, match="web9 does not answer"):
        folders.setup("web9")


def test_a_certificate_for_somebody_else_is_not_installed(ready: Folders) -> None:
    local = enrolled.LocalHost(ready.places("web1"))
    with pytest.raises(OperationError, match="not for this host"):
        local.install(enrolled.Certified(control=ready.text("web2/own/servercert.pem")))


def answered(places: Places, data: bytes) -> list[Mapping[str, object]]:
    out = BytesIO()
    enrolled.answer(BytesIO(data), out, places)
    return [json.loads(line) for line in out.getvalue().splitlines()]


@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=60).map(lambda text: json.dumps({"do": text}).encode())))
def test_any_bytes_give_an_error_and_no_traceback(data: bytes) -> None:
    for one in answered(Places("/proc/nowhere", "/proc/nowhere"), data):
        assert set(one) <= {"error", "ok"}


def test_names_that_cannot_stand_in_a_certificate(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(certificates.new_key())
    (tmp_path / "cert").write_text(certificates.new_authority(str(tmp_path / "key"), "lab"))
    authority = certificates.Authority(str(tmp_path / "key"), str(tmp_path / "cert"))
    public = certificates.public_of((tmp_path / "key").read_text())
    for names, addresses in ((["a,IP:0.0.0.0"], []), ([], []), (["a"], ["a"]), (["*"], []), (["a\nb"], [])):
        with pytest.raises(XmError):
            certificates.signed(authority, public, names, addresses)
    with pytest.raises(XmError, match="no public key"):
        certificates.signed(authority, "-----BEGIN PUBLIC KEY-----\n\n-----END PUBLIC KEY-----\n", ["a"], [])


def test_the_command_says_what_it_did_and_what_is_left_to_do(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    config = folders.root / "here/xmcompat.toml"
    config.write_text(config.read_text() + f'ssh = "{folders.root}/ssh"\n')
    done = subprocess.run(
        [sys.executable, "-m", "xmcompat.tool", "migrate", "setup", "web1"], capture_output=True, text=True, timeout=60,
        cwd=CHECKOUT, env={"PATH": "/usr/bin:/bin", "XMCOMPAT_CONFIG": str(config), "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    outcome = Outcome(done.stdout, done.stderr, done.returncode)
    assert outcome.status == 0, outcome
    assert outcome.stdout.startswith("web1: has certificates for web1, web1.example.org\nthis host: has certificates for ")
    assert "(xend-relocation-ssl-server yes)" in outcome.stdout and "^web1$ ^" in outcome.stdout
    assert "Warning: web1: restart libvirtd there" in outcome.stderr
