"""What speaks against a migration, all of it at once, before a page of memory moves."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.migration.facts import (
    FileKind,
    Finding,
    HostFacts,
    Identity,
    Life,
    Passed,
    Resolved,
    SeenDisk,
    Sight,
    Taken,
    Wanted,
    WantedDisk,
    WantedScreen,
    WantedSecret,
    WantedVif,
)  # fmt: skip
from xmcompat.migration.preflight import findings, memory_needed, stopping
from xmcompat.migration.same_disk import Sameness, disk_findings, late_findings, sameness

NFS = Identity(kind="nfs", place="nas:/srv/xen", number=4711)
DISK = WantedDisk(
    vdev="xvda", target="vda", kind=FileKind.FILE, path="/srv/web1.img", size=1 << 30, identities=(NFS,), cache="none", locked=True
)
SEEN = SeenDisk(target="vda", sight=Sight.FOUND, path="/srv/web1.img", size=1 << 30, identities=(NFS,), locked=True)
WANTED = Wanted(
    name="web1", uuid="u1", memory=1 << 20, max_memory=1 << 20, vcpus=2, accelerator="kvm", machine_type="pc-i440fx-7.2",
    disks=(DISK,), vifs=(WantedVif(mac="00:16:3e:00:00:01", bridge="xenbr0"),), screens=(WantedScreen(kind="vnc", listen="127.0.0.1", port=5901),),
)  # fmt: skip
HERE = HostFacts(
    hostname="host1", uuid="h1", addresses=("192.0.2.1",), libvirt="9.0.0", emulator="7.2.22", accelerators=("kvm", "qemu"),
    machine_types=("pc-i440fx-7.2",), names=(Resolved(name="host2", addresses=("192.0.2.2",)),), clock=1000.0,
)  # fmt: skip
THERE = HostFacts(
    hostname="host2", uuid="h2", addresses=("192.0.2.2",), libvirt="9.0.0", emulator="7.2.1", accelerators=("kvm", "qemu"),
    machine_types=("pc-i440fx-7.2", "pc-i440fx-7.1"), memory=8 << 20, free_memory=4 << 20, cpus=4, disks=(SEEN,), bridges=("xenbr0", "br1"),
    names=(Resolved(name="host1", addresses=("192.0.2.1",)),), free_ports=10, clock=1001.0,
)  # fmt: skip


def told(wanted: Wanted = WANTED, here: HostFacts = HERE, there: HostFacts = THERE) -> list[tuple[bool, str]]:
    return [(one.stops, one.line()) for one in findings(wanted, here, there)]


def test_nothing_speaks_against_two_hosts_that_are_alike() -> None:
    assert told() == []


CHAP = WantedSecret(vdev="xvda", name="xmcompat:u1:xvda", kind="iscsi", user="alice")
RECORD = WantedSecret(vdev="xvdb", name="iqn.x:a@192.0.2.8:3260", kind="initiator", user="bob", file="/etc/iscsi/nodes/iqn.x:a")
STOPS = [
    ({"nomigrate": True}, {}, "cannot restore non-migratable domain; its configuration says nomigrate = 1"),
    ({"passed": (Passed(kind="pci", name="0000:01:00.0"),)}, {}, "Migration not permitted with assigned PCI device; detach 0000:01:00.0"),
    ({"passed": (Passed(kind="usb"),)}, {}, "Migration not permitted with assigned USB device; detach it"),
    ({"passed": (Passed(kind="scsi", name="2:0:0:1"),)}, {}, "Device of type 'vscsi' refuses migration; detach 2:0:0:1"),
    ({"snapshots": 1}, {}, "libvirt moves no domain that has snapshots, and this one has 1 snapshot; remove them by 'virsh snapshot-delete'"),
    ({}, {"uuid": "h1"}, "the libvirtd of host2 has the same host uuid as this one, h1, and would be taken for it; "
                         "write another host_uuid into libvirtd.conf there, and restart it"),
    ({}, {"uuid": "h1", "hostname": "host1"}, "host1 is this host; name another one"),
    ({}, {"arch": "aarch64"}, "the guest's processor is x86_64, and that of host2 is aarch64"),
    ({}, {"accelerators": ("qemu",)}, "the guest runs on KVM, which host2 does not offer; see 'xmcompat report' on host2"),
    ({"machine_type": "pc-i440fx-8.0"}, {}, "the guest's machine type is pc-i440fx-8.0, which QEMU on host2 does not know; "
     "install a newer QEMU on host2, or start the guest anew with a machine type that both know"),
    ({}, {"cpu_refusal": "it lacks avx2"}, "the guest's processor cannot be had on host2: it lacks avx2; start the guest anew with a cpu that both hosts have"),
    ({}, {"free_memory": 1 << 20}, "Not enough free memory on host2: I need 1122304 KiB but only have 1048576; end or shrink guests there"),
    ({"huge_pages": True}, {"free_huge_pages": 2048}, "Not enough free huge pages on host2: I need 1048576 KiB but only have 2048."),
    ({}, {"taken": (Taken(name="web1", uuid="u9", life=Life.OFF),)}, "VM name 'web1' already exists on host2; rename one of the two"),
    ({}, {"taken": (Taken(name="web1", uuid="u1", life=Life.PAUSED),)},
     "the domain is on host2 already, paused; find out which of the two is the right one, and end the other"),
    ({}, {"taken": (Taken(name="old", uuid="u1", life=Life.OFF),)}, "host2 knows the domain's uuid by the name 'old'; run 'xm delete old' there"),
    ({}, {"missing_files": ("/boot/vmlinuz",)}, "/boot/vmlinuz, which the guest is started with, is not on host2; copy it there"),
    ({}, {"bridges": ("br1",)}, "interface 00:16:3e:00:00:01 is on the bridge 'xenbr0', which host2 has not; make that bridge there"),
    ({"vifs": (WantedVif(mac="m", network="default"),)}, {},
     "interface m is on libvirt's network 'default', which is not up on host2; run 'virsh net-start default' there"),
    ({}, {"busy_ports": (5900, 5901)}, "port 5901 of the guest's VNC display is in use on host2; free it there"),
    ({"screens": (WantedScreen(kind="spice", listen="192.0.2.1"),)}, {},
     "the guest's SPICE display listens on 192.0.2.1, which is no address of host2; let it listen on 127.0.0.1 or 0.0.0.0"),
    ({}, {"free_ports": 0}, "all ports for migrations are in use on host2; wait for others to end, or widen the range in qemu.conf"),
    ({"secrets": (CHAP,)}, {}, "disk xvda: host2 does not have the password of 'alice', and this host cannot tell it; "
     "have libvirt keep it there, for iscsi 'xmcompat:u1:xvda': see 'virsh secret-define'"),
    ({"secrets": (replace(CHAP, file="/etc/xen/pw"),)}, {"secrets": ("xmcompat:u1:xvdb",)},
     "disk xvda: host2 does not have the password of 'alice', and this host cannot tell it; write it into /etc/xen/pw there"),
    ({"secrets": (RECORD,)}, {}, "disk xvdb: the initiator of host2 has no record of iqn.x:a@192.0.2.8:3260, which logs in here; copy /etc/iscsi/nodes/iqn.x:a there"),
    ({}, {"told": (Finding(stops=True, what="a", do="b"),)}, "a; b"),
    ({}, {"disks": ()}, "disk xvda: /srv/web1.img: host2 says nothing of it; install the same xmcompat on both hosts"),
]  # fmt: skip
NOTES = [
    ({}, {"emulator": "7.1.9"}, "QEMU is 7.1.9 on host2, older than 7.2.22 here: it may refuse what it does not know; the guest runs on here then"),
    ({}, {"libvirt": "8.10.0"}, "libvirt is 8.10.0 on host2, older than 9.0.0 here: it may refuse what it does not know; the guest runs on here then"),
    ({"accelerator": "qemu"}, {"accelerators": ("kvm", "qemu")}, "the guest is emulated, and QEMU 7.2.22 may lose some of what it writes while its memory is copied; without --live nothing is lost"),
    ({}, {"names": (Resolved(name="host1"),)}, "host2 does not know the name 'host1'; write it into /etc/hosts of host2, or into the DNS"),
    ({"cpu": "<cpu mode='host-passthrough'/>"}, {}, "the guest sees the processor of this host as it is; that of host2 must be the very same"),
    ({"vcpus": 5}, {}, "the guest has 5 vcpus, and host2 only 4 CPUs"),
    ({}, {"free_memory": None}, "host2 does not say how much memory it has left; make sure of 1122304 KiB: without, the guest is lost"),
    ({"max_memory": 4 << 20}, {}, "the guest may grow to 4194304 KiB, for which host2 has not enough memory left: 4194304 KiB"),
    ({"persist": True}, {"taken": (Taken(name="web1", uuid="u1", life=Life.OFF),)}, "the definition of 'web1' that host2 has is replaced"),
    ({}, {"lock_manager": "lockd"}, "the lock manager is 'none' here and 'lockd' on host2; set the same one in qemu.conf"),
    ({}, {"security": "selinux"}, "guests are confined by 'nothing' here and by 'selinux' on host2; libvirt may refuse the guest for it"),
    ({}, {"clock": 1100.0}, "the clocks of the two hosts differ by 100 s; have both follow a time server"),
    ({}, {"told": (Finding(stops=False, what="a"),)}, "a"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "there", "line", "stops"), [(*one, True) for one in STOPS] + [(*one, False) for one in NOTES])
def test_what_is_the_matter_is_said_with_what_to_do(wanted: dict[str, object], there: dict[str, object], line: str, stops: bool) -> None:
    assert told(replace(WANTED, **wanted), HERE, replace(THERE, **there)) == [(stops, line)]  # type: ignore[arg-type]


def test_a_name_that_leads_elsewhere_is_told() -> None:
    here = replace(HERE, names=(Resolved(name="host2", addresses=("127.0.1.1",)),))
    assert told(here=here) == [(False, "this host takes 'host2' for 127.0.1.1, which is no address of host2; mend /etc/hosts or DNS")]


def test_everything_is_found_at_once_what_stops_first() -> None:
    wanted, there = WANTED, THERE
    for one, other, _ in [*NOTES, *STOPS]:
        if not {"uuid", "told", "taken", "hostname"} & set(other) and "huge_pages" not in one:
            wanted, there = replace(wanted, **one), replace(there, **other)  # type: ignore[arg-type]
    found = findings(wanted, HERE, there)
    stops = [one.stops for one in found]
    assert len(found) == 21 and stops == sorted(stops, reverse=True) and len(set(found)) == len(found)
    assert stopping(found) == tuple(one for one in found if one.stops)


def test_the_operators_word_for_the_host_is_used() -> None:
    (found,) = findings(WANTED, HERE, replace(THERE, free_ports=0), host="198.51.100.7")
    assert found.what == "all ports for migrations are in use on 198.51.100.7"


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_no_guest_goes_where_its_memory_and_qemus_own_do_not_fit(memory: int, free: int) -> None:
    wanted = replace(WANTED, memory=memory, max_memory=memory)
    stops = bool(stopping(findings(wanted, HERE, replace(THERE, free_memory=free))))
    assert stops is (free < memory_needed(memory)) and memory_needed(memory) >= memory + 64 * 1024


# -- passwords of disks


def told_of(secret: WantedSecret, *, here: bool = False, there: bool = False, private: bool = True) -> tuple[Finding, ...]:
    """What is said of a secret that this host can tell, that one has, and where others can read what goes."""
    wanted = replace(WANTED, secrets=(replace(secret, told=here),))
    return findings(wanted, HERE, replace(THERE, secrets=(secret.name,) if there else ()), private=private)


@pytest.mark.parametrize("secret", [CHAP, RECORD])
def test_a_password_that_is_there_or_can_go_there_is_nothing_to_tell(secret: WantedSecret) -> None:
    assert told_of(secret, here=True) == told_of(secret, there=True) == told_of(secret, there=True, private=False) == ()
    assert stopping(told_of(secret)) and stopping(told_of(secret, here=True, private=False))


def in_clear() -> list[Finding]:
    return [one for secret in (CHAP, replace(CHAP, file="/etc/xen/pw")) for one in told_of(secret, here=True, private=False)]


def test_no_password_goes_in_clear() -> None:
    what = "disk xvda: host2 does not have the password of 'alice', and it would go there in clear; type: xmcompat migrate setup host2"
    assert [(one.stops, one.line()) for one in in_clear()] == [(True, what), (True, f"{what}; or copy /etc/xen/pw there")]


# -- disks


def seen(**changes: object) -> SeenDisk:
    return replace(SEEN, **changes)  # type: ignore[arg-type]


def disk(**changes: object) -> WantedDisk:
    return replace(DISK, **changes)  # type: ignore[arg-type]


def ident(kind: str, place: str, number: int = 0) -> tuple[Identity, ...]:
    return (Identity(kind=kind, place=place, number=number),)


LOCAL, OTHER = ident("file", "abc", 12), ident("file", "def", 12)


@pytest.mark.parametrize(
    ("wanted", "there", "verdict", "why"),
    [
        # one kernel, or one server: the lock of the guest is seen
        (disk(identities=LOCAL), seen(identities=LOCAL), Sameness.YES, ""),
        (disk(), seen(identities=ident("nfs", "192.0.2.9:/srv/xen", 4711)), Sameness.YES, ""),
        (disk(identities=ident("file", "abc", 4711)), seen(), Sameness.YES, ""),  # the source is the server itself
        (disk(), seen(locked=False), Sameness.YES, ""),
        # a host that is a copy of this one: all its numbers are the same
        (disk(identities=LOCAL), seen(identities=LOCAL, locked=False), Sameness.NO, "it is a copy there: the guest's lock on it is not seen"),
        (disk(identities=LOCAL), seen(identities=OTHER, locked=False), Sameness.NO, "it lies on another file system there"),
        (disk(identities=LOCAL), seen(identities=OTHER), Sameness.NO, "it lies on another file system there"),
        (disk(identities=LOCAL), seen(identities=ident("file", "abc", 13)), Sameness.NO, "it is another file there"),
        (disk(), seen(size=5), Sameness.NO, "it has 5 bytes there, and 1073741824 here"),
        (disk(format="qcow2"), seen(size=5), Sameness.YES, ""),
        (disk(kind=FileKind.BLOCK, format="qcow2"), seen(size=5), Sameness.NO, "it has 5 bytes there, and 1073741824 here"),
        (disk(identities=LOCAL, locked=False), seen(identities=LOCAL, locked=False), Sameness.UNSURE,
         "it lies on a local file system, and the guest has no lock on it that would be seen"),
        (disk(), seen(identities=ident("nfs", "other:/srv/xen", 4711), locked=False), Sameness.NO,
         "it lies on other:/srv/xen there, and on nas:/srv/xen here, and the guest's lock on it is not seen"),
        (disk(locked=False), seen(identities=ident("nfs", "other:/srv/xen", 4711), locked=False), Sameness.UNSURE,
         "it lies on other:/srv/xen there, and on nas:/srv/xen here"),
        (disk(), seen(identities=ident("nfs", "other:/srv/xen", 4711)), Sameness.YES, ""),
        (disk(), seen(identities=ident("file", "abc", 4711), locked=False), Sameness.UNSURE,
         "one lies on a file system of the kind 'nfs', the other of 'file'"),
        (disk(identities=()), seen(), Sameness.UNSURE, "neither says what it is"),
        # volumes
        (disk(identities=ident("wwid", "600a")), seen(identities=(*ident("lv", "x"), *ident("wwid", "600a"))), Sameness.YES, ""),
        (disk(identities=ident("wwid", "600a")), seen(identities=ident("wwid", "600b")), Sameness.NO, "its wwid is 600b there, and 600a here"),
        (disk(identities=(*ident("lv", "x"), *ident("beneath", "600a"))), seen(identities=(*ident("lv", "x"), *ident("beneath", "600b"))),
         Sameness.NO, "it lies on other disks there"),  # a host that is a copy of this one
        (disk(identities=(*ident("lv", "x"), *ident("beneath", "600a"))), seen(identities=(*ident("lv", "x"), *ident("beneath", "600a"))),
         Sameness.YES, ""),
        (disk(identities=(*ident("lv", "x"), *ident("beneath", "600a"))), seen(identities=ident("lv", "x")), Sameness.YES, ""),
        (disk(identities=(*ident("lv", "x"), *ident("beneath", "600a"))), seen(identities=ident("beneath", "600a")), Sameness.UNSURE,
         "neither says what it is"),
        (disk(identities=ident("lv", "x")), seen(identities=ident("wwid", "600b")), Sameness.UNSURE,
         "one is known by its lv, the other by its wwid"),
        (disk(kind=FileKind.NETWORK, path="nbd:nas/web1", identities=()), seen(identities=()), Sameness.YES, ""),
        *(
            (disk(kind=FileKind.NETWORK, path=path, identities=()), seen(identities=()), Sameness.UNSURE,
             "its server is on the very host from which it is asked for")
            for path in ("nbd:localhost/web1", "nbd:127.0.0.1/web1", "nbd:::1/web1", "nbd:/run/nbd.sock/web1")
        ),
    ],
)  # fmt: skip
def test_two_hosts_tell_whether_they_see_one_disk(wanted: WantedDisk, there: SeenDisk, verdict: Sameness, why: str) -> None:
    assert sameness(wanted, there) == (verdict, why)


BLOCK, FILE = {"kind": FileKind.BLOCK, "path": "/dev/vg0/a", "identities": ()}, {"identities": LOCAL}
COPIED = disk(copy=True, locked=True)
ELSE = {"identities": OTHER, "locked": False}


DISK_CASES: list[tuple[WantedDisk, SeenDisk, bool, bool, str]] = [
    (disk(), seen(sight=Sight.MISSING), False, True, "is not there on host2; share it with host2, or have it copied"),
    (disk(), seen(sight=Sight.MISSING, why="nas is down"), False, True, "is not there on host2: nas is down; share it with host2, or have it copied"),
    (disk(), seen(sight=Sight.COMES), True, True, "is not there on host2; share it with host2, or have it copied"),
    (disk(), seen(sight=Sight.DENIED), False, True, "may not be used on host2: permission denied"),
    (disk(), seen(user="the domain db1"), False, True, "is in use on host2: the domain db1 has it; take it from there first"),
    (disk(), seen(size=5), False, True, "is not the same on host2: it has 5 bytes there, and 1073741824 here; share it with host2, or have it copied"),
    (disk(identities=()), seen(), False, False, "may be another one on host2: neither says what it is; make sure that it is the same"),
    (disk(cache="writeback"), seen(locked=False), False, False, "goes through the hosts' caches, which may differ for a while; give it the cache mode 'none'"),
    (COPIED, seen(), False, True, "is the same on host2, and would be copied onto itself; do not have it copied"),
    (COPIED, seen(**ELSE), False, True, "is there on host2, and would be overwritten; take that file away first"),
    (COPIED, seen(**ELSE, size=5), False, True, "has 5 bytes on host2, too few for 1073741824; make it as large"),
    (COPIED, seen(**ELSE, user="the domain db1"), True, True, "is in use on host2: the domain db1 has it; take it from there first"),
    (COPIED, seen(sight=Sight.MISSING, free=5), False, True, "needs 1073741824 bytes on host2, which has 5 left; make room there"),
    (COPIED, seen(sight=Sight.MISSING), True, True, "is not there on host2 to be copied to; make a volume of that name and size there"),
    (disk(copy=True, **BLOCK), seen(sight=Sight.MISSING), False, True, "is not there on host2 to be copied to; make a volume of that name and size there"),
    (disk(copy=True, **BLOCK), seen(**ELSE), False, False, "on host2 will be overwritten"),
    (disk(copy=True, **BLOCK), seen(**ELSE, why="it holds something: ext4"), False, True,
     "on host2 would be overwritten: it holds something: ext4; where that is not needed any more, run 'wipefs -a /dev/vg0/a' there"),
    (disk(copy=True, **BLOCK), seen(**ELSE, why="this host has it mounted"), True, True,
     "on host2 would be overwritten: this host has it mounted; where that is not needed any more, run 'wipefs -a /dev/vg0/a' there"),
    (disk(copy=True, size=0, format="vmdk"), seen(sight=Sight.MISSING, free=5), False, True,
     "cannot be copied: it is not known how large it is; share it with host2"),
    (disk(target="vda/1", readonly=True, identities=LOCAL), seen(target="vda/1", **ELSE), False, False,
     "may be another one on host2: it lies on another file system there; make sure that it is the same"),
    (disk(target="vda/1", readonly=True, identities=LOCAL), seen(target="vda/1", **ELSE, size=5), False, True,
     "is not the same on host2: it has 5 bytes there, and 1073741824 here; share it with host2, or copy it there"),
    (disk(vdev="xvda", target="vda1"), seen(target="vda1", sight=Sight.MISSING), False, True,
     "is not there on host2; share it with host2; parts of a disk are not copied"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "there", "prepared", "stops", "line"), DISK_CASES)
def test_what_is_the_matter_with_a_disk(wanted: WantedDisk, there: SeenDisk, prepared: bool, stops: bool, line: str) -> None:
    (found,) = disk_findings(replace(WANTED, disks=(wanted,)), [there], "host2", prepared=prepared)
    assert (found.stops, found.line()) == (stops, f"disk xvda: {wanted.path} {line}")


@pytest.mark.parametrize(
    ("wanted", "there", "prepared"),
    [
        (disk(), seen(sight=Sight.COMES), False),
        (disk(kind=FileKind.EMPTY), seen(sight=Sight.MISSING), True),
        (disk(readonly=True, cache="writeback"), seen(user="the domain db1"), False),
        (disk(shareable=True), seen(user="the domain db1"), False),
        (disk(cache="writeback"), seen(), False),  # one kernel has one cache
        (COPIED, seen(sight=Sight.MISSING, free=1 << 31), False),
        (COPIED, seen(**ELSE), True),
        (disk(copy=True, **BLOCK), seen(sight=Sight.COMES), False),
        (disk(copy=True, format="qcow2", identities=LOCAL), seen(**ELSE, size=196624), True),
        (disk(copy=True, **BLOCK), seen(**ELSE), True),
    ],
)
def test_disks_that_nothing_is_the_matter_with(wanted: WantedDisk, there: SeenDisk, prepared: bool) -> None:
    assert disk_findings(replace(WANTED, disks=(wanted,)), [there], "host2", prepared=prepared) == ()


def test_a_disk_that_had_to_be_brought_up_is_judged_when_it_is_there() -> None:
    comes = disk(kind=FileKind.BLOCK, path="/dev/vg0/a", needs=(("lvm", "vg0/a"),), identities=ident("lv", "x"), cache="")
    wanted = replace(WANTED, disks=(comes, disk(vdev="xvdb", target="vdb", identities=())))
    assert not stopping(disk_findings(wanted, [seen(sight=Sight.COMES), seen(target="vdb")], "host2"))
    late = late_findings(wanted, [seen(identities=ident("lv", "y"), size=1 << 30), seen(target="vdb")], "host2")
    assert [(one.stops, one.line()) for one in late] == [
        (True, "disk xvda: /dev/vg0/a is not the same on host2: its lv is y there, and x here; share it with host2, or have it copied")
    ]
    late = late_findings(wanted, [seen(identities=ident("lv", "x"), locked=False), seen(target="vdb")], "host2")
    assert [one.what for one in late] == ["disk xvda: /dev/vg0/a goes through the hosts' caches, which may differ for a while"]


def test_volumes_that_nothing_locks_are_told_of() -> None:
    wanted = replace(WANTED, disks=(disk(kind=FileKind.BLOCK, path="/dev/vg0/a", identities=ident("lv", "x")),))
    there = replace(THERE, disks=(seen(identities=ident("lv", "x")),))
    assert told(wanted, HERE, there) == [
        (False, "no lock manager keeps two hosts from writing to /dev/vg0/a at once; set lock_manager in qemu.conf of both hosts")
    ]
    locked = replace(HERE, lock_manager="lockd"), replace(there, lock_manager="lockd")
    assert told(wanted, *locked) == []




def test_disks_that_were_there_before_need_not_be_told_of_again() -> None:
    assert late_findings(WANTED, [], "host2") == ()
    comes = replace(WANTED, disks=(disk(needs=(("nfs", "nas:/srv"),)),))
    assert [one.stops for one in late_findings(comes, [], "host2")] == [True]


# -- the reference

ROW = re.compile(r"^\| ([^|]+) \| (yes|no) \| [^|]*\|$", re.MULTILINE)
REFERENCE = ROW.findall((Path(__file__).resolve().parents[2] / "docs/reference-migration.md").read_text())
assert len(REFERENCE) > 40


def every_finding() -> set[Finding]:
    """All that the cases above bring about."""
    found = {one for wanted, there, *_ in [*STOPS, *NOTES] for one in findings(replace(WANTED, **wanted), HERE, replace(THERE, **there))}
    found |= set(findings(WANTED, replace(HERE, names=(Resolved(name="host2", addresses=("127.0.1.1",)),)), THERE))
    found |= {one for wanted, there, prepared, *_ in DISK_CASES for one in disk_findings(replace(WANTED, disks=(wanted,)), [there], "host2", prepared=prepared)}
    volume = disk(kind=FileKind.BLOCK, path="/dev/vg0/a", identities=ident("lv", "x"))
    found |= set(findings(replace(WANTED, disks=(volume,)), HERE, replace(THERE, disks=(seen(identities=ident("lv", "x")),))))
    found |= set(in_clear())
    return {one for one in found if one.what != "a"}


def test_the_reference_has_every_sentence_and_whether_it_stops() -> None:
    rows = [(re.compile(re.sub(r"<\w+>", ".+", re.escape(text).replace(r"\<", "<").replace(r"\>", ">"))), stops == "yes") for text, stops in REFERENCE]
    used = set()
    for one in every_finding():
        fitting = [(pattern, stops) for pattern, stops in rows if pattern.fullmatch(one.what) or pattern.fullmatch(one.what.partition(": nas is down")[0])]
        assert fitting and all(stops is one.stops for _, stops in fitting), one
        used |= {pattern for pattern, _ in fitting}
    assert [pattern.pattern for pattern, _ in rows if pattern not in used] == []
