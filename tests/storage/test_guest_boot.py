"""Kernels taken out of guests' file systems: which one, what is refused, and that the guest's disk stays as it is."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.storage.boot_trees import MENU, RAMDISK, bzimage, classic, debian, disk_image, partition_image, tree
from xmcompat.guest_kernels import judge
from xmcompat.storage import guest_boot, image_view
from xmcompat.storage.guest_boot import Taken, Volume, Wish, starts_by_itself, take
from xmcompat.storage.image_programs import ImageError

HINT = "; copy kernel and ramdisk to this host and name them with kernel= and ramdisk="


def state(image: Path) -> tuple[object, ...]:
    """Its contents, where it is no large one."""
    found = image.stat()
    small = found.st_size <= 64 << 20
    return found.st_mtime_ns, found.st_blocks, hashlib.sha256(image.read_bytes()).digest() if small else b""


def taken(image: Path, wish: Wish | None = None, *, format: str = "raw") -> Taken:
    before = state(image)
    folder = image.parent / "boot" / "uuid"
    try:
        return take(Volume(path=str(image), format=format, vdev="xvda2"), wish or Wish(), str(folder), judge)
    finally:
        assert state(image) == before, "the guest's disk was changed"
        assert [name for name in os.listdir(image.parent / "boot") if name != "uuid"] == []


def refusal(image: Path, wish: Wish | None = None, *, format: str = "raw") -> str:
    (image.parent / "boot").mkdir(exist_ok=True)
    with pytest.raises(ImageError) as caught:
        taken(image, wish, format=format)
    assert not (image.parent / "boot" / "uuid").exists()
    return caught.value.line().removesuffix(HINT)


def journaled(root: Path, tmp_path: Path) -> None:
    """Have ROOT as it is after a power cut: a menu with another default is in the journal, and not yet in its place."""
    menu = MENU.replace("default 1", "default 3") + "title New\nkernel /boot/vmlinuz-6.1 new\n"
    block = int(debugfs(root, "-R", "blocks /boot/grub/menu.lst").split()[0])
    (tmp_path / "block").write_bytes(menu.encode().ljust(1024, b"#"))
    (tmp_path / "script").write_text(f"jo\njw -b {block} {tmp_path}/block\njc\n")
    debugfs(root, "-w", "-f", str(tmp_path / "script"))
    assert "needs_recovery" in subprocess.run(["dumpe2fs", "-h", root], capture_output=True, text=True, check=True).stdout
    debugfs(root, "-w", "-R", f"sif /boot/grub/menu.lst size {len(menu)}")
    assert b"title New" not in root.read_bytes()[block * 1024 : (block + 1) * 1024]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return partition_image(tmp_path / "root.img", debian(tmp_path / "tree"))


@pytest.mark.parametrize("fs", ["ext2", "ext3", "ext4"])
def test_the_default_of_the_menu_is_taken(fs: str, tmp_path: Path) -> None:
    found = taken(partition_image(tmp_path / "root.img", debian(tmp_path / "tree"), fs=fs))
    assert found.args == "root=/dev/xvda2 ro console=hvc0"
    assert (found.source, found.remark) == ("/boot/vmlinuz-6.1 of xvda2", "")
    assert Path(found.kernel).read_bytes() == bzimage()
    assert Path(found.ramdisk).read_bytes() == RAMDISK
    assert {Path(path).stat().st_uid for path in (found.kernel, found.ramdisk)} == {0}
    assert Path(found.kernel).stat().st_mode & 0o007 == 0, "what is in a RAM disk is not for all to read"


def test_a_default_that_starts_xen_itself_is_passed_over(tmp_path: Path) -> None:
    menu = MENU.replace("default 1", "default 0")
    found = taken(partition_image(tmp_path / "root.img", debian(tmp_path / "tree", **{"boot/grub/menu.lst": menu})))
    assert (found.source, found.remark) == ("/boot/vmlinuz-6.1 of xvda2", "'Xen 4.1': it starts Xen itself")


def test_a_default_for_xen_alone_is_passed_over_but_what_is_asked_for_is_not(tmp_path: Path) -> None:
    image = partition_image(
        tmp_path / "root.img", debian(tmp_path / "tree", **{"boot/grub/menu.lst": MENU.replace("default 1", "default=2")})
    )
    found = taken(image)
    assert found.source == "/boot/vmlinuz-6.1 of xvda2"
    assert found.remark.startswith("'Old': it is a gzip-packed image without the PC's boot header")
    for entry in ("2", "Old"):
        with pytest.raises(ImageError, match="'Old': it is a gzip-packed image"):
            taken(image, Wish(entry=entry))
    assert taken(image, Wish(entry="Debian")).remark == ""


def test_files_that_are_named_need_no_menu(root: Path) -> None:
    found = taken(root, Wish(kernel="/boot/vmlinuz-6.1", ramdisk="boot/initrd.img-6.1"))
    assert (found.args, Path(found.ramdisk).read_bytes()) == ("", RAMDISK)
    assert taken(root, Wish(kernel="/boot/vmlinuz-6.1")).ramdisk == ""
    assert sorted(os.listdir(root.parent / "boot" / "uuid")) == ["kernel"], "an old RAM disk stays"


def test_links_are_followed_within_the_guest(tmp_path: Path) -> None:
    files = {"boot/vmlinuz-6.1": bzimage(), "vmlinuz": "->boot/vmlinuz-6.1", "boot/grub": "->/real",
             "real/grub.cfg": "menuentry 'a' {\n linux /vmlinuz quiet\n}\n", "etc/passwd": "->/../../../../etc/passwd"}  # fmt: skip
    image = partition_image(tmp_path / "root.img", tree(tmp_path / "tree", files))
    assert Path(taken(image).kernel).read_bytes() == bzimage()
    assert refusal_of_new(image, Wish(kernel="/etc/passwd")).startswith("xvda2 has no file /etc/passwd")


def debugfs(image: Path, *words: str) -> str:
    return subprocess.run(["debugfs", *words, str(image)], capture_output=True, text=True, check=True).stdout


def refusal_of_new(image: Path, wish: Wish) -> str:
    with pytest.raises(ImageError) as caught:
        taken(image, wish)
    return caught.value.line()


def test_several_ram_disks_become_one_each_at_a_multiple_of_four_bytes(tmp_path: Path) -> None:
    files = {"boot/k": bzimage(), "boot/a": b"aaaaa", "boot/b": b"bb",
             "grub/grub.cfg": "menuentry a {\nlinux /boot/k\ninitrd /boot/a /boot/b\n}\n"}  # fmt: skip
    found = taken(partition_image(tmp_path / "root.img", tree(tmp_path / "tree", files)))
    assert Path(found.ramdisk).read_bytes() == b"aaaaa\0\0\0bb"


def test_the_active_partition_of_a_disk_comes_first(tmp_path: Path) -> None:
    first = partition_image(tmp_path / "a.img", debian(tmp_path / "one"))
    other = partition_image(tmp_path / "b.img", tree(tmp_path / "two", {
        "grub/menu.lst": "title x\nkernel /k second\n", "k": bzimage()}))  # fmt: skip
    disk = disk_image(tmp_path / "disk.img", {1: first, 3: other})
    assert taken(disk).source == "/boot/vmlinuz-6.1 of xvda2, partition 1"
    data = bytearray(disk.read_bytes())
    data[446], data[446 + 32] = 0, 0x80
    disk.write_bytes(data)
    assert (taken(disk).source, taken(disk).args) == ("/k of xvda2, partition 3", "second")
    assert taken(disk, Wish(partition=1)).source == "/boot/vmlinuz-6.1 of xvda2, partition 1"
    assert refusal_of_new(disk, Wish(partition=2)).startswith("xvda2 has no partition 2;")
    assert not starts_by_itself(Volume(path=str(disk), format="raw", vdev="xvda"))


def test_a_gpt_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    first = partition_image(tmp_path / "a.img", tree(tmp_path / "one", {"etc/x": b""}))
    other = partition_image(tmp_path / "b.img", debian(tmp_path / "two"))
    disk = disk_image(tmp_path / "disk.img", {1: first, 7: other})
    assert taken(disk).source == "/boot/vmlinuz-6.1 of xvda2, partition 7"


def test_a_qcow2_image_is_looked_into_too(root: Path) -> None:
    image = root.with_suffix(".qcow2")
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(root), str(image)], check=True)
    assert Path(taken(image, format="qcow2").kernel).read_bytes() == bzimage()
    assert not starts_by_itself(Volume(path=str(image), format="qcow2", vdev="xvda"))


@pytest.mark.parametrize("how", ["volume", "partition", "qcow2"])
def test_a_journal_that_is_not_empty_is_replayed_beside_the_disk(
    how: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    make = tempfile.mkdtemp
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **words: made.append(make(**words)) or made[-1])
    journaled(root, tmp_path)
    image = root if how == "volume" else disk_image(tmp_path / "disk.img", {1: root})
    if how == "qcow2":
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", image, tmp_path / "disk.qcow2"], check=True)
        image = tmp_path / "disk.qcow2"
    assert taken(image, format="qcow2" if how == "qcow2" else "raw").args == "new", "the journal was not read"
    assert made, "there was no layer"
    assert [path for path in made if os.path.exists(path)] == []


def test_without_fuse_the_journal_is_left_as_xens_loaders_left_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journaled(root, tmp_path)
    monkeypatch.setattr("xmcompat.storage.guest_boot_disk.can_layer", lambda: False)
    monkeypatch.setattr(image_view, "layered", None)
    assert taken(root).source == "/boot/vmlinuz-6.1 of xvda2"


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    empty = partition_image(tmp_path / "root.img", tree(tmp_path / "tree", {"etc/hostname": "x"}))
    assert refusal(empty) == (
        "xvda2 has no boot menu (none of /boot/grub/menu.lst, /boot/grub/grub.conf, /boot/grub/grub.cfg and the like)"
    )
    assert refusal(empty, Wish(config="/boot/x.cfg")) == "xvda2 has no boot menu (/boot/x.cfg)"
    assert refusal(empty, Wish(kernel="/vmlinuz")) == "xvda2 has no file /vmlinuz"


def test_a_menu_without_a_kernel_for_kvm_names_the_reason(tmp_path: Path) -> None:
    image = partition_image(tmp_path / "root.img", tree(tmp_path / "tree", {
        "boot/grub/menu.lst": "title Old\nkernel /k\ntitle Gone\nkernel /gone\n", "k": classic()}))  # fmt: skip
    said = refusal(image)
    assert said.startswith("xvda2 has no kernel that can start on KVM: 'Old': it is a gzip-packed image without")
    assert said.endswith("(1 more are no better)")
    assert refusal(image, Wish(entry="1")) == "xvda2 has no kernel that can start on KVM: 'Gone': /gone is not there"
    assert refusal(image, Wish(entry="7")) == "the boot menu /boot/grub/menu.lst of xvda2 has no entry '7'; it has 0 to 1"


def test_a_menu_cannot_keep_the_host_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest writes it: with ever more RAM disks, or ever more entries that cannot start."""
    many = "title Many\nkernel /k\ninitrd" + " /r" * 5000 + "\ntitle Old\nkernel /k\n"
    image = partition_image(tmp_path / "root.img", tree(tmp_path / "tree", {
        "boot/grub/menu.lst": many, "k": classic(), "r": b"r"}))  # fmt: skip
    assert refusal(image, Wish(entry="0")).endswith("'Many': it names 5000 RAM disks")
    monkeypatch.setattr(guest_boot, "_PATIENCE", 0.0)
    assert refusal(image) == "the boot menu of xvda2 took longer than 0 s: 'Many': it names 5000 RAM disks"


