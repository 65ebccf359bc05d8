"""The smallest guest: 64 KiB of firmware that takes the place of a BIOS and talks on COM1.

It runs under real KVM where no Linux can (it stays in real mode), needs no disk and no kernel, and says its first
line at once. Lines end in CR LF:

    TICKROM-UP            once, at its start
    TICK 0000002a         ten a second, counted in hexadecimal from 0
    KEY 78                for every byte typed at it, in hexadecimal
    POWERBUTTON           on the ACPI power button; then it switches itself off

Keys: ``q`` switches off, ``r`` reboots, ``c`` crashes (by a panic device, if it has one), ``h`` hangs it, ``i`` makes
it ignore the power button from then on.
The idle variant says its first line and sleeps for ever: a hundred of them leave the processor free. The busy one changes
512 KiB of its memory, one page after the other, before each tick: 5 MiB/s that have to be copied again and again.

The machine code is written out below, an instruction a line, so that no assembler is needed.
"""

from __future__ import annotations

SIZE = 64 * 1024
SEGMENT = 0xF000          # where the machine shows the ROM below 1 MiB
RESET_VECTOR = 0xFFF0     # its offset in that segment
COM1 = 0x3F8
PM_BASE = 0x600           # where we put the ACPI registers
PIT_DIVISOR = 59659       # 1193182 Hz / 20
COUNT, JIFFIES, IGNORING = 0x500, 0x504, 0x506   # variables in RAM


