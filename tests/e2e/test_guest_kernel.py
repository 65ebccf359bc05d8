"""Guests whose kernel lies in their own disk, as with pygrub: started, restarted, saved and ended through xm alone."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from tests.e2e.conftest import Bench
from tests.lab.fixtures import Outcome, xm_command
from tests.lab.terminal import Terminal
from tests.storage.boot_trees import disk_image, partition_image, tree
from xmcompat.tour.guest import build_guest

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.timeout(300)]

BOOT = 150.0
MENU = """\
default=0
title First
kernel /boot/vmlinuz root=/dev/xvda1 ro console=hvc0 menu=first
initrd /boot/initrd.img
title Second
kernel /boot/vmlinuz root=/dev/xvda1 ro console=hvc0 menu=second
initrd /boot/initrd.img
"""


class Own:
    """xm with a folder of its own for kernels."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.folder = bench.directory / "boot"
        self.environ = {"XMCOMPAT_BOOT_FOLDER": str(self.folder)}

    def xm(self, *words: str, timeout: float = 60.0) -> Outcome:
        return self.bench.xm(*words, timeout=timeout, **self.environ)

    def kept(self) -> list[str]:
        """The files that were taken."""
        return sorted(path.name for path in self.folder.rglob("*") if path.is_file()) if self.folder.exists() else []

    def line(self, name: str) -> str:
        """The command line of the domain or definition."""
        xml = self.bench.hypervisor._connection.lookupByName(name).XMLDesc()
        return etree.fromstring(xml).findtext("os/cmdline") or ""


@pytest.fixture
def own(bench: Bench) -> Iterator[Own]:
    found = Own(bench)
    yield found
    for info in bench.hypervisor.domains():
        bench.hypervisor.destroy(info.uuid)


def write(bench: Bench, menu: str, **files: bytes | str) -> Path:
    """root.img of the bench, with a kernel that starts and does nothing."""
    kernel = bytearray(64 * 1024)
    kernel[0x1FE:0x202], kernel[0x202:0x206], kernel[0x206:0x208], kernel[0x211] = b"\x55\xaa\xeb\x62", b"HdrS", b"\x0d\x02", 1
    kernel[0x22C:0x230] = b"\xff\xff\xff\x37"  # where a RAM disk may end
    there = tree(bench.directory / "tree", {"boot/grub/menu.lst": menu, "boot/k": bytes(kernel), "boot/r": b"r" * 512, **files})
    return partition_image(bench.directory / "root.img", there)


def config(bench: Bench, name: str, *, vdev: str = "xvda", more: str = "") -> str:
    bench.config(f"{name}.cfg", f"name = {name!r}\nmemory = 32\nbootloader = 'pygrub'\n"
                 f"disk = ['file:{bench.directory}/root.img,{vdev},w']\nextra = 'from=config'\n{more}")  # fmt: skip
    return f"{name}.cfg"


ONE = "title a\nkernel /boot/k root=/dev/xvda one\ninitrd /boot/r\n"


def test_the_menu_of_the_moment_counts_at_every_start_of_a_known_domain(own: Own) -> None:
    bench = own.bench
    write(bench, ONE)
    assert own.xm("new", config(bench, "known")).status == 0
    for word in ("one", "two"):
        write(bench, ONE.replace("one", word))
        done = own.xm("start", "-p", "known")
        assert done.status == 0, done.stderr
        assert own.line("known").startswith(f"root=/dev/vda {word} from=config ")
        assert own.kept() == ["kernel", "ramdisk"]
        assert own.xm("destroy", "known").status == 0
    write(bench, "title a\nkernel /boot/k root=/dev/xvda one\n")
    assert own.xm("start", "-p", "known").status == 0
    assert own.kept() == ["kernel"]
    assert own.xm("destroy", "known").status == 0
    write(bench, "title a\nkernel /boot/gone\n")
    done = own.xm("start", "known")
    assert done.status == 1
    assert done.stderr.startswith(f"Error: {bench.directory}/known.cfg: the disk xvda ({bench.directory}/root.img) has no")
    assert "/boot/gone is not there" in done.stderr and done.stderr.count("\n") == 1
    assert own.xm("delete", "known").status == 0
    assert own.kept() == []


