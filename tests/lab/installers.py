"""Installers of a few hundred bytes: an ISO image that starts and writes to the first hard disk, and a Linux that does."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.lab.tickrom import COM1, Code
from xmcompat.tour import cpio
from xmcompat.tour.guest import _busybox
from xmcompat.tour.kernel import fetch_kernel, module_contents
from xmcompat.tour.packages import default_cache

_ISO_SECTOR = 2048
_ACPI = 0x604  # where SeaBIOS puts the switch of the "pc" machine
#: What an ISO's program has written to the disk's second sector.
MARK = b"INSTALLED".ljust(512, b"\0")
_DAP, _BUFFER = 0x500, 0x1000

INIT = r"""#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
export PATH=/bin
for module in $(cat /modules/order); do insmod "/modules/$module"; done
while [ ! -b /dev/vda ]; do sleep 0.1; done
echo INSTALLING
read -r line </dev/ttyS0
echo "$line $(cat /proc/cmdline)" | dd of=/dev/vda bs=512 seek=1 conv=notrunc,sync 2>/dev/null
sync
echo DONE
poweroff -f
"""


def program(end: str) -> bytes:
    """Machine code that a BIOS starts: it says INSTALLING, writes MARK, and ends: off, reset, or hang."""
    code = Code()
    code.raw("fafc 31c0 8ed8 8ec0 8ed0 bc007c fb")  # cli; cld; xor ax, ax; mov ds, es, ss, ax; mov sp, 7c00h; sti
    code.say("INSTALLING\r\n")
    for place, byte in enumerate(MARK.rstrip(b"\0")):
        code.raw("c606", (_BUFFER + place, 2), (byte, 1))  # mov byte [BUFFER + place], byte
    code.raw("66c706", (_DAP, 2), (0x10 | 1 << 16, 4))  # an address packet: one sector,
    code.raw("66c706", (_DAP + 4, 2), (_BUFFER, 4))  # from the buffer,
    code.raw("66c706", (_DAP + 8, 2), (1, 4))  # to sector 1
    code.raw("66c706", (_DAP + 12, 2), (0, 4))
    code.raw("b280 be", (_DAP, 2))  # mov dl, 80h; mov si, DAP
    code.raw("b80043 cd13")  # mov ax, 4300h; int 13h
    code.say("DONE\r\n")
    if end == "off":
        code.outw(_ACPI, 0x2000)
    elif end == "reset":
        code.raw("b0fe e664")  # mov al, feh; out 64h, al
    code.label("hang")
    code.raw("f4")
    code.jmp("hang")
    code.label("putc")
    code.raw("50 52 ba", (COM1 + 5, 2))  # push ax, dx; mov dx, line status
    code.raw("ec a820 74fb ba", (COM1, 2))  # in al, dx; test al, 20h; jz back; mov dx, COM1
    code.raw("5b 58 ee 89da c3")  # pop bx; pop ax; out dx, al; mov dx, bx; ret
    return code.link().ljust(2048, b"\0")


def iso(path: Path, end: str = "off") -> Path:
    """An ISO image without files that starts ``program`` (El Torito, no emulation)."""
    primary = bytearray(b"\1CD001\1".ljust(_ISO_SECTOR, b"\0"))
    struct.pack_into("<I", primary, 80, 22)
    boot = b"\0CD001\1EL TORITO SPECIFICATION".ljust(71, b"\0") + struct.pack("<I", 19)
    entry = struct.pack("<BB2s24s H BB", 1, 0, b"\0\0", b"", 0, 0x55, 0xAA)
    checked = struct.pack("<BBH24sHBB", 1, 0, 0, b"", -sum(struct.unpack("<16H", entry)) & 0xFFFF, 0x55, 0xAA)
    catalog = checked + struct.pack("<BBHBBHI", 0x88, 0, 0, 0, 0, 4, 20).ljust(32, b"\0")
    sectors = [bytes(primary), boot, b"\xffCD001\1", catalog, program(end)]
    path.write_bytes(bytes(16 * _ISO_SECTOR) + b"".join(one.ljust(_ISO_SECTOR, b"\0") for one in sectors) + bytes(_ISO_SECTOR))
    return path


def linux(folder: Path) -> tuple[Path, Path]:
    """A kernel and a RAM disk that wait for a line on the serial port, and write it with the command line to the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    cache = default_cache()
    kernel = fetch_kernel(cache, print)
    loaded = list(module_contents(kernel, ("virtio_pci", "virtio_blk")))
    entries = [cpio.folder(name) for name in ("bin", "dev", "modules", "proc")]
    entries += [cpio.file("bin/busybox", _busybox(cache, print).read_bytes(), 0o755), cpio.file("init", INIT.encode(), 0o755)]
    entries += [cpio.file(f"modules/{name}", data) for name, data in loaded]
    entries.append(cpio.file("modules/order", "".join(f"{name}\n" for name, _ in loaded).encode()))
    (folder / "ramdisk").write_bytes(cpio.archive(entries))
    return kernel.image, folder / "ramdisk"