class Code:
    """Machine code that grows; jumps may name labels that come later."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self._labels: dict[str, int] = {}
        self._holes: list[tuple[int, str]] = []

    def raw(self, text: str, *words: tuple[int, int]) -> None:
        """Bytes in hexadecimal, then little-endian (value, size) operands."""
        self.bytes += bytes.fromhex(text)
        for value, size in words:
            self.bytes += value.to_bytes(size, "little")

    def label(self, name: str) -> None:
        self._labels[name] = len(self.bytes)

    def to(self, opcode: str, label: str) -> None:
        """A jump or call with a 16-bit distance."""
        self.raw(opcode)
        self._holes.append((len(self.bytes), label))
        self.raw("0000")

    def call(self, label: str) -> None:
        self.to("e8", label)

    def jmp(self, label: str) -> None:
        self.to("e9", label)

    def jz(self, label: str) -> None:
        self.to("0f84", label)

    def jnz(self, label: str) -> None:
        self.to("0f85", label)

    def outb(self, port: int, value: int) -> None:
        self.raw("ba", (port, 2))          # mov dx, port
        self.raw("b0", (value, 1))         # mov al, value
        self.raw("ee")                     # out dx, al

    def outw(self, port: int, value: int) -> None:
        self.raw("ba", (port, 2))          # mov dx, port
        self.raw("b8", (value, 2))         # mov ax, value
        self.raw("ef")                     # out dx, ax

    def outl(self, port: int, value: int) -> None:
        self.raw("ba", (port, 2))          # mov dx, port
        self.raw("66b8", (value, 4))       # mov eax, value
        self.raw("66ef")                   # out dx, eax

    def say(self, text: str) -> None:
        for byte in text.encode():
            self.raw("b0", (byte, 1))      # mov al, byte
            self.call("putc")

    def link(self) -> bytes:
        for place, label in self._holes:
            distance = self._labels[label] - (place + 2)
            self.bytes[place : place + 2] = (distance & 0xFFFF).to_bytes(2, "little")
        return bytes(self.bytes)

    def offset(self, label: str) -> int:
        return self._labels[label]


def rom(*, idle: bool = False, busy: bool = False) -> bytes:
    """The 64 KiB of firmware."""
    code = Code()
    _clock_interrupt(code)                 # first, so that its offset is known
    _routines(code)
    code.label("start")
    _set_up(code)
    if idle:
        code.say("TICKROM-UP\r\n")
        _hang(code, "asleep")
    else:
        _deliver_interrupts(code)
        _set_up_acpi(code)
        code.say("TICKROM-UP\r\n")
        _tick_for_ever(code, busy)
    linked = code.link()
    jump = b"\xea" + code.offset("start").to_bytes(2, "little") + SEGMENT.to_bytes(2, "little")
    image = linked.ljust(RESET_VECTOR, b"\xff") + jump
    assert len(linked) <= RESET_VECTOR
    return image.ljust(SIZE, b"\xff")


def _clock_interrupt(code: Code) -> None:
    code.label("clock")
    code.raw("50")                         # push ax
    code.raw("ff06", (JIFFIES, 2))         # inc word [JIFFIES]
    code.raw("b020 e620")                  # mov al, 20h; out 20h, al: end of interrupt
    code.raw("58 cf")                      # pop ax; iret


def _routines(code: Code) -> None:
    code.label("putc")                     # send AL; a port that stays full must not stop us
    code.raw("50 51 52")                   # push ax, cx, dx
    code.raw("b9", (0x4000, 2))            # mov cx, 4000h
    code.raw("ba", (COM1 + 5, 2))          # mov dx, line status
    code.raw("ec a820 e1fb")               # again: in al, dx; test al, 20h; loopz again
    code.raw("5a 59 58 52")                # pop dx, cx, ax; push dx
    code.raw("ba", (COM1, 2))              # mov dx, COM1
    code.raw("ee 5a c3")                   # out dx, al; pop dx; ret

    code.label("hex")                      # the CX topmost digits of EBX, and a new line
    code.raw("66c1c304")                   # rol ebx, 4
    code.raw("88d8 240f 0430")             # mov al, bl; and al, 0fh; add al, '0'
    code.raw("3c39 7602 0427")             # cmp al, '9'; jbe +2; add al, 'a' - '0' - 10
    code.call("putc")
    code.raw("e2eb")                       # loop hex
    code.say("\r\n")
    code.raw("c3")                         # ret

    code.label("off")
    code.outw(PM_BASE + 4, 0x2000)         # sleep enable, type 0: soft off
    _hang(code, "hang")

    code.label("reboot")
    code.outb(0x64, 0xFE)                  # the keyboard controller's reset line
    code.jmp("hang")

    code.label("crash")
    code.outb(0x505, 1)                    # the panic device: I have crashed
    code.jmp("hang")

    code.label("ignore")
    code.raw("c606", (IGNORING, 2), (1, 1))  # mov byte [IGNORING], 1
    code.label("return")
    code.raw("c3")                         # ret


def _hang(code: Code, label: str) -> None:
    code.label(label)
    code.raw("fa f4")                      # cli; hlt
    code.jmp(label)


def _set_up(code: Code) -> None:
    code.raw("fa fc 31c0")                 # cli; cld; xor ax, ax
    code.raw("8ed8 8ec0 8ed0")             # mov ds, ax; mov es, ax; mov ss, ax
    code.raw("bc", (0x7000, 2))            # mov sp, 7000h
    code.raw("66c706", (COUNT, 2), (0, 4))     # mov dword [COUNT], 0
    code.raw("66c706", (JIFFIES, 2), (0, 4))   # mov dword [JIFFIES], 0: and IGNORING
    code.raw("c706", (8 * 4, 2), (code.offset("clock"), 2))  # the vector of interrupt 8
    code.raw("c706", (8 * 4 + 2, 2), (SEGMENT, 2))
    for port, value in (
        (0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, 0x01), (0x21, 0xFE),  # PIC: from 8 on, the clock only
        (0xA0, 0x11), (0xA1, 0x70), (0xA1, 0x02), (0xA1, 0x01), (0xA1, 0xFF),
        (0x43, 0x34), (0x40, PIT_DIVISOR & 0xFF), (0x40, PIT_DIVISOR >> 8),
        (COM1 + 3, 0x80), (COM1, 1), (COM1 + 1, 0), (COM1 + 3, 3), (COM1 + 2, 7),  # 115200 8N1, FIFO
    ):  # fmt: skip
        code.outb(port, value)


def _deliver_interrupts(code: Code) -> None:
    """The PIC's line reaches the processor only once its local APIC lets it through, which a BIOS sees to.

    Under KVM the APIC is switched off by its MSR. TCG takes no notice of that: there the APIC is told to pass
    the line on, which takes a segment without limit, got by a moment in protected mode (where some KVMs hang).
    """
    code.raw("66b8", (0x40000000, 4))      # mov eax, 40000000h: who is the hypervisor?
    code.raw("0fa2")                       # cpuid
    code.raw("6681fb", (int.from_bytes(b"KVMK", "little"), 4))  # cmp ebx, "KVMK"
    code.jnz("no-kvm")
    code.raw("66b9", (0x1B, 4))            # mov ecx, APIC base
    code.raw("0f32 80e4f7 0f30")           # rdmsr; and ah, ~8; wrmsr
    code.jmp("delivered")

    code.label("descriptors")
    code.raw("0000000000000000 ffff00000092cf00")  # none, and 4 GiB of data
    code.label("descriptors-register")
    code.raw("", (15, 2), (SEGMENT * 16 + code.offset("descriptors"), 4))

    code.label("no-kvm")
    code.raw("662e0f0116", (code.offset("descriptors-register"), 2))  # lgdt [cs:descriptors-register]
    code.raw("0f20c0 0c01 0f22c0")         # mov eax, cr0; or al, 1; mov cr0, eax
    code.raw("bb0800 8ee3")                # mov bx, 8; mov fs, bx
    code.raw("24fe 0f22c0")                # and al, ~1; mov cr0, eax
    code.raw("66bf", (0xFEE000F0, 4))      # mov edi, spurious interrupt register
    code.raw("676664c707", (0x1FF, 4))     # mov dword [fs:edi], enabled
    code.raw("66bf", (0xFEE00350, 4))      # mov edi, local interrupt 0
    code.raw("676664c707", (0x700, 4))     # mov dword [fs:edi], from the PIC
    code.label("delivered")


def _set_up_acpi(code: Code) -> None:
    """Put the power management registers of the "pc" machine at PM_BASE, and let the button be seen."""
    code.outl(0xCF8, 0x80000B40)           # device 1, function 3, their address
    code.outl(0xCFC, PM_BASE | 1)
    code.outl(0xCF8, 0x80000B80)           # the same device, their switch
    code.outl(0xCFC, 1)
    code.outw(PM_BASE + 2, 0x100)          # power button enable


def _change_memory(code: Code) -> None:
    """Write the number of the tick into each page from 64 to 576 KiB."""
    code.raw("66a1", (COUNT, 2))           # mov eax, [COUNT]
    code.raw("bb", (0x1000, 2))            # mov bx, 1000h
    code.label("page")
    code.raw("8ec3")                       # mov es, bx
    code.raw("2666a3", (0, 2))             # mov [es:0], eax
    code.raw("81c3", (0x100, 2))           # add bx, 100h
    code.raw("81fb", (0x9000, 2))          # cmp bx, 9000h
    code.to("0f82", "page")                # jb page


def _tick_for_ever(code: Code, busy: bool) -> None:
    code.raw("fb")                         # sti
    code.label("tick")
    if busy:
        _change_memory(code)
    code.say("TICK ")
    code.raw("668b1e", (COUNT, 2))         # mov ebx, [COUNT]
    code.raw("b9", (8, 2))                 # mov cx, 8
    code.call("hex")
    code.raw("66ff06", (COUNT, 2))         # inc dword [COUNT]
    code.raw("832e", (JIFFIES, 2), (2, 1))  # sub word [JIFFIES], 2
    code.label("wait")
    code.raw("f4")                         # hlt
    code.call("key")
    code.call("button")
    code.raw("833e", (JIFFIES, 2), (2, 1))  # cmp word [JIFFIES], 2
    code.to("0f8c", "wait")                # jl wait
    code.jmp("tick")

    code.label("key")
    code.raw("ba", (COM1 + 5, 2))          # mov dx, line status
    code.raw("ec a801")                    # in al, dx; test al, 1
    code.jz("return")
    code.raw("ba", (COM1, 2))              # mov dx, COM1
    code.raw("ec 50")                      # in al, dx; push ax
    code.say("KEY ")
    code.raw("58 50")                      # pop ax; push ax
    code.raw("660fb6d8 66c1e318")          # movzx ebx, al; shl ebx, 24
    code.raw("b9", (2, 2))                 # mov cx, 2
    code.call("hex")
    code.raw("58")                         # pop ax
    for key, label in (("q", "off"), ("r", "reboot"), ("c", "crash"), ("h", "hang"), ("i", "ignore")):
        code.raw("3c", (ord(key), 1))      # cmp al, key
        code.jz(label)
    code.raw("c3")                         # ret

    code.label("button")
    code.raw("ba", (PM_BASE, 2))           # mov dx, event status
    code.raw("ed f6c401")                  # in ax, dx; test ah, 1
    code.jz("return")
    code.outw(PM_BASE, 0x100)              # seen
    code.say("POWERBUTTON\r\n")
    code.raw("803e", (IGNORING, 2), (0, 1))  # cmp byte [IGNORING], 0
    code.jnz("return")
    code.jmp("off")