def test_a_saved_guest_is_restored_though_its_kernel_has_gone_meanwhile(own: Own) -> None:
    bench = own.bench
    write(bench, ONE)
    done = own.xm("create", config(bench, "saved"))
    assert done.status == 0, done.stderr
    assert own.kept() == ["kernel", "ramdisk"]
    assert own.xm("save", "saved", "a.save").status == 0
    assert own.kept() == []
    done = own.xm("restore", "a.save")
    assert done.status == 0, done.stderr
    assert own.kept() == ["kernel", "ramdisk"]
    assert own.xm("destroy", "saved").status == 0
    assert own.kept() == []


def test_a_suspended_guest_is_resumed_though_somebody_has_removed_its_kernel(own: Own) -> None:
    write(own.bench, ONE)
    assert own.xm("new", config(own.bench, "asleep")).status == 0
    assert own.xm("start", "asleep").status == 0
    assert own.xm("suspend", "asleep").status == 0
    assert own.kept() == ["kernel", "ramdisk"]
    shutil.rmtree(own.folder)
    done = own.xm("resume", "asleep")
    assert done.status == 0, done.stderr
    assert own.kept() == ["kernel", "ramdisk"]
    assert own.xm("destroy", "asleep").status == 0
    assert own.xm("delete", "asleep").status == 0
    assert own.kept() == []


def test_a_start_that_fails_leaves_nothing(own: Own) -> None:
    write(own.bench, ONE)
    done = own.xm("create", config(own.bench, "fails", more="vif = ['bridge=nosuch']\n"))
    assert done.status == 1
    assert own.kept() == []
    assert own.bench.remains() == ([], [])


def test_a_linux_guest_boots_what_its_own_menu_says_also_after_a_power_cut(own: Own, lab_directory: Path) -> None:
    bench = own.bench
    files = build_guest(lab_directory / "own-kernel", name="web1", root_mib=128)
    for path, data in (("vmlinuz", files.kernel), ("initrd.img", files.ramdisk)):
        debugfs(files.root_image, f"write {data} /boot/{path}")
    (bench.directory / "menu").write_text(MENU)
    debugfs(files.root_image, f"write {bench.directory}/menu /boot/grub/menu.lst")
    disk = disk_image(bench.directory / "disk.img", {1: files.root_image})
    bench.config("web1.cfg", f"name = 'web1'\nmemory = 160\ndisk = ['file:{disk},xvda,w']\nextra = 'from=config'\n")
    with console(own, "create", "-c", "web1.cfg") as terminal:
        terminal.expect(b"web1 login: ", BOOT)
        terminal.send(b"root\n")
        terminal.expect(b"# ", 30)
        assert b"root=/dev/vda1 ro console=ttyS0 console=hvc0 menu=first from=config" in ask(terminal, b"cat /proc/cmdline")
        ask(terminal, b"mount -o remount,rw /")
        ask(terminal, b"sed -i s/default=0/default=1/ /boot/grub/menu.lst && sync")
        terminal.send(b"\x1d")
    assert own.xm("destroy", "web1").status == 0
    assert own.kept() == []
    before = disk.read_bytes()
    done = own.xm("create", "-p", "-q", "web1.cfg")
    assert done.status == 0, done.stderr
    assert disk.read_bytes() == before, "the guest's disk was changed before the guest ran"
    assert " menu=second from=config" in own.line("web1")
    with console(own, "console", "-n", "1", "web1") as terminal:
        bench.await_console("web1")
        assert own.xm("unpause", "web1").status == 0
        terminal.expect(b"Command line: ", BOOT)
        terminal.expect(b"menu=second from=config", 30)
        terminal.send(b"\x1d")
    assert own.xm("destroy", "web1").status == 0


