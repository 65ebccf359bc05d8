"""Virtual block devices: where they go, what lies behind them, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.translate.guests import HOST, HVM, PV, XL, said, vbd
from xmcompat.backends.machine import BlockSource, Bus, Disk, DiskDevice, FileSource
from xmcompat.config.xl_build import build_xl
from xmcompat.errors import DeviceError, NotConvertible
from xmcompat.guest import Dialect, GuestConfig, KernelBoot, Vbd, VbdMode
from xmcompat.notes import Fate
from xmcompat.translate.machine import translate
from xmcompat.vdev import split_vdev


def disks(guest: GuestConfig, *vbds: Vbd, **options: object) -> tuple[Disk, ...]:
    return translate(replace(guest, disks=vbds, options=options), HOST).machine.disks


def refusal(guest: GuestConfig, *vbds: Vbd) -> str:
    with pytest.raises(NotConvertible) as caught:
        disks(guest, *vbds)
    return caught.value.line()


def places(*found: Disk) -> list[tuple[str, str, str]]:
    return [(disk.vdev, disk.target, disk.bus.value) for disk in found]


def test_letters_follow_the_device_numbers_not_the_list() -> None:
    given = ("phy:/dev/c,xvdc,w", "phy:/dev/q,xvdq,w", "phy:/dev/a,xvda2,w", "phy:/dev/b,xvda1,w")
    found = disks(PV, *map(vbd, given))
    assert places(*found) == [
        ("xvda1", "vda", "virtio"), ("xvda2", "vdb", "virtio"), ("xvdc", "vdc", "virtio"), ("xvdq", "vdd", "virtio"),
    ]  # fmt: skip


def test_sd_and_hd_names_of_a_paravirtual_guest_are_virtio_too() -> None:
    found = disks(PV, vbd("phy:/dev/b,sda2,w"), vbd("phy:/dev/a,hda1,w"), vbd("phy:/dev/c,51712,w"))
    assert places(*found) == [("hda1", "vda", "virtio"), ("sda2", "vdb", "virtio"), ("51712", "vdc", "virtio")]


def test_a_cd_rom_of_a_paravirtual_guest_needs_scsi() -> None:
    machine = translate(replace(PV, disks=(vbd(",xvdc:cdrom,r"), vbd("file:/a.img,xvda1,w"))), HOST).machine
    assert machine.scsi == ("virtio-scsi",)
    assert machine.disks[1] == Disk(
        source=None, target="sda", bus=Bus.SCSI, device=DiskDevice.CDROM, readonly=True, vdev="xvdc"
    )


def test_many_disks_go_on_behind_vdz() -> None:
    vbds = [vbd(f"phy:/dev/{number},{number << 8 | 1 << 28},w") for number in range(16, 46)]
    assert [disk.target for disk in disks(PV, *vbds)][24:28] == ["vdy", "vdz", "vdaa", "vdab"]


@pytest.mark.parametrize(
    ("given", "source", "driver", "cache", "io"),
    [
        (vbd("phy:/dev/vg0/a,xvda1,w"), BlockSource(path="/dev/vg0/a"), "raw", "none", "native"),
        (vbd("file:/a.img,xvda1,w"), FileSource(path="/a.img"), "raw", "", ""),
        (vbd("file:/dev/loop3,xvda1,w"), BlockSource(path="/dev/loop3"), "raw", "none", "native"),
        (vbd("file:/dev/shm/a.img,xvda1,w"), FileSource(path="/dev/shm/a.img"), "raw", "", ""),
        (vbd("tap:x,xvda1,w", protocol="tap:aio", path="/a"), FileSource(path="/a"), "raw", "none", "native"),
        (vbd("tap:x,xvda1,w", protocol="tap:sync", path="/a"), FileSource(path="/a"), "raw", "directsync", ""),
        (vbd("file:/a.img,xvda1,w", direct_io_safe=True), FileSource(path="/a.img"), "raw", "none", "native"),
        (vbd("tap:x,xvda1,w", protocol="tap:aio", path="/dev/loop0"), BlockSource(path="/dev/loop0"), "raw", "none",
         "native"),
        (vbd("tap:x,xvda1,w", protocol="tap:vhd", path="/a", image_format="vhd"), FileSource(path="/a"), "vpc", "", ""),
    ],
)
def test_what_lies_behind_a_disk(given: Vbd, source: object, driver: str, cache: str, io: str) -> None:
    (disk,) = disks(PV, given)
    assert (disk.source, disk.driver, disk.cache, disk.io) == (source, driver, cache, io)


def test_modes() -> None:
    found = disks(PV, vbd("file:/a,xvda1,r"), vbd("file:/b,xvdb,w"), vbd("file:/c,xvdc,w!"), vbd("phy:/dev/d,xvdd,w!"))
    assert [(disk.readonly, disk.shareable, disk.cache) for disk in found] == [
        (True, False, ""), (False, False, ""), (False, True, "none"), (False, True, "none"),
    ]  # fmt: skip


def test_two_writers_of_an_image_with_a_format_are_refused() -> None:
    given = vbd("tap:qcow2:/a,xvda1,w!", protocol="tap:qcow2", path="/a", image_format="qcow2")
    assert refusal(PV, given) == (
        "web1.cfg: disk[0] = tap:qcow2:/a,xvda1,w!: a qcow2 image would be destroyed by a second writer; "
        "only raw ones can be shared (w!)"
    )


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (vbd("phy:/dev/a,xvda1,w", backend="storagedom"), "KVM has no driver domains (back end 'storagedom')"),
        (vbd("tap:x,xvda1,w", protocol="tap:ram", image_format="raw"), "'tap:ram:' does not exist on KVM"),
        (vbd("file:/a,xvda1,w", image_format="remus"), "images of type 'remus' cannot be read"),
        (vbd(",xvda1,w"), "a disk needs an image or a volume before its first comma"),
    ],
)
def test_refusals(given: Vbd, reason: str) -> None:
    assert reason in refusal(PV, given)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("file:/a,xvda,w", "file:/a,xvdb,w", 'The file "file:/a" is already used'),
        ("file:/a,xvda,w", "file:/b,xvda,w", 'The device "xvda" is already defined'),
        ("file:/a,xvda,w", "file:/b,nonsense,w", "Unable to find number for device (nonsense)"),
    ],
)
def test_what_xend_says_to_twins(first: str, second: str, message: str) -> None:
    with pytest.raises(DeviceError) as caught:
        disks(PV, vbd(first), vbd(second))
    assert caught.value.line() == message


def test_ide_scsi_and_virtio_places_of_a_guest_with_a_bios() -> None:
    found = disks(
        HVM, vbd("file:/f,xvdf,w"), vbd("file:/b,xvdb,w"), vbd("file:/a,hda,w"), vbd("file:/s,sdc,w"), vbd(",hdc:cdrom,r")
    )
    assert places(*found) == [
        ("hda", "hda", "ide"), ("xvdb", "hdb", "ide"), ("hdc", "hdc", "ide"), ("sdc", "sdc", "scsi"),
        ("xvdf", "vda", "virtio"),
    ]  # fmt: skip
    assert translate(replace(HVM, disks=(vbd("file:/s,sdc,w"),)), HOST).machine.scsi == ("lsilogic",)


def test_a_read_only_ide_disk_becomes_virtio_and_is_told() -> None:
    translation = translate(replace(HVM, disks=(vbd("file:/a,hda,r"),)), HOST)
    assert places(*translation.machine.disks) == [("hda", "vda", "virtio")]
    assert said(translation, "disk[0]") == [
        (Fate.APPROXIMATED, "QEMU has no read-only IDE disks; it is the virtio disk vda in the guest")
    ]


def test_a_fifth_cd_rom_goes_to_sata() -> None:
    vbds = [vbd(f"file:/{letter},hd{letter}:cdrom,r") for letter in "abcde"]
    assert places(*disks(HVM, *vbds))[4] == ("hde", "sda", "sata")


def test_ahci_puts_hd_names_on_sata() -> None:
    guest = replace(HVM, dialect=Dialect.XL)
    found = disks(guest, vbd("file:/a,hda,w"), vbd("file:/c,hdc:cdrom,r"), hdtype="ahci")
    assert places(*found) == [("hda", "sda", "sata"), ("hdc", "sdc", "sata")]


def test_a_partition_for_a_guest_with_a_bios_is_a_whole_disk() -> None:
    translation = translate(replace(HVM, disks=(vbd("file:/a,xvda2,w"),)), HOST)
    assert places(*translation.machine.disks) == [("xvda2", "hda", "ide")]
    assert said(translation, "disk[0]") == [(Fate.APPROXIMATED, "the partition is the whole disk hda in the guest")]


def test_floppies_come_last_and_have_no_name_of_xens() -> None:
    found = disks(HVM, vbd("file:/a,hda,w"), fda="/srv/a.img", fdb="/srv/b.img")
    assert found[1:] == (
        Disk(source=FileSource(path="/srv/a.img"), target="fda", bus=Bus.FDC, device=DiskDevice.FLOPPY),
        Disk(source=FileSource(path="/srv/b.img"), target="fdb", bus=Bus.FDC, device=DiskDevice.FLOPPY),
    )


def test_a_floppy_is_there_where_a_kernel_is_started_too_and_may_be_a_real_one() -> None:
    direct = replace(HVM, boot=KernelBoot(kernel="/k"))
    (floppy,) = disks(direct, fda="/dev/fd0")
    assert (floppy.source, floppy.bus) == (BlockSource(path="/dev/fd0"), Bus.FDC)
    assert disks(PV, fda="/srv/a.img") == ()
    assert disks(replace(HVM, dialect=Dialect.XL), fda="/srv/a.img") == ()  # xl does not know it


def test_a_floppy_needs_an_absolute_path() -> None:
    with pytest.raises(NotConvertible) as caught:
        disks(HVM, fda="a.img")
    assert caught.value.line() == "web1.cfg: fda = a.img: a floppy needs an absolute path"


def test_usb_sticks_are_disks_beside_the_others() -> None:
    found = disks(HVM, vbd("file:/a,sda,w"), usbdevice=["disk:/srv/stick.img", "disk:format=raw:/dev/sdx", "disk:lost.img"])
    assert [(disk.source, disk.target, disk.bus) for disk in found[1:]] == [
        (FileSource(path="/srv/stick.img"), "sdb", Bus.USB), (BlockSource(path="/dev/sdx"), "sdc", Bus.USB),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "discard"),
    [
        ({}, "unmap"), ({"discard": True}, "unmap"), ({"discard": False}, "ignore"), ({"image_format": "qcow2"}, "unmap"),
        ({"image_format": "vhd"}, ""), ({"mode": VbdMode.READ_ONLY}, ""), ({"cdrom": True}, ""),
    ],
)  # fmt: skip
def test_xl_lets_guests_give_space_back_and_xm_does_not(changes: dict[str, object], discard: str) -> None:
    given = vbd("file:/a,xvda1,w", **changes)
    assert [disks(replace(PV, dialect=one), given)[0].discard for one in (Dialect.XL, Dialect.XM)] == [discard, ""]


def test_xls_words_for_how_xen_does_it_are_told_and_harmless() -> None:
    given = vbd("file:/a,xvda,w", backendtype="qdisk", specification="virtio")
    notes = translate(replace(PV, disks=(given,), dialect=Dialect.XL), HOST).notes
    told = [(note.fate, note.value, note.harmless) for note in notes if note.fate is Fate.NO_MEANING]
    assert told == [
        (Fate.NO_MEANING, "backendtype=qdisk", True), (Fate.NO_MEANING, "specification=virtio", True),
    ]  # fmt: skip


vdevs = st.lists(
    st.tuples(
        st.sampled_from(["xvd", "hd", "sd"]), st.sampled_from("abcdefgh"), st.sampled_from(["", "1", "2"]),
        st.sampled_from(["r", "w"]), st.sampled_from(["", ":cdrom"]),
    ),
    max_size=10, unique_by=lambda one: one[:3],
)  # fmt: skip


@given(vdevs, st.sampled_from([PV, HVM]))
def test_every_disk_has_a_place_of_its_own_that_qemu_can_give_it(
    chosen: list[tuple[str, str, str, str, str]], guest: GuestConfig
) -> None:
    vbds = [
        vbd(f"file:/{index},{kind}{letter}{part}{cdrom},{mode}")
        for index, (kind, letter, part, mode, cdrom) in enumerate(chosen)
    ]
    found = disks(guest, *vbds)
    assert sorted(disk.vdev for disk in found) == sorted(one.vdev for one in vbds)
    assert len({disk.target for disk in found}) == len(found)
    for disk in found:
        assert disk.target[:2] == {"ide": "hd", "virtio": "vd"}.get(disk.bus.value, "sd")
        assert disk.target[2:].isalpha()
        assert disk.device is DiskDevice.DISK or disk.bus is not Bus.VIRTIO
        assert not (disk.bus is Bus.IDE and disk.readonly and disk.device is DiskDevice.DISK)
    assert sum(disk.bus is Bus.IDE for disk in found) <= 4


@pytest.mark.parametrize(("protocol", "what"), [("tap:ram", "a disk in memory"), ("tap:remus", "Remus")])
def test_what_nothing_stands_for_is_refused_once(protocol: str, what: str) -> None:
    given = vbd("tap:/srv/a.img,xvda,w", protocol=protocol, image_format=protocol[4:])
    said = refusal(PV, given)
    assert what in said
    assert "qemu-img" not in said
    assert said.count("disk[0]") == 1


@pytest.mark.parametrize("vdev", ["xvda", "hda"])
def test_a_disk_that_is_to_be_virtio_is_virtio(vdev: str) -> None:
    found = translate(replace(XL, disks=(vbd(f"phy:/dev/a,{vdev},w", specification="virtio"), vbd("phy:/dev/b,hdb,w"))), HOST)
    assert places(*found.machine.disks) == [("hdb", "hdb", "ide"), (vdev, "vda", "virtio")]
    told = [note for note in found.notes if note.key == "disk[0]"]
    assert [(note.fate, note.reason, note.harmless) for note in told] == [
        (Fate.CARRIED, "it is the virtio disk vda in the guest", True)
    ]


def test_a_disk_by_its_number_is_told_by_the_name_of_that_number() -> None:
    found = translate(replace(PV, disks=(vbd("file:/a,0x300,w"), vbd("file:/b,0x1,w"))), HOST)
    told = {note.key: note.suggestion for note in found.notes if note.key.startswith("disk[")}
    assert told == {
        "disk[0]": "where the guest's /etc/fstab says /dev/hda, write /dev/vdb or UUID=",
        "disk[1]": "where the guest's /etc/fstab names it, write /dev/vda or UUID=",
    }


# -- twins


def xl_refusal(*texts: str) -> str:
    guest, _ = build_xl(
        {"name": "web1", "type": "pv", "kernel": "/k", "disk": [*texts]}, path="web1.cfg", lines={"disk": 7}
    )
    with pytest.raises(NotConvertible) as caught:
        translate(guest, HOST)
    return caught.value.line()


@pytest.mark.parametrize(
    "texts",
    [
        ("/a.img,raw,xvda,rw", "/a.img,raw,xvdb,ro"), ("/a.img,raw,xvda,ro", "/a.img,qcow2,xvdb,rw"),
        ("/a.img,raw,xvda,rw", "/a.img,,hdc,cdrom"),
    ],
)  # fmt: skip
def test_an_image_that_somebody_writes_to_is_refused_a_second_time_in_a_guest_of_xl(texts: tuple[str, str]) -> None:
    assert xl_refusal(*texts) == (
        f"web1.cfg:7: disk[1] = {texts[1]}: disk[0] has /a.img as well, and one of them writes to it; give each its own, "
        "or both read-only"
    )


def test_xls_own_names_and_paths_stand_in_what_is_refused() -> None:
    assert xl_refusal("/a.img,raw,xvda,rw", "vdev=/dev/xvda,target=/b.img") == (
        "web1.cfg:7: disk[1] = vdev=/dev/xvda,target=/b.img: disk[0] is called xvda as well; give it another name"
    )


def test_a_guest_of_xl_may_read_an_image_twice() -> None:
    twice = (vbd("file:/a,hdc:cdrom,r"), vbd("file:/a,hdd:cdrom,w"), vbd("file:/a,xvda,r"))
    assert len(disks(XL, *twice)) == 3
    empty = (vbd(",hdc:cdrom,r"), vbd(",hdd:cdrom,r"))
    assert len(disks(XL, *empty)) == 2


# -- more than the controllers take


def test_an_eighth_scsi_disk_is_on_a_further_controller_behind_the_others() -> None:
    found = translate(replace(HVM, disks=tuple(vbd(f"file:/{x},sd{x},w") for x in "abcdefghijklmnop")), HOST)
    assert [disk.vdev for disk in found.machine.disks] == [f"sd{x}" for x in "abcdefghijklmnop"]
    assert [disk.target for disk in found.machine.disks] == [disk.vdev for disk in found.machine.disks]
    assert {disk.bus for disk in found.machine.disks} == {Bus.SCSI}
    assert found.machine.scsi == ("lsilogic",) * 3
    assert said(found, "disk[7]") == []


def test_no_disk_whose_place_is_taken_stands_before_the_one_that_has_it() -> None:
    found = disks(HVM, vbd("file:/a,hdb,w"), vbd("file:/b,xvdb,w"), vbd("file:/c,hdd,w"), vbd("file:/d,xvdd,w"))
    assert places(*found) == [("hdb", "hdb", "ide"), ("xvdb", "hdc", "ide"), ("hdd", "hdd", "ide"), ("xvdd", "vda", "virtio")]


def test_more_scsi_disks_than_a_machine_has_room_for_are_virtio() -> None:
    given = [vbd(f"file:/{index},{8 << 8 | index << 4 if index < 16 else 65 << 8 | (index - 16) << 4},w") for index in range(32)]
    found = disks(HVM, *given)
    assert [disk.bus for disk in found] == [Bus.SCSI] * 28 + [Bus.VIRTIO] * 4


@given(vdevs)
def test_the_disk_that_the_bios_starts_is_that_of_the_lowest_place(chosen: list[tuple[str, str, str, str, str]]) -> None:
    """Of those with a place on IDE or SCSI: one that could have no place of its own stands behind it."""
    vbds = [vbd(f"file:/{n},{kind}{letter}{part},w") for n, (kind, letter, part, _, _) in enumerate(chosen)]
    found = disks(HVM, *vbds)
    hard = [one for one in vbds if split_vdev(one.vdev)[0] in ("hd", "xvd") and split_vdev(one.vdev)[1] in "abcd"]
    if hard:
        assert split_vdev(found[0].vdev)[1] == min(split_vdev(one.vdev)[1] for one in hard)
    elif scsi := sorted(one.vdev for one in vbds if one.vdev.startswith("sd")):
        assert found[0].vdev == scsi[0]
