"""What is to be taken out of a guest's disk, and the machine that starts from it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.translate.guests import HOST, PV, said, vbd
from xmcompat.backends.machine import DeviceBoot, DirectKernel
from xmcompat.guest import Boot, GuestConfig, GuestKind, KernelBoot, LoaderBoot
from xmcompat.notes import Fate
from xmcompat.translate.loader import Taken, Wanted, wanted
from xmcompat.translate.machine import Translation, translate

UUID = "5d3f0a44-8a7d-4b7c-9a53-0f1f4f7f1c01"
TAKES = replace(HOST, boot_folder="/var/lib/xmcompat/boot")
WHOLE = (vbd("phy:/dev/vg0/web1,xvda,w"), vbd("phy:/dev/vg0/data,xvdb,w"))
PARTS = (vbd("phy:/dev/vg0/root,xvda2,w"), vbd("phy:/dev/vg0/swap,xvda1,w"))


def guest(boot: Boot, *disks: object, **changes: object) -> GuestConfig:
    return replace(PV, boot=boot, disks=disks or WHOLE, uuid=UUID, **changes)  # type: ignore[arg-type]


def loader(args: str = "", name: str = "pygrub", cmdline: str = "") -> LoaderBoot:
    return LoaderBoot(bootloader=name, args=args, cmdline=cmdline)


@pytest.mark.parametrize(("boot", "expected"), [
    (loader(), Wanted(vdev="xvda")),
    (loader(name=""), Wanted(vdev="xvda")),
    (loader("-q", "/usr/lib/xen/bin/pygrub"), Wanted(vdev="xvda")),
    (loader("--quiet --entry=2"), Wanted(vdev="xvda", entry="2")),
    (loader("--entry 'Debian GNU/Linux' -q"), Wanted(vdev="xvda", entry="Debian GNU/Linux")),
    (loader("--kernel=/k --ramdisk /r --args='a b'", cmdline="root=x"), Wanted("xvda", 0, "/k", "/r", args="a b")),
    (loader(cmdline="root=/dev/xvda1 ro"), Wanted(vdev="xvda", args="root=/dev/xvda1 ro")),
    (loader("--isconfig --foo=1 bar"), Wanted(vdev="xvda", unread=("--isconfig", "--foo=1", "bar"))),
    (loader("--entry"), Wanted(vdev="xvda", unread=("--entry",))),
    (loader("--entry='x"), Wanted(vdev="xvda", entry="'x")),
    (loader("--entry=xvdb2:/boot/k,/boot/r", "domUloader.py"), Wanted("xvdb", 2, "/boot/k", "/boot/r")),
    (loader("--entry=/boot/k -q", "domUloader.py", "ro"), Wanted("xvda", 0, "/boot/k", args="ro")),
    (loader("--entry=hdz9:boot/k", "domUloader"), Wanted("xvda", 0, "/boot/k")),
    (KernelBoot(kernel="/x/pv-grub-x86_64.gz", cmdline="(hd1,0)/boot/grub/menu.lst"),
     Wanted("xvdb", 1, config="/boot/grub/menu.lst")),
    (KernelBoot(kernel="pv-grub.gz", cmdline="quiet (hd0)/grub/menu.lst"), Wanted("xvda", 0, config="/grub/menu.lst",
                                                                                 unread=("quiet",))),
    (KernelBoot(kernel="grub-x86_64-xen.bin", cmdline="(hd0,msdos2)/grub.cfg"), Wanted("xvda", 2, config="/grub.cfg")),
    (KernelBoot(kernel="pv-grub.gz", cmdline="(hd7,0)/x"), Wanted("", 1, config="/x")),
    (loader(name="pvgrub64"), Wanted(vdev="xvda")),
    (KernelBoot(kernel="/boot/vmlinuz"), None),
    (loader(name="eliloader"), None),
    (loader(name="pypxeboot"), None),
])  # fmt: skip
def test_what_is_wanted(boot: Boot, expected: Wanted | None) -> None:
    assert wanted(guest(boot)) == expected


def test_a_partition_of_its_own_is_meant_by_its_name() -> None:
    assert wanted(guest(loader("--entry=xvda1:/k", "domUloader.py"), *PARTS)) == Wanted("xvda1", 0, "/k")
    assert wanted(guest(loader(), *PARTS)) == Wanted("xvda2")
    assert wanted(guest(loader(), kind=GuestKind.HVM)) is None
    assert wanted(replace(guest(loader()), disks=())) == Wanted()


def test_the_paths_of_the_configuration_are_paths_in_the_disk() -> None:
    of = guest(loader("--kernel=/other"), options={"kernel": "/boot/k", "ramdisk": "/boot/r"})
    assert wanted(of) == Wanted("xvda", 0, "/other", "/boot/r")


def test_a_partition_starts_by_a_kernel_that_will_be_taken_out_of_it() -> None:
    found = translate(guest(loader(cmdline="root=/dev/xvda2 ro"), *PARTS), TAKES)
    boot = found.machine.boot
    assert isinstance(boot, DirectKernel)
    assert (boot.kernel, boot.initrd) == (f"/var/lib/xmcompat/boot/{UUID}/kernel", f"/var/lib/xmcompat/boot/{UUID}/ramdisk")
    (note,) = [note for note in found.notes if note.key == "bootloader"]
    assert (note.fate, note.value, note.reason) == (
        Fate.CARRIED, "pygrub", "kernel and ramdisk are taken out of xvda2 at every start, as Xen's host took them"
    )


def test_a_whole_disk_may_start_by_itself_until_it_is_looked_at() -> None:
    found = translate(guest(loader()), TAKES)
    assert found.machine.boot == DeviceBoot(order=())
    note = next(note for note in found.notes if note.key == "bootloader")
    assert note.suggestion == "without one, kernel and ramdisk are taken out of the disk at the start"


def with_taken(args: str, cmdline: str, **more: str) -> Translation:
    of = guest(loader("--foo", cmdline=cmdline), options={"extra": cmdline, "bootargs": "--foo"})
    return translate(of, TAKES, taken=Taken("/b/kernel", "/b/ramdisk", args, "/k of xvda", **more))


def test_the_menus_words_come_first_and_are_made_fit_as_those_of_the_configuration() -> None:
    found = with_taken("root=/dev/xvda1 console=xvc0 ro", "single")
    assert found.machine.boot == DirectKernel(
        kernel="/b/kernel", initrd="/b/ramdisk",
        cmdline="root=/dev/vda1 console=ttyS0 console=hvc0 ro single panic=60",
    )  # fmt: skip
    assert [disk.boot_order for disk in found.machine.disks] == [None, None]
    assert said(found, "bootargs") == [(Fate.NO_MEANING, "no program reads it")]


def test_another_entry_than_the_default_is_told() -> None:
    found = with_taken("", "", remark="'Xen': it starts Xen itself")
    assert said(found, "bootloader") == [(
        Fate.APPROXIMATED, "/k of xvda is started, for the default of the guest's menu cannot be: 'Xen': it starts Xen itself"
    )]  # fmt: skip


@pytest.mark.parametrize("disk", ["nbd:host:10809,xvda1,w", "file:/a.iso,hdc:cdrom,r"])
def test_what_is_not_on_this_host_or_no_disk_is_refused_as_before(disk: str) -> None:
    from xmcompat.errors import NotConvertible

    with pytest.raises(NotConvertible, match="copy kernel and ramdisk to this host"):
        translate(guest(loader(), vbd(disk)), TAKES)
