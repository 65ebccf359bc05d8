"""Passwords of disks: from the configuration or a file into the hypervisor's keeping, and out of it with the domain."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import FakeHypervisor, domain
from tests.translate.guests import PV
from xmcompat import disk_secrets
from xmcompat.backends.devices import BlockSource, Bus, Disk, HostNeed, NetworkSource
from xmcompat.backends.hypervisor import DomainInfo
from xmcompat.config.specs import parse_disk
from xmcompat.disk_logins import secret_name
from xmcompat.errors import DeviceError
from xmcompat.guest import GuestConfig

IQN = "iqn.2010-01.com.example:store"
WEB1 = domain("web1")
NAME = secret_name(WEB1.uuid, "xvda")
KEY = base64.b64encode(b"\0ceph\xff").decode()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(disk_secrets, "FOLDER", str(tmp_path / "secrets"))
    return tmp_path / "secrets"


def guest(uname: str) -> GuestConfig:
    return replace(PV, uuid=WEB1.uuid, disks=(parse_disk(f"{uname},xvda,w"),))


def disk(protocol: str) -> Disk:
    source = NetworkSource(protocol=protocol, name="x", user="alice", secret=NAME)
    return Disk(source=source, target="vda", bus=Bus.VIRTIO, vdev="xvda")


def prepare(hypervisor: FakeHypervisor, uname: str, **more: bool) -> None:
    disk_secrets.prepared(hypervisor, (disk(uname.partition(":")[0]),), guest(uname), WEB1.uuid, **more)


def test_a_password_in_the_configuration_is_kept_for_qemu_and_written_nowhere(folder: Path) -> None:
    hypervisor = FakeHypervisor()
    prepare(hypervisor, f"iscsi://alice%s3cret@a/{IQN}/1")
    kept = hypervisor.kept_secrets[NAME]
    assert (kept.kind, kept.value, kept.lasting, kept.readable) == ("iscsi", b"s3cret", False, False)
    (note,) = folder.iterdir()
    assert note.name == WEB1.uuid and "s3cret" not in note.read_text()
    assert (note.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_disks_without_passwords_leave_no_trace(folder: Path) -> None:
    plain = Disk(source=NetworkSource(protocol="iscsi", name="x"), target="vda", bus=Bus.VIRTIO, vdev="xvda")
    assert disk_secrets.prepared(FakeHypervisor(), (plain,), guest(f"iscsi://a/{IQN}/1"), WEB1.uuid) == (plain,)
    assert not folder.exists() and not disk_secrets.is_any()


def test_a_file_is_read_at_each_start(tmp_path: Path) -> None:
    hypervisor, file = FakeHypervisor(), tmp_path / "pw"
    for password in ("first", " second, with blanks "):
        file.write_text(f"{password}\n")
        prepare(hypervisor, f"iscsi://alice@a/{IQN}/1?password_file={file}")
        assert hypervisor.kept_secrets[NAME].value == password.encode()


def test_what_is_kept_already_serves_a_record_without_the_password() -> None:
    hypervisor = FakeHypervisor()
    prepare(hypervisor, f"iscsi://alice%s3cret@a/{IQN}/1")
    prepare(hypervisor, f"iscsi://alice@a/{IQN}/1")
    assert hypervisor.kept_secrets[NAME].value == b"s3cret"


@pytest.mark.parametrize(
    ("uname", "said"),
    [
        (f"iscsi://alice@a/{IQN}/1", "The password of 'alice' is not known"),
        (f"iscsi://alice@a/{IQN}/1?password_file=/no/such", "cannot be read: /no/such: No such file or directory"),
        (f"iscsi://alice@a/{IQN}/1?password_file=/dev/zero", "cannot be read: /dev/zero is too long"),
        (f"iscsi://alice@a/{IQN}/1?password_file=/x\0y", "no name of a file"),
        ("rbd:p/i:id=xen:key=no-base64!", "The key of 'xen' is no key of Ceph's"),
        ("rbd:p/i:id=xen:keyring=/no/such", "The password of 'xen' is not known"),
    ],
)
def test_a_password_that_nobody_knows_is_told_with_the_device(uname: str, said: str) -> None:
    hypervisor = FakeHypervisor()
    with pytest.raises(DeviceError) as caught:
        prepare(hypervisor, uname)
    assert caught.value.message.startswith("Device 51712 (vbd) could not be connected. ") and said in caught.value.message
    assert hypervisor.kept_secrets == {}


def test_a_key_of_ceph_is_kept_as_its_bytes_from_the_words_or_the_users_own_part_of_a_keyring(tmp_path: Path) -> None:
    hypervisor, keyring = FakeHypervisor(), tmp_path / "keyring"
    prepare(hypervisor, f"rbd:p/i:id=xen:key={KEY}")
    assert (hypervisor.kept_secrets[NAME].kind, hypervisor.kept_secrets[NAME].value) == ("ceph", b"\0ceph\xff")
    other = base64.b64encode(b"other").decode()
    keyring.write_text(f"[client.admin]\n\tkey = {other}\n[client.xen]\n\tcaps mon = \"allow r\"\n\tkey = {KEY}\n")
    hypervisor = FakeHypervisor()
    prepare(hypervisor, f"rbd:p/i:id=xen:keyring={keyring}")
    assert hypervisor.kept_secrets[NAME].value == b"\0ceph\xff"


def test_a_host_that_logs_in_itself_is_given_the_password_from_the_configuration_and_later_from_what_is_kept() -> None:
    hypervisor = FakeHypervisor()
    need = HostNeed(kind="iscsi", name=f"{IQN}@a:3260", words=(("user", "alice"),), secret=())
    own = Disk(source=BlockSource(path="/dev/x", need=need), target="vda", bus=Bus.VIRTIO, vdev="xvda")
    for uname in (f"iscsi://alice%s3cret@a/{IQN}/1", f"iscsi://alice@a/{IQN}/1"):
        (found,) = disk_secrets.prepared(hypervisor, (own,), guest(uname), WEB1.uuid)
        assert isinstance(found.source, BlockSource) and found.source.need is not None
        assert found.source.need.secret == (("password", "s3cret"),)
        assert "s3cret" not in repr(found)
    assert hypervisor.kept_secrets[NAME].readable


@pytest.fixture
def kept() -> FakeHypervisor:
    """A domain that runs, with a password."""
    hypervisor = FakeHypervisor()
    prepare(hypervisor, f"iscsi://alice%s3cret@a/{IQN}/1")
    hypervisor.known[WEB1.uuid] = WEB1
    disk_secrets.settle(WEB1.uuid)
    return hypervisor


def ways() -> list[Callable[[FakeHypervisor], None]]:
    return [disk_secrets.sweep, lambda hypervisor: disk_secrets.gone(hypervisor, WEB1.uuid)]


@pytest.mark.parametrize("way", ways(), ids=["swept", "gone"])
def test_a_password_goes_with_its_domain_and_not_before(kept: FakeHypervisor, way: Callable[[FakeHypervisor], None]) -> None:
    way(kept)
    assert list(kept.kept_secrets) == [NAME] and disk_secrets.is_any()
    del kept.known[WEB1.uuid]
    way(kept)
    assert kept.kept_secrets == {} and not disk_secrets.is_any()


@pytest.mark.parametrize("name", ["web1.save", "web1.save.abcdefgh.unfinished"])  # where its xm was killed
@pytest.mark.parametrize("way", ways(), ids=["swept", "gone"])
def test_a_saved_domain_keeps_its_password_as_long_as_its_file(
    kept: FakeHypervisor, way: Callable[[FakeHypervisor], None], tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    file.touch()
    disk_secrets.saved(kept, WEB1.uuid, str(tmp_path / "web1.save"), f"{tmp_path}/web1.save.abcdefgh.unfinished")
    os.utime(f"{disk_secrets.FOLDER}/{WEB1.uuid}", (0, 0))
    del kept.known[WEB1.uuid]
    way(kept)
    assert kept.kept_secrets[NAME].lasting
    prepare(kept, f"iscsi://alice@a/{IQN}/1")  # a restore, which fails
    os.utime(f"{disk_secrets.FOLDER}/{WEB1.uuid}", (0, 0))
    way(kept)
    assert list(kept.kept_secrets) == [NAME]
    file.unlink()
    way(kept)
    assert kept.kept_secrets == {}


def test_a_domain_that_is_being_made_and_one_of_another_hypervisor_are_not_swept(kept: FakeHypervisor) -> None:
    del kept.known[WEB1.uuid]
    disk_secrets.sweep(FakeHypervisor(uri="other:///"))
    assert disk_secrets.is_any()
    prepare(kept, f"iscsi://alice%s3cret@a/{IQN}/1")  # anew
    disk_secrets.sweep(kept)
    assert list(kept.kept_secrets) == [NAME]


def test_a_domain_that_comes_while_it_is_looked_for_keeps_its_password(
    kept: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is being made, and is there and settled the moment after nobody knew it."""
    del kept.known[WEB1.uuid]
    prepare(kept, f"iscsi://alice%s3cret@a/{IQN}/1")
    find = FakeHypervisor.find

    def late(self: FakeHypervisor, designation: str) -> DomainInfo:
        try:
            return find(self, designation)
        finally:
            kept.known[WEB1.uuid] = WEB1
            disk_secrets.settle(WEB1.uuid)

    monkeypatch.setattr(FakeHypervisor, "find", late)
    disk_secrets.sweep(kept)
    disk_secrets.sweep(kept)
    assert list(kept.kept_secrets) == [NAME]


def test_one_disk_goes_alone(kept: FakeHypervisor) -> None:
    other = secret_name(WEB1.uuid, "xvda1")
    kept.keep_secret("iscsi", other, b"x", lasting=False)
    disk_secrets.gone(kept, WEB1.uuid, "xvda")
    assert list(kept.kept_secrets) == [other]


def test_a_spoilt_note_does_no_harm(kept: FakeHypervisor, folder: Path) -> None:
    for text in ("", "[1]", '{"hypervisor": 7}', "\xff"):
        (folder / WEB1.uuid).write_text(text, encoding="latin-1")
        disk_secrets.sweep(kept)
        disk_secrets.gone(kept, WEB1.uuid, "xvdb")
    assert list(kept.kept_secrets) == [NAME]
