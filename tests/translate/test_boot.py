"""Guests whose kernel the host took out of their disk: here the disk starts by itself, or they are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.translate.guests import HOST, PV, said, vbd
from xmcompat.backends.domain_xml import render
from xmcompat.backends.machine import DeviceBoot, DirectKernel
from xmcompat.errors import NotConvertible
from xmcompat.guest import Boot, Dialect, GuestConfig, GuestKind, KernelBoot, LoaderBoot, Vbd
from xmcompat.notes import Fate
from xmcompat.translate.machine import translate

WHOLE = (vbd("phy:/dev/vg0/web1,xvda,w"), vbd("phy:/dev/vg0/data,xvdb,w"))
COPY = "copy kernel and ramdisk to this host and name them with kernel= and ramdisk="
PV_GRUB = "/usr/lib/xen/boot/pv-grub-x86_64.gz"


def guest(boot: Boot, *disks: object, **changes: object) -> GuestConfig:
    lines = {"bootloader": 7, "kernel": 3, "disk": 9, "firmware": 4}
    return replace(PV, boot=boot, disks=disks or WHOLE, lines=lines, **changes)  # type: ignore[arg-type]


def refusal(of: GuestConfig) -> str:
    with pytest.raises(NotConvertible) as caught:
        translate(of, HOST)
    return caught.value.line()


@pytest.mark.parametrize("loader", ["pygrub", "/usr/lib/xen-4.9/bin/pygrub", "", "domUloader.py"])
def test_a_whole_disk_starts_by_its_own_boot_loader(loader: str) -> None:
    found = translate(guest(LoaderBoot(bootloader=loader, args="-q")), HOST)
    assert found.machine.boot == DeviceBoot(order=())
    assert [(disk.vdev, disk.boot_order) for disk in found.machine.disks] == [("xvda", 1), ("xvdb", None)]
    ((fate, reason),) = said(found, "bootloader")
    assert fate is Fate.APPROXIMATED
    assert reason.startswith("the disk xvda starts by itself, by the boot loader that it must have in its boot sector")
    xml = render(found.machine)
    assert '<boot order="1"/>' in xml
    assert "<boot dev" not in xml


def test_the_first_disk_of_the_list_is_the_one_that_starts_whatever_its_name() -> None:
    """As with xend, which marks it as bootable; the guest still finds its disks by their numbers."""
    found = translate(guest(LoaderBoot(bootloader="pygrub"), *reversed(WHOLE)), HOST)
    assert [(disk.vdev, disk.target, disk.boot_order) for disk in found.machine.disks] == [
        ("xvda", "vda", None), ("xvdb", "vdb", 1),
    ]  # fmt: skip


def test_a_partition_has_no_boot_sector() -> None:
    line = refusal(guest(LoaderBoot(bootloader="pygrub"), vbd("phy:/dev/vg0/root,xvda1,w")))
    assert line == (
        "web1.cfg:7: bootloader = pygrub: xvda1 is a partition, which has no boot sector to start from, and nothing takes "
        f"the kernel out of it; {COPY}"
    )


def test_without_a_disk_there_is_nothing_to_start() -> None:
    of = replace(guest(LoaderBoot(bootloader="pygrub")), disks=())
    assert refusal(of) == f"web1.cfg:7: bootloader = pygrub: there is no disk to start from; {COPY}"


@pytest.mark.parametrize("more", [(), WHOLE])
def test_a_cd_rom_at_the_head_of_the_list_is_what_xen_would_have_read(more: tuple[Vbd, ...]) -> None:
    of = guest(LoaderBoot(bootloader="pygrub"), vbd("file:/a.iso,hdc:cdrom,r"), *more)
    assert refusal(of) == (
        "web1.cfg:7: bootloader = pygrub: the first disk of the list, hdc, is a CD-ROM drive, and Xen takes the kernel out "
        f"of the first; put the disk to start from before it, or {COPY}"
    )


def test_programs_that_nobody_knows_here_are_refused() -> None:
    assert refusal(guest(LoaderBoot(bootloader="/usr/bin/eliloader"))) == (
        f"web1.cfg:7: bootloader = /usr/bin/eliloader: there is no such program on KVM; {COPY}"
    )


def test_what_was_handed_to_the_boot_loader_is_told() -> None:
    boot = LoaderBoot(bootloader="pygrub", args="--entry=1", cmdline="root=/dev/xvda1 ro")
    options = {"bootargs": "--entry=1", "extra": "ro", "kernel": "/vmlinuz", "ramdisk": "/initrd"}
    found = translate(guest(boot, options=options), HOST)
    for key, words in (
        ("extra", "the boot loader in the disk has its own command line"), ("bootargs", "no program reads it"),
        ("kernel", "another one is started"), ("ramdisk", "another one is started"),
    ):  # fmt: skip
        ((fate, reason),) = said(found, key)
        assert (fate, reason.startswith(words)) == (Fate.NO_MEANING, True), key


@pytest.mark.parametrize("kind", [GuestKind.PV, GuestKind.PVH])
@pytest.mark.parametrize(
    "kernel", [PV_GRUB, "/usr/lib/grub-xen/grub-x86_64-xen.bin", "/boot/xen/pvboot-x86_64.elf"],
)
def test_a_boot_loader_in_the_place_of_the_kernel_is_one(kind: GuestKind, kernel: str) -> None:
    boot = KernelBoot(kernel=kernel, cmdline="(hd0,0)/boot/grub/menu.lst")
    found = translate(guest(boot, kind=kind), HOST)
    assert (found.machine.boot, found.machine.disks[0].boot_order) == (DeviceBoot(order=()), 1)
    assert said(found, "kernel")[0][0] is Fate.APPROXIMATED
    assert said(found, "extra")[0][0] is Fate.NO_MEANING
    parted = guest(boot, vbd("phy:/dev/vg0/root,xvda1,w"), kind=kind)
    assert refusal(parted).startswith(f"web1.cfg:3: kernel = {kernel}: xvda1 is a partition")


def test_a_firmware_that_loads_kernels_for_xen_is_one_too() -> None:
    of = guest(LoaderBoot(bootloader="pvgrub64"), dialect=Dialect.XL, options={"firmware": "pvgrub64"})
    found = translate(of, HOST)
    assert found.machine.disks[0].boot_order == 1
    assert [note.line for note in found.notes if note.key == "firmware"] == [4]


@pytest.mark.parametrize("loader", ["pypxeboot", "/usr/bin/pypxeboot"])
def test_a_boot_loader_that_asks_the_network_is_qemus_own_boot_from_there(loader: str) -> None:
    found = translate(replace(PV, boot=LoaderBoot(bootloader=loader, cmdline="root=/dev/nfs")), HOST)
    assert found.machine.boot == DeviceBoot(order=("network",))
    assert said(found, "bootloader") == [(
        Fate.APPROXIMATED, "QEMU's BIOS itself asks the network, through the first interface, and starts what it is offered"
    )]  # fmt: skip
    assert said(found, "extra") == [(Fate.NO_MEANING, "what is offered brings its own command line")]


@pytest.mark.parametrize(
    ("args", "what"),
    [
        ("--entry=xvda2:/boot/vmlinuz-5.3,/boot/initrd-5.3", "/boot/vmlinuz-5.3 and /boot/initrd-5.3 out of xvda2"),
        ("-q --entry=xvda2:/boot/vmlinuz", "/boot/vmlinuz out of xvda2"),
        ("--entry=/vmlinuz,/initrd", "/vmlinuz and /initrd out of xvda"),
        ("--entry=hda1:", "kernel and ramdisk"),
        ("--entry=", "kernel and ramdisk"),
        ("--entry='", "kernel and ramdisk"),
        ("", "kernel and ramdisk"),
    ],
)
def test_the_files_that_domuloader_takes_out_of_a_disk_are_named(args: str, what: str) -> None:
    copy = COPY.replace("kernel and ramdisk", what, 1)
    boot = LoaderBoot(bootloader="/usr/lib/xen/boot/domUloader.py", args=args)
    (note,) = [note for note in translate(guest(boot), HOST).notes if note.key == "bootloader"]
    assert (note.suggestion, note.harmless) == (f"else {copy}", False)
    parted = refusal(guest(boot, vbd("phy:/dev/vg0/root,xvda,w", vdev="xvda7")))
    assert parted.endswith(copy.replace("out of xvda to", "out of xvda7 to"))


def test_a_kernel_for_xen_alone_in_a_disk_is_not_simply_to_be_copied() -> None:
    boot = LoaderBoot(bootloader="domUloader.py", args="--entry=xvda2:/boot/vmlinuz-xen,/boot/initrd-xen")
    (note,) = [note for note in translate(guest(boot), HOST).notes if note.key == "bootloader"]
    assert note.suggestion == (
        "else copy /boot/vmlinuz-xen and /boot/initrd-xen out of xvda2 to this host and name them with kernel= and "
        "ramdisk=, or those of another kernel, if that one is for Xen alone"
    )


def test_what_pygrub_is_told_names_no_files() -> None:
    boot = LoaderBoot(bootloader="pygrub", args="--entry=xvda2:/boot/vmlinuz")
    (note,) = [note for note in translate(guest(boot), HOST).notes if note.key == "bootloader"]
    assert note.suggestion == f"else {COPY}"


def test_every_setting_of_a_command_line_that_nobody_reads_is_told() -> None:
    options = {"root": "/dev/xvda1", "extra": "quiet", "ip": "192.0.2.9", "gateway": ""}
    boot = LoaderBoot(bootloader="pygrub", cmdline="root=/dev/xvda1 ip=192.0.2.9:... quiet")
    found = translate(guest(boot, options=options), HOST)
    assert {key: [fate for fate, _ in said(found, key)] for key in options} == {
        "root": [Fate.NO_MEANING], "extra": [Fate.NO_MEANING], "ip": [Fate.NO_MEANING], "gateway": [],
    }  # fmt: skip


# -- kernels of this host


@pytest.mark.parametrize("kind", [GuestKind.PV, GuestKind.HVM])
@pytest.mark.parametrize(("length", "loud"), [(100, False), (2100, True)])
def test_a_command_line_that_the_kernel_cuts_off_is_told(kind: GuestKind, length: int, loud: bool) -> None:
    options = {"extra": "a" * length, "loader": "hvmloader"}
    found = translate(guest(KernelBoot(kernel="/k", cmdline="a" * length), kind=kind, options=options), HOST)
    reasons = [reason for _, reason in said(found, "extra")]
    assert [("2047 bytes" in reason) for reason in reasons] == [True] * loud


def test_the_longest_command_line_is_counted_with_what_is_added() -> None:
    """In bytes, with consoles and all."""
    short = "é" * 1010  # 2020 bytes, and 36 more
    found = translate(guest(KernelBoot(kernel="/k", cmdline=short)), HOST)
    assert "2047 bytes" in said(found, "extra")[-1][1]


@pytest.mark.parametrize(
    ("word", "vdev", "name"),
    [
        ("root=/dev/xvda1", "xvda", "hda"), ("resume=/dev/xvda2", "xvda", "hda"), ("root=/dev/xvdf", "xvdf", "vda"),
        ("root=202:1", "xvda", "hda"), ("root=/dev/xvda1", "hda", "hda"),
    ],
)  # fmt: skip
def test_a_disk_of_xens_kind_is_another_to_the_kernel_of_a_guest_with_a_bios(word: str, vdev: str, name: str) -> None:
    boot = KernelBoot(kernel="/k", cmdline=f"{word} quiet")
    found = translate(guest(boot, vbd(f"phy:/dev/a,{vdev},w"), kind=GuestKind.HVM, options={"extra": word}), HOST)
    ((fate, reason),) = said(found, "extra")
    assert fate is Fate.APPROXIMATED
    assert f"{name} in the guest" in reason
    assert found.machine.boot == DirectKernel(kernel="/k", cmdline=f"{word} quiet")


@pytest.mark.parametrize("word", ["root=/dev/hda1", "root=/dev/sda1", "root=UUID=a", "root=/dev/vg0/xvda1", "quiet"])
def test_other_words_for_the_kernel_of_a_guest_with_a_bios_are_as_they_were(word: str) -> None:
    boot = KernelBoot(kernel="/k", cmdline=word)
    found = translate(guest(boot, vbd("phy:/dev/a,hda,w"), kind=GuestKind.HVM, options={"extra": word}), HOST)
    assert said(found, "extra") == []