def test_a_kernel_without_virtio_would_find_no_disk(tmp_path: Path) -> None:
    files = {"boot/grub/menu.lst": "title a\nkernel /boot/k\n", "boot/k": bzimage("3.2.1"),
             "boot/config-3.2.1": "CONFIG_VIRTIO_PCI=m\n# CONFIG_VIRTIO_BLK is not set\n"}  # fmt: skip
    image = partition_image(tmp_path / "root.img", tree(tmp_path / "tree", files))
    assert "it was built without CONFIG_VIRTIO_BLK, and so would find no disk" in refusal(image)
    files["boot/config-3.2.1"] = "CONFIG_VIRTIO_PCI=m\nCONFIG_VIRTIO_BLK=m\n"
    assert taken(partition_image(image, tree(tmp_path / "tree", files))).source == "/boot/k of xvda2"


def xfs(tmp_path: Path) -> Path:
    """An image with the guest's tree of ``debian``, made without mounting."""
    folder = debian(tmp_path / "tree", vmlinuz="->boot/vmlinuz-6.1")
    lines = ["/", "0 0", "d--755 0 0", "boot d--755 0 0", "grub d--755 0 0"]
    lines += [f"menu.lst ---644 0 0 {folder}/boot/grub/menu.lst", "$"]
    lines += [f"{name} ---644 0 0 {folder}/boot/{name}" for name in ("vmlinuz-6.1", "initrd.img-6.1", "vmlinuz-2.6.18-xen")]
    (tmp_path / "proto").write_text("\n".join([*lines, "$", "vmlinuz l--777 0 0 boot/vmlinuz-6.1", "$", ""]))
    with open(tmp_path / "xfs.img", "wb") as file:
        file.truncate(310 << 20)
    subprocess.run(["mkfs.xfs", "-q", "-f", "-p", tmp_path / "proto", tmp_path / "xfs.img"], check=True)
    return tmp_path / "xfs.img"


