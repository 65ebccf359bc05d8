"""A kernel of 2 KiB that reads and writes its one disk as it is told on its serial port: no driver or cache of a guest's.

QEMU starts it as it starts a Linux, so that a paravirtual guest's configuration names it as ``kernel``; its disk is the
first on virtio. It sleeps until the disk or the serial port interrupts it: one that waits costs nothing. A command is
``!`` and eight bytes: a letter, a tag, a count of 16 bits and a sector of 32, little endian.

    ?    nothing
    r w  COUNT requests of 1 MiB from SECTOR on: read, write
    R W  COUNT requests of 4 KiB at random, the same at each start: read, write; SECTOR is a mask of their number on the disk
    p    COUNT times 32 KiB from SECTOR on get a pattern: each word of a sector is its number and, above that, TAG
    f    what was written gets to the medium
    q    the guest switches itself off

It answers with ``+``, or ``-`` where the disk refused a request, and the disk's sectors in eight digits of A to P. Until its
first command it says ``U`` now and then.

The machine code is written out below, so that no assembler is needed.
"""

from __future__ import annotations

import os
import re
import select
import struct
import termios
import time
import tty
from pathlib import Path
from typing import NamedTuple

from tests.lab.tickrom import Code

SECTOR, MIB = 512, 1 << 20
#: Bytes of the pattern that one count of ``p`` writes.
BATCH = 64 * SECTOR
_ENTRY = 0x264
_ACPI = 0x604  # where SeaBIOS puts the switch of the "pc" machine
#: How long one command may take, in seconds.
PATIENCE = 60.0

# Memory: the segment 1000h is this program with BAR at 4000h, STATE at 4008h, PACKET at 4010h, MASK, SEED, TYPE, LENGTH and
# BUF from 4018h on; 3000h are the rings and the request; 4000h is the pattern; from 2 MiB on lies what is read and written.


def kernel() -> bytes:
    """The file: the header of a bzImage and the program."""
    code = Code()
    code.bytes += _header()
    _routines(code)
    _io(code)
    _find(code)
    _make_ready(code)
    _obey(code)
    _acts(code)
    linked = bytearray(code.link())
    linked[0x200:0x202] = b"\xeb\x62"  # jmp 264h
    linked[_ENTRY : _ENTRY + 3] = b"\xe9" + (code.offset("start") - _ENTRY - 3).to_bytes(2, "little")
    assert len(linked) < 5 * SECTOR, len(linked)
    return bytes(linked).ljust(64 * 1024, b"\0")


def _header() -> bytes:
    """A bzImage of four sectors and what lies above 1 MiB, in version 2.13 of the boot protocol; and room for a jump."""
    header = bytearray(_ENTRY + 3)
    header[0x1F1] = 4
    header[0x1FE:0x200] = b"\x55\xaa"
    header[0x202:0x206] = b"HdrS"
    header[0x206:0x208] = b"\x0d\x02"
    header[0x211] = 1
    return bytes(header)


def _routines(code: Code) -> None:
    # the interrupts of the disk and of the serial port: there is something to look at
    code.label("interrupt")
    code.raw("50 52 8b160040 83c213 ec")  # push ax; push dx; mov dx, [BAR]; add dx, 0x13; in al, dx
    code.raw("b020 e6a0 e620 5a 58 cf")  # mov al, 0x20; out 0xa0, al; out 0x20, al; pop dx; pop ax; iret

    # EAX of register AL of the PCI device EBX; DX is the port where it may be written
    code.label("config")
    code.raw("660fb6c0 6609d8 baf80c 66ef")  # movzx eax, al; or eax, ebx; mov dx, 0xcf8; out dx, eax
    code.raw("bafc0c 66ed c3")  # mov dx, 0xcfc; in eax, dx; ret

    code.label("getc")
    code.raw("fa bafd03 ec a801")  # cli; mov dx, 0x3fd; in al, dx; test al, 1
    code.jnz("got")
    code.raw("fb f4")  # sti; hlt
    code.jmp("getc")
    code.label("got")
    code.raw("fb baf803 ec c3")  # sti; mov dx, 0x3f8; in al, dx; ret

    code.label("putc")
    code.raw("50 bafd03")  # push ax; mov dx, 0x3fd
    code.label("full")
    code.raw("ec a820")  # in al, dx; test al, 0x20
    code.jz("full")
    code.raw("58 baf803 ee c3")  # pop ax; mov dx, 0x3f8; out dx, al; ret