def console(own: Own, *words: str) -> Terminal:
    environ = {"XMCOMPAT_ACCELERATOR": "tcg", **own.environ}
    return Terminal(xm_command(own.bench.node, *words, cwd=own.bench.directory, env=environ))


def ask(terminal: Terminal, command: bytes) -> bytes:
    terminal.send(command + b"; echo =$?=\n")
    return terminal.expect(b"=0=", 30)


def debugfs(image: Path, command: str) -> None:
    for folder in ("/boot", "/boot/grub"):
        subprocess.run(["debugfs", "-w", "-R", f"mkdir {folder}", str(image)], capture_output=True, check=True)
    subprocess.run(["debugfs", "-w", "-R", command, str(image)], capture_output=True, check=True)


def test_volumes_given_as_partitions_start_by_the_kernel_in_the_first_of_the_list(own: Own) -> None:
    bench = own.bench
    write(bench, "title a\nkernel /boot/k root=/dev/xvda2 resume=/dev/xvda1 one\ninitrd /boot/r\n")
    (bench.directory / "swap.img").write_bytes(bytes(1 << 20))
    folder = bench.directory
    bench.config("parts.cfg", "name = 'parts'\nmemory = 32\n"
                 f"disk = ['file:{folder}/root.img,xvda2,w', 'file:{folder}/swap.img,xvda1,w']\n")  # fmt: skip
    done = own.xm("create", "-p", "parts.cfg")
    assert done.status == 0, done.stderr
    assert own.line("parts").startswith("root=/dev/vda2 resume=/dev/vda1 one ")
    assert own.xm("destroy", "parts").status == 0
    bench.config("swap.cfg", "name = 'swap'\nmemory = 32\nbootloader = 'pygrub'\n"
                 f"disk = ['file:{folder}/swap.img,xvda1,w', 'file:{folder}/root.img,xvda2,w']\n")  # fmt: skip
    done = own.xm("create", "-p", "-q", "swap.cfg")
    assert done.status == 1
    assert done.stderr == (
        f"Error: ./swap.cfg:3: the disk xvda1 ({folder}/swap.img) gives no kernel: xvda1 has no file system that is read "
        "here (ext2, ext3 or ext4); copy kernel and ramdisk to this host and name them with kernel= and ramdisk=\n"
    )
    assert bench.remains() == ([], [])
    assert own.kept() == []


@pytest.mark.parametrize(("words", "line"), [
    ("kernel = '/usr/lib/xen/boot/pv-grub-x86_64.gz'\nextra = '(hd1)/boot/other'\n", "root=/dev/vda2 other "),
    ("bootloader = 'domUloader.py'\nbootargs = '--entry=xvda2:/boot/k,boot/r'\nextra = 'ro'\n", "ro "),
    ("bootloader = 'pygrub'\nkernel = '/boot/k'\nextra = 'own'\nbootargs = '-q'\n", ""),
])  # fmt: skip
def test_other_loaders_of_xens_take_what_they_were_told_to_take(own: Own, words: str, line: str) -> None:
    folder = own.bench.directory
    write(own.bench, "title a\nkernel /gone\n", **{"boot/other": "title b\nkernel /boot/k root=/dev/xvda2 other\n"})
    (folder / "swap.img").write_bytes(bytes(1 << 20))
    own.bench.config("told.cfg", f"name = 'told'\nmemory = 32\n{words}"
                     f"disk = ['file:{folder}/swap.img,xvda1,w', 'file:{folder}/root.img,xvda2,w']\n")  # fmt: skip
    done = own.xm("create", "-p", "-q", "told.cfg")
    if not line:
        assert done.stderr.startswith("Error: ./told.cfg:3: the disk xvda1 "), "the first of the list is meant"
        assert own.bench.remains() == ([], [])
        return
    assert done.status == 0, done.stderr
    assert own.line("told").startswith(line)
    assert own.xm("destroy", "told").status == 0
    assert own.kept() == []
