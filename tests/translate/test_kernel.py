"""Kernel files told apart by their first bytes."""

from __future__ import annotations

import gzip
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcompat.translate.kernel import Verdict, kernel_verdict
from xmcompat.translate.kernel_names import classic_name, foreign_system, is_loader


def bz_image(release: str = "6.1.0-18-cloud-amd64 (debian) #1 SMP", *, at: int = 0x3000) -> bytes:
    head = bytearray(16384)
    head[0x1FE:0x200] = b"\x55\xaa"
    head[0x202:0x208] = b"HdrS\x0f\x02"
    head[0x20E:0x210] = struct.pack("<H", at)
    head[0x200 + at : 0x200 + at + len(release) + 1] = release.encode() + b"\0"
    return bytes(head)


def note(kind: int, owner: bytes = b"Xen\0", value: bytes = b"\0\0\0\0\0\0\0\1") -> bytes:
    padded = owner + bytes(-len(owner) % 4)
    return struct.pack("<III", len(owner), len(value), kind) + padded + value + bytes(-len(value) % 4)


def elf(notes: bytes, *, wide: bool = True, at: int = 0x1000) -> bytes:
    """An ELF image with a load segment and a note segment at AT."""
    if wide:
        header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
        load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 0x100, 0x100, 4096)
        held = struct.pack("<IIQQQQQQ", 4, 4, at, 0, 0, len(notes), len(notes), 4)
    else:
        header = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\x01\x01\x01", 2, 3, 1, 0, 52, 0, 0, 52, 32, 2, 0, 0, 0)
        load = struct.pack("<IIIIIIII", 1, 0, 0, 0, 0x100, 0x100, 5, 4096)
        held = struct.pack("<IIIIIIII", 4, at, 0, 0, len(notes), len(notes), 4, 4)
    return (header + load + held).ljust(at, b"\0") + notes


def test_a_bz_image_boots_and_says_its_release() -> None:
    assert kernel_verdict(bz_image(), "/boot/vmlinuz") == Verdict(
        True, "it has the PC's boot header", "6.1.0-18-cloud-amd64"
    )


def test_a_bz_image_whose_release_lies_further_in_is_named_by_its_file() -> None:
    verdict = kernel_verdict(bz_image()[:0x1000], "/boot/vmlinuz-2.6.32-5-xen-amd64")
    assert (verdict.bootable, verdict.release) == (True, "2.6.32-5-xen-amd64")


@pytest.mark.parametrize("wide", [True, False])
def test_an_elf_image_with_a_pvh_entry_boots(wide: bool) -> None:
    verdict = kernel_verdict(elf(note(6, value=b"linux\0") + note(18), wide=wide), "vmlinux")
    assert (verdict.bootable, verdict.reason) == (True, "it is an ELF image with a PVH entry")


@pytest.mark.parametrize("wide", [True, False])
def test_a_classic_elf_image_does_not(wide: bool) -> None:
    verdict = kernel_verdict(elf(note(6, value=b"linux\0") + note(1), wide=wide), "vmlinux-2.6.18-xen")
    assert not verdict.bootable
    assert verdict.reason.startswith("it is an ELF image without a PVH entry, as kernels for Xen alone are; ")
    assert verdict.release == "2.6.18-xen"


def test_the_note_of_another_owner_is_no_pvh_entry() -> None:
    assert not kernel_verdict(elf(note(18, owner=b"GNU\0")), "vmlinux").bootable


@pytest.mark.parametrize(("name", "bootable"), [("vmlinux-5.10", True), ("vmlinux-syms-2.6.18-xen", False)])
def test_an_elf_image_whose_notes_lie_further_in_is_believed_unless_its_name_says_xen(name: str, bootable: bool) -> None:
    assert kernel_verdict(elf(note(18), at=0x9000)[:0x8000], name).bootable is bootable


def test_a_packed_image_is_a_classic_xen_kernel() -> None:
    verdict = kernel_verdict(gzip.compress(bytes(1000)), "/boot/vmlinuz-2.6.18-398.el5xen")
    assert verdict == Verdict(
        False,
        "it is a gzip-packed image without the PC's boot header, as kernels for Xen alone are; "
        "install a kernel in the guest that is not for Xen alone, and give that one",
        "2.6.18-398.el5xen",
    )


