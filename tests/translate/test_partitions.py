"""Volumes that are partitions without a disk: which of them make one disk, what it is called, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.translate.guests import HOST, HVM, PV, said, vbd
from xmcompat.backends.devices import BlockSource, Bus, Disk, FileSource, NetworkSource
from xmcompat.backends.domain_xml import parse, render
from xmcompat.backends.facts import HostFacts
from xmcompat.guest import GuestConfig, KernelBoot, Vbd
from xmcompat.notes import Fate
from xmcompat.storage import composite, mapped
from xmcompat.translate import partitions
from xmcompat.translate.disks import recalled
from xmcompat.translate.machine import Translation, translate

UUID = "11111111-2222-4333-8444-555555555555"
JOINS = replace(HOST, composites="/run/xmcompat/joined")
GUEST = replace(PV, uuid=UUID)


def translated(*vbds: Vbd, guest: GuestConfig = GUEST, host: HostFacts = JOINS, cmdline: str = "") -> Translation:
    boot = KernelBoot(kernel="/boot/vmlinuz", cmdline=cmdline)
    return translate(replace(guest, disks=vbds, **({"boot": boot} if guest.boot != HVM.boot else {})), host)


def disks(*vbds: Vbd, guest: GuestConfig = GUEST, host: HostFacts = JOINS) -> tuple[Disk, ...]:
    return translated(*vbds, guest=guest, host=host).machine.disks


def names(*found: Disk) -> list[tuple[str, str, list[tuple[str, str]]]]:
    return [(disk.vdev, disk.target, [(one.vdev, one.target) for one in disk.members]) for disk in found]


ROOT, SWAP = vbd("phy:/dev/vg0/root,xvda2,w"), vbd("file:/srv/swap.img,xvda1,w")


def test_partitions_of_one_letter_are_one_disk() -> None:
    (disk,) = disks(ROOT, SWAP)
    assert names(disk) == [("xvda", "vda", [("xvda1", "vda1"), ("xvda2", "vda2")])]
    assert disk.source == NetworkSource(protocol="nbd", socket=f"/run/xmcompat/joined/{UUID}-xvda/nbd")
    assert [member.source for member in disk.members] == [FileSource(path="/srv/swap.img"), BlockSource(path="/dev/vg0/root")]
    assert (disk.bus, disk.driver, disk.readonly, disk.shareable) == (Bus.VIRTIO, "raw", False, False)


def test_numbers_and_gaps_are_kept_and_each_letter_has_its_own() -> None:
    given = ("file:/c,xvdc,w", "file:/b7,xvdb7,w", "file:/a1,xvda1,w", "file:/a3,xvda3,w", "file:/s,sda2,w", "file:/h,hda5,w")
    assert names(*disks(*map(vbd, given))) == [
        ("hda", "vda", [("hda5", "vda5")]), ("sda", "vdb", [("sda2", "vdb2")]),
        ("xvda", "vdc", [("xvda1", "vdc1"), ("xvda3", "vdc3")]), ("xvdb", "vdd", [("xvdb7", "vdd7")]), ("xvdc", "vde", []),
    ]  # fmt: skip


def test_the_guest_is_told_the_new_names() -> None:
    translation = translated(ROOT, SWAP)
    notes = {note.key: (note.reason, note.suggestion) for note in translation.notes if note.key.startswith("disk")}
    assert notes == {
        "disk[0]": ("the partition xvda2 is /dev/vda2 in the guest",
                    "where the guest's /etc/fstab says /dev/xvda2, write /dev/vda2 or UUID="),
        "disk[1]": ("the partition xvda1 is /dev/vda1 in the guest",
                    "where the guest's /etc/fstab says /dev/xvda1, write /dev/vda1 or UUID="),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "new"),
    [("root=/dev/xvda2 ro", "root=/dev/vda2 ro"), ("root=0xca02", "root=/dev/vda2"), ("root=202:2 rw", "root=/dev/vda2 rw"),
     ("resume=/dev/xvda1", "resume=/dev/vda1"), ("root=UUID=12", "root=UUID=12"), ("root=/dev/xvda20", "root=/dev/xvda20")],
)  # fmt: skip
def test_the_command_line_keeps_the_numbers(said: str, new: str) -> None:
    boot = translated(ROOT, SWAP, cmdline=said).machine.boot
    assert boot.cmdline.split(" panic=")[0].split(" console=")[0] == new


def test_a_partition_that_nobody_gave_is_told() -> None:
    translation = translated(ROOT, cmdline="root=/dev/xvda5")
    assert (Fate.APPROXIMATED, "no disk of the configuration is called xvda5; the guest will not find it") in said(
        translation, "extra"
    )


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ((vbd("file:/w,xvda,w"),), "the whole disk is given as well; xvda2 is a disk of its own"),
        ((vbd("tap:q,xvda1,w", protocol="tap:qcow2", path="/q", image_format="qcow2"),),
         "the partition xvda2 is the whole disk /dev/vdb in the guest; xvda1 is no raw image or volume of this host"),
        ((vbd("nbd:x,xvda1,w", protocol="nbd", path="store:7"),),
         "the partition xvda2 is the whole disk /dev/vdb in the guest; xvda1 is no raw image or volume of this host"),
    ],
)  # fmt: skip
def test_what_cannot_be_joined_stays_apart_and_says_why(others: tuple[Vbd, ...], why: str) -> None:
    translation = translated(ROOT, *others)
    assert all(not disk.members for disk in translation.machine.disks)
    assert len(translation.machine.disks) == 2
    assert (Fate.APPROXIMATED, why) in said(translation, "disk[0]")


def test_what_one_letter_cannot_another_can() -> None:
    bad = vbd("tap:q,xvda1,w", protocol="tap:qcow2", path="/q", image_format="qcow2")
    assert names(*disks(bad, vbd("file:/b,xvdb1,w"))) == [("xvda1", "vda", []), ("xvdb", "vdb", [("xvdb1", "vdb1")])]


def test_a_guest_with_a_bios_has_whole_disks() -> None:
    assert all(not disk.members for disk in disks(vbd("file:/a,hda1,w"), guest=replace(HVM, uuid=UUID)))


def test_where_nothing_can_serve_them_they_are_whole_disks_as_ever() -> None:
    for host, guest in ((HOST, GUEST), (JOINS, replace(PV, uuid=None)), (JOINS, replace(PV, uuid="what"))):
        translation = translated(ROOT, SWAP, guest=guest, host=host)
        assert names(*translation.machine.disks) == [("xvda1", "vda", []), ("xvda2", "vdb", [])]
    assert ("the partition xvda2 is the whole disk /dev/vdb in the guest"
            in [reason for _, reason in said(translated(ROOT, SWAP, host=HOST), "disk[0]")])  # fmt: skip


def test_modes_are_those_of_each_volume() -> None:
    (disk,) = disks(vbd("file:/usr,xvda1,r"), vbd("phy:/dev/shared,xvda2,w!"), vbd("file:/c,xvda3,w"))
    assert [(one.readonly, one.shareable) for one in disk.members] == [(True, False), (False, True), (False, False)]
    assert (disk.readonly, disk.shareable) == (False, False)
    (disk,) = disks(vbd("file:/usr,xvda1,r"), vbd("file:/opt,xvda2,r"))
    assert disk.readonly


def test_the_uuid_is_written_as_libvirt_writes_it() -> None:
    (disk,) = disks(ROOT, guest=replace(PV, uuid=UUID.upper().replace("-", "")))
    assert partitions.served_folder(disk) == f"{JOINS.composites}/{UUID}-xvda"


def test_what_is_read_back_from_xml_is_made_of_the_same_volumes() -> None:
    machine = translated(ROOT, SWAP, vbd("file:/c,xvdc,w")).machine
    read = parse(render(machine))
    assert names(*read.disks) == [("xvda", "vda", []), ("xvdc", "vdb", [])]
    guest = replace(GUEST, disks=(ROOT, SWAP, vbd("file:/c,xvdc,w")))
    again = recalled(read.disks, guest)
    assert [[(one.vdev, one.source, one.readonly) for one in disk.members] for disk in again] == [
        [("xvda1", FileSource(path="/srv/swap.img"), False), ("xvda2", BlockSource(path="/dev/vg0/root"), False)], [],
    ]  # fmt: skip


def test_one_that_was_attached_later_stays_a_disk_of_its_own() -> None:
    machine = translated(ROOT, SWAP).machine
    more = replace(machine.disks[0], source=FileSource(path="/m"), vdev="xvda4", target="vdb", members=())
    guest = replace(GUEST, disks=(ROOT, SWAP, vbd("file:/m,xvda4,w")))
    joined, other = recalled((*parse(render(machine)).disks, more), guest)
    assert [one.vdev for one in joined.members] == ["xvda1", "xvda2"]
    assert (other.members, other.source) == ((), FileSource(path="/m"))


@pytest.mark.parametrize(
    "socket", ["/run/a.sock", f"/x/{UUID}-xvdb/nbd", f"{UUID}-xvda/nbd", f"/x/{UUID}-xvda/other", "/x/y-xvda/nbd", ""]
)
def test_another_server_is_none_of_ours(socket: str) -> None:
    disk = Disk(source=NetworkSource(protocol="nbd", socket=socket), target="vda", bus=Bus.VIRTIO, vdev="xvda")
    assert partitions.served_folder(disk) == ""
    assert recalled((disk,), replace(GUEST, disks=(ROOT,))) == (disk,)


def test_one_that_the_kernel_joins_is_read_back_as_well() -> None:
    (disk,) = disks(ROOT, vbd("phy:/dev/vg0/swap,xvda1,w"))
    other = partitions.by_kernel(disk)
    assert other.source == BlockSource(path=f"/dev/mapper/xmc-{UUID}-xvda")
    assert mapped.device(mapped.PREFIX + partitions.joined_name(disk)) == other.source.path
    assert partitions.joined_name(other) == partitions.joined_name(disk) == f"{UUID}-xvda"
    assert (partitions.served_folder(other), bool(partitions.served_folder(disk))) == ("", True)
    read = parse(render(replace(translated(ROOT).machine, disks=(other,)))).disks
    (again,) = recalled(read, replace(GUEST, disks=(ROOT, vbd("phy:/dev/vg0/swap,xvda1,w"))))
    assert [one.vdev for one in again.members] == ["xvda1", "xvda2"]


def test_both_rooms_mean_the_same_folder() -> None:
    assert partitions.FOLDER == composite.FOLDER


@given(st.lists(
    st.tuples(st.sampled_from(["xvd", "sd", "hd"]), st.sampled_from("abc"), st.integers(0, 15)), max_size=10, unique=True
))  # fmt: skip
def test_no_volume_is_lost_and_none_is_there_twice(found: list[tuple[str, str, int]]) -> None:
    vbds = [vbd(f"file:/{index},{kind}{letter}{part or ''},w") for index, (kind, letter, part) in enumerate(found)]
    machine_disks = disks(*vbds)
    flat = [one for disk in machine_disks for one in disk.members or (disk,)]
    assert sorted(one.source.path for one in flat) == sorted(one.path for one in vbds)
    assert len({disk.target for disk in machine_disks}) == len(machine_disks)
    for disk in (disk for disk in machine_disks if disk.members):
        assert {one.vdev.rstrip("0123456789") for one in disk.members} == {disk.vdev}
        assert [one.target for one in disk.members] == [
            disk.target + one.vdev.removeprefix(disk.vdev) for one in disk.members
        ]  # fmt: skip