def _io(code: Code) -> None:
    # one request to the disk: descriptors of its head, its data and its status
    code.label("io")
    code.raw("b80030 8ec0 66a12040")  # mov ax, 0x3000; mov es, ax; mov eax, [TYPE]
    code.raw("2666a30030 66a11440")  # mov es:[0x3000], eax; mov eax, [PACKET+4]
    code.raw("2666a30830 26c6061030ff")  # mov es:[0x3008], eax; mov byte es:[0x3010], 0xff
    code.raw("2666c706000000300300 2666c706080010000000")  # mov dword es:[0], 0x33000; mov dword es:[8], 16
    code.raw("2666c7060c0001000100 66a12840")  # mov dword es:[12], 0x10001; mov eax, [BUF]
    code.raw("2666a31000 66a12440 2666a31800")  # mov es:[0x10], eax; mov eax, [LENGTH]; mov es:[0x18], eax
    code.raw("2666c7061c0003000200")  # mov dword es:[0x1c], 0x20003
    code.raw("2666c706200010300300")  # mov dword es:[0x20], 0x33010
    code.raw("2666c706280001000000 2666c7062c0002000000")  # mov dword es:[0x28], 1; mov dword es:[0x2c], 2
    code.raw("a02040 84c0")  # mov al, [TYPE]; test al, al
    code.jz("notify")
    code.raw("26c6061c0001 a804")  # mov byte es:[0x1c], 1; test al, 4
    code.jz("notify")
    code.raw("26c6060e0002")  # mov byte es:[0xe], 2
    code.label("notify")
    code.raw("26ff060210 8b160040 83c210")  # inc word es:[0x1002]; mov dx, [BAR]; add dx, 0x10
    code.raw("31c0 ef")  # xor ax, ax; out dx, ax
    code.label("wait")
    code.raw("fa 26a10220 263b060210")  # cli; mov ax, es:[0x2002]; cmp ax, es:[0x1002]
    code.jz("done")
    code.raw("fb f4")  # sti; hlt
    code.jmp("wait")
    code.label("done")
    code.raw("fb 26803e103000")  # sti; cmp byte es:[0x3010], 0
    code.jz("return")
    code.raw("c60608402d")  # mov byte [STATE], 0x2d
    code.label("return")
    code.raw("c3")  # ret


def _find(code: Code) -> None:
    # find the disk, and let it master the bus
    code.label("start")
    code.raw("fa fc b80010 8ed8 8ed0")  # cli; cld; mov ax, 0x1000; mov ds, ax; mov ss, ax
    code.raw("bc00ff 66bb00000080")  # mov sp, 0xff00; mov ebx, 0x80000000
    code.label("scan")
    code.raw("b000")  # mov al, 0
    code.call("config")
    code.raw("663df41a0110")  # cmp eax, 0x10011af4
    code.jz("found")
    code.raw("6681c300080000")  # add ebx, 0x800
    code.jmp("scan")
    code.label("found")
    code.raw("b004")  # mov al, 4
    code.call("config")
    code.raw("0c07 66ef b010")  # or al, 7; out dx, eax; mov al, 0x10
    code.call("config")
    code.raw("24fc a30040 b03c")  # and al, 0xfc; mov [BAR], ax; mov al, 0x3c
    code.call("config")
    # its interrupt, and the serial port's
    code.raw("88c1 31db 8ec3 88c3 80c368")  # mov cl, al; xor bx, bx; mov es, bx; mov bl, al; add bl, 0x68
    code.raw("c1e302")  # shl bx, 2
    code.raw("26c707", (code.offset("interrupt"), 2))  # mov word es:[bx], HANDLER
    code.raw("268c5f02")  # mov es:[bx+2], ds
    code.raw("26c7063000", (code.offset("interrupt"), 2))  # mov word es:[0x30], HANDLER
    code.raw("268c1e3200 e421 24eb e621")  # mov es:[0x32], ds; in al, 0x21; and al, 0xeb; out 0x21, al
    code.raw("80e908 b401 d2e4 f6d4 e4a1")  # sub cl, 8; mov ah, 1; shl ah, cl; not ah; in al, 0xa1
    code.raw("20e0 e6a1")  # and al, ah; out 0xa1, al


