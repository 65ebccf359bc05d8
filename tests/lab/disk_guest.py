"""A guest of one sector that proves a disk: it reads from it, writes a pattern onto it and switches itself off.

On its first serial port, while a BIOS starts it in the first second:

    UP                    at its start
    text of the sector 1  what ``make`` was told, for each disk,
    ....DONE              and a dot for each 32 KiB that it has written onto it
    FAIL                  in place of the rest, where a read or write was refused

The pattern begins at sector 64: each sector holds its own number, again and again.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from xml.sax.saxutils import quoteattr

from tests.lab.tickrom import COM1, Code

SECTOR = 512
FIRST, BATCH = 64, 64
_DRIVE, _DAP, _LEFT = 0x520, 0x500, 0x510  # variables in RAM
_BUFFER = 0x1000  # a segment
_ACPI = 0x604  # where SeaBIOS puts the switch of the "pc" machine


def boot_sector(batches: int, drives: int = 1) -> bytes:
    """The machine code, with the mark of a boot sector; it writes BATCHES times 32 KiB onto each of the first DRIVES."""
    code = Code()
    code.raw("fafc 31c0 8ed8 8ed0 bc007c fb")  # cli; cld; xor ax, ax; mov ds, ax; mov ss, ax; mov sp, 7c00h; sti
    code.raw("8816", (_DRIVE, 2))  # mov [DRIVE], dl
    code.say("UP\r\n")
    code.label("drive")
    code.raw("66c706", (_DAP, 2), (0x10 | 1 << 16, 4))  # 16 bytes of address packet, one sector,
    code.raw("66c706", (_DAP + 4, 2), (_BUFFER << 16, 4))  # to the buffer,
    code.raw("66c706", (_DAP + 8, 2), (1, 4))  # from sector 1
    code.raw("66c706", (_DAP + 12, 2), (0, 4))
    code.raw("b442")  # mov ah, 42h: read
    code.call("disk")
    code.raw("b8", (_BUFFER, 2))  # mov ax, BUFFER
    code.raw("8ec0 31ff")  # mov es, ax; xor di, di
    code.label("text")
    code.raw("268a05 47 84c0")  # mov al, [es:di]; inc di; test al, al
    code.jz("write")
    code.call("putc")
    code.jmp("text")
    code.label("write")
    code.raw("66c706", (_DAP, 2), (0x10 | BATCH << 16, 4))
    code.raw("66c706", (_DAP + 8, 2), (FIRST, 4))
    code.raw("c706", (_LEFT, 2), (batches, 2))
    code.label("batch")
    code.raw("31ff 66a1", (_DAP + 8, 2))  # xor di, di; mov eax, the sector
    code.raw("ba", (BATCH, 2))  # mov dx, BATCH
    code.label("sector")
    code.raw("b98000 f366ab 6640 4a")  # mov cx, 128; rep stosd; inc eax; dec dx
    code.jnz("sector")
    code.raw("b80043")  # mov ax, 4300h: write
    code.call("disk")
    code.raw("668306", (_DAP + 8, 2), (BATCH, 1))  # add dword, BATCH
    code.say(".")
    code.raw("ff0e", (_LEFT, 2))  # dec word [LEFT]
    code.jnz("batch")
    code.say("DONE\r\n")
    code.raw("fe06", (_DRIVE, 2))  # inc byte [DRIVE]
    code.raw("803e", (_DRIVE, 2), (0x80 + drives, 1))  # cmp byte [DRIVE], the one after the last
    code.jnz("drive")
    code.label("off")
    code.outw(_ACPI, 0x2000)
    code.label("hang")
    code.raw("faf4")  # cli; hlt
    code.jmp("hang")
    code.label("disk")
    code.raw("8a16", (_DRIVE, 2))  # mov dl, [DRIVE]
    code.raw("be", (_DAP, 2))  # mov si, DAP
    code.raw("cd13 7201 c3")  # int 13h; jc +1; ret
    code.say("FAIL\r\n")
    code.jmp("off")
    code.label("putc")
    code.raw("50 52 ba", (COM1 + 5, 2))  # push ax, dx; mov dx, line status
    code.raw("ec a820 74fb ba", (COM1, 2))  # in al, dx; test al, 20h; jz back; mov dx, COM1
    code.raw("5b 58 ee 89da c3")  # pop bx; pop ax; out dx, al; mov dx, bx; ret
    linked = code.link()
    assert len(linked) <= 440, len(linked)
    return linked.ljust(510, b"\0") + b"\x55\xaa"


def make(path: Path | str, text: str, *, batches: int = 8, size: int = 0, drives: int = 1) -> None:
    """Put the guest onto the volume or file at PATH, which is there; a file of SIZE bytes is made where one is told.

    With DRIVES it goes on to the disks after the first, which have texts of their own.
    """
    with open(os.open(path, os.O_RDWR | (os.O_CREAT if size else 0), 0o666), "r+b") as file:
        if size:
            file.truncate(size)
        file.write(boot_sector(batches, drives) + f"{text}\r\n".encode().ljust(SECTOR, b"\0") + bytes(SECTOR * (FIRST - 2)))
        file.write(bytes(SECTOR * BATCH * batches))
        os.fsync(file.fileno())


def pattern(batches: int = 8) -> bytes:
    """What is on the disk from sector 64 on, once the guest has written."""
    return b"".join(struct.pack("<I", sector) * (SECTOR // 4) for sector in range(FIRST, FIRST + BATCH * batches))


def written(path: Path | str, batches: int = 8) -> bool:
    """Whether the whole pattern is on the volume or file, byte by byte, as the medium and not the cache has it."""
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(SECTOR * FIRST)
        expected = pattern(batches)
        found = b""
        while len(found) < len(expected) and (more := file.read(len(expected) - len(found))):
            found += more
        return found == expected


def block(path: Path | str, target: str = "vda") -> str:
    """libvirt's <disk> for a block device."""
    return disk("block", f"<source dev={quoteattr(str(path))}/>", target=target)


def disk(kind: str, source: str, more: str = "cache='none'", *, target: str = "vda") -> str:
    """libvirt's <disk> of KIND ("file", "network") with the element SOURCE. A BIOS sees those alone that have a boot order."""
    return (
        f"<disk type='{kind}' device='disk'><driver name='qemu' type='raw' {more}/>{source}"
        f"<target dev='{target}' bus='virtio'/><boot order='{ord(target[-1]) - ord('a') + 1}'/></disk>"
    )


def guest_xml(name: str, disks: str, console: Path, *, uuid: str = "") -> str:
    """A domain that starts from the first of the elements DISKS; what it says goes to the file CONSOLE."""
    return f"""<domain type='qemu'>
  <name>{name}</name>{f"<uuid>{uuid}</uuid>" if uuid else ""}
  <memory unit='MiB'>32</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <controller type='usb' model='none'/>{disks}
    <serial type='file'><source path={quoteattr(str(console))}/><target port='0'/></serial>
    <memballoon model='none'/>
  </devices>
</domain>
"""
