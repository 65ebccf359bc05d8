"""Guests of pygrub: their disk starts by its own boot loader, or they are refused before anything is made.

Those whose kernel is taken out of their disk are in ``test_guest_kernel``.
"""

from __future__ import annotations

import os

import pytest

from tests.e2e.conftest import Bench
from tests.e2e.test_kvm import boot_disk
from tests.lab.fixtures import xm_command
from tests.lab.terminal import Terminal

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

CONFIG = "name = 'rhel5'\nmemory = 32\nbootloader = '/usr/bin/pygrub'\ndisk = [%s]\n"


def test_the_disk_of_a_pygrub_guest_starts_by_its_boot_sector(bench: Bench) -> None:
    """Of two disks the first of the list starts; the other would not."""
    boot_disk(bench.directory / "boot.img")
    os.truncate(bench.directory / "boot.img", 2 << 20)  # a virtio disk of less than a cylinder is not started
    (bench.directory / "data.img").write_bytes(bytes(65536))
    disks = f"'file:{bench.directory}/boot.img,xvdb,w', 'file:{bench.directory}/data.img,xvda,w'"
    bench.config("rhel5.cfg", CONFIG % disks)
    done = bench.xm("create", "-p", "rhel5.cfg")
    assert done.status == 0, done.stderr
    assert "bootloader = /usr/bin/pygrub: approximated; the disk xvdb starts by itself" in done.stderr
    words = ("console", "-n", "1", "rhel5")  # its serial port
    with Terminal(xm_command(bench.node, *words, cwd=bench.directory)) as terminal:
        bench.await_console("rhel5")
        assert bench.xm("unpause", "rhel5").status == 0
        terminal.expect(b"BOOTED", timeout=60)
    assert bench.xm("destroy", "rhel5").status == 0


def test_a_disk_without_a_boot_loader_is_refused_and_nothing_remains(bench: Bench) -> None:
    (bench.directory / "data.img").write_bytes(bytes(65536))
    bench.config("rhel5.cfg", CONFIG % f"'file:{bench.directory}/data.img,xvda,w'")
    done = bench.xm("create", "-q", "rhel5.cfg")
    assert done.status == 1
    assert done.stderr == (
        f"Error: ./rhel5.cfg:3: the disk xvda ({bench.directory}/data.img) has no boot loader in its boot sector, and "
        "gives no kernel: xvda has no file system that is read here (ext2, ext3 or ext4); run grub-install in the guest, "
        "or copy kernel and ramdisk to this host and name them with kernel= and ramdisk=\n"
    )
    assert bench.remains() == ([], [])