def test_what_is_not_of_the_ext_family_is_read_by_grubs_own_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = xfs(tmp_path)
    found = taken(image)
    assert (found.source, found.args) == ("/boot/vmlinuz-6.1 of xvda2", "root=/dev/xvda2 ro console=hvc0")
    assert (Path(found.kernel).read_bytes(), Path(found.ramdisk).read_bytes()) == (bzimage(), RAMDISK)
    assert Path(taken(image, Wish(kernel="/vmlinuz")).kernel).read_bytes() == bzimage()
    disk = disk_image(tmp_path / "disk.img", {2: image})
    assert taken(disk).source == "/boot/vmlinuz-6.1 of xvda2, partition 2"
    for wish, words in ((Wish(kernel="/gone"), "xvda2 has no file /gone"), (Wish(entry="Old"), "'Old': it is a gzip-packed")):
        assert words in refusal_of_new(image, wish)
    monkeypatch.setitem(guest_boot._LIMITS, "kernel", 50000)
    assert "/boot/vmlinuz-6.1 has more bytes than 0 MiB, which are the most" in refusal_of_new(image, Wish(entry="Debian"))


def test_other_file_systems_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = xfs(tmp_path)
    monkeypatch.setattr("xmcompat.storage.guest_boot_disk.can_read", lambda kind: False)
    assert refusal(image) == (
        "xvda2 has no file system that is read here (ext2, ext3 or ext4): xvda2 is xfs; install the package grub-common, or "
        + HINT.removeprefix("; ")
    )
    image = tmp_path / "root.img"
    image.write_bytes(bytes(1 << 20))
    assert refusal(image) == "xvda2 has no file system that is read here (ext2, ext3 or ext4)"


