"""Passwords of the disks of a domain that moves: read at the source, kept at the destination, and shown nowhere."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.fakes_peer import FakePeer, FakeWay
from tests.lab.guests import tick_xml
from xmcompat import arrival_sweep, arrivals, departing, disk_secrets, moving_secrets, receiving
from xmcompat.backends import domain_xml
from xmcompat.backends.hypervisor import DomainInfo, DomainState
from xmcompat.backends.machine import XenRecord
from xmcompat.backends.migration import MigrationState
from xmcompat.backends.record import METADATA_URI
from xmcompat.disk_logins import secret_name
from xmcompat.errors import DeviceError, OperationError
from xmcompat.migrating import Request
from xmcompat.migration.facts import HostFacts, Password, Resolved, Wanted, WantedSecret
from xmcompat.receiving import Receiving
from xmcompat.storage import iscsi_records
from xmcompat.toolstack import Toolstack

UUID = "11111111-2222-4333-8444-555555555555"
OTHER = UUID.replace("1", "9")
NAME = secret_name(UUID, "xvda")
IQN = "iqn.2010-01.com.example:store"
WEB1 = domain("web1", 7, uuid=UUID)
SENT = Password(vdev="xvda", value=base64.b64encode(b"s3cret").decode())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(arrivals, "folder", lambda uri: str(tmp_path / "arriving"))
    monkeypatch.setattr(disk_secrets, "FOLDER", str(tmp_path / "secrets"))
    monkeypatch.setattr(receiving, "_STANDING", 0.1)
    monkeypatch.setattr(receiving, "_FINISHING", 0.4)
    monkeypatch.setattr(iscsi_records, "FOLDERS", (str(tmp_path / "nodes"),))
    monkeypatch.setenv("XMCOMPAT_ACCELERATOR", "tcg")
    return tmp_path


def nothing() -> None:
    return


def xml(
    more: str = "", *, name: str = NAME, user: str = "alice", on_poweroff: str = "destroy", source: str = ""
) -> str:  # fmt: skip
    """A domain with a disk xvda of a server; MORE is what its configuration says of the password."""
    uname = f"iscsi://{user}@192.0.2.8/{IQN}/1{more}"
    sxp = f"(vm (name web1) (memory 16) (image (linux)) (on_poweroff {on_poweroff}) (device (vbd (uname '{uname}') (dev xvda) (mode w))))"
    disk = (
        f"<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='iscsi' name='{IQN}/1'>"
        f"<host name='192.0.2.8' port='3260'/><auth username='{user}'><secret type='iscsi' usage='{name}'/></auth></source>"
        "<target dev='vda' bus='virtio'/><alias name='ua-xvda'/></disk>"
    )
    record = domain_xml.render_record(XenRecord(sxp=sxp, source=source)).replace("<guest", f"<guest xmlns='{METADATA_URI}'", 1)
    made = tick_xml("web1", Path("/roms"), kvm=False, uuid=UUID, metadata=record)
    return made.replace("<serial", f"{disk}<serial", 1)


def source(text: str) -> FakeHypervisor:
    hypervisor = FakeHypervisor.with_domains(WEB1)
    hypervisor.xml[UUID] = text
    return hypervisor


def leaving(hypervisor: FakeHypervisor) -> Wanted:
    return departing.wanted_of(hypervisor, WEB1, live=True, persist=False)


class Local(FakeHypervisor):
    """One of this host."""

    def __init__(self, *infos: DomainInfo) -> None:
        super().__init__()
        self.uri = "qemu:///system"
        for info in infos:
            self.known[info.uuid] = info


def receiver(hypervisor: FakeHypervisor, logged: list[str] | None = None) -> Receiving:
    log = logged if logged is not None else []
    return Receiving(Toolstack(lambda: hypervisor), {}, log=lambda level, text: log.append(text), alone=0.3)


def coming(text: str = "", *passwords: Password) -> Wanted:
    return replace(leaving(source(text or xml("?password_file=/no/such"))), passwords=passwords)


# -- at the source


def test_a_file_that_the_configuration_names_tells_the_password_that_libvirt_does_not(tmp_path: Path) -> None:
    file = tmp_path / "pw"
    file.write_text("s3cret\n")
    hypervisor = source(xml(f"?password_file={file}"))
    hypervisor.keep_secret("iscsi", NAME, b"s3cret", lasting=False)
    wanted = leaving(hypervisor)
    assert wanted.secrets == (WantedSecret(vdev="xvda", name=NAME, kind="iscsi", user="alice", file=str(file), told=True),)
    assert wanted.passwords == ()
    assert moving_secrets.with_passwords(hypervisor, wanted, private=True).passwords == (SENT,)
    assert moving_secrets.with_passwords(hypervisor, wanted, private=False) == wanted


def test_a_password_that_was_in_the_configuration_alone_cannot_be_told() -> None:
    hypervisor = source(xml())
    hypervisor.keep_secret("iscsi", NAME, b"s3cret", lasting=False)
    wanted = leaving(hypervisor)
    assert [one.told for one in wanted.secrets] == [False]
    assert moving_secrets.with_passwords(hypervisor, wanted, private=True) == wanted


CFG = "name = 'web1'\nmemory = 16\nbuilder = 'hvm'\ndisk = ['iscsi:{},xvda,w']\n"
SXP = "(vm (name web1) (memory 16) (image (linux)) (device (vbd (uname 'iscsi:{}') (dev xvda) (mode w))))"
LUN = f"//alice%s3cret@192.0.2.8/{IQN}/1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (CFG.format(LUN), True), (SXP.format(LUN), True), (CFG.format(LUN.replace("192.0.2.8", "192.0.2.9")), False),
        (CFG.format(LUN.replace("alice", "bob")), False), (CFG.format(LUN).replace("xvda", "xvdb"), False),
        (CFG.format(LUN.replace("%s3cret", "")), False), ("spoilt (", False), ("(vm", False), (None, False),
    ],
)  # fmt: skip
def test_the_file_that_it_was_started_from_tells_it_as_long_as_that_has_the_same_disk(
    tmp_path: Path, text: str | None, told: bool
) -> None:
    path = tmp_path / "web1.cfg"
    if text is not None:
        path.write_text(text)
    hypervisor = source(xml(source=str(path)))
    hypervisor.keep_secret("iscsi", NAME, b"s3cret", lasting=False)
    wanted = leaving(hypervisor)
    assert [one.told for one in wanted.secrets] == [told]
    assert moving_secrets.with_passwords(hypervisor, wanted, private=True).passwords == ((SENT,) if told else ())
    assert receiver(Local()).look(wanted, nothing).secrets == ()  # that file counts where the guest was started


def by_host(text: str) -> str:
    """The same domain, with a LUN to which its host logs in, by all ways."""
    device = f"/dev/disk/by-path/ip-192.0.2.8:3260-iscsi-{IQN}-lun-1"
    begin, end = text.index("<source protocol"), text.index("</source>") + len("</source>")
    return (text[:begin] + f"<source dev='{device}'/>" + text[end:]).replace("type='network'", "type='block'")


def test_what_the_host_itself_logs_in_with_is_told_by_libvirt_and_kept_to_be_told(tmp_path: Path) -> None:
    text = by_host(xml("?multipath=y"))
    hypervisor, there = source(text), Local()
    hypervisor.keep_secret("iscsi", NAME, b"s3cret", lasting=False, readable=True)
    wanted = moving_secrets.with_passwords(hypervisor, leaving(hypervisor), private=True)
    assert wanted.passwords == (SENT,)
    machine = domain_xml.parse(text)
    moving_secrets.keep(there, machine, moving_secrets.checked(machine, wanted))
    assert (there.kept_secrets[NAME].value, there.kept_secrets[NAME].readable) == (b"s3cret", True)


def test_a_record_of_the_administrators_is_wanted_there(tmp_path: Path) -> None:
    hypervisor = source(by_host(xml("?multipath=y", user="")).replace("iscsi://@", "iscsi://"))
    assert leaving(hypervisor).secrets == ()
    record = tmp_path / f"nodes/{IQN}/192.0.2.8,3260,1/default"
    record.parent.mkdir(parents=True)
    record.write_text("node.session.auth.authmethod = CHAP\nnode.session.auth.username = bob\n")
    wanted = leaving(hypervisor)
    (secret,) = wanted.secrets
    assert (secret.kind, secret.name, secret.user) == ("initiator", f"{IQN}@192.0.2.8:3260", "bob")
    assert secret.file == str(tmp_path / f"nodes/{IQN}")
    assert moving_secrets.known(hypervisor, wanted) == (secret.name,)
    record.write_text("node.session.auth.authmethod = None\n")
    assert leaving(hypervisor).secrets == ()
    record.unlink()
    assert moving_secrets.known(hypervisor, wanted) == ()


@pytest.mark.parametrize("private", [True, False])
def test_it_is_told_before_that_a_password_would_go_in_clear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    (tmp_path / "pw").write_text("s3cret\n")
    here = source(xml(f"?password_file={tmp_path}/pw"))
    way = FakeWay(FakePeer(FakeHypervisor(), HostFacts(hostname="node2", free_memory=8 << 20)), private=private)
    monkeypatch.setattr("xmcompat.migrating.open_way", lambda *_asked: way)
    monkeypatch.setattr("xmcompat.vantage._resolved", lambda name: Resolved(name=name, addresses=("192.0.2.2",)))
    found = Toolstack(lambda: here).migrating.check("web1", Request(host="node2"))
    assert "s3cret" not in repr(found)
    assert [one.line() for one in found if one.stops] == ([] if private else [
        "disk xvda: node2 does not have the password of 'alice', and it would go there in clear; "
        f"type: xmcompat migrate setup node2; or copy {tmp_path}/pw there"
    ])  # fmt: skip


# -- at the destination


@pytest.mark.parametrize(("on_poweroff", "lasting"), [("destroy", False), ("preserve", True)])
def test_a_password_is_kept_before_the_domain_comes_as_it_was_at_its_start(
    folder: Path, on_poweroff: str, lasting: bool
) -> None:
    hypervisor, logged = Local(), list[str]()
    text = xml("?password_file=/no/such", on_poweroff=on_poweroff)
    receiver(hypervisor, logged).prepare(coming(text, SENT), nothing)
    kept = hypervisor.kept_secrets[NAME]
    assert (kept.kind, kept.value, kept.lasting, kept.readable) == ("iscsi", b"s3cret", lasting, False)
    written = [path.read_text() for path in folder.rglob("*") if path.is_file()]
    assert written and not any("s3cret" in text or SENT.value in text for text in (*written, *logged))
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder / "secrets").rglob("*"))


def test_it_is_given_back_when_the_domain_does_not_come() -> None:
    hypervisor = Local()
    one = receiver(hypervisor)
    one.prepare(coming("", SENT), nothing)
    one.release(UUID, nothing)
    assert hypervisor.kept_secrets == {} and not disk_secrets.is_any()


def test_it_is_given_back_when_the_source_goes() -> None:
    hypervisor = Local()
    one = receiver(hypervisor)
    one.prepare(coming("", SENT), nothing)
    one.ended(False)
    assert hypervisor.kept_secrets == {} and not disk_secrets.is_any()


def test_it_is_given_back_when_something_else_cannot_be_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    hypervisor = Local()

    def fails(*_words: object, **_more: object) -> None:
        assert NAME in hypervisor.kept_secrets
        raise DeviceError("no session")

    monkeypatch.setattr(receiving.disk_needs, "ready_again", fails)
    with pytest.raises(DeviceError):
        receiver(hypervisor).prepare(coming("", SENT), nothing)
    assert hypervisor.kept_secrets == {} and not disk_secrets.is_any()


def test_what_a_killed_receiver_had_kept_is_swept() -> None:
    hypervisor = Local()
    one = receiver(hypervisor)
    one.prepare(coming("", SENT), nothing)
    assert one._kept is not None
    one._kept.leave()  # as its end does
    arrival_sweep.sweep(hypervisor)
    assert hypervisor.kept_secrets == {} and not disk_secrets.is_any()


@pytest.mark.parametrize("persistent", [True, False])
def test_it_is_kept_with_the_domain_that_has_come_and_goes_with_it(persistent: bool) -> None:
    hypervisor = Local()
    one = receiver(hypervisor)
    one.prepare(coming("", SENT), nothing)
    hypervisor.known[UUID] = WEB1._replace(state=DomainState.RUNNING, persistent=persistent)
    hypervisor.migration_states[UUID] = MigrationState.ARRIVED
    one.settle(UUID, nothing)
    one.ended(True)
    disk_secrets.sweep(hypervisor)
    assert hypervisor.kept_secrets[NAME].lasting is persistent
    del hypervisor.known[UUID]
    disk_secrets.gone(hypervisor, UUID)
    assert hypervisor.kept_secrets == {}


def test_it_starts_again_where_its_file_is_not_and_after_it_was_saved(tmp_path: Path) -> None:
    hypervisor, machine = Local(), domain_xml.parse(xml("?password_file=/no/such"))
    receiver(hypervisor).prepare(coming("", SENT), nothing)
    disk_secrets.saved(hypervisor, UUID, str(tmp_path / "web1.save"))
    assert json.loads((tmp_path / "secrets" / UUID).read_text())["saved"] == str(tmp_path / "web1.save")
    guest = receiving.guest_in(machine)
    disk_secrets.prepared(hypervisor, machine.disks, guest, UUID)
    assert hypervisor.kept_secrets[NAME].value == b"s3cret"
    hypervisor.forget_secret(NAME)
    with pytest.raises(DeviceError, match="cannot be read: /no/such"):
        disk_secrets.prepared(hypervisor, machine.disks, guest, UUID)


def test_one_that_is_saved_here_keeps_what_lasts(tmp_path: Path) -> None:
    hypervisor = Local()
    (tmp_path / "web1.save").touch()
    receiver(hypervisor).prepare(coming("", SENT), nothing)
    disk_secrets.saved(hypervisor, UUID, str(tmp_path / "web1.save"))
    one = receiver(hypervisor)
    machine = domain_xml.parse(xml("?password_file=/no/such"))
    moving_secrets.keep(hypervisor, machine, moving_secrets.checked(machine, coming("", SENT)))
    assert hypervisor.kept_secrets[NAME].lasting
    one.release(UUID, nothing)
    assert NAME in hypervisor.kept_secrets


def test_the_same_file_here_serves_without_any_sent(tmp_path: Path) -> None:
    file, hypervisor = tmp_path / "pw", Local()
    wanted = coming(xml(f"?password_file={file}"))
    assert receiver(hypervisor).look(wanted, nothing).secrets == ()
    with pytest.raises(DeviceError, match=f"cannot be read: {file}"):
        receiver(hypervisor).prepare(wanted, nothing)
    file.write_text("here\n")
    assert receiver(hypervisor).look(wanted, nothing).secrets == (NAME,)
    one = receiver(hypervisor)
    one.prepare(wanted, nothing)
    assert hypervisor.kept_secrets[NAME].value == b"here"
    one.release(UUID, nothing)


@pytest.mark.parametrize("more", ["", "?password_file=/no/such"])
def test_what_somebody_has_kept_here_by_hand_serves_without_any_sent(more: str) -> None:
    hypervisor, wanted = Local(), coming(xml(more))
    hypervisor.keep_secret("iscsi", NAME, b"by hand", lasting=False)
    assert receiver(hypervisor).look(wanted, nothing).secrets == (NAME,)
    receiver(hypervisor).prepare(wanted, nothing)
    assert hypervisor.kept_secrets[NAME].value == b"by hand"


THEIRS = secret_name(OTHER, "xvda")


@pytest.mark.parametrize("more", ["", "?password_file=/no/such"])
@pytest.mark.parametrize("name", [THEIRS, secret_name(UUID, "xvdb"), f"{NAME}1", "ceph-of-the-host", THEIRS.upper()])
@pytest.mark.parametrize("passwords", [(), (SENT,)])
def test_no_source_has_the_secret_of_another_domain(name: str, more: str, passwords: tuple[Password, ...]) -> None:
    hypervisor = Local(domain("other", 3, uuid=OTHER))
    for kept in {name, THEIRS}:
        hypervisor.keep_secret("iscsi", kept, b"theirs", lasting=True)
    before = dict(hypervisor.kept_secrets)
    wanted = coming(xml(more, name=name), *passwords)
    assert receiver(hypervisor).look(wanted, nothing).secrets == ()
    with pytest.raises(OperationError, match="opens the disk 'xvda' by what is another domain's"):
        receiver(hypervisor).prepare(wanted, nothing)
    assert hypervisor.kept_secrets == before and hypervisor.kept_secrets[name].value == b"theirs"
    assert not arrivals.promised(hypervisor.uri) and not os.path.exists(disk_secrets.FOLDER)


def test_a_secret_of_the_administrators_that_no_configuration_tells_of_is_used_and_not_changed() -> None:
    hypervisor = Local()
    wanted = coming(xml(name="of-the-host").replace("(dev xvda)", "(dev xvdb)"))
    assert wanted.secrets == (WantedSecret(vdev="xvda", name="of-the-host", kind="iscsi", user="alice"),)
    assert receiver(hypervisor).look(wanted, nothing).secrets == ()
    hypervisor.keep_secret("iscsi", "of-the-host", b"theirs", lasting=True, readable=True)
    assert receiver(hypervisor).look(wanted, nothing).secrets == ("of-the-host",)
    receiver(hypervisor).prepare(wanted, nothing)
    with pytest.raises(OperationError, match="sends a password for 'xvda', which asks for none"):
        receiver(hypervisor).prepare(replace(wanted, passwords=(SENT,)), nothing)
    assert hypervisor.kept_secrets["of-the-host"].value == b"theirs"


def test_one_whose_record_cannot_be_read_is_not_taken_for_another_domains() -> None:
    hypervisor = Local()
    hypervisor.keep_secret("iscsi", NAME, b"by hand", lasting=False)
    wanted = coming(xml().replace("(memory 16)", "(memory x)"))
    assert receiver(hypervisor).look(wanted, nothing).secrets == (NAME,)
    receiver(hypervisor).prepare(wanted, nothing)
    assert hypervisor.kept_secrets[NAME].value == b"by hand"


@pytest.mark.parametrize(
    ("passwords", "said"),
    [
        ((replace(SENT, vdev="xvdb"),), "sends a password for 'xvdb', which asks for none"),
        ((replace(SENT, vdev="xvda:../x\n"),), r"sends a password for 'xvda:\.\./x\\n', which asks for none"),
        ((SENT, SENT), "sends a password for 'xvda', which asks for none"),
        ((replace(SENT, value="s3cret!"),), "sends what is no password for 'xvda'"),
        ((replace(SENT, value=""),), "sends what is no password for 'xvda'"),
        ((replace(SENT, value="ä"),), "sends what is no password for 'xvda'"),
        ((replace(SENT, value=base64.b64encode(bytes(moving_secrets.LONGEST + 1)).decode()),), "sends what is no password"),
    ],
)
def test_what_is_no_password_of_its_disks_is_refused(passwords: tuple[Password, ...], said: str) -> None:
    hypervisor = Local()
    with pytest.raises(OperationError, match=said) as caught:
        receiver(hypervisor).prepare(coming("", *passwords), nothing)
    assert "s3cret" not in caught.value.line() and hypervisor.kept_secrets == {}
    assert not arrivals.promised(hypervisor.uri)
