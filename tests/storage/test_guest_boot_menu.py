"""Boot menus as pygrub reads them: entries, the default, and what a domU cannot start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.storage.guest_boot_menu import PLACES, Entry, Menu, read_menu

LEGACY = "/boot/grub/menu.lst"
GRUB2 = "/boot/grub/grub.cfg"
EXTLINUX = "/boot/extlinux/extlinux.conf"

DEBIAN = """\
# DO NOT EDIT
if [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="%s"
fi
set kernelopts="root=/dev/xvda1 ro"
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-1' {
\tload_video
\tif [ x$grub_platform = xxen ]; then insmod xzio; fi
\tsearch --no-floppy --fs-uuid --set=root 1-2
\techo\t'Loading Linux 6.1 ...'
\tlinux\t/boot/vmlinuz-6.1 root=UUID=1-2 ro  quiet
\tinitrd\t/boot/initrd.img-6.1
}
submenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced-1' {
\tmenuentry "Debian, with Linux 5.10" --id gnulinux-5.10 {
\t\tlinux16 /boot/vmlinuz-5.10 $kernelopts ${nothing} single
\t\tinitrd16 (hd0,msdos1)/boot/ucode.img /boot/initrd.img-5.10
\t}
}
menuentry 'Debian, with Xen' {
\tmultiboot2 /boot/xen.gz
\tmodule2 /boot/vmlinuz-6.1 root=UUID=1-2
}
"""


def chosen(path: str, text: str, word: str = "") -> Entry:
    found = read_menu(path, text).chosen(word)
    assert found is not None
    return found


def test_devices_are_taken_off_and_only_what_stands_in_an_entry_belongs_to_it() -> None:
    text = "kernel /stray\ndefault 1\n# title no\ntitle A\n  kernel (hd0,0)/a\ntitle B b\n\tkernel   /b x  y=\"z 1\"\n\tinitrd (hd0)/i\n"
    assert read_menu(LEGACY, text) == Menu(
        entries=(Entry(title="A", kernel="/a"), Entry(title="B b", kernel="/b", args='x  y="z 1"', ramdisks=("/i",))), default=1
    )


@pytest.mark.parametrize(("word", "default"), [
    ("default 1", 1), ("default=1", 1), ("default = 1", 1), ("default saved", 0), ("default x", 0), ("", 0), ("default 99", 99),
])  # fmt: skip
def test_the_default_of_an_old_menu(word: str, default: int) -> None:
    menu = read_menu(LEGACY, f"{word}\ntitle A\nkernel /a\ntitle B\nkernel /b\n")
    assert menu.default == default
    assert menu.chosen("") == menu.entries[default if default < 2 else 0]


def test_an_entry_that_starts_xen_itself_is_of_no_use() -> None:
    for path, text in (
        (LEGACY, "title Xen\nkernel /xen.gz\nmodule /vmlinuz\n"), (GRUB2, DEBIAN[DEBIAN.index("menuentry 'Debian, with"):]),
        (EXTLINUX, "label x\nkernel mboot.c32\nappend xen.gz --- vmlinuz\n"),
    ):  # fmt: skip
        assert not chosen(path, text).usable, path


@pytest.mark.parametrize(("default", "kernel"), [
    ("0", "/boot/vmlinuz-6.1"), ("1", "/boot/vmlinuz-5.10"), ("${saved_entry}", "/boot/vmlinuz-6.1"),
    ("gnulinux-advanced-1>gnulinux-5.10", "/boot/vmlinuz-5.10"), ("Debian, with Linux 5.10", "/boot/vmlinuz-5.10"),
    ("nobody", "/boot/vmlinuz-6.1"),
])  # fmt: skip
def test_the_default_of_grub_2(default: str, kernel: str) -> None:
    assert chosen(GRUB2, DEBIAN % default).kernel == kernel


def test_grub_2_has_variables_and_several_ram_disks() -> None:
    assert chosen(GRUB2, DEBIAN, "1") == Entry(
        title="Debian, with Linux 5.10", names=("gnulinux-5.10",), kernel="/boot/vmlinuz-5.10",
        args="root=/dev/xvda1 ro  single", ramdisks=("/boot/ucode.img", "/boot/initrd.img-5.10"),
    )  # fmt: skip
    assert chosen(GRUB2, DEBIAN, "Debian GNU/Linux").args == "root=UUID=1-2 ro  quiet"


def test_a_menu_whose_entries_are_elsewhere_says_so() -> None:
    menu = read_menu("/boot/grub2/grub.cfg", "insmod blscfg\nblscfg\n")
    assert (menu.entries, menu.remark) == ((), "its entries are in /boot/loader/entries, which are not read")


def test_syslinux_has_labels_and_paths_beside_its_configuration() -> None:
    text = ("DEFAULT linux\nPROMPT 0\nlabel rescue\n kernel /rescue\nLABEL linux\n  MENU LABEL ^Linux 6\n  LINUX ../vmlinuz\n"
            "  APPEND initrd=/i.img,b root=/dev/xvda1 ro\n")  # fmt: skip
    assert chosen(EXTLINUX, text) == Entry(
        title="linux", names=("Linux 6",), kernel="/boot/vmlinuz", args="root=/dev/xvda1 ro",
        ramdisks=("/i.img", "/boot/extlinux/b"),
    )  # fmt: skip
    assert chosen(EXTLINUX, text, "Linux 6").kernel == "/boot/vmlinuz"
    assert chosen(EXTLINUX, text + "label x\nmenu default\nkernel /x\nappend -\n") == Entry(title="x", kernel="/x")


@pytest.mark.parametrize("word", ["3", "-1", "99999999", "Debian", "gnulinux"])
def test_what_no_entry_is_called_means_none(word: str) -> None:
    assert read_menu(GRUB2, DEBIAN).chosen(word) is None


@given(st.sampled_from(PLACES), st.text(alphabet="tidefmnulxabkr {}=\"'$0189\n\t\\>/()#", max_size=300))
def test_no_text_makes_it_fail(path: str, text: str) -> None:
    menu = read_menu(path, "title a\nmenuentry b {\nlabel c\n" + text)
    assert menu.entries
    assert menu.chosen("") in menu.entries


def test_a_menu_of_many_entries_ends_somewhere() -> None:
    assert len(read_menu(LEGACY, "title a\nkernel /b\n" * 100000).entries) == 500
