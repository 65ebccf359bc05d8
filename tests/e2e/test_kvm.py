"""The whole program under real KVM, with a guest that stays in real mode: a boot sector that talks on COM1."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Bench

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

#: Sets COM1 to 115200 8n1, writes "BOOTED" and a line end, and sleeps; interrupts stay off.
BOOT_SECTOR = bytes.fromhex(
    "fa"            # cli
    "31c0" "8ed8"   # xor ax,ax; mov ds,ax
    "fc"            # cld
    "be1e7c"        # mov si,text
    "ac"            # next: lodsb
    "84c0"          # test al,al
    "7410"          # jz sleep
    "88c4"          # mov ah,al
    "bafd03"        # wait: mov dx,3fdh
    "ec" "a820"     # in al,dx; test al,20h
    "74fb"          # jz the in
    "88e0"          # mov al,ah
    "baf803" "ee"   # mov dx,3f8h; out dx,al
)


def boot_disk(path: Path) -> None:
    """A disk of 64 KiB with the boot sector; offsets in it are checked here, not by the guest."""
    text = b"BOOTED\r\n\0"
    loop = len(BOOT_SECTOR)
    code = bytearray(BOOT_SECTOR)
    start = code.index(b"\xac")
    back = bytes([0xEB, (start - (loop + 2)) & 0xFF])
    code += back
    sleep = len(code)
    code += b"\xf4\xeb\xfd"
    jz = code.index(b"\x84\xc0\x74") + 2
    code[jz + 1] = sleep - (jz + 2)
    where = len(code)
    code[code.index(b"\xbe") + 1 : code.index(b"\xbe") + 3] = (0x7C00 + where).to_bytes(2, "little")
    code += text
    sector = bytes(code).ljust(510, b"\0") + b"\x55\xaa"
    path.write_bytes(sector.ljust(64 * 1024, b"\0"))


def test_an_hvm_guest_boots_its_disk_under_kvm_and_obeys_xm(bench: Bench) -> None:
    boot_disk(bench.directory / "boot.img")
    log = bench.directory / "serial.log"
    bench.config(
        "kvm1.cfg",
        "builder = 'hvm'\nname = 'kvm1'\nmemory = 32\nboot = 'c'\n"
        f"disk = ['file:{bench.directory}/boot.img,hda,w']\nserial = 'file:{log}'\n",
    )
    stdout, stderr, status = bench.xm("create", "kvm1.cfg", XMCOMPAT_ACCELERATOR="kvm")
    assert (stdout.splitlines()[-1][:19], status) == ("Started domain kvm1", 0), stderr
    assert "<domain type='kvm'" in bench.hypervisor.domain_xml(bench.hypervisor.find("kvm1").uuid)
    deadline = time.monotonic() + 60
    while "BOOTED" not in (log.read_text(errors="replace") if log.exists() else ""):
        assert time.monotonic() < deadline, "the boot sector has not spoken in 60 s"
        time.sleep(0.1)
    assert bench.xm("pause", "kvm1").status == 0
    assert bench.xm("list", "kvm1").stdout.splitlines()[1].split()[4] == "--p---"
    assert bench.xm("unpause", "kvm1").status == 0
    assert bench.xm("list", "kvm1").stdout.splitlines()[1].split()[4] in ("r-----", "-b----")
    assert bench.xm("destroy", "kvm1") == ("", "", 0)
    assert bench.remains() == ([], [])