def _make_ready(code: Code) -> None:
    # its queue of 256, in memory that is zero
    code.raw("b80030 8ec0 31ff 31c0")  # mov ax, 0x3000; mov es, ax; xor di, di; xor ax, ax
    code.raw("b90020 f3ab 8b160040 83c212")  # mov cx, 0x2000; rep stosw; mov dx, [BAR]; add dx, 0x12
    code.raw("b000 ee b001 ee b003")  # mov al, 0; out dx, al; mov al, 1; out dx, al; mov al, 3
    code.raw("ee 83ea12 66ed 662500020000")  # out dx, al; sub dx, 0x12; in eax, dx; and eax, 0x200
    code.raw("83c204 66ef 83c204 66b830000000")  # add dx, 4; out dx, eax; add dx, 4; mov eax, 0x30
    code.raw("66ef 83c20a b007 ee")  # out dx, eax; add dx, 10; mov al, 7; out dx, al
    # the serial port: 8N1, FIFO, interrupts
    code.raw("bafb03 b003 ee bafa03 b007")  # mov dx, 0x3fb; mov al, 3; out dx, al; mov dx, 0x3fa; mov al, 7
    code.raw("ee bafc03 b00b ee")  # out dx, al; mov dx, 0x3fc; mov al, 0xb; out dx, al
    code.raw("baf903 b001 ee")  # mov dx, 0x3f9; mov al, 1; out dx, al
    code.raw("66c7061c4001000000")  # mov dword [SEED], 1
    # until somebody speaks
    code.label("hello")
    code.raw("fa bafd03 ec a801")  # cli; mov dx, 0x3fd; in al, dx; test al, 1
    code.jnz("command")
    code.say("U")
    code.raw("fb f4")  # sti; hlt
    code.jmp("hello")


def _obey(code: Code) -> None:
    code.label("command")
    code.call("getc")
    code.raw("3c21")  # cmp al, 0x21
    code.jnz("command")
    code.raw("bf1040 b90800")  # mov di, PACKET; mov cx, 8
    code.label("packet")
    code.call("getc")
    code.raw("8805 47 49")  # mov [di], al; inc di; dec cx
    code.jnz("packet")
    code.raw("c60608402b 66c706204000000000")  # mov byte [STATE], 0x2b; mov dword [TYPE], 0
    code.raw("66c706284000002000")  # mov dword [BUF], 0x200000
    code.raw("66c706244000001000 a01040")  # mov dword [LENGTH], 0x100000; mov al, [PACKET]
    code.raw("3c3f")  # cmp al, 0x3f
    code.jz("answer")
    code.raw("3c71")  # cmp al, 0x71
    code.jz("off")
    code.raw("3c66")  # cmp al, 0x66
    code.jz("flush")
    code.raw("3c72")  # cmp al, 0x72
    code.jz("sequence")
    code.raw("3c52")  # cmp al, 0x52
    code.jz("random")
    code.raw("c606204001 3c77")  # mov byte [TYPE], 1; cmp al, 0x77
    code.jz("sequence")
    code.raw("3c57")  # cmp al, 0x57
    code.jz("random")
    code.raw("3c70")  # cmp al, 0x70
    code.jz("pattern")
    code.raw("c60608402d")  # mov byte [STATE], 0x2d
    code.label("answer")
    code.raw("a00840")  # mov al, [STATE]
    code.call("putc")
    code.raw("8b160040 83c214 66ed 6689c3")  # mov dx, [BAR]; add dx, 0x14; in eax, dx; mov ebx, eax
    code.raw("b90800")  # mov cx, 8
    code.label("digit")
    code.raw("66c1c304 88d8 240f 0441")  # rol ebx, 4; mov al, bl; and al, 15; add al, 0x41
    code.call("putc")
    code.raw("49")  # dec cx
    code.jnz("digit")
    code.say("\n")
    code.jmp("command")