@pytest.mark.parametrize(
    ("head", "packer"),
    [(b"BZh91AY", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"\x5d\x00\x00\x80", "lzma"), (b"\x28\xb5\x2f\xfd", "zstd")],
)
def test_other_packers_are_named(head: bytes, packer: str) -> None:
    assert kernel_verdict(head, "vmlinuz").reason.startswith(f"it is a {packer}-packed image")


def test_pv_grub_is_told_for_what_it_is() -> None:
    verdict = kernel_verdict(b"\x1f\x8b\x08", "/usr/lib/xen/boot/pv-grub-x86_64.gz")
    assert (verdict.bootable, verdict.reason) == (
        False, "it is a boot loader for Xen alone; give the guest's own kernel and ramdisk instead"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"", "the file is empty"),
        (b"#!/bin/sh\n", "it is no Linux kernel for the PC (no boot header, no ELF image)"),
        (b"\x55\xaa".rjust(512, b"\0"), "it is no Linux kernel for the PC (no boot header, no ELF image)"),
        (b"\x7fELF\x02", "it is a damaged ELF image; install a kernel in the guest that is not for Xen alone, "
                         "and give that one"),
    ],
)  # fmt: skip
def test_what_is_no_kernel(head: bytes, reason: str) -> None:
    assert kernel_verdict(head, "vmlinuz") == Verdict(False, reason)


@given(st.sampled_from([b"", b"\x7fELF\x02", b"\x7fELF\x01", bz_image()[:0x210]]), st.binary(max_size=600), st.text())
def test_no_file_fails_in_an_unplanned_way(start: bytes, rest: bytes, name: str) -> None:
    verdict = kernel_verdict(start + rest, name)
    assert verdict.reason
    assert "\n" not in verdict.reason


@pytest.mark.parametrize(
    "name",
    [
        "vmlinuz-2.6.18-398.el5xen", "vmlinuz-2.6.18-8.el5xenPAE", "vmlinuz-2.6.23.17-88.fc7xen", "vmlinuz-2.6.9-89.ELxenU",
        "vmlinuz-2.6.18-xenU", "vmlinuz-2.6.11-xen0", "vmlinuz-2.6.18-xenU-nfs", "vmlinuz-2.6.16.60-0.21-xen",
        "vmlinuz-3.0.101-63-xen", "vmlinuz-2.6.18-6-xen-amd64", "vmlinuz-2.6.26-2-xen-686", "vmlinuz-2.6.24-19-xen",
        "vmlinuz-xen", "vmlinuz-xen-686", "linux-2.6.20-xen-domU", "kernel-2.6.20-xen-r6", "vmlinuz-2.6.18-xen.gz",
    ],
)  # fmt: skip
def test_names_of_kernels_for_xen_alone(name: str) -> None:
    assert classic_name(f"/boot/{name}")


@pytest.mark.parametrize(
    "name",
    [
        "vmlinuz-2.6.32-5-xen-amd64", "vmlinuz-2.6.32-5-xen-686", "vmlinuz", "vmlinuz-5.10", "vmlinuz-2.6.32-21-server",
        "vmlinuz-centos5", "vmlinuz-3.2.0-4-amd64", "xenial-vmlinuz", "", "vmlinuz-4.4.0-xenial",
    ],
)  # fmt: skip
def test_names_of_other_kernels(name: str) -> None:
    assert classic_name(f"/boot/xen/{name}") == ""


@pytest.mark.parametrize(
    ("name", "package"),
    [("vmlinuz-2.6.9-89.ELxenU", "RHEL 4.8's kernel package or later"), ("vmlinuz-2.6.16.60-0.21-xen", "kernel-default"),
     ("vmlinuz-2.6.26-2-xen-686", "linux-image-686"), ("vmlinuz-2.6.18-6-xen-amd64", "linux-image-amd64"),
     ("vmlinuz-2.6.24-19-xen", "linux-image-virtual"), ("vmlinuz-2.6.18-8.el5xen", "RHEL 5.3's kernel package or later"),
     ("vmlinuz-2.6.18-xenU", "a kernel that is not for Xen alone")],
)  # fmt: skip
def test_the_package_that_has_another_kernel_is_named(name: str, package: str) -> None:
    assert classic_name(name) == package


@given(st.text())
def test_no_name_fails_in_an_unplanned_way(name: str) -> None:
    assert isinstance(classic_name(name), str)
    assert isinstance(foreign_system(name), str)
    assert isinstance(is_loader(name), bool)
