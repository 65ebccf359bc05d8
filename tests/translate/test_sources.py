"""What lies behind a virtual block device: servers that QEMU asks itself, and what nothing on KVM stands for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.translate.guests import PV, vbd
from xmcompat.backends.devices import BlockSource, DiskSource, NetworkSource
from xmcompat.errors import NotConvertible
from xmcompat.guest import Vbd
from xmcompat.notes import Fate
from xmcompat.storage.needs import Need, need_of
from xmcompat.translate.findings import Findings
from xmcompat.translate.sources import source

IQN = "iqn.2010-01.com.example:store"


def disk(protocol: str, path: str) -> Vbd:
    return vbd("x,xvda,w", uname=f"{protocol}:{path}", protocol=protocol, path=path)


def behind(protocol: str, path: str) -> DiskSource | None:
    findings = Findings(PV)
    found = source(disk(protocol, path), "disk[0]", findings)
    findings.settle()
    return found


def refusal(protocol: str, path: str) -> str:
    with pytest.raises(NotConvertible) as caught:
        behind(protocol, path)
    return caught.value.line()


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("192.0.2.7 10809", NetworkSource(protocol="nbd", host="192.0.2.7", port=10809)),
        ("store:7", NetworkSource(protocol="nbd", host="store", port=7)),
        ("[::1]:7", NetworkSource(protocol="nbd", host="::1", port=7)),
        ("store:7:exportname=web1", NetworkSource(protocol="nbd", host="store", port=7, name="web1")),
        ("//store/web1", NetworkSource(protocol="nbd", host="store", port=10809, name="web1")),
        ("unix:/run/a.sock", NetworkSource(protocol="nbd", socket="/run/a.sock")),
        ("unix:/run/a.sock:exportname=b", NetworkSource(protocol="nbd", socket="/run/a.sock", name="b")),
    ],
)
def test_network_block_devices(path: str, found: NetworkSource) -> None:
    assert behind("nbd", path) == found


@pytest.mark.parametrize("path", ["nonsense", "host 0", "host 65536", "host:99999", " "])
def test_what_names_no_server_of_network_block_devices(path: str) -> None:
    assert refusal("nbd", path).endswith("that names no server; write nbd:HOST:PORT")


@pytest.mark.parametrize(
    ("path", "name", "port"),
    [
        (f"iqn={IQN},portal=192.0.2.8:3261", f"{IQN}/0", 3261),
        (f"iqn={IQN},portal=192.0.2.8", f"{IQN}/0", 3260),
        (f"iqn={IQN}, portal=192.0.2.8:3260,1", f"{IQN}/0", 3260),
        (f"//192.0.2.8/{IQN}/3", f"{IQN}/3", 3260),
    ],
)
def test_iscsi(path: str, name: str, port: int) -> None:
    assert behind("iscsi", path) == NetworkSource(protocol="iscsi", name=name, host="192.0.2.8", port=port)


def test_a_target_that_asks_for_a_password_is_told_a_users_whose_password_no_xml_has() -> None:
    findings = Findings(PV)
    found = source(disk("iscsi", f"//alice%s3cret@[2001:db8::8]/{IQN}/3"), "disk[0]", findings)
    assert found == NetworkSource(
        protocol="iscsi", name=f"{IQN}/3", host="2001:db8::8", port=3260, user="alice", secret=f"xmcompat:{findings.owner}:xvda"
    )
    assert "s3cret" not in repr((found, findings.notes))
    assert f"a secret (iscsi 'xmcompat:{findings.owner}:xvda'), and no XML has it" in findings.notes[-1].reason
    assert f"//alice%...@[2001:db8::8]/{IQN}/3" in findings.notes[-1].value


def test_a_secret_is_named_for_the_uuid_as_libvirt_writes_it_and_for_the_name_of_a_guest_without_one() -> None:
    uuid = "6DF0B2A2-1111-4222-8333-444455556666"
    assert Findings(replace(PV, uuid=uuid)).owner == uuid.lower()
    assert Findings(replace(PV, uuid=None)).owner == PV.name


def test_all_ways_to_a_target_are_the_hosts_own() -> None:
    findings = Findings(PV)
    path = f"iqn={IQN},portal=192.0.2.8:3261,user=alice,password=s3cret,multipath=y"
    found = source(disk("iscsi", path), "disk[0]", findings)
    assert isinstance(found, BlockSource)
    assert found.path == f"/dev/disk/by-path/ip-192.0.2.8:3261-iscsi-{IQN}-lun-0"
    assert found.need is not None
    assert (found.need.kind, found.need.name) == ("iscsi", f"{IQN}@192.0.2.8:3261")
    assert dict(found.need.secret) == {"password": "s3cret"}
    assert "s3cret" not in repr((found, findings.notes))
    assert [note.reason for note in findings.notes] == [
        "this host logs in to all portals of the target; it needs open-iscsi, and multipathd to run"
    ]


def test_what_translation_says_of_all_ways_is_what_storage_reads() -> None:
    """The same need, whether it is told by the disk or by the configuration's words."""
    path = f"iqn={IQN},portal=192.0.2.8:3261,user=alice,password=s3cret,multipath=y"
    told = behind("iscsi", path)
    assert isinstance(told, BlockSource) and told.need is not None
    read = need_of(f"iscsi:{path}")
    assert read == Need(kind=told.need.kind, name=told.need.name, words=dict(told.need.words))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (IQN, "that does not say on which server the target is; log in with iscsiadm"),
        (f"iqn={IQN},portal=192.0.2.8:0,user=u,password=s3cret", "that names no server; write portal=HOST:PORT"),
        (f"iqn=../{IQN},portal=a,password=s3cret", f"'../{IQN}' is no target's name"),
        ("//u%s3cret@192.0.2.8/x", "'x' is no target's name; it begins with iqn., eui. or naa."),
    ],
)
def test_targets_of_iscsi_that_nobody_can_reach(path: str, reason: str) -> None:
    line = refusal("iscsi", path)
    assert reason in line
    assert "s3cret" not in line


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("pool/web1", NetworkSource(protocol="rbd", name="pool/web1")),
        ("pool/web1@monday", NetworkSource(protocol="rbd", name="pool/web1", snapshot="monday")),
        (r"pool/web1:mon_host=10.0.0.1\:6789\;10.0.0.2:conf=/etc/ceph/c.conf",
         NetworkSource(protocol="rbd", name="pool/web1", host="10.0.0.1", port=6789, more_hosts=(("10.0.0.2", None),),
                       config="/etc/ceph/c.conf")),
        ("pool/web1:id=admin", NetworkSource(protocol="rbd", name="pool/web1")),
    ],
)  # fmt: skip
def test_images_of_ceph(path: str, found: NetworkSource) -> None:
    assert behind("rbd", path) == found