def _acts(code: Code) -> None:
    code.label("flush")
    code.raw("c606204004")  # mov byte [TYPE], 4
    code.call("io")
    code.jmp("answer")

    code.label("sequence")
    code.call("io")
    code.raw("668106144000080000 ff0e1240")  # add dword [PACKET+4], 2048; dec word [PACKET+2]
    code.jnz("sequence")
    code.jmp("answer")

    code.label("random")
    code.raw("66c706244000100000 66a11440")  # mov dword [LENGTH], 4096; mov eax, [PACKET+4]
    code.raw("66a31840")  # mov [MASK], eax
    code.label("next")
    code.raw("6669061c400d661900 66055ff36e3c")  # imul eax, dword [SEED], 1664525; add eax, 1013904223
    code.raw("66a31c40 66c1e808 6623061840")  # mov [SEED], eax; shr eax, 8; and eax, [MASK]
    code.raw("66c1e003 66a31440")  # shl eax, 3; mov [PACKET+4], eax
    code.call("io")
    code.raw("ff0e1240")  # dec word [PACKET+2]
    code.jnz("next")
    code.jmp("answer")

    code.label("pattern")
    code.raw("66c706244000800000 66c706284000000400")  # mov dword [LENGTH], 32768; mov dword [BUF], 0x40000
    code.label("batch")
    code.raw("b80040 8ec0 31ff")  # mov ax, 0x4000; mov es, ax; xor di, di
    code.raw("660fb6061140 66c1e018")  # movzx eax, byte [PACKET+1]; shl eax, 24
    code.raw("660b061440 ba4000")  # or eax, [PACKET+4]; mov dx, 64
    code.label("sector")
    code.raw("b98000 66f3ab 6640 4a")  # mov cx, 128; rep stosd; inc eax; dec dx
    code.jnz("sector")
    code.call("io")
    code.raw("668306144040 ff0e1240")  # add dword [PACKET+4], 64; dec word [PACKET+2]
    code.jnz("batch")
    code.jmp("answer")

    code.label("off")
    code.outw(_ACPI, 0x2000)
    code.raw("fa f4")  # cli; hlt
    code.jmp("off")


class Answer(NamedTuple):
    """What the guest said, the sectors of its disk, and how long it took, in seconds."""

    done: bool
    sectors: int
    seconds: float


class IoGuest:
    """The guest at the other end of the terminal PTY. To be closed."""

    def __init__(self, pty: str) -> None:
        self._fd = os.open(pty, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._fd)
        termios.tcflush(self._fd, termios.TCIFLUSH)

    def await_start(self, timeout: float = PATIENCE) -> None:
        """Wait until it has started. Raises AssertionError where it does not."""
        assert b"U" in self._heard(b"U", timeout)
        self.run("?")

    def run(self, letter: str, count: int = 1, sector: int = 0, tag: int = 0, *, timeout: float = PATIENCE) -> Answer:
        """Have it carry out one command. Raises AssertionError where it does not answer."""
        self.say(letter, count, sector, tag)
        begun = time.perf_counter()
        said = self._heard(b"\n", timeout).lstrip(b"U")
        took = time.perf_counter() - begun
        assert len(said) == 10, said
        return Answer(said[:1] == b"+", _number(said[1:9]), took)

    def say(self, letter: str, count: int = 1, sector: int = 0, tag: int = 0) -> None:
        """Tell it to, and do not wait."""
        os.write(self._fd, b"!" + letter.encode() + struct.pack("<BHI", tag, count, sector))

    def close(self) -> None:
        os.close(self._fd)

    def _heard(self, end: bytes, timeout: float) -> bytes:
        said, deadline = b"", time.monotonic() + timeout
        while end not in said:
            left = deadline - time.monotonic()
            assert left > 0, f"no answer in {timeout} s; it said {said!r}"
            if select.select([self._fd], [], [], left)[0]:
                said += os.read(self._fd, 4096)
        return said


def _number(digits: bytes) -> int:
    """Of digits from A to P."""
    return sum((digit - ord("A")) << 4 * place for place, digit in enumerate(reversed(digits)))


def pattern(first: int, count: int, tag: int) -> bytes:
    """What ``p`` writes: COUNT times 32 KiB from the sector FIRST on."""
    sectors = range(first, first + count * BATCH // SECTOR)
    return b"".join(struct.pack("<I", tag << 24 | sector) * (SECTOR // 4) for sector in sectors)


def terminal(text: str) -> str:
    """The first one that is named in TEXT, a domain's XML or what QEMU prints. Raises AssertionError where there is none."""
    found = re.search(r"/dev/pts/[0-9]+", text)
    assert found, f"there is no terminal in {text!r}"
    return found[0]


def write_kernel(directory: Path) -> Path:
    """Put the kernel into DIRECTORY."""
    path = directory / "io-kernel"
    path.write_bytes(kernel())
    return path