@pytest.mark.parametrize("name", ["/boot/a\"b", "/boot/a b\n", "/boot/`id`", "/boot/$x", "-R", "/boot/\u00e9", "x" * 2000])
def test_names_that_no_honest_menu_has_are_not_handed_on(name: str, tmp_path: Path) -> None:
    files = {"boot/extlinux.conf": f"label a\nkernel {name}\n"}
    said = refusal(partition_image(tmp_path / "root.img", tree(tmp_path / "tree", files)))
    assert "such names are not read" in said or "is not there" in said
    assert "\n" not in said


def test_a_kernel_that_is_too_large_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(guest_boot._LIMITS, "kernel", 1 << 20)
    files = {"boot/grub/menu.lst": "title a\nkernel /k\n", "k": bzimage(size=2 << 20)}
    image = partition_image(tmp_path / "root.img", tree(tmp_path / "tree", files))
    assert refusal(image).endswith("'a': /k has 2097152 bytes; 1 MiB are the most")


def test_a_damaged_file_system_ends_in_one_line(root: Path) -> None:
    data = bytearray(root.read_bytes())
    data[4096 : 3 << 20] = os.urandom((3 << 20) - 4096)
    root.write_bytes(data)
    assert "\n" not in refusal(root)
    data[1024 + 96 : 1024 + 100] = b"\xff\xff\xff\x7f"  # features that nobody knows
    root.write_bytes(data)
    assert "\n" not in refusal(root)