@pytest.mark.parametrize(
    ("path", "user"),
    [("pool/web1:id=xen:key=AQsecret==", "xen"), ("pool/web1:key=AQsecret==", "admin"), ("pool/web1:id=xen", "xen"),
     ("pool/web1:id=xen:keyring=/etc/ceph/xen.keyring", "xen")],
)  # fmt: skip
def test_a_key_of_ceph_is_kept_by_libvirt_and_in_no_xml(path: str, user: str) -> None:
    findings = Findings(PV)
    found = source(disk("rbd", path), "disk[0]", findings)
    assert found == NetworkSource(protocol="rbd", name="pool/web1", user=user, secret=f"xmcompat:{findings.owner}:xvda")
    assert "AQsecret" not in repr((found, findings.notes))


def test_a_drbd_resource_is_a_volume_that_the_host_promotes() -> None:
    findings = Findings(PV)
    found = source(disk("drbd", "r0"), "disk[0]", findings)
    assert isinstance(found, BlockSource) and found.path == "/dev/drbd/by-res/r0"
    (note,) = findings.notes
    assert (note.fate, note.suggestion) == (
        Fate.APPROXIMATED, "for a guest that libvirt starts by itself, run 'drbdadm primary r0' before"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("protocol", "path", "what"),
    [
        ("tap:ram", "/a", "a disk in memory is gone with its host"),
        ("tap:remus", "b:9000|aio:/a", "KVM does not keep a second host in step with Remus"),
        ("tap2:remus", "b:9000|aio:/a", "KVM does not keep a second host in step with Remus"),
        ("enbd", "host 7", "serve the disk by nbd and give it as nbd:HOST:PORT"),
        ("npiv", "50:01", "virsh nodedev-create"),
    ],
)
def test_what_nothing_on_kvm_stands_for_is_refused_with_what_to_do(protocol: str, path: str, what: str) -> None:
    assert what in refusal(protocol, path)


@given(
    st.sampled_from(["nbd", "iscsi", "rbd", "drbd", "phy", "file", "tap:aio", ""]),
    st.text() | st.from_regex(r"[a-z/:@,=;.\\\[\]0-9]{0,30}"),
)
def test_no_text_fails_in_an_unplanned_way(protocol: str, path: str) -> None:
    try:
        found = source(replace(disk(protocol, path)), "disk[0]", findings := Findings(PV))
        findings.settle()
    except NotConvertible as error:
        assert "\n" not in error.line() or "\n" in path
        return
    assert found is not None
